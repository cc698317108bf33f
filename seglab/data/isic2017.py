"""ISIC 2017, Part 1: dermoscopic photographs with the border of the lesion.

The root holds the unpacked archives, `ISIC_<id>.jpg` and `ISIC_<id>_segmentation.png`:

    ISIC-2017_Training_Data/  ISIC-2017_Training_Part1_GroundTruth/
    ISIC-2017_Validation_Data/  ISIC-2017_Validation_Part1_GroundTruth/
    ISIC-2017_Test_v2_Data/  ISIC-2017_Test_v2_Part1_GroundTruth/

2000 training, 150 validation and 600 test pictures. Published parts are used as they are when their folders are
there; see `split_official` in `_layout.py` for what happens when one is missing. With the training part alone the
pictures are split three ways by the seed. The `ISIC_<id>_superpixels.png` files beside the photographs are left out.
`metadata.csv` with the columns `id` and `group` keeps a group on one side of a cut, `splits.json` replaces every
split.

N. Codella et al., "Skin Lesion Analysis Toward Melanoma Detection: A Challenge at the 2017 International Symposium
on Biomedical Imaging (ISBI), Hosted by the International Skin Imaging Collaboration (ISIC)", arXiv:1710.05006, 2017.
"""

from pathlib import Path

from seglab.data import Splits
from seglab.data._isic import load_isic
from seglab.data._layout import SHARES, Shares

PARTS = {
    "train": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
    "val": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
    "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
}


def load(root: Path, *, seed: int = 0, shares: Shares = SHARES, threshold: int | None = None) -> Splits:
    """Read the parts of ISIC 2017 that are in `root`.

    Args:
        root: Folder with the unpacked archives, or one that holds it.
        seed: Seed of every cut that the published parts leave open.
        shares: Shares of train, val and test, sum 1.
        threshold: Grey value from which a mask means lesion, for copies that were resized with smoothing.

    Raises:
        ValueError: If the training folders are not there, or a picture lacks its mask, or the reverse.
    """
    return load_isic(root, "isic2017", PARTS, seed=seed, shares=shares, threshold=threshold)
