"""What robustness was measured: counts kept, curves, areas and their differences derived, tables written."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from seglab import metrics
from seglab.contract import require_name
from seglab.corruptions import find_corruption
from seglab.files import atomic_text
from seglab.stats import holm, paired_difference
from seglab.stats._draws import bootstrap, standard_error, student_quantile

__all__ = ["Area", "AreaDifference", "Robustness", "Sweep"]

Floats = NDArray[np.float64]
DRAWS = 2000  # resamples behind the interval of a mean


class Sweep(NamedTuple):
    """One disturbance from none to strong."""

    corruption: str
    severities: tuple[float, ...]  # S of them in the order of the axis, the one that means "none" included
    counts: torch.Tensor  # (M, S, N, K, K) int64: M models, N pictures, rows true, columns predicted


class Area(NamedTuple):
    """How one model stands one disturbance."""

    corruption: str
    model: str
    clean: float  # mean Dice of the pictures as they are
    area: float  # under the curve; clean - area is what the disturbance costs
    low: float  # 95 % interval of the area, bootstrap over pictures
    high: float
    n: int  # pictures with an object in their true mask


class AreaDifference(NamedTuple):
    """Second minus first, on the same disturbed pictures."""

    corruption: str
    first: str
    second: str
    clean: float  # difference of the mean Dice without any disturbance
    area: float  # difference of the areas
    low: float  # its 95 % interval, paired bootstrap over pictures
    high: float
    p: float  # paired sign-flip permutation test of equal areas
    p_holm: float  # adjusted for all differences of the result
    detectable: float  # smallest true difference found with 80 % power at the 5 % level
    n: int


@dataclass(frozen=True)
class Robustness:
    """Dice of models under disturbances; everything is derived from the counts.

    Attributes:
        models: Names of the models, M of them; the first is what the others are compared with.
        names: Names of the pictures, N of them.
        classes: Class names, the background first.
        sweeps: One per disturbance.
        seed: Of noise and hair.
        notes: What a reader must know: sizes, rule for empty masks, pictures a model was trained on.
    """

    models: tuple[str, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    sweeps: tuple[Sweep, ...]
    seed: int = 0
    notes: dict[str, str] = field(default_factory=dict)

    def sweep(self, corruption: str) -> Sweep:
        """The sweep of that disturbance.

        Raises:
            ValueError: If it was not measured.
        """
        found = {sweep.corruption: sweep for sweep in self.sweeps}
        require_name("corruption", corruption, found)
        return found[corruption]

    def dice(self, corruption: str) -> Floats:
        """Dice of every picture, (M, S, N): of the object classes, their mean if there are several.

        Pictures without an object in their true mask are NaN throughout, so that every point of a curve is a mean over
        the same pictures. Differs from `dice_fg_image` of `evaluate`, which counts a false alarm there as 0.
        """
        counts = self.sweep(corruption).counts
        values = metrics.dice(counts)[..., 1:].nanmean(dim=-1)
        values[..., counts[0, 0, :, 1:].sum(dim=(1, 2)) == 0] = math.nan
        return values.numpy()

    def areas(self, corruption: str) -> Floats:
        """Area under every picture's curve, (M, N), in [0, 1].

        The severities, none included, stand at 0, 1, ..., S - 1, whatever their distance, and the trapezoid under the
        Dice is divided by S - 1: area = ((d_0 + d_1) / 2 + ... + (d_(S-2) + d_(S-1)) / 2) / (S - 1). A flat curve has
        its height as area. So the area belongs to the chosen severities, and only areas over the same ones compare.
        """
        dice = self.dice(corruption)
        return np.asarray((dice[:, 1:] + dice[:, :-1]).mean(axis=1) / 2)

    def bands(self, corruption: str) -> Floats:
        """Mean Dice over pictures and its 95 % interval at every severity, (3, M, S): mean, low, high."""
        dice = self.dice(corruption)
        return _interval(dice.reshape(-1, dice.shape[2])).reshape(3, *dice.shape[:2])

    def table(self) -> list[Area]:
        """Area of every disturbance and model, with its interval."""
        rows = []
        for sweep in self.sweeps:
            areas = self.areas(sweep.corruption)
            clean = _mean_known(self.dice(sweep.corruption)[:, _none_at(sweep)])
            known = int(np.isfinite(areas[0]).sum())
            for name, height, *numbers in zip(self.models, clean, *_interval(areas), strict=True):
                area, low, high = map(float, numbers)
                rows.append(Area(sweep.corruption, name, float(height), area, low, high, known))
        return rows

    def differences(self) -> list[AreaDifference]:
        """Area of every other model minus the first model's, for every disturbance, with Holm's correction over all.

        The interval is the mean +- t times the standard error of a paired bootstrap, as everywhere in `seglab.stats`.
        """
        rows = []
        for sweep in self.sweeps:
            areas = self.areas(sweep.corruption)
            clean = self.dice(sweep.corruption)[:, _none_at(sweep)]
            for index, second in list(enumerate(self.models))[1:]:
                found = paired_difference(areas[0], areas[index])
                higher = float(_mean_known(clean[index] - clean[0]))
                whole = (higher, found.mean, found.low, found.high, found.p, math.nan, found.detectable, found.n)
                rows.append(AreaDifference(sweep.corruption, self.models[0], second, *whole))
        adjusted = holm([row.p for row in rows])
        return [row._replace(p_holm=float(p)) for row, p in zip(rows, adjusted, strict=True)]

    def to_markdown(self) -> str:
        """A table per disturbance, then the differences of the areas, then the notes."""
        lines = [f"### Robustness: {len(self.names)} pictures, seed {self.seed}"]
        areas = self.table()
        for number, sweep in enumerate(self.sweeps):
            lines += ["", *self._curve_lines(sweep, areas[number * len(self.models) :])]
        differences = self.differences()
        if differences:
            lines += ["", f"**Area, difference from {self.models[0]}** (95 % interval, p of the sign-flip test)", ""]
            lines += ["| disturbance | model | undisturbed | area | p | p, Holm | detectable | n |", "|---" * 8 + "|"]
        for row in differences:
            area = _ranged(row.area, row.low, row.high, sign="+")
            cells = [row.corruption, row.second, _show(row.clean, sign="+"), area, _show(row.p), _show(row.p_holm)]
            lines.append("| " + " | ".join([*cells, _show(row.detectable), str(row.n)]) + " |")
        return "\n".join([*lines, "", *(f"{key}: {text}" for key, text in self.notes.items())])

    def _curve_lines(self, sweep: Sweep, areas: Sequence[Area]) -> list[str]:
        """The table of one disturbance."""
        found = find_corruption(sweep.corruption)
        levels = [f"{one:g}{' (none)' if one == found.none else ''}" for one in sweep.severities]
        means = _mean_known(self.dice(sweep.corruption))  # (M, S)
        lines = [f"**{found.title}**: {found.unit}", "", f"| model | {' | '.join(levels)} | area (95 % interval) |"]
        lines.append("|---" * (len(levels) + 2) + "|")
        for name, heights, area in zip(self.models, means, areas, strict=False):
            cells = " | ".join(_show(one) for one in heights)
            lines.append(f"| {name} | {cells} | {_ranged(area.area, area.low, area.high)} |")
        return lines

    def to_json(self) -> str:
        """Areas, differences, notes and the counts of every picture as JSON; NaN becomes null."""
        content = {
            "models": self.models,
            "classes": self.classes,
            "seed": self.seed,
            "notes": self.notes,
            "areas": [_plain(row) for row in self.table()],
            "differences": [_plain(row) for row in self.differences()],
            "pictures": self.names,
            "sweeps": [
                {
                    "corruption": sweep.corruption,
                    "unit": find_corruption(sweep.corruption).unit,
                    "severities": sweep.severities,
                    "counts": sweep.counts.tolist(),
                }
                for sweep in self.sweeps
            ],
        }
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The result that `to_json` wrote: equal counts, so equal areas.

        Raises:
            ValueError: If the text is not such a result.
        """
        try:
            content = json.loads(text)
            sweeps = tuple(
                Sweep(one["corruption"], tuple(one["severities"]), torch.tensor(one["counts"], dtype=torch.int64))
                for one in content["sweeps"]
            )
            models, names, classes = (tuple(content[key]) for key in ("models", "pictures", "classes"))
            for sweep in sweeps:
                wanted = (len(models), len(sweep.severities), len(names), len(classes), len(classes))
                if sweep.counts.shape != wanted:
                    raise ValueError(f"counts of {sweep.corruption} must be {wanted}; got {tuple(sweep.counts.shape)}")
            return cls(models, names, classes, sweeps, content["seed"], content["notes"])
        except (ValueError, KeyError, TypeError) as error:
            what = " ".join(str(error).split())
            raise ValueError(f"robustness must be JSON that `to_json` wrote; got an error: {what}.") from error

    def to_csv(self) -> str:
        """One row per model, disturbance, severity and picture: its Dice and the K x K counts."""
        size = len(self.classes)
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        cells = [f"true{i}_pred{j}" for i in range(size) for j in range(size)]
        rows.writerow(["model", "corruption", "severity", "name", "dice", *cells])
        for sweep in self.sweeps:
            dice = self.dice(sweep.corruption)
            for m, s, n in np.ndindex(dice.shape):
                head = [self.models[m], sweep.corruption, f"{sweep.severities[s]:g}", self.names[n]]
                rows.writerow([*head, f"{dice[m, s, n]:.6f}", *sweep.counts[m, s, n].reshape(-1).tolist()])
        return text.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the result as .json, .csv or .md, by the ending of `path`.

        Raises:
            ValueError: For another ending.
            OSError: If the file cannot be written; an older one is then intact.
        """
        path = Path(path)
        forms = {".json": self.to_json, ".csv": self.to_csv, ".md": self.to_markdown}
        if path.suffix not in forms:
            raise ValueError(f"robustness file must end in .json, .csv or .md; got {path.name}.")
        atomic_text(path, forms[path.suffix]().rstrip("\n") + "\n")

    def __str__(self) -> str:
        return self.to_markdown()


def _none_at(sweep: Sweep) -> int:
    """Place of the severity that leaves pictures as they are."""
    return sweep.severities.index(find_corruption(sweep.corruption).none)


def _mean_known(values: Floats) -> Floats:
    """Mean over the last axis of the values that are not NaN; NaN where there is none."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=-1)
    return np.asarray(np.where(known.any(axis=-1), total / np.maximum(known.sum(axis=-1), 1), math.nan))


def _interval(values: Floats) -> Floats:
    """Mean over pictures of (M, N) values, the pictures with NaN left out, and its 95 % interval: (3, M)."""
    known = values[:, np.isfinite(values).all(axis=0)].T  # (n, M)
    n = len(known)
    mean = _mean_known(known.T)
    if n < 2:
        return np.stack([mean, np.full_like(mean, math.nan), np.full_like(mean, math.nan)])
    draws = bootstrap(lambda weights: weights @ known / n, n, DRAWS, np.random.default_rng(0))
    reach = student_quantile(n - 1) * standard_error(draws, np.full(len(mean), n))
    return np.stack([mean, mean - reach, mean + reach])


def _show(value: float, *, sign: str = "") -> str:
    """A number for a table; a missing one in words."""
    return "not defined" if math.isnan(value) else f"{value:{sign}.4f}"


def _ranged(value: float, low: float, high: float, *, sign: str = "") -> str:
    """A number with its interval."""
    around = "no interval" if math.isnan(low) else f"{low:{sign}.4f} to {high:{sign}.4f}"
    return f"{_show(value, sign=sign)} ({around})"


def _plain(row: Area | AreaDifference) -> dict[str, Any]:
    """A row as JSON knows it: no NaN."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row._asdict().items()
    }
