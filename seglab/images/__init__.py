"""The one safe reader and writer of pictures and masks.

The command line, the app, the datasets and the predictor all come through here, so they accept the same files and
say the same words. A picture becomes RGB, a mask becomes class indices, and whatever is odd becomes an `ImageError`.
Pillow's process-wide switches are neither changed nor trusted: files are recognised by their first bytes, every
limit is checked here, before decoding, and a file that ends too early is always refused.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from seglab.contract import IGNORE_INDEX
from seglab.files import atomic
from seglab.images._decode import (
    LARGEST_FILE,
    MAX_BYTES,
    MAX_PIXELS,
    Array,
    ImageError,
    Rules,
    Source,
    channels_last,
    load,
    naming,
)
from seglab.images._picture import LARGE, Picture, fitted
from seglab.images._png import mask_png, packed, picture_png
from seglab.images._values import classes, distinct, plane, require_size

__all__ = [
    "LARGE",
    "MAX_BYTES",
    "MAX_PIXELS",
    "ImageError",
    "Picture",
    "Source",
    "fitted",
    "mask_png",
    "mask_values",
    "packed",
    "picture_png",
    "read_image",
    "read_mask",
    "write_mask",
    "write_png",
]


def read_image(
    source: Source, *, what: str = "picture", max_bytes: int | None = None, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """An RGB picture, upright, 8 bits per channel.

    Files: JPEG, PNG, WebP, BMP, TIFF, one frame, recognised by content. EXIF rotation is applied. 16-bit grey is
    divided by 257. Floats are read as 0 to 1 and times 255; other ranges, NaN and infinity are refused, because
    guessing a range makes black or white pictures. Transparency is laid on white. CMYK becomes RGB without a
    colour profile. A JPEG with further pictures inside (phones store them) gives its main picture.

    Args:
        source: A file or its bytes, a Pillow picture, an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a
            tensor (3, H, W), (1, H, W) or (H, W). Arrays and tensors hold uint8, uint16, bool or floats in [0, 1].
        what: The word for it in messages.
        max_bytes: Largest file in bytes; None is 512 MB.
        max_pixels: Largest H * W, checked before decoding.

    Returns:
        (H, W, 3) uint8 in [0, 255], a new array. Never empty: each side has at least 16 pixels, and the long one
        at most 20 times the short one.

    Raises:
        ImageError: If the source is anything else, too large, empty, damaged, cut short or not a regular file.

    Example:
        >>> read_image(np.full((16, 16), 257, np.uint16))[0, 0]
        array([1, 1, 1], dtype=uint8)
    """
    return Picture(source, what=what, max_bytes=max_bytes, max_pixels=max_pixels).pixels


def read_mask(  # noqa: PLR0913 - each keyword answers one question about the mask
    source: Source,
    *,
    what: str = "mask",
    num_classes: int | None = None,
    values: Mapping[int, int] | None = None,
    size: tuple[int, int] | None = None,
    ignore_index: int | None = IGNORE_INDEX,
    threshold: int | None = None,
    max_bytes: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Class index of every pixel of a mask, upright, never resized.

    A palette mask gives its indices, a 1-bit mask 0 and 1, a colour mask with equal channels that channel; alpha is
    not looked at. The two usual binary spellings are both right: without a 1 in the mask, 255 is the object and
    becomes 1 ({0, 255}, {255}); beside a 1, 255 is ignored ({0, 1, 255}). Other values are refused, not guessed.

    Args:
        source: As for `read_image`, and integer arrays or tensors of class indices.
        what: The word for it in messages.
        num_classes: Classes with the background; 1 and 2 are binary. None returns the raw values.
        values: Raw value to class, for example {200: 1}; the others stay, and 255 is then never an object.
        size: (H, W) of the upright picture; another size is refused.
        ignore_index: Value of pixels whose class is unknown; None if there is no such value.
        threshold: For binary masks: other grey values count as object from this value up (128 is usual).
        max_bytes: Largest file in bytes; None is 512 MB.
        max_pixels: Largest H * W, checked before decoding.

    Returns:
        (H, W) uint8, a new array: below max(num_classes, 2), or `ignore_index`. A mask of only 0 is right.

    Raises:
        ImageError: If the file cannot be read, the size differs, or a value is no class.
        ValueError: If the keywords contradict each other.

    Example:
        >>> read_mask(np.array([[0, 255]], np.uint8), num_classes=2)
        array([[0, 1]], dtype=uint8)
        >>> read_mask(np.array([[0, 200]], np.uint8), num_classes=2, values={200: 1})
        array([[0, 1]], dtype=uint8)
    """
    _require_keywords(num_classes, values, threshold)
    with naming(source):
        rules = Rules(what, max_bytes or LARGEST_FILE, max_pixels, is_mask=True)
        pixels, turned = load(source, rules)
        raw = plane(pixels, what)
        if size is not None:
            require_size(raw.shape, tuple(size), what, turned)
        if threshold is not None:
            num_classes = 2
        return classes(raw, values, num_classes, ignore_index, threshold, what)


