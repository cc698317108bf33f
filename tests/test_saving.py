"""Checkpoints written by a thread: the same files, in the same order, whole or not at all, and nothing unsaid."""

import errno
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from run_folders import fingerprint
from small_pictures import discs
from training_process import run, toy

from seglab import history, resume, saving, training
from seglab.checkpoint import Description, load_state, read_model
from seglab.config import TrainConfig
from seglab.history import Record
from seglab.losses import build_loss
from seglab.resume import Snapshot, TrainState
from seglab.saving import Saver
from seglab.training import train

HERE = Path(__file__).parent
SETTINGS = {"epochs": 4, "save_every": 1, "workers": 0, "ema": 0.9, "optimizer": "adamw"}
ABOUT = Description("custom", {}, 1, ("background", "object"), 32)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(training, "log_tensorboard", lambda out, record: None)
    monkeypatch.setattr(history, "_curves", lambda records, freeze_epochs: b"")


@pytest.fixture
def apart(monkeypatch):
    """Save as on a GPU."""
    monkeypatch.setattr(training, "saves_apart", lambda device: True)


def state_of(epoch: int = 1) -> TrainState:
    """A state after so many epochs, each the best so far."""
    model = toy()
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = TrainState(model, None, optimizer, torch.amp.GradScaler("cpu", enabled=False))
    state.epoch, state.history = epoch, [{"epoch": number + 1.0} for number in range(epoch)]
    return state


def saver_of(out: Path, told: Callable[[Record], None] | None = None) -> Saver:
    out.mkdir(exist_ok=True)
    return Saver(out, {"a": 1}, ABOUT, TrainConfig(save_every=1), on_epoch=told, apart=True)


def save_and_stop(saver: Saver) -> None:
    with saver:
        saver.save(state_of())
        raise KeyError("mine")


@pytest.fixture
def gate(monkeypatch) -> threading.Event:
    """The thread writes when this is set."""
    event, write = threading.Event(), saving.write

    def waiting(out: Path, snapshot: Snapshot) -> None:
        assert event.wait(20)
        write(out, snapshot)

    monkeypatch.setattr(saving, "write", waiting)
    return event


# --- the same files


def test_files_of_a_thread_are_those_of_no_thread_byte_for_byte(tmp_path, monkeypatch):
    run(tmp_path / "inline", SETTINGS)
    monkeypatch.setattr(training, "saves_apart", lambda device: True)
    run(tmp_path / "apart", SETTINGS)
    files = [
        {p.name: p.read_bytes() for p in (tmp_path / n).iterdir() if p.suffix != ".json"} for n in ("inline", "apart")
    ]
    assert files[0].keys() == files[1].keys()
    assert {"best.safetensors", "best.safetensors.copy", "epoch_004.safetensors", "last.pt"} <= files[0].keys()
    for name, content in files[0].items():
        assert files[1][name] == content, name


def test_run_saved_by_a_thread_stops_and_goes_on_like_any(tmp_path, monkeypatch):
    run(tmp_path / "whole", SETTINGS)
    monkeypatch.setattr(training, "saves_apart", lambda device: True)
    run(tmp_path / "stopped", SETTINGS, stop=2)
    assert load_state(tmp_path / "stopped" / "last.pt")["epoch"] == 2
    run(tmp_path / "stopped", SETTINGS)
    assert fingerprint(tmp_path / "stopped") == fingerprint(tmp_path / "whole")


def test_next_steps_do_not_change_what_the_thread_writes(tmp_path, gate):
    state = state_of()
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    with saver_of(tmp_path / "run") as saver:
        saver.save(state)
        for group in state.optimizer.state.values():
            group["exp_avg"].fill_(7.0)
        with torch.no_grad():
            for value in state.model.state_dict().values():
                value.fill_(5)
        state.history.append({"epoch": 9.0})
        state.history[0]["epoch"] = 8.0
        gate.set()
    saved = load_state(tmp_path / "run" / "last.pt")
    assert all(torch.equal(saved["model"][name], value) for name, value in before.items())
    assert not any((group["exp_avg"] == 7).all() for group in saved["optimizer"]["state"].values())
    assert saved["history"] == [{"epoch": 1.0}]
    assert all(torch.equal(read_model(tmp_path / "run" / "best.safetensors")[0][name], v) for name, v in before.items())


def test_copy_keeps_the_order_in_memory_and_the_kinds(tmp_path):
    state = state_of()
    state.model.to(memory_format=torch.channels_last)
    snapshot = Snapshot.of(state, {}, ABOUT, 1)
    twin = snapshot.copied()
    first, second = (list(resume._tensors(each.state)) for each in (snapshot, twin))
    assert len(first) == len(second) > 20
    for a, b in zip(first, second, strict=True):
        assert (a.dtype, a.stride()) == (b.dtype, b.stride())
        assert torch.equal(a, b)
        assert a.data_ptr() != b.data_ptr()
    assert type(twin.state["model"]) is type(snapshot.state["model"])


# --- when an epoch is told


