"""UCM-Net: a U-shaped network of forty-six thousand parameters for pictures of skin, made of token-wise layers.

Five of its six encoder stages keep every second pixel by a 1x1 convolution and then mix: a linear layer at every
pixel, a depthwise 3x3 convolution, GELU, and both again. Skips are added. In training mode the five decoder levels
are supervised too.

Reference:
    C. Yuan, D. Zhao and S. S. Agaian, "UCM-Net: A lightweight and efficient solution for skin lesion segmentation
    using MLP and CNN", Biomedical Signal Processing and Control 96, 2024, 106573.
    Differs: the authors' code holds a scale and an offset beside each depthwise convolution, 1,248 parameters in all,
    that no computation uses. Here the normalisation before the convolution applies them, which is what they seem meant
    for; `affine=False` leaves them out, as the authors' network in effect does. 624 parameters are biases that the
    same normalisation cancels; they are kept for the published number. The authors' code stops the gradient in the
    residual of a block and doubles the block's output; ours lets the gradient through and leaves out the factor, which
    the normalisation after it cancels. For more than three classes the last map has K channels instead of three. The
    supervised maps are enlarged after their 1x1 convolution, which gives the same logits as before it, for less work.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.models._tokens import ChannelNorm, depthwise, initialise

WIDTHS = (8, 16, 24, 32, 48, 64)
GROUPS = 4  # of channels that are normalised together
LAST_CHANNELS = 3  # of the map before the head


class PictureNorm(nn.Module):
    """Each channel of each picture brought to mean 0 and variance 1, then scaled and offset; a single pixel becomes 0.

    Args:
        channels: C, at least 1.
        affine: Whether scale and offset are learned; they start as 1 and 0.

    Example:
        >>> import torch
        >>> PictureNorm(1)(torch.tensor([[[[1.0, 3.0]]]])).round().tolist()
        [[[[-1.0, 1.0]]]]
    """

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalised map: (N, C, H, W) -> (N, C, H, W)."""
        x = F.layer_norm(x, x.shape[2:])
        if self.weight is None or self.bias is None:
            return x
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class UCMBlock(nn.Module):
    """Mixes neighbours and channels in turn: (N, C, H, W) -> (N, C, H, W).

        t = norm(x),    output = t + mix_2(gelu(mix_1(t))),    mix(t) = depthwise(picture_norm(linear(t)))

    Args:
        channels: C, at least 1.
        affine: Whether the normalisation inside learns a scale and an offset.

    Example:
        >>> import torch
        >>> UCMBlock(8)(torch.zeros(2, 8, 4, 6)).shape
        torch.Size([2, 8, 4, 6])
    """

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.mix = nn.Sequential(*_mix(channels, affine), nn.GELU(), *_mix(channels, affine))
        self.mix.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Mixed map: (N, C, H, W) -> (N, C, H, W)."""
        x = self.norm(x)
        mixed: Tensor = x + self.mix(x)
        return mixed


class UCMNet(nn.Module):
    """The UCM-Net of `build`: normalised picture (N, 3, H, W), sides multiples of 64 -> logits (N, K, H, W).

    In training mode it gives a list of six logits of the picture's size: the main ones, then those of the five decoder
    levels from fine to coarse.
    """

    stride = 64

    def __init__(self, num_classes: int, affine: bool) -> None:
        super().__init__()
        self.num_classes = num_classes
        last = max(LAST_CHANNELS, num_classes)
        first = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 3, padding=1), nn.GroupNorm(GROUPS, WIDTHS[0]), nn.MaxPool2d(2), nn.ReLU()
        )
        self.encoder = nn.ModuleList([first, *(_stage(*pair, affine) for pair in pairwise(WIDTHS))])
        deep_first = WIDTHS[::-1]
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(below, width, kernel_size=1), nn.GroupNorm(GROUPS, width))
            for below, width in pairwise(deep_first)
        )
        self.mixers = nn.ModuleList(
            nn.Sequential(UCMBlock(width, affine), ChannelNorm(width)) for width in deep_first[1:]
        )
        self.side_heads = nn.ModuleList(nn.Conv2d(width, num_classes, kernel_size=1) for width in deep_first[1:])
        self.last = nn.Conv2d(WIDTHS[0], last, kernel_size=1)
        self.head = nn.Conv2d(last, num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W), a list of six of these in training mode."""
        picture, features = x, []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        sides: list[Tensor] = []
        for up, mixer, head, skip in zip(self.ups, self.mixers, self.side_heads, features[-2::-1], strict=True):
            x = F.relu(_enlarge(up(x), skip)) + skip
            if self.training:
                sides.append(_enlarge(head(x), picture))
            x = mixer(x)
        main: Tensor = self.head(F.relu(_enlarge(self.last(x), picture)))
        return [main, *sides[::-1]] if self.training else main


def build(num_classes: int, *, affine: bool = True) -> UCMNet:
    """UCM-Net with 47.4 thousand parameters for one class, as published.

    Args:
        num_classes: K, at least 1.
        affine: Whether the normalisation inside a block learns a scale and an offset.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Example:
        >>> sum(p.numel() for p in build(1).parameters())
        47436
    """
    return UCMNet(num_classes, affine)


def _stage(in_channels: int, out_channels: int, affine: bool) -> nn.Module:
    """Keep every second pixel, then mix: (N, C, H, W) -> (N, C_out, H/2, W/2)."""
    halve = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=2)
    return nn.Sequential(halve, ChannelNorm(out_channels), UCMBlock(out_channels, affine), ChannelNorm(out_channels))


def _mix(channels: int, affine: bool) -> list[nn.Module]:
    """One linear layer for every pixel and one convolution for every channel."""
    return [nn.Conv2d(channels, channels, kernel_size=1), PictureNorm(channels, affine), depthwise(channels)]


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    """Map interpolated to the height and width of another."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
