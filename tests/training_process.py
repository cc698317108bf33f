"""Trains in a process of its own, for tests that stop it: `python training_process.py PLAN.json`.

A plan is a list of jobs: {"out": folder, "config": settings, "stop": epoch after which on_epoch raises, "kills": how
often a training process is killed at a random moment before one may finish, "apart": whether a thread saves}.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

import torch
from small_pictures import discs
from torch import Tensor, nn

from seglab import history, training
from seglab.config import TrainConfig
from seglab.losses import build_loss
from seglab.models import Segmenter
from seglab.training import train


class StopError(Exception):
    """Raised in the middle of a run."""


class Toy(nn.Module):
    """An encoder with batch norm, dropout that draws from PyTorch's generator, and a head."""

    stride = 4
    num_classes = 1

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(self.head(self.middle(self.encoder(x))), size=x.shape[-2:], mode="bilinear")


def toy(width: int = 8) -> Segmenter:
    """The network wrapped, with the same weights each time."""
    torch.manual_seed(7)
    return Segmenter(Toy(width))


def run(out: str | Path, config: dict[str, object], stop: int | None = None) -> None:
    """Train the toy; stop with an exception after an epoch, if asked to."""

    def on_epoch(record: dict[str, float]) -> None:
        if stop is not None and record["epoch"] >= stop:
            raise StopError

    settings = TrainConfig(**{"size": 32, "batch_size": 2, "lr": 1e-2, "amp": False, "device": "cpu"} | config)
    with contextlib.suppress(StopError):
        train(
            toy(), build_loss("bce_dice"), discs(5), discs(3, seed=1, prefix="v"), settings, out=out, on_epoch=on_epoch
        )


def epochs_done(out: str) -> int:
    """Finished epochs of a run folder."""
    state = Path(out) / "last.pt"
    return int(torch.load(state, weights_only=True)["epoch"]) if state.exists() else 0


def run_killed(out: str, config: dict[str, object], kills: int) -> None:
    """Fork trainings, let each do an epoch or more, kill it at a random moment of the next; the last one may finish."""
    for heavy in ("cv2", "torch._dynamo"):  # once here, not once in every child
        import_module(heavy)
    chance = random.Random(0)
    progress, state = [], Path(out) / "last.pt"
    for attempt in range(kills + 1):
        before = state.stat().st_mtime_ns if state.exists() else 0
        child = os.fork()
        if child == 0:
            run(out, config)
            os._exit(0)
        ended = 0
        if attempt < kills:
            while not ended and (state.stat().st_mtime_ns if state.exists() else 0) == before:
                time.sleep(0.002)
                ended, _ = os.waitpid(child, os.WNOHANG)  # it may have nothing left to do
            time.sleep(chance.uniform(0, 0.04))
            if not ended:
                os.kill(child, signal.SIGKILL)
        if not ended:
            os.waitpid(child, 0)
        progress.append(epochs_done(out))
    (Path(out) / "progress.json").write_text(json.dumps(progress))


def hurry() -> None:
    """One thread, and neither TensorBoard nor curves, which take longer than the training and are not compared."""
    torch.set_num_threads(1)
    training.log_tensorboard = lambda out, record: None
    history._curves = lambda records, freeze_epochs: b""


if __name__ == "__main__":
    hurry()
    torch.manual_seed(int(time.time()))  # another start than the process before
    for job in json.loads(Path(sys.argv[1]).read_text()):
        apart = bool(job.get("apart"))
        training.saves_apart = (lambda device: True) if apart else (lambda device: False)
        if job.get("kills"):
            run_killed(job["out"], job["config"], job["kills"])
        else:
            run(job["out"], job["config"], job.get("stop"))
