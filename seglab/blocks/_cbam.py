"""CBAM, the mark that every gate carries, and where in a U-Net attention sits.

Every gate passes through an `AttentionMap`, so that an explanation can find it by its type alone.

Reference:
    S. Woo, J. Park, J.-Y. Lee and I. S. Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.blocks._decoder import LoneSkip
from seglab.contract import require_name

CBAM_PLACES = ("encoder", "bottleneck", "skip", "decoder")
CBAM_REDUCTION = {"original": 16, "compact": 8}  # the ratio each style is published with


class AttentionMap(nn.Identity):
    """Hands a gate on unchanged; its type marks the gate for forward hooks.

    A channel gate is (N, C, 1, 1) and a spatial gate (N, 1, H, W), both in [0, 1].

    Example:
        >>> AttentionMap()(torch.tensor([0.5]))
        tensor([0.5000])
    """


class ChannelAttention(nn.Module):
    """Weighs every channel by what its average and its maximum say: (N, C, H, W) -> (N, C, H, W).

        gate = sigmoid(mlp(mean over H, W) + mlp(max over H, W)),    output = gate * input

    Args:
        channels: C, at least 1.
        reduction: C over the hidden width of the shared two-layer `mlp`, at least 1; None takes the style's own ratio.
            The hidden width never falls below 1.
        style: "original" has biases in the `mlp` and ratio 16, "compact" has none and ratio 8.

    Raises:
        ValueError: If `channels` or `reduction` is below 1, or `style` is unknown.

    Example:
        >>> ChannelAttention(16)(torch.ones(2, 16, 4, 4)).shape
        torch.Size([2, 16, 4, 4])

    Reference:
        Woo et al., "CBAM", ECCV 2018, eq. 2.
    """

    def __init__(self, channels: int, reduction: int | None = None, style: str = "original") -> None:
        super().__init__()
        require_name("style", style, CBAM_REDUCTION)
        reduction = CBAM_REDUCTION[style] if reduction is None else reduction
        if channels < 1 or reduction < 1:
            raise ValueError(f"channels and reduction must be at least 1; got {channels} and {reduction}.")
        hidden = max(1, channels // reduction)
        bias = style == "original"
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden, bias), nn.ReLU(inplace=True), nn.Linear(hidden, channels, bias)
        )
        self.map = AttentionMap()

    def forward(self, x: Tensor) -> Tensor:
        """Attended map: (N, C, H, W) -> (N, C, H, W)."""
        # Averaged with channels last, because the gradient comes back in the order of memory used here.
        average, maximum = x.movedim(1, -1).mean(dim=(1, 2)), F.adaptive_max_pool2d(x, 1).flatten(1)  # (N, C)
        scores = self.mlp(average) + self.mlp(maximum)
        gated: Tensor = x * self.map(scores.sigmoid()[:, :, None, None])
        return gated


class SpatialAttention(nn.Module):
    """Weighs every pixel by what the average and the maximum over its channels say: (N, C, H, W) -> (N, C, H, W).

        gate = sigmoid(conv(max over C, mean over C)),    output = gate * input

    Args:
        kernel_size: Side of the convolution in pixels, odd, at least 1.
        style: "original" normalises the scores (BatchNorm of one channel); "compact" does not, and takes the mean
            before the maximum.

    Raises:
        ValueError: If `kernel_size` is even or below 1, or `style` is unknown.

    Example:
        >>> SpatialAttention()(torch.ones(2, 16, 4, 4)).shape
        torch.Size([2, 16, 4, 4])

    Reference:
        Woo et al., "CBAM", ECCV 2018, eq. 3.
        Differs: equation 3 has no normalisation; the authors' published code has it, and so has "original".
    """

    def __init__(self, kernel_size: int = 7, style: str = "original") -> None:
        super().__init__()
        require_name("style", style, CBAM_REDUCTION)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1; got {kernel_size}.")
        self.max_first = style == "original"
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01) if style == "original" else nn.Identity()
        self.map = AttentionMap()

    def forward(self, x: Tensor) -> Tensor:
        """Attended map: (N, C, H, W) -> (N, C, H, W)."""
        pixels = x.movedim(1, -1)  # the gradient comes back in this order of memory, as channels_last needs it
        pooled = [pixels.max(dim=-1).values, pixels.mean(dim=-1)]
        scores = self.norm(self.conv(torch.stack(pooled if self.max_first else pooled[::-1], dim=1)))  # (N, 1, H, W)
        gated: Tensor = x * self.map(scores.sigmoid())
        return gated


class CBAM(nn.Module):
    """Convolutional block attention: first which channels matter, then which pixels, (N, C, H, W) -> (N, C, H, W).

    Both gates start near 0.5, so a fresh CBAM shrinks its input to about a quarter. On a pretrained encoder that
    spoils what was learned; `residual=True` starts as the identity instead:

        output = input + alpha * cbam(input),    alpha one learned number that starts at 0

    The gates then learn from the second step on, when alpha has left 0.

    Args:
        channels: C, at least 1.
        reduction: Ratio of the channel gate's hidden layer; None takes 16 for "original" and 8 for "compact".
        kernel_size: Side of the spatial gate's convolution in pixels, odd.
        style: "original" follows the authors' code, "compact" the form common in YOLO code (no biases, no
            normalisation of the spatial scores).
        residual: Whether the block is added to its input, from nothing.

    Raises:
        ValueError: If `style` is unknown or a number is out of its range.

    Example:
        >>> [sum(p.numel() for p in CBAM(64, style=style).parameters()) for style in ("original", "compact")]
        [680, 1122]

    Reference:
        Woo et al., "CBAM", ECCV 2018, eq. 1.
        Differs: `residual` is not in the paper, which adds its module before a ResNet block's own shortcut. The
        factor that starts at 0 is from T. Bachlechner et al., "ReZero is All You Need", UAI 2021, eq. 1.
    """

    def __init__(
        self,
        channels: int,
        reduction: int | None = None,
        kernel_size: int = 7,
        style: str = "original",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction, style)
        self.spatial = SpatialAttention(kernel_size, style)
        self.alpha = nn.Parameter(torch.zeros(())) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """Attended map: (N, C, H, W) -> (N, C, H, W)."""
        attended: Tensor = self.spatial(self.channel(x))
        return attended if self.alpha is None else x + self.alpha * attended


class CBAMPlacement:
    """Which places of a U-Net have a CBAM: the knob `cbam` of every U-Net-shaped model.

    "encoder" attends each stage before pooling, so its skip carries the attended map; "bottleneck" the deepest map;
    "skip" the maps that cross to the decoder, and only there; "decoder" each map right after up-sampling.

    Args:
        places: One of the four names, or any number of them.
        style: Style of every CBAM, see `CBAM`.
        residual: Whether every CBAM starts as the identity, see `CBAM`.

    Raises:
        ValueError: If a place or the style is unknown.

    Example:
        >>> placement = CBAMPlacement("skip")
        >>> type(placement.at("skip", 8)).__name__, type(placement.at("encoder", 8)).__name__
        ('CBAM', 'Identity')
    """

    def __init__(self, places: str | Collection[str] = (), style: str = "original", residual: bool = False) -> None:
        if not isinstance(places, Collection):
            raise ValueError(f"cbam must be a place or several of {', '.join(CBAM_PLACES)}; got {places!r}.")
        self.places = {places} if isinstance(places, str) else set(places)
        for place in self.places:
            require_name("cbam", place, CBAM_PLACES)
        require_name("cbam_style", style, CBAM_REDUCTION)
        self.style = style
        self.residual = residual

    def at(self, place: str, channels: int) -> nn.Module:
        """The module for one map of that many channels: a CBAM where one is placed, else the identity."""
        return CBAM(channels, style=self.style, residual=self.residual) if place in self.places else nn.Identity()

    def skip(self, channels: int, deeper_channels: int, up_channels: int) -> nn.Module:
        """A `SkipBuilder` for `UNetDecoder`: attends the skip by itself."""
        return LoneSkip(self.at("skip", channels))

    def decoder(self, channels: int) -> nn.Module:
        """The module for an up-sampled map of that many channels."""
        return self.at("decoder", channels)
