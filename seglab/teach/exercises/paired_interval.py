"""Lesson 5: mean paired difference of two models, and its bootstrap interval over pictures."""

from collections.abc import Callable

import numpy as np

from seglab.teach._check import expect

__all__ = ["expectations"]

Interval = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[float, float, float]]


def expectations(paired_interval: Interval) -> None:
    """Hand-worked pictures first, then 30 drawn by chance with 400 resamples.

    Args:
        paired_interval: Takes the Dice of N pictures by the first and by the second model, (N,) each, and the pictures
            of B resamples, (B, N) of int; returns the mean of second minus first, and the 2.5 % and 97.5 % quantiles
            of the mean over resamples.
    """
    first, second = np.array([0.5, 0.6, 0.7, 0.8]), np.array([0.6, 0.6, 0.9, 0.7])  # gaps .1, 0, .2, -.1
    all_of_one = np.arange(4)[:, None].repeat(4, axis=1)  # a resample holds one picture four times
    found = paired_interval(first, second, all_of_one)
    expect(
        len(np.shape(found)) == 1 and len(found) == 3,
        "return three numbers: the mean difference, the low end and the high end.",
    )
    expect(
        _near(found[0], 0.05),
        "for Dice of .5 .6 .7 .8 and then .6 .6 .9 .7 the mean difference is 0.05.",
        "Subtract picture by picture, second minus first, and take the mean. The resamples do not enter it.",
    )
    expect(
        _near(found[1], np.quantile([-0.1, 0, 0.1, 0.2], 0.025)),
        "the low end is the 2.5 % quantile of the means of the resamples, one mean for each row of picks.",
        "`gaps[picks]` has a row for each resample: take its mean along the row, then `np.quantile(means, 0.025)`.",
    )
    expect(
        _near(found[2], np.quantile([-0.1, 0, 0.1, 0.2], 0.975)),
        "the high end is the 97.5 % quantile of the means of the resamples.",
    )
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.4, 0.9, 30), rng.uniform(0.5, 1, 30)
    picks = rng.integers(0, 30, (400, 30))
    means = [np.mean([second[i] - first[i] for i in row]) for row in picks]
    wanted = (np.mean(second) - np.mean(first), *np.quantile(means, [0.025, 0.975]))
    found = paired_interval(first, second, picks)
    expect(all(map(_near, found, wanted)), "the interval is wrong for 30 pictures drawn by chance.")


def _near(value: float, wanted: float) -> bool:
    return bool(abs(value - wanted) < 1e-9)
