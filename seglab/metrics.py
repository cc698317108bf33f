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

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seglab.contract import IGNORE_INDEX

__all__ = [
    "Calibration", "Mean", "accuracy", "aggregate", "assd", "calibration", "counts", "dice", "hausdorff95", "iou",
    "precision", "recall", "specificity", "surface_dice",
]  # fmt: skip


class Mean(NamedTuple):
    """A mean and the number of values it was taken over; NaN over 0 values."""

    value: float
    n: int


class Calibration(NamedTuple):
    """Expected calibration error and the reliability table behind it."""

    ece: Tensor  # () float64 in [0, 1]
    table: Tensor  # (bins, 3) float64: mean confidence, share of correct pixels, number of pixels


def counts(pred: Tensor, target: Tensor, num_classes: int, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Confusion counts of every image: how many pixels of each true class got each predicted class.

    `pred` and `target` hold class indices, (N, H, W), integer or bool. `num_classes` is the K of the model: 1 (binary)
    counts the two classes 0 and 1. Pixels whose `target` is `ignore_index` are not counted, whatever is predicted.

    Returns:
        (N, K, K) int64 with K = max(2, num_classes), in pixels: rows true, columns predicted. All 0 for an image
        without a known pixel.

    Example:
        >>> counts(torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[0, 0, 1, 255]]]), 1)
        tensor([[[1, 1],
                 [0, 1]]])
    """
    _require_masks(pred, target)
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1; got {num_classes}.")
    classes = max(2, num_classes)
    cells = classes * classes
    unknown = target.int() == ignore_index  # int, because a uint8 tensor takes 156 for -100
    true, got = (mask.masked_fill(unknown, 0) for mask in (target, pred))
    _require_below("target", true, classes)
    _require_below("pred", got, classes)
    small = torch.uint8 if cells < 256 else torch.int64  # a byte per pixel is counted several times faster
    cell = (true.to(small) * classes + got.to(small)).masked_fill_(unknown, cells)  # one cell more, not counted
    result = torch.zeros(len(cell), cells, dtype=torch.int64, device=cell.device)
    for i, image in enumerate(cell):
        result[i] = torch.bincount(image.flatten(), minlength=cells + 1)[:cells]
    return result.view(-1, classes, classes)


def iou(counts: Tensor) -> Tensor:
    """Intersection over union of every class (Jaccard index): TP / (TP + FP + FN).

    P. Jaccard, "The distribution of the flora in the alpine zone", New Phytologist 11(2), 1912.

    Returns:
        (..., K) float64 in [0, 1]. NaN for a class neither true nor predicted; 0 if only one of the two is empty.

    Example:
        >>> iou(torch.tensor([[4, 1], [0, 3]]))  # 4 / 5 and 3 / 4
        tensor([0.8000, 0.7500], dtype=torch.float64)
    """
    tp, predicted, true, _ = _parts(counts)
    return tp / (predicted + true - tp)


def dice(counts: Tensor) -> Tensor:
    """Dice coefficient of every class (F1, Sorensen-Dice): 2 TP / (2 TP + FP + FN).

    L. R. Dice, "Measures of the amount of ecologic association between species", Ecology 26(3), 1945.

    Returns:
        (..., K) float64 in [0, 1], 2 IoU / (1 + IoU) of the same counts; NaN and 0 where `iou` is.

    Example:
        >>> dice(torch.tensor([[4, 1], [0, 3]]))  # 8 / 9 and 6 / 7
        tensor([0.8889, 0.8571], dtype=torch.float64)
    """
    tp, predicted, true, _ = _parts(counts)
    return 2 * tp / (predicted + true)


def precision(counts: Tensor) -> Tensor:
    """Share of the pixels predicted as a class that are of that class (positive predictive value): TP / (TP + FP).

    Returns:
        (..., K) float64 in [0, 1]. NaN for a class that is predicted nowhere, even if it is true somewhere.

    Example:
        >>> precision(torch.tensor([[4, 1], [0, 3]]))  # 4 / 4 and 3 / 4
        tensor([1.0000, 0.7500], dtype=torch.float64)
    """
    tp, predicted, _, _ = _parts(counts)
    return tp / predicted


def recall(counts: Tensor) -> Tensor:
    """Share of the pixels of a class that are found (sensitivity, true positive rate): TP / (TP + FN).

    Returns:
        (..., K) float64 in [0, 1]. NaN for a class that is true nowhere, even if it is predicted somewhere. The
        pooled mean over classes is known as mPA, mean pixel accuracy, and as balanced accuracy.

    Example:
        >>> recall(torch.tensor([[4, 1], [0, 3]]))  # 4 / 5 and 3 / 3
        tensor([0.8000, 1.0000], dtype=torch.float64)
    """
    tp, _, true, _ = _parts(counts)
    return tp / true


def specificity(counts: Tensor) -> Tensor:
    """Share of the pixels not of a class that are left out of it (true negative rate): TN / (TN + FP).

    Returns:
        (..., K) float64 in [0, 1]. NaN for a class that fills every known pixel, and if no pixel is known.

    Example:
        >>> specificity(torch.tensor([[4, 1], [0, 3]]))  # 3 / 3 and 4 / 5
        tensor([1.0000, 0.8000], dtype=torch.float64)
    """
    tp, predicted, true, total = _parts(counts)
    return (total - predicted - true + tp) / (total - true)


def accuracy(counts: Tensor) -> Tensor:
    """Share of all known pixels that are right (pixel accuracy, overall accuracy).

    Returns:
        (...) float64 in [0, 1]. NaN if no pixel is known. Flatters where a class is rare: missing a 1 % lesion is .99.

    Example:
        >>> accuracy(torch.tensor([[4, 1], [0, 3]]))  # 7 / 8
        tensor(0.8750, dtype=torch.float64)
    """
    tp, _, _, total = _parts(counts)
    return tp.sum(dim=-1) / total[..., 0]


def aggregate(counts: Tensor) -> dict[str, Mean]:
    """Every usual mean of the counts of a data set, under a name that says what was averaged.

    Start of a name: `iou_fg`, `dice_fg` are the foreground, class 1 and above (their mean if K > 2). `miou_2class`,
    `mdice_2class` are the mean over all classes (`miou_3class` for K = 3, and so on). `precision`, `recall` and
    `specificity` are the foreground's, except with `_macro`.
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
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or counts.shape[1] < 2:
        raise ValueError(f"counts must be (N, K, K) with K of at least 2; got {tuple(counts.shape)}.")
    pooled, classes = counts.sum(dim=0), counts.shape[-1]
    result = {}
    for name, score in (("iou", iou), ("dice", dice)):
        each, total = score(counts), score(pooled)
        result[f"{name}_fg_image"] = _mean(each[:, 1:].nanmean(dim=1))
        result[f"{name}_fg_pooled"] = _mean(total[1:])
        result[f"m{name}_{classes}class_image"] = _mean(each.nanmean(dim=1))
        result[f"m{name}_{classes}class_pooled"] = _mean(total)
    for name, score in (("precision", precision), ("recall", recall), ("specificity", specificity)):
        each, total = score(counts), score(pooled)
        result[f"{name}_image"] = _mean(each[:, 1:].nanmean(dim=1))
        result[f"{name}_pooled"] = _mean(total[1:])
        result[f"{name}_macro"] = _mean(total)
    result["accuracy_image"] = _mean(accuracy(counts))
    result["accuracy_pooled"] = _mean(accuracy(pooled)[None])
    result["accuracy_macro"] = result["recall_macro"]
    return result


