"""Training: exact resume, one process a folder, nothing bad saved, and every schedule by hand."""

import copy
import json
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from run_folders import digest, fingerprint, rows_of
from safetensors.torch import load_file
from torch import Tensor, nn
from training_process import Toy, run, toy

import seglab
from seglab import history, stepping, training
from seglab.batches import Cache
from seglab.checkpoint import load_model, load_state
from seglab.config import TrainConfig
from seglab.contract import IGNORE_INDEX
from seglab.evaluation import evaluate
from seglab.inference import Predictor
from seglab.losses import build_loss
from seglab.models import Segmenter
from seglab.runs import held
from seglab.schedules import learning_rate
from seglab.training import train

HERE = Path(__file__).parent
QUICK = {"size": 32, "batch_size": 2, "lr": 1e-2, "amp": False, "device": "cpu", "workers": 0}


def config(**settings: object) -> TrainConfig:
    return TrainConfig(**QUICK | {"epochs": 1} | settings)


@pytest.fixture(autouse=True)
def _quick(monkeypatch, request):
    """Neither TensorBoard nor curves, which take longer than the training, except where they are looked at."""
    if "tensorboard" not in request.node.name:
        monkeypatch.setattr(training, "log_tensorboard", lambda out, record: None)
    if "curves" not in request.node.name:
        monkeypatch.setattr(history, "_curves", lambda records, freeze_epochs: b"")


@pytest.fixture
def fit(pictures, tmp_path) -> Callable[..., Predictor]:
    """Train a toy on small pictures; any part can be another."""

    def do(
        model: Segmenter | None = None, loss: object = None, data: object = None, val: object = None, **settings: object
    ) -> Predictor:
        extra = {key: settings.pop(key) for key in ("on_epoch", "resume", "card") if key in settings}
        return train(
            model or toy(),
            loss or build_loss("bce_dice"),
            pictures(5) if data is None else data,
            pictures(3, seed=1, prefix="v") if val is None else val,
            config(**settings),
            out=tmp_path / "run",
            **extra,
        )

    return do


# --- exact resume

CELLS = {
    "plateau, adam, threads 0 then 2": (
        {"epochs": 4, "workers": 0}, {"epochs": 4, "workers": 2}, 2),
    "cosine, adamw, average, frozen over the stop, threads 2 then 0": (
        {"epochs": 4, "schedule": "cosine", "optimizer": "adamw", "weight_decay": 0.05, "ema": 0.9, "freeze_epochs": 3,
         "workers": 2}, {"workers": 0}, 2),
    "poly, warm-up over the stop, clipped": (
        {"epochs": 4, "schedule": "poly", "warmup_epochs": 3, "grad_clip": 0.5}, {}, 2),
    "plateau, 2 epochs then 4": (
        {"epochs": 2, "ema": 0.9, "freeze_epochs": 1, "workers": 0}, {"epochs": 4, "workers": 2}, None),
    "constant, 2 epochs then 4, more patience": (
        {"epochs": 2, "schedule": "constant", "optimizer": "adamw", "patience": 4}, {"epochs": 4, "patience": 9}, None),
    "plateau, unfreezes at the stop": (
        {"epochs": 4, "freeze_epochs": 2, "seed": 3}, {"save_every": 2}, 2),
}  # fmt: skip


def in_another_process(plan: list[dict[str, object]], folder: Path) -> None:
    (folder / "plan.json").write_text(json.dumps(plan))
    code = [sys.executable, str(HERE / "training_process.py"), str(folder / "plan.json")]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def resumed(tmp_path_factory) -> Path:
    """Runs stopped in one process and resumed in another: folder `cell number`."""
    folder = tmp_path_factory.mktemp("resumed")
    first, second = [], []
    for number, (before, after, stop) in enumerate(CELLS.values()):
        first.append({"out": str(folder / str(number)), "config": before, "stop": stop})
        second.append({"out": str(folder / str(number)), "config": before | after})
    in_another_process(first, folder)
    for number in range(len(CELLS)):
        assert load_state(folder / str(number) / "last.pt")["epoch"] == 2
    in_another_process(second, folder)
    return folder


