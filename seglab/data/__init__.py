"""Pictures with masks, from disk or generated: one file per layout, the file's name is the dataset's name.

A dataset is indexable, yields `Sample(image uint8 (3, H, W), mask uint8 (H, W), name)` at the picture's own size, and
has `.classes`. Nothing here is random: augmentation belongs to training, and splits depend on a seed that is recorded.
"""

import csv
import hashlib
import json
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from inspect import signature
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from seglab.contract import Sample, require_name
from seglab.data._knobs import require_kinds
from seglab.images import read_image, read_mask

__all__ = [
    "Dataset", "Joined", "Pair", "PairedFolder", "Splits", "groups_of", "is_there", "join", "list_datasets",
    "load_dataset", "pair_files", "picture_digest", "pictures_of", "split_pairs",
]  # fmt: skip

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
SPLIT_NAMES = ("train", "val", "test")
BINARY = ("background", "object")


@runtime_checkable
class Dataset(Protocol):
    """What training and evaluation ask of a dataset."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, the background first."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Splits(NamedTuple):
    """The three parts of a dataset: fit on `train`, choose on `val`, report on `test`."""

    train: Dataset
    val: Dataset
    test: Dataset

    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of who is in which part: equal split, equal fingerprint."""
        names = {
            part: [_name_at(data, i) for i in range(len(data))] for part, data in zip(SPLIT_NAMES, self, strict=True)
        }
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


class Pair(NamedTuple):
    """A picture and its mask (or annotation) on disk; pictures of one `group` stay on one side of a split."""

    name: str
    image: Path
    mask: Path
    group: str


def _read_index_mask(path: Path, size: tuple[int, int], num_classes: int) -> np.ndarray:
    """The mask reader of most layouts: an index (or 0/255) picture of the picture's size."""
    return read_mask(path, num_classes=num_classes, size=size)


@dataclass(frozen=True)
class PairedFolder:
    """Dataset of picture files with mask files.

    Args:
        pairs: The pictures, in order.
        classes: Class names; the first is the background.
        read_mask: `(path, (H, W), num_classes) -> uint8 (H, W)`, for layouts whose masks are not pictures.
        read_image: `path -> uint8 (H, W, 3)`, for layouts that put pictures inside other files.

    Example:
        >>> len(PairedFolder(()))
        0
    """

    pairs: tuple[Pair, ...]
    classes: tuple[str, ...] = BINARY
    read_mask: Callable[[Path, tuple[int, int], int], np.ndarray] = _read_index_mask
    read_image: Callable[[Path], np.ndarray] = read_image

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image = self.read_image(pair.image)  # (H, W, 3)
        mask = self.read_mask(pair.mask, image.shape[:2], len(self.classes))
        return Sample(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask), pair.name)

    def name(self, index: int) -> str:
        """Name of a picture without reading it."""
        return self.pairs[index].name

    def select(self, names: Iterable[str]) -> "PairedFolder":
        """The pictures of these names, in that order."""
        by_name = {pair.name: pair for pair in self.pairs}
        return replace(self, pairs=tuple(by_name[name] for name in names))


@dataclass(frozen=True)
class Joined:
    """Several datasets of the same classes, one after the other; names get the part's label in front."""

    parts: tuple[Dataset, ...]
    labels: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, the same in every part."""
        return self.parts[0].classes

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> Sample:
        part, label, index = self.locate(index)
        sample = part[index]
        return sample._replace(name=f"{label}/{sample.name}")

    def name(self, index: int) -> str:
        """Name of a picture without reading it, where the part can tell."""
        part, label, index = self.locate(index)
        return f"{label}/{_name_at(part, index)}"

    def locate(self, index: int) -> tuple[Dataset, str, int]:
        """The part a picture is in, the part's label, and the index there."""
        if not 0 <= index < len(self):
            raise IndexError(f"index must be in [0, {len(self)}); got {index}.")
        for part, label in zip(self.parts, self.labels, strict=True):
            if index < len(part):
                return part, label, index
            index -= len(part)
        raise AssertionError("unreachable")


