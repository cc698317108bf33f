"""What the published layouts share: finding the dataset's folder, lists of names, and the official parts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from seglab.data import BINARY, Pair, PairedFolder, Splits, groups_of, is_there, split_pairs
from seglab.images import read_mask

__all__ = ["BinaryMask", "binary", "find_root", "one_set", "read_lines", "split_official"]

SHARES = (0.7, 0.15, 0.15)
Shares = tuple[float, float, float]


class BinaryMask:
    """Mask reader for datasets of one object class whose masks hold 0 and 255: 255 is always the object.

    Args:
        threshold: Also accept other grey values and count them as object from this value up. Copies of these
            datasets that were resized with smoothing need it; the published files do not.

    Example:
        >>> BinaryMask().threshold is None
        True
    """

    def __init__(self, threshold: int | None = None) -> None:
        self.threshold = threshold

    def __call__(self, path: Path, size: tuple[int, int], num_classes: int) -> np.ndarray:
        """Mask of a file: (H, W) uint8, 0 or 1."""
        if self.threshold is not None:
            return read_mask(path, size=size, threshold=self.threshold, ignore_index=None)
        return read_mask(path, size=size, num_classes=num_classes, values={255: 1}, ignore_index=None)


def find_root(root: Path, needed: Sequence[str], layout: str) -> Path:
    """The folder that holds all of `needed`: `root` itself, or the only such folder one or two levels below.

    Archives are unpacked with and without their outer folder, so both are right.

    Args:
        root: Where to look.
        needed: Names of folders that must be there.
        layout: Name of the layout, for the message.

    Raises:
        ValueError: If there is no such folder, or several; says what must be there and what was found.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "outer" / "pictures").mkdir(parents=True)
        >>> find_root(root, ["pictures"], "example").name
        'outer'
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"dataset folder {root} must exist; got no folder of that name.")
    level = [root]
    for _ in range(3):
        found = [folder for folder in level if all((folder / name).is_dir() for name in needed)]
        if len(found) > 1:
            names = ", ".join(str(folder.relative_to(root)) for folder in found[:5])
            raise ValueError(f"folder {root} must hold one {layout} dataset; got {names}. Name one of them.")
        if found:
            return found[0]
        level = [inner for folder in level for inner in _folders(folder)]
    there = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "an empty folder"
    wanted = " and ".join(repr(name) for name in needed)
    raise ValueError(f"folder {root} must hold the folders {wanted} of the layout {layout}; got {there}.")


def read_lines(path: Path) -> list[str]:
    r"""Lines of a UTF-8 text file without the blank ones and without spaces at their ends.

    Raises:
        ValueError: If the file is not UTF-8 text.

    Example:
        >>> import tempfile
        >>> listing = Path(tempfile.mkdtemp()) / "train.txt"
        >>> _ = listing.write_text("a\n\n b \n")
        >>> read_lines(listing)
        ['a', 'b']
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"list {path} must be UTF-8 text; got a byte that is not, at {error.start}.") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def one_set(data: PairedFolder, root: Path, *, seed: int, shares: Shares) -> Splits:
    """Three-way split of a dataset without official parts, with `splits.json` and `metadata.csv` of `root`."""
    return split_pairs(_grouped(data, root), seed=seed, shares=shares, file=root / "splits.json")


def split_official(parts: Mapping[str, PairedFolder], root: Path, *, seed: int = 0, shares: Shares = SHARES) -> Splits:
    """Train, val and test out of the parts that were published; nobody chooses and reports on the same pictures.

    All three: as published. Train and test: val is cut from train. Train and val: the published val list becomes
    the test part, and val is cut from train, because a list that chooses the best epoch cannot be reported. Train
    only: three-way split by seed. A `splits.json` in `root` stands above all of this.

    Args:
        parts: Datasets by part; `train` must be there and hold pictures. Empty parts count as absent.
        root: The dataset's folder, for `splits.json` and `metadata.csv`.
        seed: Seed of every cut.
        shares: Shares of train, val and test; a cut of two parts uses the first two in proportion.

    Raises:
        ValueError: If a picture is in two parts.

    Example:
        >>> from seglab.data import Pair
        >>> def part(*names):
        ...     return PairedFolder(tuple(Pair(name, Path(name), Path(name), name) for name in names))
        >>> splits = split_official({"train": part(*"abcd"), "val": part("x")}, Path("no-such-folder"))
        >>> len(splits.train), len(splits.val), splits.test.name(0)
        (3, 1, 'x')
    """
    parts = {part: data for part, data in parts.items() if len(data)}
    _require_apart(parts, root)
    everything = replace(parts["train"], pairs=tuple(pair for data in parts.values() for pair in data.pairs))
    if is_there(root / "splits.json", "split file"):
        return one_set(everything, root, seed=seed, shares=shares)
    test = parts.get("test", parts.get("val"))
    if test is None:
        return one_set(parts["train"], root, seed=seed, shares=shares)
    if "test" in parts and "val" in parts:
        return Splits(parts["train"], parts["val"], test)
    if shares[0] <= 0 or shares[1] < 0:
        raise ValueError(f"shares of train and val must be above 0 to cut val from train; got {shares}.")
    kept = shares[0] / (shares[0] + shares[1])
    train, val, _ = split_pairs(_grouped(parts["train"], root), seed=seed, shares=(kept, 1 - kept, 0.0))
    return Splits(train, val, test)


def binary(pairs: Sequence[Pair], threshold: int | None = None) -> PairedFolder:
    """Dataset of one object class with 0/255 masks; `threshold` as in BinaryMask."""
    return PairedFolder(tuple(pairs), BINARY, BinaryMask(threshold))


def _grouped(data: PairedFolder, root: Path) -> PairedFolder:
    """The dataset with the groups of `metadata.csv`; pictures that it leaves out keep the group of their layout."""
    found = groups_of(data.pairs, root / "metadata.csv")
    pairs = zip(data.pairs, found, strict=True)
    return replace(data, pairs=tuple(old if new.group == new.name else new for old, new in pairs))


def _require_apart(parts: Mapping[str, PairedFolder], root: Path) -> None:
    """No picture in two parts: it would be learned and reported."""
    seen: dict[str, str] = {}
    for part, data in parts.items():
        for pair in data.pairs:
            if pair.name in seen:
                where = f"{seen[pair.name]} and {part} of {root}"
                raise ValueError(f"picture {pair.name} must be in one part only; got it in {where}.")
            seen[pair.name] = part


def _folders(folder: Path) -> list[Path]:
    """Folders inside a folder, in order; hidden ones are left out."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
