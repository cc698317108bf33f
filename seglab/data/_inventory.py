"""Which files a dataset has: pictures, their masks, parts and groups, and what does not fit together."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from seglab.data import PICTURE_SUFFIXES, SPLIT_NAMES, Pair, PairedFolder, Splits, is_there, load_dataset
from seglab.data._annotations import real
from seglab.data._findings import Finding, listed

__all__ = ["MASK_SUFFIXES", "Inventory", "take_inventory"]

MASK_SUFFIXES = ("_segmentation", "_lesion", "_mask", "_gt", "_label", "-mask")  # compared without case


@dataclass
class Inventory:
    """The files of a dataset, as far as they fit together.

    Args:
        pairs: Pictures with masks.
        classes: Names of the classes, the background first.
        parts: Part of each name, where parts are fixed (a split file or a published split).
        groups: Group of each name, where metadata.csv says.
        columns: Other columns of metadata.csv: column -> name -> value.
        data: The dataset that reads the masks, for layouts other than `folder`.
        findings: What does not fit.
    """

    pairs: list[Pair] = field(default_factory=list)
    classes: tuple[str, ...] = ("background", "object")
    parts: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    data: PairedFolder | None = None
    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: str, name: str, message: str, remedy: str = "") -> None:
        """Note an error."""
        self.findings.append(Finding(kind, "error", name, message, remedy))

    def warn(self, kind: str, name: str, message: str, remedy: str = "") -> None:
        """Note a warning."""
        self.findings.append(Finding(kind, "warning", name, message, remedy))


def take_inventory(root: Path, dataset: str) -> Inventory:
    """List the files of a dataset without reading a picture.

    Args:
        root: The dataset's folder.
        dataset: Name of the layout. `folder` is searched file by file, so that all faults are found; of other
            layouts the first fault that keeps the dataset from being loaded is reported.

    Raises:
        FileNotFoundError: If `root` is no folder.
        ValueError: If there is no such layout.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"dataset folder {root} must exist; got no folder of that name.")
    found = Inventory()
    if dataset != "folder":
        _load_other(found, root, dataset)
        return found
    found.classes = _read_classes(found, root)
    pictures, masks = _folders(found, root)
    if not pictures and not masks and not found.findings:
        found.add("no_pictures", ".", f"must hold pictures ({', '.join(PICTURE_SUFFIXES)}); got none.")
    _pair_up(found, root, pictures, masks)
    _read_table(found, root / "metadata.csv")
    _read_split(found, root / "splits.json")
    _check_groups(found)
    return found


def _load_other(found: Inventory, root: Path, dataset: str) -> None:
    """Pairs of another layout, through its own loader."""
    try:
        splits = load_dataset(dataset, root)
    except FileNotFoundError:
        raise
    except ValueError as error:
        if str(error).startswith("dataset must be one of"):
            raise
        found.add("layout", str(root), f"cannot be read as layout {dataset}: {error}", "Then run the check again.")
        return
    for part, data in _parts_of(splits):
        found.classes = tuple(data.classes)
        found.data = data
        for pair in data.pairs:
            found.pairs.append(pair)
            found.parts[pair.name] = part
            found.groups[pair.name] = pair.group
    if not found.pairs:
        found.add("layout", str(root), f"layout {dataset} gives no pairs of files that could be checked.")


def _parts_of(splits: Splits) -> Iterator[tuple[str, PairedFolder]]:
    for part, data in zip(SPLIT_NAMES, splits, strict=True):
        if isinstance(data, PairedFolder):
            yield part, data


