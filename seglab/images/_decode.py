"""From any source to an upright, fully decoded picture within the limits, or one `ImageError`."""

import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from torch import Tensor

MAX_PIXELS = 40_000_000  # of one picture, whatever its format
MAX_BYTES = 20 * 2**20  # of one upload to the app
LARGEST_FILE = 2**29  # the limit where nobody sets one: 40 megapixels of raw 16-bit RGBA are 320 MB
MIN_SIDE, MAX_RATIO = 16, 20

Array = NDArray[Any]
Source = str | Path | bytes | Image.Image | Array | Tensor

_HEIC = "iPhone HEIC photos: share them as JPEG."
_ADVICE = {  # what people upload instead of a picture, found in the first bytes
    b"GIF8": "GIF files: save one frame as PNG.",
    b"ftypavif": "AVIF files: save them as PNG or JPEG.",
    b"<svg": "SVG drawings: export them as PNG.",
    b"%PDF": "PDF files: export the page as PNG.",
    b"%!PS": "PostScript files: export the page as PNG.",
    b"git-lfs": "This is a Git LFS pointer: run git lfs pull.",
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPPING = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}  # height and width


class ImageError(ValueError):
    """A picture or mask that cannot be read or written, in one line.

    Attributes:
        message: The sentence without the file, for a place that shows the file anyway (the app).
        name: The file's own name, without its folder; empty where there is no file.

    Example:
        >>> str(ImageError("The picture file is empty (0 bytes).", "a.png"))
        'a.png: The picture file is empty (0 bytes).'
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.name = name

    def __str__(self) -> str:
        subject, must, rest = self.message.partition(" must ")
        if not self.name:
            return self.message
        if must and subject.startswith("The ") and "." not in subject:  # the name goes where the rule is
            return f"{subject.removeprefix('The ')} {self.name} must {rest}"
        return f"{self.name}: {self.message}"


class Rules(NamedTuple):
    """What one reading allows."""

    what: str
    max_bytes: int
    max_pixels: int
    is_mask: bool


class _Strict(io.BytesIO):
    """Bytes that raise at their end, so no global switch can let a cut file pass."""

    loading = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if self.loading and not data and size:
            raise OSError("the file is cut short")
        return data


@contextmanager
def naming(source: object) -> Iterator[None]:
    """Put the file's own name into every ImageError that passes."""
    try:
        yield
    except ImageError as error:
        if isinstance(source, str | Path):  # control characters would break the line
            error.name = "".join(c if c.isprintable() else "?" for c in Path(source).name)
        raise


def load(source: Source, rules: Rules) -> tuple[Image.Image | Array, bool]:
    """The upright picture or the array, with the channels last, and whether EXIF laid it on its side."""
    if isinstance(source, Tensor):
        source = channels_last(source)
    if isinstance(source, np.ndarray):
        if source.ndim not in (2, 3) or (source.ndim == 3 and source.shape[2] not in (1, 3, 4)):
            raise ImageError(
                f"The {rules.what} must be an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
                f"or a tensor (3, H, W), (1, H, W) or (H, W); got {source.shape}."
            )
        _require_limits(source.shape[1], source.shape[0], rules)
        return source, False
    if isinstance(source, Image.Image):
        _require_limits(*source.size, rules)
        with damage(rules.what):
            _require_one_frame(source, rules.what)
            source.load()
            return upright(source)
    if isinstance(source, str | Path | bytes):
        data = stored(source, rules)
        with damage(rules.what):
            return upright(opened(data, rules).decoded())
    raise ImageError(f"The {rules.what} must be a file, picture, array or tensor; got {type(source).__name__}.")


