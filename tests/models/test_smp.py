"""The models of segmentation-models-pytorch: all of them, as that library builds them, without its downloads."""

import sys
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision

from seglab.checkpoint import Description, load_model, save_model
from seglab.models import _smp, build_model, knobs_of, list_models

from .sizes import SMALL

NAMES = sorted(_smp.ARCHITECTURES)
CONVOLUTIONAL = [name for name in NAMES if name != "smp_dpt"]


def test_every_architecture_of_the_library_is_there() -> None:
    theirs = {f"smp_{key}": each.__name__ for key, each in smp.MODEL_ARCHITECTURES_MAPPING.items()}
    assert theirs == _smp.ARCHITECTURES


def test_listing_the_models_needs_neither_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("segmentation_models_pytorch", "timm"):
        monkeypatch.setitem(sys.modules, each, None)
    assert set(NAMES) < set(list_models())
    with pytest.raises(ImportError, match="segmentation_models_pytorch"):
        build_model("smp_unet", 1)


@pytest.mark.parametrize(
    ("name", "encoder", "knobs", "count"),
    [
        ("smp_unet", "vgg16", {}, 23_748_241),
        ("smp_unet", "vgg16_bn", {}, 23_756_689),
        ("smp_unet", "resnet34", {}, 24_436_369),
        ("smp_unet", "resnet34", {"decoder_attention_type": "scse"}, 24_550_360),
        ("smp_unet", "resnet50", {}, 32_521_105),
        ("smp_unet", "resnet101", {}, 51_513_233),
        ("smp_unet", "tu-resnetv2_50", {}, 32_509_329),
        ("smp_unetplusplus", "resnet34", {}, 26_078_609),
        ("smp_linknet", "resnet34", {}, 21_771_937),
        ("smp_fpn", "resnet34", {}, 23_155_393),
        ("smp_manet", "resnet34", {}, 31_783_633),
        ("smp_segformer", "mit_b0", {}, 3_714_401),
    ],
)
def test_parameters_are_the_number_of_the_library(
    name: str, encoder: str, knobs: dict[str, object], count: int
) -> None:
    with torch.device("meta"):  # counting needs no memory
        model = build_model(name, 1, encoder=encoder, **knobs)
    assert all(value.is_meta for value in model.state_dict().values())
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_the_library(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, 2, **SMALL[name]).eval()
    knobs = {key: value for key, value in SMALL[name].items() if key != "encoder"}
    if name == "smp_pspnet":
        knobs["upsampling"] = 32
    if name == "smp_dpt":
        knobs |= {"dynamic_img_size": True, "num_classes": 0}
    theirs = smp.create_model(name.removeprefix("smp_"), SMALL[name]["encoder"], None, classes=2, **knobs).eval()
    theirs.load_state_dict(model.net.state_dict())
    image = torch.rand(2, 3, 128, 128)
    normalised = torchvision.transforms.functional.normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        torch.testing.assert_close(model(image), theirs(normalised), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_logits_are_as_large_as_the_picture_at_every_depth(name: str, depth: int) -> None:
    channels = {"decoder_channels": [32, 16, 16, 8][:depth]}
    several = name in ("smp_unet", "smp_unetplusplus", "smp_manet")
    model = build_model(name, 1, encoder="tu-test_efficientnet", encoder_depth=depth, **(channels if several else {}))
    with torch.no_grad():
        assert model.eval()(torch.rand(1, 3, 40, 72)).shape == (1, 1, 40, 72)


def test_own_defaults_are_remembered_beside_the_encoder() -> None:
    model = build_model("smp_fpn", 1, encoder="resnet18")
    assert model.knobs == {
        "encoder": "resnet18",
        "encoder_depth": 5,
        "decoder_pyramid_channels": 256,
        "decoder_segmentation_channels": 128,
        "decoder_merge_policy": "add",
        "decoder_dropout": 0.2,
        "decoder_interpolation": "nearest",
    }
    assert knobs_of("smp_fpn") == {**model.knobs, "encoder": "resnet34", "weights": None}


def test_transformer_survives_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("smp_segformer", 2, encoder="mit_b0").eval()
    about = Description("smp_segformer", model.knobs, 2, ("background", "lesion"), size=32)
    save_model(tmp_path / "model.safetensors", model, about)
    again, _ = load_model(tmp_path / "model.safetensors")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(image), model(image))


