"""A dataset's pictures as a model sees them that is given the files."""

from pathlib import Path

import numpy as np

from seglab.data import Dataset, Joined, PairedFolder
from seglab.data._folds import Chosen
from seglab.images import LARGE, Picture, read_image

__all__ = ["file_of", "seen"]

JPEG = b"\xff\xd8\xff"


def seen(data: Dataset, index: int, image: np.ndarray) -> np.ndarray | Picture:
    """What a predictor is to be given of a picture: of a large photo its file, which it decodes as `predict` does.

    Args:
        data: The dataset.
        index: Of the picture.
        image: Its pixels, (H, W, 3) uint8, unchanged.

    Returns:
        `image`, unless it is a photo of 4 megapixels or more that is known to come from a file as it is.

    Raises:
        ImageError: If the file cannot be read any more.

    Example:
        >>> image = np.zeros((30, 40, 3), np.uint8)
        >>> seen(PairedFolder(()), 0, image) is image
        True
    """
    path = file_of(data, index) if image.shape[0] * image.shape[1] >= LARGE else None
    if path is None:
        return image
    with path.open("rb") as file:
        is_photo = file.read(len(JPEG)) == JPEG
    return Picture(path) if is_photo else image


def file_of(data: Dataset, index: int) -> Path | None:
    """The file that `seglab.images.read_image` reads a picture from; None if it comes otherwise, or nobody knows.

    A dataset may tell by a method `file(index)`.

    Example:
        >>> file_of(Joined((), ()), 0) is None
        True
    """
    if isinstance(data, Joined):
        if not data.parts:
            return None
        part, _, within = data.locate(index)
        return file_of(part, within)
    if isinstance(data, Chosen):
        number, within = data.places[index]
        return file_of(data.parts[number], within)
    if isinstance(data, PairedFolder):
        return data.pairs[index].image if data.read_image is read_image else None
    tell = getattr(data, "file", None)
    found: Path | None = tell(index) if callable(tell) else None
    return found
