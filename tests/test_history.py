"""What a run writes about itself: rows, lines, curves and events."""

import csv
import math

import numpy as np
import pytest
from PIL import Image

from seglab.history import describe, log_tensorboard, write_history

ROW = {"lr": 1e-3, "train_loss": 0.5, "val_loss": 0.25, "val_dice_fg_image": 0.75, "val_miou_3class_pooled": 0.5,
       "encoder_frozen": 0.0}  # fmt: skip


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
