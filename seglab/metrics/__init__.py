"""Scores of a segmentation: count once per image, derive everything from the counts.

`counts` gives (N, K, K) pixel counts per image; where you sum is the aggregation, in plain sight:

    c = counts(pred, target, num_classes)
    iou(c.sum(0))           pooled: one ratio over all pixels, (K,)
    iou(c)                  per image, (N, K)
    iou(c).nanmean(0)       mean over images, (K,)

A score that is not defined (0 / 0) is NaN, never 0 or 1, so that no absent class can flatter or spoil a mean unseen.
Everything returned is a torch tensor; ratios are float64. `aggregate` gives the usual means by their full names.

Wherever an argument is called `counts` it holds pixel counts, (..., K, K), rows true, columns predicted. Wherever
outlines are compared, `pred` and `target` are one object each, (N, H, W), bool or 0 and 1 (with more classes compare
one: pred == 2), and `pixel_size_mm`, above 0, is the side of a pixel; None measures in pixels. The outline of a mask
is its own pixels that have one of their four neighbours outside the mask; beyond the edge of the picture is outside.
Distances are Euclidean, from the centre of an outline pixel to the nearest outline pixel of the other mask.

Every function raises a ValueError that names the rule if a shape, a dtype, a label or an option does not fit.
"""

from seglab.metrics._aggregation import Mean, aggregate
from seglab.metrics._boundary import Boundary, assd, boundary, hausdorff95, surface_dice
from seglab.metrics._calibration import Calibration, calibration
from seglab.metrics._ratios import accuracy, counts, dice, iou, precision, recall, specificity

__all__ = [
    "Boundary", "Calibration", "Mean", "accuracy", "aggregate", "assd", "boundary", "calibration", "counts", "dice",
    "hausdorff95", "iou", "precision", "recall", "specificity", "surface_dice",
]  # fmt: skip
