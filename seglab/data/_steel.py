"""Pictures like those of a rolled steel strip: grey, with a grain, and scratches, inclusions or patches on it."""

import numpy as np
from numpy.typing import NDArray

from seglab.data._noise import Field, between, chance, fractal, grid, largest, smooth, soften

__all__ = ["draw"]


def draw(rng: np.random.Generator, shape: tuple[int, int], count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One picture and its mask; the strip runs down the picture, or across it in a quarter of the cases.

    Args:
        rng: Source of the random numbers; nothing else is random.
        shape: (H, W) in pixels, 32 or more.
        count: Pixels of the defects, 0 for a sound strip.

    Returns:
        Picture (H, W, 3) uint8 with three equal channels and mask (H, W) uint8 with exactly `count` ones.

    Example:
        >>> picture, mask = draw(np.random.default_rng(0), (32, 40), 100)
        >>> picture.shape, int(mask.sum())
        ((32, 40, 3), 100)
    """
    across = chance(rng, 0.25)
    if across:
        shape = shape[::-1]
    share = count / (shape[0] * shape[1])
    first = 2 if share > 0.3 else 1 if share > 0.15 else 0  # no scratch covers a third of a strip
    paint = (_scratches, _inclusions, _patches)[first + int(rng.random() * (3 - first))]
    picture, mask = paint(rng, shape, count)
    if across:
        picture, mask = picture.T, np.ascontiguousarray(mask.T)
    grey = (np.clip(picture, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), mask


def _strip(rng: np.random.Generator, shape: tuple[int, int], level: float, grain: float) -> Field:
    """Sound steel (H, W): uneven light, bands, rolling grain and noise."""
    h, w = shape
    side = min(shape)
    y, x = grid(shape)
    slope = np.float32(between(rng, -0.25, 0.25)), np.float32(between(rng, -0.35, 0.35))
    picture = np.float32(level) * (1 + slope[0] * y + slope[1] * x)
    picture = picture * (1 + np.float32(between(rng, 0.03, 0.14)) * fractal(rng, shape, (4.0 * h, side / 4), 3))
    picture = picture * (1 + np.float32(between(rng, 0.02, 0.08)) * fractal(rng, shape, (side / 2, side / 3), 3))
    fine = fractal(rng, shape, (max(4.0, side / between(rng, 4, 20)), 2.0), 1)
    noise = rng.random(shape, dtype=np.float32) + rng.random(shape, dtype=np.float32) - 1
    return picture + np.float32(grain) * (fine * np.float32(0.5 * rng.random()) + soften(noise) * np.float32(1.4))


def _depth(score: Field, level: float, reach: float) -> Field:
    """0 outside the object, 1 from `reach` above the border's level on."""
    return smooth((score - np.float32(level)) / np.float32(reach) + np.float32(0.5))


def _scratches(rng: np.random.Generator, shape: tuple[int, int], count: int) -> tuple[Field, NDArray[np.uint8]]:
    """Long thin lines along the strip, bright or dark, ragged in brightness."""
    picture = _strip(rng, shape, between(rng, 0.25, 0.55), between(rng, 0.02, 0.06))
    y, x = grid(shape)
    share = count / (shape[0] * shape[1])
    score = np.full(shape, -9, dtype=np.float32)
    for number in range(1 + int(rng.random() * 2 + 40 * rng.random() * share)):
        wobble = np.float32(0.02) * fractal(rng, shape, (shape[0] / 2, 4.0 * shape[1]), 3)
        middle = np.float32(between(rng, -0.45, 0.45)) + np.float32(between(rng, -0.05, 0.05)) * y + wobble
        reach = between(rng, 0.6, 1.5) if number == 0 else between(rng, 0.08, 1.0)
        end = np.maximum(np.abs(y - np.float32(between(rng, -0.4, 0.4))) - np.float32(reach), 0)
        line = -np.abs(x - middle) * np.float32(between(rng, 0.7, 1.6)) - end * np.float32(0.6)
        score = np.maximum(score, line)
    score += np.float32(0.004) * fractal(rng, shape, 6.0, 2)
    mask, level = largest(score, count)
    gleam = fractal(rng, shape, (shape[0] / 3, 3.0), 3)
    faint = smooth(3 * fractal(rng, shape, (shape[0] / 1.0, 3.0), 2) - np.float32(1.4)) * np.float32(
        0.12 * rng.random()
    )
    picture = picture + faint  # streaks too faint for an annotator
    if count:
        sign = 1 if chance(rng, 0.75) else -0.5
        strength = np.clip(np.float32(between(rng, 0.2, 0.45)) + np.float32(0.3) * gleam, 0.08, 1)
        picture = picture + sign * strength * _depth(score, level, 3 / min(shape))
    return picture, mask


def _inclusions(rng: np.random.Generator, shape: tuple[int, int], count: int) -> tuple[Field, NDArray[np.uint8]]:
    """Dark elongated blobs along the strip, with blurred ends and fainter fellows."""
    base = between(rng, 0.28, 0.5) if chance(rng, 0.75) else between(rng, 0.5, 0.85)
    picture = _strip(rng, shape, base, between(rng, 0.02, 0.05))
    side = min(shape)
    share = count / (shape[0] * shape[1])
    thick = side * (0.05 + 0.35 * share)
    score = fractal(rng, shape, (thick * between(rng, 4, 9), thick), 3)
    score += np.float32(0.5) * fractal(rng, shape, (shape[0] * 1.0, side / 4), 1)  # they come in lines
    mask, level = largest(score, count)
    dark = np.float32(base * between(rng, 0.2, 0.45))
    if count:
        depth = _depth(score, level, between(rng, 0.08, 0.25))
        picture = picture - dark * depth * (np.float32(0.8) + np.float32(0.3) * fractal(rng, shape, (12.0, 3.0), 2))
    faint = smooth((fractal(rng, shape, (side / 4, side / 30), 2) - np.float32(0.5)) * 4)
    return picture - dark * faint * np.float32(0.35 * rng.random()), mask


def _patches(rng: np.random.Generator, shape: tuple[int, int], count: int) -> tuple[Field, NDArray[np.uint8]]:
    """Dark speckled regions with a blurred, irregular border on coarse, often glaring steel."""
    base = between(rng, 0.25, 0.5) if chance(rng, 0.5) else between(rng, 0.6, 0.95)
    picture = _strip(rng, shape, base, base * between(rng, 0.2, 0.6))
    side = min(shape)
    share = count / (shape[0] * shape[1])
    bump = side * (0.25 + 0.5 * share)
    y, x = grid(shape)
    score = fractal(rng, shape, (bump * between(rng, 1, 2), bump), 4)
    score -= np.float32(0.8) * np.abs(x - np.float32(between(rng, -0.3, 0.3)))
    mask, level = largest(score, count)
    if count:
        ragged = score + np.float32(0.12) * fractal(rng, shape, side / 16, 3)
        depth = _depth(ragged, level, between(rng, 0.12, 0.4))
        picture = picture * (1 - np.float32(between(rng, 0.35, 0.7)) * depth)
    if chance(rng, 0.35):  # scale that was not marked
        specks = smooth(8 * fractal(rng, shape, side / 30, 2) - np.float32(between(rng, 3.4, 4.5)))
        picture = picture * (1 - np.float32(0.6) * specks * smooth(3 * fractal(rng, shape, side / 3, 2)))
    return picture, mask
