"""What is taken down of one picture, before its prediction is forgotten."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from seglab import metrics
from seglab.contract import IGNORE_INDEX
from seglab.inference import Prediction

__all__ = ["BINS", "Measured", "measure"]

BINS = 15  # of the reliability table


class Measured(NamedTuple):
    """All that a report needs of one picture."""

    counts: Tensor  # (K, K) int64
    boundary: tuple[float, ...]  # HD95, ASSD, surface Dice; NaN where not defined or not asked for
    histogram: Tensor | None  # (2, 256) int64, for one or two classes
    confidence: Tensor | None  # (2, BINS, 3) float64: of all pixels, and of those near a border


def measure(
    prediction: Prediction, mask: Tensor, num_classes: int, *, tolerance: float | None, band: float | None
) -> Measured:
    """Compare one prediction with its mask (H, W), unknown pixels left out; in outlines they are background in both.

    Args:
        prediction: What the model says.
        mask: True class indices, (H, W).
        num_classes: The K of the model.
        tolerance: Of surface Dice, in pixels; None leaves the boundary scores out.
        band: Of the calibration near borders, in pixels; None leaves the probabilities out.
    """
    pred, target = torch.from_numpy(prediction.mask)[None], mask[None]
    far: tuple[float, ...] = (math.nan,) * 3
    if tolerance is not None:
        known = target != IGNORE_INDEX
        far = tuple(map(float, metrics.boundary((pred > 0) & known, (target > 0) & known, tolerance=tolerance)))
    histogram = confidence = None
    if band is not None:
        probs = torch.from_numpy(prediction.probs)[None]
        if probs.shape[1] <= 2:
            histogram = metrics.probability_counts(probs, target)[0]
        sums = [metrics.confidence_sums(probs, target, bins=BINS, band=width) for width in (None, band)]
        confidence = torch.stack(sums)
    return Measured(metrics.counts(pred, target, num_classes)[0], far, histogram, confidence)
