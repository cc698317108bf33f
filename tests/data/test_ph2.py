"""PH2: three cases in the folders of the archive."""

import numpy as np
import pytest
from PIL import Image

from seglab.data import load_dataset

SIZE = (24, 32)  # (H, W) of the pictures


@pytest.fixture
def root(tmp_path, save_picture, rectangle):
    for number in (2, 3, 4):
        case = tmp_path / "PH2Dataset" / "PH2 Dataset images" / f"IMD{number:03}"
        save_picture(case / f"IMD{number:03}_Dermoscopic_Image" / f"IMD{number:03}.bmp", shade=number)
        (case / f"IMD{number:03}_lesion").mkdir()
        mask = Image.fromarray(rectangle(4, 5, 15, 15 + number).astype(bool))  # 1-bit, as published
        mask.save(case / f"IMD{number:03}_lesion" / f"IMD{number:03}_lesion.bmp")
        (case / f"IMD{number:03}_roi").mkdir()
    return tmp_path


@pytest.mark.parametrize("below", ["", "PH2Dataset", "PH2Dataset/PH2 Dataset images"])
def test_any_of_the_three_folders_is_the_root(root, below, rectangle):
    data = load_dataset("ph2", root / below, shares=(1, 0, 0)).train
    assert [data.name(i) for i in range(3)] == ["IMD002", "IMD003", "IMD004"]
    assert data[1].image.shape == (3, *SIZE)
    assert data[1].image[1, 0, 0] == 3
    assert np.array_equal(data[1].mask.numpy(), rectangle(4, 5, 15, 18))


def test_mask_saved_as_colour_picture_is_read(root, rectangle):
    file = root / "PH2Dataset/PH2 Dataset images/IMD002/IMD002_lesion/IMD002_lesion.bmp"
    Image.fromarray(np.repeat(rectangle(0, 0, 2, 2, 255)[..., None], 3, 2)).save(file)
    assert load_dataset("ph2", root, shares=(1, 0, 0)).train[0].mask.sum() == 4


def test_missing_lesion_is_named(root):
    (root / "PH2Dataset/PH2 Dataset images/IMD003/IMD003_lesion/IMD003_lesion.bmp").unlink()
    with pytest.raises(ValueError, match="IMD003 must hold IMD003_lesion.IMD003_lesion.bmp; got no such file"):
        load_dataset("ph2", root)


def test_other_folder_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="'PH2 Dataset images'.*ph2; got images"):
        load_dataset("ph2", tmp_path)


def test_empty_case_folder_is_refused(tmp_path):
    (tmp_path / "PH2 Dataset images").mkdir()
    with pytest.raises(ValueError, match="folder for each picture, such as IMD002; got none"):
        load_dataset("ph2", tmp_path)
