"""Two models' counts on the same pictures: every definition's difference, from one set of flips and resamples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seglab.stats._difference import detectable, holm
from seglab.stats._draws import bootstrap, flip_p, standard_error, student_quantile
from seglab.stats._scores import Definition, Floats, define, mean_known, ratio

__all__ = ["ComparisonRow", "compare_counts"]


class ComparisonRow(NamedTuple):
    """One definition: both scores, their difference, and how sure it is."""

    definition: str
    first: float  # over the n pictures for which both models have a score
    second: float
    difference: float  # second minus first
    low: float  # 95 % interval
    high: float
    p: float  # sign-flip permutation test; for pooled scores the models' counts are swapped per picture
    p_holm: float  # adjusted for all definitions of the table
    detectable: float  # smallest true difference found with 80 % power at the 5 % level
    n: int
    left_out: int  # pictures without a score of both models
    one_sided: int  # of these, pictures where one model has a score

    @property
    def winner(self) -> int:
        """1 or 2, the model shown to be better; 0 if none was."""
        if not (self.p_holm < 0.05 and (self.low > 0 or self.high < 0)):
            return 0
        return 2 if self.difference > 0 else 1


class _Pair:
    """Counts of two models, and what flips and resamples make of them."""

    def __init__(self, first: Floats, second: Floats, wanted: Sequence[Definition]) -> None:
        self.first, self.second, self.wanted = first, second, wanted
        self.pooled = np.array([one.pooled for one in wanted])
        scores = np.stack([[ratio(table, one) for table in (first, second)] for one in wanted])  # (D, 2, N)
        missing = np.isnan(scores) & ~self.pooled[:, None, None]
        known = ~missing.any(axis=1)  # (D, N)
        self.used = known.sum(axis=1)
        self.one_sided = (missing[:, 0] != missing[:, 1]).sum(axis=1)
        self.ends = mean_known(np.where(known[:, None], scores, np.nan), axis=2)  # (D, 2)
        totals = [[float(ratio(table.sum(axis=0), one)) for table in (first, second)] for one in wanted]
        self.ends[self.pooled] = np.array(totals)[self.pooled]
        self.known = known.T.astype(float)  # (N, D)
        self.gaps = np.where(known, scores[:, 1] - scores[:, 0], 0.0).T

    def resampled(self, weights: Floats) -> Floats:
        """Differences (B, D) of resampled pictures, from how often each was drawn, (B, N)."""
        drawn = weights @ self.known
        means = np.where(drawn > 0, weights @ self.gaps / np.maximum(drawn, 1), np.nan)
        return self._with_pooled(means, _pool(weights, self.first), _pool(weights, self.second))

    def flipped(self, signs: Floats) -> Floats:
        """Differences (B, D) with the models swapped where the signs (B, N) are -1."""
        means = signs @ self.gaps / np.maximum(self.used, 1)
        middle, swing = (self.first + self.second).sum(axis=0) / 2, _pool(signs, (self.second - self.first) / 2)
        return self._with_pooled(means, middle - swing, middle + swing)

    def _with_pooled(self, means: Floats, first: Floats, second: Floats) -> Floats:
        """The means, with the columns of pooled definitions taken from pooled counts, (B, K, K)."""
        for j, one in enumerate(self.wanted):
            if one.pooled:
                means[:, j] = ratio(second, one) - ratio(first, one)
        return means


def compare_counts(
    first: Floats, second: Floats, definitions: Sequence[str], *, draws: int, seed: int
) -> tuple[ComparisonRow, ...]:
    """One row per definition, of two tables of counts (N, K, K) of the same pictures in the same order."""
    n, classes = first.shape[:2]
    pair = _Pair(first, second, [define(name, classes) for name in definitions])
    rng = np.random.default_rng(seed)
    difference = pair.ends[:, 1] - pair.ends[:, 0]
    p = flip_p(pair.flipped, difference, n, draws, rng)
    errors = standard_error(bootstrap(pair.resampled, n, draws, rng), pair.used)
    p[np.isnan(errors)] = np.nan
    reach = errors * [student_quantile(max(used - 1, 1)) for used in pair.used]
    columns = (*pair.ends.T, difference, difference - reach, difference + reach, p, holm(p))
    rows = np.stack([*columns, [detectable(error, 1) for error in errors]], axis=1).tolist()
    numbers = zip(pair.used.tolist(), (n - pair.used).tolist(), pair.one_sided.tolist(), strict=True)
    return tuple(
        ComparisonRow._make((one.name, *row, *whole))
        for one, row, whole in zip(pair.wanted, rows, numbers, strict=True)
    )


def _pool(weights: Floats, counts: Floats) -> Floats:
    """Weighted sums over pictures, (B, N) and (N, K, K) to (B, K, K)."""
    return (weights @ counts.reshape(len(counts), -1)).reshape(-1, *counts.shape[1:])