def hausdorff95(pred: Tensor, target: Tensor, *, pixel_size_mm: float | None = None) -> Tensor:
    """How far apart the two outlines get, less the worst 5 %: the 95 % Hausdorff distance of every image.

    The 95th percentile (linear between ranks) is taken of the distances in each direction alone, and the larger of the
    two is the result, as in MONAI. Libraries that join both directions before the percentile give smaller values.

    Returns:
        (N,) float64, 0 upwards, in pixels or mm; 0 is perfect. NaN, not defined, if one mask or both are empty.

    Example:
        >>> pred, target = torch.zeros(2, 1, 1, 9, dtype=torch.bool)
        >>> pred[0, 0, 2] = target[0, 0, 6] = True  # two single pixels, four apart
        >>> hausdorff95(pred, target), hausdorff95(pred, target, pixel_size_mm=0.5)
        (tensor([4.], dtype=torch.float64), tensor([2.], dtype=torch.float64))

    Reference:
        D. P. Huttenlocher et al., "Comparing images using the Hausdorff distance", IEEE TPAMI 15(9), 1993.
    """
    return _outline_scores(pred, target, pixel_size_mm, lambda *both: max(float(np.percentile(d, 95)) for d in both))


def assd(pred: Tensor, target: Tensor, *, pixel_size_mm: float | None = None) -> Tensor:
    """Average symmetric surface distance of every image: how far apart the two outlines are on average.

        ASSD = (sum of d(pred outline -> target outline) + sum of d(target -> pred)) / number of outline pixels of both

    Returns:
        (N,) float64, 0 upwards, in pixels or mm; 0 is perfect. NaN, not defined, if one mask or both are empty.

    Example:
        >>> pred, target = torch.tensor([[[1, 0, 0, 0]]]), torch.tensor([[[1, 0, 0, 1]]])
        >>> assd(pred, target)  # (0 + 0 + 3) / 3
        tensor([1.], dtype=torch.float64)

    Reference:
        T. Heimann et al., "Comparison and evaluation of methods for liver segmentation", IEEE TMI 28(8), 2009.
    """
    return _outline_scores(pred, target, pixel_size_mm, lambda *both: float(np.concatenate(both).mean()))