@pytest.mark.parametrize("cell", CELLS)
def test_stopped_and_resumed_run_equals_the_whole_one_bit_for_bit(cell, resumed, tmp_path):
    before, after, _ = CELLS[cell]
    run(tmp_path / "whole", before | after | {"workers": 1})
    whole = fingerprint(tmp_path / "whole")
    assert fingerprint(resumed / str(list(CELLS).index(cell))) == whole
    assert whole["lines"].count("\n") == 4


def test_run_killed_at_random_moments_equals_the_whole_one_bit_for_bit(tmp_path):
    settings = {"epochs": 14, "ema": 0.9, "optimizer": "adamw", "freeze_epochs": 5, "workers": 2, "save_every": 1}
    in_another_process([{"out": str(tmp_path / "killed"), "config": settings, "kills": 8}], tmp_path)
    run(tmp_path / "whole", settings | {"workers": 0})
    assert fingerprint(tmp_path / "killed") == fingerprint(tmp_path / "whole")
    progress = json.loads((tmp_path / "killed" / "progress.json").read_text())
    assert len(progress) == 9
    assert progress == sorted(progress)
    assert progress[0] < progress[-1] == 14  # at least the first kill came midway
    assert not list((tmp_path / "killed").glob(".*.part"))
    for epoch in range(1, 15):
        names = [folder / f"epoch_{epoch:03d}.safetensors" for folder in (tmp_path / "killed", tmp_path / "whole")]
        assert names[0].read_bytes() == names[1].read_bytes()


def test_different_seeds_end_differently(tmp_path):
    run(tmp_path / "a", {"epochs": 1, "seed": 0})
    run(tmp_path / "b", {"epochs": 1, "seed": 1})
    assert fingerprint(tmp_path / "a")["model"] != fingerprint(tmp_path / "b")["model"]


def test_kill_between_state_and_curves_is_mended_on_resume(tmp_path):
    run(tmp_path / "run", {"epochs": 2})
    whole = fingerprint(tmp_path / "run")
    for name in ("history.csv", "history.txt", "curves.png", "run.json"):
        (tmp_path / "run" / name).unlink()
    (tmp_path / "run" / ".0123456789abcdef.part").write_bytes(b"half")
    run(tmp_path / "run", {"epochs": 2})
    assert fingerprint(tmp_path / "run") == whole
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000
    assert not (tmp_path / "run" / ".0123456789abcdef.part").exists()


def test_finished_run_returns_its_best_without_training_again(fit, tmp_path):
    calls = []
    first = fit(epochs=2, on_epoch=calls.append)
    second = fit(epochs=2, on_epoch=calls.append)
    assert len(calls) == 2
    picture = torch.rand(1, 3, 32, 32)
    assert torch.equal(first.forward(picture), second.forward(picture))


def test_exception_of_the_callback_comes_out_and_its_epoch_is_kept(fit, tmp_path):
    def stop(record: dict[str, float]) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fit(epochs=3, on_epoch=stop)
    assert load_state(tmp_path / "run" / "last.pt")["epoch"] == 1


# --- what resume refuses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 2e-2}, r"lr must be 0\.01 as in the run .*run; got 0\.02\. Use another --out"),
        ({"seed": 1}, "seed must be 0 as in the run"),
        ({"augment": False}, "augment must be True as in the run"),
        ({"batch_size": 3}, "batch_size must be 2 as in the run"),
        ({"size": 64}, "size must be 32 as in the run"),
        ({"ema": 0.5}, r"ema must be 0\.0 as in the run"),
        ({"schedule": "constant"}, "schedule must be 'cosine' as in the run"),
        ({"optimizer": "adamw"}, "optimizer must be 'adam' as in the run"),
        ({"epochs": 3}, "epochs must be 2 as in the run .*; got 3. The schedule was planned for it"),
        ({"amp": True}, "amp must be False as in the run"),
    ],
)
def test_resume_refuses_a_changed_setting_by_name(fit, settings, message):
    base = {"epochs": 2, "schedule": "cosine"}
    fit(**base, on_epoch=None)
    with pytest.raises(ValueError, match=message):
        fit(**base | settings)


