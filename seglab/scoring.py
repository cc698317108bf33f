"""The numbers of one picture's masks against a true mask that stays: what depends on it alone is worked out once.

A threshold moves many times over one picture, so this counts and measures as `seglab.metrics` does, several times
faster, with exactly its values.
"""

import math
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seglab import explain, metrics
from seglab.contract import IGNORE_INDEX

__all__ = ["Scorer"]

RATIOS = ("dice", "iou", "precision", "recall")
Bytes = NDArray[np.uint8]


class Outline(NamedTuple):
    """Pixels of an outline, and what finds the nearest of them."""

    points: NDArray[Any]  # (P, 2)
    tree: Any


class Scorer:
    """Holds masks of one picture against its truth.

    Args:
        truth: (H, W) uint8 class indices, 255 unknown; it must not be changed afterwards.

    Attributes:
        truth: The same array.

    Example:
        >>> truth = np.array([[0, 1, 1, 255]], np.uint8)
        >>> Scorer(truth).numbers(np.array([[1, 1, 0, 1]], np.uint8), 1)["extra_px"]
        1
    """

    def __init__(self, truth: Bytes) -> None:
        self.truth = truth

    def numbers(self, mask: Bytes, num_classes: int) -> dict[str, float | None]:
        """Numbers as `evaluate` takes them: means over the object classes, unknown pixels left out.

        Args:
            mask: (H, W) uint8 class indices.
            num_classes: K of the model.

        Returns:
            RATIOS, hausdorff95_px, extra_px, missed_px; None where a number is not defined.
        """
        if num_classes > 2:
            codes = explain.error_map(mask, self.truth)
            pred, target = (torch.from_numpy(one)[None] for one in (mask, self.truth))
            table = metrics.counts(pred, target, num_classes)[0]
            extra, missed = int((codes == explain.EXTRA).sum()), int((codes == explain.MISSED).sum())
        else:
            table = self._table(mask)
            extra, missed = int(table[0, 1]), int(table[1, 0])
        values = {name: float(getattr(metrics, name)(table)[1:].nanmean()) for name in RATIOS}
        values["hausdorff95_px"] = self._hausdorff95(mask)
        scores: dict[str, float | None] = {name: None if math.isnan(value) else value for name, value in values.items()}
        return scores | {"extra_px": extra, "missed_px": missed}

    @cached_property
    def _known(self) -> Bytes | None:
        """1 where the true class is known; None if it is everywhere."""
        known = (self.truth != IGNORE_INDEX).view(np.uint8)
        return None if known.all() else known

    @cached_property
    def _object(self) -> Bytes:
        """1 where the truth has an object."""
        return self._seen(self.truth)

    @cached_property
    def _outline(self) -> Outline | None:
        return _outline(self._object)

    def _seen(self, mask: Bytes) -> Bytes:
        """1 where a mask has an object and the true class is known."""
        is_object = (mask > 0).view(np.uint8)
        return is_object if self._known is None else is_object & self._known

    def _table(self, mask: Bytes) -> torch.Tensor:
        """`metrics.counts` of two classes: rows true, columns predicted."""
        import cv2  # a heavy module

        got = self._seen(mask)
        both, drawn, true = (cv2.countNonZero(one) for one in (got & self._object, got, self._object))
        known = mask.size if self._known is None else cv2.countNonZero(self._known)
        return torch.tensor([[known - drawn - true + both, drawn - both], [true - both, both]])

    def _hausdorff95(self, mask: Bytes) -> float:
        """`metrics.hausdorff95`, NaN if the mask or the truth has no object."""
        ours, true = _outline(self._seen(mask)), self._outline
        if ours is None or true is None:
            return math.nan
        there, back = true.tree.query(ours.points)[0], ours.tree.query(true.points)[0]
        return max(float(np.percentile(one, 95)) for one in (there, back))


def _outline(mask: Bytes) -> Outline | None:
    """Pixels of a mask of 0 and 1 that have a 4-neighbour outside it, or outside the picture; None if there is none."""
    import cv2  # heavy modules
    from scipy.spatial import cKDTree

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    found = cv2.findNonZero(mask - inner)
    if found is None or not len(found):
        return None
    points = found.reshape(-1, 2)
    return Outline(points, cKDTree(points))
