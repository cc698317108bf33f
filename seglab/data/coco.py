"""COCO instance annotations as class masks: polygons and run lengths, one JSON file for many pictures.

    annotations.json  images/000001.jpg
or  annotations/instances_train2017.json  train2017/000001.jpg   (the same for val2017 and test2017)

The year may differ or be missing. With the first form the pictures are split three ways by the seed. With the second
the published parts are used: COCO gives no annotations for test, so val becomes the test part and val is cut from
train (see `split_official` in `_layout.py`). `metadata.csv` with the columns `id` and `group` keeps a group on one
side, `splits.json` replaces every split.

Classes are the background and the categories in the order of their ids. Objects are drawn in the order of the file,
so where two overlap the later one counts. Regions marked `iscrowd` hold uncounted objects and what is between them:
they are unknown (255), and drawn first. A pixel belongs to a polygon when its centre does (see `fill_polygon`).
Pictures without annotations are all background. The whole file is held in memory.

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the run length strings follow the COCO API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seglab.contract import IGNORE_INDEX, Sample
from seglab.data import SPLIT_NAMES, Pair, PairedFolder, Splits
from seglab.data._annotations import fill_polygon, is_path, points_of, read_object, real, short, whole_number
from seglab.data._layout import SHARES, Shares, one_set, split_official

__all__ = ["CocoFolder", "load", "run_lengths"]


@dataclass(frozen=True)
class CocoFolder(PairedFolder):
    """Pictures with the annotations of a COCO file.

    Args:
        regions: By picture name: (class index or 255, segmentation as in the file, its place for messages).

    Example:
        >>> len(CocoFolder(()))
        0
    """

    regions: Mapping[str, Sequence[tuple[int, Any, str]]] = field(default_factory=dict)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image = self.read_image(pair.image)  # (H, W, 3)
        height, width = image.shape[0], image.shape[1]
        mask = np.zeros((height, width), np.uint8)
        for value, segmentation, where in self.regions[pair.name]:
            mask[_region(segmentation, (height, width), where)] = value
        return Sample(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask), pair.name)


def load(root: Path, *, seed: int = 0, shares: Shares = SHARES) -> Splits:
    """Read a folder in one of the two forms above.

    Args:
        root: Folder with `annotations.json`, or with the folder `annotations`.
        seed: Seed of every cut that the published parts leave open.
        shares: Shares of train, val and test, sum 1.

    Raises:
        ValueError: If neither form is there, a file is not as COCO writes it, or a picture is missing. A region that
            cannot be drawn is refused when its picture is read.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"dataset folder {root} must exist; got no folder of that name.")
    if (root / "annotations.json").is_file():
        return one_set(_read_part(root / "annotations.json", root / "images"), root, seed=seed, shares=shares)
    parts = {}
    for part in SPLIT_NAMES:
        for file in sorted((root / "annotations").glob(f"instances_{part}*.json")):
            if part in parts:
                raise ValueError(f"folder {file.parent} must hold one file for {part}; got several, {file.name} too.")
            parts[part] = _read_part(file, root / file.stem.removeprefix("instances_"))
    if not len(parts.get("train", ())):
        there = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "an empty folder"
        raise ValueError(
            f"folder {root} must hold annotations.json and images, or annotations/instances_train*.json and train*; "
            f"got {there}."
        )
    if len({data.classes for data in parts.values()}) > 1:
        raise ValueError(f"the files of {root / 'annotations'} must have the same categories; they differ.")
    return split_official(parts, root, seed=seed, shares=shares)


def run_lengths(counts: str | Sequence[int], where: str = "counts") -> list[int]:
    """Run lengths of a COCO region, first of the pixels outside, then inside, and so on, down the columns.

    In the compressed spelling every character holds 6 bits, its code less 48. Five bits are of the number, lowest
    first, the sixth says that more follow; the number is signed, and from the fourth on it is the difference to the
    run two before.

    Args:
        counts: A list of numbers, or the compressed string.
        where: The subject of messages.

    Raises:
        ValueError: If it is neither, ends inside a number, or a run is below 0.

    Example:
        >>> run_lengths("203")
        [2, 0, 3]
        >>> run_lengths([6, 1])
        [6, 1]
    """
    if isinstance(counts, str):
        return _decompressed(counts, where)
    if not isinstance(counts, list):
        raise ValueError(f"{where} must have counts as a list or a string; got {short(counts)}.")
    runs = [whole_number(run) for run in counts]
    if any(run is None for run in runs):
        raise ValueError(f"{where} must have whole numbers of 0 or above as counts; got {short(counts)}.")
    return [run for run in runs if run is not None]


