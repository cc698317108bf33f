"""95 % intervals of scores over pictures."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seglab.stats._draws import bootstrap, student_quantile
from seglab.stats._scores import as_counts, define, parts, ratio

__all__ = ["intervals"]

Floats = NDArray[np.float64]
WIDEST = 3.0  # times Student's t: few pictures, drawn again and again, give draws without any spread


def intervals(
    counts: Floats, measured: Mapping[str, Floats], names: Sequence[str], *, draws: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % bootstrap-t interval over pictures of every named score; NaN if no picture has a value.

    Whole pictures are resampled. In every draw the score is taken anew, and its distance from the score of all pictures
    is divided by its own standard error: t*. The ends are score - t*(97.5 %) s and score - t*(2.5 %) s, with s the
    standard error of the score. A few failures among many good pictures make Dice skewed, and with it its error; then
    percentiles of the score itself are too narrow, and these are not. The ends never leave the range of the score.

    Args:
        counts: (N, K, K).
        measured: Scores that do not come from the counts, by name, (N,), NaN where not defined; 0 or above.
        names: Which; of `measured`, or names that `seglab.stats.list_definitions` knows.
        draws: Number of resamples, 1 or above.
        seed: Seed of the draws.

    Reference:
        T. C. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69(4), 2015, 5.3.
        Differs: |t*| is cut at three times Student's t, for few pictures.
    """
    table = as_counts(counts)
    scores = [_Score(table, measured.get(name), name) for name in names]

    def resampled(weights: Floats) -> Floats:
        return np.stack([np.stack(score.of(weights), axis=-1) for score in scores], axis=1).reshape(len(weights), -1)

    drawn = bootstrap(resampled, len(table), draws, np.random.default_rng(seed)).reshape(draws, len(names), 2)
    ends = {}
    for index, (name, score) in enumerate(zip(names, scores, strict=True)):
        value, error = (float(one[0]) for one in score.of(np.ones((1, len(table)))))
        low, high = _ends(value, error, drawn[:, index, 0], drawn[:, index, 1], score.number)
        ends[name] = (max(low, 0.0), high if name in measured else min(high, 1.0))
    return ends


class _Score:
    """One score of resampled pictures, and its standard error.

    A pooled score is a mean over classes of ratios A / B of sums over pictures. Its error is that of the linear part:
    the sum over classes of (a - A / B b) / B, a and b those of one picture.
    """

    def __init__(self, table: Floats, measured: Floats | None, name: str) -> None:
        wanted = None if measured is not None else define(name, table.shape[1])
        self.pooled = wanted is not None and wanted.pooled
        if wanted is not None and wanted.pooled:
            above, below = parts(table, wanted)
            kept = below.sum(axis=0) > 0  # a class that is nowhere is in no draw either
            self.above, self.below = above[:, kept], below[:, kept]
            self.number = len(table)
        else:
            values = np.asarray(measured, float) if wanted is None else ratio(table, wanted)
            self.known = np.isfinite(values)
            self.number = int(self.known.sum())
            self.centre = float(values[self.known].mean()) if self.number else math.nan
            self.apart = np.where(self.known, values - self.centre, 0.0)

    def of(self, weights: Floats) -> tuple[Floats, Floats]:
        """Score and standard error of every resample, (B,), from how often each picture was drawn, (B, N)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._of_pooled(weights) if self.pooled else self._of_mean(weights)

    def _of_mean(self, weights: Floats) -> tuple[Floats, Floats]:
        """Of a mean over the pictures that have a value."""
        number = weights @ self.known
        mean = (weights @ self.apart) / number
        spread = (weights @ self.apart**2) / number - mean**2
        return self.centre + mean, np.sqrt(np.maximum(spread, 0) / (number - 1))

    def _of_pooled(self, weights: Floats) -> tuple[Floats, Floats]:
        """Of a ratio of sums; a class that a draw lacks is left out of that draw."""
        below = weights @ self.below  # (B, C)
        ratios = np.where(below > 0, (weights @ self.above) / below, np.nan)
        there = np.isfinite(ratios)
        classes = there.sum(axis=1)
        linear = np.zeros_like(weights)
        for k in np.flatnonzero(there.any(axis=0)):
            slope = np.where(there[:, k], 1 / (below[:, k] * classes), 0.0)[:, None]
            linear += (self.above[:, k] - np.where(there[:, k], ratios[:, k], 0.0)[:, None] * self.below[:, k]) * slope
        number = weights.sum(axis=1)
        error = np.sqrt((weights * linear**2).sum(axis=1) * number / (number - 1))
        return np.where(there, ratios, 0.0).sum(axis=1) / classes, error


def _ends(value: float, error: float, values: Floats, errors: Floats, n: int) -> tuple[float, float]:
    """Ends of the interval of a score with n pictures behind it."""
    if n < 2 or not error > 0:
        return value, value
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (values - value) / errors
    most = WIDEST * student_quantile(n - 1)
    t = np.clip(t[~np.isnan(t)], -most, most)  # NaN: not defined in that draw, or every picture of it is alike
    low, high = np.quantile(t, [0.025, 0.975]) if len(t) else (-most, most)
    return value - float(high) * error, value - float(low) * error
