"""How far apart the outlines of two masks are.

What holds for all functions here, and where other libraries differ:

* The outline of a mask is its own pixels that have a 4-neighbour outside it; beyond the edge of the picture is outside,
  so a mask that touches the edge has an outline there. MONAI does the same.
* Every outline pixel counts once. surface-distance (Nikolov et al.) weighs pieces of outline by their length, and gives
  slightly other values.
* The 95th percentile is taken in each direction alone, linear between ranks, and the larger is kept, as in MONAI. MedPy
  joins both directions first, which gives smaller values.
* Empty masks: NaN for both distances if one mask or both are empty (MONAI has ASSD infinite if one is); surface Dice is
  0 if one is empty, NaN if both are. No picture gets its diagonal as a distance.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seglab.metrics._ratios import require_below, require_masks

__all__ = ["Boundary", "Outline", "assd", "boundary", "hausdorff95", "surface_dice"]


class Boundary(NamedTuple):
    """The three boundary scores of every image."""

    hausdorff95: Tensor  # (N,) float64, pixels or mm
    assd: Tensor  # (N,) float64, pixels or mm
    surface_dice: Tensor  # (N,) float64 in [0, 1]


def boundary(pred: Tensor, target: Tensor, *, pixel_size_mm: float | None = None, tolerance: float = 2.0) -> Boundary:
    """`hausdorff95`, `assd` and `surface_dice` of every image, from outlines that are compared once.

    Args:
        pred: Predicted object, (N, H, W), bool or 0 and 1.
        target: True object, (N, H, W), bool or 0 and 1.
        pixel_size_mm: Side of a pixel; None measures in pixels.
        tolerance: Largest distance that surface Dice counts as right, at least 0, in the unit of the distances.

    Returns:
        Boundary(hausdorff95, assd, surface_dice). NaN for both distances if one mask or both are empty; surface Dice is
        then 0 if one is empty and NaN if both are.

    Example:
        >>> pred, target = torch.tensor([[[1, 0, 0, 0]]]), torch.tensor([[[1, 0, 0, 1]]])
        >>> [round(float(score), 4) for score in boundary(pred, target)]  # 0 one way; 0 and 3 the other
        [2.85, 1.0, 0.6667]
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0; got {tolerance}.")
    rows = [_scores(there, back, tolerance) for there, back in _distances(pred, target, pixel_size_mm)]
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)
    return Boundary(*table.unbind(dim=1))


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
    return boundary(pred, target, pixel_size_mm=pixel_size_mm).hausdorff95


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
    return boundary(pred, target, pixel_size_mm=pixel_size_mm).assd


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
    return boundary(pred, target, pixel_size_mm=pixel_size_mm, tolerance=tolerance).surface_dice


def _scores(there: NDArray[np.float64], back: NDArray[np.float64], tolerance: float) -> tuple[float, float, float]:
    """HD95, ASSD and surface Dice from the distances of each outline to the other; infinite if the other is empty."""
    both = np.concatenate((there, back))
    if not len(there) or not len(back):
        return np.nan, np.nan, 0.0 if len(both) else np.nan
    far = max(float(np.percentile(one, 95)) for one in (there, back))
    return far, float(both.mean()), float((both <= tolerance).mean())


class Outline:
    """The outline of one mask, and what finds its nearest pixel; built once, compared with many.

    Args:
        mask: (H, W) bool.

    Attributes:
        points: (P, 2) row and column of the pixels that have a 4-neighbour outside the mask.

    Example:
        >>> one, other = (Outline(np.array([row], bool)) for row in ([1, 0, 0, 0], [1, 0, 0, 1]))
        >>> one.to(other), other.to(one)
        (array([0.]), array([0., 3.]))
        >>> one.hausdorff95(other)
        2.8499999999999996
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        import cv2  # a heavy module

        # The smallest box around the mask is enough: what is outside it is as far outside as beyond the edge.
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8)) if mask.size else (0, 0, 0, 0)
        mask = mask[top : top + height, left : left + width]
        rim = mask.copy()
        rim[1:-1, 1:-1] &= ~(mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:])
        # Beyond the edge is outside, so the edge's own pixels stay. Flat indices are found much faster than pairs.
        rows, columns = np.divmod(np.flatnonzero(rim), max(1, width))
        self.points = np.stack((rows + top, columns + left), axis=1)

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.points)

    def to(self, other: "Outline") -> NDArray[np.float64]:
        """Distance of every pixel to the nearest of another outline, in pixels; infinite if that is empty."""
        if not len(self.points) or not len(other.points):
            return np.full(len(self.points), np.inf)
        return np.asarray(other._tree.query(self.points)[0])

    def hausdorff95(self, other: "Outline") -> float:
        """`hausdorff95` of the two masks, in pixels; NaN if one of them is empty."""
        return _scores(self.to(other), other.to(self), 0.0)[0]


def _distances(
    pred: Tensor, target: Tensor, pixel_size_mm: float | None
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Per image, the distance of every pixel of the predicted outline to the true one, and back."""
    require_masks(pred, target)
    require_below("pred", pred, 2)
    require_below("target", target, 2)
    if pixel_size_mm is not None and not 0 < pixel_size_mm < np.inf:
        raise ValueError(f"pixel_size_mm must be above 0; got {pixel_size_mm}.")
    scale = pixel_size_mm or 1.0
    for masks in zip(pred.bool().cpu().numpy(), target.bool().cpu().numpy(), strict=True):
        ours, true = map(Outline, masks)
        yield ours.to(true) * scale, true.to(ours) * scale