def list_datasets() -> list[str]:
    """Names that load_dataset accepts: the public files of this folder.

    Example:
        >>> "folder" in list_datasets()
        True
    """
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def load_dataset(name: str, root: str | Path | None = None, **knobs: Any) -> Splits:
    """Read the dataset whose layout is described in seglab/data/<name>.py.

    Args:
        name: One of `list_datasets()`.
        root: The dataset's folder; not needed for `synthetic`.
        knobs: Settings of that layout, for example `seed=` of the split.

    Raises:
        ValueError: For an unknown name or knob, or a folder that does not hold what the layout promises.
        FileNotFoundError: If `root` does not exist.
    """
    require_name("dataset", name, list_datasets())
    load = import_module(f"{__name__}.{name}").load
    for knob in knobs:
        require_name(f"setting of dataset {name}", knob, [key for key in signature(load).parameters if key != "root"])
    require_kinds(name, load, knobs)
    if root is None:
        if "root" in signature(load).parameters:
            raise ValueError(f"dataset {name} needs the folder it lies in; got none.")
        return load(**knobs)  # type: ignore[no-any-return]
    if "root" not in signature(load).parameters:
        return load(**knobs)  # type: ignore[no-any-return]
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"dataset folder {root} must exist; got no folder of that name.")
    return load(root, **knobs)  # type: ignore[no-any-return]


def join(splits: Mapping[str, Splits]) -> Splits:
    """Several datasets as one: train with train, val with val, test with test.

    Raises:
        ValueError: If their classes differ, or there are none.
    """
    if not splits:
        raise ValueError("join needs at least one dataset; got none.")
    if len(splits) == 1:
        return next(iter(splits.values()))
    classes = {label: one.train.classes for label, one in splits.items()}
    # Two classes are background and object, whatever the object is called; of more, the order of the names counts.
    if len({names if len(names) > 2 else len(names) for names in classes.values()}) > 1:
        raise ValueError(f"joined datasets must have the same classes; got {classes}.")
    labels = tuple(splits)
    return Splits(*(Joined(tuple(one[i] for one in splits.values()), labels) for i in range(3)))


def pair_files(
    images: Path, masks: Path, *, suffixes: Sequence[str] = ("",), ignored: tuple[str, ...] = ()
) -> tuple[Pair, ...]:
    """Pictures of one folder with the masks of another, by stem; a mask's stem may end in one of `suffixes`.

    Files whose stem ends in one of `ignored` are neither: some publishers put more beside the pictures.

    Raises:
        ValueError: If a picture has no mask, a mask no picture, or two files share a stem; names the files.
    """
    pictures = {stem: path for stem, path in pictures_of(images).items() if not stem.endswith(ignored)}
    found = pictures_of(masks)
    pairs = []
    for stem, picture in pictures.items():
        mask = next((found.pop(stem + suffix) for suffix in suffixes if stem + suffix in found), None)
        if mask is None:
            raise ValueError(f"picture {picture} must have a mask of the same name in {masks}; got none.")
        pairs.append(Pair(stem, picture, mask, stem))
    if found:
        raise ValueError(
            f"mask {next(iter(found.values()))} must have a picture of the same name in {images}; got none."
        )
    if not pairs:
        raise ValueError(f"folder {images} must hold pictures ({', '.join(PICTURE_SUFFIXES)}); got none.")
    return tuple(pairs)


def groups_of(pairs: Sequence[Pair], table: Path) -> tuple[Pair, ...]:
    """The pairs with the groups of a CSV table with the columns `id` and `group`; unchanged without such a table."""
    if not is_there(table, "table"):
        return tuple(pairs)
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark before UTF-8
            rows = csv.DictReader(file)
            columns, content = set(rows.fieldnames or ()), list(rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"table {table} must be CSV in UTF-8; got an error: {_line(error)}.") from None
    if "group" not in columns:
        return tuple(pairs)
    if "id" not in columns:
        there = " ".join(", ".join(sorted(columns)).split())[:200]
        raise ValueError(f"table {table} must have the column id beside group; got {there}.")
    group = {row["id"]: row["group"] for row in content if row["id"] and row["group"]}
    if group and not any(pair.name in group for pair in pairs):
        example = reprlib.repr(min(group))
        raise ValueError(f"table {table} must name the pictures without their ending; got none, e.g. {example}.")
    return tuple(pair._replace(group=group.get(pair.name, pair.name)) for pair in pairs)


