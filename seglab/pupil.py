"""The process that learns for the page: one order in, a file that says how far it is after every epoch, a model out.

It is a process of its own, so that it can be stopped at once, cannot take the server's memory with it when it dies,
and leaves the server's threads free. `seglab.classroom` starts it as `python -m seglab.pupil FOLDER`; a line "stop" on
its standard input asks it to keep the best model so far, and the end of that input, which also comes when the server
is killed, ends it and removes the folder.
"""

import math
import os
import re
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seglab.cards import installed_version, publish, scores_of
from seglab.charts import lines
from seglab.contract import IGNORE_INDEX
from seglab.data import Dataset, Splits
from seglab.evaluation import evaluate
from seglab.explain import error_map
from seglab.files import atomic, atomic_text
from seglab.images import write_png
from seglab.inference import Predictor, letterbox, restore, to_batch, to_probs
from seglab.losses import build_loss
from seglab.models import Segmenter
from seglab.orders import Order, Progress
from seglab.palette import NAVY, ORANGE, colour_map, outline
from seglab.training import train

__all__ = ["learn"]

SHOWN_SIDE = 480  # pixels of the example's longer side
GRACE = 300.0  # seconds beyond the order's that reading and scoring may take


class _Stopped(Exception):  # noqa: N818 - it is no error: it says why training ends
    """Raised out of a training step."""


class _Watched:
    """A loss that asks before every step whether to go on; named as the loss it is."""

    def __init__(self, loss: Any, wanted: Callable[[], str]) -> None:
        self.loss, self.wanted = loss, wanted
        self.func, self.keywords = getattr(loss, "func", loss), getattr(loss, "keywords", {})

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        why = self.wanted()
        if why:
            raise _Stopped(why)
        value: Tensor = self.loss(logits, target)
        return value


class _Reporter:
    """Writes progress.json, and the pictures of every epoch before it."""

    def __init__(self, folder: Path, order: Order) -> None:
        self.folder, self.order = folder, order
        self.now = Progress(epochs=order.epochs)
        self.began = time.monotonic()
        self.shown: _Example | None = None
        self.drawn_at = self.drawn_in = 0.0

    def say(self, **changes: Any) -> Progress:
        """Write the progress with changes."""
        self.now = replace(self.now, **changes)
        atomic_text(self.folder / "progress.json", self.now.text(), durable=False)
        return self.now

    def begin(self, model: Segmenter, splits: Splits) -> None:
        """Training begins."""
        self.shown = _Example(model, splits.val, self.order.size)
        parts = tuple(len(part) for part in splits)
        self.say(phase="training", parts=parts, parameters=sum(p.numel() for p in model.parameters()))
        self.began = time.monotonic()

    def epoch(self, record: Mapping[str, float]) -> None:
        """An epoch is finished."""
        records = (*self.now.records, dict(record))
        seconds = time.monotonic() - self.began
        self.now = replace(self.now, records=records, seconds=seconds, first=self.now.first or seconds)
        if time.monotonic() - self.drawn_at >= 2 * self.drawn_in:  # drawing may take a third of the time, not more
            self.draw()
        self.say()

    def draw(self) -> None:
        """Write curves and example as they are now."""
        assert self.shown is not None
        began = time.monotonic()
        example = self.shown.draw(self.folder, len(self.now.records))
        _draw_curves(self.folder, self.now)
        self.now = replace(self.now, example=example, drawn=len(self.now.records))
        self.drawn_at, self.drawn_in = time.monotonic(), time.monotonic() - began


