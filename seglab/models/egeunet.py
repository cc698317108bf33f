"""EGE-UNet: a U-Net of fifty thousand parameters that multiplies its maps by learned templates.

Two ideas replace wide convolutions. A GHPA block splits the channels in four: one quarter is multiplied by a template
of height and width, one by a template of channel and height, one by a template of channel and width, and the last
passes a small convolution. A GAB bridge carries each skip: it joins a quarter of the fine map, a quarter of the coarse
one and the decoder's own mask of that level, and looks at each group with another dilation.

The masks are supervised too: in training mode the network returns [main, finest mask, ..., coarsest mask], all at the
size of the picture; in evaluation mode the main logits alone.

Reference:
    J. Ruan, M. Xie, J. Gao, T. Liu and Y. Fu, "EGE-UNet: an Efficient Group Enhanced UNet for Skin Lesion
    Segmentation", MICCAI 2023; GHPA is its algorithm 1. Sizes that the paper does not print are those of its
    published code.
    Differs: the paper has one class; here each mask has K channels, as the logits have, and all K enter the bridge.
    Logits come out, not probabilities. `seglab.train` averages the six losses; the paper weighs them 1 for the main
    output and 0.5 to 0.1 for the masks, finest first. The 1D convolutions start by the same rule as the 2D ones.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.models._six_stages import channels_of, decoder, encoder, initialise, resize

TEMPLATE = 8  # side of a template before it is stretched to the map, in pixels
DILATIONS = (1, 2, 5, 7)  # of the four groups of a bridge, in pixels


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of every pixel by itself: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map with mean 0 and variance 1 at every pixel, before scale and shift."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class PlaneTemplate(nn.Module):
    """Hadamard product with a template of height and width: (N, C, H, W) -> (N, C, H, W).

        output = x * conv(template stretched to H x W)

    Args:
        channels: C, at least 1.

    Example:
        >>> PlaneTemplate(2)(torch.zeros(1, 2, 5, 7)).shape
        torch.Size([1, 2, 5, 7])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.template = nn.Parameter(torch.ones(1, channels, TEMPLATE, TEMPLATE))
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.GELU(), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The map times its template."""
        product: Tensor = x * self.conv(resize(self.template, x))
        return product


class AxisTemplate(nn.Module):
    """Hadamard product with a template of channel and one axis: (N, C, H, W) -> (N, C, H, W).

    Args:
        channels: C, at least 1.
        axis: -2 for the height, -1 for the width.

    Example:
        >>> AxisTemplate(2, axis=-1)(torch.zeros(1, 2, 5, 7)).shape
        torch.Size([1, 2, 5, 7])
    """

    def __init__(self, channels: int, axis: int) -> None:
        super().__init__()
        self.other = -3 - axis  # the axis along which the template is the same everywhere
        self.axis = axis
        self.template = nn.Parameter(torch.ones(1, channels, TEMPLATE))
        self.conv = nn.Sequential(
            nn.Conv1d(channels, channels, 3, padding=1, groups=channels), nn.GELU(), nn.Conv1d(channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The map times its template."""
        stretched = F.interpolate(self.template, x.shape[self.axis], mode="linear", align_corners=True)
        product: Tensor = x * self.conv(stretched).unsqueeze(self.other)
        return product


class GHPA(nn.Module):
    """Group multi-axis Hadamard product attention: (N, C, H, W) -> (N, C_out, H, W).

    Args:
        in_channels: C, a multiple of 4.
        out_channels: C_out, at least 1.

    Example:
        >>> GHPA(8, 12)(torch.zeros(1, 8, 5, 7)).shape
        torch.Size([1, 12, 5, 7])

    Reference:
        Ruan et al., "EGE-UNet", MICCAI 2023, algorithm 1.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = in_channels // 4
        local = nn.Sequential(
            nn.Conv2d(quarter, quarter, 1), nn.GELU(), nn.Conv2d(quarter, quarter, 3, padding=1, groups=quarter)
        )
        self.before = ChannelNorm(in_channels)
        self.parts = nn.ModuleList(
            [PlaneTemplate(quarter), AxisTemplate(quarter, -2), AxisTemplate(quarter, -1), local]
        )
        self.after = nn.Sequential(
            ChannelNorm(in_channels),
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels),
            nn.GELU(),
            nn.Conv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The four quarters, each in its own way, mixed."""
        quarters = self.before(x).chunk(4, dim=1)
        mixed: Tensor = self.after(torch.cat([f(each) for f, each in zip(self.parts, quarters, strict=True)], dim=1))
        return mixed


