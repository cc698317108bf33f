"""ResU-Net: a shallow U-Net whose blocks are residual units with full pre-activation.

Three encoder stages and a bridge; strides, not pooling, halve the map. A unit is

    output = body(x) + shortcut(x),    body = BN, ReLU, conv, BN, ReLU, conv,    shortcut = conv, BN

and the first unit's body leaves out the first BN and ReLU, because a picture is no activation.

Reference:
    Z. Zhang, Q. Liu and Y. Wang, "Road Extraction by Deep Residual U-Net", IEEE Geoscience and Remote Sensing Letters
    15(5), 2018. The unit is from K. He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016.
    Differs: the paper says neither how a shortcut changes the number of channels nor how the decoder enlarges. It
    states 7.8 million parameters, which is what the units have when shortcuts and enlarging have none (7,786,497).
    Here, two guesses: a shortcut is a 3x3 convolution with the unit's stride, followed by BN (in the first unit
    without BN), and a learned 2x2 convolution of stride 2 enlarges and keeps the channels. They give the 13,043,009
    parameters of the implementation in common use. The output is logits, where the paper ends with a sigmoid.
    `cbam` is not in the paper.
"""

from collections.abc import Collection

from torch import Tensor, nn

from seglab.blocks import CBAMPlacement, DecoderLevel
from seglab.models._knobs import require_at_least

STAGES = 3


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions with pre-activation beside a convolved shortcut: (N, C, H, W) -> (N, C_out, H/s, W/s).

    Args:
        in_channels: C, at least 1.
        out_channels: C_out, at least 1.
        stride: s of the first convolution and of the shortcut.
        first: Whether the input is a picture: no BN and ReLU before the first convolution, no BN in the shortcut.

    Example:
        >>> import torch
        >>> ResidualUnit(4, 8, stride=2)(torch.zeros(2, 4, 6, 6)).shape
        torch.Size([2, 8, 3, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, first: bool = False) -> None:
        super().__init__()
        shortcut = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
        activation = [] if first else [nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(
            *activation,
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.shortcut = shortcut if first else nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """The unit's map."""
        total: Tensor = self.body(x) + self.shortcut(x)
        return total


class ResUNet(nn.Module):
    """The ResU-Net of `build`: normalised picture (N, 3, H, W), sides multiples of 8 -> logits (N, K, H, W)."""

    stride = 2**STAGES

    def __init__(self, num_classes: int, width: int, cbam: CBAMPlacement) -> None:
        super().__init__()
        self.num_classes = num_classes
        channels = [width * 2**stage for stage in range(STAGES + 1)]
        places = ["encoder"] * STAGES + ["bottleneck"]
        self.encoder = nn.ModuleList([ResidualUnit(3, width, first=True)])
        self.encoder.extend(ResidualUnit(c, 2 * c, stride=2) for c in channels[:STAGES])
        # Apart from the encoder, because attention on a frozen encoder still has to learn.
        self.attention = nn.ModuleList(cbam.at(place, c) for place, c in zip(places, channels, strict=True))
        self.decoder = nn.ModuleList(_level(c, cbam) for c in reversed(channels[:STAGES]))
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        features: list[Tensor] = []
        for unit, attend in zip(self.encoder, self.attention, strict=True):
            x = attend(unit(x))
            features.append(x)
        for number, level in enumerate(self.decoder, start=1):
            x = level(features[-number - 1], features[-number], x)
        logits: Tensor = self.head(x)
        return logits


def build(
    num_classes: int,
    *,
    width: int = 64,
    cbam: str | Collection[str] = (),
    cbam_style: str = "original",
    cbam_residual: bool = False,
) -> ResUNet:
    """ResU-Net with 13.0 million parameters, or fewer.

    Args:
        num_classes: K, at least 1.
        width: Channels of the first unit, at least 4, as published 64; each stage below has twice as many.
        cbam: Where attention sits: any of "encoder", "bottleneck", "skip", "decoder"; there are three encoder stages,
            three skips and three enlarged maps.
        cbam_style: "original" or "compact", see `seglab.blocks.CBAM`.
        cbam_residual: Whether attention starts as the identity.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `width` is below 4 or a name is unknown.

    Example:
        >>> sum(p.numel() for p in build(1).parameters())
        13043009
    """
    require_at_least("width", width, 4)
    return ResUNet(num_classes, width, CBAMPlacement(cbam, cbam_style, cbam_residual))


def _level(channels: int, cbam: CBAMPlacement) -> DecoderLevel:
    """One step up to that many channels, from twice as many."""
    below = 2 * channels
    return DecoderLevel(
        nn.ConvTranspose2d(below, below, kernel_size=2, stride=2),
        cbam.decoder(below),
        cbam.skip(channels, below, below),
        ResidualUnit(channels + below, channels),
    )
