"""ISIC 2018, Task 1: dermoscopic photographs with the border of the lesion.

The root holds the unpacked archives, `ISIC_<id>.jpg` and `ISIC_<id>_segmentation.png`:

    ISIC2018_Task1-2_Training_Input/  ISIC2018_Task1_Training_GroundTruth/
    ISIC2018_Task1-2_Validation_Input/  ISIC2018_Task1_Validation_GroundTruth/
    ISIC2018_Task1-2_Test_Input/  ISIC2018_Task1_Test_GroundTruth/

2594 training, 100 validation and 1000 test pictures. Published parts are used as they are when their folders are
there; see `split_official` in `_layout.py` for what happens when one is missing. With the training part alone the
pictures are split three ways by the seed. Many of these pictures are in ISIC 2016 and 2017 too: train and test on
different years only after taking out the shared ids. `metadata.csv` with the columns `id` and `group` keeps a group
on one side of a cut, `splits.json` replaces every split.

N. Codella et al., "Skin Lesion Analysis Toward Melanoma Detection 2018: A Challenge Hosted by the International Skin
Imaging Collaboration (ISIC)", arXiv:1902.03368, 2018.
"""

from pathlib import Path

from seglab.data import Splits
from seglab.data._isic import load_isic
from seglab.data._layout import SHARES, Shares

PARTS = {
    "train": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
    "val": ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
    "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
}


def load(root: Path, *, seed: int = 0, shares: Shares = SHARES, threshold: int | None = None) -> Splits:
    """Read the parts of ISIC 2018 that are in `root`.

    Args:
        root: Folder with the unpacked archives, or one that holds it.
        seed: Seed of every cut that the published parts leave open.
        shares: Shares of train, val and test, sum 1.
        threshold: Grey value from which a mask means lesion, for copies that were resized with smoothing.

    Raises:
        ValueError: If the training folders are not there, or a picture lacks its mask, or the reverse.
    """
    return load_isic(root, "isic2018", PARTS, seed=seed, shares=shares, threshold=threshold)
