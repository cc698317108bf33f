"""A run folder with damage in it: the newest whole state is used, the best model is mended, and the user is told."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from run_folders import fingerprint, rows_of
from small_pictures import discs
from training_process import run, toy

from seglab import history, training
from seglab.checkpoint import load_into, load_run, load_state, read_model
from seglab.config import TrainConfig
from seglab.inference import Predictor
from seglab.losses import build_loss
from seglab.models import build_model
from seglab.resume import intact
from seglab.training import train

SETTINGS = {"epochs": 4, "save_every": 3, "optimizer": "adamw", "ema": 0.9, "workers": 0}
DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(path.read_bytes()[:-512] + bytes(512)),
    "bit": lambda path: path.write_bytes(flipped(path.read_bytes(), 0.5)),
    "first bit": lambda path: path.write_bytes(flipped(path.read_bytes(), 0)),
    "html": lambda path: path.write_text("<!DOCTYPE html><html>404</html>"),
    "other zip": lambda path: torch.save({"weights": torch.zeros(3)}, path),
}


def flipped(content: bytes, share: float) -> bytes:
    """The bytes with one bit turned, so far into them."""
    damaged = bytearray(content)
    damaged[int(share * (len(damaged) - 1))] ^= 4
    return bytes(damaged)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(training, "log_tensorboard", lambda out, record: None)
    monkeypatch.setattr(history, "_curves", lambda records, freeze_epochs: b"")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of four epochs that nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "log_tensorboard", lambda out, record: None)
        patch.setattr(history, "_curves", lambda records, freeze_epochs: b"")
        out = tmp_path_factory.mktemp("whole") / "run"
        run(out, SETTINGS)
    return out


@pytest.fixture(scope="module")
def stopped(whole, tmp_path_factory) -> Path:
    """The same run, stopped after its third epoch."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "log_tensorboard", lambda out, record: None)
        patch.setattr(history, "_curves", lambda records, freeze_epochs: b"")
        run(out, SETTINGS, stop=3)
    return out


@pytest.fixture
def out(stopped, tmp_path) -> Path:
    """A copy of the stopped run to damage."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def resumed(out: Path) -> list[str]:
    """Go on with the run; what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(out, SETTINGS)
    return [str(warning.message) for warning in caught]


def test_states_of_two_epochs_and_two_equal_best_files_are_kept(stopped):
    assert [load_state(stopped / name)["epoch"] for name in ("last.pt", "previous.pt")] == [3, 2]
    assert (stopped / "best.safetensors").read_bytes() == (stopped / "best.safetensors.copy").read_bytes()


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_state_is_replaced_by_the_one_before_and_the_end_is_the_same_bit_for_bit(kind, out, whole):
    DAMAGE[kind](out / "last.pt")
    damaged = (out / "last.pt").read_bytes() if kind != "gone" else None
    state = "gone" if damaged is None else "damaged"
    kept = "" if damaged is None else " The damaged file is now last.damaged.pt."
    assert resumed(out) == [
        f"training state {out / 'last.pt'} is {state}; going on from previous.pt, after epoch 2.{kept}"
    ]
    assert fingerprint(out) == fingerprint(whole)
    assert damaged is None or (out / "last.damaged.pt").read_bytes() == damaged


def test_damaged_state_of_a_run_stopped_right_after_the_mending_is_not_taken_for_the_previous_one(out, whole):
    DAMAGE["bit"](out / "last.pt")
    with pytest.warns(UserWarning, match="going on from previous.pt"):
        run(out, SETTINGS, stop=3)
    assert [load_state(out / name)["epoch"] for name in ("last.pt", "previous.pt")] == [3, 2]
    assert resumed(out) == []
    assert fingerprint(out) == fingerprint(whole)


def test_two_damaged_states_are_refused_by_the_name_of_the_newer_and_nothing_is_written(out):
    for name in ("last.pt", "previous.pt"):
        DAMAGE["bit"](out / name)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match=r"training state .*last.pt must be a whole seglab state; got: .*SHA-256"):
        run(out, SETTINGS)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_damaged_previous_state_costs_nothing_and_is_replaced(out, whole):
    DAMAGE["zeros"](out / "previous.pt")
    assert resumed(out) == []
    assert fingerprint(out) == fingerprint(whole)
    assert load_state(out / "previous.pt")["epoch"] == 3


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_best_model_is_written_anew_from_its_copy(kind, out, whole):
    DAMAGE[kind](out / "best.safetensors")
    state = "gone" if kind == "gone" else "damaged"
    assert resumed(out) == [
        f"checkpoint {out / 'best.safetensors'} is {state}; it was written anew from best.safetensors.copy, which has "
        "the same weights."
    ]
    assert fingerprint(out) == fingerprint(whole)
    assert (out / "best.safetensors").read_bytes() == (out / "best.safetensors.copy").read_bytes()


@pytest.mark.parametrize("kind", ["gone", "bit"])
def test_damaged_copy_is_made_anew_without_a_word(kind, out, whole):
    DAMAGE[kind](out / "best.safetensors.copy")
    assert resumed(out) == []
    assert (out / "best.safetensors").read_bytes() == (out / "best.safetensors.copy").read_bytes()


