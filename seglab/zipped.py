"""Pictures and masks that a visitor sends as a ZIP file: unpacked within limits, and looked at by the mask doctor."""

import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from seglab.data import PICTURE_SUFFIXES, SPLIT_NAMES, load_dataset
from seglab.data._checks import check
from seglab.data._findings import CheckReport, Finding
from seglab.data._layout import find_root
from seglab.data._unpack import unpack

__all__ = ["FEWEST", "MOST", "MOST_BYTES", "MOST_PIXELS", "Zipped", "take"]

FEWEST, MOST = 10, 400  # pictures
MOST_BYTES = 400 * 2**20  # unpacked, all files together
MOST_PIXELS = 12_000_000  # of one picture
MOST_SECONDS = 180.0  # that the mask doctor may take
FILES = 2 * MOST + 50  # pictures, masks, and some tables and folders beside them


class Zipped(NamedTuple):
    """What a ZIP file held.

    Attributes:
        root: Folder with images and masks; gone if the report has errors.
        report: What the mask doctor says of it.
        parts: Pictures to fit, to choose the best epoch by and to test; zeros if there are errors.
    """

    root: Path
    report: CheckReport
    parts: tuple[int, int, int]


def take(archive: Path, folder: Path, on_picture: Callable[[int, int], None] | None = None) -> Zipped:
    """Unpack a ZIP file with the folders images and masks, and examine what is in it.

    The two folders may lie inside one outer folder. What the doctor calls an error keeps nothing on disk.

    Args:
        archive: The file.
        folder: Folder to make; it must not exist, and the folder it lies in must.
        on_picture: Called with (done, total) after each picture.

    Raises:
        ValueError: If the file is no ZIP file, holds what no set of pictures needs, or is above a limit.
        OSError: If there is too little space.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> with zipfile.ZipFile(place / "a.zip", "w") as bundle:
        ...     bundle.writestr("notes.txt", "no pictures")
        >>> take(place / "a.zip", place / "pictures").report.findings[0].kind
        'layout'
    """
    _require_modest(archive)
    unpack(archive, folder)
    keep = False
    try:
        root = _root_of(folder)
        _require_small_pictures(root)
        report = check(root, on_picture=_bounded(on_picture))
        parts = (0, 0, 0)
        if report.ok:
            parts, more = _parts_of(root)
            report = replace(report, findings=(*report.findings, *more))
        keep = report.ok
        return Zipped(root, report, parts)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _require_modest(archive: Path) -> None:
    """Refuse too many files and too many bytes, by what the archive says of itself; unpacking checks that it is so."""
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = bundle.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise ValueError(f"the file must be a whole ZIP file; got an error: {error}. Make it again.") from None
    total = sum(member.file_size for member in members)
    if len(members) > FILES:
        raise ValueError(
            f"the ZIP file must hold at most {MOST} pictures and their masks; got {len(members)} files. Take fewer."
        )
    if total > MOST_BYTES:
        raise ValueError(
            f"the ZIP file must unpack to at most {MOST_BYTES // 2**20} MB; got {total / 2**20:.0f} MB. "
            "Make the pictures smaller, or take fewer."
        )


def _root_of(folder: Path) -> Path:
    """The folder with images and masks; the outermost if there is none, so that the doctor says what is missing."""
    shutil.rmtree(folder / "__MACOSX", ignore_errors=True)
    try:
        return find_root(folder, ["images", "masks"], "folder")
    except ValueError:
        return folder


def _pictures_in(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith("."):
            yield path


def _require_small_pictures(root: Path) -> None:
    """Refuse pictures that would take minutes or all memory to decode, by their headers."""
    for path in _pictures_in(root):
        try:
            with Image.open(path) as image:
                width, height = image.size
        except Exception:  # noqa: S112 - whatever a damaged file raises; the doctor names it
            continue
        if width * height > MOST_PIXELS:
            raise ValueError(
                f"picture {path.name} must have at most {MOST_PIXELS // 10**6} megapixels; got {width} x {height}. "
                "Make it smaller, and its mask too."
            )


def _bounded(on_picture: Callable[[int, int], None] | None) -> Callable[[int, int], None]:
    """The callback, within the time that a check may take."""
    began = time.monotonic()

    def on_each(done: int, total: int) -> None:
        if time.monotonic() - began > MOST_SECONDS:
            raise ValueError(
                f"the pictures must be examined within {MOST_SECONDS:.0f} seconds; got through {done} of {total}. "
                "Make them smaller, or take fewer."
            )
        if on_picture is not None:
            on_picture(done, total)

    return on_each


def _parts_of(root: Path) -> tuple[tuple[int, int, int], list[Finding]]:
    """How many pictures each part has, and what keeps a set that is right in itself from being trained on here."""
    try:
        splits = load_dataset("folder", root)
    except (ValueError, OSError) as error:
        return (0, 0, 0), [Finding("layout", "error", ".", " ".join(str(error).replace(f"{root}/", "").split()))]
    findings, parts = [], (len(splits.train), len(splits.val), len(splits.test))
    if not FEWEST <= sum(parts) <= MOST:
        said = f"must hold {FEWEST} to {MOST} pictures; got {sum(parts)}."
        findings.append(Finding("number", "error", "images", said, "Add pictures with masks, or take some out."))
    if len(splits.train.classes) != 2:
        said = f"must name two classes here; got {len(splits.train.classes)}."
        remedy = "Train on more classes with the command `seglab train`."
        findings.append(Finding("classes", "error", "classes.txt", said, remedy))
    empty = [name for name, count in zip(SPLIT_NAMES, parts, strict=True) if not count]
    if empty:
        said = f"must put pictures into every part; got none for {' and '.join(empty)}."
        findings.append(Finding("split_file", "error", "splits.json", said, "Add some, or delete the file."))
    return parts, findings
