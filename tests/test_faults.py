"""Faults in the middle of a training: what the user is told, what is left, and that the run goes on bit for bit."""

import errno
import io
import os
import sys
import threading
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from powerless import powerless
from run_folders import fingerprint
from small_pictures import discs
from torch import Tensor
from training_process import run, toy

from seglab import history, training
from seglab.checkpoint import load_state, read_model
from seglab.config import TrainConfig
from seglab.losses import build_loss
from seglab.training import train

HERE = Path(__file__).parent
SETTINGS = {"epochs": 2, "save_every": 1, "workers": 0}


class Disk:
    """A disk with so many bytes left; None is without end. It notes every write, and every file that is synced."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.writes: list[tuple[int, int]] = []  # which file, and how many bytes
        self.files = 0
        self.syncs = 0
        self.failing_sync = 0

    def take(self, count: int) -> None:
        self.writes.append((self.files, count))
        if self.left is not None:
            self.left -= count
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        self.syncs += 1
        if self.syncs == self.failing_sync:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(monkeypatch) -> Disk:
    """Put a counted disk under every file that seglab writes."""
    disk, open_ = Disk(), Path.open

    class File(io.BufferedWriter):
        def write(self, data: object) -> int:
            disk.take(memoryview(data).nbytes)  # type: ignore[arg-type]
            return super().write(data)  # type: ignore[arg-type]

    def counted_open(path: Path, mode: str = "r", *arguments: object, **keywords: object) -> object:
        if mode != "xb":
            return open_(path, mode, *arguments, **keywords)
        disk.files += 1
        return File(io.FileIO(path, "xb"))

    monkeypatch.setattr(Path, "open", counted_open)
    monkeypatch.setattr(os, "fsync", lambda handle: disk.sync())
    return disk


@pytest.fixture(autouse=True)
def _quick(monkeypatch, request):
    """TensorBoard and curves only where a full disk may meet them too."""
    if "disk" not in request.node.name:
        monkeypatch.setattr(training, "log_tensorboard", lambda out, record: None)
    monkeypatch.setattr(history, "_curves", lambda records, freeze_epochs: b"curves")


@pytest.fixture
def whole(tmp_path) -> dict[str, str]:
    """What an undisturbed run ends with."""
    run(tmp_path / "whole", SETTINGS)
    return fingerprint(tmp_path / "whole")


def whole_files(out: Path) -> Iterator[str]:
    """Every file with a final name must be whole; yields the names, none where the run left no folder behind."""
    for path in out.iterdir() if out.exists() else ():
        if path.suffix == ".pt":
            load_state(path)
        elif path.suffix in (".safetensors", ".copy"):
            read_model(path)
        yield path.name


def write_points(folder: Path, disk: Disk) -> list[int]:
    """Bytes left on a disk that is full at the first write of each file of a run, and in the middle of some."""
    run(folder, SETTINGS)
    ends = list(accumulate(count for _, count in disk.writes))
    firsts = {file: end for (file, _), end in zip(reversed(disk.writes), reversed(ends), strict=True)}
    disk.writes.clear()
    return sorted(end - 1 for end in {*firsts.values(), *ends[150 :: len(ends) // 4]})


def test_full_disk_at_any_write_is_said_and_costs_no_finished_epoch(disk, tmp_path):
    points = write_points(tmp_path / "whole", disk)
    whole, met = fingerprint(tmp_path / "whole"), set()
    for number, left in enumerate(points):
        out = tmp_path / f"run{number}"
        disk.left = left
        with pytest.raises(OSError, match=r"could not be written: No space left on device \(.* MB free\)\.") as caught:
            run(out, SETTINGS)
        words = str(caught.value)
        assert "\n" not in words
        assert words.startswith(str(out))
        name = words[len(str(out)) + 1 :].partition(" ")[0]
        met.add(name.partition("/")[0])
        assert ("The older file of that name is intact" in words) == (out / name).exists()
        assert not [found for found in whole_files(out) if found.endswith(".part")]
        disk.left = None
        if number % 4 == 0:  # resuming is what takes the time
            run(out, SETTINGS)
            assert fingerprint(out) == whole
    wanted = {
        "run.json",
        "tensorboard",
        "best.safetensors",
        "best.safetensors.copy",
        "epoch_001.safetensors",
        "last.pt",
    }
    assert wanted | {"history.csv", "history.txt", "curves.png"} <= met


@pytest.mark.parametrize("apart", [False, True], ids=["inline", "in a thread"])
@pytest.mark.parametrize("sync", [1, 3, 5, 7, 9, 11])
def test_disk_that_is_full_only_when_it_is_synced_is_a_full_disk_too(disk, tmp_path, sync, apart, monkeypatch):
    run(tmp_path / "whole", SETTINGS)
    monkeypatch.setattr(training, "saves_apart", lambda device: apart)
    disk.failing_sync = disk.syncs + sync
    with pytest.raises(OSError, match="could not be written: No space left on device"):
        run(tmp_path / "run", SETTINGS)
    assert not [name for name in whole_files(tmp_path / "run") if name.endswith(".part")]
    run(tmp_path / "run", SETTINGS)
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")


def test_folder_without_the_right_to_write_is_said_before_and_in_the_middle_of_training(tmp_path):
    code = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from training_process import hurry, run
from seglab import training
hurry()
out = Path(sys.argv[2])
out.mkdir(mode=0o555)
def attempt(stop):
    try:
        run(out, {"epochs": 3}, stop=stop)
    except OSError as error:
        print(error)
attempt(None)
os.chmod(out, 0o755)
attempt(1)
logged = training.log_tensorboard
training.log_tensorboard = lambda out, record: os.chmod(out, 0o555)
attempt(None)
os.chmod(out, 0o755)
training.log_tensorboard = logged
attempt(None)
"""
    out = tmp_path / "run"
    done = powerless([sys.executable, "-c", code, str(HERE), str(out)])
    assert done.returncode == 0, done.stderr
    before, during = done.stdout.splitlines()
    assert before == f"run folder {out} must be a folder that can be written; got: Permission denied."
    assert during.startswith(str(out))
    assert "could not be written: Permission denied. Get the right to write there or choose another folder." in during
    run(tmp_path / "whole", {"epochs": 3})
    assert fingerprint(out) == fingerprint(tmp_path / "whole")


