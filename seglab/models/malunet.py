"""MALUNet: a U-Net of 178 thousand parameters with four kinds of attention.

The deep stages hold a DGA and an IEA. DGA looks at four quarters of the channels with four dilations and lets one
branch gate another; IEA compares every pixel with a learned memory that is the same for all pictures. The skips pass
a bridge: SAB weighs the pixels of all five with one shared convolution, CAB weighs the channels of all five by what
their averages say together. The gates of both bridges are what `seglab.explain` shows.

Reference:
    J. Ruan, S. Xiang, M. Xie, T. Liu and Y. Fu, "MALUNet: A Multi-Attention and Light-weight UNet for Skin Lesion
    Segmentation", BIBM 2022. M.-H. Guo et al., "Beyond Self-attention: External Attention using Two Linear Layers for
    Visual Tasks", TPAMI 2023. The six stages are those of Ruan et al., "EGE-UNet", MICCAI 2023.
    Differs: written from the published description, which names the four modules and what each consists of, not every
    size in them. Guessed, among the readings that come to the published 177,943 parameters: IEA before DGA in the
    encoder and after it in the decoder; dilations 1, 2, 5, 7; in DGA a 3x3 branch that gates a 5x5 branch, and a 1x1
    shortcut; a memory of 4C rows; and that SAB comes before CAB, each added to its input. A count does not prove a
    wiring. Logits come out, not probabilities.
"""

from typing import cast

import torch
from torch import Tensor, nn

from seglab.blocks import AttentionMap
from seglab.models._six_stages import GROUPS, channels_of, decoder, encoder, initialise, resize

DILATIONS = (1, 2, 5, 7)  # of the four quarters, in pixels
EXPANSION = 4  # rows of the memory over channels; external attention has fewer rows than channels


class DGA(nn.Module):
    """Dilated gated attention: (N, C, H, W) -> (N, C_out, H, W).

        mixed = conv(four quarters, each with its own dilation)
        output = conv(gate(mixed) * value(mixed)) + shortcut(mixed)

    Args:
        in_channels: C, a multiple of 4.
        out_channels: C_out, at least 1.

    Example:
        >>> DGA(8, 12)(torch.zeros(1, 8, 5, 7)).shape
        torch.Size([1, 12, 5, 7])

    Reference:
        Ruan et al., "MALUNet", BIBM 2022.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = in_channels // 4
        self.looks = nn.ModuleList(
            nn.Conv2d(quarter, quarter, 3, padding=rate, dilation=rate, groups=quarter) for rate in DILATIONS
        )
        self.mix = nn.Sequential(nn.GroupNorm(GROUPS, in_channels), nn.Conv2d(in_channels, in_channels, 1))
        self.gate = nn.Sequential(_separable(in_channels, in_channels, 3), nn.Sigmoid())
        self.value = nn.Sequential(_separable(in_channels, in_channels, 5), nn.GELU())
        self.out = nn.Sequential(_separable(in_channels, out_channels, 3), nn.GELU())
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The map seen at four dilations and gated by itself."""
        quarters = zip(self.looks, x.chunk(4, dim=1), strict=True)
        x = self.mix(torch.cat([look(each) for look, each in quarters], dim=1))
        gated: Tensor = self.out(self.gate(x) * self.value(x)) + self.shortcut(x)
        return gated


