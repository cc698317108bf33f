"""Colours that do not mislead, and the pictures drawn in them.

The palette is told apart in normal vision and in the three kinds of colour blindness, also when blended over light
and dark skin and steel: light blue, orange, and dark navy with white stripes. Values are shown in cividis on a fixed
scale, so that two models can be compared by eye.

Reference:
    J. R. Nunez, C. R. Anderton and R. S. Renslow, "Optimizing colormaps with consideration for color vision
    deficiency", PLOS ONE 13(7), 2018 (cividis).
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seglab.contract import IGNORE_INDEX

__all__ = [
    "BLUE", "CORRECT", "EXTRA", "MISSED", "NAVY", "ORANGE", "Colour", "colour_map", "heat", "outline", "overlay",
]  # fmt: skip

CORRECT, EXTRA, MISSED = 1, 2, 3
BLUE, ORANGE, NAVY = (128, 192, 255), (255, 128, 0), (0, 0, 64)
WHITE, GREY = (255, 255, 255), (128, 128, 128)
PALETTE = {CORRECT: BLUE, EXTRA: ORANGE, MISSED: NAVY}

Colour = tuple[int, int, int]
Bytes = NDArray[np.uint8]


def colour_map(image: Bytes, codes: Bytes, *, opacity: float = 0.6) -> Bytes:
    """Picture with an error map or agreement map over it.

    Light blue is 1, orange 2, navy with white diagonal stripes 3, grey 255; 0 stays as it is. Every region has an
    outline in its pure colour, a pixel or two wide. Stripes grow with the picture, to be seen when it is shown small.

    Args:
        image: (H, W, 3) uint8.
        codes: (H, W) uint8, from `error_map` or `agreement_map`.
        opacity: Share of the colour, 0 to 1.

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        ValueError: If the shapes differ or the opacity is out of its range.

    Example:
        >>> colour_map(np.zeros((1, 2, 3), np.uint8), np.array([[0, 2]], np.uint8), opacity=1)[0].tolist()
        [[0, 0, 0], [255, 128, 0]]
    """
    _require(image, codes, opacity)
    result, unit = image.copy(), _line_width(image)
    for code, colour in ((IGNORE_INDEX, GREY), *PALETTE.items()):
        region = codes == code
        _blend(result, region, colour, opacity)
        if code == MISSED:
            _blend(result, _stripes(region, unit), WHITE, opacity, base=image)
        if code in PALETTE:
            _paint(result, _border(region, min(unit, 2)), colour)
    return result


def overlay(image: Bytes, mask: NDArray[Any], *, colour: Colour = BLUE, opacity: float = 0.5) -> Bytes:
    """Picture with a mask laid over it in one colour.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) class indices or bool; above 0 is coloured, 255 (unknown) is not.
        colour: Red, green, blue, 0 to 255.
        opacity: Share of the colour, 0 to 1.

    Returns:
        (H, W, 3) uint8, a new array; equal to the picture if the mask is empty.

    Raises:
        ValueError: If the shapes differ or the opacity is out of its range.

    Example:
        >>> overlay(np.zeros((1, 2, 3), np.uint8), np.array([[0, 1]]), colour=(200, 100, 0))[0].tolist()
        [[0, 0, 0], [100, 50, 0]]
    """
    _require(image, mask, opacity)
    result = image.copy()
    _blend(result, _object(mask), colour, opacity)
    return result


def outline(
    image: Bytes,
    masks: Sequence[tuple[NDArray[Any], Colour]],
    *,
    width: int | None = None,
    casing: Colour | None = None,
) -> Bytes:
    """Picture with the outlines of masks, each in its colour.

    A line lies inside its mask; the edge of the picture is no border. The first is the widest and each further one is
    drawn on top, narrower, so that all are seen where they coincide.

    Args:
        image: (H, W, 3) uint8.
        masks: Pairs of a mask (H, W), above 0 and not 255 being object, and a colour.
        width: Of the narrowest line in pixels, at least 1; None takes a 300th of the longer side.
        casing: Colour of a line as wide around every mask, so that none is lost on a ground of its own colour.

    Returns:
        (H, W, 3) uint8, a new array; equal to the picture if all masks are empty.

    Raises:
        ValueError: If shapes differ or the width is below 1.

    Example:
        >>> outline(np.zeros((1, 4, 3), np.uint8), [(np.array([[0, 1, 1, 1]]), (255, 0, 0))])[0, :, 0].tolist()
        [0, 255, 0, 0]
    """
    width = _line_width(image) if width is None else width
    if width < 1:
        raise ValueError(f"width must be at least 1 pixel; got {width}.")
    result, objects = image.copy(), []
    for mask, _ in masks:
        _require(image, mask, 1.0)
        objects.append(_object(mask))
        if casing is not None:
            _paint(result, _border(~objects[-1], width), casing)
    for above, region, (_, colour) in zip(range(len(masks), 0, -1), objects, masks, strict=True):
        _paint(result, _border(region, width * above), colour)
    return result


def heat(values: NDArray[Any], *, image: Bytes | None = None, opacity: float = 1.0) -> Bytes:
    """Values in the colours of cividis, dark blue 0 to yellow 1; the scale is never stretched.

    Args:
        values: (H, W) in [0, 1]; what is outside is taken as 0 or 1, NaN as 0.
        image: (H, W, 3) uint8 to lay the colours over, in grey, so that every hue comes from the values.
        opacity: Share of the colours where there is a picture, 0 to 1.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If the shapes differ or the opacity is out of its range.

    Example:
        >>> heat(np.array([[0.0, 1.0]]))[0].tolist()
        [[0, 34, 77], [253, 231, 55]]
    """
    import cv2  # a heavy module

    inside = np.fmin(np.fmax(np.asarray(values, np.float32), 0), 1)  # of NaN and a number they take the number
    index = np.rint(inside * 255).astype(np.uint8)
    colours: Bytes = np.asarray(cv2.LUT(cv2.merge([index] * 3), _cividis()[None]))
    if image is None:
        return colours
    _require(image, index, opacity)
    if opacity == 1:
        return colours
    grey = image @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    mixed: Bytes = np.rint(colours * np.float32(opacity) + grey[..., None] * np.float32(1 - opacity)).astype(np.uint8)
    return mixed


@cache
def _cividis() -> Bytes:
    """Table (256, 3) of cividis."""
    from matplotlib import colormaps  # a heavy module

    table: Bytes = colormaps["cividis"](np.arange(256), bytes=True)[:, :3]
    return table


def _require(image: Bytes, mask: NDArray[Any], opacity: float) -> None:
    """Refuse shapes that do not belong together, and an opacity that is none."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be (H, W, 3) uint8; got {image.shape} {image.dtype}.")
    if np.shape(mask) != image.shape[:2]:
        raise ValueError(f"mask must have the picture's shape {image.shape[:2]}; got {np.shape(mask)}.")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be in [0, 1]; got {opacity}.")


