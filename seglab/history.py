"""What a run writes about itself: one row an epoch as CSV and TXT, TensorBoard events, and the curves as PNG.

The rows live in the resume state; the files are written anew from them, so no row is ever missing or there twice.
"""

import csv
import io
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from seglab.files import atomic, atomic_text

__all__ = ["History", "Record", "describe", "log_tensorboard"]

PAUSE = 5.0  # seconds between two drawings of a run's curves; drawing can take longer than an epoch
Record = Mapping[str, float]


class History:
    """Writes history.csv, history.txt and curves.png of a run folder epoch by epoch.

    A context: the curves are drawn every few seconds at most, and in any case when it ends, however it ends.

    Args:
        out: The run folder.
        freeze_epochs: Epochs with a frozen encoder; the curves mark where it ends.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with History(folder, freeze_epochs=0) as history:
        ...     history.write([{"epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "val_dice": 0.5}])
        >>> sorted(path.name for path in folder.iterdir())
        ['curves.png', 'history.csv', 'history.txt']
    """

    def __init__(self, out: Path, freeze_epochs: int) -> None:
        self._out, self._freeze_epochs = out, freeze_epochs
        self._undrawn: list[Record] = []
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._draw()
        else:
            with suppress(Exception):  # the first error is the one to tell
                self._draw()

    def write(self, records: Sequence[Record]) -> None:
        """Write the rows, and draw the curves if it is time.

        Args:
            records: One per finished epoch, with the same keys each; without any, nothing is written.

        Raises:
            OSError: If a file cannot be written; the older one is then intact.
        """
        if not records:
            return
        # Not durable: a resume writes them anew, and waiting for the disk three times an epoch can take longer than it.
        atomic_text(self._out / "history.csv", _csv(records), durable=False)
        text = "".join(describe(record) + "\n" for record in records)
        atomic_text(self._out / "history.txt", text, durable=False)
        self._undrawn = list(records)
        if time.monotonic() >= self._next:
            self._draw()

    def _draw(self) -> None:
        """Draw what has not been drawn."""
        if self._undrawn:
            curves, self._undrawn = _curves(self._undrawn, self._freeze_epochs), []
            with atomic(self._out / "curves.png", durable=False) as file:
                file.write(curves)
            self._next = time.monotonic() + PAUSE


def log_tensorboard(out: Path, record: Record) -> None:
    """Write one epoch as TensorBoard events, whole or not at all; events of later epochs are purged on resume.

    TensorBoard's own writer works in a thread, whose error on a full disk is lost or has no file in it.

    Raises:
        OSError: If the file cannot be written.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # takes seconds to import
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    epoch, now = int(record["epoch"]), time.time()
    values = [Summary.Value(tag=name, simple_value=value) for name, value in record.items() if name != "epoch"]
    events = [
        Event(wall_time=now, step=epoch, file_version="brain.Event:2"),
        Event(wall_time=now, step=epoch, session_log=SessionLog(status=SessionLog.START)),  # forget what came after
        Event(wall_time=now, step=epoch, summary=Summary(value=values)),
    ]
    folder = out / "tensorboard"
    folder.mkdir(exist_ok=True)
    # Readers go by the order of the names.
    with atomic(folder / f"events.out.tfevents.{int(now)}.seglab.{epoch:06d}", durable=False) as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())


def describe(record: Record) -> str:
    """One epoch in one line.

    Example:
        >>> describe({"epoch": 3, "train_loss": 0.25, "val_dice_fg_image": 0.5})
        'epoch 3 train_loss 0.2500 val_dice_fg_image 0.5000'
    """
    texts = [f"epoch {int(record['epoch'])}"]
    for name, value in record.items():
        if name != "epoch":
            texts.append(f"{name} {value:.2e}" if name == "lr" else f"{name} {value:.4f}")
    return " ".join(texts)


def _csv(records: Sequence[Record]) -> str:
    """The rows as CSV, numbers in full."""
    text = io.StringIO()
    rows = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
    rows.writeheader()
    rows.writerows(records)
    return text.getvalue()


def _curves(records: Sequence[Record], freeze_epochs: int) -> bytes:
    """Loss and score against the epoch, as PNG bytes; drawn without a global figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a heavy module
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [record["epoch"] for record in records]
    panels = (
        ("loss", ["train_loss", "val_loss"]),
        ("score on the validation set", [n for n in records[0] if n.startswith("val_") and n != "val_loss"]),
    )
    for axes, (title, names) in zip(figure.subplots(1, 2), panels, strict=True):
        for name, style in zip(names, ("-", "--", ":", "-."), strict=False):
            axes.plot(epochs, [record[name] for record in records], style, marker=".", label=name)
        if 0 < freeze_epochs < max(epochs):
            axes.axvline(freeze_epochs + 0.5, color="grey", linewidth=1, label="encoder unfrozen")
        axes.set_xlabel("epoch")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    return image.getvalue()
