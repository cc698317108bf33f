"""The one safe reader and writer of pictures and masks.

The command line, the app, the datasets and the predictor all come through here, so they accept the same files and
say the same words. A picture becomes RGB, a mask becomes class indices, and whatever is odd becomes an `ImageError`.
Pillow's process-wide switches are neither changed nor trusted: files are recognised by their first bytes, every
limit is checked here, before decoding, and a file that ends too early is always refused.
"""

import io
import os
import secrets
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from torch import Tensor

from seglab.contract import IGNORE_INDEX

MAX_PIXELS = 40_000_000  # of one picture, whatever its format
MAX_BYTES = 20 * 2**20  # of one upload to the app
LARGEST_FILE = 2**29  # the limit where nobody sets one: 40 megapixels of raw 16-bit RGBA are 320 MB
MIN_SIDE, MAX_RATIO = 16, 20

Array = NDArray[Any]
Source = str | Path | Image.Image | Array | Tensor

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


class _Rules(NamedTuple):
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


def read_image(
    source: Source, *, what: str = "picture", max_bytes: int | None = None, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """An RGB picture, upright, 8 bits per channel.

    Files: JPEG, PNG, WebP, BMP, TIFF, one frame, recognised by content. EXIF rotation is applied. 16-bit grey is
    divided by 257. Floats are read as 0 to 1 and times 255; other ranges, NaN and infinity are refused, because
    guessing a range makes black or white pictures. Transparency is laid on white. CMYK becomes RGB without a
    colour profile. A JPEG with further pictures inside (phones store them) gives its main picture.

    Args:
        source: A file, a Pillow picture, an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a tensor (3, H, W),
            (1, H, W) or (H, W). Arrays and tensors hold uint8, uint16, bool or floats in [0, 1].
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
    with _naming(source):
        pixels, _ = _load(source, _Rules(what, max_bytes or LARGEST_FILE, max_pixels, is_mask=False))
        return _rgb_of_array(pixels, what) if isinstance(pixels, np.ndarray) else _rgb_of_image(pixels, what)


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
    with _naming(source):
        rules = _Rules(what, max_bytes or LARGEST_FILE, max_pixels, is_mask=True)
        pixels, turned = _load(source, rules)
        raw = _plane(pixels, what)
        if size is not None:
            _require_size(raw.shape, tuple(size), what, turned)
        if threshold is not None:
            num_classes = 2
        return _classes(raw, values, num_classes, ignore_index, threshold, what)


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
    with _naming(source):
        pixels, _ = _load(source, _Rules(what, LARGEST_FILE, max_pixels, is_mask=True))
        return _distinct(_plane(pixels, what))


def write_mask(path: str | Path, mask: Array | Tensor, *, binary: bool | None = None) -> None:
    """Write class indices as PNG, whole or not at all; binary masks as 0 and 255, so that a viewer shows them.

    Args:
        path: A name ending in .png, in a folder that exists.
        mask: (H, W) integers in [0, 255] or bool.
        binary: True writes 1 as 255; None does so when no value is above 1. Give False for masks of several
            classes: there 255 would come back as ignored.

    Raises:
        ImageError: If the mask is empty or no such array, or the file cannot be written; the old file then stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(f"{folder}/a.png", np.array([[0, 1]]))
        ...     mask_values(f"{folder}/a.png")
        array([  0, 255])
    """
    with _naming(path):
        raw = _plane(_channels_last(mask) if isinstance(mask, Tensor) else np.asarray(mask), "mask")
        highest = 1 if binary else 255
        if raw.min() < 0 or raw.max() > highest:
            raise ImageError(f"The mask must hold values from 0 to {highest}; got {raw.min()} to {raw.max()}.")
        if binary is None:
            binary = bool(raw.max() <= 1)
        _write(Path(path), raw.astype(np.uint8) * np.uint8(255 if binary else 1))


def write_png(path: str | Path, array: Array) -> None:
    """Write a grey or colour picture as PNG, whole or not at all.

    Args:
        path: A name ending in .png, in a folder that exists.
        array: (H, W), (H, W, 3) or (H, W, 4), uint8 in [0, 255].

    Raises:
        ImageError: If the array is empty or another kind, or the file cannot be written; the old file then stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_png(f"{folder}/a.png", np.zeros((16, 16, 3), np.uint8))
        ...     read_image(f"{folder}/a.png").shape
        (16, 16, 3)
    """
    with _naming(path):
        array = np.asarray(array)
        fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
        if array.dtype != np.uint8 or not fits or not array.size:
            raise ImageError(
                f"The picture must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4); got {array.dtype} {array.shape}."
            )
        _write(Path(path), array)


def _require_keywords(num_classes: int | None, values: Mapping[int, int] | None, threshold: int | None) -> None:
    """Refuse keywords that contradict each other."""
    if num_classes is not None and not 1 <= num_classes <= IGNORE_INDEX:
        raise ValueError(f"num_classes must be from 1 to {IGNORE_INDEX}; got {num_classes}.")
    if threshold is not None and (values or (num_classes or 2) > 2):
        raise ValueError("threshold must go with a binary mask and without values; leave one of them out.")


@contextmanager
def _naming(source: object) -> Iterator[None]:
    """Put the file's own name into every ImageError that passes."""
    try:
        yield
    except ImageError as error:
        if isinstance(source, str | Path):  # control characters would break the line
            error.name = "".join(c if c.isprintable() else "?" for c in Path(source).name)
        raise


def _load(source: Source, rules: _Rules) -> tuple[Image.Image | Array, bool]:
    """The upright picture or the array, with the channels last, and whether EXIF laid it on its side."""
    if isinstance(source, Tensor):
        source = _channels_last(source)
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
        with _damage(rules.what):
            _require_one_frame(source, rules.what)
            source.load()
            return _upright(source)
    if isinstance(source, str | Path):
        data = _bytes(Path(source), rules)
        with _damage(rules.what):
            return _upright(_open(data, rules))
    raise ImageError(f"The {rules.what} must be a file, picture, array or tensor; got {type(source).__name__}.")


def _channels_last(tensor: Tensor) -> Array:
    """(C, H, W) or (H, W) tensor -> (H, W, C) or (H, W) array."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy has no bfloat16
    if tensor.ndim == 3 and tensor.shape[0] not in (1, 3):
        raise ImageError(f"A tensor must be (3, H, W), (1, H, W) or (H, W); got {tuple(tensor.shape)}.")
    array: Array = tensor.numpy()
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _bytes(path: Path, rules: _Rules) -> bytes:
    """All bytes of a regular file that is not too large."""
    what = rules.what
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "pipe or device"
            raise ImageError(f"The {what} must be a regular file; got a {kind}. Choose a picture file.")
        if not status.st_size:
            raise ImageError(f"The {what} file is empty (0 bytes).")
        if status.st_size > rules.max_bytes:
            limit, got = rules.max_bytes / 2**20, status.st_size / 2**20
            raise ImageError(f"The file is larger than {limit:.4g} MB. It has {got:.4g} MB; make it smaller.")
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            return file.read(status.st_size)
    except FileNotFoundError:
        raise ImageError(f"The {what} file does not exist. Check the name and the folder.") from None
    except OSError as error:
        raise ImageError(f"The {what} file cannot be opened: {error.strerror}.") from error


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"Not enough memory for this {what}. Make it smaller and try again.") from error
    except Exception as error:  # decoders raise anything from SyntaxError to KeyError on hostile bytes
        raise ImageError(f"The {what} file is damaged or cut short. Copy it again and retry.") from error


def _open(data: bytes, rules: _Rules) -> Image.Image:
    """The picture in the bytes, checked by its header, then decoded."""
    stream = _Strict(data)
    image = _decoder(data, rules.what, stream)
    _require_limits(*image.size, rules)
    if image.format == "PNG":
        _require_whole_png(data)
    _require_one_frame(image, rules.what)
    if rules.is_mask and len(image.getbands()) > 1 and ";16" in str(image.tile):
        raise ImageError(f"The {rules.what} must have 8 bits per channel or be grey; got 16-bit colour.")
    stream.loading = True
    image.load()
    return image


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
    advice = next((text for mark, text in _ADVICE.items() if mark in data[:256]), _HEIC)
    raise ImageError(f"The {what} is not a JPEG, PNG, WebP, BMP or TIFF picture. {advice}")


def _require_limits(width: int, height: int, rules: _Rules) -> None:
    """Refuse too many pixels, and pictures (masks follow theirs) of a strange shape."""
    what, limit = rules.what, rules.max_pixels / 1e6
    if width * height > rules.max_pixels:
        raise ImageError(
            f"The {what} is {width} × {height} = {width * height / 1e6:.10g} megapixels; the limit is {limit:.10g}. "
            "Make it smaller and try again."
        )
    short, long = sorted((width, height))
    if short < 1 or (not rules.is_mask and (short < MIN_SIDE or long > MAX_RATIO * short)):
        side = f"at least {1 if rules.is_mask else MIN_SIDE} pixels"
        raise ImageError(
            f"The {what} is {width} × {height} pixels. Each side must be {side} "
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


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture as its EXIF orientation wants it seen, and whether that swapped its sides."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # unreadable EXIF: every viewer shows the picture as stored
        orientation = 1
    turn = _TURNS.get(orientation)
    return (image, False) if turn is None else (image.transpose(turn), orientation >= 5)


def _rgb_of_image(image: Image.Image, what: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a picture in any mode of Pillow."""
    if image.mode.startswith("I;16") or image.mode == "F":
        return _rgb_of_array(np.asarray(image), what)
    if image.mode in ("I", "LAB", "HSV"):
        kind = "32-bit whole numbers" if image.mode == "I" else image.mode
        raise ImageError(f"The {what} must be grey or RGB with 8 or 16 bits, or float; got {kind}. Save it as PNG.")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(colours, mask=colours.getchannel("A"))
    return np.array(image.convert("RGB"))


def _rgb_of_array(array: Array, what: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""
    if array.dtype.kind == "f":
        low, high = array.min(), array.max()
        if not (low >= -1e-4 and high <= 1 + 1e-4):  # also false for NaN; resizing leaves 1.0000001
            raise ImageError(f"The {what} must hold floats from 0 to 1; got {low:.4g} to {high:.4g}. Scale it first.")
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:  # 65535 / 255 = 257
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype != np.uint8:
        raise ImageError(f"The {what} must be uint8, uint16, bool or float in [0, 1]; got {array.dtype}.")
    if array.ndim == 3 and array.shape[2] == 4:
        return _rgb_of_image(Image.fromarray(array), what)
    array = array if array.ndim == 3 else array[..., None]
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)), order="C")