class _Example:
    """A validation picture that the model is asked about after every epoch: the first that shows enough object."""

    def __init__(self, model: Segmenter, data: Dataset, size: int) -> None:
        self.model, self.size, index = model, size, 0
        for number in range(min(len(data), 20)):
            mask = data[number].mask.numpy()
            if 0.03 <= ((mask > 0) & (mask != IGNORE_INDEX)).mean() <= 0.6:
                index = number
                break
        sample = data[index]
        pixels = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
        self.name = sample.name
        self.image, self.truth = _shown_size(pixels, sample.mask.numpy())

    def draw(self, folder: Path, epoch: int) -> dict[str, Any]:
        """Write outlines and error map of the model as it is now; name and Dice of the picture."""
        mask = self._mask()
        lined = outline(self.image, [(self.truth, (255, 255, 255)), (mask, ORANGE)], casing=NAVY)
        write_png(folder / f"outline_{epoch:03d}.png", lined)
        write_png(folder / f"error_{epoch:03d}.png", colour_map(self.image, error_map(mask, self.truth)))
        known = self.truth != IGNORE_INDEX
        both = int(((mask > 0) & (self.truth > 0) & known).sum())
        total = int(((mask > 0) & known).sum() + ((self.truth > 0) & known).sum())
        return {"name": self.name, "dice": 2 * both / total if total else math.nan}

    def _mask(self) -> np.ndarray:
        """The model's mask, as a Predictor would give it; the model itself stays trainable."""
        square, box = letterbox(self.image, self.size)
        self.model.eval()
        with torch.inference_mode():
            logits = self.model(to_batch(square[None]).to(next(self.model.parameters()).device))
        return Predictor.decide(restore(to_probs(logits.float().cpu())[0].numpy(), box)).mask


def learn(folder: Path, order: Order, wanted: Callable[[], str] = str) -> Progress:
    """Train what is ordered, score its best model on the test part, and put it into `folder`/model with its card.

    Args:
        folder: Holds progress.json and the pictures of every epoch meanwhile; the run itself is removed at the end.
        order: What to train.
        wanted: Asked before every step; a reason to stop (asked, time), or nothing.

    Returns:
        What progress.json says at the end, also of a training that failed.

    Example:
        >>> import tempfile
        >>> done = learn(Path(tempfile.mkdtemp()), Order(width=4, size=64, epochs=1, count=(4, 2, 2)))
        >>> done.phase, done.parts
        ('done', (4, 2, 2))
    """
    reporter = _Reporter(folder, order)
    try:
        end: dict[str, Any] = {"phase": "done", "scores": _learn(reporter, order, wanted)}
    except _Stopped as stop:
        end = {"phase": "failed", "failure": str(stop)}
    except Exception as error:
        failure = _kind(error)
        if failure == "unexpected":
            traceback.print_exception(error)
        words = " ".join(str(error).split()) if failure == "words" else ""
        for place in filter(None, (str(folder), order.root)):
            words = re.sub(rf"{re.escape(place)}[/\\]?", "", words)
        end = {"phase": "failed", "failure": failure, "words": words}
    shutil.rmtree(folder / "run", ignore_errors=True)
    return reporter.say(**end)


def _learn(reporter: _Reporter, order: Order, wanted: Callable[[], str]) -> dict[str, float]:
    """Train, score, publish; the scores."""
    folder, recipe = reporter.folder, order.recipe()
    splits = recipe.splits()
    model, loss = recipe.build(splits.train), _Watched(build_loss(order.loss), wanted)
    reporter.begin(model, splits)
    stopped = ""
    try:
        train(model, loss, splits.train, splits.val, recipe.config, out=folder / "run", card=_card(order, splits),
              on_epoch=reporter.epoch)  # fmt: skip
    except _Stopped as stop:
        stopped = str(stop)
    except ValueError as error:
        stopped = "numbers" if "must be finite" in str(error) else ""
        if not stopped:
            raise
    if not reporter.now.records:
        raise _Stopped(stopped)
    if reporter.now.drawn < len(reporter.now.records):
        reporter.draw()
    reporter.say(phase="scoring", stopped=stopped)
    report = evaluate(Predictor.load(folder / "run" / "best.safetensors"), splits.test, probabilities=False)
    target = folder / "model" / "best.safetensors"
    publish(folder / "run", target, scores=[scores_of(report, "its own test part")])
    low, high = report.interval()
    return {"dice": report.values["dice_fg_image"][0], "low": low, "high": high,
              "iou": report.values["iou_fg_image"][0], "pictures": len(report.names)}  # fmt: skip


