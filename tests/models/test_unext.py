"""UNeXt: published parameter counts, stage shapes, and the shift against a roll of the padded map."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seglab.models import build_model
from seglab.models.unext import ShiftedMLP, shift


def rolled(x: Tensor, axis: int) -> Tensor:
    """The shift as published: pad by two, roll each fifth of the channels, cut the padding off."""
    padded = F.pad(x, (2, 2, 2, 2))
    groups = [torch.roll(group, by, axis) for group, by in zip(padded.chunk(5, 1), range(-2, 3), strict=False)]
    return torch.cat(groups, 1)[:, :, 2:-2, 2:-2]


@pytest.mark.parametrize(
    ("num_classes", "size", "count"),
    [(1, "base", 1_471_921), (4, "base", 1_471_921 + 3 * 17), (1, "small", 253_561), (1, "large", 3_985_633)],
)
def test_parameters_are_the_published_number(num_classes: int, size: str, count: int) -> None:
    with torch.device("meta"):  # counting needs no memory
        model = build_model("unext", num_classes, size=size)
    assert sum(p.numel() for p in model.parameters()) == count


def test_some_published_biases_are_cancelled_by_batch_normalisation() -> None:
    with torch.device("meta"):
        net = build_model("unext", 1).net
    convolutions = [stage[0] for stage in [*net.encoder[:3], *net.ups]]
    assert sum(convolution.bias.numel() for convolution in convolutions) == 512


@pytest.mark.parametrize("channels", [4, 5, 7, 16, 160])  # fewer than five groups, even groups, a short last group
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("size", [(6, 9), (1, 2)])  # the smallest are all shifted out
def test_shift_rolls_the_padded_map(channels: int, axis: int, size: tuple[int, int]) -> None:
    x = torch.rand(2, channels, *size)
    assert torch.equal(shift(x, axis), rolled(x, axis))


def test_shift_moves_the_last_fifth_of_the_channels_down_by_two_pixels() -> None:
    x = torch.zeros(1, 10, 5, 5)
    x[0, :, 1, 3] = 1
    moved = shift(x, axis=2)
    assert moved[0, 8:, 3, 3].tolist() == [1, 1]
    assert moved[0, 2:4, 0, 3].tolist() == [1, 1]  # the second fifth goes up by one
    assert moved[0, :2].sum() == 0  # the first fifth has left the picture
    assert moved.sum() == 8


def test_block_sees_five_by_five_pixels_plus_what_the_convolution_adds() -> None:
    block = ShiftedMLP(10).double()
    x = torch.zeros(1, 10, 15, 15, dtype=torch.float64)
    other = x.clone()
    other[0, :, 7, 7] = torch.linspace(-1, 1, 10)  # not constant, which the normalisation would remove
    with torch.no_grad():
        changed = (block(other) - block(x)).abs().sum(1)[0] > 1e-12
    rows, columns = changed.nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 10, 4, 10)  # 2 by the shift, 1 by 3x3


def test_stages_halve_the_picture_and_skips_are_added() -> None:
    net, shapes = build_model("unext", 2).net.eval(), []
    for part in [*net.encoder, *net.mixers]:
        part.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        net(torch.rand(1, 3, 64, 96))
    encoder = [(16, 32, 48), (32, 16, 24), (128, 8, 12), (160, 4, 6), (256, 2, 3)]
    assert shapes == encoder + encoder[-2::-1]


def test_unknown_size_is_named() -> None:
    with pytest.raises(ValueError, match="size must be one of base, large, small; got 'smal'. Did you mean 'small'"):
        build_model("unext", 2, size="smal")
