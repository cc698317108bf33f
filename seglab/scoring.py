"""The numbers of one picture's masks against a true mask that stays: what depends on it alone is worked out once.

A threshold moves many times over one picture, and finding the nearest pixel of an outline is most of the work.
"""

import math
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from seglab import metrics
from seglab.contract import IGNORE_INDEX

__all__ = ["Scorer"]

RATIOS = ("dice", "iou", "precision", "recall")
Bytes = NDArray[np.uint8]


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
        pred, target = (torch.from_numpy(one)[None] for one in (mask, self.truth))
        table = metrics.counts(pred, target, num_classes)[0]
        # As `explain.error_map` counts them: an object drawn as another class is extra.
        missed, extra = int(table[1:, 0].sum()), int(table[:, 1:].sum() - table.diagonal()[1:].sum())
        values = {name: float(getattr(metrics, name)(table)[1:].nanmean()) for name in RATIOS}
        values["hausdorff95_px"] = metrics.Outline(self._seen(mask)).hausdorff95(self._outline)
        scores: dict[str, float | None] = {name: None if math.isnan(value) else value for name, value in values.items()}
        return scores | {"extra_px": extra, "missed_px": missed}

    @cached_property
    def _known(self) -> NDArray[np.bool_]:
        """Where the true class is known."""
        known: NDArray[np.bool_] = self.truth != IGNORE_INDEX
        return known

    @cached_property
    def _outline(self) -> metrics.Outline:
        """Of the true object."""
        return metrics.Outline(self._seen(self.truth))

    def _seen(self, mask: Bytes) -> NDArray[np.bool_]:
        """Where a mask has an object and the true class is known."""
        return (mask > 0) & self._known
