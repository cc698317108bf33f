"""What a run writes about itself: one row an epoch as CSV and TXT, TensorBoard events, and the curves as PNG.

The rows live in the resume state; the files are written anew from them, so no row is ever missing or there twice.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from seglab.files import atomic, atomic_text

__all__ = ["Record", "describe", "log_tensorboard", "write_history"]

Record = Mapping[str, float]


def write_history(out: Path, records: Sequence[Record], freeze_epochs: int) -> None:
    """Write history.csv, history.txt and curves.png of a run folder.

    Args:
        out: The run folder.
        records: One per finished epoch, with the same keys each; without any, nothing is written.
        freeze_epochs: Epochs with a frozen encoder; the curves mark where it ends.

    Raises:
        OSError: If a file cannot be written; the older one is then intact.
    """
    if not records:
        return
    atomic_text(out / "history.csv", _csv(records))
    atomic_text(out / "history.txt", "".join(describe(record) + "\n" for record in records))
    curves = _curves(records, freeze_epochs)
    with atomic(out / "curves.png") as file:
        file.write(curves)


def log_tensorboard(out: Path, record: Record) -> None:
    """Append one epoch to the TensorBoard events of a run folder; events of later epochs are purged on resume."""
    from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

    epoch = int(record["epoch"])
    with SummaryWriter(str(out / "tensorboard"), purge_step=epoch) as writer:
        for name, value in record.items():
            if name != "epoch":
                writer.add_scalar(name, value, epoch)


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
