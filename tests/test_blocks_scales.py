"""SPPF and C2f: published parameter counts, the pyramid they stand for, and the wiring of the chain."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seglab.blocks import SPPF, C2f, ConvSiLU


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("channels", "sppf", "c2f"),
    [
        (64, 10_432, 29_056),
        (256, 164_608, 460_288),
        (512, 656_896, 1_838_080),
        (1024, 2_624_512, 7_346_176),
        (2048, 10_491_904, 29_372_416),
    ],
)
def test_blocks_have_the_published_parameters(channels: int, sppf: int, c2f: int) -> None:
    with torch.device("meta"):  # counting needs no memory
        assert parameters(SPPF(channels, channels)) == parameters(SPPF(channels)) == sppf
        assert parameters(C2f(channels, channels, n=1)) == parameters(C2f(channels)) == c2f


def test_conv_silu_is_convolution_normalisation_and_silu() -> None:
    block, x = ConvSiLU(3, 4, 3).eval(), torch.randn(2, 3, 5, 6)
    normalised = F.conv2d(x, block[0].weight, padding=1) / (1 + block[1].eps) ** 0.5
    torch.testing.assert_close(block(x), normalised * normalised.sigmoid(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(9, 14), (2, 3)])
def test_sppf_equals_pools_of_5_9_and_13_side_by_side(size: tuple[int, int]) -> None:
    block, x = SPPF(8, 6).eval(), torch.randn(2, 8, *size)
    y = block.reduce(x)
    pools = [F.max_pool2d(y, side, stride=1, padding=side // 2) for side in (5, 9, 13)]
    torch.testing.assert_close(block(x), block.fuse(torch.cat([y, *pools], dim=1)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_c2f_keeps_every_step_of_its_chain(n: int, shortcut: bool) -> None:
    block, x = C2f(6, 8, n=n, shortcut=shortcut).eval(), torch.randn(2, 6, 5, 7)
    split = block.split(x)
    kept, last = [split], split[:, 4:]
    for first, second in block.chain:
        last = second(first(last)) + (last if shortcut else 0)
        kept.append(last)
    assert block.fuse[0].in_channels == 8 + 4 * n
    torch.testing.assert_close(block(x), block.fuse(torch.cat(kept, dim=1)), atol=1e-6, rtol=0)


def test_blocks_keep_the_size_and_reach_the_asked_channels() -> None:
    x = torch.rand(2, 6, 5, 7)
    assert SPPF(6, 10)(x).shape == C2f(6, 10)(x).shape == (2, 10, 5, 7)


def test_even_pools_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd and at least 1; got 4"):
        SPPF(8, kernel_size=4)