def test_resume_refuses_another_model_loss_or_shape_by_name(fit, small_unet):
    fit()
    with pytest.raises(ValueError, match=r"model must be 'custom' as in the run .*; got 'unet'"):
        fit(small_unet())
    with pytest.raises(ValueError, match=r"loss must be 'bce_dice\(\)' as in the run .*; got 'dice\(smooth=2.0\)'"):
        fit(loss=build_loss("dice", smooth=2.0))
    with pytest.raises(ValueError, match=r"run .* must hold net.encoder.0.weight of shape \(9, 3, 3, 3\); got \(8, 3"):
        fit(toy(9))


def test_resume_refuses_changed_pictures_masks_names_and_order(fit, pictures):
    fit()
    for part in ("image", "mask"):
        data = pictures(5)
        getattr(data[3], part)[..., 0, 0] ^= 1
        with pytest.raises(
            ValueError, match=r"train data must be as in the run .*; 1 pictures or masks differ, e.g. p3"
        ):
            fit(data=data)
    with pytest.raises(ValueError, match=r"train data must be .* 1 pictures or masks differ, e.g. p5"):
        fit(data=pictures(6))
    with pytest.raises(ValueError, match=r"val data must be as in the run .*; 6 pictures or masks differ, e.g. v0"):
        fit(val=pictures(3, seed=1, prefix="w"))
    reverse = type(pictures(0))(tuple(pictures(5))[::-1])
    with pytest.raises(ValueError, match="train data must be as in the run .*; its pictures came in another order"):
        fit(data=reverse)


def test_resume_false_refuses_a_folder_with_a_run(fit):
    fit(resume=False)
    with pytest.raises(ValueError, match="run folder .*run must be new; it holds a run"):
        fit(resume=False)


def test_resume_says_when_bits_may_differ(fit, tmp_path):
    fit()
    saved = load_state(tmp_path / "run" / "last.pt")
    saved["facts"]["threads"] = 17
    torch.save(saved, tmp_path / "run" / "last.pt")
    with pytest.warns(UserWarning, match=r"threads were 17 in the run .* and are 1 now: .*not be equal bit for bit"):
        fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path / "other", {"epochs": 1})
        run(tmp_path / "other", {"epochs": 1})


@pytest.mark.parametrize("damage", [b"", b"PK", b"<html>"])
def test_damaged_state_is_refused_not_trained_over(fit, tmp_path, damage):
    fit()
    state = tmp_path / "run" / "last.pt"
    state.write_bytes(damage or state.read_bytes()[:-100])
    before = state.read_bytes()
    with pytest.raises(ValueError, match=r"last.pt must be a whole seglab state; got: .*train anew in another folder"):
        fit(epochs=2)
    assert state.read_bytes() == before


def test_state_of_something_else_is_refused(fit, tmp_path):
    (tmp_path / "run").mkdir()
    torch.save({"weights": torch.zeros(3)}, tmp_path / "run" / "last.pt")
    with pytest.raises(ValueError, match="last.pt must be seglab's; it lacks average"):
        fit()


def test_second_process_on_a_run_folder_is_refused(fit, tmp_path):
    code = (
        "import sys, pathlib; from seglab.runs import held\n"
        "try:\n  with held(pathlib.Path(sys.argv[1])): print('entered')\n"
        "except OSError as error: print(error)"
    )
    call = [sys.executable, "-c", code, str(tmp_path / "run")]
    answers = []
    fit(on_epoch=lambda record: answers.append(subprocess.run(call, capture_output=True, text=True, check=True).stdout))
    assert answers == [
        f"run folder {tmp_path / 'run'} must be free; another process trains in it. Choose another --out.\n"
    ]


