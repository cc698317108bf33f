"""Reverse-attention U-Net (BA-RA U-Net): skips that are raised where a coarse mask sees nothing and where it changes.

At each level a 1x1 convolution reads a coarse mask S off the enlarged map from below. The skip E is then weighed by it:

    R = 1 - sigmoid(S),    B = 1 - |2 sigmoid(S) - 1|,    the decoder receives convs(E * (1 + R + B)) and the map

In training every S is an output as well, so that it learns to be a mask (deep supervision).

A reconstruction: no code of the paper is public, and its formulas and figures were not at hand.
    Certain: a U-Net whose skips hold a module named BA-RA; reverse attention, after PraNet, is in it; 48 million
    parameters.
    Inferred: BA is boundary attention; both maps come from the decoder's coarser level and raise the skip together;
    the parameters above a U-Net's 31.0 million sit in the skips. Two 5x5 convolutions per skip, the size that PraNet
    has in its deepest branch, give 48.5 million in all.
    Unknown: what BA computes, how the two join, whether the coarse masks are supervised. Hence every part is a knob.

Reference:
    B. Toptaş, "Enhanced Skin Lesion Segmentation via Attentive Reverse-Attention U-Net", Symmetry 17(11), 2002, 2025.
    D.-P. Fan et al., "PraNet: Parallel Reverse Attention Network for Polyp Segmentation", MICCAI 2020, eq. 2.
    Differs: a reconstruction in every part named above as inferred or unknown. `cbam` is not in the paper: "skip"
    attends a skip before it is weighed.
"""

from collections.abc import Collection

from torch import Tensor, nn
from torch.nn import functional as F

from seglab.blocks import (
    BOUNDARIES,
    UPSAMPLING,
    BoundaryReverseAttention,
    CBAMPlacement,
    ConvBlock,
    DecoderLevel,
    LoneSkip,
    SkipBuilder,
)
from seglab.contract import require_name
from seglab.models._knobs import require_at_least
from seglab.models.unet import UNet


class GuidedSkip(nn.Module):
    """A skip, attended, then weighed by a coarse mask that is read off the enlarged map.

    Args:
        attend: Applied to the skip first; keeps its shape.
        block: Called with the skip and the enlarged map; returns the weighed skip and the coarse logits.

    Example:
        >>> import torch
        >>> skip = GuidedSkip(nn.Identity(), BoundaryReverseAttention(4, 6))
        >>> [out.shape for out in skip(torch.zeros(2, 4, 8, 8), torch.zeros(2, 6, 8, 8))]
        [torch.Size([2, 4, 8, 8]), torch.Size([2, 1, 8, 8])]
    """

    def __init__(self, attend: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.attend, self.block = attend, block

    def forward(self, skip: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
        """Weighed skip and coarse logits: (N, C, H, W), (N, C', H, W) -> (N, C, H, W), (N, K, H, W)."""
        attended, coarse = self.block(self.attend(skip), up)
        return attended, coarse


class ReverseAttentionUNet(UNet):
    """The network of `build`: normalised picture (N, 3, H, W), sides multiples of 16 -> logits (N, K, H, W).

    With deep supervision and in training mode: a list of five logits of that size, the main ones first, then the
    coarse ones from the finest level to the deepest.
    """

    def __init__(
        self,
        num_classes: int,
        width: int,
        upsampling: str,
        cbam: CBAMPlacement,
        skip: SkipBuilder,
        *,
        deep_supervision: bool,
    ) -> None:
        super().__init__(num_classes, width, upsampling, cbam, skip)
        self.deep_supervision = deep_supervision
        self.guided = any(isinstance(module, GuidedSkip) for module in self.decoder.modules())

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W), or a list of five with deep supervision in training."""
        if not self.guided:
            return super().forward(x)
        *skips, below = self.encode(x)
        masks: list[Tensor] = []
        for level, skip in zip(self.decoder.levels, reversed(skips), strict=True):
            assert isinstance(level, DecoderLevel)
            up = level.enlarge(below)
            attended, coarse = level.skip(skip, up)
            masks.append(coarse)
            below = level.join(attended, up)
        logits: Tensor = self.head(below)
        if not (self.training and self.deep_supervision):
            return logits
        size = x.shape[-2:]
        return [logits, *(F.interpolate(mask, size, mode="bilinear", align_corners=False) for mask in masks[::-1])]


def build(  # noqa: PLR0913 - every knob is one an ablation would switch
    num_classes: int,
    *,
    width: int = 64,
    upsampling: str = "transposed",
    reverse: bool = True,
    boundary: str | None = "sigmoid",
    deep_supervision: bool = True,
    kernel_size: int = 5,
    cbam: str | Collection[str] = (),
    cbam_style: str = "original",
    cbam_residual: bool = False,
) -> ReverseAttentionUNet:
    """Reverse-attention U-Net with 48.5 million parameters (the paper prints 48), or fewer.

    Args:
        num_classes: K, at least 1. With 2 or more, class 0 is the background of the coarse masks.
        width: Channels of the first stage, at least 4; each stage below has twice as many.
        upsampling: "transposed" (learned), "bilinear" or "convolution".
        reverse: Whether skips are raised where the coarse mask sees nothing.
        boundary: What raises skips where the coarse mask changes: "sigmoid", "pool" (its difference from the mean
            around each pixel), or "none" or None. See `seglab.blocks.BoundaryMap`.
        deep_supervision: Whether the four coarse masks are outputs in training mode. The network then returns a list
            of five logits, the main ones first; in evaluation mode always one tensor.
        kernel_size: Side of the two convolutions in each skip in pixels, odd.
        cbam: Where CBAM sits besides: any of "encoder", "bottleneck", "skip", "decoder".
        cbam_style: "original" or "compact", see `seglab.blocks.CBAM`.
        cbam_residual: Whether each CBAM starts as the identity.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `width` is below 4, `kernel_size` is even or below 1, or a name is unknown.

    Example:
        >>> sum(p.numel() for p in build(1, width=8).parameters())
        759157
    """
    require_at_least("width", width, 4)
    require_at_least("kernel_size", kernel_size, 1)
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd; got {kernel_size}.")
    require_name("upsampling", upsampling, UPSAMPLING)
    require_name("boundary", boundary or "none", BOUNDARIES)
    placement = CBAMPlacement(cbam, cbam_style, cbam_residual)
    # Without anybody who looks at the coarse masks there are none, because nothing could teach them.
    guided = reverse or deep_supervision or (boundary or "none") != "none"

    def skip(channels: int, deeper_channels: int, up_channels: int) -> nn.Module:
        attend = placement.at("skip", channels)
        if not guided:
            return LoneSkip(nn.Sequential(attend, ConvBlock(channels, channels, kernel_size=kernel_size)))
        block = BoundaryReverseAttention(
            channels, up_channels, num_classes, reverse=reverse, boundary=boundary, kernel_size=kernel_size
        )
        return GuidedSkip(attend, block)

    return ReverseAttentionUNet(num_classes, width, upsampling, placement, skip, deep_supervision=deep_supervision)