def _card(order: Order, splits: Splits) -> dict[str, Any]:
    """What the checkpoint says of itself."""
    task = {} if order.task == "own" else {"task": order.task}
    parts = dict(zip(("train", "val", "test"), (len(part) for part in splits), strict=True))
    where = [f"synthetic {order.data}"] if order.data else ["a visitor's pictures"]
    return {
        "title": order.title or order.model,
        "data": {"roots": where, "split": splits.fingerprint(), **parts},
        "config": order.recipe().config.to_dict(),
        "loss": order.loss,
        "commands": [order.command()],
        "versions": {"seglab": installed_version(), "torch": str(torch.__version__)},
        **task,
    }


def _kind(error: Exception) -> str:
    """What kind of failure an exception is."""
    if isinstance(error, MemoryError) or "not enough memory" in str(error).lower():
        return "memory"
    return "words" if isinstance(error, ValueError | OSError) else "unexpected"


def _shown_size(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask with their longer side at SHOWN_SIDE."""
    import cv2  # a heavy module

    scale = SHOWN_SIDE / max(mask.shape)
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    smaller = cv2.resize(image, size, interpolation=method)
    return smaller, np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT))


def _draw_curves(folder: Path, now: Progress) -> None:
    """Loss, and Dice on the validation part, by epoch, as two pictures."""
    from matplotlib.ticker import MaxNLocator  # a heavy module

    epochs = [record["epoch"] for record in now.records]
    columns = {name: [record[name] for record in now.records] for name in ("train_loss", "val_loss")}
    dice = [record["val_dice_fg_image"] for record in now.records]
    best = now.best
    panels = {
        "loss": ({"training": (epochs, columns["train_loss"]), "validation": (epochs, columns["val_loss"])}, "loss"),
        "dice": (
            {"validation": (epochs, dice), "best, kept": ([best["epoch"]], [best["val_dice_fg_image"]])},
            "Dice on the validation part",
        ),
    }
    for name, (named, label) in panels.items():
        points = list(named) if len(epochs) == 1 else [one for one in named if one.startswith("best")]
        figure = lines(named, x="epoch", y=label, points=points)
        figure.set_size_inches(4.2, 3.1)  # so that its words can be read at the width of a phone
        axes = figure.axes[0]
        axes.set_xlim(0.5, now.epochs + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name == "dice":
            axes.set_ylim(0, 1)
        with atomic(folder / f"{name}_{len(epochs):03d}.png", durable=False) as file:
            figure.savefig(file, format="png", dpi=160, metadata={"Software": None})


def _listen(folder: Path, asked: threading.Event) -> None:
    """Wait for the word to stop, and for the end of the server.

    Read without a buffer: the interpreter cannot end while a thread waits in the buffered standard input.
    """
    while said := os.read(0, 64):
        if b"stop" in said:
            asked.set()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # at once, from this thread: nobody is left who could want the rest


def main(arguments: list[str]) -> int:
    """Learn what FOLDER/order.json asks for."""
    folder = Path(arguments[0])
    order = Order.from_text((folder / "order.json").read_text())
    asked, began = threading.Event(), time.monotonic()
    threading.Thread(target=_listen, args=(folder, asked), daemon=True).start()
    late = threading.Timer(order.seconds + GRACE, os._exit, (4,))
    late.daemon = True
    late.start()
    if hasattr(os, "nice"):
        os.nice(5)  # the page comes first
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))

    def wanted() -> str:
        if asked.is_set():
            return "asked"
        return "time" if time.monotonic() - began > order.seconds else ""

    try:
        learn(folder, order, wanted)
    finally:
        late.cancel()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