def test_folder_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="x"), held(tmp_path):
        raise ValueError("x")
    with held(tmp_path), pytest.raises(OSError, match="must be free"), held(tmp_path):
        pass


def test_file_in_place_of_the_run_folder_is_said_before_training(fit, tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(OSError, match=r"run folder .*run must be a folder that can be written; got: File exists"):
        fit()


def test_error_before_anything_is_written_leaves_no_folder_that_was_not_there(pictures, tmp_path):
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "new" / "deep" / "run", tmp_path / "there" / "run"):
        with pytest.raises(ValueError, match="data set must hold at least one picture"):
            train(toy(), build_loss("bce"), pictures(0), pictures(1), config(), out=out)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_error_after_something_is_written_leaves_the_folder(tmp_path):
    out = tmp_path / "new" / "run"

    def fail() -> None:
        with held(out):
            (out / "note").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert sorted(path.name for path in out.iterdir()) == [".lock", "note"]


# --- a network of one's own


def test_network_of_ones_own_trains_and_predicts_but_cannot_be_loaded_by_name(fit, tmp_path):
    predictor = fit(epochs=2)
    prediction = predictor(np.zeros((50, 70, 3), np.uint8))
    assert prediction.mask.shape == (50, 70)
    assert predictor.name == "custom"
    with pytest.raises(ValueError, match=r"best.safetensors holds a network of one's own, which only"):
        Predictor.load(tmp_path / "run")


def test_bare_network_is_refused_with_the_remedy(fit):
    with pytest.raises(ValueError, match=r"model must be a Segmenter; got Toy\. Wrap a bare network: Segmenter\(net\)"):
        fit(Toy())


def test_listed_model_comes_back_from_the_run_folder_with_its_card(fit, small_unet, tmp_path):
    first = fit(small_unet(), card={"title": "Mine", "data": {"n": 5}}, lr=1e-3)
    second = Predictor.load(tmp_path / "run")
    assert second.name == first.name == "Mine"
    card = second.description.card
    assert card["data"] == {"n": 5}
    assert len(card["trained_on"]) == len(set(card["trained_on"])) > 1  # a digest of each picture fitted to
    assert second.size == 32
    assert second.classes == ("background", "object 1")
    picture = torch.rand(1, 3, 32, 32)
    assert torch.equal(first.forward(picture), second.forward(picture))


def test_card_that_json_cannot_hold_is_refused_before_training(fit, tmp_path):
    with pytest.raises(ValueError, match="card and knobs must hold plain JSON values"):
        fit(card={"when": object()})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("num_classes", "part"), [(3, "train"), (3, "val"), (1, "train")])
def test_data_with_other_classes_than_the_model_is_refused(fit, pictures, small_unet, num_classes, part):
    own, other = pictures(2, num_classes=max(2, num_classes)), pictures(2, num_classes=4)
    data, val = (other, own) if part == "train" else (own, other)
    with pytest.raises(ValueError, match=f"{part} data must have the model's {max(2, num_classes)} classes; got 4"):
        fit(small_unet(num_classes), data=data, val=val)


@pytest.mark.parametrize("num_classes", [1, 2, 3])
def test_validation_scores_equal_evaluate_at_the_training_size(fit, pictures, small_unet, num_classes, tmp_path):
    classes = max(2, num_classes)
    data, val = (pictures(n, (32, 32), seed=n, num_classes=classes) for n in (4, 5))
    loss = build_loss("ce_dice")
    predictor = fit(small_unet(num_classes), loss, data, val, epochs=3, lr=5e-3, ema=0.5)
    values = evaluate(predictor, val).values
    best = max(rows_of(tmp_path / "run"), key=lambda row: row["val_dice_fg_image"])
    for name in ("dice_fg_image", "iou_fg_image", "iou_fg_pooled", f"miou_{classes}class_pooled"):
        assert best[f"val_{name}"] == pytest.approx(values[name].value, abs=1e-12), name
    logits = predictor.forward(Cache(val, 32).batch(tuple(range(5))).images)
    masks = torch.stack([sample.mask for sample in val]).long()
    by_hand = [float(loss(logits[i : i + 2], masks[i : i + 2])) * len(masks[i : i + 2]) for i in (0, 2, 4)]
    assert best["val_loss"] == pytest.approx(sum(by_hand) / 5, rel=1e-6)


