"""PH2: 200 dermoscopic photographs with the border of the lesion, in the folders of the original archive.

    PH2Dataset/PH2 Dataset images/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp
                                         IMD002_lesion/IMD002_lesion.bmp

The root is `PH2Dataset`, a folder that holds it, or `PH2 Dataset images` itself. The folders of regions of interest
are left out. There is no published split: pictures are split three ways by the seed. `metadata.csv` with the columns
`id` and `group` beside the pictures' folder keeps a group on one side, `splits.json` there replaces the split.

T. Mendonca, P. M. Ferreira, J. S. Marques, A. R. S. Marcal and J. Rozeira, "PH2 - A dermoscopic image database for
research and benchmarking", 35th Annual International Conference of the IEEE EMBS, 2013.
"""

from pathlib import Path

from seglab.data import Pair, Splits
from seglab.data._layout import SHARES, Shares, binary, find_root, one_set

PICTURES = "PH2 Dataset images"


def load(root: Path, *, seed: int = 0, shares: Shares = SHARES, threshold: int | None = None) -> Splits:
    """Read PH2.

    Args:
        root: `PH2Dataset`, a folder that holds it, or `PH2 Dataset images`.
        seed: Seed of the split.
        shares: Shares of train, val and test, sum 1.
        threshold: Grey value from which a mask means lesion, for copies that were resized with smoothing.

    Raises:
        ValueError: If the folders are not as above, or a lesion lacks its picture or mask.
    """
    root = Path(root)
    outer = root.parent if any(root.glob("IMD*/")) else find_root(root, [PICTURES], "ph2")
    pictures = root if outer == root.parent else outer / PICTURES
    pairs = [_pair(folder) for folder in sorted(pictures.glob("IMD*")) if folder.is_dir()]
    if not pairs:
        raise ValueError(f"folder {pictures} must hold a folder for each picture, such as IMD002; got none.")
    return one_set(binary(pairs, threshold), outer, seed=seed, shares=shares)


def _pair(folder: Path) -> Pair:
    """Photograph and lesion mask of one case."""
    name = folder.name
    image = folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp"
    mask = folder / f"{name}_lesion" / f"{name}_lesion.bmp"
    for path in (image, mask):
        if not path.is_file():
            raise ValueError(f"case {folder} must hold {path.relative_to(folder)}; got no such file.")
    return Pair(name, image, mask, name)
