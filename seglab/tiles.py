"""Pictures in overlapping tiles that are blended, and pictures in all eight orientations."""

from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor

__all__ = ["OVERLAP", "blended", "orientations", "ramp", "starts"]

OVERLAP = 8  # neighbouring tiles share at least one part in this many of their side


def starts(length: int, tile: int) -> list[int]:
    """Where tiles begin along a side: evenly spaced, as few as share an eighth of a tile with their neighbours.

    Args:
        length: Of the side, in pixels.
        tile: Of a tile, in pixels.

    Example:
        >>> starts(100, 40), starts(30, 40)
        ([0, 30, 60], [0])
    """
    if length <= tile:
        return [0]
    shared = tile // OVERLAP
    number = -(-(length - shared) // (tile - shared))
    return [round(i * (length - tile) / (number - 1)) for i in range(number)]


def ramp(length: int, tile: int) -> np.ndarray:
    """Weight (length,) of a tile's pixels along one side: a squared sine over an eighth of `tile`, 1 in the middle.

    Example:
        >>> print(ramp(8, 32).round(2))
        [0.04 0.31 0.69 0.96 0.96 0.69 0.31 0.04]
    """
    position = np.arange(length)
    inside = (np.minimum(position, position[::-1]) + 0.5) / max(1, tile // OVERLAP)
    weight: np.ndarray = np.sin(np.minimum(inside, 1) * np.pi / 2) ** 2
    return weight.astype(np.float32)


def blended(image: np.ndarray, tile: int, answer: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Maps (K, H, W) of a picture from the maps of its tiles, the weighted mean where tiles overlap.

    Memory grows with the maps, not with what the model needs for a large picture.

    Args:
        image: (H, W, 3) uint8.
        tile: Side of a tile in pixels; tiles are cut where the picture is smaller.
        answer: Maps (K, h, w) float32 of a tile (h, w, 3).

    Example:
        >>> image = np.zeros((50, 70, 3), np.uint8)
        >>> maps = blended(image, 32, lambda part: np.ones((1, *part.shape[:2]), np.float32))
        >>> maps.shape, float(maps.min()), float(maps.max())
        ((1, 50, 70), 1.0, 1.0)
    """
    height, width = image.shape[:2]
    rows, columns = ramp(min(tile, height), tile), ramp(min(tile, width), tile)
    window = rows[:, None] * columns
    total: np.ndarray | None = None
    weights = np.zeros((height, width), np.float32)
    for top in starts(height, tile):
        for left in starts(width, tile):
            part = (slice(top, top + tile), slice(left, left + tile))
            maps = answer(image[part])
            if total is None:
                total = np.zeros((len(maps), height, width), np.float32)
            total[:, *part] += maps * window
            weights[part] += window
    assert total is not None
    total /= weights
    return total.clip(0, 1, out=total)


def orientations(batch: Tensor) -> Iterator[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """A batch (N, C, S, S) in its eight orientations, each with the way back for maps of it.

    Example:
        >>> import torch
        >>> batch = torch.arange(4.0).reshape(1, 1, 2, 2)
        >>> all((back(turned) == batch).all() for turned, back in orientations(batch))
        True
    """

    def way_back(turns: int, flip: bool) -> Callable[[Tensor], Tensor]:
        def back(maps: Tensor) -> Tensor:
            maps = maps.rot90(-turns, (-2, -1))
            return maps.flip(-1) if flip else maps

        return back

    for flip in (False, True):
        for turns in range(4):
            yield (batch.flip(-1) if flip else batch).rot90(turns, (-2, -1)), way_back(turns, flip)
