"""Contrasts of several models, each trained with several seeds, all scored on the same pictures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seglab.stats._draws import bootstrap, flip_p, standard_error, student_quantile, student_tail
from seglab.stats._scores import Definition, Floats, define, ratio

__all__ = ["Cells", "Contrasts", "as_cells", "contrast"]


class Cells(NamedTuple):
    """Scores of C models on the pictures that have a score in every run."""

    runs: tuple[Floats, ...]  # C of (S, n), or of counts (S, n, K, K) if the score is pooled; S may differ
    pooled: Definition | None
    left_out: int  # pictures without a score in some run

    @property
    def n(self) -> int:
        """Number of pictures."""
        return int(self.runs[0].shape[1])

    @property
    def seeds(self) -> tuple[int, ...]:
        """Number of seeds of every model."""
        return tuple(len(run) for run in self.runs)

    def scores(self, cell: int, weights: Floats) -> Floats:
        """Score of every seed of a model, (B, S), from how often each picture was drawn, (B, n)."""
        run = self.runs[cell]
        if self.pooled is None:
            return weights @ run.T / self.n
        sums = weights @ np.moveaxis(run, 1, 0).reshape(self.n, -1)
        return ratio(sums.reshape(len(weights), len(run), *run.shape[2:]), self.pooled)


class Contrasts(NamedTuple):
    """Weighted sums of the models' scores, E of them."""

    value: Floats
    error: Floats  # standard error
    reach: Floats  # half of the 95 % interval
    p: Floats


def as_cells(runs: Sequence[ArrayLike], definition: str | None) -> Cells:
    """Check the scores or counts of several models, and keep the pictures that have a score in every run.

    Raises:
        ValueError: If they are not of the same pictures, or counts lack a definition.
    """
    tables = [np.asarray(run, float) for run in runs]
    shapes = {table.shape[1:] for table in tables}
    dims = {table.ndim for table in tables}
    if len(shapes) != 1 or not dims <= {2, 4} or 0 in {size for table in tables for size in table.shape}:
        got = ", ".join(str(table.shape) for table in tables)
        raise ValueError(f"scores must be (S, N), or counts (S, N, K, K), of the same N pictures; got shapes {got}.")
    wanted = None
    if dims == {4}:
        if definition is None:
            raise ValueError("counts must come with a definition, such as 'dice_fg_pooled'; got none.")
        wanted = define(definition, tables[0].shape[-1])
        if wanted.pooled:
            return Cells(tuple(tables), wanted, 0)
        tables = [ratio(table, wanted) for table in tables]
    elif definition is not None:
        raise ValueError(f"definition must be left out where scores, not counts, are given; got {definition!r}.")
    known = np.logical_and.reduce([np.isfinite(table).all(axis=0) for table in tables])
    return Cells(tuple(table[:, known] for table in tables), None, int((~known).sum()))


def contrast(cells: Cells, weights: Floats, *, draws: int, seed: int) -> Contrasts:
    """Value, interval and p of weighted sums of the models' mean scores over seeds.

    In every draw the pictures are resampled, the same for all runs, and the seeds of every model, each model's on its
    own. A mean of S resampled seeds varies (S - 1) / S times too little, which is made good. The interval is
    value +- t * error; the degrees of freedom are Satterthwaite's, from n pictures and S seeds. p is that of the same
    t, but that of the sign-flip test where there is one seed only and no pooling.

    Args:
        cells: C models.
        weights: (C, E), one column a contrast.
        draws: Number of resamples.
        seed: Seed of the draws.

    Reference:
        F. E. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics Bull. 2(6),
        1946.
    """
    n, rng = cells.n, np.random.default_rng(seed)
    if n < 1:
        nothing = np.full(weights.shape[1], np.nan)
        return Contrasts(nothing, nothing, nothing, nothing)
    single = [cells.scores(cell, np.ones((1, n)))[0] for cell in range(len(cells.runs))]  # C of (S,)
    value = np.array([scores.mean() for scores in single]) @ weights

    def resampled(drawn: Floats) -> Floats:
        pictures, seeds = zip(
            *(_seed_draws(cells.scores(cell, drawn), rng) for cell in range(len(single))), strict=True
        )
        alone = np.stack(pictures, axis=1) @ weights
        return np.concatenate([alone, alone + np.stack(seeds, axis=1) @ weights], axis=1)

    columns = bootstrap(resampled, n, draws, rng)
    both = standard_error(columns, np.full(columns.shape[1], n)).reshape(2, -1)  # of pictures alone; and with seeds
    spread = np.array([scores.var(ddof=1) / len(scores) if len(scores) > 1 else 0.0 for scores in single])
    noise = spread[:, None] * weights**2  # (C, E) variance of a contrast that comes from the seeds of a model
    df = _satterthwaite(np.vstack([both[:1] ** 2, noise]), np.array([n, *cells.seeds]) - 1)
    reach = both[1] * [student_quantile(one) for one in df]
    if max(cells.seeds) == 1 and cells.pooled is None and n > 1:
        gaps = np.concatenate(cells.runs).T @ weights  # (n, E)
        p = flip_p(lambda signs: signs @ gaps / n, value, n, draws, rng)
    else:
        p = np.array([_tail(*one) for one in zip(value, both[1], df, strict=True)])
    return Contrasts(value, both[1], reach, p)


def _seed_draws(scores: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mean over the seeds in every draw, (B, S) to (B,), and what resampling the seeds adds to it."""
    size = scores.shape[1]
    mean = scores.mean(axis=1)
    if size == 1:
        return mean, np.zeros_like(mean)
    picked = np.take_along_axis(scores, rng.integers(0, size, scores.shape), axis=1).mean(axis=1)
    return mean, (picked - mean) * np.sqrt(size / (size - 1))


def _satterthwaite(variances: Floats, df: NDArray[np.int64]) -> Floats:
    """Degrees of freedom, (E,), of a sum of variances (V, E) with those of its parts, (V,); 1 or above."""
    parts = (variances**2 / np.maximum(df, 1)[:, None]).sum(axis=0)
    total = variances.sum(axis=0) ** 2
    found: Floats = np.where(parts > 0, np.maximum(total / np.where(parts > 0, parts, 1), 1), max(df[0], 1))
    return found


def _tail(value: float, error: float, df: float) -> float:
    """P of a value with that standard error."""
    if np.isnan(error):
        return float("nan")
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return student_tail(value / error, df)
