"""What a reproduction measured, beside what the paper printed."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seglab.config import TrainConfig
from seglab.evaluation import Report
from seglab.files import atomic_text
from seglab.papers._paper import Paper, Row
from seglab.stats import Difference, paired_difference
from seglab.stats._scores import define, ratio

__all__ = ["Measured", "Reproduction", "Run", "interval"]

DRAWS = 1000
SCORE = "dice_fg_image"  # what rows are compared by


@dataclass(frozen=True)
class Run:
    """One row, trained with one seed.

    Attributes:
        label: The row.
        seed: The seed.
        model: Model that was trained.
        knobs: Its knobs.
        parameters: Its size.
        pretrained: Whether its encoder started from a file of weights.
        updates: Updates of the weights that it got.
        losses: Training and validation loss of the last epoch.
        report: Scores on the test part; None if training failed.
        failed: Why training failed; empty if it did not.
    """

    label: str
    seed: int
    model: str
    knobs: Mapping[str, Any]
    parameters: int
    pretrained: bool
    updates: int
    losses: Mapping[str, float]
    report: Report | None
    failed: str = ""


@dataclass(frozen=True)
class Measured:
    """One printed number of one row beside the measured one.

    Attributes:
        label: The row.
        word: The paper's word for the number.
        name: Our score that it is compared with.
        printed: Share as printed; None if the paper lacks it.
        value: Mean over seeds; NaN if no run succeeded.
        low: Lower end of the 95 % bootstrap interval over pictures; NaN for a loss.
        high: Upper end.
        seeds: The value of every seed.
    """

    label: str
    word: str
    name: str
    printed: float | None
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Rows of a paper, trained under one split: reported beside measured.

    Attributes:
        paper: The paper.
        dataset: Layout of the pictures.
        scored_on: Dataset whose test part was scored.
        pictures: Numbers of pictures in train, val and test.
        split: Fingerprint of the split.
        config: Settings of all rows, apart from the seed and what a row changes.
        updates: Updates that every run was planned to get.
        quick: Whether all was at the small scale.
        weights: Name of the file of encoder weights; empty without one.
        rows: The rows that were run.
        runs: One per row and seed.
    """

    paper: Paper
    dataset: str
    scored_on: str
    pictures: tuple[int, ...]
    split: str
    config: TrainConfig
    updates: int
    quick: bool
    weights: str
    rows: tuple[Row, ...]
    runs: tuple[Run, ...]

    def of(self, label: str) -> tuple[Run, ...]:
        """The runs of one row, by seed."""
        return tuple(run for run in self.runs if run.label == label)

    def reports(self, label: str) -> tuple[Report, ...]:
        """The reports of one row's runs that did not fail."""
        return tuple(run.report for run in self.of(label) if run.report is not None)

    def printed(self, row: Row) -> Mapping[str, float]:
        """What the paper prints of a row, for the scored data set if it can, else for its first one."""
        return row.printed.get(self.scored_on) or next(iter(row.printed.values()), {})

    @property
    def printed_for(self) -> str:
        """The data set whose printed numbers are shown."""
        first = next((row.printed for row in self.paper.rows if row.printed), {})
        return self.scored_on if self.scored_on in first else next(iter(first), "")

    def table(self) -> list[Measured]:
        """Every printed number beside the measured one, row by row; a row that is not printed has the baseline's."""
        baseline = self.printed(self.paper.row(self.paper.baseline))
        return [
            self._measured(row, word, self.printed(row).get(word))
            for row in self.rows
            for word in (self.printed(row) or baseline)
        ]

    def differences(self) -> dict[str, Difference]:
        """Every row against the baseline row, paired by picture, by the mean over seeds of each picture's Dice."""
        dice = {row.label: _per_picture(self.reports(row.label)) for row in self.rows if self.reports(row.label)}
        first = dice.pop(self.paper.baseline, None)
        return {} if first is None else {label: paired_difference(first, other) for label, other in dice.items()}

    def to_markdown(self) -> str:
        """The result as a page: what was done, reported beside measured, the comparison, and what stays open."""
        from seglab.papers._page import page

        return page(self)

    def to_json(self) -> str:
        """All numbers and settings as JSON; NaN becomes null."""
        content = {
            "paper": self.paper.name,
            "title": self.paper.title,
            "quick": self.quick,
            "dataset": self.dataset,
            "scored_on": self.scored_on,
            "pictures": dict(zip(("train", "val", "test"), self.pictures, strict=True)),
            "split": self.split,
            "config": self.config.to_dict(),
            "updates": self.updates,
            "weights": self.weights,
            "printed_for": self.printed_for,
            "table": [_plain(vars(one)) for one in self.table()],
            "baseline": self.paper.baseline,
            "differences": {label: _plain(vars(one)) for label, one in self.differences().items()},
            "runs": [
                _plain({key: value for key, value in vars(run).items() if key != "report"})
                | {"scores": {k: _null(v.value) for k, v in run.report.values.items()} if run.report else {}}
                for run in self.runs
            ],
            "open_questions": self.paper.open_questions,
            "contradictions": self.paper.contradictions,
        }
        return json.dumps(content, indent=1)

    def save(self, out: str | Path) -> None:
        """Write `reproduction.md` and `reproduction.json` into a folder.

        Raises:
            OSError: If a file cannot be written; an older one is then intact.
        """
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        atomic_text(out / "reproduction.md", self.to_markdown().rstrip("\n") + "\n")
        atomic_text(out / "reproduction.json", self.to_json() + "\n")

    def __str__(self) -> str:
        return self.to_markdown()

    def _measured(self, row: Row, word: str, printed: float | None) -> Measured:
        """One line of the table."""
        name = self.paper.measures[word].name
        runs = [run for run in self.of(row.label) if run.report is not None]
        if not runs:
            return Measured(row.label, word, name, printed, math.nan, math.nan, math.nan, ())
        if name in ("train_loss", "val_loss"):
            values = tuple(run.losses[name] for run in runs)
            return Measured(row.label, word, name, printed, float(np.mean(values)), math.nan, math.nan, values)
        reports = self.reports(row.label)
        values = tuple(report.values[name].value for report in reports)
        low, high = interval(reports, name)
        return Measured(row.label, word, name, printed, float(np.mean(values)), low, high, values)


