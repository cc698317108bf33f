"""The plain layout: `images/STEM.*` and `masks/STEM.*`, optional `splits.json` and `metadata.csv`.

`splits.json` holds `{"train": [names], "val": [...], "test": [...]}`. Without it the pictures are split 70:15:15 from
a seed. `metadata.csv` with the columns `id` and `group` keeps pictures of one group (one patient, one tile, one
source picture) on one side. `classes.txt`, one name a line with the background first, names more than two classes.
"""

from pathlib import Path

from seglab.data import BINARY, PairedFolder, Splits, groups_of, is_there, pair_files, split_pairs
from seglab.data._layout import read_lines


def load(root: Path, *, seed: int = 0, shares: tuple[float, float, float] = (0.7, 0.15, 0.15)) -> Splits:
    """Read a folder of pictures and masks.

    Args:
        root: Folder with `images` and `masks`.
        seed: Seed of the split, if there is no splits.json.
        shares: Shares of train, val and test, if there is no splits.json.

    Raises:
        ValueError: If a picture lacks its mask, or the reverse; `seglab check-data` lists all such cases at once.
    """
    listing = root / "classes.txt"
    classes = tuple(read_lines(listing)) if is_there(listing, "list") else BINARY
    if len(set(classes)) < len(classes):
        raise ValueError(f"{listing} must name every class once; got {', '.join(classes)[:200]}.")
    if len(classes) < 2:
        raise ValueError(f"{listing} must name at least two classes, the background first; got {len(classes)}.")
    pairs = groups_of(pair_files(root / "images", root / "masks"), root / "metadata.csv")
    return split_pairs(PairedFolder(pairs, classes), seed=seed, shares=shares, file=root / "splits.json")
