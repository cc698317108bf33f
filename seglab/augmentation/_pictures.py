"""The executor for the processor: one picture at a time, in whole numbers, with OpenCV."""

import math

import numpy as np

from seglab.augmentation._draws import Parameters
from seglab.augmentation._noise import grey_noise
from seglab.contract import PADDING_GREY

__all__ = ["apply"]


def apply(
    image: np.ndarray, mask: np.ndarray, parameters: Parameters, padding: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Augmented copy of a square picture and its mask.

    Outside the picture, both are mirrored, so no border appears that the mask would have to explain.

    Args:
        image: (S, S, 3) uint8.
        mask: (S, S) uint8, class indices or IGNORE_INDEX.
        parameters: From `draw`.
        padding: (S, S) uint8, above 0 on the letterbox's grey, which stays as grey as it is at inference; None if
            there is none. Not taken from the mask: pixels of unknown class are picture, and painting them grey would
            show the model where they lie.

    Returns:
        Image (S, S, 3) uint8 with bilinear, mask (S, S) uint8 with nearest interpolation.

    Raises:
        ValueError: If the picture is not square or the mask has another size.

    Example:
        >>> image, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
        >>> from seglab.augmentation import draw
        >>> [array.shape for array in apply(image, mask, draw(0, 0, 0))]
        [(8, 8, 3), (8, 8)]
    """
    import cv2  # a heavy module, and only training needs it

    side = image.shape[0]
    if image.shape != (side, side, 3) or mask.shape != (side, side):
        raise ValueError(f"image must be (S, S, 3) with mask (S, S); got {image.shape} and {mask.shape}.")
    matrix = _in_pixels(parameters.matrix, side)
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST
    mask = cv2.warpAffine(mask, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    image = _warp(image, matrix)
    if parameters.blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), parameters.blur * side)
    table = parameters.colour.copy()
    table[:, 3] *= 255
    image = cv2.transform(image, table)
    if parameters.noise > 0:
        image = cv2.add(image, grey_noise(parameters, image.shape), dtype=cv2.CV_8U)
    if padding is not None:
        padding = cv2.warpAffine(padding, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        image[padding > 0] = PADDING_GREY
    return image, mask


def _warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(S, S, 3) read bilinearly at the matrix's places, mirrored outside.

    With four channels, and the mirror made before instead of for every pixel, OpenCV takes half the time.
    """
    import cv2

    side, flags = image.shape[0], cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    (left, right), (top, bottom) = (_beyond(row, side) for row in matrix.tolist())
    if max(left, right, top, bottom) > side:  # nothing that is drawn; a mirror of any size would need any memory
        return cv2.warpAffine(image, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    image = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REFLECT_101)
    image = cv2.warpAffine(image, matrix + [[0, 0, left], [0, 0, top]], (side, side), flags=flags)
    return cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)


def _beyond(row: list[float], side: int) -> tuple[int, int]:
    """Pixels before the first and after the last one of an axis that a row of the matrix reads, one to spare."""
    ends = [factor * (side - 1) for factor in row[:2]]
    low, high = (row[2] + sum(pick(0.0, end) for end in ends) for pick in (min, max))
    return max(0, math.ceil(-low) + 1), max(0, math.ceil(high - side + 1) + 1)


def _in_pixels(matrix: np.ndarray, side: int) -> np.ndarray:
    """The matrix for pixel coordinates, whose centre is (side - 1) / 2."""
    centre = (side - 1) / 2
    linear = matrix[:, :2]
    offset = matrix[:, 2] * side + centre - linear @ np.array([centre, centre])
    return np.concatenate([linear, offset[:, None]], axis=1)
