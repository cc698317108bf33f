"""FCN: published parameter counts, bilinear beginnings, maps that line up, and VGG16's layers read as convolutions."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.models import build_model
from seglab.models.fcn8s import BilinearUpsampling


@pytest.mark.parametrize(
    ("num_classes", "knobs", "count"),
    [
        (2, {}, 134_271_430),
        (21, {}, 134_489_759),
        (2, {"output_stride": 16}, 134_273_924),
        (2, {"output_stride": 32}, 134_285_122),
    ],
)
def test_parameters_are_the_published_number(num_classes: int, knobs: dict[str, object], count: int) -> None:
    with torch.device("meta"):  # counting needs no memory
        model = build_model("fcn8s", num_classes, **knobs)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_enlarging_starts_as_bilinear_interpolation(factor: int) -> None:
    torch.manual_seed(0)
    scores = torch.rand(2, 3, 5, 4)
    ours = BilinearUpsampling(3, factor)(scores)
    theirs = F.interpolate(scores, scale_factor=factor, mode="bilinear", align_corners=False)
    assert ours.shape == theirs.shape
    inside = slice(factor // 2, -(factor // 2))  # nearer to the border, ours mixes in zeros
    torch.testing.assert_close(ours[..., inside, inside], theirs[..., inside, inside])


@pytest.mark.parametrize(("output_stride", "summed"), [(8, 3), (16, 2), (32, 1)])
def test_maps_of_all_depths_line_up(output_stride: int, summed: int) -> None:
    class Columns(nn.Module):
        """Maps that hold, at every stride, the column of their pixels' middles in the picture."""

        def forward(self, x: Tensor) -> dict[int, Tensor]:
            middles = torch.arange(x.shape[3]) + 0.5
            return {s: F.avg_pool2d(middles.expand(1, 1, *x.shape[2:]), s).expand(1, c, -1, -1) for s, c in widths}

    widths = ((8, 16), (16, 32), (32, 256))
    net = build_model("fcn8s", 1, width=4, output_stride=output_stride).net
    net.encoder = Columns()
    for score in net.score:
        score.weight.data.fill_(1 / score.in_channels)
        score.bias.data.zero_()
    logits = net(torch.rand(1, 3, 160, 192))[0, 0, 48:-48, 48:-48]
    torch.testing.assert_close(logits, (summed * (torch.arange(48, 144) + 0.5)).expand(64, -1))


def test_scored_maps_are_those_of_the_paper() -> None:
    net = build_model("fcn8s", 2, width=4).net.eval()
    maps = net.encoder(torch.rand(1, 3, 64, 96))
    assert {stride: tuple(each.shape[1:]) for stride, each in maps.items()} == {
        8: (16, 8, 12),
        16: (32, 4, 6),
        32: (256, 2, 3),
    }
    third = net.encoder.features[:17](image := torch.rand(1, 3, 64, 96))
    assert torch.equal(net.encoder(image)[8], third)
    assert isinstance(net.encoder.features[16], nn.MaxPool2d)


def test_dropout_follows_the_two_fully_connected_layers() -> None:
    net = build_model("fcn8s", 2, width=4).net
    assert [(name, m.p) for name, m in net.named_modules() if isinstance(m, nn.Dropout)] == [
        ("encoder.classifier.2", 0.5),
        ("encoder.classifier.5", 0.5),
    ]


def test_fully_connected_layers_become_convolutions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    linear6, linear7 = nn.Linear(32 * 7 * 7, 256), nn.Linear(256, 256)
    state = dict(build_model("fcn8s", 2, width=4).net.encoder.features.state_dict(prefix="features."))
    state |= linear6.state_dict(prefix="classifier.0.") | linear7.state_dict(prefix="classifier.3.")
    state |= nn.Linear(256, 1000).state_dict(prefix="classifier.6.")
    torch.save(state, tmp_path / "vgg16.pth")
    net = build_model("fcn8s", 2, width=4, weights=tmp_path / "vgg16.pth").net.eval()
    with torch.no_grad():
        pooled = torch.rand(1, 32, 7, 7)
        middle = net.encoder.classifier(pooled)[0, :, 3, 3]
        torch.testing.assert_close(middle, linear7(linear6(pooled.flatten(1)).relu()).relu()[0])
    assert all(torch.equal(value, state[f"features.{key}"]) for key, value in net.encoder.features.state_dict().items())


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"width": 3}, "width must be an integer of at least 4; got 3"),
        ({"output_stride": 4}, "output_stride must be one of 8, 16, 32; got 4"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("fcn8s", 2, **knobs)
