"""Small pictures for the layouts: every file is written with Pillow, never with the code under test."""

import numpy as np
import pytest
from PIL import Image

SIZE = (24, 32)  # (H, W)


@pytest.fixture
def rectangle():
    """Function that makes a mask with one filled rectangle, the hand-drawn truth of the tests."""

    def draw(top, left, bottom, right, value=1, size=SIZE):
        mask = np.zeros(size, np.uint8)
        mask[top:bottom, left:right] = value
        return mask

    return draw


@pytest.fixture
def save_picture():
    """Function that writes a grey-level ramp as a picture; `shade` makes pictures differ."""

    def save(path, shade=0, size=SIZE):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((*size, 3), shade, np.uint8)
        pixels[:, :, 0] = np.arange(size[1])
        Image.fromarray(pixels).save(path)
        return pixels

    return save


@pytest.fixture
def save_mask():
    """Function that writes an array as a grey picture, values as they are."""

    def save(path, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(mask, np.uint8)).save(path)

    return save