def test_letterbox_padding_does_not_count_in_validation(fit, pictures, tmp_path):
    class Yes(nn.Module):
        num_classes = 1

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return torch.ones_like(x[:, :1]) * self.scale * 20  # every pixel is object

    val = pictures(2, (32, 64))
    for sample in val:
        sample.mask[:] = 1
    fit(Segmenter(Yes()), val=val, lr=1e-6)
    assert rows_of(tmp_path / "run")[0]["val_iou_fg_pooled"] == 1.0


# --- odd data


@pytest.mark.parametrize(("count", "batch_size"), [(1, 1), (1, 8), (3, 8), (5, 4), (3, 2), (2, 1)])
def test_any_number_of_pictures_and_batch_size_trains(fit, pictures, tmp_path, count, batch_size):
    fit(data=pictures(count), val=pictures(1), batch_size=batch_size, epochs=2)
    assert all(math.isfinite(value) for row in rows_of(tmp_path / "run") for value in row.values())


def test_batch_of_unknown_pixels_only_gives_a_finite_run(fit, pictures, tmp_path):
    data = pictures(4)
    for index in range(4):
        data[index].mask[:] = IGNORE_INDEX
    for loss in ("bce_dice", "ce", "focal"):
        fit(loss=build_loss(loss), data=data, epochs=1)
        assert rows_of(tmp_path / "run")[0]["train_loss"] == 0
        for path in (tmp_path / "run").glob("*.*"):
            path.unlink()


def test_empty_data_is_refused(fit, pictures):
    with pytest.raises(ValueError, match="data set must hold at least one picture; got none"):
        fit(data=pictures(0))


def test_validation_without_any_object_chooses_by_loss(fit, pictures, tmp_path):
    val = pictures(3, seed=1)
    for sample in val:
        sample.mask[:] = 0
    fit(val=val, epochs=6, augment=False, lr=3e-2)
    rows = rows_of(tmp_path / "run")
    saved = load_state(tmp_path / "run" / "last.pt")
    assert saved["best"] == pytest.approx(-min(row["val_loss"] for row in rows), rel=1e-12)


def test_there_is_a_best_epoch_even_if_no_score_is_a_number(fit, pictures, tmp_path):
    val = pictures(2)
    for sample in val:
        sample.mask[:] = 0

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return logits.mean() ** 2 + (0 if logits.requires_grad else math.nan)

    predictor = fit(loss=loss, val=val, epochs=2)
    assert predictor(np.zeros((32, 32, 3), np.uint8)).mask.shape == (32, 32)
    assert load_state(tmp_path / "run" / "last.pt")["stale"] == 1


# --- nothing bad is saved


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_loss_that_is_no_number_stops_before_a_save_and_names_the_pictures(fit, tmp_path, value):
    base = build_loss("bce_dice")
    calls = []

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        calls.append(logits.requires_grad)
        return base(logits, target) * (value if sum(calls) == 4 else 1.0)  # the second batch of epoch 2

    with pytest.raises(
        ValueError, match=rf"loss must be finite; got {value} in epoch 2, batch with p\d, p\d\. The last checkpoint is"
    ):
        fit(loss=loss, epochs=4, save_every=1)
    saved = load_state(tmp_path / "run" / "last.pt")
    assert saved["epoch"] == 1
    assert all(torch.isfinite(v).all() for v in saved["model"].values())
    assert sorted(path.name for path in (tmp_path / "run").glob("*.safetensors")) == [
        "best.safetensors", "epoch_001.safetensors",
    ]  # fmt: skip


