"""Score a predictor on a dataset: counts per image first, every aggregation from them by name."""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch

from seglab import metrics
from seglab.contract import IGNORE_INDEX
from seglab.data import Dataset, picture_digest
from seglab.files import atomic_text
from seglab.inference import Predictor

__all__ = ["Report", "evaluate"]


@dataclass(frozen=True)
class Report:
    """Scores of one model on one set of pictures; everything is derived from the counts.

    Attributes:
        model: Title of the model.
        names: Names of the pictures, N of them.
        classes: Class names, the background first.
        counts: (N, K, K) int64, rows true, columns predicted, at each picture's own size.
        hausdorff95: (N,) float64 in pixels of the picture, object against background; NaN where it is not defined, and
            everywhere if boundaries were not asked for.
        notes: What a reader must know: threshold, corruption, rule for empty masks.
    """

    model: str
    names: tuple[str, ...]
    classes: tuple[str, ...]
    counts: torch.Tensor
    hausdorff95: torch.Tensor
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, metrics.Mean]:
        """Every aggregation by name: (value, how many numbers it is the mean of, or the pictures pooled)."""
        table = dict(metrics.aggregate(self.counts))
        distances = self.hausdorff95[torch.isfinite(self.hausdorff95)]
        table["hausdorff95_image"] = metrics.Mean(float(distances.mean()), len(distances))
        return table

    @property
    def per_image_dice(self) -> torch.Tensor:
        """(N,) Dice of the object classes, their mean if there are several; NaN where mask and prediction are empty."""
        return metrics.dice(self.counts)[:, 1:].nanmean(dim=1)

    def interval(self, *, seed: int = 0, draws: int = 2000) -> tuple[float, float]:
        """95 % percentile bootstrap interval over pictures of the mean per-image Dice; NaN if no picture has a value.

        Args:
            seed: Seed of the draws.
            draws: Number of resamples, 1 or above.
        """
        dice = self.per_image_dice
        scores = dice[torch.isfinite(dice)].numpy()
        if len(scores) == 0:
            return math.nan, math.nan
        picks = np.random.default_rng(seed).integers(0, len(scores), (draws, len(scores)))
        low, high = np.quantile(scores[picks].mean(axis=1), [0.025, 0.975])
        return float(low), float(high)

    def to_markdown(self) -> str:
        """A table of every aggregation, with the number of values behind each."""
        low, high = self.interval()
        lines = [f"### {self.model}: {len(self.names)} pictures", "", "| score | value | n |", "|---|---|---|"]
        lines += [f"| {name} | {_show(value)} | {n} |" for name, (value, n) in self.values.items()]
        lines += ["", f"dice_fg_image, 95 % bootstrap interval over pictures: {_show(low)} to {_show(high)}"]
        lines += [f"{key}: {text}" for key, text in self.notes.items()]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Aggregations, interval, notes and the counts of every picture as JSON; NaN becomes null."""
        low, high = self.interval()
        content = {
            "model": self.model,
            "pictures": len(self.names),
            "classes": self.classes,
            "values": {name: {"value": _null(value), "n": n} for name, (value, n) in self.values.items()},
            "dice_fg_image_interval_95": [_null(low), _null(high)],
            "notes": self.notes,
            "images": [
                {"name": name, "counts": counts.tolist(), "hausdorff95": _null(float(distance))}
                for name, counts, distance in zip(self.names, self.counts, self.hausdorff95, strict=True)
            ],
        }
        return json.dumps(content, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report that `to_json` wrote: equal counts, so equal scores.

        Raises:
            ValueError: If the text is not such a report.
        """
        try:
            content = json.loads(text)
            images = content["images"]
            far = [math.nan if one["hausdorff95"] is None else one["hausdorff95"] for one in images]
            return cls(
                content["model"],
                tuple(one["name"] for one in images),
                tuple(content["classes"]),
                torch.tensor([one["counts"] for one in images], dtype=torch.int64),
                torch.tensor(far, dtype=torch.float64),
                content["notes"],
            )
        except (ValueError, KeyError, TypeError) as error:
            what = " ".join(str(error).split())
            raise ValueError(f"report must be JSON that a report wrote; got an error: {what}.") from error

    def to_csv(self) -> str:
        """One row a picture: name, Dice, the K x K counts and the boundary distance."""
        size = self.counts.shape[1]
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        cells = [f"true{i}_pred{j}" for i in range(size) for j in range(size)]
        rows.writerow(["name", "dice", *cells, "hausdorff95"])
        for name, dice, counts, far in zip(self.names, self.per_image_dice, self.counts, self.hausdorff95, strict=True):
            rows.writerow([name, f"{float(dice):.6f}", *counts.reshape(-1).tolist(), f"{float(far):.3f}"])
        return text.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the report as .json, .csv or .md, by the ending of `path`.

        Raises:
            ValueError: For another ending.
            OSError: If the file cannot be written; an older one is then intact.
        """
        path = Path(path)
        forms = {".json": self.to_json, ".csv": self.to_csv, ".md": self.to_markdown}
        if path.suffix not in forms:
            raise ValueError(f"report file must end in .json, .csv or .md; got {path.name}.")
        atomic_text(path, forms[path.suffix]().rstrip("\n") + "\n")

    def __str__(self) -> str:
        return self.to_markdown()


def evaluate(
    predictor: Predictor,
    data: Dataset,
    *,
    boundary: bool = True,
    corruption: Callable[[np.ndarray, int], np.ndarray] | None = None,
    on_image: Callable[[int], None] | None = None,
) -> Report:
    """Predict every picture of a dataset and count, at each picture's own size.

    Pictures whose mask and prediction are both empty have no Dice: they are left out of its mean and counted in the
    notes. So is how many of the pictures the model was trained on, if its checkpoint tells.

    Args:
        predictor: The model.
        data: The pictures with their masks.
        boundary: Also measure the 95 % Hausdorff distance (object against background).
        corruption: `(picture (H, W, 3) uint8, index) -> picture`, applied before the model sees it.
        on_image: Called with the number of pictures done, for progress bars.

    Raises:
        ValueError: If the dataset is empty or has other classes than the model.
    """
    if len(data) == 0:
        raise ValueError("the data set must hold at least one picture; got none.")
    classes = max(2, predictor.num_classes)
    if len(data.classes) != classes:
        raise ValueError(
            f"the data set must have the model's {classes} classes; got {len(data.classes)}: {data.classes}."
        )
    names, counts, distances, fitted = [], [], [], 0
    trained_on = _trained_on(predictor)
    for index in range(len(data)):
        sample = data[index]
        image = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
        fitted += picture_digest(sample.image) in trained_on
        if corruption is not None:
            image = corruption(image, index)
        pred = torch.from_numpy(predictor(image).mask)[None]
        target = sample.mask[None]
        names.append(sample.name)
        counts.append(metrics.counts(pred, target, predictor.num_classes)[0])
        distances.append(_distance(pred, target) if boundary else math.nan)
        if on_image is not None:
            on_image(index + 1)
    table = torch.stack(counts)
    both_empty = int((table[:, 1:, :].sum((1, 2)) + table[:, :, 1:].sum((1, 2)) == 0).sum())
    notes = {"size": "each picture's own", "both_empty": f"{both_empty} pictures, left out of per-image Dice and IoU"}
    if fitted:
        notes["trained_on"] = f"{fitted} of these pictures were in the model's training set; its scores here flatter it"
    if classes == 2:
        notes["threshold"] = "0.5"
    if corruption is not None:
        notes["corruption"] = getattr(corruption, "__name__", type(corruption).__name__)
    far = torch.tensor(distances, dtype=torch.float64)
    return Report(predictor.name, tuple(names), tuple(data.classes), table, far, notes)


def _trained_on(predictor: Predictor) -> frozenset[str]:
    """Digests of the pictures the model was fitted to, as far as its checkpoint tells."""
    card = predictor.description.card if predictor.description else {}
    told = card.get("trained_on", [])
    return frozenset(told if isinstance(told, list) else [])


def _distance(pred: torch.Tensor, target: torch.Tensor) -> float:
    """HD95 in pixels of object against background; unknown pixels count as background in both."""
    known = target != IGNORE_INDEX
    return float(metrics.hausdorff95((pred > 0) & known, (target > 0) & known)[0])


def _show(value: float) -> str:
    """A number for a table; a missing one in words."""
    return "not defined" if math.isnan(value) else f"{value:.4f}"


def _null(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