def split_pairs(
    data: PairedFolder,
    *,
    seed: int = 0,
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    file: Path | None = None,
) -> Splits:
    """Three-way split by group, from `file` (a splits.json) if it exists, else drawn from `seed`.

    Whole groups are dealt in random order until a part has its share, so parts are right to within one group. With
    three groups or more, no part stays empty that has a share.

    Args:
        data: The whole dataset.
        seed: Seed of the order of the groups.
        shares: Shares of train, val and test, above or equal 0, sum 1.
        file: JSON with the keys train, val, test, each a list of names; a name may be in one part only.

    Raises:
        ValueError: If the shares or the file are not as said.
    """
    if file is not None and is_there(file, "split file"):
        return Splits(*(data.select(names) for names in _read_split_file(file, data)))
    numbers = [float(share) for share in shares if isinstance(share, int | float)]
    if not (len(numbers) == len(shares) == 3 and min(numbers) >= 0 and abs(sum(numbers) - 1) <= 1e-6):
        raise ValueError(f"shares must be three numbers, 0 or above, that sum to 1; got {shares}.")
    groups: dict[str, list[Pair]] = {}
    for pair in sorted(data.pairs, key=lambda pair: pair.name):
        groups.setdefault(pair.group, []).append(pair)
    order = np.random.default_rng(seed).permutation(len(groups))
    members = list(groups.values())
    parts = _deal([members[index] for index in order], numbers)
    return Splits(*(replace(data, pairs=tuple(sorted(pair for group in part for pair in group))) for part in parts))


def _deal(groups: Sequence[list[Pair]], shares: Sequence[float]) -> tuple[list[list[Pair]], ...]:
    """Groups in order to three parts by their shares; of very few, each part that wants one gets one if it can."""
    total = sum(map(len, groups))
    ends = np.cumsum(shares)[:2] * total
    parts: tuple[list[list[Pair]], ...] = ([], [], [])
    dealt = 0
    for group in groups:
        parts[int(np.searchsorted(ends, dealt + len(group) / 2))].append(group)
        dealt += len(group)
    for part, share in zip(parts, shares, strict=True):
        richest = max(parts, key=len)
        if share > 0 and not part and len(richest) > 1:
            part.append(richest.pop())
    return parts


def picture_digest(image: torch.Tensor) -> str:
    """First 16 hex digits of the SHA-256 of a picture's pixels, (3, H, W) uint8: the same picture under any name.

    Example:
        >>> picture_digest(torch.zeros(3, 2, 2, dtype=torch.uint8))
        '15ec7bf0b50732b4'
    """
    return hashlib.sha256(image.permute(1, 2, 0).numpy().tobytes()).hexdigest()[:16]


def _read_split_file(file: Path, data: PairedFolder) -> list[list[str]]:
    """The three lists of names of a splits.json, checked against the pictures that are there."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"split file {file} must be JSON; got an error: {_line(error)}.") from None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(part), list) and all(isinstance(name, str) for name in content[part])
        for part in SPLIT_NAMES
    ):
        raise ValueError(f"split file {file} must have the keys train, val and test, each a list of names.")
    known = {pair.name for pair in data.pairs}
    seen: dict[str, str] = {}
    for part in SPLIT_NAMES:
        for name in content[part]:
            if name not in known:
                what = f"split file {file} names {reprlib.repr(name)} in {part}"
                raise ValueError(f"{what}, which is not among the pictures.")
            if name in seen:
                raise ValueError(f"split file {file} names {name!r} twice, in {seen[name]} and {part}.")
            seen[name] = part
    return [content[part] for part in SPLIT_NAMES]


def pictures_of(folder: Path) -> dict[str, Path]:
    """Picture files of a folder by stem, in order; hidden files are left out.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If two files share a stem.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} must exist; got no folder of that name.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in PICTURE_SUFFIXES:
            continue
        if path.stem in found:
            raise ValueError(
                f"files of {folder} must differ in their stem; got {found[path.stem].name} and {path.name}."
            )
        found[path.stem] = path
    return found


def is_there(path: Path, what: str) -> bool:
    """Whether an optional file is there. What is there and cannot be read was meant to be, so it is refused.

    Raises:
        ValueError: If it is a folder, pipe, device, or a link that leads nowhere.

    Example:
        >>> is_there(Path("nowhere.csv"), "table")
        False
    """
    if not os.path.lexists(path):
        return False
    if not path.is_file():
        raise ValueError(
            f"{what} {path} must be a regular file; got a folder, pipe or dead link. Replace or remove it."
        )
    return True


def _line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split()).rstrip(".")


def _name_at(data: Dataset, index: int) -> str:
    """Name of a sample, without decoding the picture where the dataset can tell."""
    name = getattr(data, "name", None)
    return str(name(index)) if callable(name) else data[index].name
