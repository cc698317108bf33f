import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seglab.inference import Predictor, to_batch, to_probs
from seglab.models import Segmenter
from seglab.tiles import blended, orientations, ramp, starts


class Local(nn.Module):
    """A net whose answer to a pixel depends on its neighbours within `reach` pixels, and on directions if asked."""

    stride, num_classes = 1, 1

    def __init__(self, reach: int, directed: bool) -> None:
        super().__init__()
        side = 2 * reach + 1
        torch.manual_seed(0)
        weight = torch.randn(1, 3, side, side) if directed else torch.randn(1, 3, 1, 1).expand(1, 3, side, side)
        self.weight, self.reach = nn.Parameter(weight.clone() / side), reach

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight, padding=self.reach)


def local(reach: int, *, directed: bool = True, **ways: object) -> Predictor:
    return Predictor(Segmenter(Local(reach, directed)), size=32, **ways)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (70, 101, 3), dtype=np.uint8)


def whole(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    """What the net says of all pixels at once, without a letterbox."""
    return to_probs(predictor.forward(to_batch(image[None])))[0].numpy()


@pytest.mark.parametrize(("length", "tile"), [(33, 32), (60, 32), (61, 32), (1000, 64), (2048, 512), (100, 99), (9, 4)])
def test_tiles_cover_everything_overlap_enough_and_are_as_few_as_possible(length, tile):
    begins = starts(length, tile)
    assert begins[0] == 0
    assert begins[-1] == length - tile
    shared = [first + tile - second for first, second in zip(begins, begins[1:], strict=False)]
    assert min(shared) >= tile // 8
    assert max(shared) - min(shared) <= 1  # even, but for rounding
    fewer = len(begins) - 1
    assert fewer * tile - (fewer - 1) * (tile // 8) < length  # one less would not reach


def test_weights_rise_from_the_edge_and_are_never_zero():
    weight = ramp(64, 64)
    assert (weight > 0).all()
    assert (np.diff(weight[:8]) > 0).all()
    np.testing.assert_array_equal(weight[8:56], 1)
    np.testing.assert_array_equal(weight, weight[::-1])
    np.testing.assert_allclose(weight[:8] + weight[:8][::-1], 1, atol=1e-6)  # neighbours add up to one


def test_tiles_answer_as_the_whole_for_a_net_that_sees_single_pixels(photo):
    predictor = local(0, tile=32)
    np.testing.assert_allclose(predictor.probs(photo), whole(predictor, photo), atol=1e-6)


def test_tiles_answer_as_the_whole_away_from_their_borders(photo):
    predictor = local(2, tile=32)
    got, expected = predictor.probs(photo), whole(predictor, photo)
    near_rows, near_columns = np.zeros(70, bool), np.zeros(101, bool)
    for near, begins, length in ((near_rows, starts(70, 32), 70), (near_columns, starts(101, 32), 101)):
        for begin in begins:
            for edge in (begin, begin + 32):
                if edge not in (0, length):
                    near[max(0, edge - 2) : edge + 2] = True
    far = ~(near_rows[:, None] | near_columns)
    assert far.mean() > 0.3
    np.testing.assert_allclose(got[0][far], expected[0][far], atol=1e-6)
    assert np.abs(got - expected).max() > 1e-3  # at their borders they miss a neighbour


def test_seams_of_blended_tiles_are_smaller_than_those_of_a_hard_cut(photo):
    """The mean difference from the whole, against tiles of which the last one written wins."""
    predictor = local(2, tile=32)
    expected, hard = whole(predictor, photo), np.zeros((1, 70, 101), np.float32)
    for top in starts(70, 32):
        for left in starts(101, 32):
            hard[:, top : top + 32, left : left + 32] = whole(predictor, photo[top : top + 32, left : left + 32])
    assert np.abs(predictor.probs(photo) - expected).mean() < 0.7 * np.abs(hard - expected).mean()


def test_overlap_is_the_weighted_mean():
    """A picture of 60 x 1 in tiles of 32 that say 0 and 1: the shared four rows go from one to the other."""
    answers = iter([0.0, 1.0])
    maps = blended(np.zeros((60, 1, 3), np.uint8), 32, lambda part: np.full((1, 32, 1), next(answers), np.float32))
    rise = [np.sin((i + 0.5) / 4 * np.pi / 2) ** 2 for i in range(4)]
    np.testing.assert_allclose(maps[0, :, 0], [0.0] * 28 + rise + [1.0] * 28, atol=1e-6)


def test_a_picture_no_larger_than_a_tile_is_answered_whole(photo):
    np.testing.assert_array_equal(local(2, tile=101).probs(photo), local(2).probs(photo))


def test_tiles_larger_than_the_model_are_letterboxed_to_it():
    """Left half dark, right half bright, seen at half the scale: still the net's answer to each half."""
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 64:] = 255
    predictor = local(0, tile=64)
    dark, bright = (whole(predictor, np.full((32, 32, 3), value, np.uint8))[0, 0, 0] for value in (0, 255))
    probs = predictor.probs(image)[0]
    np.testing.assert_allclose(probs[:, :50], dark, atol=1e-5)
    np.testing.assert_allclose(probs[:, 78:], bright, atol=1e-5)


def test_the_eight_orientations_differ_and_go_back():
    batch = torch.rand(2, 3, 5, 5)
    views = list(orientations(batch))
    for turned, back in views:
        torch.testing.assert_close(back(turned), batch, rtol=0, atol=0)
    assert len({turned.numpy().tobytes() for turned, _ in views}) == 8


def test_tta_changes_nothing_for_a_net_that_knows_no_direction(photo):
    square = photo[:64, :64]
    plain, turned = local(2, directed=False), local(2, directed=False, tta=True)
    np.testing.assert_allclose(turned.probs(square), plain.probs(square), atol=1e-5)


def test_tta_turns_with_the_picture_although_the_net_does_not(photo):
    square = photo[:64, :64]
    plain, turned = local(2), local(2, tta=True)
    for change in (lambda a: np.rot90(a, axes=(0, 1)), lambda a: a[:, ::-1], lambda a: a[::-1]):
        other = np.ascontiguousarray(change(square))
        np.testing.assert_allclose(turned.probs(other)[0], change(turned.probs(square)[0]), atol=1e-5)
        assert np.abs(plain.probs(other)[0] - change(plain.probs(square)[0])).max() > 0.1


def test_tta_is_the_mean_over_turned_pictures(photo):
    square, plain = photo[:32, :32], local(1)
    answers = []
    for flip in (1, -1):
        for turns in range(4):
            view = np.ascontiguousarray(np.rot90(square[:, ::flip], turns))
            answers.append(np.rot90(plain.probs(view)[0], -turns)[:, ::flip])
    np.testing.assert_allclose(local(1, tta=True).probs(square)[0], np.mean(answers, axis=0), atol=1e-6)


def test_tiles_and_tta_together_and_their_names(photo):
    predictor = local(0, tile=32, tta=True)
    np.testing.assert_allclose(predictor.probs(photo), local(0, tile=32).probs(photo), atol=1e-5)
    assert predictor.name.endswith(" + tiles + TTA")
    assert "+" not in local(0).name


def test_a_tile_too_small_is_refused():
    with pytest.raises(ValueError, match=r"tile must be at least 32 pixels; got 31\."):
        local(0, tile=31)