def _decompressed(text: str, where: str) -> list[int]:
    """Run lengths of a compressed string."""
    runs: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 50:
            raise ValueError(f"{where} must be a COCO run length string; got {short(text)}.")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # the highest bit of the number is its sign
            number -= 1 << shift
        if len(runs) > 2:
            number += runs[-2]
        if number < 0:
            raise ValueError(f"{where} must have runs of 0 pixels or more; got {number}.")
        runs.append(number)
        number = shift = 0
    if shift:
        raise ValueError(f"{where} must be a whole COCO run length string; it ends inside a number.")
    return runs


def _region(segmentation: object, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Pixels of one segmentation: (H, W) bool."""
    region = np.zeros(size, bool)
    if isinstance(segmentation, dict):
        declared = segmentation.get("size")
        if declared != list(size):
            raise ValueError(f"{where} must have the size {list(size)} of its picture; got {short(declared)}.")
        runs = run_lengths(segmentation.get("counts", ""), where)
        if sum(runs) != region.size:
            raise ValueError(f"{where} must have runs that cover {region.size} pixels; got {sum(runs)}.")
        inside = np.arange(len(runs)) % 2 == 1
        return np.repeat(inside, runs).reshape(size[::-1]).T
    if not isinstance(segmentation, list):
        raise ValueError(f"{where} must have a segmentation, polygons or run lengths; got {short(segmentation)}.")
    for outline in segmentation:
        if not isinstance(outline, list) or len(outline) % 2 or len(outline) < 6:
            raise ValueError(f"{where} must have polygons of at least 3 points; got {short(outline)}.")
        points = points_of([outline[i : i + 2] for i in range(0, len(outline), 2)], size, where)
        region |= fill_polygon(size, points)
    return region


def _read_part(file: Path, pictures: Path) -> CocoFolder:
    """The pictures of one annotation file."""
    content = read_object(file, "COCO file")
    images, annotations, categories = (_records(content, key, file) for key in ("images", "annotations", "categories"))
    names = {_key(record, "id", file): _text(record, "name", file) for record in categories}
    classes = ("background", *(names[key] for key in sorted(names)))
    if len(set(classes)) < len(classes):
        raise ValueError(f"COCO file {file} must have categories of different names; got {short(list(classes[1:]))}.")
    if not 2 <= len(classes) <= IGNORE_INDEX:
        raise ValueError(f"COCO file {file} must have 1 to {IGNORE_INDEX - 1} categories; got {len(names)}.")
    index_of = {key: index for index, key in enumerate(sorted(names), start=1)}
    pairs = {_key(record, "id", file): _pair(record, file, pictures) for record in images}
    regions: dict[str, list[tuple[int, Any, str]]] = {pair.name: [] for pair in pairs.values()}
    if len(regions) < len(images):
        raise ValueError(f"COCO file {file} must have pictures of different ids and stems; got some twice.")
    for number, record in enumerate(annotations, start=1):
        image, category = _key(record, "image_id", file), _key(record, "category_id", file)
        if image not in pairs or category not in index_of:
            raise ValueError(
                f"annotation {number} of {file} must name a picture and a category; got {image}, {category}."
            )
        value = IGNORE_INDEX if record.get("iscrowd") else index_of[category]
        regions[pairs[image].name].append((value, record.get("segmentation"), f"annotation {number} of {file}"))
    ordered = {name: sorted(found, key=lambda region: region[0] != IGNORE_INDEX) for name, found in regions.items()}
    return CocoFolder(tuple(sorted(pairs.values())), classes, regions=ordered)


def _pair(record: dict[str, Any], file: Path, pictures: Path) -> Pair:
    """One picture; its name in the file must stay inside the picture folder."""
    name = _text(record, "file_name", file)
    if not is_path(name):
        raise ValueError(f"every file_name of {file} must be the name of a picture; got {short(name)}.")
    inside = real(pictures)
    path = real(inside / name.replace("\\", "/"))
    if not path.is_relative_to(inside):
        raise ValueError(f"file_name of a picture in {file} must stay inside {pictures}; got {short(name)}.")
    if not path.is_file():
        raise ValueError(f"picture {short(name)} of {file} must be in {pictures}; got no such file.")
    stem = path.relative_to(inside).with_suffix("").as_posix()
    return Pair(stem, path, file, stem)


def _records(content: dict[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    """One of the lists of a COCO file."""
    records = content.get(key)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"COCO file {file} must have a list of objects called {key}; got {short(records)}.")
    return records


def _key(record: dict[str, Any], key: str, file: Path) -> int:
    """An id."""
    value = whole_number(record.get(key))
    if value is None:
        raise ValueError(f"every {key} of {file} must be a whole number of 0 or above; got {short(record.get(key))}.")
    return value


def _text(record: dict[str, Any], key: str, file: Path) -> str:
    """A name."""
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"every {key} of {file} must be text; got {short(value)}.")
    return value
