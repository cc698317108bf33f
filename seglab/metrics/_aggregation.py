"""The usual means of counts, each under its full name."""

from typing import NamedTuple

import torch

from seglab.metrics._ratios import accuracy, dice, iou, precision, recall, specificity

__all__ = ["Mean", "aggregate", "per_class"]

RATIOS = {"iou": iou, "dice": dice, "precision": precision, "recall": recall, "specificity": specificity}


class Mean(NamedTuple):
    """A mean and the number of values it was taken over; NaN over 0 values."""

    value: float
    n: int


def aggregate(counts: torch.Tensor) -> dict[str, Mean]:
    """Every usual mean of the counts of a data set, under a name that says what was averaged.

    Start of a name: `iou_fg`, `dice_fg` are the foreground, class 1 and above (their mean if K > 2). `miou_2class`,
    `mdice_2class`, `mprecision_2class` and so on are the mean over all classes (`miou_3class` for K = 3). `precision`,
    `recall` and `specificity` are the foreground's, except with `_macro`. `per_class` has the classes one by one.
    End of a name: `_image` is taken per image over the classes that have a value, then averaged over the n images that
    have one. `_pooled` sums the counts of all images first; n counts the classes averaged. `_macro` is pooled, then
    averaged over all n classes, background too; `accuracy_macro`, the mean accuracy of the classes, is `recall_macro`.
    An image without foreground, true or predicted, is left out of `_fg_image`; in `miou_2class_image` its background
    alone speaks.

    Returns:
        Mean(value, n) by name, from counts (N, K, K); values in [0, 1], NaN with n = 0 where nothing has a value.

    Example:
        >>> scores = aggregate(torch.tensor([[[4, 1], [0, 3]], [[8, 0], [0, 0]]]))  # the second image has no object
        >>> scores["iou_fg_image"], scores["miou_2class_image"]  # 3 / 4; (.775 + 1) / 2
        (Mean(value=0.75, n=1), Mean(value=0.8875, n=2))
    """
    _require_counts(counts)
    pooled, classes = counts.sum(dim=0), counts.shape[-1]
    result = {}
    for name, score in RATIOS.items():
        each, total = score(counts), score(pooled)
        overlap = name in ("iou", "dice")
        start = f"{name}_fg" if overlap else name
        result[f"{start}_image"] = _mean(each[:, 1:].nanmean(dim=1))
        result[f"{start}_pooled"] = _mean(total[1:])
        result[f"m{name}_{classes}class_image"] = _mean(each.nanmean(dim=1))
        result[f"m{name}_{classes}class_pooled" if overlap else f"{name}_macro"] = _mean(total)
    result["accuracy_image"] = _mean(accuracy(counts))
    result["accuracy_pooled"] = _mean(accuracy(pooled)[None])
    result["accuracy_macro"] = result["recall_macro"]
    return result


def per_class(counts: torch.Tensor) -> dict[str, Mean]:
    """Every ratio of every single class, per image and pooled: `iou_class0_image`, `iou_class0_pooled` and so on.

    Args:
        counts: (N, K, K) pixels, rows true, columns predicted.

    Returns:
        Mean(value, n) by name. `_image` is the mean over the n images in which the class has a value; `_pooled` sums
        the counts of all images first, and n is 1, or 0 if it has no value.

    Example:
        >>> scores = per_class(torch.tensor([[[4, 1], [0, 3]], [[8, 0], [0, 0]]]))  # the second image has no object
        >>> scores["iou_class1_image"], scores["iou_class0_pooled"]  # 3 / 4; 12 / 13
        (Mean(value=0.75, n=1), Mean(value=0.9230769230769231, n=1))
    """
    _require_counts(counts)
    result = {}
    for name, score in RATIOS.items():
        each, total = score(counts), score(counts.sum(dim=0))
        for k in range(counts.shape[-1]):
            result[f"{name}_class{k}_image"] = _mean(each[:, k])
            result[f"{name}_class{k}_pooled"] = _mean(total[k : k + 1])
    return result


def _require_counts(counts: torch.Tensor) -> None:
    """Raise a ValueError unless they are (N, K, K) with two classes or more."""
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or counts.shape[1] < 2:
        raise ValueError(f"counts must be (N, K, K) with K of at least 2; got {tuple(counts.shape)}.")


def _mean(values: torch.Tensor) -> Mean:
    """Mean of the values (n,) that are not NaN, and how many they are."""
    known = values[~values.isnan()]
    return Mean(float(known.mean()), len(known))
