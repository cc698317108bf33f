"""`seglab predict` over many pictures: what one after the other gives, with few of them in memory at a time."""

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from seglab.cli import main
from seglab.commands import _predict
from seglab.commands._predict import AHEAD, write_masks
from seglab.images import ImageError, Picture, mask_values
from seglab.inference import Predictor


class Red(nn.Module):
    """Object where the picture is red."""

    num_classes = 1

    def forward(self, batch: Tensor) -> Tensor:
        return batch[:, :1] * 10 - 5


class Watched(Predictor):
    """Counts the pictures that are in memory whenever one is read or answered."""

    def __init__(self) -> None:
        super().__init__(Red(), size=32)
        self.seen: list[weakref.ref[Picture]] = []
        self.most = 0

    def alive(self) -> int:
        return sum(one() is not None for one in self.seen)

    def read(self, image: object) -> Picture:
        picture = super().read(image)
        self.seen.append(weakref.ref(picture))
        self.most = max(self.most, self.alive())
        return picture

    def answer(self, image):
        self.most = max(self.most, self.alive())
        return super().answer(image)


def pictures(folder: Path, count: int) -> list[tuple[Path, Path]]:
    rng = np.random.default_rng(0)
    jobs = []
    for number in range(count):
        path = folder / f"{number:02}.png"
        shape = (int(rng.integers(20, 60)), int(rng.integers(20, 60)), 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        jobs.append((path, folder / "masks" / path.name))
    return jobs


def test_masks_are_those_of_one_picture_after_the_other(tmp_path):
    jobs, predictor, problems = pictures(tmp_path, 9), Predictor(Red(), size=32), []
    write_masks(predictor, jobs, 0.4, problems.append)
    assert problems == [None] * 9
    for source, target in jobs:
        assert np.array_equal(np.asarray(Image.open(target)), predictor(source, threshold=0.4).mask * 255)


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    predictor = Watched()
    write_masks(predictor, pictures(tmp_path, 25), 0.5, lambda _: None)
    assert len(predictor.seen) == 25
    assert 1 <= predictor.most <= AHEAD + 1
    gc.collect()
    assert predictor.alive() == 0


def test_masks_that_wait_for_a_slow_disk_hold_the_model_back(tmp_path, monkeypatch):
    jobs, predictor, gate = pictures(tmp_path, 12), Watched(), threading.Event()
    answered = []
    monkeypatch.setattr(_predict, "write_mask", lambda *_, **__: gate.wait(60))
    running = threading.Thread(target=write_masks, args=(predictor, jobs, 0.5, answered.append))
    running.start()
    running.join(1)
    assert len(answered) <= AHEAD + 1
    assert len(predictor.seen) <= 2 * AHEAD + 3
    gate.set()
    running.join(60)
    assert len(answered) == 12


def test_bad_pictures_are_told_in_order_and_cost_no_other_its_mask(tmp_path):
    jobs, problems = pictures(tmp_path, 8), []
    for number in (0, 3, 4, 7):
        jobs[number][0].write_bytes(b"")
    write_masks(Predictor(Red(), size=32), jobs, 0.5, problems.append)
    assert [isinstance(one, ImageError) for one in problems] == [number in (0, 3, 4, 7) for number in range(8)]
    assert str(problems[3]).startswith("03.png: ")
    assert sorted(one.name for one in (tmp_path / "masks").iterdir()) == ["01.png", "02.png", "05.png", "06.png"]


def test_no_folder_is_made_when_no_picture_can_be_read(tmp_path):
    jobs = pictures(tmp_path, 1)
    jobs[0][0].write_bytes(b"")
    write_masks(Predictor(Red(), size=32), jobs, 0.5, lambda _: None)
    assert not (tmp_path / "masks").exists()


def test_interrupt_ends_at_once_and_leaves_only_whole_masks(tmp_path):
    jobs, predictor, done = pictures(tmp_path, 30), Watched(), []

    def stop(_: object) -> None:
        done.append(1)
        if len(done) == 5:
            raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        write_masks(predictor, jobs, 0.5, stop)
    assert threading.active_count() == threads
    assert len(predictor.seen) <= 5 + AHEAD
    files = sorted((tmp_path / "masks").iterdir())
    assert [one.name for one in files] == [target.name for _, target in jobs[:5]]
    assert all(set(mask_values(one)) <= {0, 255} for one in files)


def test_full_disk_ends_it_with_the_masks_before(tmp_path, monkeypatch):
    jobs, write = pictures(tmp_path, 12), _predict.write_mask

    def full(path: Path, mask: np.ndarray, **options: bool) -> None:
        if path.name >= "04.png":
            raise OSError(28, "No space left on device")
        write(path, mask, **options)

    monkeypatch.setattr(_predict, "write_mask", full)
    with pytest.raises(OSError, match="No space left"):
        write_masks(Predictor(Red(), size=32), jobs, 0.5, lambda _: None)
    assert sorted(one.name for one in (tmp_path / "masks").iterdir()) == ["00.png", "01.png", "02.png", "03.png"]


def test_command_says_what_is_wrong_in_order_and_counts(tmp_path, capsys, small_unet):
    from seglab.checkpoint import Description, save_model

    model = small_unet()
    save_model(
        tmp_path / "m.safetensors", model, Description("unet", model.knobs, 1, ("background", "object"), 32, "T")
    )
    jobs = pictures(tmp_path, 5)
    for number in (1, 3):
        jobs[number][0].write_bytes(b"no picture")
    words = ["predict", str(tmp_path), "--model", str(tmp_path / "m.safetensors"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    said = capsys.readouterr()
    assert [line.split(":")[1].strip() for line in said.err.splitlines()] == ["01.png", "03.png"]
    assert said.out.endswith(f"3 masks in {tmp_path / 'out'}, 2 pictures could not be read\n")
