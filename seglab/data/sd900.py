"""SD-saliency-900: 900 grey pictures of steel strip defects, 200 x 200, in the folders of the authors' repository.

    SD-saliency-900/Source Images/In_1.bmp
                    Ground truth/In_1.png

The root is `SD-saliency-900` or a folder that holds it, such as the unpacked repository. Names begin with the defect:
`In` inclusion, `Pa` patches, `Sc` scratches, 300 each; the mask has one class, defect. There is no published split:
pictures are split three ways by the seed. `metadata.csv` with the columns `id` and `group` beside the two folders
keeps a group on one side, `splits.json` there replaces the split.

G. Song, K. Song and Y. Yan, "Saliency detection for strip steel surface defects using multiple constraints and
improved texture features", Optics and Lasers in Engineering 128, 106000, 2020.
"""

from pathlib import Path

from seglab.data import Splits, pair_files
from seglab.data._layout import SHARES, Shares, binary, find_root, one_set

FOLDERS = ("Source Images", "Ground truth")


def load(root: Path, *, seed: int = 0, shares: Shares = SHARES, threshold: int | None = None) -> Splits:
    """Read SD-saliency-900.

    Args:
        root: `SD-saliency-900`, or a folder that holds it.
        seed: Seed of the split.
        shares: Shares of train, val and test, sum 1.
        threshold: Grey value from which a mask means defect, for copies that were resized with smoothing.

    Raises:
        ValueError: If the folders are not there, or a picture lacks its mask, or the reverse.
    """
    root = find_root(root, FOLDERS, "sd900")
    pairs = pair_files(root / FOLDERS[0], root / FOLDERS[1])
    return one_set(binary(pairs, threshold), root, seed=seed, shares=shares)
