"""The cell for two machines trains something real on both."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from small_pictures import discs

import seglab
from seglab import teach


def write_folder(folder: Path, count: int) -> None:
    """Pictures and masks in the layout `folder`."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for sample in discs(count).samples:
        Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(folder / "images" / f"{sample.name}.png")
        Image.fromarray(sample.mask.numpy() * 255).save(folder / "masks" / f"{sample.name}.png")


def test_without_a_gpu_it_is_a_small_stand_in_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    scale = teach.full_size(kind="steel", lr=3e-3, epochs=1)
    assert [len(part) for part in scale.data] == [48, 16, 16]
    assert (scale.config.device, scale.config.size, scale.config.lr, scale.config.epochs) == ("cpu", 32, 3e-3, 1)
    assert (scale.full, scale.dtype, scale.width) == (False, torch.float32, 8)
    assert (
        "Reduced, because there is no GPU: 48 training, 16 validation, 16 test, drawn pictures, 32 x 32" in scale.words
    )
    model = seglab.build_model("unet", 1, width=4).to(scale.dtype)
    best = seglab.train(model, seglab.build_loss("bce_dice"), *scale.data[:2], scale.config, out=tmp_path / "run")
    assert best(scale.data.test[0].image).mask.shape == (32, 32)


def test_with_a_gpu_it_is_every_picture_at_full_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("seglab.teach._full_size.COUNTS", {True: (3, 2, 1), False: (2, 1, 1)})
    drawn = teach.full_size()
    assert [len(part) for part in drawn.data] == [3, 2, 1]
    assert (drawn.config.device, drawn.config.size, drawn.config.epochs, drawn.width) == ("cuda", 256, 60, 32)
    write_folder(tmp_path, 20)
    own = teach.full_size(str(tmp_path))
    assert sum(len(part) for part in own.data) == 20
    assert own.words.startswith("Full size: ")
    assert f"pictures of {tmp_path}" in own.words


def test_on_a_cpu_a_folder_is_cut_down_to_its_first_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("seglab.teach._full_size.COUNTS", {True: (9, 9, 9), False: (2, 1, 1)})
    write_folder(tmp_path, 20)
    whole, few = seglab.load_dataset("folder", tmp_path), teach.full_size(str(tmp_path)).data
    assert [len(part) for part in few] == [2, 1, 1]
    assert [few.train.name(i) for i in range(2)] == [whole.train.name(i) for i in range(2)]  # type: ignore[attr-defined]
    assert few.train.classes == whole.train.classes


def test_a_setting_or_a_folder_that_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Did you mean 'epochs'"):
        teach.full_size(epoch=3)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        teach.full_size(str(tmp_path / "nowhere"))
