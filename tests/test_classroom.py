"""Trainings for visitors: what may be ordered, what a ZIP may hold, how a training goes, stops, dies and is cleared."""

import io
import json
import math
import os
import shlex
import signal
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seglab import Predictor, evaluate, load_dataset, pupil, zipped
from seglab.classroom import Busy, Classroom
from seglab.cli import main as seglab_main
from seglab.experiments import Recipe
from seglab.orders import LOSSES, MODELS, Order, Progress
from seglab.zipped import take

SMALL = {"width": 4, "size": 64, "count": (8, 3, 3)}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Classroom]:
    number = iter(range(100))

    def new_folder() -> Path:
        folder = tmp_path / f"training-{next(number)}"
        folder.mkdir()
        return folder

    room = Classroom(limit=300, count=SMALL["count"], new_folder=new_folder)
    yield room
    room.close()


def picture(number: int, side: int = 48) -> np.ndarray:
    """A bright disc on noise; no two are alike."""
    rows, columns = np.mgrid[:side, :side]
    pixels = np.random.default_rng(number).integers(20, 90, (side, side, 3), dtype=np.uint8)
    pixels[(rows - 24) ** 2 + (columns - 20 - number) ** 2 < 100] = 220
    return pixels


def mask(number: int, side: int = 48) -> np.ndarray:
    return (picture(number, side)[..., 0] == 220).astype(np.uint8) * 255


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pack(path: Path, count: int = 12, top: str = "", **more: bytes | str | None) -> Path:
    """A ZIP of pictures and masks; `more` adds files by name, or takes them out with None."""
    files: dict[str, bytes | str | None] = {}
    for number in range(count):
        files |= {f"images/a{number:02d}.png": png(picture(number)), f"masks/a{number:02d}.png": png(mask(number))}
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in (files | more).items():
            if content is not None:
                bundle.writestr(f"{top}{name}", content)
    return path


# Orders


def test_the_command_of_an_order_is_the_same_training() -> None:
    for model in MODELS:
        order = Order(model=model, loss="focal", cbam=True, epochs=3, augment=False, data="steel", **SMALL)
        words = shlex.split(order.command())
        assert words[:6] == ["seglab", "train", model, "focal", "--dataset", "synthetic"]
        typed = Recipe(model=model, loss="focal", dataset="synthetic").override(words[6:])
        recipe = order.recipe()
        assert typed.task(typed.splits()) == recipe.task(recipe.splits())


def test_every_model_with_and_without_attention_and_every_loss_can_be_built() -> None:
    data = load_dataset("synthetic", count=(2, 1, 1), size=64)
    for model in MODELS:
        plain, attending = (Order(model=model, cbam=cbam, **SMALL).recipe().build(data.train) for cbam in (False, True))
        assert sum(p.numel() for p in attending.parameters()) > sum(p.numel() for p in plain.parameters())
    for loss in LOSSES:
        assert Order(loss=loss, **SMALL).recipe().build(data.train).num_classes == (1 if loss.startswith("bce") else 2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model": "swin_unet"}, "model must be one of"),
        ({"loss": "mse"}, "loss must be one of"),
        ({"task": "cats"}, "task must be one of"),
        ({"data": "cats"}, "data must be one of"),
        ({"data": ""}, "data must be one of"),
        ({"width": 512}, "width must be one of 4, 8, 16; got 512."),
        ({"size": 4096}, "size must be one of 64, 96, 128, 192; got 4096."),
        ({"epochs": 0}, r"epochs must be in \[1, 50\]; got 0."),
        ({"epochs": 51}, r"epochs must be in \[1, 50\]; got 51."),
    ],
)
def test_an_order_out_of_range_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Order(**wrong)


def test_order_and_progress_survive_as_text() -> None:
    order = Order(cbam=True, title="Mine 1", **SMALL)
    assert Order.from_text(order.text()) == order
    progress = Progress(epochs=3, records=({"epoch": 1.0, "val_dice_fg_image": 0.5},), parts=(8, 3, 3))
    assert Progress.from_text(progress.text()) == progress


def test_time_left_is_the_pace_of_the_epochs_after_the_first() -> None:
    assert math.isnan(Progress(epochs=5).left)
    assert Progress(epochs=5, records=({},), seconds=10, first=10).left == 40
    assert Progress(epochs=5, records=({},) * 3, seconds=14, first=10).left == 4  # two epochs in 4 s, two to come


def test_the_best_epoch_is_the_first_of_the_highest_dice() -> None:
    scores = [math.nan, 0.5, 0.7, 0.7]
    records = tuple({"epoch": float(i + 1), "val_dice_fg_image": score} for i, score in enumerate(scores))
    assert Progress(records=records).best["epoch"] == 3
    assert Progress(records=records[:1]).best["epoch"] == 1


# Learning, in this process


