"""Lesson 4: the spatial gate of CBAM, and what a CBAM costs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seglab.blocks import CBAM, SpatialAttention
from seglab.teach._check import expect

__all__ = ["expectations"]


def expectations(spatial_gate: Callable[[Tensor, Tensor], Tensor], cost: Callable[[int, int], int]) -> None:
    """A gate by hand, the module's own gate and gradients, other kernels; then the count.

    Args:
        spatial_gate: Takes maps (N, C, H, W) and the weights (1, 2, k, k) of a convolution, the first channel for the
            maximum; returns gates (N, 1, H, W).
        cost: Takes channels and reduction; returns how many numbers a CBAM learns.
    """
    maps = torch.tensor([[[[2.0]], [[-4.0]]]], dtype=torch.float64)  # two channels, one place: maximum 2, mean -1
    weight = torch.zeros(1, 2, 7, 7, dtype=torch.float64)
    expect(tuple(spatial_gate(maps, weight).shape) == (1, 1, 1, 1), "the gate of maps (N, C, H, W) is (N, 1, H, W).")
    expect(
        _near(spatial_gate(maps, weight), torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)),
        "with weights of 0 every gate is sigmoid(0) = 0.5.",
    )
    for place, pooled, word in ((0, 2.0, "maximum"), (1, -1.0, "mean")):
        weight = torch.zeros(1, 2, 7, 7, dtype=torch.float64)
        weight[0, place, 3, 3] = 1
        expect(
            _near(spatial_gate(maps, weight).flatten(), torch.tensor([pooled], dtype=torch.float64).sigmoid()),
            f"for channels 2 and -4, a weight of 1 on the {word} must give sigmoid({pooled:g}).",
            "`x.amax(dim=1, keepdim=True)` and `x.mean(dim=1, keepdim=True)`, joined by `torch.cat(..., dim=1)`.",
        )
    torch.manual_seed(0)
    for kernel in (7, 3):
        _expect_module(spatial_gate, kernel)
    for channels, reduction in ((64, 16), (256, 16), (16, 8), (8, 16)):
        wanted = sum(p.numel() for p in CBAM(channels, reduction).parameters())
        expect(
            cost(channels, reduction) == wanted,
            f"a CBAM of {channels} channels with reduction {reduction} learns {wanted:,} numbers.",
            "The hidden width is `max(1, channels // reduction)`. Two linear layers with biases; 98 weights of the 7x7 "
            "convolution; 2 numbers of its normalisation.",
        )


def _expect_module(spatial_gate: Callable[[Tensor, Tensor], Tensor], kernel: int) -> None:
    """The gate of `seglab.blocks.SpatialAttention` without normalisation, and its gradients."""
    module = SpatialAttention(kernel).double()
    module.norm = nn.Identity()
    theirs = torch.randn(2, 5, 9, 8, dtype=torch.float64, requires_grad=True)
    mine, weight = (tensor.detach().clone().requires_grad_() for tensor in (theirs, module.conv.weight))
    gate = spatial_gate(mine, weight)
    expect(
        tuple(gate.shape) == (2, 1, 9, 8),
        f"with a {kernel}x{kernel} kernel the gate must be as large as the maps.",
        "Pad by half of the kernel: `padding=weight.shape[-1] // 2`.",
    )
    attended = module(theirs)
    expect(_near(mine * gate, attended), "the gate differs from that of seglab.blocks.SpatialAttention.")
    found = torch.autograd.grad((mine * gate).square().sum(), (mine, weight), allow_unused=True)
    wanted = torch.autograd.grad(attended.square().sum(), (theirs, module.conv.weight))
    expect(
        all(one is not None and _near(one, other) for one, other in zip(found, wanted, strict=True)),
        "the values are right, their gradients are not: leave out `.detach()` and `torch.no_grad()`.",
    )


def _near(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=1e-10)