def _plane(pixels: Image.Image | Array, what: str) -> Array:
    """(H, W) raw values of a mask, in whatever integer type holds them."""
    if isinstance(pixels, Image.Image):
        keeps = ("1", "L", "P", "I", "F", "LA", "RGB", "RGBA")
        array = np.asarray(pixels if pixels.mode in keeps or pixels.mode.startswith("I;") else pixels.convert("RGB"))
    else:
        array = pixels
    if array.ndim == 3:
        array = _grey_channel(array, what)
    if array.ndim != 2 or not array.size:
        raise ImageError(f"The {what} must be (H, W) with at least one pixel; got {array.shape}.")
    if array.dtype.kind == "f":
        if not (np.isfinite(array) & (array == np.rint(array))).all():
            raise ImageError(f"The {what} must hold whole numbers; got fractions or NaN.")
        return array.astype(np.int64)
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


def _grey_channel(array: Array, what: str) -> Array:
    """(H, W) of (H, W, C) with equal colours; the last of 2 or 4 channels is alpha."""
    colours = array[..., : 3 if array.shape[2] > 2 else 1]
    first: Array = colours[..., 0]
    coloured = (colours != first[..., None]).any(axis=2)
    if coloured.any():
        example = tuple(int(value) for value in colours[coloured][0])
        raise ImageError(
            f"The {what} must hold one number per pixel; got colours such as {example}. "
            "Save it as a palette PNG, or as grey and name the classes with values={200: 1}."
        )
    alpha = array[..., -1] if array.shape[2] in (2, 4) else first
    if (first == first[0, 0]).all() and (alpha != alpha[0, 0]).any():  # would read as all background
        raise ImageError(f"The {what} must hold its shapes in grey; got them in the transparency. Save it as grey PNG.")
    return first


