"""Two models on the same pictures, as counts."""

from types import SimpleNamespace

import numpy as np


def report(model, counts, names=None):
    return SimpleNamespace(model=model, names=names or [f"{i}.png" for i in range(len(counts))], counts=counts)


def of_dice(rng, dice, area):
    """Counts of pictures of 10,000 pixels with those Dice scores; predicted and true areas are equal."""
    hit = np.rint(np.asarray(dice) * area).astype(int)
    wrong = area - hit
    return np.stack([np.stack([10_000 - area - wrong, wrong], -1), np.stack([wrong, hit], -1)], -2)


def two_models(n, seed=0, gain=0.0):
    """Two models whose Dice has the long lower tail of real ones, on lesions of very different size."""
    rng = np.random.default_rng(seed)
    area, hard = rng.integers(200, 4000, n), rng.normal(0, 1, n)
    dice = [1 / (1 + np.exp(-(2.5 + shift - hard + rng.normal(0, 0.6, n)))) for shift in (0, gain)]
    return [of_dice(rng, one, area) for one in dice]