def interval(reports: Sequence[Report], name: str, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval over pictures of a score, averaged over reports on the same pictures.

    Args:
        reports: One per seed, of the same pictures.
        name: A score of `Report.values` but the boundary's.
        draws: Number of resamples.
        seed: Seed of the draws.

    Example:
        >>> counts = torch.tensor([[[4, 1], [0, 3]], [[4, 0], [2, 2]]])
        >>> report = Report("a", ("x", "y"), ("no", "yes"), counts, torch.full((2,), torch.nan))
        >>> [round(end, 4) for end in interval([report], "iou_fg_image")]  # 3 / 4 and 2 / 4
        [0.5, 0.75]
    """
    counts = torch.stack([report.counts for report in reports]).double()  # (S, N, K, K)
    n = counts.shape[1]
    picks = np.random.default_rng(seed).integers(0, n, (draws, n))
    if name.endswith("_image"):
        each = _score(counts, name).nanmean(dim=0).numpy()  # (N,)
        means = _mean_known(each[picks])
    else:
        times = torch.from_numpy(np.stack([np.bincount(row, minlength=n) for row in picks])).double()  # (draws, N)
        pooled = torch.einsum("dn,snij->sdij", times, counts)
        means = _score(pooled, name).nanmean(dim=0).numpy()
    known = means[np.isfinite(means)]
    if len(known) == 0:
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _score(counts: torch.Tensor, name: str) -> torch.Tensor:
    """One score of every confusion matrix, (..., K, K) -> (...), averaged over the classes that its name says."""
    return torch.from_numpy(np.asarray(ratio(counts.numpy(), define(name, counts.shape[-1]))))


def _per_picture(reports: Sequence[Report]) -> NDArray[np.float64]:
    """(N,) Dice of every picture, its mean over seeds."""
    mean: NDArray[np.float64] = torch.stack([report.per_image_dice for report in reports]).nanmean(dim=0).numpy()
    return mean


def _mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of every row over its numbers; NaN for a row without any."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    number = known.sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON can hold them."""
    return {key: _null(value) if isinstance(value, float) else value for key, value in values.items()}


def _null(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
