"""Is the difference more than luck? Paired tests and intervals over pictures, numpy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Difference", "paired_difference"]


@dataclass(frozen=True)
class Difference:
    """Second minus first, over the pictures for which both have a score.

    Attributes:
        mean: Mean paired difference.
        low: Lower end of the 95 % percentile bootstrap interval over pictures.
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
            'the second is better, by 0.150 (95 % interval 0.133 to 0.167, p = 0.0001, n = 30)'
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

    Pictures where one score is NaN are left out and not counted in n.

    Args:
        first: (N,) scores of the first model.
        second: (N,) scores of the second model, same pictures, same order.
        draws: Sign flips and bootstrap resamples.
        seed: Seed of both.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> result = paired_difference([0.1, 0.2, 0.3], [0.2, 0.3, 0.4])
        >>> round(result.mean, 3), result.n
        (0.1, 3)

    Reference:
        P. Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 3rd ed., 2005, ch. 3 and 6.
        Differs: p counts the observed arrangement too, (b + 1) / (draws + 1), so it is never 0.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"scores must be two lists of the same pictures; got shapes {a.shape} and {b.shape}.")
    gaps: NDArray[np.float64] = (b - a)[np.isfinite(a) & np.isfinite(b)]
    n = len(gaps)
    if n < 2:
        mean = float(gaps.mean()) if n else float("nan")
        return Difference(mean, float("nan"), float("nan"), float("nan"), float("nan"), n)
    rng = np.random.default_rng(seed)
    observed = abs(gaps.mean())
    beyond = 0
    means = np.empty(draws)
    for start in range(0, draws, 1000):  # in blocks, so that memory stays small for thousands of pictures
        size = min(1000, draws - start)
        signs = rng.choice([-1.0, 1.0], (size, n))
        beyond += int((np.abs(signs @ gaps) / n >= observed - 1e-12).sum())
        means[start : start + size] = gaps[rng.integers(0, n, (size, n))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    detectable = 2.8 * gaps.std(ddof=1) / np.sqrt(n)
    return Difference(float(gaps.mean()), float(low), float(high), (beyond + 1) / (draws + 1), float(detectable), n)
