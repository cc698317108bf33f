"""A picture that is decoded no further than it is needed."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seglab.images._decode import (
    LARGEST_FILE,
    MAX_PIXELS,
    SWAPPING,
    Array,
    Rules,
    Source,
    damage,
    load,
    naming,
    opened,
    stored,
    turn_of,
    turned,
    upright,
)
from seglab.images._values import rgb_of_array, rgb_of_image

__all__ = ["Picture", "fitted"]

LARGE = 4_000_000  # pixels; smaller photos are decoded in full, as fast and to the last grey level
PARTS = (8, 4, 2)  # of a block of 8 x 8 pixels libjpeg can decode an eighth, a quarter or half of each side
SPARE = 2  # what is decoded has at least so many times the side that is asked for


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """(H, W) of a picture in a square of that side, its side ratio kept.

    Example:
        >>> fitted(30, 60, 20)
        (10, 20)
    """
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


class Picture:
    """An RGB picture, upright, that is decoded no further than it is needed.

    A large photo (a JPEG of 4 megapixels or more, grey or colour) that only goes to a network is decoded at half, a
    quarter or an eighth of its size, which takes a fifth of the time. Everything else is decoded at once.

    The checks are those of `read_image`, which gives the same pixels. A photo that is damaged behind its header is
    refused when it is decoded, with the same words.

    Args:
        source: As for `read_image`.
        what: The word for it in messages.
        max_bytes: Largest file in bytes; None is 512 MB.
        max_pixels: Largest H * W, checked before decoding.

    Raises:
        ImageError: As `read_image`.

    Attributes:
        shape: (H, W, 3), upright, known before anything is decoded.

    Example:
        >>> picture = Picture(np.zeros((30, 60, 3), np.uint8))
        >>> picture.shape, picture.pixels.shape, picture.within(20)
        ((30, 60, 3), (30, 60, 3), None)
    """

    def __init__(
        self, source: Source, *, what: str = "picture", max_bytes: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        self._rules = Rules(what, max_bytes or LARGEST_FILE, max_pixels, is_mask=False)
        self._source = source if isinstance(source, str | Path) else None  # for messages
        self._data: bytes | None = None  # of a large photo
        self._pixels: NDArray[np.uint8] | None = None
        self._small: dict[int, NDArray[np.uint8]] = {}  # by side
        with naming(self._source):
            if not isinstance(source, str | Path | bytes):
                self._keep(load(source, self._rules)[0])
                return
            data = stored(source, self._rules)
            with damage(what):
                file = opened(data, self._rules)
                if is_large_photo(file.image):
                    self._data = data
                    width, height = file.image.size
                    self.shape = (width, height, 3) if turn_of(file.image) in SWAPPING else (height, width, 3)
                else:
                    self._keep(upright(file.decoded())[0])

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Every pixel, (H, W, 3) uint8, as `read_image` gives them; not to be changed.

        Raises:
            ImageError: If a large photo is damaged or cut short.
        """
        if self._pixels is None:
            with naming(self._source), damage(self._rules.what):
                assert self._data is not None
                self._keep(upright(opened(self._data, self._rules).decoded())[0])
        assert self._pixels is not None
        return self._pixels

    def within(self, side: int) -> NDArray[np.uint8] | None:
        """A large photo as it fits into a square of that side, averaged over the area; of anything else nothing.

        It is `pixels`, shrunk, within half a grey level on average, and without a shift: a photo whose sides are no
        multiple of what libjpeg leaves out is measured by its true sides.

        Args:
            side: Of the square, in pixels.

        Returns:
            (h, w, 3) uint8 with (h, w) = fitted(H, W, side), not to be changed; None if `pixels` must be used, because
            the photo is not large, or not so much larger than the square.

        Raises:
            ImageError: If the photo is damaged or cut short.
        """
        if side not in self._small:
            part = self._data and next((one for one in PARTS if max(self.shape) >= one * SPARE * side), None)
            if not part:
                return None
            with naming(self._source), damage(self._rules.what):
                self._small[side] = self._reduced(part, side)
        return self._small[side]

    def decode(self, side: int) -> None:
        """Decode now what a square of that side needs: `within`, or `pixels` where that gives nothing.

        Raises:
            ImageError: As `within`.
        """
        if self.within(side) is None:
            self.pixels  # noqa: B018 - decodes

    def _reduced(self, part: int, side: int) -> NDArray[np.uint8]:
        """`within`, from the photo at one `part`th of its size."""
        import cv2  # a heavy module

        assert self._data is not None
        file = opened(self._data, self._rules)
        turn, (width, height) = turn_of(file.image), file.image.size
        file.image.draft(None, (width // part, height // part))
        image = file.decoded()
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # convert would copy all the same
        inner_h, inner_w = fitted(height, width, side)
        # The last row and column may stand for less than the others: the scale comes from the true size, and what
        # would lie behind it is cut off.
        across, down = inner_w * part / width, inner_h * part / height
        small = cv2.resize(pixels, None, fx=across, fy=down, interpolation=cv2.INTER_AREA)
        return np.array(turned(Image.fromarray(np.ascontiguousarray(small[:inner_h, :inner_w])), turn))

    def _keep(self, pixels: Image.Image | Array) -> None:
        """Take decoded pixels as RGB."""
        what = self._rules.what
        self._pixels = rgb_of_array(pixels, what) if isinstance(pixels, np.ndarray) else rgb_of_image(pixels, what)
        self.shape = self._pixels.shape


def is_large_photo(image: Image.Image) -> bool:
    """Whether decoding less of it is worth while, and gives the same picture: colours of CMYK cannot be averaged."""
    return image.format == "JPEG" and image.mode in ("RGB", "L") and image.width * image.height >= LARGE
