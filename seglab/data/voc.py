"""Pascal VOC segmentation, read and written: pictures, palette masks and lists of names.

    JPEGImages/NAME.jpg   SegmentationClass/NAME.png   ImageSets/Segmentation/train.txt  val.txt  test.txt  trainval.txt

Mask values are class indices, 0 is the background, and 255, the border VOC draws around objects, is unknown and never
counted. Pictures of any readable format are accepted. The root may also be a folder up to two levels above, such as
the one with `VOCdevkit`. Pictures that no list names are left out; without lists the masks are split by the seed.

VOC gives out train and val only, and tools of that time chose and reported on val. Here val.txt without a test list
becomes the test part, and val is cut from train by the seed. An empty list counts as absent, and so does a test list
none of whose masks is there (VOC keeps those secret). `splits.json` in the root replaces the lists.

Class names are the setting `classes`, else `classes.txt` (a name a line, the background first), else they follow
from the masks, which are read for it: the 21 of VOC if index 20 occurs, else as many as the highest index says.

M. Everingham, L. Van Gool, C. Williams, J. Winn and A. Zisserman, "The Pascal Visual Object Classes (VOC) Challenge",
International Journal of Computer Vision 88, 2010.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seglab.contract import IGNORE_INDEX
from seglab.data import BINARY, SPLIT_NAMES, Dataset, Joined, Pair, PairedFolder, Splits, is_there, pictures_of
from seglab.data._annotations import short
from seglab.data._layout import SHARES, Shares, find_root, one_set, read_lines, split_official
from seglab.files import atomic, atomic_text
from seglab.images import mask_values, read_mask, write_png

__all__ = ["CLASSES", "colour_map", "load", "write"]

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
FOLDERS = ("JPEGImages", "SegmentationClass")
LISTS = Path("ImageSets", "Segmentation")


def load(root: Path, *, seed: int = 0, shares: Shares = SHARES, classes: Sequence[str] | None = None) -> Splits:
    """Read a dataset in the layout of VOC.

    Args:
        root: Folder with `JPEGImages` and `SegmentationClass`, or one up to two levels above it.
        seed: Seed of every cut that the lists leave open.
        shares: Shares of train, val and test, sum 1.
        classes: Class names, the background first.

    Raises:
        ValueError: If the folders are not there, a list names what is not there, a picture is in two lists, or the
            masks hold no class above 0.
    """
    root = find_root(root, FOLDERS, "voc")
    pictures, masks = (pictures_of(root / folder) for folder in FOLDERS)
    lists = _lists(root / LISTS, masks)
    if not lists:
        lists = {"train": sorted(masks)}
    parts = {part: _pairs(names, pictures, masks, root, part) for part, names in lists.items()}
    found = _classes(root, classes, [pair.mask for pairs in parts.values() for pair in pairs])
    data = {part: PairedFolder(pairs, found, _read_voc_mask) for part, pairs in parts.items()}
    if set(data) == {"train"}:
        return one_set(data["train"], root, seed=seed, shares=shares)
    return split_official(data, root, seed=seed, shares=shares)


def write(splits: Splits, out: str | Path) -> Path:
    """Write any dataset as VOC, lossless; what is read back has the same parts, pixels and masks.

    A JPEG file that lies upright is copied byte for byte, every other picture becomes PNG. A `/` in a name becomes
    `__`. The folder appears whole or not at all: everything is written beside it and renamed at the end.

    Args:
        splits: The dataset; masks are read at full size, one picture at a time. A part may be empty.
        out: Folder to make; it must not exist, or be empty.

    Returns:
        `out`.

    Raises:
        FileExistsError: If `out` holds something.
        ValueError: If two pictures would get one name, a name is no file name, or there are no pictures at all.
        OSError: As the file system says it; nothing is then left behind.

    Example:
        >>> from seglab.data import load_dataset
        >>> out = Path(tempfile.mkdtemp()) / "voc"
        >>> splits = load_dataset("synthetic", count=(2, 1, 1), size=(32, 32))
        >>> sorted(path.name for path in write(splits, out).iterdir())
        ['ImageSets', 'JPEGImages', 'SegmentationClass', 'classes.txt']
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"folder {out} must not exist yet; got one that holds something. Name another.")
    names = {part: _file_names(data) for part, data in zip(SPLIT_NAMES, splits, strict=True)}
    _require_distinct([name for part in names.values() for name in part], f"{out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        for folder in (*FOLDERS, LISTS):
            (building / folder).mkdir(parents=True)
        for part, data in zip(SPLIT_NAMES, splits, strict=True):
            for index, name in enumerate(names[part]):
                _write_one(data, index, name, building)
            atomic_text(building / LISTS / f"{part}.txt", _lines(names[part]))
        atomic_text(building / LISTS / "trainval.txt", _lines(names["train"] + names["val"]))
        atomic_text(building / "classes.txt", _lines(splits.train.classes))
        building.chmod(0o755)  # mkdtemp makes private folders
        os.replace(building, out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return out


def colour_map() -> NDArray[np.uint8]:
    """Colours of VOC masks: (256, 3) uint8, row = class index.

    Index bits 0, 1, 2 are the highest bits of red, green, blue, bits 3, 4, 5 the next ones, and so on.

    Example:
        >>> colour_map()[[0, 1, 2, 15, 255]].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [224, 224, 192]]
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for channel in range(3):
        for place in range(3):
            bit = (index >> (3 * place + channel)) & 1
            colours[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours


def _read_voc_mask(path: Path, size: tuple[int, int], num_classes: int) -> NDArray[np.uint8]:
    """Class indices with 255 unknown; `values` is given because 255 is then never taken for an object."""
    return read_mask(path, num_classes=num_classes, size=size, values={IGNORE_INDEX: IGNORE_INDEX})


def _lists(folder: Path, masks: Mapping[str, Path]) -> dict[str, list[str]]:
    """Names by part from the list files that are there and not empty."""
    files = {name: folder / f"{name}.txt" for name in (*SPLIT_NAMES, "trainval")}
    lists = {name: read_lines(file) for name, file in files.items() if is_there(file, "list")}
    if not any(name in masks for name in lists.get("test", ())):
        lists.pop("test", None)
    held_out = {*lists.get("val", ()), *lists.get("test", ())}
    both = [name for name in lists.pop("trainval", []) if name not in held_out]
    if not lists.get("train"):
        lists["train"] = both
    lists = {name: names for name, names in lists.items() if names}
    if lists and "train" not in lists:
        raise ValueError(
            f"folder {folder} must hold a train.txt or trainval.txt with names; got {', '.join(lists)} only."
        )
    return lists


def _pairs(
    names: Iterable[str], pictures: Mapping[str, Path], masks: Mapping[str, Path], root: Path, part: str
) -> tuple[Pair, ...]:
    """The pairs of one list; names are only looked up, never made into paths."""
    pairs = []
    for name in names:
        for folder, files in zip(FOLDERS, (pictures, masks), strict=True):
            if name not in files:
                what = f"list {part} of {root} names {short(name)}"
                raise ValueError(f"{what}, which must be in {folder}; got no such file.")
        pairs.append(Pair(name, pictures[name], masks[name], name))
    _require_distinct([pair.name for pair in pairs], f"list {part} of {root}")
    return tuple(pairs)


def _classes(root: Path, given: Sequence[str] | None, masks: Sequence[Path]) -> tuple[str, ...]:
    """Class names: as given, from classes.txt, or as many as the masks say."""
    listing = root / "classes.txt"
    if given is None and is_there(listing, "list"):
        given = read_lines(listing)
    if given is not None:
        if isinstance(given, str) or len(given) < 2:
            what = f"classes of {root}"
            raise ValueError(f"{what} must be at least two names, the background first; got {short(given)}.")
        if len(set(given)) < len(given):
            raise ValueError(f"classes of {root} must have different names; got {short(list(given))}.")
        return tuple(given)
    highest = 0
    for mask in masks:
        highest = max(highest, *(int(value) for value in mask_values(mask) if value != IGNORE_INDEX), 0)
        if highest == len(CLASSES) - 1:
            return CLASSES
    if highest == 0:
        raise ValueError(
            f"masks of {root / FOLDERS[1]} must hold a class above 0; got only 0 and 255, and VOC ignores 255. "
            "If 255 marks the object, move the folders to images and masks and read them as layout folder."
        )
    return BINARY if highest == 1 else ("background", *(f"class_{index}" for index in range(1, highest + 1)))


def _write_one(data: Dataset, index: int, name: str, out: Path) -> None:
    """One picture and its mask."""
    sample = data[index]
    source = _source(data, index)
    if source is not None and _is_upright_jpeg(source):
        shutil.copyfile(source, out / FOLDERS[0] / f"{name}.jpg")
    else:
        write_png(out / FOLDERS[0] / f"{name}.png", sample.image.permute(1, 2, 0).numpy())
    mask = Image.fromarray(sample.mask.numpy())
    mask.putpalette(colour_map().tobytes())
    with atomic(out / FOLDERS[1] / f"{name}.png") as file:
        mask.save(file, "PNG")


def _source(data: Dataset, index: int) -> Path | None:
    """The file a picture is read from, where the dataset has one."""
    if isinstance(data, Joined):
        part, _, index = data.locate(index)
        return _source(part, index)
    return data.pairs[index].image if isinstance(data, PairedFolder) else None


def _is_upright_jpeg(path: Path) -> bool:
    """Whether the file is a JPEG that other tools show as seglab does: no EXIF turn, no CMYK."""
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return False
    try:
        with Image.open(path, formats=("JPEG", "MPO")) as image:
            return image.format == "JPEG" and image.mode in ("L", "RGB") and image.getexif().get(0x0112, 1) == 1
    except OSError:  # read_image could read it, so it is a picture of another format under this name
        return False


def _file_names(data: Dataset) -> list[str]:
    """Names of a part as file names."""
    name_of = getattr(data, "name", None)
    names = [str(name_of(i)) if callable(name_of) else data[i].name for i in range(len(data))]
    return [_file_name(name) for name in names]


def _file_name(name: str) -> str:
    """A picture's name as the name of one file."""
    flat = name.replace("/", "__")
    if (
        not flat
        or flat != flat.strip()
        or flat.startswith(".")
        or not flat.isprintable()
        or set(flat) & set('\\:*?"<>|')
    ):
        raise ValueError(f"picture name {name!r} must be usable as a file name; rename the picture.")
    return flat


def _require_distinct(names: Sequence[str], where: str) -> None:
    """No name twice."""
    if not names:
        raise ValueError(f"a dataset must hold at least one picture; got none for {where}.")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"picture names must differ; got {short(name)} twice in {where}.")
        seen.add(name)


def _lines(names: Iterable[str]) -> str:
    """One name a line."""
    return "".join(f"{name}\n" for name in names)