def test_weights_of_torchvision_fill_an_encoder_of_that_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    net = build_model("smp_linknet", 1, encoder="resnet18", weights=tmp_path / "resnet18.pth").net.eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        deepest = net.encoder(image)[-1]
        torch.testing.assert_close(theirs.fc(deepest.mean(dim=(2, 3))), theirs(image))


@pytest.mark.parametrize("encoder", ["resnet34", "vgg16_bn", "densenet121", "mobilenet_v2", "resnext50_32x4d"])
def test_encoders_that_torchvision_has_too_are_named_and_shaped_alike(encoder: str) -> None:
    with torch.device("meta"):
        ours = build_model("smp_unet", 1, encoder=encoder).encoder.state_dict()
        theirs = torchvision.models.get_model(encoder).state_dict()
    assert {key: value.shape for key, value in ours.items()}.items() <= {k: v.shape for k, v in theirs.items()}.items()


@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet", "test_resnet"])
def test_weights_of_timm_fill_an_encoder_of_that_name(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    net = build_model("smp_unet", 1, encoder=f"tu-{name}", weights=tmp_path / "weights.pth").net.eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        deepest = theirs.forward_intermediates(image, intermediates_only=True)[-1]
        torch.testing.assert_close(net.encoder(image)[-1], deepest)


def test_weights_of_the_library_fill_its_own_encoders(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = smp.encoders.get_encoder("mit_b0").eval()
    torch.save(theirs.state_dict(), tmp_path / "mit_b0.pth")
    net = build_model("smp_segformer", 1, encoder="mit_b0", weights=tmp_path / "mit_b0.pth").net.eval()
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in net.encoder.state_dict().items())
    with pytest.raises(ValueError, match="must hold the state dict of segmentation-models-pytorch's dpn68; got one"):
        build_model("smp_segformer", 1, encoder="dpn68", weights=tmp_path / "mit_b0.pth")


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "tu-test_resnet", "mit_b0"])
def test_nothing_is_downloaded_unasked(monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    build_model("smp_fpn", 1, encoder=encoder)


@pytest.mark.parametrize(
    ("name", "knobs", "words"),
    [
        ("smp_unett", {}, "model must be one of .*; got 'smp_unett'. Did you mean 'smp_unet'"),
        (
            "smp_fpn",
            {"encoder": "resnt34"},
            r"encoder must be one of the \d+ of .*; got 'resnt34'. Did you mean 'resnet34'",
        ),
        ("smp_fpn", {"encoder": "resnetv2_50"}, "got 'resnetv2_50'. Did you mean 'tu-resnetv2_50'"),
        ("smp_fpn", {"encoder": "tu-resnetv2_5"}, "got 'tu-resnetv2_5'. Did you mean 'tu-resnetv2_50"),
        (
            "smp_fpn",
            {"encoder": "tu-hf-hub:someone/network"},
            "encoder must be one of .* got 'tu-hf-hub:someone/network'",
        ),
        ("smp_fpn", {"encoder": 34}, "encoder must be one of .* got '34'"),
        ("smp_fpn", {"decoder_chanels": 3}, "knob of smp_fpn must be one of decoder_dropout, .* got 'decoder_chanels'"),
        ("smp_fpn", {"upsampling": 2}, "knob of smp_fpn must be one of .* got 'upsampling'"),
        (
            "smp_unet",
            {"decoder_channels": [8]},
            r"must fit together; got encoder='resnet34', decoder_channels=\[8\]: Model",
        ),
        ("smp_linknet", {"encoder": "mit_b0"}, "knobs of smp_linknet must fit together; got encoder='mit_b0': "),
        ("smp_dpt", {"encoder": "resnet34"}, "knobs of smp_dpt must fit together; got encoder='resnet34': Only Timm"),
        ("smp_dpt", {"encoder": "tu-vit_small_patch14_dinov2"}, "must have patches of 16 or 32 pixels; got .* with 14"),
    ],
)
def test_wrong_requests_are_answered_in_one_line(name: str, knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught, torch.device("meta"):
        build_model(name, 1, **knobs)
    assert "\n" not in str(caught.value)
