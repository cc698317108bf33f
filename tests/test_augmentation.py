"""Random geometry and colour: drawn from (seed, epoch, index) alone, the mask always with the picture."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist

import numpy as np
import pytest

from seglab.augmentation import Parameters, apply, draw
from seglab.contract import IGNORE_INDEX, PADDING_GREY

PLAIN = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], np.float32)


def only(matrix: object, colour: np.ndarray = PLAIN, blur: float = 0.0, noise: float = 0.0) -> Parameters:
    return Parameters(np.asarray(matrix, np.float64), colour, blur, noise, 0)


def picture(side: int = 33, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (side, side, 3), dtype=np.uint8), rng.integers(0, 3, (side, side), dtype=np.uint8)


def same(first: Parameters, second: Parameters) -> bool:
    arrays = np.array_equal(first.matrix, second.matrix) and np.array_equal(first.colour, second.colour)
    rest = [(p.blur, p.noise, p.noise_seed) for p in (first, second)]
    return arrays and rest[0] == rest[1]


IDENTITY = [[1, 0, 0], [0, 1, 0]]


def test_same_key_draws_the_same_and_any_other_key_another():
    keys = list(itertools.product((0, 1), (0, 1, 2), (0, 1, 2)))
    draws = [draw(*key) for key in keys]
    assert all(same(draw(*key), first) for key, first in zip(keys, draws, strict=True))
    assert not any(same(a, b) for a, b in itertools.combinations(draws, 2))


def test_draws_do_not_depend_on_the_global_generator():
    np.random.seed(1)  # noqa: NPY002 - the point of the test
    first = draw(0, 0, 0)
    np.random.seed(2)  # noqa: NPY002
    assert same(draw(0, 0, 0), first)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_two_epochs_give_distinct_pictures_for_any_number_of_threads(workers):
    image, mask = picture()
    keys = [(0, epoch, index) for epoch in range(2) for index in range(16)]
    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(lambda key: apply(image, mask, draw(*key))[0].tobytes(), keys))
    assert len(set(results)) == len(keys)
    assert results == [apply(image, mask, draw(*key))[0].tobytes() for key in keys]


@pytest.mark.parametrize("side", [32, 33])
def test_identity_gives_the_picture_back_exactly(side):
    image, mask = picture(side)
    got_image, got_mask = apply(image, mask, only(IDENTITY))
    assert np.array_equal(got_image, image)
    assert np.array_equal(got_mask, mask)


def test_input_arrays_are_not_changed():
    image, mask = picture()
    before = image.copy(), mask.copy()
    apply(image, mask, draw(0, 0, 0), np.ones_like(mask))
    assert np.array_equal(image, before[0])
    assert np.array_equal(mask, before[1])


@pytest.mark.parametrize("side", [32, 33])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_equal_rot90(side, quarters):
    image, mask = picture(side)
    angle = quarters * math.pi / 2
    turn = np.round([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
    got_image, got_mask = apply(image, mask, only(turn))
    assert np.array_equal(got_image, np.rot90(image, quarters))
    assert np.array_equal(got_mask, np.rot90(mask, quarters))


@pytest.mark.parametrize("side", [32, 33])
def test_negative_scale_equals_a_flip(side):
    image, mask = picture(side)
    got_image, got_mask = apply(image, mask, only([[-1, 0, 0], [0, 1, 0]]))
    assert np.array_equal(got_image, image[:, ::-1])
    assert np.array_equal(got_mask, mask[:, ::-1])


def test_shift_is_a_share_of_the_side_and_mirrors_at_the_border():
    image, mask = picture(40)
    got_image, got_mask = apply(image, mask, only([[1, 0, 0.1], [0, 1, 0]]))  # reads 4 pixels further right
    assert np.array_equal(got_image[:, :36], image[:, 4:])
    assert np.array_equal(got_mask[:, :36], mask[:, 4:])
    assert np.array_equal(got_image[:, 36:], image[:, 38:34:-1])  # the last column is not repeated


@pytest.mark.parametrize("index", range(12))
def test_picture_and_mask_move_together(index):
    side = 96
    rows, columns = np.mgrid[:side, :side]
    mask = (((rows - 40) ** 2 + (columns - 60) ** 2 < 20**2) | (rows + columns < 40)).astype(np.uint8)
    image = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    got_image, got_mask = apply(image, mask, only(draw(3, 0, index).matrix))
    shown = got_image[..., 0] > 127
    border = np.ptp(np.stack([np.roll(got_mask, s, a) for s in (-1, 0, 1) for a in (0, 1)]), axis=0) > 0
    assert 0 < got_mask.mean() < 1
    assert np.array_equal(shown[~border], got_mask[~border].astype(bool))
    assert (shown != got_mask.astype(bool)).mean() < 0.02


def test_mask_values_are_picked_and_never_mixed():
    image, mask = picture(64)
    mask[mask == 2] = 9
    for index in range(10):
        assert set(np.unique(apply(image, mask, draw(0, 0, index))[1])) <= {0, 1, 9}


def test_unknown_pixels_stay_unknown_and_their_picture_stays_visible():
    image, _ = picture(64)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = IGNORE_INDEX
    got_image, got_mask = apply(image, mask, only(IDENTITY))
    assert np.array_equal(got_mask, mask)
    assert np.array_equal(got_image, image)  # grey there would show the model where the unknown pixels lie
    turned_image, turned_mask = apply(image, mask, draw(0, 0, 0))
    inside = turned_image[turned_mask == IGNORE_INDEX]
    assert 200 < len(inside) < 64 * 64
    assert inside.std() > 20


@pytest.mark.parametrize("index", range(6))
def test_letterbox_grey_stays_as_grey_as_at_inference(index):
    image, _ = picture(64)
    padding = np.zeros((64, 64), np.uint8)
    padding[:16] = padding[48:] = 1
    image[padding > 0] = PADDING_GREY
    mask = np.where(padding > 0, IGNORE_INDEX, 1).astype(np.uint8)
    got_image, got_mask = apply(image, mask, draw(0, 0, index), padding)
    assert (got_mask == IGNORE_INDEX).any()
    assert (got_image[got_mask == IGNORE_INDEX] == PADDING_GREY).all()
    assert (got_image[got_mask == 1] != PADDING_GREY).any()


def test_colour_is_an_affine_map_of_rgb_on_zero_to_one():
    image, mask = picture()
    colour = np.array([[0.5, 0, 0, 0.25], [0, 0, 1, 0], [0, 1, 0, 0]], np.float32)
    got, _ = apply(image, mask, only(IDENTITY, colour))
    assert np.abs(got[..., 0] - (image[..., 0] * 0.5 + 0.25 * 255)).max() <= 0.5 + 1e-3
    assert np.array_equal(got[..., 1], image[..., 2])
    assert np.array_equal(got[..., 2], image[..., 1])


def test_colours_are_clipped_not_wrapped():
    image, mask = np.full((32, 32, 3), 250, np.uint8), np.zeros((32, 32), np.uint8)
    brighter, darker = PLAIN.copy(), PLAIN.copy()
    brighter[:, 3], darker[:, 3] = 0.5, -2.0
    assert (apply(image, mask, only(IDENTITY, brighter))[0] == 255).all()
    assert (apply(image, mask, only(IDENTITY, darker))[0] == 0).all()


def test_noise_has_the_drawn_strength_and_leaves_the_mask_alone():
    image, mask = np.full((128, 128, 3), 128, np.uint8), picture(128)[1]
    got_image, got_mask = apply(image, mask, only(IDENTITY, noise=0.03))
    assert np.std(got_image.astype(float)) == pytest.approx(0.03 * 255, rel=0.03)
    assert np.mean(got_image.astype(float)) == pytest.approx(128, abs=0.2)
    assert np.array_equal(got_mask, mask)


@pytest.mark.parametrize("sigma", [1.3, 5.0, 10.2])
def test_noise_is_normal_in_whole_grey_levels(sigma):
    flat = np.full((200, 200, 3), 128, np.uint8)
    noise = apply(flat, flat[..., 0], only(IDENTITY, noise=sigma / 255))[0].astype(int) - 128
    for level in range(-8, 9, 4):
        share = NormalDist(0, sigma).cdf(level + 0.5) - NormalDist(0, sigma).cdf(level - 0.5)
        assert (noise == level).mean() == pytest.approx(share, abs=4 * math.sqrt(share / noise.size) + 1e-4)
    pixels = noise.reshape(-1, 3)
    assert np.abs(np.corrcoef(pixels.T) - np.eye(3)).max() < 0.02  # channels on their own
    assert abs(np.corrcoef(pixels[:-1, 0], pixels[1:, 0])[0, 1]) < 0.02  # and neighbours


def test_a_place_far_outside_is_mirrored_as_often_as_needed():
    image, mask = picture(8)
    for shift in (3, 11, 100, -100):
        matrix = [[1, 0, shift / 8], [0, 1, 0]]
        columns = np.abs((np.arange(8) + shift + 7) % 14 - 7)  # 0 to 7 and back again
        got_image, got_mask = apply(image, mask, only(matrix))
        assert np.array_equal(got_image, image[:, columns])
        assert np.array_equal(got_mask, mask[:, columns])


def test_blur_smooths_the_picture_only():
    image, mask = picture(128)
    got_image, got_mask = apply(image, mask, only(IDENTITY, blur=0.006))
    assert got_image.std() < 0.7 * image.std()
    assert np.array_equal(got_mask, mask)


def test_draws_stay_in_the_ranges_the_docstring_names():
    draws = [draw(1, 0, index) for index in range(3000)]
    matrices = np.stack([one.matrix for one in draws])
    linear, shift = matrices[:, :, :2], matrices[:, :, 2]
    zoom = 1 / np.sqrt(np.abs(np.linalg.det(linear)))
    assert 0.75 <= zoom.min() < 0.76
    assert 1.34 < zoom.max() <= 1.35
    assert np.median(zoom) == pytest.approx(math.sqrt(0.75 * 1.35), rel=0.03)
    assert -0.1 <= shift.min() < -0.099
    assert 0.099 < shift.max() <= 0.1
    mirrored = np.linalg.det(linear) < 0
    assert mirrored.mean() == pytest.approx(0.5, abs=0.04)
    first = linear[:, :, 0]  # the turn alone moves the first axis, which shear leaves alone
    angles = np.arctan2(first[:, 1], first[:, 0]) + mirrored * math.pi
    counts, _ = np.histogram(angles % (2 * math.pi), bins=8, range=(0, 2 * math.pi))
    assert counts.min() > 3000 / 8 * 0.8
    ratio = (np.linalg.norm(first, axis=1) * zoom) ** 2
    assert 0.8 - 1e-9 <= ratio.min() < 0.81
    assert 1.24 < ratio.max() <= 1.25 + 1e-9
    blurs, noises = (np.array([getattr(one, name) for one in draws]) for name in ("blur", "noise"))
    for values, low, high in ((blurs, 0.001, 0.006), (noises, 0.005, 0.04)):
        assert (values > 0).mean() == pytest.approx(0.2, abs=0.03)
        assert low <= values[values > 0].min()
        assert values.max() <= high


def test_drawn_colours_keep_the_picture_recognisable():
    grey = np.array([0.5, 0.5, 0.5, 1.0])
    tones = np.stack([draw(2, 0, index).colour @ grey for index in range(1000)])
    assert tones.min() > 0.3
    assert tones.max() < 0.7
    assert tones.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("image", "mask"), [((8, 9, 3), (8, 9)), ((8, 8), (8, 8)), ((8, 8, 3), (8, 7))])
def test_other_shapes_are_refused(image, mask):
    with pytest.raises(ValueError, match=r"image must be \(S, S, 3\) with mask \(S, S\); got"):
        apply(np.zeros(image, np.uint8), np.zeros(mask, np.uint8), draw(0, 0, 0))


def test_no_rotation_and_no_strength_leave_flips_alone():
    draws = [draw(0, 0, index, rotation=0, strength=0) for index in range(64)]
    signs = {(round(d.matrix[0, 0], 9), round(d.matrix[1, 1], 9)) for d in draws}
    assert signs == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    for drawn in draws:
        assert np.allclose(np.abs(drawn.matrix), IDENTITY)
        assert np.allclose(drawn.colour, PLAIN, atol=1e-6)
        assert (drawn.blur, drawn.noise) == (0, 0)


@pytest.mark.parametrize("rotation", [5.0, 30.0, 90.0])
def test_rotation_stays_within_its_limit_and_comes_near_it(rotation):
    matrices = [draw(0, 0, index, rotation=rotation, strength=0).matrix for index in range(400)]
    angles = [math.degrees(math.asin(-m[0, 1] * np.sign(m[1, 1]))) for m in matrices]
    assert max(map(abs, angles)) <= rotation
    assert min(angles) < -0.95 * rotation
    assert max(angles) > 0.95 * rotation


def test_half_the_strength_is_half_of_every_range():
    for index in range(50):
        whole, half = (draw(0, 0, index, rotation=0, strength=share) for share in (1, 0.5))
        assert np.allclose(half.matrix[:, 2], whole.matrix[:, 2] / 2)
        zooms = [math.log(abs(np.linalg.det(drawn.matrix[:, :2]))) for drawn in (half, whole)]
        assert zooms[0] == pytest.approx(zooms[1] / 2)
        assert half.blur == pytest.approx(whole.blur / 2)
        assert half.noise == pytest.approx(whole.noise / 2)
