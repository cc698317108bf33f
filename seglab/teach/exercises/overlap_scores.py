"""Lesson 1: IoU and Dice of two masks."""

import math
from collections.abc import Callable

import numpy as np

from seglab.teach._check import expect

__all__ = ["expectations"]

Score = Callable[[np.ndarray, np.ndarray], float]


def expectations(iou: Score, dice: Score) -> None:
    """Hand-worked masks first, then empty ones, then 200 drawn by chance.

    Args:
        iou: Takes pred and truth, (H, W) bool; returns a number in [0, 1], NaN if both masks are empty.
        dice: The same.
    """
    truth = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], bool)
    pred = np.array([[0, 1, 1, 1], [0, 0, 0, 0]], bool)  # 2 hits, 1 extra, 1 missed
    empty = np.zeros_like(truth)
    for name, score in (("iou", iou), ("dice", dice)):
        expect(
            _near(score(truth, truth), 1),
            f"{name} of a mask with itself is 1.",
            "The hits are `(pred & truth).sum()`. IoU divides them by the union, Dice doubles them first.",
        )
        expect(_near(score(~truth, truth), 0), f"{name} of two masks that do not touch is 0: there are no hits.")
    expect(
        _near(iou(pred, truth), 2 / 4),
        "iou of 2 hits, 1 extra and 1 missed pixel is 2/4.",
        "The union is every pixel that is in at least one of the masks: `pred | truth`.",
    )
    expect(
        _near(dice(pred, truth), 4 / 6),
        "dice of 2 hits, 1 extra and 1 missed pixel is 4/6.",
        "Below the line stand the two areas together, `pred.sum() + truth.sum()`, where a hit counts twice.",
    )
    for name, score in (("iou", iou), ("dice", dice)):
        expect(_near(score(empty, truth), 0), f"{name} is 0 if only the prediction is empty.")
        expect(
            math.isnan(score(empty, empty)),
            f"{name} of two empty masks is 0 / 0: return `float('nan')` or `math.nan`, which says that there is none.",
        )
    rng = np.random.default_rng(0)
    for share in rng.uniform(0.1, 0.9, 200):
        one, two = rng.random((2, 5, 7)) < share
        hits, union = (one & two).sum(), (one | two).sum()
        expect(_near(iou(one, two), hits / union), "iou is wrong on masks drawn by chance.")
        expect(_near(dice(one, two), 2 * hits / (one.sum() + two.sum())), "dice is wrong on masks drawn by chance.")


def _near(value: float, wanted: float) -> bool:
    return math.isclose(value, wanted, abs_tol=1e-12)