def _require_size(got: tuple[int, ...], size: tuple[int, ...], what: str, turned: bool) -> None:
    """Refuse a mask that has not the size of the upright picture; (H, W) both."""
    if got == size:
        return
    upright = f"{size[1]} × {size[0]}"
    text = f"The {what} is {got[1]} × {got[0]} but the picture is {upright}. "
    if got[::-1] != size:
        raise ImageError(text + "They must be the same size.")
    if turned:
        raise ImageError(text + f"The {what} is stored sideways (EXIF). Save it upright, {upright}.")
    raise ImageError(
        text + f"If your photo is stored sideways (EXIF): the {what} must have the size of the upright picture, "
        f"{upright}."
    )


def _distinct(raw: Array) -> NDArray[np.int64]:
    """(V,) values that occur, ascending."""
    if raw.dtype == np.uint8:  # sorting 40 megapixels would take seconds
        return np.flatnonzero(Image.fromarray(np.ascontiguousarray(raw)).histogram())
    return np.unique(raw).astype(np.int64)


def _classes(
    raw: Array,
    values: Mapping[int, int] | None,
    num_classes: int | None,
    ignore_index: int | None,
    threshold: int | None,
    what: str,
) -> NDArray[np.uint8]:
    """(H, W) uint8 class indices of raw values; `read_mask` says the rules."""
    known = {ignore_index} - {None}
    if values:
        mapped = raw.copy() if raw.dtype.itemsize > 1 else raw.astype(np.int16)
        for value, index in values.items():
            mapped[raw == value] = index
        raw = mapped
    elif num_classes is not None and num_classes <= 2:
        raw = _binary(raw, known, threshold, what)
    present = {int(value) for value in _distinct(raw)}
    limit = 256 if num_classes is None else max(num_classes, 2)
    bad = sorted(value for value in present - known if not 0 <= value < limit)
    if bad:
        raise ImageError(_wrong_values(what, limit, present, bad, ignore_index))
    return raw.astype(np.uint8)


