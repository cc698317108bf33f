"""Stop a training at the end or in the middle of an epoch under every combination of settings, resume, compare.

    python tests/soak/resume_matrix.py [COUNT]      all cells unless told; COUNT of them, evenly spread

Settings: optimiser, schedule, moving average, precision, threads before and after the stop. A resumed run must end with
the same bits as one that was not stopped: weights, average, optimiser, random state, best model, history.
"""

import itertools
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from run_folders import fingerprint  # noqa: E402
from small_pictures import discs  # noqa: E402
from torch import Tensor  # noqa: E402
from training_process import StopError, hurry, toy  # noqa: E402

from seglab import devices  # noqa: E402
from seglab.config import TrainConfig  # noqa: E402
from seglab.losses import build_loss  # noqa: E402
from seglab.training import train  # noqa: E402

AXES = {
    "stop": ["end of epoch 2", "middle of epoch 3"],
    "optimizer": ["adam", "adamw"],
    "schedule": ["constant", "cosine", "plateau", "poly"],
    "ema": [0.0, 0.9],
    "amp": [False, True],
    "workers": [(0, 0), (0, 2), (2, 0), (2, 2)],
}


def fit(out: Path, cell: dict[str, object], workers: int, stop: str = "") -> None:
    """Four epochs of the toy, or until the stop."""
    base, steps = build_loss("bce_dice"), 0

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        nonlocal steps
        steps += logits.requires_grad
        if stop.startswith("middle") and steps == 6:  # two batches an epoch
            raise StopError
        return base(logits, target)

    loss.__name__ = "bce_dice"

    def on_epoch(record: dict[str, float]) -> None:
        if stop.startswith("end") and record["epoch"] == 2:
            raise StopError

    kept = {name: cell[name] for name in ("optimizer", "schedule", "ema", "amp")}
    settings = TrainConfig(
        **kept,
        workers=workers,
        epochs=4,
        warmup_epochs=1,
        freeze_epochs=2,
        size=32,
        batch_size=2,
        lr=1e-2,
        device="cpu",
    )
    torch.manual_seed(os.getpid() + steps)  # a start of its own, as another process would have
    train(toy(), loss, discs(5), discs(3, seed=1, prefix="v"), settings, out=out, on_epoch=on_epoch)


def equal(folder: Path, cell: dict[str, object]) -> bool:
    """Whether a cell ends as if it had not been stopped."""
    before, after = cell["workers"]
    fit(folder / "whole", cell, workers=1)
    try:
        fit(folder / "stopped", cell, before, str(cell["stop"]))
    except StopError:
        torch.rand(3)  # whatever happened in between
        fit(folder / "stopped", cell, after)
        return fingerprint(folder / "stopped") == fingerprint(folder / "whole")
    return False


def main(count: int | None = None) -> int:
    """All cells or some; returns how many differ."""
    hurry()
    devices.cpu_has_bf16 = lambda: True  # so that mixed precision is mixed on every machine
    cells = [dict(zip(AXES, values, strict=True)) for values in itertools.product(*AXES.values())]
    if count is not None:
        cells = [cells[number * len(cells) // count] for number in range(count)]
    wrong = 0
    for cell in cells:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            if not equal(Path(folder), cell):
                wrong += 1
                print(f"differs: {cell}", flush=True)
    print(f"{len(cells)} cells, {len(cells) - wrong} equal bit for bit", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]) if len(sys.argv) > 1 else None) else 0)
