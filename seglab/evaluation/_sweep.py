"""Scores at every threshold, from what was counted once."""

import csv
import io
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seglab import metrics
from seglab.contract import require_name

__all__ = ["ThresholdSweep", "sweep"]

RATIOS = {
    "dice_fg": metrics.dice,
    "iou_fg": metrics.iou,
    "precision": metrics.precision,
    "recall": metrics.recall,
    "specificity": metrics.specificity,
}


@dataclass(frozen=True)
class ThresholdSweep:
    """Scores of a two-class model at every threshold; `str()` of it is a table of some of them.

    Attributes:
        thresholds: (T,) float64, the edges k / 256 of the histogram; a pixel is object if its probability is above.
        scores: Name to (T,) float64: dice_fg, iou_fg, precision, recall and specificity, each `_image` (the mean over
            pictures that have a value) and `_pooled`; NaN where none has.
        pictures: (T,) int64, number of pictures that have a per-image Dice; a picture without object has one only where
            something is predicted.
    """

    thresholds: Tensor
    scores: dict[str, Tensor]
    pictures: Tensor

    def best(self, score: str = "dice_fg_image") -> float:
        """The threshold with the highest score; of equals, the one nearest to 0.5.

        Choose it on validation pictures, write it down, and use it on the test pictures as it is. Never choose it on
        test pictures: the score there is then the best of 255, and no longer says what new pictures will give.

        Args:
            score: A name of `scores`.

        Raises:
            ValueError: If there is no such score, or it has no value at any threshold.
        """
        values = self._of(score)
        if bool(values.isnan().all()):
            raise ValueError(f"{score} must have a value at some threshold; got none.")
        equal = self.thresholds[values == values[~values.isnan()].max()]
        return float(equal[(equal - 0.5).abs().argmin()])

    def at(self, threshold: float) -> dict[str, float]:
        """Every score at one of the thresholds.

        Raises:
            ValueError: If it is none of them.
        """
        found = (self.thresholds == threshold).nonzero()
        if len(found) == 0:
            raise ValueError(f"threshold must be k / {len(self.thresholds) + 1}, between 0 and 1; got {threshold}.")
        return {name: float(values[int(found[0])]) for name, values in self.scores.items()}

    def to_markdown(self) -> str:
        """Dice, IoU, precision and recall at every sixteenth threshold, per image and pooled."""
        names = [name for name in self.scores if not name.startswith("specificity")]
        lines = ["| threshold | " + " | ".join(names) + " | pictures |", "|---:" * (len(names) + 2) + "|"]
        step = max(1, (len(self.thresholds) + 1) // 16)
        for i in range(step - 1, len(self.thresholds), step):
            cells = [_show(float(self.scores[name][i])) for name in names]
            lines.append(f"| {float(self.thresholds[i]):.4f} | {' | '.join(cells)} | {int(self.pictures[i])} |")
        lines += ["", "Choose a threshold on validation pictures only, never on test pictures."]
        return "\n".join(lines)

    def to_csv(self) -> str:
        """One row a threshold, with every score."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["threshold", *self.scores, "pictures"])
        for i, threshold in enumerate(self.thresholds.tolist()):
            scores = [f"{float(values[i]):.6f}" for values in self.scores.values()]
            rows.writerow([threshold, *scores, int(self.pictures[i])])
        return text.getvalue()

    def __str__(self) -> str:
        return self.to_markdown()

    def _of(self, score: str) -> Tensor:
        """The values of a score."""
        require_name("score", score, self.scores)
        return self.scores[score]


def sweep(histogram: Tensor) -> ThresholdSweep:
    """Scores at every threshold, from the histograms of all pictures, (N, 2, bins)."""
    counts = metrics.counts_at_thresholds(histogram)  # (T, N, 2, 2)
    pooled, scores = counts.sum(dim=1), {}
    for name, ratio in RATIOS.items():
        scores[f"{name}_image"] = ratio(counts)[..., 1].nanmean(dim=1)
        scores[f"{name}_pooled"] = ratio(pooled)[..., 1]
    bins = histogram.shape[2]
    thresholds = torch.arange(1, bins, dtype=torch.float64) / bins
    return ThresholdSweep(thresholds, scores, (~metrics.dice(counts)[..., 1].isnan()).sum(dim=1))


def _show(value: float) -> str:
    """A number for a table; a missing one in words."""
    return "not defined" if math.isnan(value) else f"{value:.4f}"