def _read_classes(found: Inventory, root: Path) -> tuple[str, ...]:
    """Class names of classes.txt, or the two of a binary dataset."""
    listing = root / "classes.txt"
    if not _is_there(found, listing):
        return found.classes
    try:
        names = tuple(line.strip() for line in listing.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        found.add("classes", "classes.txt", f"must be UTF-8 text; got an error: {error}.", "Save it as UTF-8.")
        return found.classes
    if len(names) < 2:
        found.add("classes", "classes.txt", f"must name two classes or more; got {len(names)}.", "Background first.")
        return found.classes
    if len(set(names)) < len(names):
        found.add("classes", "classes.txt", f"must name every class once; got {listed(names)}.", "Take one out.")
    return names


def _folders(found: Inventory, root: Path) -> tuple[list[Path], list[Path]]:
    """Files of `images` and `masks`; a single folder with both is told apart by the masks' suffixes."""
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return _files(found, root, root / "images"), _files(found, root, root / "masks")
    files = _files(found, root, root)
    masks = [path for path in files if _bare(path.stem) != path.stem]
    if masks:
        remedy = "Move pictures to images and masks to masks; --fix does it."
        found.add(
            "layout", ".", "must hold the folders images and masks; got both kinds of files in one folder.", remedy
        )
        return [path for path in files if path not in masks], masks
    there = listed(sorted(path.name for path in root.iterdir())) or "nothing"
    found.add("layout", ".", f"must hold the folders images and masks; got {there}.", "Or name the layout: --dataset.")
    return [], []


def _files(found: Inventory, root: Path, folder: Path) -> list[Path]:
    """Picture files of a folder; others, and links that lead outside, are reported."""
    files, strange = [], []
    for path in sorted(folder.iterdir()):
        if (
            path.name.startswith(".")
            or path.is_dir()
            or (folder == root and path.suffix.lower() not in PICTURE_SUFFIXES)
        ):
            continue
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            strange.append(path.name)
        elif path.is_symlink() and not real(path).is_relative_to(real(root)):
            name = str(path.relative_to(root))
            found.warn("link", name, "is a link that leads out of the dataset's folder.", "Copy the file itself.")
            files.append(path)
        else:
            files.append(path)
    if strange:
        said = f"holds {len(strange)} files that are no pictures and are not read: {listed(strange)}."
        found.findings.append(Finding("other_files", "note", folder.name, said))
    return files


def _is_there(found: Inventory, path: Path) -> bool:
    """Whether an optional file is there; what is there and no file is reported."""
    try:
        return is_there(path, "file")
    except ValueError:
        found.add("file_kind", path.name, "is a folder, a pipe or a dead link.", "Replace or remove it.")
        return False


def _bare(stem: str) -> str:
    """A mask's stem without its suffix."""
    for suffix in MASK_SUFFIXES:
        if stem.lower().endswith(suffix) and len(stem) > len(suffix):
            return stem[: -len(suffix)]
    return stem


def _pair_up(found: Inventory, root: Path, pictures: list[Path], masks: list[Path]) -> None:
    """Pairs by stem; then by stem without suffix, then without case. The rest are orphans."""
    by_stem = _unique(found, root, masks)
    alone: list[Path] = []
    for stem, picture in _unique(found, root, pictures).items():
        if stem in by_stem:
            found.pairs.append(Pair(stem, picture, by_stem.pop(stem), stem))
        else:
            alone.append(picture)
    alone = _pair_by(found, alone, by_stem, _bare, "mask_suffix")
    alone = _pair_by(found, alone, by_stem, str.lower, "name_case")
    for picture in alone:
        remedy = "Add the mask, or take the picture out; an object-free picture needs a mask of zeros."
        found.add("missing_mask", str(picture.relative_to(root)), "has no mask of the same name.", remedy)
    for mask in by_stem.values():
        name = str(mask.relative_to(root))
        found.add(
            "missing_picture", name, "is a mask without a picture of the same name.", "Add the picture, or delete it."
        )
    found.pairs.sort()


def _pair_by(
    found: Inventory, alone: list[Path], masks: dict[str, Path], key: Callable[[str], str], kind: str
) -> list[Path]:
    """Pair pictures with masks whose stems agree after `key`; report them together and return who is left."""
    keyed = {key(stem): stem for stem in masks}
    left, example = [], []
    for picture in alone:
        stem = keyed.pop(picture.stem.lower() if kind == "name_case" else picture.stem, None)
        if stem is None:
            left.append(picture)
            continue
        mask = masks.pop(stem)
        example.append(f"{picture.name} with {mask.name}")
        found.pairs.append(Pair(picture.stem, picture, mask, picture.stem))
    if example:
        what = (
            "end in a suffix the picture does not have"
            if kind == "mask_suffix"
            else "differ from the picture's in case"
        )
        message = f"names of {len(example)} masks {what}: {listed(example, 3)}."
        found.add(kind, "masks", message, "Give the mask the picture's name; --fix does it.")
    return left


def _unique(found: Inventory, root: Path, files: list[Path]) -> dict[str, Path]:
    """Files by stem; equal stems and stems that differ in case only are reported."""
    by_stem: dict[str, Path] = {}
    folded: dict[str, Path] = {}
    for path in files:
        name = str(path.relative_to(root))
        if path.stem in by_stem:
            message = f"and {by_stem[path.stem].name} have the same name but for the ending; {path.name} is not used."
            found.add("same_name", name, message, "Keep one of them, or rename.")
            continue
        other = folded.setdefault(path.stem.lower(), path)
        if other is not path:
            message = f"and {other.name} differ only in case; on Windows and macOS one overwrites the other."
            found.warn("case_only", name, message, "Rename one.")
        by_stem[path.stem] = path
    return by_stem


def _read_table(found: Inventory, table: Path) -> None:
    """Groups and further columns of metadata.csv."""
    if not _is_there(found, table):
        return
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        found.add("metadata", table.name, f"must be a UTF-8 CSV table; got an error: {error}.", "Save it again as CSV.")
        return
    if not rows or "id" not in rows[0]:
        remedy = "Name the column of picture names id."
        if rows and "group" in rows[0]:  # training refuses it: what was to be kept apart would not be
            found.add("metadata", table.name, "has no column id beside group.", remedy)
        else:
            found.warn("metadata", table.name, "has no column id, so it is not used.", remedy)
        return
    names = {pair.name for pair in found.pairs}
    missing = sorted(names - {row["id"] for row in rows})
    unknown = sorted({str(row["id"]) for row in rows} - names)
    if "group" in rows[0] and names and missing == sorted(names):
        remedy = "Write the names as in images, without their ending."
        found.add("metadata", table.name, "names none of the pictures, so groups are not kept apart.", remedy)
    elif missing:
        found.warn("metadata", table.name, f"has no row for {len(missing)} pictures: {listed(missing)}.")
    if unknown:
        message = f"has {len(unknown)} rows without a picture: {listed(unknown)}."
        found.findings.append(Finding("metadata", "note", table.name, message))
    for column in rows[0]:
        if column != "id":
            values = {row["id"]: row[column] for row in rows if row["id"] in names and row[column]}
            found.columns[column] = values
    found.groups = found.columns.pop("group", {})


def _read_split(found: Inventory, file: Path) -> None:
    """Parts of splits.json; every wrong name is reported, not only the first."""
    if not _is_there(found, file):
        return
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        found.add(
            "split_file",
            file.name,
            f"must be JSON; got an error: {error}.",
            "Repair it, or delete it to split by seed.",
        )
        return
    if not isinstance(content, Mapping) or not all(isinstance(content.get(part), list) for part in SPLIT_NAMES):
        got = listed(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        found.add(
            "split_file", file.name, f"must have the lists train, val and test; got {got}.", "Add the missing lists."
        )
        return
    known = {pair.name for pair in found.pairs}
    for part in SPLIT_NAMES:
        names = [str(name) for name in content[part]]
        unknown = [name for name in names if name not in known]
        if unknown:
            message = f"names {len(unknown)} in {part} that are not among the pictures: {listed(unknown)}."
            found.add("split_file", file.name, message, "Take them out, or add the pictures.")
        counts = Counter(names)
        twice = [name for name in counts if name in found.parts or counts[name] > 1]
        if twice:
            message = f"names {len(twice)} twice, the second time in {part}: {listed(twice)}."
            found.add("split_leak", file.name, message, "A picture may be in one part only; take it out of the others.")
        found.parts.update({name: part for name in names if name in known and name not in found.parts})
    left = sorted(known - set(found.parts))
    if left:
        found.warn("split_file", file.name, f"leaves out {len(left)} pictures, which are never used: {listed(left)}.")


def _check_groups(found: Inventory) -> None:
    """A group (one patient, one part) whose pictures lie in two parts leaks."""
    parts: dict[str, dict[str, str]] = {}
    for name, part in found.parts.items():
        if name in found.groups:
            parts.setdefault(found.groups[name], {}).setdefault(part, name)
    for group, names in sorted(parts.items()):
        if len(names) > 1:
            said = " and ".join(f"{name} in {part}" for part, name in names.items())
            found.add("group_leak", f"group {group}", f"lies in several parts: {said}.", "Move the group to one part.")