def _object(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels that are some object: neither background nor unknown."""
    mask = np.asarray(mask)
    found: NDArray[np.bool_] = (mask > 0) & (mask != IGNORE_INDEX)
    return found


def _line_width(image: Bytes) -> int:
    """Width in pixels of a line that can be seen at the size of a screen."""
    return max(1, round(int(max(image.shape[:2])) / 300))


def _blend(result: Bytes, region: NDArray[np.bool_], colour: Colour, opacity: float, base: Bytes | None = None) -> None:
    """Mix a colour into the region of `result`, over what `base` shows there."""
    import cv2  # a heavy module

    # A grey level gives the same one everywhere, so each is worked out once.
    mixed = np.rint(np.arange(256)[:, None] * (1 - opacity) + np.array(colour) * opacity).astype(np.uint8)
    where = region.view(np.uint8)
    left, top, width, height = cv2.boundingRect(where)
    part = np.s_[top : top + height, left : left + width]
    if width:
        under = np.ascontiguousarray((result if base is None else base)[part])
        result[part] = cv2.copyTo(cv2.LUT(under, mixed[None]), where[part], np.ascontiguousarray(result[part]))


def _paint(result: Bytes, where: NDArray[np.bool_], colour: Colour) -> None:
    """Give some pixels of `result` a colour; few pixels are found faster than a picture is masked."""
    result.reshape(-1, 3)[np.flatnonzero(where)] = colour


def _stripes(region: NDArray[np.bool_], unit: int) -> NDArray[np.bool_]:
    """Diagonal stripes of the region: a quarter of it, in lines of `2 * unit` pixels along a row."""
    height, width = region.shape
    on = np.arange(height + width) % (8 * unit) < 2 * unit
    stripes: NDArray[np.bool_] = region & np.lib.stride_tricks.sliding_window_view(on, width)[:height]  # row + column
    return stripes


def _border(region: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels of the region at most `width` steps (up, down, left, right) from a pixel outside it."""
    import cv2  # a heavy module

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(region.astype(np.uint8), cross, iterations=width)  # beyond the edge counts as inside
    border: NDArray[np.bool_] = region & (inner == 0)
    return border