def surface_dice(pred: Tensor, target: Tensor, *, pixel_size_mm: float | None = None, tolerance: float = 2.0) -> Tensor:
    """Share of both outlines that lies within a tolerance of the other (normalised surface distance, NSD).

    `tolerance`, at least 0, is the largest distance that counts as right, in pixels, or in mm with pixel_size_mm.

    Returns:
        (N,) float64 in [0, 1]; 1 is perfect. 0 if one mask is empty, NaN if both are.

    Example:
        >>> pred, target = torch.tensor([[[1, 0, 0, 0]]]), torch.tensor([[[1, 0, 0, 1]]])
        >>> surface_dice(pred, target)  # two of three outline pixels are within 2 pixels
        tensor([0.6667], dtype=torch.float64)

    Reference:
        S. Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy", J. Med.
        Internet Res. 23(7), 2021.
        Differs: the paper weighs outline pieces by their length; we count outline pixels.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0; got {tolerance}.")
    within = _outline_scores(
        pred, target, pixel_size_mm, lambda *both: float((np.concatenate(both) <= tolerance).mean())
    )
    one_empty = pred.flatten(1).any(1) != target.flatten(1).any(1)
    return within.masked_fill(one_empty.cpu(), 0.0)


def calibration(
    probs: Tensor, target: Tensor, *, bins: int = 15, band: float | None = None, ignore_index: int = IGNORE_INDEX
) -> Calibration:
    """Expected calibration error: how far the stated confidence is from the share of pixels that are right.

    Confidence is the probability of the predicted class. Pixels are sorted by it into bins of equal width. Most pixels
    are easy and far from a border, which makes a poor model look calibrated: `band` keeps those near a true border.

        ECE = sum over bins of (pixels in bin / pixels) * |share correct - mean confidence|

    Args:
        probs: Probabilities in [0, 1], (N, K, H, W); for K = 1 that of the foreground.
        target: True class indices, (N, H, W).
        bins: Number of bins on [0, 1], at least 1.
        band: Keep pixels at most this many pixels away (Euclidean) from a border pixel, one with a 4-neighbour of
            another known class; the edge of the picture is no border. 0 keeps the border pixels; None keeps all.
        ignore_index: Label of pixels whose class is unknown.

    Returns:
        Calibration(ece, table). A bin without pixels has NaN, NaN, 0; ece is NaN if no pixel is left.

    Example:
        >>> probs = torch.tensor([[[[0.75, 0.75, 0.75, 0.75]]]])
        >>> calibration(probs, torch.tensor([[[1, 1, 0, 0]]]), bins=2).ece  # 3/4 sure, 1/2 right
        tensor(0.2500, dtype=torch.float64)

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
        Differs: Guo's bins are closed above, ours below (the last one on both sides).
    """
    if probs.ndim != 4 or not probs.is_floating_point():
        raise ValueError(f"probs must be float (N, K, H, W); got {probs.dtype} {tuple(probs.shape)}.")
    if not bool(((probs >= 0) & (probs <= 1)).all()):
        raise ValueError("probs must be in [0, 1]; got values outside or NaN. Logits need a sigmoid or softmax first.")
    if bins < 1 or (band is not None and not band >= 0):
        raise ValueError(f"bins must be at least 1 and band at least 0; got {bins} and {band}.")
    _require_masks(probs[:, 0] > 0.5, target)
    keep = target != ignore_index
    _require_below("target", target.masked_fill(~keep, 0), max(2, probs.shape[1]))
    if band is not None:
        keep = keep & _near_border(target, keep, band)
    full = torch.cat((1 - probs, probs), dim=1) if probs.shape[1] == 1 else probs  # (N, K, H, W), K >= 2
    confidence, pred = full.double().max(dim=1)  # (N, H, W)
    confidence, right = confidence[keep], (pred == target)[keep].double()
    index = (confidence * bins).long().clamp_(max=bins - 1)
    weights = (torch.ones_like(right), confidence, right)
    number, sure, correct = (torch.bincount(index, weight, bins) for weight in weights)
    ece = (correct - sure).abs().sum() / number.sum()
    return Calibration(ece, torch.stack((sure / number, correct / number, number), dim=1))


def _parts(counts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of every class, (..., K) float64: true positives, predicted, true, and all pixels, (..., 1)."""
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(f"counts must be (..., K, K); got {tuple(counts.shape)}.")
    counts = counts.double()
    predicted, true = counts.sum(dim=-2), counts.sum(dim=-1)
    return counts.diagonal(dim1=-2, dim2=-1), predicted, true, true.sum(dim=-1, keepdim=True)


