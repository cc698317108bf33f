"""Noise fields from which the synthetic pictures are built.

Only adding, multiplying, dividing, comparing and square roots are used, on uniform random numbers: IEEE 754 fixes their
results to the last bit, while `exp`, `sin`, matrix products and OpenCV's filters round differently on different
processors. So a seed gives the same picture everywhere.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[Any]  # float32, (H, W) or (H, W, 3)

__all__ = [
    "Field",
    "between",
    "chance",
    "direction",
    "fractal",
    "grid",
    "largest",
    "smooth",
    "soften",
    "stroke",
    "voronoi",
]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A uniform number in [low, high)."""
    return low + (high - low) * rng.random()


def chance(rng: np.random.Generator, share: float) -> bool:
    """True in that share of the draws."""
    return rng.random() < share


def direction(rng: np.random.Generator) -> tuple[float, float]:
    """Cosine and sine of a direction in (-90, 90) degrees, without calling either."""
    t = between(rng, -1, 1)
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def smooth(x: Field) -> Field:
    """The step 3x^2 - 2x^3, 0 below 0 and 1 above 1."""
    x = np.clip(x, 0, 1)
    result: Field = x * x * (3 - 2 * x)
    return result


def grid(shape: tuple[int, int]) -> tuple[Field, Field]:
    """Rows (H, 1) and columns (1, W) in short sides of the picture, 0 at the middle."""
    unit = np.float32(1 / min(shape))
    y, x = ((np.arange(n, dtype=np.float32) + np.float32(0.5 - n / 2)) * unit for n in shape)
    return y[:, None], x[None, :]


def fractal(
    rng: np.random.Generator, shape: tuple[int, int], cell: float | tuple[float, float], octaves: int = 3
) -> Field:
    """Smooth noise of mean about 0 within [-1, 1].

    Args:
        rng: Source of the random numbers.
        shape: (H, W) in pixels.
        cell: Size of the largest bumps in pixels, 1 or more; two numbers for (down, across).
        octaves: Layers, each with bumps half as large and half as high.

    Returns:
        (H, W) float32.

    Example:
        >>> fractal(np.random.default_rng(0), (4, 6), 2.0).shape
        (4, 6)
    """
    down, across = cell if isinstance(cell, tuple) else (cell, cell)
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        part = 0.5**octave
        total += np.float32(part) * _lattice(rng, shape, (max(1.0, down * part), max(1.0, across * part)))
    return total / np.float32(2 - 0.5 ** (octaves - 1))


def _lattice(rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float]) -> Field:
    """Random numbers in [-1, 1] on a lattice, blended between its nodes."""
    down, across = (_blend(rng, n, c) for n, c in zip(shape, cell, strict=True))
    nodes = 2 * rng.random((int(down[0][-1]) + 2, int(across[0][-1]) + 2), dtype=np.float32) - 1
    i, f = down
    rows = nodes[i] * (1 - f)[:, None] + nodes[i + 1] * f[:, None]  # (H, nodes across)
    i, f = across
    result: Field = rows[:, i] * (1 - f) + rows[:, i + 1] * f
    return result


def _blend(rng: np.random.Generator, length: int, cell: float) -> tuple[NDArray[np.int64], Field]:
    """Node before each pixel of a line and the weight of the next node, from a random start."""
    place = (np.arange(length) + rng.random() * cell) / cell
    node = place.astype(np.int64)
    return node, smooth((place - node).astype(np.float32))


def voronoi(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> tuple[Field, Field]:
    """Distances to the nearest and the second nearest of scattered points, in cells.

    Their difference is 0 on a net of lines (a pigment network); the first alone is 0 at dots (globules).

    Args:
        rng: Source of the random numbers.
        shape: (H, W) in pixels.
        cell: Mean distance of the points in pixels, 1 or more.

    Returns:
        Two (H, W) float32 fields, 0 or above.
    """
    y, x = (np.arange(n, dtype=np.float32) / np.float32(cell) + 1 for n in shape)
    i, j = y.astype(np.int64), x.astype(np.int64)
    points = rng.random((2, int(i[-1]) + 2, int(j[-1]) + 2), dtype=np.float32) * np.float32(0.9)
    first = np.full(shape, 9, dtype=np.float32)
    second = first.copy()
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            cut = (i[:, None] + di, j[None, :] + dj)
            dy = y[:, None] - cut[0].astype(np.float32) - points[0][cut]
            dx = x[None, :] - cut[1].astype(np.float32) - points[1][cut]
            square = dy * dy + dx * dx
            np.minimum(second, np.maximum(first, square), out=second)
            np.minimum(first, square, out=first)
    return np.sqrt(first), np.sqrt(second)


def stroke(
    rng: np.random.Generator, shape: tuple[int, int], width: float, length: tuple[float, float], bend: float
) -> Field:
    """How far every pixel lies inside a thin curved line: 1 on it, 0 one pixel outside.

    Args:
        rng: Source of the random numbers.
        shape: (H, W) in pixels.
        width: Half width in pixels, above 0; below 0.5 the line gets faint rather than thinner.
        length: Range of the half length in short sides.
        bend: Largest curvature, in 1 / short sides.

    Returns:
        (H, W) float32 in [0, 1].
    """
    y, x = grid(shape)
    cos, sin = direction(rng)
    dy, dx = y - np.float32(between(rng, -0.6, 0.6)), x - np.float32(between(rng, -0.6, 0.6))
    along = np.float32(cos) * dx + np.float32(sin) * dy
    across = np.float32(cos) * dy - np.float32(sin) * dx
    curve = np.float32(between(rng, -bend, bend))
    distance = np.abs(across - curve * along * along) * np.float32(min(shape))
    distance /= np.sqrt(1 + (2 * curve * along) ** 2)  # otherwise the line swells where it bends away
    end = (np.float32(between(rng, *length)) - np.abs(along)) * 12
    result: Field = np.clip(np.float32(width + 0.5) - distance, 0, min(1.0, 2 * width)) * np.clip(end, 0, 1)
    return result


def soften(field: Field) -> Field:
    """A (H, W) or (H, W, 3) field blurred by 1-2-1 down and across; the border row and column are repeated."""
    for axis in (0, 1):
        index = np.arange(field.shape[axis])
        before, after = np.maximum(index - 1, 0), np.minimum(index + 1, index[-1])
        field = (field.take(before, axis) + 2 * field + field.take(after, axis)) * np.float32(0.25)
    return field


def largest(field: Field, count: int) -> tuple[NDArray[np.uint8], float]:
    """The `count` highest pixels, exactly, and the lowest value among them.

    Args:
        field: (H, W).
        count: Number of pixels, at most H * W; 0 gives an empty mask and the highest value.

    Returns:
        Mask (H, W) of 0 and 1, and the threshold. Among equal values the upper left ones are taken.

    Example:
        >>> largest(np.float32([[3, 1], [2, 2]]), 2)
        (array([[1, 0],
               [1, 0]], dtype=uint8), 2.0)
    """
    flat = field.ravel()
    if count == 0:
        return np.zeros(field.shape, dtype=np.uint8), float(flat.max())
    level = np.partition(flat, len(flat) - count)[len(flat) - count]
    mask = flat > level
    mask[np.flatnonzero(flat == level)[: count - int(mask.sum())]] = True
    return mask.reshape(field.shape).astype(np.uint8), float(level)
