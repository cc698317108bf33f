"""A step and its count: what is read when; the same records and the same errors whether one looks at once or later."""

import copy
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from run_folders import fingerprint
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from training_process import run, toy

from seglab import augmentation, history, losses, metrics, stepping, training
from seglab.batches import Cache
from seglab.config import TrainConfig
from seglab.contract import IGNORE_INDEX
from seglab.devices import sent
from seglab.losses import build_loss
from seglab.models import Segmenter
from seglab.resident import Resident
from seglab.resume import TrainState
from seglab.stepping import Tally, feed, looks_at_once, start, step, update_average
from seglab.training import train

LATER = torch.device("meta")  # tensors without numbers: whoever looks at one gets an error


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(training, "log_tensorboard", lambda out, record: None)
    monkeypatch.setattr(history, "_curves", lambda records, freeze_epochs: b"")


# --- looking later changes nothing

SETTINGS = {
    "plain": {},
    "average, clipped, frozen, warmed up": {
        "ema": 0.9, "grad_clip": 0.5, "freeze_epochs": 1, "warmup_epochs": 1, "optimizer": "adamw",
    },
    "mixed precision": {"amp": True, "workers": 2},
}  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_run_that_is_looked_at_later_is_the_same_bit_for_bit(settings, tmp_path, monkeypatch):
    run(tmp_path / "at once", {"epochs": 3, "workers": 0} | settings)
    monkeypatch.setattr(training, "looks_at_once", lambda device: False)
    run(tmp_path / "later", {"epochs": 3, "workers": 0} | settings)
    assert fingerprint(tmp_path / "later") == fingerprint(tmp_path / "at once")


