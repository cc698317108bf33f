"""What a run writes about itself: rows, lines, curves and events."""

import csv
import errno
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab import history
from seglab.history import History, Record, describe, log_tensorboard

ROW = {"lr": 1e-3, "train_loss": 0.5, "val_loss": 0.25, "val_dice_fg_image": 0.75, "val_miou_3class_pooled": 0.5,
       "encoder_frozen": 0.0}  # fmt: skip


def write_history(out: Path, records: list[Record], freeze_epochs: int) -> None:
    with History(out, freeze_epochs) as written:
        written.write(records)


@pytest.fixture
def drawn(monkeypatch) -> list[int]:
    """How many epochs each drawing of the curves had."""
    counts: list[int] = []
    monkeypatch.setattr(history, "_curves", lambda records, freeze: (counts.append(len(records)), b"x")[1])
    return counts


def two_epochs(out: Path, error: BaseException | None = None) -> None:
    with History(out, 0) as written:
        written.write(rows(1))
        written.write(rows(2))
        if error is not None:
            raise error


def rows(count: int) -> list[dict[str, float]]:
    return [{"epoch": i + 1} | ROW | {"train_loss": 1 / (3 + i)} for i in range(count)]


def test_csv_keeps_numbers_to_the_last_bit(tmp_path):
    write_history(tmp_path, rows(3), 0)
    with (tmp_path / "history.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [float(row["train_loss"]) for row in read] == [1 / 3, 1 / 4, 1 / 5]
    assert [row["epoch"] for row in read] == ["1", "2", "3"]
    assert list(read[0]) == ["epoch", *ROW]


def test_text_has_a_line_an_epoch(tmp_path):
    write_history(tmp_path, rows(2), 0)
    lines = (tmp_path / "history.txt").read_text().splitlines()
    assert lines == [describe(row) for row in rows(2)]
    assert lines[0] == (
        "epoch 1 lr 1.00e-03 train_loss 0.3333 val_loss 0.2500 val_dice_fg_image 0.7500 "
        "val_miou_3class_pooled 0.5000 encoder_frozen 0.0000"
    )


def test_missing_score_is_said(tmp_path):
    assert describe({"epoch": 1, "val_dice_fg_image": math.nan}) == "epoch 1 val_dice_fg_image nan"


def test_files_are_written_anew_so_no_row_is_there_twice(tmp_path):
    write_history(tmp_path, rows(2), 0)
    write_history(tmp_path, rows(3), 0)
    assert (tmp_path / "history.csv").read_text().count("\n") == 4
    assert (tmp_path / "history.txt").read_text().count("\n") == 3


def test_without_an_epoch_nothing_is_written(tmp_path):
    write_history(tmp_path, [], 0)
    assert list(tmp_path.iterdir()) == []


def test_curves_show_every_validation_score_and_where_freezing_ends(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn, marks = [], []
    plot, line = Axes.plot, Axes.axvline
    monkeypatch.setattr(Axes, "plot", lambda self, *a, **k: (drawn.append(k["label"]), plot(self, *a, **k))[1])
    monkeypatch.setattr(Axes, "axvline", lambda self, x, **k: (marks.append(x), line(self, x, **k))[1])
    write_history(tmp_path, rows(4), 2)
    assert drawn == ["train_loss", "val_loss", "val_dice_fg_image", "val_miou_3class_pooled"]
    assert marks == [2.5, 2.5]
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"))
    assert picture.shape[0] > 300
    assert picture.std() > 10


def test_curves_are_drawn_at_once_then_after_a_pause_and_at_the_end(tmp_path, drawn, monkeypatch):
    now = 100.0
    monkeypatch.setattr(history.time, "monotonic", lambda: now)
    with History(tmp_path, 0) as written:
        written.write([])
        for epoch, now in enumerate((100.0, 101.0, 104.9, 105.0, 106.0), start=1):  # noqa: B007 - the clock reads it
            written.write(rows(epoch))
        assert (tmp_path / "history.csv").read_text().count("\n") == 6
        assert drawn == [1, 4]
    assert drawn == [1, 4, 5]


def test_curves_are_drawn_at_the_end_only_if_they_are_not_yet(tmp_path, drawn):
    with History(tmp_path, 0) as written:
        written.write(rows(3))
    assert drawn == [3]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_curves_are_drawn_when_a_training_is_stopped_too(tmp_path, drawn, error):
    with pytest.raises(error):
        two_epochs(tmp_path, error("stopped"))
    assert drawn == [1, 2]


def test_curves_that_cannot_be_drawn_do_not_hide_what_stopped_the_training(tmp_path, monkeypatch):
    def full(records: list[Record], freeze: int) -> bytes:
        if len(records) == 2:
            raise OSError(errno.ENOSPC, "full")
        return b"x"

    monkeypatch.setattr(history, "_curves", full)
    with pytest.raises(KeyError, match="first"):
        two_epochs(tmp_path, KeyError("first"))
    with pytest.raises(OSError, match="full"):
        two_epochs(tmp_path)


def test_same_history_gives_the_same_picture(tmp_path):
    pictures = []
    for _ in range(2):
        write_history(tmp_path, rows(3), 1)
        pictures.append((tmp_path / "curves.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_repeated_epoch_is_purged_from_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for epoch, loss in ((1, 0.5), (2, 0.9), (2, 0.4), (3, 0.3)):
        log_tensorboard(tmp_path, {"epoch": epoch, "train_loss": loss})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["train_loss"]
    assert [(e.step, e.value) for e in events.Scalars("train_loss")] == [
        (1, 0.5), (2, pytest.approx(0.4)), (3, pytest.approx(0.3)),
    ]  # fmt: skip
