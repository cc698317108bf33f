"""What the numbers of a decoded picture or mask mean: RGB, or class indices."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seglab.images._decode import Array, ImageError


def rgb_of_image(image: Image.Image, what: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a picture in any mode of Pillow."""
    if image.mode.startswith("I;16") or image.mode == "F":
        return rgb_of_array(np.asarray(image), what)
    if image.mode in ("I", "LAB", "HSV"):
        kind = "32-bit whole numbers" if image.mode == "I" else image.mode
        raise ImageError(f"The {what} must be grey or RGB with 8 or 16 bits, or float; got {kind}. Save it as PNG.")
    if image.has_transparency_data:
        colours = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(colours, mask=colours.getchannel("A"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))  # convert would copy


def rgb_of_array(array: Array, what: str) -> NDArray[np.uint8]:
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
        return rgb_of_image(Image.fromarray(array), what)
    array = array if array.ndim == 3 else array[..., None]
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)), order="C")


def plane(pixels: Image.Image | Array, what: str) -> Array:
    """(H, W) raw values of a mask, in whatever integer type holds them."""
    if isinstance(pixels, Image.Image):
        keeps = ("1", "L", "P", "I", "F", "LA", "RGB", "RGBA")
        array = np.asarray(pixels if pixels.mode in keeps or pixels.mode.startswith("I;") else pixels.convert("RGB"))
    else:
        array = pixels
    if array.dtype.kind not in "biuf":
        raise ImageError(f"The {what} must hold whole numbers; got {array.dtype}.")
    if array.dtype.kind == "f":
        if not (np.isfinite(array) & (array == np.rint(array))).all():
            raise ImageError(f"The {what} must hold whole numbers; got fractions or NaN.")
        array = array.astype(np.int64)
    if array.ndim == 3:
        array = _grey_channel(array, what)
    if array.ndim != 2 or not array.size:
        raise ImageError(f"The {what} must be (H, W) with at least one pixel; got {array.shape}.")
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


def require_size(got: tuple[int, ...], size: tuple[int, ...], what: str, turned: bool) -> None:
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


def distinct(raw: Array) -> NDArray[np.int64]:
    """(V,) values that occur, ascending."""
    if raw.dtype == np.uint8:  # sorting 40 megapixels would take seconds
        return np.flatnonzero(Image.fromarray(np.ascontiguousarray(raw)).histogram())
    return np.unique(raw).astype(np.int64)


def classes(
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
    present = {int(value) for value in distinct(raw)}
    limit = 256 if num_classes is None else max(num_classes, 2)
    bad = sorted(value for value in present - known if not 0 <= value < limit)
    if bad:
        raise ImageError(_wrong_values(what, limit, present, bad, ignore_index))
    return raw.astype(np.uint8)


def _binary(raw: Array, known: Iterable[int | None], threshold: int | None, what: str) -> Array:
    """Raw values of a binary mask with the object as 1, where that is certain."""
    present = {int(value) for value in distinct(raw)}
    if 255 in present and present <= {0, 255, *known}:
        return np.where(raw == 255, 1, raw)
    if threshold is None or present <= {0, 1, *known}:
        return raw
    if max(present) < threshold:  # the usual cause is a mask of class indices, not an empty one
        raise ImageError(f"The {what} must hold values of {threshold} or above; got {_listed(present)}.")
    return (raw >= threshold).astype(np.uint8)


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