def test_gradient_that_is_no_number_stops_before_the_weights_change(fit, tmp_path):
    model = toy()
    before = {name: value.clone() for name, value in model.named_parameters()}

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return (logits * 0).sum().abs().sqrt()  # 0, but its slope is 0 / 0

    with pytest.raises(ValueError, match=r"gradient must be finite; got norm nan in epoch 1, batch with p\d, p\d\."):
        fit(model, loss)
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())
    assert not (tmp_path / "run" / "last.pt").exists()


def test_statistics_that_are_no_numbers_are_not_saved(fit, tmp_path):
    model = toy()

    def spoil(record: dict[str, float]) -> None:
        model.net.middle[1].running_mean.fill_(math.nan)  # batch norm does not read it in training, so no loss shows it

    with pytest.raises(ValueError, match=r"weights must be finite; got NaN or infinity in net.middle.1.running_mean"):
        fit(model, epochs=3, on_epoch=spoil)
    assert load_state(tmp_path / "run" / "last.pt")["epoch"] == 1


def test_full_disk_while_saving_leaves_the_last_epoch_resumable(tmp_path):
    code = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from training_process import hurry, run
hurry()
run(sys.argv[1], {"epochs": 2})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    run(sys.argv[1], {"epochs": 4})
except OSError as error:
    print(error)
