"""Two models on the same pictures: difference, interval, p, and what could have been missed."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seglab.stats._draws import bootstrap, flip_p, standard_error, student_quantile
from seglab.stats._scores import Floats

__all__ = ["Difference", "detectable", "holm", "paired_difference"]


@dataclass(frozen=True)
class Difference:
    """Second minus first, over the pictures for which both have a score.

    Attributes:
        mean: Mean paired difference.
        low: Lower end of the 95 % interval: mean - t * bootstrap standard error over pictures.
        high: Upper end.
        p: Two-sided p of the paired sign-flip permutation test of "no difference".
        detectable: Smallest true difference found with 80 % power at the 5 % level: 2.8 sd / sqrt(n).
        n: Pictures with both scores.
    """

    mean: float
    low: float
    high: float
    p: float
    detectable: float
    n: int

    def verdict(self) -> str:
        """The result in words.

        Example:
            >>> paired_difference([0.5] * 30, [0.6, 0.7] * 15).verdict()
            'the second is better, by 0.150 (95 % interval 0.131 to 0.169, p = 0.0001, n = 30)'
        """
        numbers = f"(95 % interval {self.low:.3f} to {self.high:.3f}, p = {self.p:.4f}, n = {self.n})"
        if self.n < 2:
            return f"too few pictures to say anything (n = {self.n})"
        if self.low > 0 and self.p < 0.05:
            return f"the second is better, by {self.mean:.3f} {numbers}"
        if self.high < 0 and self.p < 0.05:
            turned = f"(95 % interval {-self.high:.3f} to {-self.low:.3f}, p = {self.p:.4f}, n = {self.n})"
            return f"the first is better, by {-self.mean:.3f} {turned}"
        return f"no difference was shown: {self.mean:+.3f} {numbers}; less than {self.detectable:.3f} could be missed"


def paired_difference(first: ArrayLike, second: ArrayLike, *, draws: int = 10_000, seed: int = 0) -> Difference:
    """Compare two models' scores on the same pictures.

    Pictures where one score is NaN are left out and not counted in n. The interval is symmetric, mean +- t * SE, with
    the standard error of a paired bootstrap over pictures and Student's t with n - 1 degrees of freedom: differences of
    Dice have long tails on both sides, for which percentiles of the draws are too narrow.

    Args:
        first: (N,) scores of the first model.
        second: (N,) scores of the second model, same pictures, same order.
        draws: Sign flips and bootstrap resamples, 1 or above. With 2^n flips or fewer than that, p is exact.
        seed: Seed of both.

    Raises:
        ValueError: If the shapes differ, or draws is below 1.

    Example:
        >>> result = paired_difference([0.1, 0.2, 0.3], [0.2, 0.3, 0.4])
        >>> round(result.mean, 3), result.n, result.p  # 2 of 8 arrangements are as far from 0
        (0.1, 3, 0.25)

    Reference:
        P. Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 3rd ed., 2005, ch. 3 and 6;
        B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 12.
        Differs: sampled p counts the observed arrangement too, (b + 1) / (draws + 1), so it is never 0.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"scores must be two lists of the same pictures; got shapes {a.shape} and {b.shape}.")
    gaps: Floats = (b - a)[np.isfinite(a) & np.isfinite(b)][:, None]  # (n, 1)
    n = len(gaps)
    if n < 2:
        return Difference(float(gaps.mean()) if n else math.nan, math.nan, math.nan, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    p = flip_p(lambda signs: signs @ gaps / n, gaps.mean(axis=0), n, draws, rng)
    errors = standard_error(bootstrap(lambda weights: weights @ gaps / n, n, draws, rng), np.array([n]))
    mean, reach = float(gaps.mean()), student_quantile(n - 1) * float(errors[0])
    least = detectable(float(gaps.std(ddof=1)), n)
    return Difference(mean, mean - reach, mean + reach, float(p[0]), least, n)


def detectable(sd: float, n: int) -> float:
    """Smallest true difference that a paired comparison finds 80 times in 100 at the 5 % level: 2.8 sd / sqrt(n).

    2.8 = 1.96 + 0.84. A difference below it is easily missed, and one that is found there by luck looks too large.

    Args:
        sd: Standard deviation of the paired differences over pictures.
        n: Number of pictures, 1 or above.

    Raises:
        ValueError: If n is below 1 or sd below 0.

    Example:
        >>> round(detectable(3.0, 40), 2), round(detectable(6.0, 1000), 2)  # percentage points
        (1.33, 0.53)
    """
    if n < 1 or sd < 0:
        raise ValueError(f"n must be at least 1 and sd at least 0; got {n} and {sd}.")
    return 2.8 * sd / math.sqrt(n)


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p values: those below 0.05 hold together, with at most 5 % risk that one of them is luck.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may fall below the one before it. NaN stays
    NaN and is not counted.

    Args:
        p_values: (M,) p of M questions asked of the same data.

    Returns:
        (M,) in [0, 1], in the order given.

    Raises:
        ValueError: If they are no list of numbers in [0, 1] or NaN.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()  # .01 * 3; .03 * 2; .04 * 1, but not below .06
        [0.03, 0.06, 0.06]

    Reference:
        S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6(2), 1979.
    """
    p = np.asarray(p_values, float)
    known = ~np.isnan(p)
    if p.ndim != 1 or ((p[known] < 0) | (p[known] > 1)).any():
        raise ValueError(f"p values must be a list of numbers in [0, 1] or NaN; got {p.tolist()}.")
    m = int(known.sum())
    order = np.argsort(np.where(known, p, np.inf), kind="stable")[:m]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(m, 0, -1)), 1.0)
    return adjusted
