"""MALUNet: the published parameter count, stage shapes, and its four modules against their definitions."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from seglab import Predictor
from seglab.blocks import AttentionMap
from seglab.explain import attention_maps
from seglab.models import build_model
from seglab.models.malunet import DGA, IEA, build


def test_parameters_are_the_published_number() -> None:
    with torch.device("meta"):  # counting needs no memory
        net = build(1)
    assert sum(p.numel() for p in net.parameters()) == 177_943
    bridges = [net.spatial, net.across, net.channel]
    assert sum(p.numel() for part in bridges for p in part.parameters()) == 99 + 3 + 128 * 128 + 128


def test_six_stages_of_the_published_widths() -> None:
    net, shapes = build(2).eval(), []
    for stage in [*net.encoder, *net.levels]:
        stage.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        net(torch.rand(1, 3, 64, 96))
    down = [(8, 32, 48), (16, 16, 24), (24, 8, 12), (32, 4, 6), (48, 2, 3), (64, 2, 3)]
    assert shapes == down + down[-2::-1]


@torch.no_grad()
def test_memory_answers_every_pixel_by_double_normalised_similarity() -> None:
    torch.manual_seed(0)
    block, x = IEA(4), torch.randn(1, 4, 3, 2)
    pixels = block.before(x)[0].flatten(1).T  # (6, 4)
    keys, values = block.memory_k.weight[..., 0], block.memory_v.weight[..., 0].T  # both (16, 4)
    similar = (pixels @ keys.T).exp()
    similar = similar / similar.sum(dim=0)  # over pixels first,
    similar = similar / similar.sum(dim=1, keepdim=True)  # then over rows, so that a pixel's weights sum to one
    remembered = (similar @ values).T.reshape(1, 4, 3, 2)
    torch.testing.assert_close(block(x), F.gelu(x + block.after(remembered)))


@torch.no_grad()
def test_quarters_look_at_four_distances() -> None:
    torch.manual_seed(0)
    block = DGA(8, 4)
    seen: list[torch.Tensor] = []
    block.mix.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    x = torch.zeros(1, 8, 17, 17)
    block(x)
    x[:, :, 8, 8] = 1
    block(x)
    changed = (seen[0] != seen[1])[0]
    for number, reach in enumerate((1, 2, 5, 7)):
        for channel in (2 * number, 2 * number + 1):
            rows = changed[channel].any(dim=1).nonzero().flatten().tolist()
            assert rows == [8 - reach, 8, 8 + reach]


@torch.no_grad()
def test_a_shut_gate_leaves_the_shortcut_alone() -> None:
    torch.manual_seed(0)
    block, x = DGA(8, 4), torch.randn(2, 8, 5, 5)
    block.gate[0][2].weight.zero_()
    block.gate[0][2].bias.fill_(-100)
    mixed = block.mix(torch.cat([look(each) for look, each in zip(block.looks, x.chunk(4, dim=1), strict=True)], dim=1))
    silent = block.out(torch.zeros_like(mixed))
    torch.testing.assert_close(block(x), silent + block.shortcut(mixed))


@torch.no_grad()
def test_bridge_weighs_pixels_alike_in_all_skips_and_channels_by_all_averages() -> None:
    torch.manual_seed(0)
    net = build(1).eval()
    skips = [torch.randn(1, c, s, s) for c, s in zip((8, 16, 24, 32, 48), (16, 8, 4, 2, 1), strict=True)]
    weighed = []
    for x in skips:
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.max(dim=1, keepdim=True).values], dim=1)
        score = F.conv2d(pooled, net.spatial.weight, net.spatial.bias, padding=9, dilation=3)
        weighed.append(x * (1 + torch.sigmoid(score)))
    line = torch.cat([F.adaptive_avg_pool2d(x, 1).flatten() for x in weighed])  # 128 averages
    left, middle, right = net.across.weight[0, 0]
    padded = F.pad(line, (1, 1))
    line = left * padded[:-2] + middle * padded[1:-1] + right * padded[2:]
    for got, x, scores in zip(net.bridge(skips), weighed, net.channel, strict=True):
        gate = torch.sigmoid(scores.weight @ line + scores.bias)
        torch.testing.assert_close(got, x * (1 + gate[:, None, None]))


def test_gates_are_found_and_shown_per_skip() -> None:
    torch.manual_seed(0)
    model = build_model("malunet", 1)
    assert sum(isinstance(module, AttentionMap) for module in model.modules()) == 10
    stages = attention_maps(Predictor(model, size=64), np.full((64, 64, 3), 90, np.uint8))
    assert list(stages) == [f"skip {number}" for number in (1, 2, 3, 4, 5)]
    assert [stage.channel.shape[0] for stage in stages.values()] == [8, 16, 24, 32, 48]
    assert [stage.gate.shape for stage in stages.values()] == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    assert all(stage.gate.min() > 0 and stage.gate.max() < 1 for stage in stages.values())


@pytest.mark.parametrize("width", [4, 10, "8"])
def test_wrong_widths_are_named(width: object) -> None:
    with pytest.raises(ValueError, match=f"width must be a multiple of 4 and at least 8; got {width!r}"):
        build_model("malunet", 1, width=width)