@pytest.fixture
def _without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of an epoch as small as these."""
    monkeypatch.setattr(pupil, "_draw_curves", lambda *_: None)
    monkeypatch.setattr("seglab.history._curves", lambda *_: b"")


def asking(steps: int, why: str = "asked") -> Callable[[], str]:
    """Says stop after so many questions."""
    left = iter(range(steps))
    return lambda: "" if next(left, None) is not None else why


def test_a_finished_training_leaves_the_model_its_card_and_nothing_else_of_the_run(tmp_path: Path) -> None:
    order = Order(epochs=2, title="Mine 1: U-Net", task="skin", **SMALL)
    done = pupil.learn(tmp_path, order)
    assert (done.phase, len(done.records), done.parts, done.stopped) == ("done", 2, (8, 3, 3), "")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["best.md", "best.safetensors"]
    assert not (tmp_path / "run").exists()
    assert "One training run with one seed" in (tmp_path / "model" / "best.md").read_text()
    assert order.command() in (tmp_path / "model" / "best.md").read_text()
    model = Predictor.load(tmp_path / "model" / "best.safetensors")
    assert model.name == "Mine 1: U-Net"
    assert model.description is not None
    assert model.description.card["task"] == "skin"
    report = evaluate(model, order.recipe().splits().test, boundary=False, probabilities=False)
    # The file has half the precision of the weights that were scored.
    assert done.scores["dice"] == pytest.approx(report.values["dice_fg_image"][0], abs=0.01)
    assert done.scores["pictures"] == 3
    for name in ("loss", "dice", "outline", "error"):
        with Image.open(tmp_path / f"{name}_{done.drawn:03d}.png") as image:
            assert np.asarray(image).std() > 5
    assert Progress.from_text((tmp_path / "progress.json").read_text()) == done


@pytest.mark.usefixtures("_without_curves")
def test_a_stop_keeps_the_best_epoch_so_far(tmp_path: Path) -> None:
    # An epoch asks once for its step and once for its validation.
    done = pupil.learn(tmp_path, Order(epochs=9, **SMALL), asking(5))
    assert (done.phase, done.stopped, len(done.records)) == ("done", "asked", 2)
    assert (tmp_path / "model" / "best.safetensors").is_file()


def test_a_stop_before_the_first_epoch_ends_leaves_no_model(tmp_path: Path) -> None:
    done = pupil.learn(tmp_path, Order(epochs=9, **SMALL), asking(0, "time"))
    assert (done.phase, done.failure) == ("failed", "time")
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_without_curves")
@pytest.mark.parametrize(("good", "end"), [(0, ("failed", "", "numbers")), (3, ("done", "numbers", ""))])
def test_infinite_numbers_end_a_training_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: int, end: tuple[str, str, str]
) -> None:
    calls = iter(range(100))

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return logits.mean() * (1.0 if next(calls) < good else math.inf)

    monkeypatch.setattr(pupil, "build_loss", lambda name: loss)
    done = pupil.learn(tmp_path, Order(epochs=9, **SMALL))
    assert (done.phase, done.stopped, done.failure) == end


@pytest.mark.parametrize(
    ("error", "failure"),
    [(MemoryError(), "memory"), (ZeroDivisionError("secret"), "unexpected"), (OSError("no space"), "words")],
)
def test_what_goes_wrong_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, failure: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pupil, "train", fail)
    done = pupil.learn(tmp_path, Order(**SMALL))
    assert (done.phase, done.failure) == ("failed", failure)
    assert "secret" not in done.words
    assert ("secret" in capsys.readouterr().err) == (failure == "unexpected")


def test_a_complaint_about_a_visitors_picture_does_not_name_the_servers_folders(tmp_path: Path) -> None:
    found = take(pack(tmp_path / "a.zip"), tmp_path / "pictures")
    for path in (found.root / "images").iterdir():
        path.write_bytes(b"no picture any more")
    done = pupil.learn(tmp_path, Order(data="", root=str(found.root), **SMALL))
    assert done.failure == "words"
    assert "picture" in done.words
    assert str(tmp_path) not in done.words


# Trainings in their own process


def test_a_training_runs_beside_the_server_is_stopped_and_its_model_works_on_the_command_line(
    room: Classroom, tmp_path: Path
) -> None:
    training = room.start("anna", Order(epochs=50, **SMALL))
    with pytest.raises(Busy, match="another training has run for 0 s and ends within 300 s. Try again then.") as busy:
        room.start("ben", Order(**SMALL))
    assert 0 <= busy.value.running < 60
    assert busy.value.left == pytest.approx(300 - busy.value.running)
    assert not room.stop("ben")
    seen = []
    for progress in training.follow(0.05):
        seen.append(progress)
        if progress.phase == "training" and len(progress.records) == 1:
            assert room.stop("anna")
    assert (progress.phase, progress.stopped) == ("done", "asked"), (training.folder / "log.txt").read_text()
    assert [len(one.records) for one in seen] == sorted(len(one.records) for one in seen)
    assert 1 <= len(progress.records) < 50
    assert not room.stop("anna")
    assert room.training("anna") is training
    assert (room.training("ben"), room.begun("ben"), room.begun("anna")) == (None, 0, 1)
    image, masks = tmp_path / "lesion.png", tmp_path / "masks"
    image.write_bytes(png(picture(0)))
    assert seglab_main(["predict", str(image), "--model", str(training.model), "--out", str(masks)]) == 0
    written = np.asarray(Image.open(next(masks.glob("*.png"))))
    assert np.array_equal(written > 0, room.finished(training)(image).mask > 0)
    again = room.start("ben", Order(**SMALL))  # at once: nobody trains any more
    room.leave("anna")
    assert again.running
    assert not training.folder.exists()
    assert room.training("anna") is None


def test_a_killed_process_is_told_and_frees_the_place(room: Classroom, capsys: pytest.CaptureFixture[str]) -> None:
    training = room.start("anna", Order(**SMALL))
    os.kill(training._process.pid, signal.SIGKILL)
    *_, last = training.follow(0.05)
    assert (last.phase, last.failure) == ("failed", "crash")
    assert "training ended with -9" in capsys.readouterr().err
    second = room.start("ben", Order(**SMALL))
    second.stop()
    *_, last = second.follow(0.05)
    assert (last.phase, last.failure) == ("failed", "asked")


def test_a_process_whose_server_has_died_ends_and_removes_its_files(room: Classroom) -> None:
    training = room.start("anna", Order(epochs=50, **SMALL))
    assert training._process.stdin is not None
    training._process.stdin.close()  # what the system does for a killed server
    assert training._process.wait(timeout=120) == 0
    assert not training.folder.exists()


def test_closing_the_room_ends_everybody(room: Classroom, tmp_path: Path) -> None:
    training = room.start("anna", Order(epochs=50, **SMALL))
    found = room.take("ben", pack(tmp_path / "a.zip"))
    room.close()
    assert not training.running
    assert not training.folder.exists()
    assert not found.root.exists()


def test_a_training_that_takes_too_long_stops_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "order.json").write_text(Order(epochs=50, seconds=0.0, **SMALL).text())
    monkeypatch.setattr(pupil, "_listen", lambda *_: None)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    assert pupil.main([str(tmp_path)]) == 0
    assert Progress.from_text((tmp_path / "progress.json").read_text()).failure == "time"
    for alarm in (one for one in threading.enumerate() if isinstance(one, threading.Timer)):
        alarm.join(5)
        assert not alarm.is_alive()  # or it would end whoever lives here, later


# ZIP files


@pytest.mark.parametrize("top", ["", "my pictures/"])
def test_a_zip_is_taken_with_and_without_an_outer_folder(room: Classroom, tmp_path: Path, top: str) -> None:
    extra = {"../__MACOSX/images/._a00.png": None, "notes.txt": "hello"}
    asked: list[tuple[int, int]] = []
    found = room.take("anna", pack(tmp_path / "a.zip", top=top, **extra), lambda *now: asked.append(now))
    assert found.report.ok
    assert sum(found.parts) == 12
    assert asked[-1] == (12, 12)
    assert room.pictures("anna") == found
    assert room.pictures("ben") is None


def test_what_a_mac_adds_is_left_out(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", top="set/")
    with zipfile.ZipFile(path, "a") as bundle:
        bundle.writestr("__MACOSX/set/images/._a00.png", b"not a picture")
        bundle.writestr("__MACOSX/set/masks/._a00.png", b"not a picture")
    assert sum(take(path, tmp_path / "pictures").parts) == 12


@pytest.mark.usefixtures("_without_curves")
def test_a_visitors_pictures_can_be_trained_on(room: Classroom, tmp_path: Path) -> None:
    found = room.take("anna", pack(tmp_path / "a.zip"))
    folder = tmp_path / "learning"
    folder.mkdir()
    done = pupil.learn(folder, Order(data="", root=str(found.root), epochs=1, width=4, size=64))
    assert (done.phase, done.parts) == ("done", found.parts)
    assert done.example["name"] in {f"a{number:02d}" for number in range(12)}


def test_a_second_zip_takes_the_place_of_the_first_and_a_bad_one_leaves_none(room: Classroom, tmp_path: Path) -> None:
    first = room.take("anna", pack(tmp_path / "a.zip"))
    second = room.take("anna", pack(tmp_path / "b.zip", count=14))
    assert not first.root.exists()
    assert room.pictures("anna") == second
    bad = room.take("anna", pack(tmp_path / "c.zip", **{"masks/a03.png": png(mask(3)[:20])}))
    assert not bad.report.ok
    assert [one.kind for one in bad.report.findings if one.severity == "error"] == ["size_mismatch"]
    assert room.pictures("anna") is None
    assert list(tmp_path.glob("training-*")) == []


def test_pictures_that_a_training_needs_stay_until_it_is_over(room: Classroom, tmp_path: Path) -> None:
    found = room.take("anna", pack(tmp_path / "a.zip"))
    room.start("anna", Order(data="", root=str(found.root), **SMALL))
    room.drop("anna")
    assert room.pictures("anna") is None
    assert found.root.is_dir()
    room.leave("anna")
    assert list(tmp_path.glob("training-*")) == []


def test_warnings_do_not_stop_training(tmp_path: Path) -> None:
    found = take(pack(tmp_path / "a.zip", **{"masks/a03.png": png(mask(3) * 0)}), tmp_path / "pictures")
    assert found.report.ok
    assert found.report.count("empty_mask") == 1


def test_pictures_that_were_swept_away_are_no_longer_offered(room: Classroom, tmp_path: Path) -> None:
    found = room.take("anna", pack(tmp_path / "a.zip"))
    for path in [*(found.root / "images").iterdir(), found.root / "images"]:
        path.rmdir() if path.is_dir() else path.unlink()
    assert room.pictures("anna") is None


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"masks/a03.png": None}, "missing_mask", "has no mask of the same name"),
        ({"classes.txt": "background\none\ntwo\n"}, "classes", "must name two classes here; got 3"),
        (
            {"splits.json": json.dumps({"train": [f"a{n:02d}" for n in range(12)], "val": [], "test": []})},
            "split_file",
            "must put pictures into every part; got none for val and test",
        ),
        ({f"{folder}/a{n:02d}.png": None for n in range(6) for folder in ("images", "masks")}, "number",
         "must hold 10 to 400 pictures; got 6"),
        ({"metadata.csv": "id,group\nb1,x\n"}, "metadata", "names none of the pictures"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on_is_an_error_with_a_remedy(
    tmp_path: Path, more: dict[str, str | None], kind: str, words: str
) -> None:
    found = take(pack(tmp_path / "a.zip", **more), tmp_path / "pictures")
    errors = [one for one in found.report.findings if one.severity == "error"]
    assert kind in {one.kind for one in errors}
    assert any(words in one.message for one in errors)
    assert not (tmp_path / "pictures").exists()


def test_what_the_doctor_passes_but_no_reader_takes_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, root: Path) -> None:
        raise ValueError(f"table {root}/metadata.csv must be better.")

    monkeypatch.setattr(zipped, "load_dataset", refuse)
    found = take(pack(tmp_path / "a.zip"), tmp_path / "pictures")
    assert [str(one) for one in found.report.findings if one.severity == "error"] == [
        "error: .: table metadata.csv must be better."
    ]


def outside(path: Path) -> None:
    pack(path, **{"../../outside.txt": "x"})


def link(path: Path) -> None:
    pack(path)
    with zipfile.ZipFile(path, "a") as bundle:
        one = zipfile.ZipInfo("images/link.png")
        one.external_attr = (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(one, "/etc/passwd")


def bomb(path: Path) -> None:
    pack(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as bundle, bundle.open("images/zeros.png", "w") as file:
        for _ in range(410):
            file.write(bytes(2**20))


def many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as bundle:
        for number in range(900):
            bundle.writestr(f"images/{number}.png", b"")


def large(path: Path) -> None:
    pack(path, **{"images/a03.png": png(np.zeros((3000, 5000), np.uint8))})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (outside, "must hold names inside its own folder"),
        (link, "must hold plain files and folders"),
        (bomb, "the ZIP file must unpack to at most 400 MB; got 410 MB"),
        (many, "must hold at most 400 pictures and their masks; got 900 files"),
        (large, "picture a03.png must have at most 12 megapixels; got 5000 x 3000"),
        (lambda path: path.write_bytes(b"no ZIP"), "must be a whole ZIP file"),
        (lambda path: path.write_bytes(b""), "must be a whole ZIP file"),
        (lambda path: path.write_bytes(pack(path).read_bytes()[:-3000]), "must be a whole ZIP file"),
    ],
)
def test_a_zip_above_a_limit_is_refused_and_leaves_nothing(
    room: Classroom, tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "bad.zip"
    make(path)
    with pytest.raises(ValueError, match=words):
        room.take("anna", path)
    assert [one.name for one in tmp_path.iterdir()] == ["bad.zip"]


def test_a_doctor_who_takes_too_long_is_sent_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "MOST_SECONDS", -1.0)
    with pytest.raises(ValueError, match="must be examined within -1 seconds; got through 1 of 12"):
        take(pack(tmp_path / "a.zip"), tmp_path / "pictures")
    assert not (tmp_path / "pictures").exists()
