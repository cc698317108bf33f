"""DeepLabv3+: parameter counts, the published dilations, and the same network under its other name."""

import pytest
import torch
from torch import nn

from seglab.models import build_model


@pytest.mark.parametrize(
    ("knobs", "count"), [({}, 26_677_585), ({"encoder": "resnet101"}, 45_669_713), ({"output_stride": 8}, 26_677_585)]
)
def test_parameters_are_the_number_of_the_library(knobs: dict[str, object], count: int) -> None:
    with torch.device("meta"):  # counting needs no memory
        model = build_model("deeplabv3plus", 1, **knobs)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize(("output_stride", "rates"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
def test_rates_are_those_of_the_paper(output_stride: int, rates: list[int]) -> None:
    with torch.device("meta"):
        net = build_model("deeplabv3plus", 1, output_stride=output_stride).net
    dilations = [m.dilation[0] for m in net.decoder.modules() if isinstance(m, nn.Conv2d) and m.dilation[0] > 1]
    assert dilations == rates


@pytest.mark.parametrize("output_stride", [8, 16])
def test_deepest_map_is_as_fine_as_asked(output_stride: int) -> None:
    net = build_model("deeplabv3plus", 1, encoder="resnet18", output_stride=output_stride).net.eval()
    with torch.no_grad():
        deepest = net.encoder(torch.rand(1, 3, 64, 32))[-1]
    assert deepest.shape[2:] == (64 // output_stride, 32 // output_stride)


def test_it_is_the_network_of_the_library_with_the_published_rates() -> None:
    ours = build_model("deeplabv3plus", 2, encoder="resnet18").eval()
    theirs = build_model("smp_deeplabv3plus", 2, encoder="resnet18", decoder_atrous_rates=[6, 12, 18]).eval()
    theirs.load_state_dict(ours.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(image), theirs(image))


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"output_stride": 32}, "output_stride must be 8 or 16; got 32"),
        ({"encoder": "resnet51"}, "encoder must be one of .*; got 'resnet51'. Did you mean 'resnet50'"),
        ({"encoder": "vgg16"}, "knobs of smp_deeplabv3plus must fit together; got encoder='vgg16'"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("deeplabv3plus", 2, **knobs)