def _binary(raw: Array, known: Iterable[int | None], threshold: int | None, what: str) -> Array:
    """Raw values of a binary mask with the object as 1, where that is certain."""
    present = {int(value) for value in _distinct(raw)}
    if 255 in present and present <= {0, 255, *known}:
        return np.where(raw == 255, 1, raw)
    if threshold is None or present <= {0, 1, *known}:
        return raw
    if max(present) < threshold:  # the usual cause is a mask of class indices, not an empty one
        raise ImageError(f"The {what} must hold values of {threshold} or above; got {_listed(present)}.")
    return raw >= threshold


def _wrong_values(what: str, limit: int, present: set[int], bad: list[int], ignore_index: int | None) -> str:
    """The sentence for values that are no class."""
    ignored = "" if ignore_index is None or limit > ignore_index else f", or {ignore_index}"
    text = f"The {what} must hold class indices below {limit}{ignored}; got {_listed(present)}. "
    if limit == 2 and len(bad) == 1:
        return text + f"Map {bad[0]} to 1 with values={{{bad[0]}: 1}}."
    if limit == 2:
        return text + "Is it a JPEG or a smoothed mask? Save it as PNG with two values, or pass threshold=128."
    return text + f"Map each other value to a class, for example values={{{bad[0]}: 1}}."


def _listed(present: Iterable[int]) -> str:
    """At most six values, in words."""
    words = [str(value) for value in sorted(present)]
    if len(words) > 6:
        return f"{', '.join(words[:5])} and {len(words) - 5} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _write(path: Path, array: NDArray[np.uint8]) -> None:
    """Write a PNG to a temporary file in the same folder, then give it its name."""
    if path.suffix.lower() != ".png":
        raise ImageError(f"The file name must end in .png; got {path.suffix!r}.")
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            Image.fromarray(np.ascontiguousarray(array)).save(file, format="PNG")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise ImageError(f"The file cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