def test_epoch_is_told_by_the_training_itself_when_its_files_are_whole(tmp_path, apart):
    told = []

    def look(record: Record) -> None:
        state = load_state(tmp_path / "run" / "last.pt")
        read_model(tmp_path / "run" / f"epoch_{int(record['epoch']):03d}.safetensors")
        read_model(tmp_path / "run" / "best.safetensors")
        told.append((record["epoch"], state["epoch"], len(state["history"]), threading.current_thread()))

    config = TrainConfig(**{"size": 32, "batch_size": 2, "amp": False, "device": "cpu"} | SETTINGS)
    train(toy(), build_loss("bce_dice"), discs(5), discs(3, seed=1), config, out=tmp_path / "run", on_epoch=look)
    assert told == [(n, n, n, threading.main_thread()) for n in (1, 2, 3, 4)]


def test_telling_never_waits_but_the_next_save_does(tmp_path, gate):
    told: list[float] = []
    with saver_of(tmp_path / "run", lambda record: told.append(record["epoch"])) as saver:
        saver.tell()
        saver.save(state_of(1))
        saver.tell()
        assert told == []
        gate.set()
        saver.save(state_of(2))
        assert told == [1]
        saver.finish()
        saver.finish()
        assert told == [1, 2]
    assert told == [1, 2]
    assert [load_state(tmp_path / "run" / name)["epoch"] for name in ("last.pt", "previous.pt")] == [2, 1]


def test_end_waits_and_tells_also_after_an_error(tmp_path, gate):
    told: list[float] = []
    threading.Timer(0.05, gate.set).start()
    with pytest.raises(KeyError, match="mine"):
        save_and_stop(saver_of(tmp_path, lambda record: told.append(record["epoch"])))
    assert told == [1]
    assert load_state(tmp_path / "last.pt")["epoch"] == 1


def test_error_of_the_callback_stops_the_training_and_its_epoch_is_kept(tmp_path, apart):
    def stop(record: Record) -> None:
        raise KeyError("mine")

    config = TrainConfig(**{"size": 32, "batch_size": 2, "amp": False, "device": "cpu"} | SETTINGS)
    with pytest.raises(KeyError, match="mine"):
        train(toy(), build_loss("bce_dice"), discs(5), discs(3), config, out=tmp_path / "run", on_epoch=stop)
    assert load_state(tmp_path / "run" / "last.pt")["epoch"] == 1


# --- what goes wrong in the thread


def full_disk_in_epoch(monkeypatch, number: int) -> None:
    """Let nothing be written of that epoch's state."""
    save_state = resume.save_state

    def full(path: Path, state: dict[str, object], **named: object) -> None:
        if state["epoch"] == number:
            raise OSError(errno.ENOSPC, f"{path} could not be written: No space left on device (0.0 MB free).")
        save_state(path, state, **named)

    monkeypatch.setattr(resume, "save_state", full)


@pytest.mark.parametrize("number", [2, 4])
def test_full_disk_in_the_thread_ends_the_training_in_the_same_words_and_it_goes_on_later(
    number, tmp_path, monkeypatch
):
    run(tmp_path / "whole", SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(training, "saves_apart", lambda device: True)
        full_disk_in_epoch(patch, number)
        with pytest.raises(OSError, match=r"last\.pt could not be written: No space left on device"):
            run(tmp_path / "run", SETTINGS)
    assert load_state(tmp_path / "run" / "last.pt")["epoch"] == number - 1
    run(tmp_path / "run", SETTINGS)
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")


def test_error_of_the_training_is_told_before_one_of_the_thread(tmp_path, monkeypatch):
    full_disk_in_epoch(monkeypatch, 1)
    with pytest.raises(KeyError, match="mine"):
        save_and_stop(saver_of(tmp_path))


def test_error_of_the_thread_is_told_at_the_end_if_not_before(tmp_path, monkeypatch):
    full_disk_in_epoch(monkeypatch, 1)
    told: list[Record] = []
    with pytest.raises(OSError, match="No space left"), saver_of(tmp_path, told.append) as saver:
        saver.save(state_of())
    assert told == []


def test_weight_that_is_no_number_is_noticed_before_anything_is_written(tmp_path):
    state = state_of()
    state.model.net.middle[1].running_mean.fill_(torch.nan)
    with (
        pytest.raises(
            ValueError, match=r"weights must be finite; got NaN or infinity in net.middle.1.running_mean after"
        ),
        saver_of(tmp_path) as saver,
    ):
        saver.save(state)
    assert list(tmp_path.iterdir()) == []


def test_system_without_a_thread_is_no_reason_not_to_save(tmp_path, monkeypatch):
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    told: list[float] = []
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with saver_of(tmp_path, lambda record: told.append(record["epoch"])) as saver:
        for epoch in (1, 2):
            saver.save(state_of(epoch))
            assert load_state(tmp_path / "last.pt")["epoch"] == epoch
            saver.tell()
            assert told == list(range(1, epoch + 1))


def test_run_killed_while_the_thread_writes_equals_the_whole_one_bit_for_bit(tmp_path):
    settings = {"epochs": 10, "ema": 0.9, "optimizer": "adamw", "freeze_epochs": 3, "workers": 2, "save_every": 1}
    plan = [{"out": str(tmp_path / "killed"), "config": settings, "kills": 6, "apart": True}]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    call = [sys.executable, str(HERE / "training_process.py"), str(tmp_path / "plan.json")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run(tmp_path / "whole", settings | {"workers": 0})
    assert fingerprint(tmp_path / "killed") == fingerprint(tmp_path / "whole")
    progress = json.loads((tmp_path / "killed" / "progress.json").read_text())
    assert progress == sorted(progress)
    assert progress[0] < progress[-1] == 10
    assert not list((tmp_path / "killed").glob(".*.part"))