def _mean(values: Tensor) -> Mean:
    """Mean of the values (n,) that are not NaN, and how many they are."""
    known = values[~values.isnan()]
    return Mean(float(known.mean()), len(known))


def _require_masks(pred: Tensor, target: Tensor) -> None:
    """Raise a ValueError unless both are (N, H, W) of one shape and hold integers or bools."""
    if pred.ndim != 3 or pred.shape != target.shape:
        raise ValueError(f"pred and target must share a shape (N, H, W); got {(*pred.shape,)} and {(*target.shape,)}.")
    for name, mask in (("pred", pred), ("target", target)):
        if mask.is_floating_point() or mask.is_complex():
            raise ValueError(f"{name} must hold integers or bools; got {mask.dtype}.")


def _require_below(name: str, mask: Tensor, classes: int) -> None:
    """Raise a ValueError unless every value is in [0, classes)."""
    if mask.numel() and mask.dtype != torch.bool:
        low, high = (int(value) for value in mask.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(f"{name} must hold class indices 0 to {classes - 1}; got values from {low} to {high}.")


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Row and column, (P, 2), of the pixels of a mask (H, W) that have a 4-neighbour outside it."""
    wide = np.pad(mask, 1)
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return np.argwhere(mask & ~inner)


def _outline_scores(pred: Tensor, target: Tensor, pixel_size_mm: float | None, score: Callable[..., float]) -> Tensor:
    """Per image, score(distances of the predicted outline to the true one, and back), (N,); NaN if one is empty."""
    from scipy.spatial import cKDTree

    _require_masks(pred, target)
    _require_below("pred", pred, 2)
    _require_below("target", target, 2)
    if pixel_size_mm is not None and not 0 < pixel_size_mm < np.inf:
        raise ValueError(f"pixel_size_mm must be above 0; got {pixel_size_mm}.")
    scale, result = pixel_size_mm or 1.0, torch.full((len(pred),), torch.nan, dtype=torch.float64)
    for i, masks in enumerate(zip(pred.bool().cpu().numpy(), target.bool().cpu().numpy(), strict=True)):
        ours, true = (_outline(mask) for mask in masks)
        if len(ours) and len(true):
            result[i] = score(cKDTree(true).query(ours)[0] * scale, cKDTree(ours).query(true)[0] * scale)
    return result


def _near_border(target: Tensor, known: Tensor, band: float) -> Tensor:
    """Pixels (N, H, W) at most `band` pixels away from one that has a known 4-neighbour of another class."""
    from scipy.ndimage import distance_transform_edt

    border = torch.zeros_like(known)
    down = (target[:, 1:] != target[:, :-1]) & known[:, 1:] & known[:, :-1]
    right = (target[:, :, 1:] != target[:, :, :-1]) & known[:, :, 1:] & known[:, :, :-1]
    border[:, 1:] |= down
    border[:, :-1] |= down
    border[:, :, 1:] |= right
    border[:, :, :-1] |= right
    near = [distance_transform_edt(~one) <= band if one.any() else one for one in border.cpu().numpy()]
    return torch.from_numpy(np.stack(near)).to(target.device) if near else border
