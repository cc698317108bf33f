"""SD-saliency-900: three pictures in the folders of the repository."""

import numpy as np
import pytest
from PIL import Image

from seglab.data import load_dataset

SIZE = (24, 32)  # (H, W) of the pictures


@pytest.fixture
def root(tmp_path, save_mask, rectangle):
    for name, right in (("In_1", 5), ("Pa_1", 9), ("Sc_1", 13)):
        save_mask(tmp_path / "SD-saliency-900" / "Source Images" / f"{name}.bmp", np.full(SIZE, right * 10))
        save_mask(tmp_path / "SD-saliency-900" / "Ground truth" / f"{name}.png", rectangle(3, 2, 20, right, 255))
    return tmp_path


@pytest.mark.parametrize("below", ["", "SD-saliency-900"])
def test_grey_pictures_become_rgb_and_255_the_defect(root, below, rectangle):
    data = load_dataset("sd900", root / below, shares=(1, 0, 0)).train
    assert [data.name(i) for i in range(3)] == ["In_1", "Pa_1", "Sc_1"]
    assert data.classes == ("background", "object")
    assert (data[1].image == 90).all()
    assert np.array_equal(data[1].mask.numpy(), rectangle(3, 2, 20, 9))


def test_picture_without_mask_is_named(root):
    (root / "SD-saliency-900" / "Ground truth" / "Sc_1.png").unlink()
    with pytest.raises(ValueError, match=r"Sc_1\.bmp must have a mask of the same name"):
        load_dataset("sd900", root)


def test_two_datasets_below_the_root_are_refused(root):
    (root / "SD-saliency-900").rename(root / "one")
    for folder in ("Source Images", "Ground truth"):
        (root / "two" / folder).mkdir(parents=True)
    with pytest.raises(ValueError, match="must hold one sd900 dataset; got one, two"):
        load_dataset("sd900", root)


def test_mask_of_another_size_is_refused(root):
    Image.new("L", (20, 20)).save(root / "SD-saliency-900" / "Ground truth" / "Sc_1.png")
    with pytest.raises(ValueError, match=r"Sc_1\.png"):
        load_dataset("sd900", root, shares=(1, 0, 0)).train[2]
