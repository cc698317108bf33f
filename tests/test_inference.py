"""From a picture of any size to a mask of that size, the same for every way to hand it over."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from seglab.checkpoint import Description, save_model
from seglab.contract import PADDING_GREY, to_mask
from seglab.inference import Box, Predictor, letterbox, restore, to_batch, to_probs
from seglab.models import Segmenter


class Red(nn.Module):
    """K maps that follow the picture's channels: what the mask must be is known."""

    stride = 1

    def __init__(self, num_classes: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.num_classes == 1:
            return x[:, :1] * 50
        return torch.cat([torch.zeros_like(x[:, :1]), x[:, : self.num_classes - 1] * 50], dim=1)


def red(num_classes: int = 1, size: int = 64) -> Predictor:
    return Predictor(Segmenter(Red(num_classes)), size=size)


SIZES = [(64, 64), (33, 64), (64, 33), (100, 37), (37, 101), (16, 200), (200, 16), (257, 255), (16, 16), (31, 320)]


@pytest.mark.parametrize("side", [32, 64, 65])
@pytest.mark.parametrize("shape", SIZES)
def test_letterbox_keeps_the_ratio_and_centres(shape, side):
    image = np.full((*shape, 3), 9, np.uint8)
    square, box = letterbox(image, side, fill=200)
    assert square.shape == (side, side, 3)
    assert (box.original_height, box.original_width) == shape
    assert max(box.height, box.width) == side
    scale = side / max(shape)
    assert abs(box.height - shape[0] * scale) <= 0.5
    assert abs(box.width - shape[1] * scale) <= 0.5
    inside = np.zeros((side, side), bool)
    inside[box.top : box.top + box.height, box.left : box.left + box.width] = True
    assert (square[inside] == 9).all()
    assert (square[~inside] == 200).all()
    assert abs(box.top - (side - box.height - box.top)) <= 1
    assert abs(box.left - (side - box.width - box.left)) <= 1


def test_longest_allowed_and_longer_pictures_keep_a_row():
    for shape in ((16, 320), (1, 5000), (5000, 1)):
        square, box = letterbox(np.full(shape, 7, np.uint8), 32)
        assert min(box.height, box.width) >= 1
        assert (square == 7).sum() == box.height * box.width
        assert restore(np.ones((1, 32, 32), np.float32), box).shape == (1, *shape)


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_letterbox_takes_any_number_of_channels(channels):
    for shape in ((40, 60), (10, 20), (32, 32)):
        assert letterbox(np.zeros((*shape, *channels), np.uint8), 32)[0].shape == (32, 32, *channels)


def test_padding_is_grey_by_default():
    assert letterbox(np.zeros((16, 32), np.uint8), 32)[0][0, 0] == PADDING_GREY


def test_picture_that_fits_is_not_touched():
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    square, box = letterbox(image, 64)
    assert box == Box(0, 8, 64, 48, 64, 48)
    assert np.array_equal(square[:, 8:56], image)
    maps = np.random.default_rng(1).random((2, 64, 64), np.float32)
    assert np.array_equal(restore(maps, box), maps[:, :, 8:56])


def test_shrinking_averages_so_that_fine_texture_does_not_alias():
    board = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert abs(letterbox(board, 32)[0].astype(int) - 127.5).max() <= 1


def test_masks_are_picked_and_never_mixed():
    mask = np.random.default_rng(0).choice(np.array([0, 7, 200], np.uint8), (90, 50))
    assert set(np.unique(letterbox(mask, 64, fill=255, nearest=True)[0])) == {0, 7, 200, 255}


@pytest.mark.parametrize("shape", [s for s in SIZES if min(s) > 30])
@pytest.mark.parametrize("side", [64, 96])
def test_rectangle_comes_back_within_a_pixel(shape, side):
    mask = np.zeros(shape, np.uint8)
    top, left, bottom, right = (int(share * n) for share, n in zip((0.2, 0.3, 0.7, 0.8), shape * 2, strict=True))
    mask[top:bottom, left:right] = 1
    square, box = letterbox(mask * np.uint8(255), side, fill=0)
    back = restore(square[None].astype(np.float32) / 255, box)[0] > 0.5
    rows, columns = np.flatnonzero(back.any(1)), np.flatnonzero(back.any(0))
    coarse = max(1.0, max(shape) / side)  # one pixel of the letterbox, where that is the larger
    for got, want in ((rows[0], top), (rows[-1] + 1, bottom), (columns[0], left), (columns[-1] + 1, right)):
        assert abs(got - want) <= coarse


@pytest.mark.parametrize("shape", SIZES)
def test_ramp_comes_back_where_it_was_without_a_shift(shape):
    ramp = np.tile(np.linspace(20, 220, shape[1]).astype(np.uint8), (shape[0], 1))
    square, box = letterbox(ramp, 64, fill=0)
    back = restore(square[None].astype(np.float32), box)[0]
    inner = slice(shape[1] // 8, -(shape[1] // 8))  # at the ends, resampling has nothing to lean on
    slope = 200 / shape[1]
    assert np.abs(back[:, inner] - ramp[:, inner]).max() <= 0.6 * slope + 1.5


def test_restored_probabilities_stay_between_the_lowest_and_the_highest():
    maps = np.random.default_rng(0).choice(np.array([0.0, 1.0], np.float32), (3, 32, 32))
    for shape in SIZES:
        back = restore(maps, letterbox(np.zeros(shape, np.uint8), 32)[1])
        assert back.min() >= 0
        assert back.max() <= 1


# --- the predictor


def half_red(shape: tuple[int, int]) -> np.ndarray:
    image = np.zeros((*shape, 3), np.uint8)
    image[:, shape[1] // 2 :, 0] = 255
    return image


@pytest.mark.parametrize("shape", SIZES)
def test_mask_has_the_pictures_own_size_and_place(shape):
    prediction = red()(half_red(shape))
    assert prediction.mask.shape == shape
    assert prediction.mask.dtype == np.uint8
    assert prediction.probs.shape == (1, *shape)
    assert prediction.probs.dtype == np.float32
    assert abs(prediction.mask.mean() - 0.5) <= 1 / shape[1] + max(shape) / 64 / shape[1]
    assert (prediction.mask[:, -(shape[1] // 3) :] == 1).all()
    assert (prediction.mask[:, : shape[1] // 3] == 0).all()


def test_path_picture_array_and_tensor_give_the_same(tmp_path, small_unet):
    predictor = Predictor(small_unet(3), size=64)
    image = np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    first = predictor(image)
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(image), tensor, image[::-1][::-1]):
        other = predictor(source)
        assert np.array_equal(first.probs, other.probs)
        assert np.array_equal(first.mask, other.mask)


@pytest.mark.parametrize("num_classes", [1, 2, 3])
def test_mask_follows_the_models_logits_for_any_number_of_classes(small_unet, num_classes):
    predictor = Predictor(small_unet(num_classes), size=64)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    prediction = predictor(image)
    logits = predictor.forward(to_batch(image[None]))
    assert prediction.probs.shape == (num_classes, 64, 64)
    assert np.array_equal(prediction.mask, to_mask(logits)[0].numpy())
    sums = prediction.probs.sum(axis=0)
    assert num_classes == 1 or np.abs(sums - 1).max() < 1e-5
    assert predictor.num_classes == num_classes
    assert len(predictor.classes) == max(2, num_classes)


def test_three_classes_are_told_apart():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 20:40, 0] = image[:, 40:, 1] = 255
    mask = red(3)(image).mask
    assert (mask[:, :20] == 0).all()
    assert (mask[:, 20:40] == 1).all()
    assert (mask[:, 40:] == 2).all()


@pytest.mark.parametrize("num_classes", [1, 2])
def test_object_shrinks_as_the_threshold_rises(small_unet, num_classes):
    predictor = Predictor(small_unet(num_classes), size=64)
    probs = predictor(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).probs
    masks = [predictor.decide(probs, threshold=t).mask for t in np.linspace(0.01, 0.99, 30)]
    assert all((later <= earlier).all() for earlier, later in zip(masks, masks[1:], strict=False))
    assert masks[0].sum() > masks[-1].sum()


@pytest.mark.parametrize("threshold", [0, 1, -0.1, 1.5, float("nan")])
def test_threshold_outside_zero_to_one_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be above 0 and below 1; got"):
        red()(half_red((32, 32)), threshold=threshold)


def test_two_threads_at_once_give_the_serial_result(small_unet):
    predictor = Predictor(small_unet(2), size=64)
    images = [np.random.default_rng(i).integers(0, 256, (40 + i, 60, 3), dtype=np.uint8) for i in range(12)]
    serial = [predictor(image) for image in images]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(predictor, images * 3))
    for one, other in zip(serial * 3, together, strict=True):
        assert np.array_equal(one.probs, other.probs)


def test_predicting_keeps_no_gradient_and_changes_no_statistics(small_unet):
    model = small_unet()
    predictor = Predictor(model.train(), size=64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits = predictor.forward(torch.rand(2, 3, 64, 64))
    assert not logits.requires_grad
    assert not model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_network_without_parameters_works():
    class Plain(nn.Module):
        stride = 1
        num_classes = 1

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1]

    assert Predictor(Segmenter(Plain()), size=64)(half_red((64, 64))).mask.mean() == 0.5


def test_small_size_is_refused():
    with pytest.raises(ValueError, match="size must be at least 32; got 31"):
        red(size=31)


def test_wrong_number_of_class_names_is_refused():
    with pytest.raises(ValueError, match=r"classes must name 3 classes; got \('a', 'b'\)"):
        Predictor(Segmenter(Red(3)), size=64, classes=("a", "b"))


def test_default_class_names_fit_the_model():
    assert red(1).classes == red(2).classes == ("background", "object")
    assert red(3).classes == ("background", "class 1", "class 2")


def test_file_and_run_folder_load_alike(tmp_path, small_unet):
    model = small_unet()
    about = Description("unet", model.knobs, 1, ("background", "lesion"), 96, "Best")
    save_model(tmp_path / "best.safetensors", model, about)
    image = half_red((50, 70))
    want = Predictor(model, size=96)(image).probs
    for path in (tmp_path, tmp_path / "best.safetensors", str(tmp_path)):
        predictor = Predictor.load(path)
        assert (predictor.name, predictor.size, predictor.classes) == ("Best", 96, ("background", "lesion"))
        assert np.array_equal(predictor(image).probs, want)


def test_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"best.safetensors must exist; got no file of that name"):
        Predictor.load(tmp_path)


def test_probabilities_are_sigmoid_or_softmax():
    logits = torch.tensor([0.0, 2.0])
    assert torch.equal(to_probs(logits.reshape(2, 1, 1, 1)), logits.sigmoid().reshape(2, 1, 1, 1))
    assert torch.allclose(to_probs(logits.reshape(1, 2, 1, 1))[0, 1], logits[1].sigmoid())
