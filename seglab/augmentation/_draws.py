"""The sampler: what is done to a picture in an epoch."""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Parameters", "draw"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """One draw of the augmentation."""

    matrix: np.ndarray  # (2, 3) float64: output pixel -> input pixel, coordinates as shares of the side, centre 0
    colour: np.ndarray  # (3, 4) float32: RGB and 1 -> RGB, on [0, 1]
    blur: float  # sigma as a share of the side, 0: none
    noise: float  # sigma of Gaussian noise on [0, 1], 0: none
    noise_seed: int


def draw(seed: int, epoch: int, index: int, *, rotation: float = 180.0, strength: float = 1.0) -> Parameters:
    """Parameters of one picture in one epoch.

    Rotation by any angle, flips, zoom 0.75 to 1.35, side ratio 0.8 to 1.25, shear up to 0.1, shift up to 0.1 of the
    side; brightness, contrast, saturation, warmth; in one of five pictures blur, in one of five noise.

    Args:
        seed: Seed of the run, 0 or above.
        epoch: Epoch, from 0.
        index: Index of the picture in the data set, from 0.
        rotation: Largest turn in degrees, either way, in [0, 180]. Below 180 flips go upside down too, so that a
            texture keeps its direction and is still seen from both sides; at 180 that would add nothing.
        strength: Share of every other range above, in [0, 1]; flips stay.

    Example:
        >>> draw(0, 1, 2).noise_seed == draw(0, 1, 2).noise_seed, draw(0, 1, 2).noise_seed == draw(0, 2, 2).noise_seed
        (True, False)
    """
    rng = np.random.Generator(np.random.PCG64([seed, epoch, index]))
    angle = rng.uniform(-math.radians(rotation), math.radians(rotation))
    flip = (-1.0, 1.0)[rng.integers(2)]
    flop = (-1.0, 1.0)[rng.integers(2)] if rotation < 180 else 1.0
    first, second, *rest = rng.random(9).tolist()  # one call for what would be nine of `uniform`, same numbers
    zoom = math.exp(_between(math.log(0.75), math.log(1.35), first) * strength)
    ratio = math.exp(_between(math.log(0.8), math.log(1.25), second) / 2 * strength)
    shear, across, down = (_between(-0.1, 0.1, share) * strength for share in rest[:3])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    squeeze = np.array([[flip * ratio / zoom, shear], [0.0, flop / (ratio * zoom)]])
    matrix = np.concatenate([turn @ squeeze, [[across], [down]]], axis=1)
    return Parameters(
        matrix=matrix,
        colour=_colour(rest[3:], strength),
        blur=float(rng.uniform(0.001, 0.006)) * strength if rng.random() < 0.2 else 0.0,
        noise=float(rng.uniform(0.005, 0.04)) * strength if rng.random() < 0.2 else 0.0,
        noise_seed=int(rng.integers(2**31)),
    )


def _between(low: float, high: float, share: float) -> float:
    """The place between two numbers, computed as NumPy's `uniform` does."""
    return low + (high - low) * share


def _colour(shares: list[float], strength: float) -> np.ndarray:
    """Brightness, contrast, saturation and warmth as one (3, 4) matrix on [0, 1]."""
    brightness = _between(-0.1, 0.1, shares[0]) * strength
    contrast = math.exp(_between(math.log(0.75), math.log(1.33), shares[1]) * strength)
    saturation = 1 + _between(-0.4, 0.4, shares[2]) * strength
    warmth = _between(-0.06, 0.06, shares[3]) * strength
    grey = (1 - saturation) / 3
    offset = 0.5 - contrast * 0.5 + brightness  # contrast pivots about mid-grey
    rows = []
    for channel, factor in enumerate((1 + warmth, 1.0, 1 - warmth)):
        mix = [grey, grey, grey]
        mix[channel] += saturation
        rows.append([share * factor * contrast for share in mix] + [offset])
    return np.array(rows, np.float32)