class GAB(nn.Module):
    """Group aggregation bridge: coarse (N, C', h, w), fine (N, C, H, W) and mask (N, K, H, W) -> (N, C, H, W).

    Args:
        coarse_channels: C', at least 1.
        channels: C, a multiple of 4.
        mask_channels: K, at least 1.

    Example:
        >>> GAB(6, 4, 1)(torch.zeros(2, 6, 3, 3), torch.zeros(2, 4, 6, 6), torch.zeros(2, 1, 6, 6)).shape
        torch.Size([2, 4, 6, 6])

    Reference:
        Ruan et al., "EGE-UNet", MICCAI 2023.
    """

    def __init__(self, coarse_channels: int, channels: int, mask_channels: int) -> None:
        super().__init__()
        group = channels // 2 + mask_channels
        self.project = nn.Conv2d(coarse_channels, channels, 1)
        self.looks = nn.ModuleList(
            nn.Sequential(ChannelNorm(group), nn.Conv2d(group, group, 3, padding=rate, dilation=rate, groups=group))
            for rate in DILATIONS
        )
        self.join = nn.Sequential(ChannelNorm(4 * group), nn.Conv2d(4 * group, channels, 1))

    def forward(self, coarse: Tensor, fine: Tensor, mask: Tensor) -> Tensor:
        """What crosses to the decoder at this level."""
        quarters = zip(resize(self.project(coarse), fine).chunk(4, dim=1), fine.chunk(4, dim=1), strict=True)
        groups = [torch.cat([high, low, mask], dim=1) for high, low in quarters]
        joined: Tensor = self.join(torch.cat([f(each) for f, each in zip(self.looks, groups, strict=True)], dim=1))
        return joined


class Level(nn.Module):
    """One step up: decode, guess a mask, and add what the bridge makes of skip, coarser skip and mask."""

    def __init__(self, decode: nn.Module, coarse_channels: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.decode = decode
        self.mask = nn.Conv2d(channels, num_classes, 1)
        self.skip = GAB(coarse_channels, channels, num_classes)

    def forward(self, x: Tensor, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """This level's map and the bridged skip, both (N, C, H, W), and its mask (N, K, H, W)."""
        x = self.decode(x)
        mask = self.mask(x)
        bridged = self.skip(coarse, fine, mask)
        return x + bridged, bridged, mask


class EGEUNet(nn.Module):
    """The EGE-UNet of `build`: normalised picture (N, 3, H, W), sides multiples of 32 -> logits (N, K, H, W)."""

    stride = 32

    def __init__(self, num_classes: int, channels: list[int], deep_supervision: bool) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.deep_supervision = deep_supervision
        self.encoder = encoder(channels, GHPA)
        self.levels = nn.ModuleList(
            Level(decode, coarse, fine, num_classes)
            for decode, coarse, fine in zip(decoder(channels, GHPA), channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(channels[0], num_classes, 1)
        self.apply(initialise)

    def forward(self, picture: Tensor) -> Tensor | list[Tensor]:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W); in training mode a list of six such maps."""
        features: list[Tensor] = []
        for stage in self.encoder:
            features.append(stage(features[-1] if features else picture))
        x = coarse = features.pop()
        masks: list[Tensor] = []
        for level, fine in zip(self.levels, reversed(features), strict=True):
            x, coarse, mask = level(x, coarse, fine)
            masks.append(mask)
        logits = resize(self.head(x), picture)
        if not (self.training and self.deep_supervision):
            return logits
        return [logits, *(resize(mask, picture) for mask in reversed(masks))]


def build(num_classes: int, *, width: int = 8, deep_supervision: bool = True) -> EGEUNet:
    """EGE-UNet with 53 thousand parameters as published, or more.

    Args:
        num_classes: K, at least 1.
        width: Channels of the first stage, a multiple of 4, at least 8; the stages have 1, 2, 3, 4, 6 and 8 times it.
        deep_supervision: Whether training mode returns the five masks too. The bridges use the masks either way.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `width` is out of range.

    Example:
        >>> sum(p.numel() for p in build(1).parameters())
        53374
    """
    return EGEUNet(num_classes, channels_of(width), deep_supervision)