def channels_last(tensor: Tensor) -> Array:
    """(C, H, W) or (H, W) tensor -> (H, W, C) or (H, W) array."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy has no bfloat16
    if tensor.ndim == 3 and tensor.shape[0] not in (1, 3):
        raise ImageError(f"A tensor must be (3, H, W), (1, H, W) or (H, W); got {tuple(tensor.shape)}.")
    array: Array = tensor.numpy()
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def stored(source: str | Path | bytes, rules: Rules) -> bytes:
    """All bytes of a file that is neither empty nor too large."""
    if not isinstance(source, bytes):
        return _bytes(Path(source), rules)
    _require_bytes(len(source), rules)
    return source


def _bytes(path: Path, rules: Rules) -> bytes:
    """All bytes of a regular file that is not too large."""
    what = rules.what
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "pipe or device"
            raise ImageError(f"The {what} must be a regular file; got a {kind}. Choose a picture file.")
        _require_bytes(status.st_size, rules)
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            return file.read(status.st_size)
    except FileNotFoundError:
        raise ImageError(f"The {what} file does not exist. Check the name and the folder.") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"The {what} file cannot be opened: {reason}.") from error


def _require_bytes(count: int, rules: Rules) -> None:
    """Refuse an empty file and one that is too large."""
    if not count:
        raise ImageError(f"The {rules.what} file is empty (0 bytes).")
    if count > rules.max_bytes:
        limit, got = rules.max_bytes / 2**20, count / 2**20
        raise ImageError(f"The file is larger than {limit:.4g} MB. It has {got:.4g} MB; make it smaller.")


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"Not enough memory for this {what}. Make it smaller and try again.") from error
    except Exception as error:  # decoders raise anything from SyntaxError to KeyError on hostile bytes
        raise ImageError(f"The {what} file is damaged or cut short. Copy it again and retry.") from error


class Opened(NamedTuple):
    """A picture whose header has passed every check, and whose pixels have not been decoded."""

    image: ImageFile.ImageFile
    stream: _Strict

    def decoded(self) -> Image.Image:
        """The picture, decoded to its end."""
        self.stream.loading = True
        self.image.load()
        return self.image


def opened(data: bytes, rules: Rules) -> Opened:
    """The picture in the bytes, checked by its header."""
    stream = _Strict(data)
    image = _decoder(data, rules.what, stream)
    _require_limits(*image.size, rules)
    if image.format == "PNG":
        _require_whole_png(data)
    _require_one_frame(image, rules.what)
    if rules.is_mask and len(image.getbands()) > 1 and ";16" in str(image.tile):
        raise ImageError(f"The {rules.what} must have 8 bits per channel or be grey; got 16-bit colour.")
    return Opened(image, stream)


def _decoder(data: bytes, what: str, stream: io.BytesIO) -> ImageFile.ImageFile:
    """Pillow's own class for the format. Image.open would apply the switches and plugins of other libraries."""
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    signatures = (
        (PngImagePlugin.PngImageFile, (b"\x89PNG\r\n\x1a\n",)),
        (JpegImagePlugin.JpegImageFile, (b"\xff\xd8\xff",)),
        (BmpImagePlugin.BmpImageFile, (b"BM",)),
        (TiffImagePlugin.TiffImageFile, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    )
    for opener, starts in signatures:
        if data.startswith(starts):
            return opener(stream)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile(stream)
    advice = next((text for mark, text in _ADVICE.items() if mark in data[:1024]), _HEIC)
    raise ImageError(f"The {what} is not a JPEG, PNG, WebP, BMP or TIFF picture. {advice}")


def _require_limits(width: int, height: int, rules: Rules) -> None:
    """Refuse too many pixels, and pictures (masks follow theirs) of a strange shape."""
    what, limit = rules.what, rules.max_pixels / 1e6
    if width * height > rules.max_pixels:
        raise ImageError(
            f"The {what} is {width} × {height} = {width * height / 1e6:.10g} megapixels; the limit is {limit:.10g}. "
            "Make it smaller and try again."
        )
    short, long = sorted((width, height))
    if rules.is_mask and short < 1:
        raise ImageError(f"The {what} must have at least one pixel; got {width} × {height}.")
    if not rules.is_mask and (short < MIN_SIDE or long > MAX_RATIO * short):
        raise ImageError(
            f"The {what} is {width} × {height} pixels. Each side must be at least {MIN_SIDE} pixels "
            f"and the long side at most {MAX_RATIO} times the short one."
        )


def _require_one_frame(image: Image.Image, what: str) -> None:
    """Refuse animations and pages; which one was meant is not ours to guess."""
    count = 1
    if image.format == "TIFF":  # the file has no count, and a hostile one has a million pages
        with suppress(EOFError):
            while getattr(image, "is_animated", False) and count < 1000:
                image.seek(count)
                count += 1
    else:
        count = getattr(image, "n_frames", 1)
    if count > 1:
        raise ImageError(f"The {what} has {count} frames or pages. Save one of them as PNG or JPEG.")


def _require_whole_png(data: bytes) -> None:
    """Refuse a PNG with a wrong checksum or without its end; Pillow draws the rest black."""
    view, at = memoryview(data), 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(view[at + 4 : at + 8 + length]) != checksum:
            raise OSError(f"wrong checksum in {kind!r}")
        if kind == b"IEND":
            return
        at += 12 + length


def upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture as its EXIF orientation wants it seen, and whether that swapped its sides."""
    turn = turn_of(image)
    return turned(image, turn), turn in SWAPPING


def turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """The picture, turned by what `turn_of` gave."""
    return image if turn is None else image.transpose(turn)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """How a picture must be turned to be seen as its EXIF orientation wants it; None: not at all."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # unreadable EXIF: every viewer shows the picture as stored
        orientation = 1
    return _TURNS.get(orientation)
