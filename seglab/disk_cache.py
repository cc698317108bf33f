"""Pictures as training reads them, kept on disk: decoded and letterboxed once, then mapped into memory.

An entry is a folder: images.npy, masks.npy and facts.json. Its name is a digest of everything that its content
depends on: the bytes of every picture and mask file, the readers and their settings, the class names, the size, the
code that reads and letterboxes, and the versions of the libraries below it. So a changed file or another version
makes another entry, and an entry is never wrong, only unused. What cannot be named this way (generated pictures, a
dataset of one's own) is not kept.

The entries lie in `seglab/pictures` in the system's folder for caches: `~/.cache` or `$XDG_CACHE_HOME` on Linux. The
environment variable SEGLAB_CACHE names another place for `pictures`; SEGLAB_CACHE=off keeps nothing. The folder may be
deleted at any time.
"""

import hashlib
import inspect
import json
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from PIL import features

from seglab.data import Dataset, Joined, PairedFolder
from seglab.data._folds import Chosen
from seglab.data.coco import CocoFolder

__all__ = ["Decoded", "entry_of", "folder", "load", "store"]

SMALL = 2**20  # bytes of files below which reading them again takes a moment
RESERVE = 2**30  # bytes of the disk that stay free
UNUSED = 60  # days after which an entry is removed
LEFT = 1  # days after which what a killed process left is removed
NAMES = re.compile(r"[0-9a-f]{32}(\..*\.part)?")  # of an entry, and of one in the making or unmaking
CODE = ("images/*.py", "data/*.py", "contract.py", "inference.py", "batches.py", "disk_cache.py")
ARRAYS = ("images", "masks")


class Decoded(NamedTuple):
    """A dataset at the training size."""

    images: np.ndarray  # (N, S, S, 3) uint8
    masks: np.ndarray  # (N, S, S) uint8
    boxes: list[tuple[int, ...]]  # where each picture lies in its letterbox
    names: list[str]
    pictures: list[str]  # digest of each picture alone
    digests: list[str]  # digest of each picture with its mask


def folder() -> Path | None:
    """Where entries lie; None if none are wanted, or the user has no home.

    Example:
        >>> place = folder()
        >>> place is None or place.name == "pictures"
        True
    """
    chosen = os.environ.get("SEGLAB_CACHE", "")
    if chosen == "off":
        return None
    try:
        return (Path(chosen).expanduser() if chosen else _system_caches() / "seglab") / "pictures"
    except RuntimeError:  # no home
        return None


