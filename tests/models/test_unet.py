"""U-Net: parameter counts and stage shapes of the published network."""

import pytest
import torch
from torch import nn

from seglab.blocks import CBAM
from seglab.models import build_model

ZHANG = ("encoder", "bottleneck", "decoder")


@pytest.mark.parametrize(
    ("num_classes", "knobs", "count"),
    [
        (1, {}, 31_037_633),
        (2, {}, 31_037_698),
        (2, {"upsampling": "bilinear"}, 17_263_042),
        (1, {"cbam": ZHANG}, 31_259_773),
        (1, {"cbam": "skip"}, 31_037_633 + 44_940),
        (1, {"cbam": "skip", "cbam_style": "compact"}, 31_037_633 + 87_432),
        (1, {"cbam": ["skip", "bottleneck"], "cbam_residual": True}, 31_037_633 + 44_940 + 132_260 + 5),
        (2, {"upsampling": "bilinear", "cbam": "decoder"}, 17_263_042 + 44_940),
    ],
)
def test_parameters_are_the_published_number(num_classes: int, knobs: dict[str, object], count: int) -> None:
    with torch.device("meta"):  # counting needs no memory
        model = build_model("unet", num_classes, **knobs)
    assert sum(p.numel() for p in model.parameters()) == count


def test_up_convolutions_give_the_count_of_the_network_with_biases_before_normalisation() -> None:
    with torch.device("meta"):
        model = build_model("unet", 1, upsampling="convolution")
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    cancelled = sum(conv.out_channels for conv in convolutions if conv.bias is None)
    assert sum(p.numel() for p in model.parameters()) + cancelled == 34_527_041


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear", "convolution"])
def test_stages_halve_the_picture_and_double_the_channels(upsampling: str) -> None:
    net, shapes = build_model("unet", 2, width=4, upsampling=upsampling).net.eval(), []
    for part in [*net.encoder, *net.decoder.levels]:
        part.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape[1:])))
    net(torch.rand(1, 3, 64, 32))
    deepest = 32 if upsampling == "bilinear" else 64
    assert shapes[:5] == [(4, 64, 32), (8, 32, 16), (16, 16, 8), (32, 8, 4), (deepest, 4, 2)]
    widths = (16, 8, 4, 4) if upsampling == "bilinear" else (32, 16, 8, 4)
    assert shapes[5:] == list(zip(widths, (8, 16, 32, 64), (4, 8, 16, 32), strict=True))


@pytest.mark.parametrize(("place", "count"), [("encoder", 4), ("bottleneck", 1), ("skip", 4), ("decoder", 4)])
def test_cbam_sits_where_it_is_asked_for(place: str, count: int) -> None:
    model = build_model("unet", 1, width=4, cbam=place)
    assert sum(isinstance(module, CBAM) for module in model.modules()) == count


def test_skips_carry_the_map_the_encoder_attended() -> None:
    net = build_model("unet", 1, width=4, cbam="encoder").net.eval()
    attended, skipped = [], []
    for module in net.attention[:4]:
        module.register_forward_hook(lambda _module, _inputs, out: attended.append(out))
    for level in net.decoder.levels:
        level.skip.register_forward_hook(lambda _module, inputs, _out: skipped.append(inputs[0]))
    net(torch.rand(1, 3, 32, 32))
    assert all(a is s for a, s in zip(attended, reversed(skipped), strict=True))


def test_attention_on_a_frozen_encoder_still_learns() -> None:
    model = build_model("unet", 1, width=4, cbam="encoder")
    model.freeze_encoder(True)
    assert all(p.requires_grad for p in model.net.attention.parameters())


def test_places_are_remembered_as_plain_json() -> None:
    assert build_model("unet", 1, width=4, cbam={"skip", "decoder"}).knobs == {
        "width": 4,
        "upsampling": "transposed",
        "cbam": ["decoder", "skip"],
        "cbam_style": "original",
        "cbam_residual": False,
    }


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"width": 3}, "width must be an integer of at least 4; got 3"),
        ({"width": 8.0}, "width must be an integer of at least 4; got 8.0"),
        ({"upsampling": "biliner"}, "Did you mean 'bilinear'"),
        ({"cbam": ("skip", "head")}, "cbam must be one of bottleneck, decoder, encoder, skip; got 'head'"),
        ({"cbam_style": "yolo"}, "cbam_style must be one of compact, original; got 'yolo'"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("unet", 2, **knobs)
