"""PNG files of masks: large areas of one value, which run lengths store in a fifth of the time."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["mask_png"]


def mask_png(values: NDArray[np.uint8]) -> bytes:
    """A mask as a grey PNG without any metadata, its values as they are; what `write_mask` writes.

    Args:
        values: (H, W) uint8, at least one pixel.

    Example:
        >>> mask_png(np.zeros((2, 3), np.uint8))[1:4]
        b'PNG'
    """
    import cv2  # a heavy module

    options = (
        (cv2.IMWRITE_PNG_COMPRESSION, 6),
        (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
    )
    done, content = cv2.imencode(".png", values, [value for pair in options for value in pair])
    if not done:
        raise OSError("the mask could not be made a PNG")
    return content.tobytes()
