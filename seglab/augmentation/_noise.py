"""Gaussian noise in whole grey levels, from a seed, with the same numbers in both executors."""

from functools import cache

import numpy as np
import torch

from seglab.augmentation._draws import Parameters

__all__ = ["grey_noise", "quantiles", "random_words"]


@cache
def quantiles() -> np.ndarray:
    """(65536,) float32: the normal distribution at the middles of as many equal shares; a random word picks one.

    To whole grey levels that is the normal distribution, but for the 1 in 65536 beyond 4.3 sigma.

    Example:
        >>> round(float(quantiles().std()), 3), round(float(quantiles()[-1]), 2)
        (1.0, 4.32)
    """
    shares = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    found: np.ndarray = torch.special.ndtri(shares).float().numpy()
    return found


def random_words(seed: int, count: int) -> np.ndarray:
    """(count,) uint16, random.

    Example:
        >>> random_words(3, 5).shape
        (5,)
    """
    return np.random.PCG64(seed).random_raw(-(-count // 4)).view(np.uint16)[:count]


def grey_noise(parameters: Parameters, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of the drawn strength, int16 grey levels.

    Example:
        >>> from seglab.augmentation import Parameters
        >>> noise = grey_noise(Parameters(np.eye(2, 3), np.eye(3, 4), 0, 0.1, 0), (64, 64, 3))
        >>> round(float(noise.std()))
        26
    """
    levels = np.rint(quantiles() * np.float32(parameters.noise * 255)).astype(np.int16)
    return np.take(levels, random_words(parameters.noise_seed, int(np.prod(shape)))).reshape(shape)