def mask_values(source: Source, *, what: str = "mask", max_pixels: int = MAX_PIXELS) -> NDArray[np.int64]:
    """Distinct raw values of a mask, ascending, to see what a mask file really holds.

    Args:
        source: As for `read_mask`.
        what: The word for it in messages.
        max_pixels: Largest H * W, checked before decoding.

    Returns:
        (V,) int64, at least one value; 16-bit masks may hold values above 255.

    Raises:
        ImageError: As `read_mask`.

    Example:
        >>> mask_values(np.array([[7, 0, 7]], np.uint8))
        array([0, 7])
    """
    with naming(source):
        pixels, _ = load(source, Rules(what, LARGEST_FILE, max_pixels, is_mask=True))
        return distinct(plane(pixels, what))


def write_mask(path: str | Path, mask: Array | Tensor, *, binary: bool | None = None) -> None:
    """Write class indices as PNG, whole or not at all; binary masks as 0 and 255, so that a viewer shows them.

    Args:
        path: A name ending in .png, in a folder that exists.
        mask: (H, W) integers in [0, 255] or bool.
        binary: True writes 1 as 255; None does so when no value is above 1. Give False for masks of several
            classes: there 255 would come back as ignored.

    Raises:
        ImageError: If the mask is empty or no such array.
        OSError: If the file cannot be written; the old file then stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(f"{folder}/a.png", np.array([[0, 1]]))
        ...     mask_values(f"{folder}/a.png")
        array([  0, 255])
    """
    with naming(path):
        raw = plane(channels_last(mask) if isinstance(mask, Tensor) else np.asarray(mask), "mask")
        highest = 1 if binary else 255
        if raw.min() < 0 or raw.max() > highest:
            raise ImageError(f"The mask must hold values from 0 to {highest}; got {raw.min()} to {raw.max()}.")
        if binary is None:
            binary = bool(raw.max() <= 1)
        values = raw.astype(np.uint8)
        _write(Path(path), lambda: mask_png(values * np.uint8(255) if binary else values))


def write_png(path: str | Path, array: Array) -> None:
    """Write a grey or colour picture as PNG, whole or not at all.

    Args:
        path: A name ending in .png, in a folder that exists.
        array: (H, W), (H, W, 3) or (H, W, 4), uint8 in [0, 255].

    Raises:
        ImageError: If the array is empty or another kind, or the name does not end in .png.
        OSError: If the file cannot be written; the old file then stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_png(f"{folder}/a.png", np.zeros((16, 16, 3), np.uint8))
        ...     read_image(f"{folder}/a.png").shape
        (16, 16, 3)
    """
    with naming(path):
        array = np.asarray(array)
        fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
        if array.dtype != np.uint8 or not fits or not array.size:
            raise ImageError(
                f"The picture must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4); got {array.dtype} {array.shape}."
            )
        _write(Path(path), lambda: _png(array))


def _require_keywords(num_classes: int | None, values: Mapping[int, int] | None, threshold: int | None) -> None:
    """Refuse keywords that contradict each other."""
    if num_classes is not None and not 1 <= num_classes <= IGNORE_INDEX:
        raise ValueError(f"num_classes must be from 1 to {IGNORE_INDEX}; got {num_classes}.")
    if any(not 0 <= index <= 255 for index in (values or {}).values()):
        raise ValueError(f"values must map to class indices from 0 to 255; got {values}.")
    if threshold is not None and (values or (num_classes or 2) > 2):
        raise ValueError("threshold must go with a binary mask and without values; leave one of them out.")


def _png(array: NDArray[np.uint8]) -> bytes:
    """A picture as PNG bytes."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(content, format="PNG")
    return content.getvalue()


def _write(path: Path, encode: Callable[[], bytes]) -> None:
    """Write a PNG to a temporary file in the same folder, then give it its name."""
    if path.suffix.lower() != ".png":
        raise ImageError(f"The file name must end in .png; got {path.suffix!r}.")
    with atomic(path) as file:
        file.write(encode())
