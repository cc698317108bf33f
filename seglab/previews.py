"""A comparison at the size of a screen: what the page draws on, so that large pictures do not take seconds to draw.

Masks, probabilities and numbers of the result stay at the picture's own size; only what is drawn is smaller.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seglab.comparison import Comparison, ModelResult
from seglab.explain import StageAttention
from seglab.palette import heat
from seglab.serving import PREVIEW_SIDE

__all__ = ["gate_bars", "screen_size"]

BARS = (600, 72)  # width, unless there are more channels, and height in pixels
PAPER, RULE = (244, 244, 244), (200, 200, 200)


def screen_size(comparison: Comparison, side: int = PREVIEW_SIDE) -> Comparison:
    """The comparison with picture, masks and maps at most `side` pixels long, its numbers as they are.

    Pictures and probabilities are averaged; masks take the class of the nearest pixel. Only for drawing: the numbers
    of a smaller mask would differ.

    Args:
        comparison: What to draw.
        side: Longest side in pixels, at least 1.

    Returns:
        The same object if it is small enough.

    Raises:
        ValueError: If `side` is below 1.
    """
    if side < 1:
        raise ValueError(f"side must be at least 1; got {side}.")
    height, width = comparison.image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return comparison
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    truth = None if comparison.truth is None else _nearest(comparison.truth, size)
    results = tuple(_smaller(result, size) for result in comparison.results)
    return replace(comparison, image=_averaged(comparison.image, size), truth=truth, results=results)


def gate_bars(channel: NDArray[Any]) -> NDArray[np.uint8]:
    """Channel gates as bars, the largest first, coloured as the maps are.

    Args:
        channel: Gates (C,) in [0, 1], at least one.

    Returns:
        (72, W, 3) uint8, W 600 or more; a gate of 1 has the full height, and a line marks one half.

    Example:
        >>> bars = gate_bars(np.array([0.25, 1.0], np.float32))
        >>> bars.shape, [int((column != 244).all(axis=-1).sum()) for column in (bars[:, 100], bars[:, 500])]
        ((72, 600, 3), [72, 19])
    """
    width, height = max(BARS[0], channel.size), BARS[1]
    ordered = np.sort(channel)[::-1][np.arange(width) * channel.size // width]
    picture = np.full((height, width, 3), PAPER, np.uint8)
    picture[height // 2] = RULE
    is_bar = np.arange(height)[::-1, None] < np.rint(ordered * height)
    return np.where(is_bar[..., None], heat(ordered[None]), picture)


def _smaller(result: ModelResult, size: tuple[int, int]) -> ModelResult:
    """One model's result at a size (width, height)."""
    probs = np.stack([_averaged(one, size) for one in result.probs])
    stages = {name: _smaller_stage(stage, size) for name, stage in result.attention.items()}
    return result._replace(probs=probs, mask=_nearest(result.mask, size), attention=stages)


def _smaller_stage(stage: StageAttention, size: tuple[int, int]) -> StageAttention:
    """One stage's gates, made smaller when they are asked for."""

    def back(maps: NDArray[Any]) -> NDArray[Any]:
        return np.stack([_averaged(one, size) for one in stage.back(maps)])

    return stage._replace(back=back)


def _averaged(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    import cv2  # a heavy module

    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA))


def _nearest(mask: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    import cv2  # a heavy module

    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT))
