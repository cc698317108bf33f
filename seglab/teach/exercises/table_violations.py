"""Lesson 2: rows of a table whose Dice and IoU cannot be of one confusion matrix."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from seglab.teach._check import expect

__all__ = ["expectations"]

Rows = Sequence[Mapping[str, Any]]


def expectations(violations: Callable[[Rows, float], Sequence[str]]) -> None:
    """Rows by hand first: too high, too low, within the tolerance; then 50 drawn by chance.

    Args:
        violations: Takes rows with name, iou_pooled and dice_pooled in percent, and a tolerance in points; returns the
            names of the rows whose Dice is further than the tolerance from 2 IoU / (1 + IoU).
    """
    good, high, low = _row("good", 60, 75), _row("high", 60, 76), _row("low", 60, 74)
    expect(len(violations([], 0.5)) == 0, "a table without rows has no violations: return an empty list.")
    expect(
        sorted(violations([good], 0.5)) == [],
        "IoU 60 % and Dice 75 % fit: 2 x 0.6 / 1.6 = 0.75.",
        "The formula is for shares. In percent it is `200 * iou / (100 + iou)`.",
    )
    expect(sorted(violations([high], 0.5)) == ["high"], "IoU 60 % with Dice 76 % is 1 point too high, above 0.5.")
    expect(
        sorted(violations([low], 0.5)) == ["low"],
        "IoU 60 % with Dice 74 % is 1 point too low: a gap may have either sign.",
        "Take the size of the gap: `abs(...)`.",
    )
    expect(sorted(violations([high, low], 1.5)) == [], "gaps of 1 point are within a tolerance of 1.5.")
    expect(
        sorted(violations([low, good, high], 0.5)) == ["high", "low"],
        "several rows: return the names of all that are wrong.",
    )
    rng = np.random.default_rng(0)
    ious, gaps = rng.uniform(40, 95, 50), rng.normal(0, 0.3, 50)
    rows = [_row(f"row {i}", iou, 200 * iou / (100 + iou) + gaps[i]) for i, iou in enumerate(ious)]
    wanted = [f"row {i}" for i, gap in enumerate(gaps) if abs(gap) > 0.25]
    expect(sorted(violations(rows, 0.25)) == sorted(wanted), "a table drawn by chance has other violations.")


def _row(name: str, iou: float, dice: float) -> dict[str, Any]:
    return {"name": name, "iou_pooled": float(iou), "dice_pooled": float(dice)}
