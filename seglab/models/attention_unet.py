"""Attention U-Net: a U-Net whose skips pass an additive gate, steered by the enlarged map from below.

    gate = sigmoid(psi(relu(W_x x + W_g g))),    the decoder receives concat(gate * x, g)

with x the skip and g the map from below. A pixel of the skip passes as far as the coarser level asks for it.

This is the two-dimensional layout in common use: a gate on all four skips, g already enlarged, half of the skip's
channels inside each gate, up-sampling by doubling and a 3x3 convolution. It has the 34,878,573 parameters that this
layout is known by; 7,812 of them are biases that the batch normalisation after them cancels, and `biases=False` leaves
them out.

Reference:
    O. Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018.
    Differs: the paper segments volumes, gates the three deeper skips, takes g before it is enlarged, and enlarges the
    gate instead; its gates have no batch normalisation, and its network has deep supervision. `AttentionGate` offers
    the paper's own gate. `cbam` is not in the paper: "skip" attends a skip before its gate.
"""

from collections.abc import Collection
from itertools import pairwise

import torch
from torch import Tensor, nn

from seglab.blocks import UPSAMPLING, AttentionGate, CBAMPlacement
from seglab.contract import require_name
from seglab.models._knobs import require_at_least
from seglab.models.unet import UNet


class GatedSkip(nn.Module):
    """A skip that passes as far as the enlarged map from below asks for it.

    Args:
        attend: Applied to the skip before the gate; keeps its shape.
        gate: Called with the skip and the enlarged map.

    Example:
        >>> import torch
        >>> skip = GatedSkip(nn.Identity(), AttentionGate(4, 6))
        >>> skip(torch.zeros(2, 4, 8, 8), torch.zeros(2, 8, 4, 4), torch.zeros(2, 6, 8, 8)).shape
        torch.Size([2, 4, 8, 8])
    """

    def __init__(self, attend: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.attend, self.gate = attend, gate

    def forward(self, skip: Tensor, deeper: Tensor, up: Tensor) -> Tensor:
        """Gated skip: skip (N, C, H, W), up (N, C', H, W) -> (N, C, H, W)."""
        gated: Tensor = self.gate(self.attend(skip), up)
        return gated


def build(
    num_classes: int,
    *,
    width: int = 64,
    upsampling: str = "convolution",
    cbam: str | Collection[str] = (),
    cbam_style: str = "original",
    cbam_residual: bool = False,
    biases: bool = True,
) -> UNet:
    """Attention U-Net with 34.9 million parameters, or fewer.

    Args:
        num_classes: K, at least 1.
        width: Channels of the first stage, at least 4; each stage below has twice as many.
        upsampling: "convolution" (bilinear, then a 3x3 convolution), "transposed" or "bilinear".
        cbam: Where attention sits besides the gates: any of "encoder", "bottleneck", "skip", "decoder".
        cbam_style: "original" or "compact", see `seglab.blocks.CBAM`.
        cbam_residual: Whether that attention starts as the identity.
        biases: Whether convolutions have a bias before a normalisation too, which cancels it.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `width` is below 4 or a name is unknown.

    Example:
        >>> sum(p.numel() for p in build(1).parameters())
        34878573
    """
    require_at_least("width", width, 4)
    require_name("upsampling", upsampling, UPSAMPLING)
    placement = CBAMPlacement(cbam, cbam_style, cbam_residual)

    def skip(channels: int, deeper_channels: int, up_channels: int) -> nn.Module:
        return GatedSkip(placement.at("skip", channels), AttentionGate(channels, up_channels, norm=True))

    net = UNet(num_classes, width, upsampling, placement, skip)
    if biases:
        _add_biases(net)
    return net


def _add_biases(net: nn.Module) -> None:
    """Give every convolution that a normalisation follows a bias of 0."""
    for part in net.modules():
        if isinstance(part, nn.Sequential):
            for layer, following in pairwise(part):
                if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                    layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
