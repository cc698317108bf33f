"""ISIC 2016, Part 1: dermoscopic photographs with the border of the lesion.

The root holds the unpacked archives, `ISIC_<id>.jpg` and `ISIC_<id>_Segmentation.png`:

    ISBI2016_ISIC_Part1_Training_Data/  ISBI2016_ISIC_Part1_Training_GroundTruth/
    ISBI2016_ISIC_Part1_Test_Data/  ISBI2016_ISIC_Part1_Test_GroundTruth/

900 training and 379 test pictures; there is no validation part, so val is cut from train by the seed. Published parts
are used as they are when their folders are there; see `split_official` in `_layout.py` for what happens when one is
missing. With the training part alone the pictures are split three ways by the seed. `metadata.csv` with the columns
`id` and `group` keeps a group on one side of a cut, `splits.json` replaces every split.

D. Gutman et al., "Skin Lesion Analysis toward Melanoma Detection: A Challenge at the International Symposium on
Biomedical Imaging (ISBI) 2016, hosted by the International Skin Imaging Collaboration (ISIC)", arXiv:1605.01397, 2016.
"""

from pathlib import Path

from seglab.data import Splits
from seglab.data._isic import load_isic
from seglab.data._layout import SHARES, Shares

PARTS = {
    "train": ("ISBI2016_ISIC_Part1_Training_Data", "ISBI2016_ISIC_Part1_Training_GroundTruth"),
    "test": ("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
}


def load(root: Path, *, seed: int = 0, shares: Shares = SHARES, threshold: int | None = None) -> Splits:
    """Read the parts of ISIC 2016 that are in `root`.

    Args:
        root: Folder with the unpacked archives, or one that holds it.
        seed: Seed of every cut that the published parts leave open.
        shares: Shares of train, val and test, sum 1.
        threshold: Grey value from which a mask means lesion, for copies that were resized with smoothing.

    Raises:
        ValueError: If the training folders are not there, or a picture lacks its mask, or the reverse.
    """
    return load_isic(root, "isic2016", PARTS, seed=seed, shares=shares, threshold=threshold)
