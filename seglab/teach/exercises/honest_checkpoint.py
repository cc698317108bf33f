"""Lesson 8: choose a checkpoint by its validation score alone."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from seglab.teach._check import expect

__all__ = ["expectations"]

Record = Mapping[str, float]


def expectations(select: Callable[[Sequence[Record]], int]) -> None:
    """Histories by hand first: a clear best, a tie, gaps; then 50 drawn by chance.

    Args:
        select: Takes records with step, val_dice and test_dice; returns the step of the highest val_dice, the first of
            equals, records with NaN left out.
    """
    rising = [_record(18, 0.5, 0.7), _record(36, 0.6, 0.6), _record(54, 0.7, 0.5)]
    expect(
        select(rising) == 54,
        "validation scores of .5 .6 .7 at the steps 18, 36, 54: choose step 54.",
        'Compare `one["val_dice"]` of the records. In this history the test scores go the other way.',
    )
    expect(
        select([_record(18, 0.5, 0.7), _record(36, 0.6, 0.6), _record(54, 0.6, 0.8)]) == 36,
        "two checkpoints share the highest validation score: choose the earlier one, whatever the test scores are.",
    )
    for first in (0, 1):
        holed = [_record(18, 0.6, 0.6), _record(36, 0.5, 0.6), _record(54, 0.7, 0.6)]
        holed.insert(first, _record(9, float("nan"), 0.9))
        expect(
            select(holed) == 54,
            "a validation score that is nan must not win, and must not hide the others.",
            "Leave out the records whose validation score is nan, before you look for the highest.",
        )
    expect(
        select([{key: value for key, value in one.items() if key != "test_dice"} for one in rising]) == 54,
        "a history without test scores is enough: do not ask for them.",
    )
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.uniform(0.4, 0.9, (2, 8))
        history = [_record(18 * (i + 1), float(val), float(test)) for i, (val, test) in enumerate(scores.T)]
        expect(
            select(history) == 18 * (int(scores[0].argmax()) + 1), "a history drawn by chance has another best step."
        )


def _record(step: int, val: float, test: float) -> dict[str, float]:
    return {"step": step, "val_dice": val, "test_dice": test}