def _system_caches() -> Path:
    """The system's folder for what programs can make again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    told = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return told if told.is_absolute() else Path.home() / ".cache"


def entry_of(data: Dataset, size: int, *, workers: int = 2) -> Path | None:
    """The folder of the entry that holds, or will hold, this dataset at this size; every file is read and hashed.

    Args:
        data: The dataset.
        size: Side of the letterbox in pixels.
        workers: Threads that hash.

    Returns:
        None if nothing is to be kept, the files are small, or not all that the pictures depend on can be known.

    Example:
        >>> entry_of(PairedFolder(()), 32) is None
        True
    """
    place = folder()
    origins = [_origin(data, index) for index in range(len(data))] if place is not None else []
    if place is None or not all(origins):
        return None
    files = sorted({path for origin in origins if origin for path in origin.files})
    try:
        sizes = [_size(path) for path in files]
        if None in sizes or sum(filter(None, sizes)) < SMALL:
            return None
        with ThreadPoolExecutor(max(1, workers)) as pool:
            found = dict(zip(files, pool.map(_digest, files), strict=True))
        told = [[origin.told, *(found[path] for path in origin.files)] for origin in origins if origin]
        content = json.dumps([size, list(data.classes), told, _code(), _versions()])
    except (OSError, TypeError, ValueError):  # the reader will say it better
        return None
    return place / hashlib.sha256(content.encode()).hexdigest()[:32]


def load(entry: Path) -> Decoded | None:
    """What an entry holds, mapped into memory; None if there is none. A damaged one is removed.

    Every byte is compared with the digests in facts.json. Writing to the arrays changes neither the files nor what
    another process reads.

    Example:
        >>> load(Path("no-such-entry")) is None
        True
    """
    try:
        first, _, rest = (entry / "facts.json").read_bytes().partition(b"\n")
        if first.decode("ascii") != hashlib.sha256(rest).hexdigest():
            raise ValueError("facts.json")
        facts = json.loads(rest)
        with ThreadPoolExecutor(len(ARRAYS)) as pool:
            if list(pool.map(_digest, (entry / f"{name}.npy" for name in ARRAYS))) != facts.pop("arrays"):
                raise ValueError("arrays")
        # Copy on write: a read-only array makes torch.from_numpy warn, and this protects the file as well.
        images, masks = (np.asarray(np.load(entry / f"{name}.npy", mmap_mode="c")) for name in ARRAYS)
        with suppress(OSError):  # only says that it is in use
            os.utime(entry)
        return Decoded(images, masks, **facts)
    except FileNotFoundError:
        if not entry.exists():
            return None
    except (OSError, ValueError, TypeError, KeyError):
        pass
    _remove(entry)
    return None


def store(entry: Path, decoded: Decoded) -> Decoded:
    """Keep what was decoded and give it back mapped from the disk; as it came, with a warning, if that fails.

    The entry appears whole or not at all. Of two processes that store the same one, either's stays.

    Args:
        entry: From `entry_of`.
        decoded: What it shall hold.

    Example:
        >>> entry = Path(tempfile.mkdtemp()) / "0123"
        >>> arrays = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 32, 32), np.uint8)
        >>> store(entry, Decoded(*arrays, [(0, 0, 32, 32, 32, 32)], ["a"], ["b"], ["c"])).names
        ['a']
    """
    place = entry.parent
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        _tidy(place)
        needed = decoded.images.nbytes + decoded.masks.nbytes
        if shutil.disk_usage(place).free < needed + RESERVE:
            raise OSError(f"less than {RESERVE / 2**20:.0f} MB would stay free")
        building = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", suffix=".part", dir=place))
        try:
            _write(building, decoded)
            os.rename(building, entry)
        except OSError:
            if not entry.exists():  # else another process was faster
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "Training goes on from memory; SEGLAB_CACHE names another folder, and SEGLAB_CACHE=off none."
        warnings.warn(f"decoded pictures could not be kept in {place}: {reason}. {remedy}", stacklevel=2)
        return decoded
    return load(entry) or decoded


def _write(building: Path, decoded: Decoded) -> None:
    """The three files of an entry; the digests are of what was meant, not of what the disk made of it."""
    digests = []
    for name in ARRAYS:
        array: np.ndarray = np.ascontiguousarray(getattr(decoded, name))
        with (building / f"{name}.npy").open("xb") as file:
            np.save(file, array, allow_pickle=False)
            head = file.tell() - array.nbytes
        with (building / f"{name}.npy").open("rb") as file:
            digest = hashlib.sha256(file.read(head))
        digest.update(array.data)
        digests.append(digest.hexdigest())
    facts = {name: getattr(decoded, name) for name in Decoded._fields if name not in ARRAYS}
    content = json.dumps(facts | {"arrays": digests}).encode()
    (building / "facts.json").write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


class _Origin(NamedTuple):
    """What one picture and its mask depend on."""

    files: tuple[Path, Path]
    told: list[Any]  # everything else, as JSON can hold it


def _origin(data: Dataset, index: int) -> _Origin | None:
    """Where a picture comes from; None if that cannot be known. Only our own classes can be trusted to tell."""
    if type(data) is Joined:
        part, label, within = data.locate(index)
        found = _origin(part, within)
        return found and found._replace(told=[label, found.told])
    if type(data) is Chosen:
        number, within = data.places[index]
        return _origin(data.parts[number], within)
    if type(data) not in (PairedFolder, CocoFolder):
        return None
    assert isinstance(data, PairedFolder)
    pair, readers = data.pairs[index], [_reader(data.read_image), _reader(data.read_mask)]
    if None in readers:
        return None
    regions = data.regions[pair.name] if isinstance(data, CocoFolder) else None
    kinds = [path.suffix.lower() for path in (pair.image, pair.mask)]
    told = [pair.name, kinds, list(data.classes), readers, [[*region] for region in regions or ()]]
    return _Origin((pair.image, pair.mask), told)


def _reader(reader: Any) -> list[Any] | None:
    """Name and settings of one of our own readers; None for another's, whose code cannot be known."""
    settings: Any = None
    if isinstance(reader, partial):
        reader, settings = reader.func, [list(reader.args), reader.keywords]
    elif not inspect.isfunction(reader):
        reader, settings = type(reader), getattr(reader, "__dict__", None)
    module, name = getattr(reader, "__module__", ""), getattr(reader, "__qualname__", "<>")
    return None if not module.startswith("seglab.") or "<" in name else [module, name, settings]


def _size(path: Path) -> int | None:
    """Bytes of a regular file; None for what else has a name, which would be opened for ever."""
    found = path.stat()
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _code() -> str:
    """Digest of the modules that turn files into letterboxed pictures, so that no number has to be raised by hand."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted(path for pattern in CODE for path in here.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _versions() -> list[str]:
    """Versions of what decodes and resizes."""
    import cv2  # a heavy module

    codecs = [str(features.version_codec(name)) for name in ("jpg", "zlib", "libtiff", "jpg_2000")]
    return [np.__version__, PIL.__version__, *codecs, str(features.version_module("webp")), cv2.__version__, _machine()]


def _machine() -> str:
    """Kind of processor: a home may be shared between several."""
    return f"{platform.machine()} {sys.byteorder}"


def _tidy(place: Path) -> None:
    """Remove entries that nobody used for long, and what killed processes left; nothing else."""
    for path in place.iterdir():
        named = NAMES.fullmatch(path.name)
        with suppress(OSError):  # another process was faster
            days = (time.time() - path.stat().st_mtime) / 86400
            if named and days > (LEFT if named[1] else UNUSED):
                _remove(path)


def _remove(entry: Path) -> None:
    """Take an entry out of the way first, so that nobody finds half of one."""
    aside = entry.with_name(f"{entry.name[:32]}.{os.getpid()}.{time.monotonic_ns()}.part")
    try:
        os.rename(entry, aside)
    except OSError:  # another process was faster, or it may not be changed
        return
    shutil.rmtree(aside, ignore_errors=True)