class IEA(nn.Module):
    """Inverted external attention: (N, C, H, W) -> (N, C, H, W).

    Every pixel is compared with the rows of a memory that no picture changes, and becomes a mixture of the rows of a
    second one. The memory is larger than a pixel, not smaller: that is what is inverted.

        weight = softmax over pixels of memory_k x, divided by its sum over rows,    output = memory_v weight

    Args:
        channels: C, a multiple of 4.

    Example:
        >>> IEA(8)(torch.zeros(1, 8, 5, 7)).shape
        torch.Size([1, 8, 5, 7])

    Reference:
        Ruan et al., "MALUNet", BIBM 2022; Guo et al., "Beyond Self-attention", TPAMI 2023, for the double
        normalisation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.memory_k = nn.Conv1d(channels, EXPANSION * channels, 1, bias=False)
        self.memory_v = nn.Conv1d(EXPANSION * channels, channels, 1, bias=False)
        self.after = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.GroupNorm(GROUPS, channels))
        self.activate = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """The map plus what the memory makes of it."""
        weights = self.memory_k(self.before(x).flatten(2)).softmax(dim=2)  # (N, 4C, H * W)
        weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-9)
        remembered = self.memory_v(weights).unflatten(2, x.shape[2:])
        activated: Tensor = self.activate(x + self.after(remembered))
        return activated


class Gates(nn.Module):
    """The two gates of one skip, side by side so that an explanation shows them together."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = AttentionMap()
        self.channel = AttentionMap()


class Level(nn.Module):
    """One step up: decode and add the skip."""

    def __init__(self, decode: nn.Module) -> None:
        super().__init__()
        self.decode = decode
        self.skip = Gates()

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """This level's map, as large as the skip (N, C, H, W)."""
        decoded: Tensor = self.decode(x)
        return decoded + skip


class MALUNet(nn.Module):
    """The MALUNet of `build`: normalised picture (N, 3, H, W), sides multiples of 32 -> logits (N, K, H, W)."""

    stride = 32

    def __init__(self, num_classes: int, channels: list[int]) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.encoder = encoder(channels, lambda before, after: nn.Sequential(IEA(before), DGA(before, after)))
        self.levels = nn.ModuleList(
            Level(stage)
            for stage in decoder(channels, lambda before, after: nn.Sequential(DGA(before, after), IEA(after)))
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=9, dilation=3)  # shared by all skips
        skipped = channels[:-1]
        self.across = nn.Conv1d(1, 1, 3, padding=1, bias=False)  # along the channels of all skips
        self.channel = nn.ModuleList(nn.Linear(sum(skipped), each) for each in skipped)
        self.head = nn.Conv2d(channels[0], num_classes, 1)
        self.apply(initialise)

    def forward(self, picture: Tensor) -> Tensor:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        features: list[Tensor] = []
        for stage in self.encoder:
            features.append(stage(features[-1] if features else picture))
        x = features.pop()
        for level, skip in zip(self.levels, reversed(self.bridge(features)), strict=True):
            x = level(x, skip)
        return resize(self.head(x), picture)

    def bridge(self, skips: list[Tensor]) -> list[Tensor]:
        """All skips, finest first, weighed by pixels (SAB) and then by channels (CAB); shapes stay."""
        gates = [cast(Level, level).skip for level in reversed(self.levels)]
        weighed = []
        for x, gate in zip(skips, gates, strict=True):
            pooled = torch.stack([x.mean(dim=1), x.amax(dim=1)], dim=1)  # (N, 2, H, W)
            weighed.append(x + x * gate.spatial(self.spatial(pooled).sigmoid()))
        averages = torch.cat([x.mean(dim=(2, 3)) for x in weighed], dim=1)  # (N, channels of all skips)
        shared = self.across(averages[:, None])[:, 0]
        return [
            x + x * gate.channel(scores(shared).sigmoid()[:, :, None, None])
            for x, gate, scores in zip(weighed, gates, self.channel, strict=True)
        ]


def build(num_classes: int, *, width: int = 8) -> MALUNet:
    """MALUNet with 178 thousand parameters as published, or more.

    Args:
        num_classes: K, at least 1.
        width: Channels of the first stage, a multiple of 4, at least 8; the stages have 1, 2, 3, 4, 6 and 8 times it.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `width` is out of range.

    Example:
        >>> sum(p.numel() for p in build(1).parameters())
        177943
    """
    return MALUNet(num_classes, channels_of(width))


def _separable(in_channels: int, out_channels: int, side: int) -> nn.Module:
    """Depthwise convolution, normalisation, and a 1x1 convolution across channels."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, side, padding=side // 2, groups=in_channels),
        nn.GroupNorm(GROUPS, in_channels),
        nn.Conv2d(in_channels, out_channels, 1),
    )
