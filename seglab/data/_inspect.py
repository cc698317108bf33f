"""A look at one picture with its mask: what the files hold, and the small copies that the whole set is compared by."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seglab.contract import IGNORE_INDEX
from seglab.data import Pair, PairedFolder
from seglab.data._findings import Finding
from seglab.images import ImageError, read_image, read_mask

__all__ = ["LOOK", "THUMB", "Look", "inspect", "orientation_of", "rewrite"]

THUMB = 128  # side of the grey copies by which pictures are compared
LOOK = 48  # side of the copies by which inside and outside are compared
LARGE, FULL = 0.85, 0.9  # shares of object pixels above which a mask is noted, and above which it is suspicious
TINY = 5e-5  # share below which an object is a slip of the pen; 13 pixels of 512 x 512
SMEAR = 48  # grey values this near to black or white count as smeared black or white


@dataclass
class Look:
    """What one pair showed.

    Args:
        pair: The files.
        findings: What is wrong with them.
        style: How the mask spells its object: "01", "0255", "index" or "odd"; empty if it could not be read.
        shape: (H, W) of the picture.
        share: Share of object pixels, NaN if unknown.
        pixels: Object pixels.
        repairs: How `fix` makes the mask right without a doubt: the kinds of findings it settles.
        digest: Hash of the picture's pixels.
        grey: (THUMB, THUMB) uint8.
        colour: (LOOK, LOOK, 3) uint8.
        inside: (LOOK, LOOK) uint8, 255 where all is object.
    """

    pair: Pair
    findings: list[Finding] = field(default_factory=list)
    style: str = ""
    shape: tuple[int, int] = (0, 0)
    share: float = float("nan")
    pixels: int = 0
    repairs: list[str] = field(default_factory=list)
    digest: str = ""
    grey: NDArray[Any] | None = None
    colour: NDArray[Any] | None = None
    inside: NDArray[Any] | None = None

    def add(self, kind: str, severity: str, message: str, remedy: str = "") -> None:
        """Note a finding about this pair."""
        name = self.pair.image.name if kind == "unreadable_picture" else self.pair.mask.name
        self.findings.append(Finding(kind, severity, name, message, remedy))  # type: ignore[arg-type]


class _Values(NamedTuple):
    """The raw values of a mask and how many pixels hold each."""

    present: list[int]
    counts: NDArray[np.int64]  # (256,)


def inspect(pair: Pair, num_classes: int, data: PairedFolder | None = None) -> Look:
    """Read a pair and note all that is wrong with it.

    Args:
        pair: The files.
        num_classes: Classes with the background; 2 is binary.
        data: Dataset whose own mask reader is used, for layouts other than `folder`.

    Returns:
        A Look; its findings are empty if all is well.
    """
    look = Look(pair)
    try:
        image = read_image(pair.image)
        look.shape = image.shape[:2]
        _keep_small(look, image)
    except ImageError as error:
        look.add("unreadable_picture", "error", f"cannot be read: {error.message}", "Copy it again, or take it out.")
    inside = _read_other(look, data, num_classes) if data is not None else _read_raw(look, num_classes)
    if inside is None:
        return look
    look.pixels, look.share = int(inside.sum()), float(inside.mean())
    _judge_area(look)
    if look.grey is not None:
        import cv2

        look.inside = cv2.resize(inside.astype(np.uint8) * 255, (LOOK, LOOK), interpolation=cv2.INTER_AREA)
    return look


def _keep_small(look: Look, image: NDArray[np.uint8]) -> None:
    """Hash and small copies of a picture."""
    import cv2

    look.digest = hashlib.sha1(np.ascontiguousarray(image).data, usedforsecurity=False).hexdigest() + str(image.shape)
    small = cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    look.grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    look.colour = cv2.resize(small, (LOOK, LOOK), interpolation=cv2.INTER_AREA)


def _read_other(look: Look, data: PairedFolder, num_classes: int) -> NDArray[Any] | None:
    """Object pixels by the reader of the layout."""
    try:
        mask = data.read_mask(look.pair.mask, look.shape, num_classes)
    except (ImageError, ValueError, OSError) as error:
        look.add("unreadable_mask", "error", f"cannot be read: {error}", "Repair it, or take the picture out.")
        return None
    look.style = "index"
    return np.asarray((mask != 0) & (mask != IGNORE_INDEX))


def _read_raw(look: Look, num_classes: int) -> NDArray[Any] | None:
    """Object pixels of an index or 0/255 mask; notes what is odd about the file."""
    try:
        raw = read_mask(look.pair.mask)
    except ImageError as error:
        kind = "colour_mask" if "got colours" in error.message else "unreadable_mask"
        look.add(kind, "error", f"cannot be read: {error.message}")
        return None
    _judge_file(look, raw)
    _judge_size(look, raw.shape)
    counts = np.bincount(raw.ravel(), minlength=256)
    return _judge_values(look, raw, _Values(np.flatnonzero(counts).tolist(), counts), num_classes)


def _judge_file(look: Look, raw: NDArray[np.uint8]) -> None:
    """Palette and colour files are read well, but other programs may not do so."""
    with Image.open(look.pair.mask) as image:  # read_mask has read it, so it is a picture of harmless size
        mode, bands = image.mode, len(image.getbands())
    if mode == "P":
        values = sorted({int(value) for value in np.unique(raw)})
        look.add("palette_mask", "note", f"is a palette picture; its indices {_few(values)} are read, not its colours.")
    elif bands >= 3:
        look.add("rgb_mask", "note", f"is stored as {mode} with equal channels; one of them is read.")
        look.repairs.append("rgb_mask")


def _judge_size(look: Look, size: tuple[int, ...]) -> None:
    """The mask must have the size of the upright picture."""
    if look.shape in ((0, 0), size):
        return
    (h, w), (mask_h, mask_w) = look.shape, size
    got = f"is {mask_w} x {mask_h} pixels but the picture is {w} x {h}"
    turn = orientation_of(look.pair.image)
    if (mask_w, mask_h) == (h, w) and turn != 1:
        message = f"{got}: the picture is stored sideways (EXIF orientation {turn}) and the mask fits the stored one."
        look.add("exif_mismatch", "error", message, "Turn the mask as the picture; --fix does it.")
        look.repairs.append("exif_mismatch")
        return
    look.add("size_mismatch", "error", f"{got}.", "Make the mask again at the picture's size; do not stretch it.")


def orientation_of(path: Path) -> int:
    """EXIF orientation of a picture file that can be read, 1 to 8; 1 is upright, and so is a file that does not say."""
    try:
        with Image.open(path) as image:
            return int(image.getexif().get(0x0112, 1))
    except Exception:  # broken EXIF blocks raise whatever they like; viewers then show the picture as stored
        return 1


def _judge_values(look: Look, raw: NDArray[np.uint8], values: _Values, num_classes: int) -> NDArray[Any] | None:
    """Object pixels, if the values have a meaning."""
    present = set(values.present)
    if present <= {*range(num_classes), IGNORE_INDEX} and not (
        num_classes == 2 and 1 not in present and 255 in present
    ):
        look.style = "01" if num_classes == 2 and 1 in present else "index"
        return np.asarray((raw != 0) & (raw != IGNORE_INDEX))
    if num_classes > 2:
        wrong = sorted(present - {*range(num_classes), IGNORE_INDEX})
        said = f"must hold class indices below {num_classes}, or 255; got also {_few(wrong)}."
        look.add("wrong_values", "error", said, "Name more classes in classes.txt, or map the values.")
        return None
    if present <= {0, 255}:
        look.style = "0255"
        return np.asarray(raw == 255)
    look.style = "odd"
    return _judge_odd(look, raw, values)


def _judge_odd(look: Look, raw: NDArray[np.uint8], values: _Values) -> NDArray[Any] | None:
    """A binary mask with other values than 0, 1 and 255: smeared, another number for the object, or nonsense."""
    between = values.counts[SMEAR : 256 - SMEAR].sum() / raw.size
    high = values.counts[256 - SMEAR :].sum() > 0
    if len(values.present) > 2 and between <= 0.1 and high and values.counts[:SMEAR].sum():
        how = "as JPEG makes them" if look.pair.mask.suffix.lower() in (".jpg", ".jpeg") else "as smoothing makes them"
        message = f"holds {len(values.present)} grey values around 0 and 255, {how}; {between:.1%} lie between."
        look.add("smeared_mask", "error", message, "Save it as PNG cut at 128; --fix does it.")
        look.repairs.append("smeared_mask")
        return np.asarray(raw >= 128)
    if len(values.present) == 2 and values.present[0] == 0:
        value = values.present[1]
        message = f"must hold 0 and 1, or 0 and 255; got 0 and {value}."
        look.add("wrong_values", "error", message, f"Map {value} to 1; --fix does it.")
        look.repairs.append("wrong_values")
        return np.asarray(raw > 0)
    wrong = sorted(set(values.present) - {0, 1, 255})
    message = f"must hold class indices below 2, or 255; got also {_few(wrong)}."
    look.add("wrong_values", "error", message, "Name the classes in classes.txt, or draw the mask again.")
    return None


def _judge_area(look: Look) -> None:
    """Nearly full masks and specks; empty ones are judged over the whole set."""
    total = look.pixels / look.share if look.share else 0
    if look.share > LARGE:
        message = f"covers {look.share:.1%} of the picture."
        severity = "warning" if look.share > FULL else "note"
        look.add("full_mask", severity, message, "See whether the object really fills it, or the mask is inverted.")
    elif 0 < look.pixels < max(10, TINY * total):
        message = f"has {look.pixels} object pixel{'s' if look.pixels > 1 else ''} of {total:.0f}."
        look.add("tiny_mask", "warning", message, "Draw the object, or clear the mask.")


def rewrite(look: Look) -> NDArray[np.uint8]:
    """The mask as `fix` writes it, (H, W) of 0 and 1 or class indices; for looks without an error it cannot settle."""
    raw = read_mask(look.pair.mask)
    if look.style == "odd":
        raw = (raw >= 128 if "smeared_mask" in look.repairs else raw > 0).astype(np.uint8)
    elif look.style == "0255":
        raw = (raw == 255).astype(np.uint8)
    if "exif_mismatch" in look.repairs:
        return np.ascontiguousarray(_turned(raw, orientation_of(look.pair.image)))
    return raw


def _turned(raw: NDArray[Any], orientation: int) -> NDArray[Any]:
    """An array turned as EXIF orientation 5 to 8 asks."""
    if orientation == 5:
        return raw.T
    if orientation == 6:
        return np.rot90(raw, -1)
    return np.rot90(raw, 2).T if orientation == 7 else np.rot90(raw, 1)


def _few(values: list[int]) -> str:
    """Some numbers for a sentence."""
    return ", ".join(map(str, _shown(values)))


def _shown(values: list[int]) -> Iterator[object]:
    yield from values[:6]
    if len(values) > 6:
        yield f"... ({len(values)} values)"
