"""Pictures like those of a dermatoscope: a lesion on skin, with hair, ruler, bubbles, ink and dark corners."""

import numpy as np
from numpy.typing import NDArray

from seglab.data._noise import (
    Field,
    between,
    chance,
    direction,
    fractal,
    grid,
    largest,
    smooth,
    soften,
    stroke,
    voronoi,
)

__all__ = ["draw"]

# Colours, red-green-blue in [0, 1]: skin under a dermatoscope, and what is left of its light under thin and under
# thick pigment.
SKIN = np.array(
    [
        (0.93, 0.78, 0.72), (0.86, 0.66, 0.58), (0.74, 0.58, 0.47), (0.92, 0.55, 0.52), (0.73, 0.66, 0.68),
        (0.62, 0.46, 0.36), (0.90, 0.84, 0.74), (0.80, 0.60, 0.42), (0.45, 0.31, 0.24),
    ],
    np.float32,
)  # fmt: skip
THIN = np.array(
    [(0.86, 0.66, 0.44), (0.88, 0.60, 0.52), (0.80, 0.64, 0.46), (0.94, 0.78, 0.52), (0.90, 0.70, 0.62)], np.float32
)
THICK = np.array(
    [
        (0.34, 0.17, 0.10), (0.20, 0.09, 0.08), (0.58, 0.32, 0.16), (0.26, 0.27, 0.36), (0.60, 0.30, 0.26),
        (0.46, 0.26, 0.13),
    ],
    np.float32,
)  # fmt: skip