def best_epoch(out: Path) -> int:
    saved = load_state(out / "last.pt")
    return int(saved["epoch"] - saved["stale"])


def scripted(monkeypatch, scores: list[float]) -> None:
    """Let validation give these scores from here on, one an epoch."""
    left = iter(scores)
    monkeypatch.setattr(
        training, "_validate", lambda *_: {"val_loss": 1 - (score := next(left)), "val_dice_fg_image": score}
    )


@pytest.mark.parametrize("save_every", [1, 100])
def test_best_model_whose_files_are_both_damaged_comes_from_the_numbered_one_or_else_the_newest_epoch_takes_its_place(
    monkeypatch, tmp_path, save_every
):
    out, settings = tmp_path / "run", SETTINGS | {"save_every": save_every}
    scripted(monkeypatch, [0.5, 0.2, 0.3])
    run(out, settings, stop=3)
    assert best_epoch(out) == 1
    first = read_model(out / "best.safetensors")[1].sha256
    for name in ("best.safetensors", "best.safetensors.copy"):
        DAMAGE["bit"](out / name)
    scripted(monkeypatch, [0.25])
    if save_every == 1:
        with pytest.warns(UserWarning, match=r"is damaged; it was written anew from epoch_001\.safetensors, which has"):
            run(out, settings)
        assert read_model(out / "best.safetensors")[1].sha256 == first
        assert best_epoch(out) == 1
        return
    with pytest.warns(UserWarning, match="is damaged, and so are the weights of epoch 1; epoch 3 takes its place"):
        run(out, settings)
    assert best_epoch(out) == 3  # with its own score, 0.3, which 0.25 does not beat
    assert load_state(out / "last.pt")["best"] == 0.3
    third = toy()
    load_into(out / "best.safetensors", third)


def test_both_best_files_damaged_right_after_the_best_epoch_lose_nothing(monkeypatch, tmp_path):
    out, settings = tmp_path / "run", SETTINGS | {"save_every": 100}
    scripted(monkeypatch, [0.1, 0.2])
    run(out, settings, stop=2)
    before = (out / "best.safetensors").read_bytes()
    for name in ("best.safetensors", "best.safetensors.copy"):
        (out / name).unlink()
    scripted(monkeypatch, [0.0, 0.0])
    with pytest.warns(UserWarning, match="is gone; epoch 2 takes its place"):
        run(out, settings)
    assert (out / "best.safetensors").read_bytes() == before


def test_run_from_before_there_were_copies_goes_on_as_ever(out, whole):
    for name in ("previous.pt", "best.safetensors.copy"):
        (out / name).unlink()
    saved = load_state(out / "last.pt")
    torch.save(saved, out / "last.pt")  # without the hash at its end
    assert resumed(out) == []
    assert fingerprint(out) == fingerprint(whole)


def test_previous_state_alone_is_a_run_too(out):
    (out / "last.pt").unlink()
    with pytest.raises(ValueError, match="run folder .* must be new; it holds a run"):
        train(
            toy(), build_loss("bce_dice"), discs(5), discs(3, seed=1), TrainConfig(device="cpu"), out=out, resume=False
        )


# --- reading a finished run


@pytest.fixture
def listed(tmp_path) -> Path:
    """A finished run of a listed model."""
    torch.manual_seed(0)
    settings = TrainConfig(epochs=1, size=32, batch_size=2, device="cpu", workers=0)
    train(build_model("unet", 1, width=4), build_loss("bce_dice"), discs(3), discs(2), settings, out=tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(("kind", "state"), [("bit", "damaged"), ("cut", "damaged"), ("gone", "gone")])
def test_predictor_of_a_run_takes_the_copy_of_a_damaged_best_model(listed, kind, state):
    picture = torch.rand(1, 3, 32, 32)
    expected = Predictor.load(listed).forward(picture)
    DAMAGE[kind](listed / "best.safetensors")
    with pytest.warns(UserWarning, match=f"best.safetensors is {state}; its copy best.safetensors.copy is whole"):
        assert torch.equal(Predictor.load(listed).forward(picture), expected)


def test_predictor_of_a_run_whose_best_models_are_both_damaged_says_what_is_wrong_with_the_first(listed):
    DAMAGE["bit"](listed / "best.safetensors")
    DAMAGE["empty"](listed / "best.safetensors.copy")
    with pytest.raises(ValueError, match=r"checkpoint .*run.best\.safetensors is damaged"):
        load_run(listed)


def test_words_after_numbers_went_wrong_say_whether_something_was_saved():
    assert intact(0) == "Nothing was saved yet. Train again with a lower lr, or with amp=false."
    assert intact(7).startswith("The last checkpoint is intact, of epoch 7; the same command would meet this again.")


def test_history_of_a_mended_run_has_every_row_once(out):
    DAMAGE["bit"](out / "last.pt")
    resumed(out)
    assert [row["epoch"] for row in rows_of(out)] == [1, 2, 3, 4]
