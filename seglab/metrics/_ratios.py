"""Pixel counts of every image, and the ratios of them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seglab.contract import IGNORE_INDEX

__all__ = [
    "accuracy", "as_bytes", "counts", "dice", "iou", "precision", "recall", "require_below", "require_masks",
    "specificity",
]  # fmt: skip


def counts(pred: Tensor, target: Tensor, num_classes: int, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Confusion counts of every image: how many pixels of each true class got each predicted class.

    `pred` and `target` hold class indices, (N, H, W), integer or bool. `num_classes` is the K of the model: 1 (binary)
    counts the two classes 0 and 1. Pixels whose `target` is `ignore_index` are not counted, whatever is predicted.

    Returns:
        (N, K, K) int64 with K = max(2, num_classes), in pixels: rows true, columns predicted. All 0 for an image
        without a known pixel. On the CPU a label that is no class is an error; elsewhere, where a look would make
        the caller wait for the device, such a pixel is not counted.

    Example:
        >>> counts(torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[0, 0, 1, 255]]]), 1)
        tensor([[[1, 1],
                 [0, 1]]])
    """
    require_masks(pred, target)
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1; got {num_classes}.")
    classes = max(2, num_classes)
    if pred.device.type != "cpu":
        return _without_a_look(pred, target, classes, ignore_index)
    if classes == 2 and (fast := _two_classes(pred, target, ignore_index)) is not None:
        return fast
    cells = classes * classes
    unknown = target.int() == ignore_index  # int, because a uint8 tensor takes 156 for -100
    true, got = (mask.masked_fill(unknown, 0) for mask in (target, pred))
    require_below("target", true, classes)
    require_below("pred", got, classes)
    small = torch.uint8 if cells < 256 else torch.int64  # a byte per pixel is counted several times faster
    cell = (true.to(small) * classes + got.to(small)).masked_fill_(unknown, cells)  # one cell more, not counted
    result = torch.zeros(len(cell), cells, dtype=torch.int64, device=cell.device)
    for i, image in enumerate(cell):
        result[i] = torch.bincount(image.flatten(), minlength=cells + 1)[:cells]
    return result.view(-1, classes, classes)


def _without_a_look(pred: Tensor, target: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Counts (N, K, K) on a device that a look at a number would have to wait for; wrong labels are not counted."""
    true, got = target.long(), pred.long()
    known = (true != ignore_index) & (true >= 0) & (true < classes) & (got >= 0) & (got < classes)
    cells = classes * classes
    cell = (true * classes + got).masked_fill_(~known, cells).flatten(1)  # one cell more, not counted
    result = torch.zeros(len(cell), cells + 1, dtype=torch.int64, device=cell.device)
    result.scatter_add_(1, cell, torch.ones_like(cell))
    return result[:, :cells].reshape(-1, classes, classes)


def _two_classes(pred: Tensor, target: Tensor, ignore_index: int) -> Tensor | None:
    """Counts (N, 2, 2) of bytes on the CPU from three sums a picture: both masks, and where they differ.

    None for anything else, also for labels that are wrong: the general way says what is wrong with them.
    """
    import cv2  # a heavy module; its sums of bytes are several times as fast as counting

    both = [as_bytes(mask) for mask in (pred, target)]
    if any(one is None for one in both) or not 2 <= ignore_index <= 255:
        return None
    result = np.zeros((len(pred), 2, 2), np.int64)
    for got, true, table in zip(*both, result, strict=True):  # type: ignore[arg-type]
        if got.size and max(cv2.norm(got, cv2.NORM_INF), cv2.norm(true, cv2.NORM_INF)) > 1:
            known = true != ignore_index
            got, true = got[known], true[known]  # noqa: PLW2901 - the same pixels without the unknown ones
            if got.size and max(got.max(), true.max()) > 1:
                return None
        if got.size:
            sums = (cv2.norm(got, cv2.NORM_L1), cv2.norm(true, cv2.NORM_L1), cv2.norm(got, true, cv2.NORM_L1))
            found, there, apart = map(round, sums)
            hit = (found + there - apart) // 2
            table[:] = (got.size - hit - apart, found - hit), (there - hit, hit)
    return torch.from_numpy(result)


def as_bytes(mask: Tensor) -> NDArray[np.uint8] | None:
    """A mask (N, H, W) as bytes, one image after the other; None if it is elsewhere or holds what no byte does."""
    if mask.device.type != "cpu":
        return None
    if mask.dtype not in (torch.uint8, torch.bool):
        if mask.numel() and not (mask.min() >= 0 and mask.max() <= 255):
            return None
        mask = mask.to(torch.uint8)
    return np.ascontiguousarray(mask.detach().numpy()).view(np.uint8)


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


def _parts(counts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of every class, (..., K) float64: true positives, predicted, true, and all pixels, (..., 1)."""
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(f"counts must be (..., K, K); got {tuple(counts.shape)}.")
    counts = counts.double()
    predicted, true = counts.sum(dim=-2), counts.sum(dim=-1)
    return counts.diagonal(dim1=-2, dim2=-1), predicted, true, true.sum(dim=-1, keepdim=True)


def require_masks(pred: Tensor, target: Tensor) -> None:
    """Raise a ValueError unless both are (N, H, W) of one shape and hold integers or bools."""
    if pred.ndim != 3 or pred.shape != target.shape:
        raise ValueError(f"pred and target must share a shape (N, H, W); got {(*pred.shape,)} and {(*target.shape,)}.")
    for name, mask in (("pred", pred), ("target", target)):
        if mask.is_floating_point() or mask.is_complex():
            raise ValueError(f"{name} must hold integers or bools; got {mask.dtype}.")


def require_below(name: str, mask: Tensor, classes: int) -> None:
    """Raise a ValueError unless every value is in [0, classes)."""
    if mask.numel() and mask.dtype != torch.bool:
        low, high = (int(value) for value in mask.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(f"{name} must hold class indices 0 to {classes - 1}; got values from {low} to {high}.")
