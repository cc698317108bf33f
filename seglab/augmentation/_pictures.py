"""The executor for the processor: one picture at a time, in whole numbers, with OpenCV."""

import numpy as np

from seglab.augmentation._draws import Parameters
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

    def warp(array: np.ndarray, method: int) -> np.ndarray:
        flags = cv2.WARP_INVERSE_MAP | method
        return cv2.warpAffine(array, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)

    image, mask = warp(image, cv2.INTER_LINEAR), warp(mask, cv2.INTER_NEAREST)
    if parameters.blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), parameters.blur * side)
    table = parameters.colour.copy()
    table[:, 3] *= 255
    image = cv2.transform(image, table)
    if parameters.noise > 0:
        rng = np.random.Generator(np.random.PCG64(parameters.noise_seed))
        noise = rng.normal(0, parameters.noise * 255, image.shape)
        image = np.clip(image + noise, 0, 255).round().astype(np.uint8)
    if padding is not None:
        image[warp(padding, cv2.INTER_NEAREST) > 0] = PADDING_GREY
    return image, mask


def _in_pixels(matrix: np.ndarray, side: int) -> np.ndarray:
    """The matrix for pixel coordinates, whose centre is (side - 1) / 2."""
    centre = (side - 1) / 2
    linear = matrix[:, :2]
    offset = matrix[:, 2] * side + centre - linear @ np.array([centre, centre])
    return np.column_stack([linear, offset])