def failing(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss that goes wrong in the second of two batches of the second epoch, in a way."""
    base, calls = build_loss("bce_dice"), []

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        calls.append(logits.requires_grad)
        value = base(logits, target)
        if not logits.requires_grad or sum(calls) != 4:
            return value
        if name == "gradient":
            return value + (logits * 0).sum().abs().sqrt()  # 0, but its slope is 0 / 0
        return value * float(name)

    loss.__name__ = "bce_dice"
    return loss


@pytest.mark.parametrize("what", ["nan", "inf", "-inf", "gradient"])
def test_number_that_is_none_stops_the_run_before_a_save_with_the_same_words_later(
    what, pictures, tmp_path, monkeypatch
):
    config = TrainConfig(epochs=4, size=32, batch_size=2, amp=False, device="cpu", workers=0, save_every=1)
    words, kept = [], []
    for at_once in (True, False):
        out = tmp_path / str(at_once)
        monkeypatch.setattr(training, "looks_at_once", lambda device, at_once=at_once: at_once)
        with pytest.raises(ValueError, match="must be finite; got") as caught:
            train(toy(), failing(what), pictures(5), pictures(3, seed=1), config, out=out)
        words.append(str(caught.value))
        kept.append({path.name: path.read_bytes() for path in out.glob("*.*") if path.suffix != ".json"})
    assert words[0] == words[1]
    assert "in epoch 2, batch with p" in words[1]
    assert words[1].startswith(
        "gradient must be finite; got norm nan" if what == "gradient" else f"loss must be finite; got {what}"
    )
    assert kept[0] == kept[1]
    assert {"last.pt", "epoch_001.safetensors"} <= kept[1].keys()
    assert "epoch_002.safetensors" not in kept[1]


def test_later_the_first_number_that_is_none_is_named():
    tally = Tally(4, list("abcdefgh"), at_once=False)
    for value, norm, group in ((1.0, 1.0, (0,)), (2.0, math.inf, (3, 1)), (math.nan, math.nan, (2,))):
        tally.loss(torch.tensor(value), group)
        tally.gradient(torch.tensor(norm))
    with pytest.raises(
        ValueError, match=r"^gradient must be finite; got norm inf in epoch 5, batch with d, b\. The last"
    ):
        tally.mean()
    tally = Tally(0, list("abcdefgh"), at_once=False)
    tally.loss(torch.tensor(-math.inf), tuple(range(8)))
    with pytest.raises(ValueError, match=r"^loss must be finite; got -inf in epoch 1, batch with a, b, c, d\. Nothing"):
        tally.mean()


def test_mean_is_over_pictures_and_scaled_steps_need_no_norm():
    tally = Tally(0, "abc", at_once=False)
    tally.loss(torch.tensor(1.0), (0, 1))
    tally.loss(torch.tensor(4.0, dtype=torch.double), (2,))
    assert tally.mean() == 2.0


# --- nobody waits


class Copies(TorchDispatchMode):
    """Notes every copy to another device that the processor would wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out, name = func(*args, **kwargs), str(func)
        if name == "aten._to_copy.default" and args[0].device != out.device and not kwargs.get("non_blocking"):
            self.waited.append(name)
        if name == "aten.copy_.default" and args[0].device != args[1].device and not (*args, False)[2]:
            self.waited.append(name)
        return out


def on_the_device(**settings: object) -> tuple[TrainState, TrainConfig]:
    """A state on a device without numbers."""
    model = toy().to(LATER)
    config = TrainConfig(size=32, batch_size=2, augment=False, amp=False, workers=0, **settings)
    average = copy.deepcopy(model).requires_grad_(False) if config.ema else None
    optimizer = torch.optim.AdamW(model.parameters())
    return TrainState(model, average, optimizer, torch.amp.GradScaler("cpu", enabled=False)), config


KNOBS: dict[str, list[dict[str, object]]] = {
    "ce": [{"class_weights": [1.0, 2.0]}],
    "exponential": [{"class_weights": [1.0, 2.0]}],
    "focal": [{"alpha": 0.25}, {"alpha": 0.25, "uniform_alpha": True}],
    "adaptive_exponential": [{"cap": 10.0, "normalise": True}],
}
LOSSES = [(name, knobs) for name in losses.list_losses() for knobs in ({}, *KNOBS.get(name, []))]


@pytest.mark.parametrize(("name", "knobs"), LOSSES, ids=[f"{name} {knobs or ''}" for name, knobs in LOSSES])
def test_epoch_of_steps_looks_at_no_number_of_the_device_until_the_tally_is_read(name, knobs, pictures):
    state, config = on_the_device(ema=0.9, grad_clip=0.5)
    fit, tally = Cache(pictures(5), 32), Tally(0, list("abcde"), at_once=False)
    with Copies() as copies:
        for batch in feed(fit, config, 0, torch.device("cpu")):
            step(state, state.model, build_loss(name, **knobs), batch, config, progress=0.0, tally=tally)
    assert copies.waited == []
    assert state.step == 2
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        tally.mean()


def test_pictures_are_augmented_on_the_device_without_a_look(pictures, monkeypatch):
    monkeypatch.setattr(apply_batch_module(), "_moved", lambda tensor, device: tensor.to(device, non_blocking=True))
    cache = Cache(pictures(5), 32)
    resident = Resident(cache.images, cache.masks, cache.boxes, LATER)
    with Copies() as copies:
        images, masks = resident.batch([4, 0, 2], partial(augmentation.draw, 0, 0))
    assert copies.waited == []
    assert (images.shape, masks.shape) == ((3, 3, 32, 32), (3, 32, 32))
    assert images.device == masks.device == LATER


def apply_batch_module() -> Any:
    return sys.modules[augmentation.apply_batch.__module__]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("room", [2**40, 0])
def test_on_a_gpu_an_epoch_of_steps_waits_for_nothing(pictures, monkeypatch, room):
    device = torch.device("cuda", 0)
    monkeypatch.setattr("seglab.resident.free_memory", lambda device: room)
    config = TrainConfig(size=32, batch_size=2, ema=0.9, grad_clip=0.5, workers=0)
    state = start(toy().to(device).to(memory_format=torch.channels_last).train(), config, device)
    fit = Cache(pictures(6), 32)
    for mode in ("default", "error"):  # the first epoch may wait, when libraries choose their ways
        tally = Tally(0, fit.names, at_once=looks_at_once(device))
        torch.cuda.set_sync_debug_mode(mode)
        try:
            for batch in feed(fit, config, 0, device):
                step(state, state.model, build_loss("bce_dice"), batch, config, progress=0.0, tally=tally)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert math.isfinite(tally.mean())


def test_copies_are_waited_for_on_apples_gpus_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(
        Tensor, "to", lambda tensor, device, **named: asked.append((device.type, named["non_blocking"]))
    )
    for name in ("cpu", "cuda", "mps"):
        sent(torch.ones(1), torch.device(name))
    assert asked == [("cpu", True), ("cuda", True), ("mps", False)]


def test_at_once_the_first_step_looks():
    """The test above could see it."""
    tally = Tally(0, "a", at_once=True)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        tally.loss(torch.ones((), device=LATER), (0,))


@pytest.mark.parametrize("num_classes", [1, 3])
def test_validation_reads_nothing_until_every_picture_has_been_through_the_model(num_classes, pictures, monkeypatch):
    val, events = Cache(pictures(5, num_classes=max(2, num_classes)), 32), []
    model = Segmenter(nn.Conv2d(3, num_classes, 1)).to(LATER)
    model.register_forward_hook(lambda *_: events.append("forward"))

    def read(value: Tensor) -> float:
        events.append("read")
        return 0.0

    monkeypatch.setattr(Tensor, "__float__", read)
    counts = torch.ones(5, max(2, num_classes), max(2, num_classes), dtype=torch.long)
    monkeypatch.setattr(Tensor, "cpu", lambda value: (events.append("read"), counts)[1])
    config = TrainConfig(size=32, batch_size=2, amp=False)
    training._validate(model, build_loss("ce_dice"), val, config)
    assert events[:3] == ["forward"] * 3
    assert set(events[3:]) == {"read"}


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_counts_without_a_look_are_the_counts(classes):
    random = torch.Generator().manual_seed(classes)
    target = torch.randint(0, max(2, classes), (3, 7, 9), generator=random)
    pred = torch.randint(0, max(2, classes), (3, 7, 9), generator=random)
    target[0, :4] = IGNORE_INDEX
    target[1] = IGNORE_INDEX
    expected = metrics.counts(pred, target, classes)
    found = metrics._ratios._without_a_look(pred.bool() if classes < 3 else pred, target.byte(), max(2, classes), 255)
    assert torch.equal(found, expected)
    assert found.dtype == torch.int64
    away = metrics.counts(pred.to(LATER), target.to(LATER), classes)
    assert away.shape == expected.shape
    assert away.device == LATER


def test_wrong_labels_are_not_counted_where_nobody_looks():
    target, pred = torch.tensor([[[0, 1, 2, -1, 1]]]), torch.tensor([[[0, 7, 1, 1, 1]]])
    assert metrics._ratios._without_a_look(pred, target, 2, 255).tolist() == [[[1, 0], [0, 1]]]


# --- the average


def test_average_of_a_network_without_counters_moves_too():
    average, model = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        average.weight.fill_(0.0)
        model.weight.fill_(4.0)
    update_average(average, model, 0.75)
    assert average.weight.item() == 1.0


# --- one kernel for all weights


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_on_a_gpu_all_weights_are_updated_by_one_kernel_and_elsewhere_as_ever(optimizer, monkeypatch):
    kinds, asked = {"adam": "Adam", "adamw": "AdamW"}, []
    real = getattr(torch.optim, kinds[optimizer])

    def spy(parameters: Any, **named: Any) -> Any:
        asked.append(named["fused"])
        return real(parameters, **named | {"fused": None})

    monkeypatch.setattr(torch.optim, kinds[optimizer], spy)
    for device in ("cpu", "cuda", "mps"):
        monkeypatch.setattr(torch.amp, "GradScaler", lambda *_, **__: None)
        monkeypatch.setattr(stepping, "needs_scaling", lambda *_: False)
        stepping.start(toy(), TrainConfig(optimizer=optimizer), torch.device(device))
    assert asked == [None, True, None]


@pytest.mark.parametrize(("saved", "own"), [(True, None), (None, True)])
def test_state_moves_between_devices_with_its_moments_but_without_the_way_to_compute(saved, own):
    states = []
    for fused in (saved, own):
        model = toy()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=fused)
        states.append(TrainState(model, None, optimizer, torch.amp.GradScaler("cpu", enabled=False)))
    first, second = states
    for parameter in first.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    first.optimizer.step()
    second.restore(first.to_dict())
    assert [group["fused"] for group in second.optimizer.param_groups] == [own]
    for state in states:
        for parameter in state.model.parameters():
            parameter.grad = torch.ones_like(parameter)
        state.optimizer.step()
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)
