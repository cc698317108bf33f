"""How far apart the outlines of two masks are."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seglab.metrics._ratios import require_below, require_masks

__all__ = ["assd", "hausdorff95", "surface_dice"]


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


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Row and column, (P, 2), of the pixels of a mask (H, W) that have a 4-neighbour outside it."""
    wide = np.pad(mask, 1)
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return np.argwhere(mask & ~inner)


def _outline_scores(pred: Tensor, target: Tensor, pixel_size_mm: float | None, score: Callable[..., float]) -> Tensor:
    """Per image, score(distances of the predicted outline to the true one, and back), (N,); NaN if one is empty."""
    from scipy.spatial import cKDTree

    require_masks(pred, target)
    require_below("pred", pred, 2)
    require_below("target", target, 2)
    if pixel_size_mm is not None and not 0 < pixel_size_mm < np.inf:
        raise ValueError(f"pixel_size_mm must be above 0; got {pixel_size_mm}.")
    scale, result = pixel_size_mm or 1.0, torch.full((len(pred),), torch.nan, dtype=torch.float64)
    for i, masks in enumerate(zip(pred.bool().cpu().numpy(), target.bool().cpu().numpy(), strict=True)):
        ours, true = (_outline(mask) for mask in masks)
        if len(ours) and len(true):
            result[i] = score(cKDTree(true).query(ours)[0] * scale, cKDTree(ours).query(true)[0] * scale)
    return result
