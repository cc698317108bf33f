"""95 % intervals of scores over pictures."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from seglab.stats._draws import bootstrap, student_quantile
from seglab.stats._scores import as_counts, define, ratio

__all__ = ["intervals"]

Floats = NDArray[np.float64]


def intervals(
    counts: Floats, measured: Mapping[str, Floats], names: Sequence[str], *, draws: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % bootstrap interval over pictures of every named score; NaN if no picture has a value.

    Whole pictures are resampled, and the score is taken anew. The ends are percentiles of the draws, a little further
    out than 2.5 and 97.5 %: as far as Student's t is wider than the normal distribution, because plain percentiles are
    too narrow for few pictures. They never leave the range of the score.

    Args:
        counts: (N, K, K).
        measured: Scores that do not come from the counts, by name, (N,), NaN where not defined.
        names: Which; of `measured`, or names that `seglab.stats.list_definitions` knows.
        draws: Number of resamples, 1 or above.
        seed: Seed of the draws.

    Reference:
        T. C. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69(4), 2015, 3.3.
    """
    table = as_counts(counts)
    n, size = len(table), table.shape[1]
    pooled = {name: wanted for name in names if name not in measured and (wanted := define(name, size)).pooled}
    single = [name for name in names if name not in pooled]
    each = [measured[name] if name in measured else ratio(table, define(name, size)) for name in single]
    scores = np.array(each, float).reshape(len(single), n).T
    known = np.isfinite(scores)

    def resampled(weights: Floats) -> Floats:
        drawn = weights @ known
        sums = weights @ np.where(known, scores, 0.0)
        means = np.where(drawn > 0, sums / np.maximum(drawn, 1), np.nan)
        totals = (weights @ table.reshape(n, -1)).reshape(-1, size, size)
        return np.column_stack([means, *(ratio(totals, wanted) for wanted in pooled.values())])

    columns = bootstrap(resampled, n, draws, np.random.default_rng(seed))
    numbers = [*known.sum(axis=0).tolist(), *[n] * len(pooled)]
    ends = {
        name: _ends(column, number) for name, column, number in zip([*single, *pooled], columns.T, numbers, strict=True)
    }
    return {name: ends[name] for name in names}


def _ends(draws: Floats, n: int) -> tuple[float, float]:
    """Ends of the interval from the draws of a score with n pictures behind it."""
    values = draws[np.isfinite(draws)]
    if len(values) == 0:
        return math.nan, math.nan
    wider = student_quantile(n - 1) * math.sqrt(n / (n - 1)) if n > 1 else 1.96
    outside = NormalDist().cdf(-wider)
    low, high = np.quantile(values, [outside, 1 - outside])
    return float(low), float(high)