"""
    call = [sys.executable, "-c", code, str(tmp_path / "run"), str(HERE)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert "could not be written: File too large. Free some space or choose another folder" in done.stdout
    assert load_state(tmp_path / "run" / "last.pt")["epoch"] == 2
    run(tmp_path / "run", {"epochs": 4})
    run(tmp_path / "whole", {"epochs": 4})
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")


# --- freezing, stopping, averaging


def test_frozen_encoder_keeps_weights_and_statistics_still_then_learns(fit):
    model = toy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []

    def look(record: dict[str, float]) -> None:
        moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        seen.append((record["encoder_frozen"], any("encoder" in name for name in moved), "net.head.bias" in moved))

    fit(model, epochs=3, freeze_epochs=2, optimizer="adamw", weight_decay=0.5, on_epoch=look)
    assert seen == [(1.0, False, True), (1.0, False, True), (0.0, True, True)]


def test_freezing_a_network_without_an_encoder_is_refused(fit):
    with pytest.raises(ValueError, match="net must have an attribute `encoder` to freeze; Conv2d has none"):
        fit(Segmenter(nn.Conv2d(3, 1, 1)), freeze_epochs=1)


@pytest.fixture
def scored(monkeypatch) -> Callable[[list[float]], None]:
    """Let validation give these scores, one an epoch."""

    def script(scores: list[float]) -> None:
        left = iter(scores)

        def validate(*_: object) -> dict[str, float]:
            score = next(left)
            return {"val_loss": 1 - score, "val_dice_fg_image": score}

        monkeypatch.setattr(training, "_validate", validate)

    return script


@pytest.mark.parametrize(
    ("scores", "patience", "epochs"),
    [
        ([0.1, 0.2, 0.2, 0.1, 0.9], 2, 4),
        ([0.1, 0.2, 0.1, 0.3, 0.1, 0.2, 0.9], 2, 6),
        ([0.5, 0.4, 0.9], 1, 2),
        ([0.1, 0.1, 0.1], None, 3),
    ],
)
def test_training_stops_after_that_many_epochs_without_improvement(fit, scored, tmp_path, scores, patience, epochs):
    scored(scores)
    fit(epochs=len(scores), patience=patience)
    assert len(rows_of(tmp_path / "run")) == epochs


def test_best_is_the_epoch_of_the_highest_score_and_the_first_of_equals(fit, scored, tmp_path):
    scored([0.1, 0.7, 0.3, 0.7, 0.2])
    fit(epochs=5, save_every=1)
    digests = {path.name: digest(load_file(path)) for path in (tmp_path / "run").glob("*.safetensors")}
    assert [name for name, value in digests.items() if value == digests["best.safetensors"] and name[0] == "e"] == [
        "epoch_002.safetensors"
    ]


def test_numbered_checkpoints_come_every_few_epochs(fit, tmp_path):
    fit(epochs=5, save_every=2)
    assert sorted(path.name for path in (tmp_path / "run").glob("epoch_*")) == [
        "epoch_002.safetensors", "epoch_004.safetensors",
    ]  # fmt: skip


def test_plateau_steps_down_after_every_five_epochs_without_improvement(fit, scored, tmp_path):
    scored([0.5, *[0.4] * 11, 0.6, *[0.1] * 5])
    fit(epochs=18, lr=1e-2, min_lr=1e-3, data=None)
    rates = [row["lr"] for row in rows_of(tmp_path / "run")]
    assert rates == pytest.approx([1e-2] * 6 + [2e-3] * 5 + [1e-3] * 7)
    assert load_state(tmp_path / "run" / "last.pt")["lr_scale"] == pytest.approx(0.2**3)


def test_average_equals_a_hand_computation(fit, monkeypatch):
    steps = []
    update = stepping.update_average

    def record(average: nn.Module, model: nn.Module, decay: float) -> None:
        update(average, model, decay)
        steps.append((decay, model.net.head.weight.detach().clone(), average.net.head.weight.clone()))

    monkeypatch.setattr(stepping, "update_average", record)
    model = toy()
    mean = model.net.head.weight.detach().double()
    fit(model, epochs=3, ema=0.35, lr=5e-2)
    assert [step[0] for step in steps] == pytest.approx([2 / 11, 3 / 12, 4 / 13, 0.35, 0.35, 0.35])
    for decay, weight, average in steps:
        mean = decay * mean + (1 - decay) * weight.double()
        assert torch.allclose(average.double(), mean, atol=1e-7, rtol=0)
    assert (mean - steps[-1][1]).abs().max() > 1e-3


def test_averaged_weights_are_the_ones_saved(fit, small_unet, tmp_path):
    fit(small_unet(), ema=0.9, lr=1e-2)
    saved = load_state(tmp_path / "run" / "last.pt")
    best = load_model(tmp_path / "run" / "best.safetensors")[0].state_dict()
    assert all(torch.equal(best[name], value) for name, value in saved["average"].items())
    assert not all(torch.equal(best[name], value) for name, value in saved["model"].items())


def test_average_copies_whole_numbers():
    average, model = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    model.num_batches_tracked += 7
    model.running_mean += 1
    stepping.update_average(average, model, 0.75)
    assert average.num_batches_tracked.item() == 7
    assert average.running_mean.tolist() == [0.25, 0.25]


def test_several_outputs_are_supervised_by_their_mean():
    target = torch.ones(1, 4, 4, dtype=torch.long)
    outputs = [torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 3.0)]
    expected = (math.log(2) + math.log(1 + math.exp(-3))) / 2
    assert float(stepping.total_loss(build_loss("bce"), outputs, target)) == pytest.approx(expected)


# --- learning rates


@pytest.mark.parametrize(
    ("schedule", "progress", "rate"),
    [
        ("constant", 0, 1.0), ("constant", 9.99, 1.0),
        ("plateau", 0, 1.0),
        ("cosine", 0, 1.0), ("cosine", 2.5, 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2), ("cosine", 5, 0.55),
        ("cosine", 10, 0.1), ("cosine", 12, 0.1),
        ("poly", 0, 1.0), ("poly", 5, 0.5**0.9), ("poly", 9, 0.1**0.9), ("poly", 9.9, 0.1), ("poly", 10, 0.1),
    ],
)  # fmt: skip
def test_schedule_gives_the_rate_worked_by_hand(schedule, progress, rate):
    settings = TrainConfig(epochs=10, lr=1.0, min_lr=0.1, schedule=schedule)
    assert learning_rate(settings, progress, 1.0) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("scale", "rate"), [(1.0, 1.0), (0.2, 0.2), (0.04, 0.1)])
def test_plateau_rate_is_scaled_down_to_the_lowest(scale, rate):
    assert learning_rate(TrainConfig(lr=1.0, min_lr=0.1), 50, scale) == pytest.approx(rate)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau", "poly"])
def test_warmup_rises_in_a_line_to_the_full_rate(schedule):
    settings = TrainConfig(epochs=10, warmup_epochs=2, lr=1.0, min_lr=0.0, schedule=schedule)
    rates = [learning_rate(settings, progress, 1.0) for progress in (0, 0.5, 1, 1.5, 2)]
    assert rates[0] == pytest.approx(0.05 / 2.05)
    assert np.diff(rates) == pytest.approx([0.5 / 2.05] * 4)
    assert rates[-1] == pytest.approx(1.0)
    halfway = {"constant": 1.0, "plateau": 1.0, "cosine": 0.5, "poly": 0.5**0.9}
    assert learning_rate(settings, 6, 1.0) == pytest.approx(halfway[schedule])


def test_rate_is_set_anew_for_every_step(fit, monkeypatch):
    used = []
    step = torch.optim.Adam.step

    def spy(self: torch.optim.Adam, closure: object = None) -> object:
        used.append(self.param_groups[0]["lr"])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    fit(epochs=3, warmup_epochs=1, schedule="cosine", lr=1e-2, min_lr=0)
    # Five pictures in batches of two, the last one left out: steps at 0 and 2/5 of every epoch.
    line = [1e-2 * (p + 0.05) / 1.05 for p in (0, 0.4)]
    cosine = [1e-2 * (1 + math.cos(math.pi * (p - 1) / 2)) / 2 for p in (1, 1.4, 2, 2.4)]
    assert used == pytest.approx(line + cosine)


def test_gradient_is_clipped_to_the_norm_asked_for(fit, monkeypatch):
    norms = []
    step = torch.optim.Adam.step

    def spy(self: torch.optim.Adam, closure: object = None) -> object:
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.cat([g.flatten() for g in grads]).norm()))
        return step(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    fit(grad_clip=0.01)
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)


# --- what is written


def test_run_folder_holds_the_curves_and_what_else_the_docstring_names(fit, tmp_path):
    fit(epochs=2, save_every=2)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        ".lock", "best.safetensors", "best.safetensors.copy", "curves.png", "epoch_002.safetensors", "history.csv",
        "history.txt", "last.pt", "previous.pt", "run.json",
    ]  # fmt: skip
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["config"]["epochs"] == 2
    assert facts["loss"] == "bce_dice()"
    assert facts["pictures"] == {"train": 5, "val": 3}


def test_tensorboard_gets_every_epoch(fit, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(epochs=2)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    rows = rows_of(tmp_path / "run")
    for name in ("train_loss", "val_dice_fg_image", "lr"):
        got = [(event.step, event.value) for event in events.Scalars(name)]
        assert got == [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in rows]


def test_training_learns_what_the_discs_show(pictures, small_unet, tmp_path):
    settings = config(epochs=12, lr=1e-2, schedule="cosine", batch_size=4)
    best = seglab.train(
        small_unet(), build_loss("bce_dice"), pictures(12), pictures(4, seed=1), settings, out=tmp_path / "run"
    )
    assert evaluate(best, pictures(6, seed=2)).values["dice_fg_image"].value > 0.85


@pytest.mark.parametrize("channels", [17, 16])
def test_dilated_convolutions_learn_from_the_gradients_of_float32(channels, pictures, tmp_path):
    """In bf16, channels last, their weight gradients were not initialised memory."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), nn.Conv2d(channels, channels, 3, padding=2, dilation=2),
        nn.Conv2d(channels, 1, 1),
    )  # fmt: skip
    config = TrainConfig(epochs=1, size=32, batch_size=2, workers=0, augment=False, lr=1e-3)
    weights = []
    for amp in (False, True):
        train(Segmenter(copy.deepcopy(net)), build_loss("bce"), pictures(4), pictures(2), replace(config, amp=amp),
              out=tmp_path / str(amp))  # fmt: skip
        state = torch.load(tmp_path / str(amp) / "last.pt", weights_only=True)
        weights.append(state["model"]["net.1.weight"])
    assert torch.equal(*weights)
