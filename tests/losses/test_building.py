"""build_loss: names, knobs, and the words of what it refuses."""

import math
from inspect import signature

import pytest
import torch

from seglab import losses

from .batches import NAMES, batch


def test_public_names_are_sorted_and_complete() -> None:
    public = {
        name for name, value in vars(losses).items() if getattr(value, "__module__", "").startswith("seglab.losses")
    }
    assert losses.__all__ == sorted(name for name in public if not name.startswith("_"))
    assert set(NAMES) == set(losses.__all__) - {"build_loss", "list_losses"}
    assert sorted(NAMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_docstring_has_a_reference_and_an_example(name: str) -> None:
    text = getattr(losses, name).__doc__
    assert "Reference:" in text
    assert ">>>" in text


@pytest.mark.parametrize("name", NAMES)
def test_build_loss_gives_every_loss(name: str) -> None:
    logits, target = batch(3)
    built = losses.build_loss(name, ignore_index=0)
    assert built(logits, target) == getattr(losses, name)(logits, target, ignore_index=0)


def test_build_loss_takes_knobs() -> None:
    logits, target = batch(3)
    built = losses.build_loss("ce", class_weights=[1, 2, 3])
    assert built(logits, target) == losses.ce(logits, target, class_weights=[1, 2, 3])


@pytest.mark.parametrize(
    ("name", "knobs", "words"),
    [
        ("dise", {}, r"loss must be one of adaptive_exponential, bce, .*; got 'dise'\. Did you mean 'dice'\?"),
        ("build_loss", {}, "loss must be one of"),
        ("dice", {"smoth": 1}, r"knob of loss dice must be one of .*; got 'smoth'\. Did you mean 'smooth'\?"),
        ("ce", {"logits": 1}, "knob of loss ce must be one of class_weights, ignore_index; got 'logits'"),
        ("dice", {"reduce": "mean"}, "reduce must be one of batch, image; got 'mean'"),
        ("dice", {"smooth": -1}, "smooth must be a number at least 0; got -1"),
        ("tversky", {"beta": "big"}, "beta must be a number at least 0; got 'big'"),
        ("tversky", {"alpha": math.nan}, "alpha must be a number at least 0; got nan"),
        ("focal", {"gamma": -2}, "gamma must be a number at least 0; got -2"),
        ("focal", {"gamma": math.inf}, "gamma must be a number at least 0; got inf"),
        ("focal", {"alpha": 2}, r"alpha must be a number in \[0, 1\]; got 2"),
        ("ce_dice", {"alpha": 1.5}, r"alpha must be a number in \[0, 1\]; got 1.5"),
        ("focal_tversky", {"gamma": 0}, "gamma must be a number at least 0.001; got 0"),
        ("focal", {"uniform_alpha": True}, r"alpha must be a number in \[0, 1\] where uniform_alpha is True; got None"),
        ("compound", {"w_dice": -1}, "w_dice must be a number at least 0; got -1"),
        ("compound", {"w_bce": 0, "w_dice": 0}, "w_bce, w_dice and w_tversky must not all be 0; got 0, 0 and 0"),
        ("adaptive_exponential", {"eps": -1e-9}, "eps must be a number at least 0; got -1e-09"),
        ("adaptive_exponential", {"cap": 0.5}, "cap must be a number at least 1; got 0.5"),
        ("adaptive_exponential", {"normalise": 1}, "normalise must be True or False; got 1"),
        ("structure", {"kernel": 30}, "kernel must be an odd whole number at least 1; got 30"),
        ("structure", {"kernel": -1}, "kernel must be an odd whole number at least 1; got -1"),
        ("structure", {"kernel": 3.0}, "kernel must be an odd whole number at least 1; got 3.0"),
        ("structure", {"edge_weight": math.inf}, "edge_weight must be a number at least 0; got inf"),
        ("exponential", {"class_weights": [1, -1]}, r"class_weights must be numbers at least 0; got \[1, -1\]"),
        ("ce", {"class_weights": [1, math.nan]}, r"class_weights must be numbers at least 0; got \[1, nan\]"),
        ("ce", {"class_weights": "ab"}, r"class_weights must hold max\(2, K\) = 2 numbers; got 'ab'"),
    ],
)
def test_build_loss_refuses_with_a_clear_word(name: str, knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        losses.build_loss(name, **knobs)


@pytest.mark.parametrize("name", NAMES)
def test_every_knob_of_every_loss_refuses_a_word(name: str) -> None:
    knobs = signature(getattr(losses, name)).parameters.keys() - {"logits", "target"}
    assert "ignore_index" in knobs
    for knob in knobs:
        with pytest.raises(ValueError, match=f"^{knob} must .*got 'banana'"):
            losses.build_loss(name, **{knob: "banana"})


@pytest.mark.parametrize("name", NAMES)
def test_every_knob_is_in_the_docstring(name: str) -> None:
    shared = {"logits", "target", "ignore_index", "reduce", "smooth"}  # explained once, at the head of the folder
    for knob in signature(getattr(losses, name)).parameters.keys() - shared:
        assert knob in getattr(losses, name).__doc__


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_and_labels_are_named(name: str) -> None:
    loss = getattr(losses, name)
    logits, target = batch(2)
    with pytest.raises(ValueError, match=r"target must have shape \(3, 6, 7\), that of the logits; got \(3, 6, 6\)"):
        loss(logits, target[:, :, :6])
    with pytest.raises(ValueError, match=r"target must have shape"):
        loss(logits, target[:, None])
    with pytest.raises(ValueError, match=r"logits must be float \(N, K, H, W\).*\(3, 6, 7\)"):
        loss(logits[:, 0], target)
    with pytest.raises(ValueError, match="logits must be float .*int64"):
        loss(logits.long(), target)
    with pytest.raises(ValueError, match="not empty"):
        loss(logits[:0], target[:0])
    with pytest.raises(ValueError, match="target must hold integer class indices; got torch.float32"):
        loss(logits, target.float())
    with pytest.raises(ValueError, match="target must hold classes 0 to 1, or 255; got 0 to 200"):
        loss(logits, torch.where(target == 1, 200, target))
    with pytest.raises(ValueError, match="got -1 to 1"):
        loss(logits, torch.where(target == 0, -1, target))
