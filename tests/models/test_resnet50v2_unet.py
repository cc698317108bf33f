"""ResNet50V2-UNet: the encoder is timm's, the decoder as described, and dropout where it was asked for."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from seglab.blocks import CBAM
from seglab.models import build_model


def convolutions(channels: int, out: int) -> int:
    """Parameters of two 3x3 convolutions without bias, and of the normalisations after them."""
    return 9 * channels * out + 2 * out + 9 * out * out + 2 * out


def test_parameters_are_those_of_the_published_encoder_and_the_described_decoder() -> None:
    with torch.device("meta"):  # counting needs no memory
        net = build_model("resnet50v2_unet", 1).net
        published = sum(p.numel() for p in timm.create_model("resnetv2_50").parameters())
    assert round(published / 1e6, 1) == 25.5  # 25.6 in Keras, which counts running statistics too
    assert sum(p.numel() for p in net.encoder.parameters()) == published - (2048 * 1000 + 1000)
    up = sum(4 * c * (c // 2) + c // 2 for c in (2048, 512, 256, 128, 64))
    joined = [(1024 + 1024, 512), (512 + 256, 256), (256 + 128, 128), (64 + 64, 64), (32, 32)]
    expected = published - 2_049_000 + up + sum(convolutions(*pair) for pair in joined) + 33
    assert sum(p.numel() for p in net.parameters()) == expected == 47_465_409


def test_oracle_of_the_same_encoder_in_another_library() -> None:
    with torch.device("meta"):
        model = build_model("smp_unet", 1, encoder="tu-resnetv2_50")
    assert sum(p.numel() for p in model.parameters()) == 32_509_329


def test_stages_halve_the_picture_and_levels_double_it_back() -> None:
    net, skips, shapes = build_model("resnet50v2_unet", 2, width=8).net.eval(), [], []
    for module in net.attention:
        module.register_forward_hook(lambda _module, _inputs, out: skips.append(tuple(out.shape[1:])))
    for part in [*net.decoder.levels, net.last]:
        part.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape[1:])))
    net(torch.rand(1, 3, 64, 32))
    assert skips == [(8, 32, 16), (32, 16, 8), (64, 8, 4), (128, 4, 2), (256, 2, 1)]
    assert shapes == [(64, 4, 2), (32, 8, 4), (16, 16, 8), (8, 32, 16), (4, 64, 32)]


def test_only_the_deepest_map_has_passed_the_last_activation() -> None:
    torch.manual_seed(0)
    net, maps = build_model("resnet50v2_unet", 2, width=8).net.eval(), []
    for module in net.attention:
        module.register_forward_hook(lambda _module, _inputs, out: maps.append(out))
    net(torch.randn(1, 3, 64, 64))
    assert [each.min().item() < 0 for each in maps] == [True, True, True, True, False]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_encoder_computes_what_timm_computes(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("resnetv2_50", width_factor=8 / 64, num_classes=10).eval()
    path = tmp_path / f"resnetv2_50{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(theirs.state_dict(), path)
    net = build_model("resnet50v2_unet", 1, width=8, weights=path).net.eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net.encoder(image), theirs.forward_features(image))


def test_weights_come_from_a_file_only(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="weights must be an existing file; got torchvision"):
        build_model("resnet50v2_unet", 1, width=8, weights="torchvision")
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="must hold the state dict of timm's resnetv2_50; got one without"):
        build_model("resnet50v2_unet", 1, width=8, weights=tmp_path / "empty.pth")


@pytest.mark.parametrize(
    ("knobs", "places"),
    [
        ({}, ["drop"]),
        ({"dropout_place": "head"}, ["head.0"]),
        ({"dropout_place": "decoder"}, [*(f"decoder.levels.{i}.block.1" for i in range(4)), "last.2.1"]),
        ({"dropout": 0}, []),
    ],
)
def test_dropout_sits_where_it_is_asked_for(knobs: dict[str, object], places: list[str]) -> None:
    net = build_model("resnet50v2_unet", 1, width=8, **knobs).net
    assert [name for name, m in net.named_modules() if isinstance(m, nn.Dropout) and m.p == 0.3] == places
    assert not [name for name, m in net.encoder.named_modules() if isinstance(m, nn.Dropout) and m.p > 0]


def test_training_drops_three_tenths_of_the_bottleneck() -> None:
    torch.manual_seed(0)
    net, passed = build_model("resnet50v2_unet", 1, width=8).net.train(), []
    net.drop.register_forward_hook(lambda _module, inputs, out: passed.append((inputs[0], out)))
    net(torch.rand(4, 3, 64, 64))
    before, after = passed[0]
    assert before.shape[1] == 256
    lost = (after == 0)[before > 0].float().mean().item()
    assert lost == pytest.approx(0.3, abs=0.05)
    torch.testing.assert_close(after[after > 0], before[after > 0] / 0.7)


@pytest.mark.parametrize(("place", "count"), [("encoder", 4), ("bottleneck", 1), ("skip", 4), ("decoder", 5)])
def test_cbam_sits_where_it_is_asked_for(place: str, count: int) -> None:
    model = build_model("resnet50v2_unet", 1, width=8, cbam=place)
    assert sum(isinstance(module, CBAM) for module in model.modules()) == count


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"width": 12}, "width must be a multiple of 8, at least 8; got 12"),
        ({"width": 0}, "width must be a multiple of 8, at least 8; got 0"),
        ({"dropout": 1}, "dropout must be a number from 0 to below 1; got 1"),
        ({"dropout": "0.3"}, "dropout must be a number from 0 to below 1; got '0.3'"),
        ({"dropout_place": "encoder"}, "dropout_place must be one of bottleneck, decoder, head; got 'encoder'"),
        ({"cbam": "head"}, "cbam must be one of bottleneck, decoder, encoder, skip; got 'head'"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("resnet50v2_unet", 2, **knobs)