def test_run_folder_that_is_removed_while_training_is_said(tmp_path, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.setattr(training, "log_tensorboard", lambda folder, record: folder.rename(tmp_path / "moved"))
    with pytest.raises(OSError, match=r"run.best\.safetensors could not be written: No such file or directory\."):
        run(out, SETTINGS)


# --- the machine is too small


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9.0 GiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation"),
    ],
)
def test_too_little_memory_names_what_to_lower_and_the_run_goes_on_when_there_is_enough(error, tmp_path, whole):
    out, base, calls = tmp_path / "run", build_loss("bce_dice"), []

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        calls.append(logits)
        if len(calls) == 7:  # in the second epoch: each has three batches and two of validation
            raise error
        return base(logits, target)

    loss.__name__ = "bce_dice"
    config = TrainConfig(**{"size": 32, "batch_size": 2, "lr": 1e-2, "amp": False, "device": "cpu"} | SETTINGS)
    words = r"^not enough memory for batch_size=2 at size=32: [^\n]*(Unable|tried|Tried)[^\n]*\. Close other programs"
    with pytest.raises(MemoryError, match=words):
        train(toy(), loss, discs(5), discs(3, seed=1, prefix="v"), config, out=out)
    assert load_state(out / "last.pt")["epoch"] == 1
    run(out, SETTINGS)
    assert fingerprint(out) == whole


def test_system_without_threads_is_said_and_the_run_goes_on_without_them(tmp_path, monkeypatch, whole):
    out = tmp_path / "run"
    run(out, SETTINGS | {"workers": 2}, stop=1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(
            OSError, match="the system must allow 2 more threads; got: can't start new thread. Go on with"
        ):
            run(out, SETTINGS | {"workers": 2})
    run(out, SETTINGS | {"workers": 0})
    assert fingerprint(out) == whole


def no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_other_errors_of_the_machine_come_through_as_they_are(tmp_path):
    def loss(logits: Tensor, target: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="^mat1 and mat2 shapes cannot be multiplied$"):
        train(toy(), loss, discs(3), discs(2), TrainConfig(size=32, device="cpu", workers=0), out=tmp_path / "run")


# --- numbers that are none


def test_loss_that_is_no_number_at_once_says_that_nothing_was_saved(tmp_path):
    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return logits.mean() * torch.nan

    with pytest.raises(
        ValueError, match=r"loss must be finite; got nan in epoch 1, batch with p\d.*\. Nothing was saved yet\. Train"
    ):
        train(toy(), loss, discs(3), discs(2), TrainConfig(size=32, device="cpu", workers=0), out=tmp_path / "run")
    assert not (tmp_path / "run" / "last.pt").exists()
