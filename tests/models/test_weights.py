"""Pretrained encoder weights: read safely, refused in one line."""

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import _api

from seglab.models._weights import load_encoder

RIGHT = {"features.0.weight": torch.ones(2, 3, 1, 1), "features.0.bias": torch.ones(2)}


class Trap:
    """Runs code when a careless reader opens it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("sprung"),)


def encoder() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 1))


def load(weights: object) -> nn.Module:
    filled = encoder()
    load_encoder(filled, weights, "vgg16", "features.")
    return filled


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_weights_fill_the_encoder_and_other_tensors_are_left_out(tmp_path: Path, name: str) -> None:
    state = RIGHT | {"classifier.0.weight": torch.zeros(5)}
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    assert all((p == 1).all() for p in load(str(tmp_path / name)).parameters())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"0.weight": torch.ones(2, 3, 1, 1)}, "without 2 of the encoder's 2 tensors, the first features.0.weight"),
        ({"features.0.weight": torch.ones(2, 3, 1, 1)}, "without 1 of the encoder's 2 tensors, the first features.0.b"),
        (RIGHT | {"features.0.bias": torch.ones(3)}, r"features.0.bias as \(2,\); got \(3,\)"),
        (RIGHT | {"features.0.bias": "text"}, "without 1 of the encoder's 2"),
        ([1, 2], "must be a state dict; got a list"),
        (Trap(), "must be a state dict saved by torch.save or safetensors; got a UnpicklingError"),
    ],
)
def test_wrong_content_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=words) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="must be a state dict saved by torch.save or safetensors") as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_weights_are_a_file_and_not_a_switch() -> None:
    with pytest.raises(ValueError, match='must be a file or "torchvision"; got True'):
        load(True)


def test_torchvision_is_asked_only_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(url: str, *_args: object, **_kwargs: object) -> dict[str, Tensor]:
        asked.append(url)
        return RIGHT

    monkeypatch.setattr(_api, "load_state_dict_from_url", fetch)
    assert all((p == 1).all() for p in load("torchvision").parameters())
    assert asked == ["https://download.pytorch.org/models/vgg16-397923af.pth"]


@pytest.mark.parametrize("error", [URLError("no network"), RuntimeError("invalid hash value\nsecond line"), OSError()])
def test_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fetch(*_args: object, **_kwargs: object) -> dict[str, Tensor]:
        raise error

    monkeypatch.setattr(_api, "load_state_dict_from_url", fetch)
    with pytest.raises(ConnectionError, match=r"could not be fetched from https.*weights=FILE\.$") as caught:
        load("torchvision")
    assert "\n" not in str(caught.value)


def test_weights_of_a_fully_connected_layer_fill_the_convolution_that_does_the_same(tmp_path: Path) -> None:
    dense, convolution = nn.Linear(12, 5), nn.Conv2d(3, 5, 2)
    torch.save(dense.state_dict(), tmp_path / "dense.pth")
    load_encoder(convolution, tmp_path / "dense.pth", "vgg16", "")
    x = torch.rand(4, 3, 2, 2)
    torch.testing.assert_close(convolution(x).flatten(1), dense(x.flatten(1)))


def test_names_that_an_extractor_flattened_are_found(tmp_path: Path) -> None:
    torch.save({"stages.0.1.bias": torch.ones(2), "stages.0.1.weight": torch.ones(2, 3)}, tmp_path / "timm.pth")
    filled = nn.ModuleDict({"stages_0": nn.Sequential(nn.Identity(), nn.Linear(3, 2))})
    load_encoder(filled, tmp_path / "timm.pth", "convnext", "", library="timm")
    assert all((p == 1).all() for p in filled.parameters())
