"""UNeXt: a small U-shaped network whose two deepest levels mix pixels by shifting channels, not by convolving them.

A tokenised block shifts fifths of the channels by -2, -1, 0, 1 and 2 pixels down, applies one linear layer to every
pixel, a depthwise 3x3 convolution and GELU, shifts again, now to the right, and applies a second linear layer. So a
layer that sees one pixel at a time still learns from a window of five by five. Skips are added, not concatenated.

Reference:
    J. M. J. Valanarasu and V. M. Patel, "UNeXt: MLP-based Rapid Medical Image Segmentation Network", MICCAI 2022.
    Differs: follows the authors' code where the paper reads otherwise: rows are shifted before columns, the block
    normalises before it mixes, batch normalisation precedes pooling and up-sampling, and the last up-sampling has
    none. A shift is written as a window of the padded map, which equals rolling the padded map and cutting its
    border off. There is no dropout. 512 of the 1,471,921 parameters are biases which batch normalisation cancels
    while it learns; they are kept for the published count.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.contract import require_name
from seglab.models._tokens import ChannelNorm, depthwise, initialise

WIDTHS = {"base": (16, 32, 128, 160, 256), "small": (8, 16, 32, 64, 128), "large": (32, 64, 128, 256, 512)}
SHIFTS = (-2, -1, 0, 1, 2)  # pixels, one for each fifth of the channels


def shift(x: Tensor, axis: int) -> Tensor:
    """Map whose five groups of channels are moved by -2 to 2 pixels; what comes in from outside is zero.

    Args:
        x: (N, C, H, W).
        axis: 2 moves down (H), 3 moves right (W).

    Returns:
        (N, C, H, W).

    Example:
        >>> shift(torch.arange(1.0, 4.0).expand(1, 5, 1, 3), axis=3)[0, :, 0].int().tolist()
        [[3, 0, 0], [2, 3, 0], [1, 2, 3], [0, 1, 2], [0, 0, 1]]
    """
    reach, size = SHIFTS[-1], x.shape[axis]
    padded = F.pad(x, (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0))
    # Fewer than five groups come out of few channels; the last shifts then go unused.
    groups = zip(padded.chunk(len(SHIFTS), dim=1), SHIFTS, strict=False)
    return torch.cat([group.narrow(axis, reach - pixels, size) for group, pixels in groups], dim=1)


class ShiftedMLP(nn.Module):
    """Tokenised block: (N, C, H, W) -> (N, C, H, W).

        output = x + columns(shift_right(gelu(depthwise(rows(shift_down(norm(x)))))))

    Args:
        channels: C, at least 1.

    Example:
        >>> ShiftedMLP(10)(torch.zeros(2, 10, 4, 6)).shape
        torch.Size([2, 10, 4, 6])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.rows = nn.Conv2d(channels, channels, kernel_size=1)
        self.depthwise = depthwise(channels)
        self.columns = nn.Conv2d(channels, channels, kernel_size=1)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Mixed map: (N, C, H, W) -> (N, C, H, W)."""
        mixed = F.gelu(self.depthwise(self.rows(shift(self.norm(x), axis=2))))
        output: Tensor = x + self.columns(shift(mixed, axis=3))
        return output


class UNeXt(nn.Module):
    """The UNeXt of `build`: normalised picture (N, 3, H, W), sides multiples of 32 -> logits (N, K, H, W)."""

    stride = 32

    def __init__(self, num_classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.num_classes = num_classes
        pairs = list(pairwise([3, *widths]))
        self.encoder = nn.ModuleList(
            [_convolution_stage(*pair) for pair in pairs[:3]] + [_token_stage(*pair) for pair in pairs[3:]]
        )
        deep_first = widths[::-1]
        self.ups = nn.ModuleList(_up(below, width) for below, width in pairwise(deep_first))
        self.mixers = nn.ModuleList(
            nn.Sequential(ShiftedMLP(width), ChannelNorm(width)) if level < 2 else nn.Identity()
            for level, width in enumerate(deep_first[1:])
        )
        self.last = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.head = nn.Conv2d(widths[0], num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        features: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        for up, mixer, skip in zip(self.ups, self.mixers, features[-2::-1], strict=True):
            x = mixer(_double(up(x)) + skip)
        logits: Tensor = self.head(_double(self.last(x)))
        return logits


def build(num_classes: int, *, size: str = "base") -> UNeXt:
    """UNeXt with 1.47 million parameters as published, or one of its two other sizes.

    Args:
        num_classes: K, at least 1.
        size: "base", "small" (253,561 parameters) or "large" (4.0 million).

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `size` is unknown.

    Example:
        >>> [sum(p.numel() for p in build(1, size=size).parameters()) for size in ("base", "small")]
        [1471921, 253561]
    """
    require_name("size", size, WIDTHS)
    return UNeXt(num_classes, WIDTHS[size])


def _convolution_stage(in_channels: int, out_channels: int) -> nn.Module:
    """Convolve, normalise, halve: (N, C, H, W) -> (N, C_out, H/2, W/2)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.MaxPool2d(2), nn.ReLU()
    )


def _token_stage(in_channels: int, out_channels: int) -> nn.Module:
    """Halve by a strided convolution, then mix tokens: (N, C, H, W) -> (N, C_out, H/2, W/2)."""
    halve = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
    initialise(halve)
    return nn.Sequential(halve, ChannelNorm(out_channels), ShiftedMLP(out_channels), ChannelNorm(out_channels))


def _up(in_channels: int, out_channels: int) -> nn.Module:
    """Convolution of one decoder level, before its map is enlarged."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels))


def _double(x: Tensor) -> Tensor:
    """Map twice as high and wide, negative values cut off."""
    return F.relu(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
