"""A comparison at the size of a screen: what the page draws on, so that large pictures do not take seconds to draw.

Masks, probabilities and numbers of the result stay at the picture's own size; only what is drawn is smaller.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seglab.comparison import Comparison, ModelResult
from seglab.explain import StageAttention
from seglab.images import packed, picture_png
from seglab.palette import heat

__all__ = ["Screen", "gate_bars", "screen_size"]

Kept = Callable[[NDArray[Any], Callable[[], NDArray[Any]]], NDArray[Any]]

SCREEN_SIDE = 1024  # pixels; of larger ones a threshold would be answered too late
BARS = (600, 72)  # width, unless there are more channels, and height in pixels
PAPER, RULE = (244, 244, 244), (200, 200, 200)


class Screen:
    """Makes comparisons as small as a screen, and remembers what it has made small.

    While a threshold moves, the picture, its true mask and the probabilities stay, and only the masks are new.
    """

    def __init__(self) -> None:
        self._last: dict[
            int, tuple[NDArray[Any], NDArray[Any]]
        ] = {}  # by id: the array, so that it lives, and its copy
        self._next: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        self._strips: dict[bytes, bytes] = {}  # packed, by the digest of what they were before
        self._used: dict[bytes, bytes] = {}

    def fit(self, comparison: Comparison, side: int = SCREEN_SIDE) -> Comparison:
        """The same as `screen_size`."""
        self._next = {}
        small = screen_size(comparison, side, self._kept)
        self._last = self._next
        self._strips, self._used = self._used, {}
        return small

    def png(self, picture: NDArray[np.uint8]) -> bytes:
        """A picture as PNG; rows that the pictures since the last but one `fit` had too are not packed again.

        Packing is most of the time that a view takes, and while a threshold moves, much of every picture stays.

        Args:
            picture: (H, W, 3) uint8, at least one pixel.

        Example:
            >>> Screen().png(np.zeros((2, 3, 3), np.uint8))[1:4]
            b'PNG'
        """
        return picture_png(picture, self._once)

    def _once(self, strip: bytes) -> bytes:
        """A strip of a PNG, packed: the last one, or a new one."""
        digest = hashlib.blake2b(strip, digest_size=16).digest()
        self._used[digest] = self._used.get(digest) or self._strips.get(digest) or packed(strip)
        return self._used[digest]

    def _kept(self, values: NDArray[Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The small copy of an array: the last one, or a new one."""
        _, copy = self._next[id(values)] = self._last.get(id(values)) or (values, make())
        return copy


def _made(values: NDArray[Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    return make()


def screen_size(comparison: Comparison, side: int = SCREEN_SIDE, kept: Kept = _made) -> Comparison:
    """The comparison with picture, masks and maps at most `side` pixels long, its numbers as they are.

    Pictures and probabilities are averaged; masks take the class of the nearest pixel. Only for drawing: the numbers
    of a smaller mask would differ.

    Args:
        comparison: What to draw.
        side: Longest side in pixels, at least 1.
        kept: Gives the small copy of an array from what makes it; see `Screen`.

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
    truth = comparison.truth
    if truth is not None:
        truth = kept(truth, partial(_nearest, truth, size))
    image = kept(comparison.image, partial(_averaged, comparison.image, size))
    results = tuple(_smaller(result, size, kept) for result in comparison.results)
    return replace(comparison, image=image, truth=truth, results=results)


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


def _smaller(result: ModelResult, size: tuple[int, int], kept: Kept) -> ModelResult:
    """One model's result at a size (width, height)."""
    probs = kept(result.probs, lambda: np.stack([_averaged(one, size) for one in result.probs]))
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