def draw(rng: np.random.Generator, shape: tuple[int, int], count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One picture and its mask.

    Args:
        rng: Source of the random numbers; nothing else is random.
        shape: (H, W) in pixels, 32 or more.
        count: Pixels of the lesion, 0 for bare skin.

    Returns:
        Picture (H, W, 3) uint8 and mask (H, W) uint8 with exactly `count` ones.

    Example:
        >>> picture, mask = draw(np.random.default_rng(0), (32, 40), 200)
        >>> picture.shape, int(mask.sum())
        ((32, 40, 3), 200)
    """
    picture = _skin(rng, shape)
    score, radius = _outline(rng, shape, count)
    mask, level = largest(score, count)
    if count:
        depth = (score - np.float32(level)) / np.float32(radius)
        picture *= _pigment(rng, shape, depth)
    picture = _dirt(rng, shape, soften(picture))
    picture *= _light(rng, shape)[..., None]
    picture += (rng.random((*shape, 3), dtype=np.float32) - np.float32(0.5)) * np.float32(between(rng, 0.01, 0.04))
    return (np.clip(picture, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8), mask


def _rgb(red: float, green: float, blue: float) -> Field:
    """A colour, or how much of each colour to take away."""
    return np.array((red, green, blue), np.float32)


def _mix(rng: np.random.Generator, table: Field) -> Field:
    """A colour between two rows of a table."""
    first, second = (table[int(rng.random() * len(table))] for _ in range(2))
    share = np.float32(rng.random() * 0.5)
    result: Field = first * (1 - share) + second * share
    return result


def _skin(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Skin (H, W, 3): a tone, blotches, blood, furrows and pores."""
    side = min(shape)
    picture = np.broadcast_to(_mix(rng, SKIN), (*shape, 3)).copy()
    picture *= 1 + np.float32(between(rng, 0.02, 0.10)) * fractal(rng, shape, side / 2, 4)[..., None]
    fine = fractal(rng, shape, side / between(rng, 20, 45), 3)
    picture *= 1 + (np.float32(between(rng, 0.02, 0.12)) * fine)[..., None] * _rgb(0.6, 1, 1)
    blood = np.clip(fractal(rng, shape, side / between(rng, 4, 12), 5), 0, 1) * np.float32(between(rng, 0.05, 0.35))
    picture *= 1 - blood[..., None] * _rgb(0.1, 0.7, 0.6)
    if chance(rng, 0.6):  # furrows are light or dark as the glass presses
        first, second = voronoi(rng, shape, side / between(rng, 14, 40))
        depth = np.float32(between(rng, -0.06, 0.06))
        picture *= 1 + depth * smooth(1 - 4 * (second - first))[..., None]
    if chance(rng, 0.3):  # freckles
        spots = smooth(4 * fractal(rng, shape, side / between(rng, 5, 14), 5) - np.float32(between(rng, 0.8, 1.6)))
        picture *= 1 - spots[..., None] * _rgb(0.10, 0.19, 0.26) * np.float32(rng.random())
    return picture


def _outline(rng: np.random.Generator, shape: tuple[int, int], count: int) -> tuple[Field, float]:
    """A field whose highest pixels form one irregular blob, and the radius (short sides) of a disc of that size."""
    radius = np.sqrt(max(count, 1) / 3.14159265) / min(shape)
    y, x = grid(shape)
    bump = float(max(4.0, radius * min(shape) * between(rng, 0.7, 1.6)))
    bend = np.float32(radius * between(rng, 0.15, 0.6))
    room = max(0.0, 0.45 - radius) * 0.8
    dy = y - np.float32(between(rng, -room, room)) + bend * fractal(rng, shape, bump, 4)
    dx = x - np.float32(between(rng, -room, room)) + bend * fractal(rng, shape, bump, 4)
    cos, sin = direction(rng)
    stretch = np.float32(between(rng, 0.75, 1))
    along = (np.float32(cos) * dx + np.float32(sin) * dy) * stretch
    across = (np.float32(cos) * dy - np.float32(sin) * dx) / stretch
    return -np.sqrt(along * along + across * across), float(radius)


def _pigment(rng: np.random.Generator, shape: tuple[int, int], depth: Field) -> Field:
    """Share of the light (H, W, 3) that the lesion leaves; `depth` is 0 at its border and about 1 in its middle."""
    side = min(shape)
    ragged = fractal(rng, shape, side / between(rng, 8, 30), 4) * np.float32(between(rng, 0.05, 0.5))
    cover = smooth(0.5 + (depth + ragged) / np.float32(between(rng, 0.1, 0.8)))
    density = np.float32(between(rng, 0.15, 0.8)) + np.float32(between(rng, 0.4, 1.3)) * fractal(
        rng, shape, side / between(rng, 2.5, 8), 4
    )
    density += np.float32(between(rng, -0.2, 0.4)) * np.clip(depth, 0, 1)
    density += np.float32(between(rng, 0.1, 0.4)) * fractal(rng, shape, side / between(rng, 14, 40), 2)
    density += _structure(rng, shape)
    density = np.clip(density, 0, 1)[..., None]
    left = _mix(rng, THIN) * (1 - density) + _mix(rng, THICK) * density
    cover = cover[..., None] * np.float32(between(rng, 0.6, 1))  # below 1: a pale lesion
    halo = smooth(1 + depth * np.float32(between(rng, 1.5, 4)))[..., None] * np.float32(between(rng, 0, 0.14))
    result: Field = (1 - cover + cover * left) * (1 - halo * _rgb(0.2, 1, 0.9))
    return result


def _structure(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Pigment network, globules or nothing, as a change of density (H, W)."""
    kind = rng.random()
    first, second = voronoi(rng, shape, max(3.0, min(shape) / between(rng, 18, 36)))
    patchy = smooth(0.6 + fractal(rng, shape, min(shape) / 4, 2))
    strength = np.float32(between(rng, 0.15, 0.45))
    if kind < 0.5:
        return strength * patchy * (smooth(1 - 3 * (second - first)) - np.float32(0.4))
    if kind < 0.75:
        return strength * patchy * (smooth(1.4 - 3 * first) - np.float32(0.2))
    return np.zeros(shape, dtype=np.float32)


def _dirt(rng: np.random.Generator, shape: tuple[int, int], picture: Field) -> Field:
    """What lies over the skin: ink, ruler, hair, bubbles."""
    side = min(shape)
    if chance(rng, 0.08):
        ink = stroke(rng, shape, side * between(rng, 0.02, 0.05), (0.2, 0.6), 2.0)
        ink *= smooth(0.7 + 2 * fractal(rng, shape, side / 20, 2))
        picture = picture * (1 - ink[..., None] * _rgb(0.5, 0.65, 0.25))
    if chance(rng, 0.25):
        picture = picture * (1 - _ruler(rng, shape)[..., None] * np.float32(between(rng, 0.3, 0.8)))
    if chance(rng, 0.45):
        colour = _rgb(0.16, 0.11, 0.09) * np.float32(between(rng, 0.3, 2.2))
        for _ in range(1 + int(14 * rng.random() * rng.random())):
            width = max(0.3, side * between(rng, 0.001, 0.005))
            hair = stroke(rng, shape, width, (0.08, 0.8), 1.6)[..., None] * np.float32(between(rng, 0.5, 0.95))
            picture = picture * (1 - hair) + hair * colour
    if chance(rng, 0.25):
        picture = _bubbles(rng, shape, picture)
    return picture


def _ruler(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """A scale with ticks (H, W) in [0, 1], near the border of the picture."""
    y, x = grid(shape)
    side = min(shape)
    cos, sin = direction(rng)
    if chance(rng, 0.6):  # most rulers lie level, or nearly so
        cos, sin = 1.0, 0.12 * between(rng, -1, 1)
    along = np.float32(cos) * x + np.float32(sin) * y
    across = np.float32(cos) * y - np.float32(sin) * x - np.float32(between(rng, 0.34, 0.46))
    step = np.float32(between(rng, 0.03, 0.07))
    place = along / step
    number = np.floor(place)
    thin = np.float32(max(0.6, side * 0.003))
    near = np.clip(thin + np.float32(0.4) - np.abs(place - number - np.float32(0.5)) * step * side, 0, 1)
    tall = np.where(number % 5 == 0, np.float32(0.045), np.float32(0.025))
    ticks = near * ((across <= 0) & (across > -tall))
    line = np.clip(thin + np.float32(0.4) - np.abs(across) * side, 0, 1)
    reach = np.float32(between(rng, 0.25, 0.7))
    return np.where(np.abs(along) < reach, np.maximum(ticks, line), np.float32(0))


def _bubbles(rng: np.random.Generator, shape: tuple[int, int], picture: Field) -> Field:
    """Air in the oil: rings with a dark rim and a spot of light; and small sparkles."""
    y, x = grid(shape)
    for _ in range(1 + int(4 * rng.random())):
        size = np.float32(between(rng, 0.012, 0.05))
        dy, dx = y - np.float32(between(rng, -0.48, 0.48)), x - np.float32(between(rng, -0.48, 0.48))
        distance = np.sqrt(dy * dy + dx * dx) / size
        rim = smooth(1 - 5 * np.abs(distance - 1)) * np.float32(0.45)
        spot = np.sqrt((dy + size / 2) ** 2 + (dx + size / 2) ** 2) / size
        picture = picture * (1 - rim[..., None]) + (smooth(1 - 3 * spot) * np.float32(0.5))[..., None]
    sparkle = smooth(14 * fractal(rng, shape, max(2.0, min(shape) / 60), 1) - np.float32(between(rng, 12.4, 14)))
    sparkle *= smooth(4 * fractal(rng, shape, min(shape) / 5, 2) - 1)
    return picture + sparkle[..., None] * np.float32(0.5)


def _light(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Brightness (H, W): exposure, a slope, and in a third of the pictures dark corners."""
    y, x = grid(shape)
    dy, dx = np.float32(between(rng, -0.04, 0.04)), np.float32(between(rng, -0.04, 0.04))
    light = np.float32(between(rng, 0.85, 1.08)) * (1 + dy * y + dx * x)
    distance = np.sqrt((y - dy) ** 2 + (x - dx) ** 2)
    light = light * (1 - np.float32(between(rng, 0, 0.5)) * distance * distance)
    if chance(rng, 0.33):
        start, width = np.float32(between(rng, 0.5, 0.64)), np.float32(between(rng, 0.02, 0.3))
        light = light * (1 - np.float32(between(rng, 0.85, 0.98)) * smooth((distance - start) / width))
    result: Field = light
    return result
