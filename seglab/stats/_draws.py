"""Random draws that every test and interval shares, and Student's t, in numpy."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seglab.stats._scores import Floats

__all__ = ["bootstrap", "flip_p", "standard_error", "student_quantile", "student_tail"]

BLOCK = 4_000_000  # numbers drawn at a time, so that memory stays small for thousands of pictures


def bootstrap(statistic: Callable[[Floats], Floats], n: int, draws: int, rng: np.random.Generator) -> Floats:
    """A statistic of resampled pictures, (draws, M).

    Args:
        statistic: From (B, n) weights, how often each picture was drawn, to (B, M) values.
        n: Number of pictures.
        draws: Number of resamples.
        rng: Where the draws come from.
    """
    return np.concatenate([statistic(_weights(n, size, rng)) for size in _blocks(n, draws)])


def flip_p(
    statistic: Callable[[Floats], Floats], observed: Floats, n: int, draws: int, rng: np.random.Generator
) -> Floats:
    """Two-sided p of "the two models may be swapped in any picture", (M,); NaN where nothing was observed.

    All 2^n arrangements are counted if there are no more of them than draws; then p is exact. Otherwise p counts the
    observed arrangement too, (b + 1) / (draws + 1), so it is never 0.

    Args:
        statistic: From (B, n) signs, -1 where the models are swapped, to (B, M) differences.
        observed: (M,) difference as it is.
        n: Number of pictures.
        draws: Number of random arrangements.
        rng: Where they come from.
    """
    exact = n < 63 and 2**n <= draws
    blocks = _every_sign(n) if exact else (_signs(n, size, rng) for size in _blocks(n, draws))
    beyond = np.zeros(len(observed))
    for signs in blocks:
        beyond += (~(np.abs(statistic(signs)) < np.abs(observed) - 1e-12)).sum(axis=0)
    p = beyond / 2**n if exact else (beyond + 1) / (draws + 1)
    return np.where(np.isnan(observed), np.nan, p)


def standard_error(values: Floats, n: NDArray[np.int64]) -> Floats:
    """Bootstrap standard error of every column of (draws, M), with n (M,) pictures behind it; NaN for n below 2.

    Resampling n pictures understates the variance by (n - 1) / n, which is made good. Draws in which the score is not
    defined are left out.
    """
    known = ~np.isnan(values)
    number = known.sum(axis=0)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(number, 1)
    squares = (np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / np.maximum(number - 1, 1)
    errors = np.sqrt(squares * n / np.maximum(n - 1, 1))
    return np.where((number > 1) & (n > 1), errors, np.nan)


def student_quantile(df: float, share: float = 0.95) -> float:
    """Value that |t| stays below with probability `share`, for Student's t with df degrees of freedom, 1 or more.

    Example:
        >>> round(student_quantile(2), 3), round(student_quantile(1e9), 3)
        (4.303, 1.96)
    """
    angle, inside = _student(df)
    return float(np.sqrt(df) * np.tan(np.interp(share, inside, angle)))


def student_tail(t: float, df: float) -> float:
    """Probability that |T| exceeds |t|, for Student's t with df degrees of freedom, 1 or more.

    Example:
        >>> round(student_tail(4.303, 2), 3)
        0.05
    """
    angle, inside = _student(df)
    return float(1 - np.interp(np.arctan(abs(t) / np.sqrt(df)), angle, inside))


@lru_cache(maxsize=64)
def _student(df: float) -> tuple[Floats, Floats]:
    """Angles, and the probability that |t| is below sqrt(df) tan(angle); the density of the angle is cos^(df - 1)."""
    top = min(np.pi / 2, 12 / np.sqrt(df))  # beyond 12 standard errors there is nothing
    angle = np.linspace(0, top, 5001)
    density = np.cos(angle) ** (df - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return angle, mass / mass[-1]


def _blocks(n: int, draws: int) -> Iterator[int]:
    """Sizes of the blocks of draws."""
    if draws < 1:
        raise ValueError(f"draws must be at least 1; got {draws}.")
    size = min(1000, max(1, BLOCK // n))
    return (min(size, draws - start) for start in range(0, draws, size))


def _weights(n: int, size: int, rng: np.random.Generator) -> Floats:
    """How often each of n pictures was drawn in each of `size` resamples, (size, n)."""
    cells = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
    return np.bincount(cells.ravel(), minlength=size * n).reshape(size, n).astype(float)


def _signs(n: int, size: int, rng: np.random.Generator) -> Floats:
    """Random signs, (size, n)."""
    return (2 * rng.integers(0, 2, (size, n), dtype=np.int8) - 1).astype(float)


def _every_sign(n: int) -> Iterator[Floats]:
    """Every arrangement of n signs once, in blocks."""
    size = min(2**n, 1024)
    for start in range(0, 2**n, size):
        numbers = np.arange(start, start + size)[:, None]
        yield (1 - 2 * ((numbers >> np.arange(n)) & 1)).astype(float)
