"""VGG16-UNet: published parameter counts, stage shapes, and encoder weights as torchvision writes them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import vgg

from seglab.models import build_model


@pytest.mark.parametrize(
    ("num_classes", "knobs", "count"),
    [
        (2, {}, 24_891_202),
        (21, {}, 24_892_437),
        (2, {"cbam": "skip"}, 24_936_142),
        (2, {"cbam": ("skip", "bottleneck")}, 24_969_554),
        (2, {"cbam": ("skip", "bottleneck"), "cbam_style": "compact"}, 25_044_268),
    ],
)
def test_parameters_are_the_published_number(num_classes: int, knobs: dict[str, object], count: int) -> None:
    with torch.device("meta"):  # counting needs no memory
        model = build_model("vgg16_unet", num_classes, **knobs)
    assert sum(p.numel() for p in model.parameters()) == count


def test_decoder_joins_maps_of_the_published_widths() -> None:
    with torch.device("meta"):
        net = build_model("vgg16_unet", 2).net
    convolutions = [level.block[0] for level in net.decoder.levels]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(1024, 512), (768, 256), (384, 128), (192, 64)]


@pytest.fixture(scope="module")
def torchvision_state() -> dict[str, Tensor]:
    """State dict with the keys and shapes of torchvision's VGG16, without its large classifier."""
    torch.manual_seed(0)
    features = vgg.make_layers(vgg.cfgs["D"], batch_norm=False)
    return {f"features.{key}": value for key, value in features.state_dict().items()}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_encoder_computes_what_torchvision_computes(
    torchvision_state: dict[str, Tensor], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"vgg16{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(torchvision_state, path)
    net = build_model("vgg16_unet", 2, weights=path).net
    features = vgg.make_layers(vgg.cfgs["D"], batch_norm=False)
    features.load_state_dict({key.removeprefix("features."): value for key, value in torchvision_state.items()})
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net.encoder(image), features[:-1](image))


def test_weights_are_not_remembered_because_a_checkpoint_replaces_them() -> None:
    with torch.device("meta"):
        assert "weights" not in build_model("vgg16_unet", 2).knobs


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'must be an existing file or "torchvision"; got .*no\.pth'):
        build_model("vgg16_unet", 2, weights=tmp_path / "no.pth")


def test_fresh_weights_neither_fade_nor_explode() -> None:
    torch.manual_seed(0)
    model = build_model("vgg16_unet", 2).eval()
    with torch.no_grad():
        logits = model(torch.rand(1, 3, 64, 64))
    assert 0.01 < logits.std() < 10
