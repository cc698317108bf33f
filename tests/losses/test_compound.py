"""Sums of losses against their parts."""

import pytest

from seglab import losses

from .batches import batch


def test_combined_losses_are_their_sums() -> None:
    logits, target = batch(3)
    knobs = {"smooth": 1e-5, "reduce": "batch"}
    ce, bce, dice = losses.ce(logits, target), losses.bce(logits, target), losses.dice(logits, target, **knobs)
    focal = losses.focal(logits, target, alpha=0.5, gamma=3)
    assert losses.bce_dice(logits, target, **knobs) == bce + dice
    assert losses.ce_dice(logits, target, **knobs) == pytest.approx((0.7 * ce + 0.3 * dice).item())
    assert losses.ce_dice(logits, target, alpha=0.2, **knobs) == pytest.approx((0.2 * ce + 0.8 * dice).item())
    assert losses.dice_focal(logits, target, alpha=0.5, gamma=3, **knobs) == dice + focal


@pytest.mark.parametrize("reduce", ["image", "batch"])
def test_compound_is_bce_dice_unless_told_otherwise(reduce: str) -> None:
    logits, target = batch(1)
    assert losses.compound(logits, target, reduce=reduce) == losses.bce_dice(logits, target, reduce=reduce)


def test_compound_of_several_classes_takes_the_softmax() -> None:
    logits, target = batch(3)
    expected = 2 * losses.ce_dice(logits, target, alpha=0.5)
    assert losses.compound(logits, target) == pytest.approx(expected.item(), rel=1e-12)
    assert losses.compound(logits, target) != pytest.approx(losses.bce_dice(logits, target).item(), rel=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_compound_weighs_its_parts(channels: int) -> None:
    logits, target = batch(channels)
    alone = {
        "w_bce": losses.ce(logits, target),
        "w_dice": losses.dice(logits, target),
        "w_tversky": losses.tversky(logits, target, alpha=0.2, beta=0.9),
    }
    nothing = dict.fromkeys(alone, 0)
    for part, value in alone.items():
        built = losses.compound(logits, target, **{**nothing, part: 3}, alpha=0.2, beta=0.9)
        assert built == pytest.approx(3 * value.item(), rel=1e-12)
