"""Disturbances do what their unit says, the same every time, and nothing at "none"."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from seglab.corruptions import corrupt, find_corruption, list_corruptions

NAMES = list_corruptions()


def scene(height: int = 240, width: int = 320) -> np.ndarray:
    """A soft bright picture with a dark disc and fine texture."""
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(y - height / 2, x - width / 2) < height / 4
    grey = 150 + 20 * np.sin(x / 3) + 15 * np.cos(y / 2) - 70 * disc
    return np.clip(np.stack([grey + 20, grey, grey - 15], axis=2), 0, 255).astype(np.uint8)


def change(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


def test_every_kind_of_the_issue_is_there() -> None:
    assert set(NAMES) >= {"noise", "blur", "jpeg", "brightness", "contrast", "hair", "resolution"}


@pytest.mark.parametrize("name", NAMES)
def test_none_leaves_every_bit_and_the_input_is_never_changed(name: str) -> None:
    picture, found = scene(), find_corruption(name)
    kept = picture.copy()
    same = corrupt(picture, name, found.none)
    assert np.array_equal(same, picture)
    assert not np.shares_memory(same, picture)
    picture.flags.writeable = False
    for severity in found.severities:
        other = corrupt(picture, name, severity)
        assert other.shape == picture.shape
        assert other.dtype == np.uint8
        assert not np.array_equal(other, picture)
    assert np.array_equal(picture, kept)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_depends_on_name_severity_seed_and_index_and_not_on_the_order(name: str) -> None:
    severities = find_corruption(name).severities
    first = {(s, i): corrupt(scene(), name, s, seed=3, index=i) for i in (0, 1) for s in severities}
    for key in reversed(list(first)):
        corrupt(scene(), "noise", 7, index=5)  # what else was drawn does not matter
        assert np.array_equal(corrupt(scene(), name, key[0], seed=3, index=key[1]), first[key])
    random = name in ("noise", "hair")
    level = severities[-1]
    assert np.array_equal(first[level, 0], first[level, 1]) != random
    assert np.array_equal(corrupt(scene(), name, level, seed=4), first[level, 0]) != random


@pytest.mark.parametrize("name", NAMES)
def test_more_severity_is_more_change(name: str) -> None:
    found = find_corruption(name)
    assert len(found.severities) == 5
    for side in (-1, 1):  # away from none, in each direction
        levels = sorted((s for s in found.severities if (s - found.none) * side > 0), key=lambda s: abs(s - found.none))
        changes = [change(corrupt(scene(), name, s), scene()) for s in [found.none, *levels]]
        assert all(low < high for low, high in zip(changes, changes[1:], strict=False)), (name, changes)


@pytest.mark.parametrize("name", NAMES)
def test_both_ends_of_the_range_and_odd_sizes_work(name: str) -> None:
    found = find_corruption(name)
    for shape in ((1, 1), (33, 47), (300, 200)):
        for severity in (found.low, found.high):
            assert corrupt(scene(*shape), name, severity).shape == (*shape, 3)


@pytest.mark.parametrize("sigma", [5, 10, 20])
def test_noise_has_the_sigma_that_is_printed(sigma: float) -> None:
    flat = np.full((200, 300, 3), 128, np.uint8)
    noise = corrupt(flat, "noise", sigma).astype(float) - 128
    assert noise.std() == pytest.approx(np.sqrt(sigma**2 + 1 / 12), rel=0.01)  # rounding adds 1/12
    assert noise.mean() == pytest.approx(0, abs=0.1)
    across = np.corrcoef(noise.reshape(-1, 3).T)
    assert np.abs(across - np.eye(3)).max() < 0.02  # every channel its own


def test_stronger_noise_is_the_same_noise_louder() -> None:
    flat = np.full((64, 64, 3), 128, np.uint8)
    weak, strong = (corrupt(flat, "noise", s).astype(float) - 128 for s in (10, 20))
    assert np.abs(strong - 2 * weak).max() <= 1.5  # two roundings


@pytest.mark.parametrize("quality", [1, 25, 50, 95])
def test_jpeg_is_pillows_at_that_quality(quality: int) -> None:
    stream = io.BytesIO()
    Image.fromarray(scene()).save(stream, "JPEG", quality=quality)
    assert np.array_equal(corrupt(scene(), "jpeg", quality), np.asarray(Image.open(stream)))


@pytest.mark.parametrize(("shape", "percent"), [((90, 120), 2), ((120, 90), 2), ((400, 500), 3), ((1000, 760), 5)])
def test_blur_is_the_gaussian_of_that_share_of_the_shorter_side(shape: tuple[int, int], percent: float) -> None:
    picture = scene(*shape)
    truth = cv2.GaussianBlur(picture.astype(np.float64), (0, 0), percent / 100 * min(shape))
    assert np.abs(corrupt(picture, "blur", percent) - truth).max() < 2.5


def test_brightness_adds_grey_levels_and_clips() -> None:
    picture = np.array([[[0, 100, 250]]], np.uint8)
    assert corrupt(picture, "brightness", 30).tolist() == [[[30, 130, 255]]]
    assert corrupt(picture, "brightness", -30).tolist() == [[[0, 70, 220]]]


def test_contrast_scales_about_the_mean_and_keeps_it() -> None:
    picture = np.array([[[100, 100, 100], [200, 200, 200]]], np.uint8)
    assert corrupt(picture, "contrast", 0.5).tolist() == [[[125] * 3, [175] * 3]]
    assert corrupt(picture, "contrast", 2).tolist() == [[[50] * 3, [250] * 3]]
    assert corrupt(picture, "contrast", 0).tolist() == [[[150] * 3, [150] * 3]]


def test_hair_darkens_thin_lines_only_and_more_hair_keeps_the_first_strands() -> None:
    bright = np.full((150, 200, 3), 220, np.uint8)
    few, more = (corrupt(bright, "hair", n).astype(int) for n in (4, 12))
    assert (few <= 220).all()
    assert few.min() < 80
    assert 0.002 < (few[..., 0] < 150).mean() < 0.1
    assert ((few[..., 0] < 100) <= (more[..., 0] < 150)).all()


def test_resolution_averages_blocks() -> None:
    blocks = np.kron(np.array([[40, 200], [120, 80]]), np.ones((8, 8)))[..., None].repeat(3, axis=2).astype(np.uint8)
    low = corrupt(blocks, "resolution", 8)
    assert [int(low[y, x, 0]) for y, x in ((0, 0), (0, 15), (15, 0), (15, 15))] == [40, 200, 120, 80]
    assert corrupt(scene(), "resolution", 64).std(axis=(0, 1)).max() < scene().std(axis=(0, 1)).max()


@pytest.mark.parametrize(
    ("image", "name", "severity", "knobs", "message"),
    [
        (scene(), "nose", 1, {}, "corruption must be one of blur, .*; got 'nose'. Did you mean 'noise'?"),
        (scene(), "noise", -1, {}, r"severity of noise must be from 0 to 128 \(sigma in grey levels\); got -1"),
        (scene(), "noise", float("nan"), {}, "must be from 0 to 128 .*; got nan"),
        (scene(), "hair", 2.5, {}, "severity of hair must be a whole number from 0 to 200 .*; got 2.5"),
        (scene(), "noise", 1, {"seed": -1}, "seed and index must be at least 0; got -1 and 0"),
        (scene(), "noise", 1, {"index": -2}, "seed and index must be at least 0; got 0 and -2"),
        (scene()[..., 0], "noise", 1, {}, r"picture must be \(H, W, 3\) uint8 .*; got \(240, 320\) uint8"),
        (scene() / 255, "noise", 1, {}, r"picture must be \(H, W, 3\) uint8 .* float64"),
        ("a.png", "noise", 1, {}, r"picture must be an array \(H, W, 3\) uint8; got str"),
    ],
)
def test_what_is_refused_is_said(image: object, name: str, severity: float, knobs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt(image, name, severity, **knobs)
