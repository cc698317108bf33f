"""The ISIC challenges' lesion boundary task: one folder of photographs and one of masks for each published part.

The masks are `<id>_Segmentation.png` (2016) or `<id>_segmentation.png` (2017, 2018), 0 and 255. Both spellings are
read in every year, because copies differ. A part counts when both of its folders are there.
"""

from collections.abc import Mapping
from pathlib import Path

from seglab.data import Splits, pair_files
from seglab.data._layout import Shares, binary, find_root, split_official

__all__ = ["load_isic"]


def load_isic(
    root: Path,
    layout: str,
    parts: Mapping[str, tuple[str, str]],
    *,
    seed: int,
    shares: Shares,
    threshold: int | None,
) -> Splits:
    """Read the parts of one year that are there.

    Args:
        root: Folder with the unpacked archives, or one that holds it.
        layout: Name of the dataset, for messages.
        parts: (pictures, masks) folder names of train, val and test, as far as that year has them.
        seed: Seed of every cut that the published parts leave open.
        shares: Shares of train, val and test.
        threshold: Grey value from which a mask means lesion, for copies that were resized with smoothing.

    Raises:
        ValueError: If the training folders are not there, or a picture lacks its mask, or the reverse.
    """
    root = find_root(root, parts["train"], layout)
    data = {}
    for part, (pictures, masks) in parts.items():
        if (root / pictures).is_dir() and (root / masks).is_dir():
            pairs = pair_files(
                root / pictures, root / masks, suffixes=("_segmentation", "_Segmentation"), ignored=("_superpixels",)
            )
            data[part] = binary(pairs, threshold)
    return split_official(data, root, seed=seed, shares=shares)
