"""Overlap losses against their formulas, identities and hand-worked masks."""

import pytest
import torch

from seglab import losses

from .batches import batch, perfect


@pytest.mark.parametrize("smooth", [0.0, 1.0, 1e-5])
def test_dice_is_its_formula(smooth: float) -> None:
    logits, target = batch(1)
    p, g = logits.sigmoid()[:, 0], target.double()
    each = 1 - (2 * (p * g).sum((1, 2)) + smooth) / (p.sum((1, 2)) + g.sum((1, 2)) + smooth)
    assert losses.dice(logits, target, smooth=smooth) == pytest.approx(each.mean().item(), rel=1e-9)
    whole = 1 - (2 * (p * g).sum() + smooth) / (p.sum() + g.sum() + smooth)
    assert losses.dice(logits, target, smooth=smooth, reduce="batch") == pytest.approx(whole.item(), rel=1e-9)


def test_dice_of_three_classes_worked_by_hand() -> None:
    """One row of three pixels, all probabilities 1/3: class 0 has two pixels, class 1 has one, class 2 none."""
    logits, target = torch.zeros(1, 3, 1, 3, dtype=torch.float64), torch.tensor([[[0, 0, 1]]])
    each = [1 - (2 * 2 / 3 + 1) / (1 + 2 + 1), 1 - (2 / 3 + 1) / (1 + 1 + 1), 1 - 1 / (1 + 0 + 1)]
    assert losses.dice(logits, target) == pytest.approx(sum(each) / 3)
    assert losses.dice(logits, target, include_background=False) == pytest.approx(sum(each[1:]) / 2)


def test_dice_keeps_the_only_channel_without_background() -> None:
    logits, target = batch(1)
    assert losses.dice(logits, target, include_background=False) == losses.dice(logits, target)


def test_absent_class_costs_what_is_predicted_of_it() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    nothing, one_pixel = torch.full((2, 1, 1, 2, 2), -100.0)
    one_pixel[0, 0, 0, 0] = 100.0
    assert losses.dice(nothing, target) == 0
    assert losses.dice(one_pixel, target) == 0.5  # 1 - 1 / (1 + 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_even_tversky_is_dice(channels: int) -> None:
    logits, target = batch(channels)
    expected = losses.dice(logits, target).item()
    assert losses.tversky(logits, target, alpha=0.5, beta=0.5) == pytest.approx(expected, rel=1e-12)
    without = losses.dice(logits, target, smooth=0).item()
    assert losses.tversky(logits, target, alpha=0.5, beta=0.5, smooth=0) == pytest.approx(without, rel=1e-12)


def test_tversky_prices_false_positives_by_alpha_and_misses_by_beta() -> None:
    """Two hits, one false positive, three misses, all sure."""
    target = torch.tensor([[[1, 1, 1, 1, 1, 0, 0]]])
    logits = 100.0 * torch.tensor([[[[1, 1, -1, -1, -1, 1, -1]]]])
    expected = 1 - (2 + 1) / (2 + 0.3 * 1 + 0.7 * 3 + 1)
    assert losses.tversky(logits, target, alpha=0.3, beta=0.7, smooth=1) == pytest.approx(expected)
    index = (2 + 0.5) / (2 + 0.3 * 1 + 0.7 * 3 + 0.5)
    assert losses.focal_tversky(logits, target) == pytest.approx((1 - index) ** 0.75)


def test_focal_tversky_with_gamma_one_is_tversky() -> None:
    logits, target = batch(3)
    expected = losses.tversky(logits, target, alpha=0.3, beta=0.7)
    assert losses.focal_tversky(logits, target, gamma=1) == pytest.approx(expected.item(), rel=1e-12)


def test_skewed_prices_cancel_between_two_classes_of_equal_area() -> None:
    """In the background's index a miss of the object is a false positive: of 8 and 8 pixels, one wrong each way."""
    target = torch.tensor([[[1] * 8 + [0] * 8]])
    missed, found = target.clone(), target.clone()
    missed[..., 0], found[..., 8] = 0, 1
    ratios = []
    for channels, knobs in ((1, {}), (2, {"include_background": False}), (2, {})):
        costs = [
            losses.tversky(perfect(pred, channels), target, alpha=0.1, beta=0.9, smooth=0, **knobs).item()
            for pred in (missed, found)
        ]
        ratios.append(costs[0] / costs[1])
    alone = (1 - 7 / 7.9) / (1 - 8 / 8.1)
    assert ratios == pytest.approx([alone, alone, 1])


@pytest.mark.parametrize("name", ["tversky", "focal_tversky"])
def test_two_classes_without_background_are_one_channel(name: str) -> None:
    logits, target = batch(1)
    two = torch.cat((torch.zeros_like(logits), logits), dim=1)
    loss, knobs = getattr(losses, name), {"alpha": 0.1, "beta": 0.9}
    expected = loss(logits, target, **knobs).item()
    assert loss(two, target, include_background=False, **knobs) == pytest.approx(expected, rel=1e-12)
    assert loss(logits, target, include_background=False, **knobs) == expected
    assert loss(two, target, **knobs) != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("gamma", [4 / 3, 2.0, 3.0])
def test_focal_tversky_is_the_papers_power_of_one_minus_the_index(gamma: float) -> None:
    """Abraham and Khan: (1 - TI)^(1 / gamma), 0.7 on misses and 0.3 on false positives; one image, one class."""
    logits, target = batch(1, images=1)
    p, g = logits.sigmoid()[:, 0], target.double()
    index = (p * g).sum() + 0.5
    index = index / (index + 0.7 * ((1 - p) * g).sum() + 0.3 * (p * (1 - g)).sum())
    expected = (1 - index.item()) ** (1 / gamma)
    assert losses.focal_tversky(logits, target, gamma=gamma) == pytest.approx(expected, rel=1e-9)
