"""ResU-Net: parameter counts, stage shapes, and the arithmetic of its unit."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seglab.blocks import CBAM
from seglab.models import build_model
from seglab.models.resunet import ResidualUnit


@pytest.mark.parametrize(
    ("num_classes", "knobs", "count"),
    [
        (1, {}, 13_043_009),
        (2, {}, 13_043_009 + 65),
        (1, {"cbam": "skip"}, 13_043_009 + 680 + 2_284 + 8_564),
    ],
)
def test_parameters_are_the_known_number(num_classes: int, knobs: dict[str, object], count: int) -> None:
    with torch.device("meta"):  # counting needs no memory
        model = build_model("resunet", num_classes, **knobs)
    assert sum(p.numel() for p in model.parameters()) == count


def test_bodies_alone_have_the_number_the_paper_states() -> None:
    """7.8 million: no shortcut and no enlarging has a parameter in the paper's count."""
    with torch.device("meta"):
        net = build_model("resunet", 1).net
    units = [module for module in net.modules() if isinstance(module, ResidualUnit)]
    biases = sum(m.bias.numel() for unit in units for m in unit.body if isinstance(m, nn.Conv2d))
    bodies = sum(p.numel() for unit in units for p in unit.body.parameters())
    head = sum(p.numel() for p in net.head.parameters())
    assert bodies - biases + head == 7_786_497


def test_stages_follow_the_papers_table() -> None:
    """Seven units: 64, 128, 256 wide, the bridge 512 at an eighth of the size, then back."""
    net, shapes = build_model("resunet", 2, width=4).net.eval(), []
    for module in net.modules():
        if isinstance(module, ResidualUnit):
            module.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape[1:])))
    net(torch.rand(1, 3, 64, 32))
    down = [(4, 64, 32), (8, 32, 16), (16, 16, 8), (32, 8, 4)]
    assert shapes == [*down, *down[2::-1]]


def test_unit_is_full_preactivation_beside_a_shortcut() -> None:
    torch.manual_seed(0)
    unit = ResidualUnit(3, 5, stride=2).train()
    x = torch.randn(4, 3, 8, 6)
    (_, _, first, _, _, second), (shortcut, _) = unit.body, unit.shortcut

    def normalised(y: torch.Tensor) -> torch.Tensor:  # by hand, as a fresh BN does in training
        mean, variance = y.mean(dim=(0, 2, 3), keepdim=True), y.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
        return (y - mean) / (variance + 1e-5).sqrt()

    hidden = F.conv2d(normalised(x).relu(), first.weight, first.bias, 2, 1)
    body = F.conv2d(normalised(hidden).relu(), second.weight, second.bias, 1, 1)
    beside = normalised(F.conv2d(x, shortcut.weight, shortcut.bias, 2, 1))
    torch.testing.assert_close(unit(x), body + beside)


def test_first_unit_sees_the_picture_as_it_is() -> None:
    unit = ResidualUnit(3, 5, first=True)
    assert isinstance(unit.body[0], nn.Conv2d)
    assert isinstance(unit.shortcut, nn.Conv2d)


@pytest.mark.parametrize(("place", "count"), [("encoder", 3), ("bottleneck", 1), ("skip", 3), ("decoder", 3)])
def test_cbam_sits_where_it_is_asked_for(place: str, count: int) -> None:
    model = build_model("resunet", 1, width=4, cbam=place)
    assert sum(isinstance(module, CBAM) for module in model.modules()) == count


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"width": 3}, "width must be an integer of at least 4; got 3"),
        ({"width": 8.0}, "width must be an integer of at least 4; got 8.0"),
        ({"cbam_style": "yolo"}, "cbam_style must be one of compact, original; got 'yolo'"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("resunet", 2, **knobs)
