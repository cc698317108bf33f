import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import seglab
from seglab.comparison import METRICS, VIEWS, compare
from seglab.images import ImageError, write_mask
from seglab.inference import Predictor
from seglab.models import build_model


class Painted(torch.nn.Module):
    """A model that marks what is bright: its answer is known without training."""

    num_classes, stride, name = 1, 1, "painted"

    def __init__(self, level=0.5):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(level))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return (x.mean(1, keepdim=True) - self.level) * 10


def painted(level=0.5, size=64):
    return Predictor(Painted(level), size=size)


@pytest.fixture
def image():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[10:30, 10:30] = 255  # 400 bright pixels
    pixels[40:50, 40:50] = 150  # 100 pixels between the levels 0.5 and 0.7
    return pixels


@pytest.fixture
def truth():
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 10:30] = 1
    mask[0:5, 0:10] = 1  # 50 pixels that no model finds
    return mask


@pytest.fixture
def both(image, truth):
    return compare(image, {"low": painted(0.5), "high": painted(0.7)}, truth)


def test_numbers_are_those_counted_by_hand(both):
    low, high = (result.numbers for result in both.results)
    assert (low["extra_px"], low["missed_px"]) == (100, 50)
    assert (high["extra_px"], high["missed_px"]) == (0, 50)
    assert low["dice"] == pytest.approx(2 * 400 / (500 + 450))
    assert low["iou"] == pytest.approx(400 / 550)
    assert (low["precision"], low["recall"]) == (pytest.approx(400 / 500), pytest.approx(400 / 450))
    assert low["area_percent"] == pytest.approx(100 * 500 / 64**2)
    assert high["hausdorff95_px"] > 0


def test_the_verdict_names_the_better_model_on_this_picture(both):
    gap = 2 * 400 / (400 + 450) - 2 * 400 / (500 + 450)
    assert both.verdict() == f"high is closer to the true mask by {gap:.3f} Dice on this one picture."


def test_the_table_has_a_signed_difference_and_says_what_is_missing(both, image):
    rows = {row[""]: row for row in both.table()}
    assert len(rows) == len(METRICS)
    assert rows["Extra (FP), px"]["Difference"] == "-100"
    bare = {row[""]: row for row in compare(image, {"low": painted()}).table()}
    assert bare["Dice"]["low"] == "no mask"
    assert "Difference" not in bare["Dice"]


def test_without_truth_the_verdict_gives_the_agreement(image):
    result = compare(image, {"low": painted(0.5), "high": painted(0.7)})
    assert f"agree on {100 * (1 - 100 / 64**2):.1f} %" in result.verdict()
    with pytest.raises(ValueError, match="needs the true mask"):
        result.view("error", "low")


def test_empty_masks_give_not_defined_and_never_zero():
    dark = np.zeros((64, 64, 3), np.uint8)
    result = compare(dark, {"a": painted(), "b": painted()}, np.zeros((64, 64), np.uint8))
    assert result.results[0].numbers["dice"] is None
    assert result.table()[0]["a"] == "not defined"
    assert result.verdict() == "The mask is empty and both models found nothing: Dice is not defined."
    assert "Neither model found an object above 0.50" in compare(dark, {"a": painted(), "b": painted()}).verdict()


def test_another_threshold_runs_no_model_and_equals_a_fresh_comparison(image, truth):
    predictor = painted(0.55)
    first = compare(image, {"one": predictor}, truth, attention=False)
    calls = predictor.model.calls
    moved = first.at(0.9)
    assert predictor.model.calls == calls
    fresh = compare(image, {"one": painted(0.55)}, truth, 0.9, attention=False)
    assert np.array_equal(moved.results[0].mask, fresh.results[0].mask)
    assert not np.array_equal(moved.results[0].mask, first.results[0].mask)
    assert moved.results[0].numbers["dice"] == fresh.results[0].numbers["dice"]
    with pytest.raises(ValueError, match="threshold must be above 0"):
        first.at(0)


def test_every_view_has_the_pictures_size_and_says_what_it_shows(image, truth):
    torch.manual_seed(0)
    attending = Predictor(build_model("unet", 1, width=4, cbam="skip"), size=32)
    result = compare(image, {"plain": painted(), "cbam": attending}, truth)
    for kind in VIEWS:
        assert result.view(kind, "cbam").shape == (64, 64, 3)
        assert "cbam" in result.alt_text(kind, "cbam")
    with pytest.raises(ValueError, match="plain has no attention module"):
        result.view("attention", "plain")
    with pytest.raises(ValueError, match="stage must be one of skip 1"):
        result.view("attention", "cbam", stage="skip 9")
    with pytest.raises(ValueError, match="view must be one of"):
        result.view("x-ray", "cbam")
    with pytest.raises(ValueError, match="model must be one of plain, cbam"):
        result.view("mask", "other")


def test_agreement_tells_who_drew_what(both):
    codes = both.view("agreement", "low", opacity=1.0)
    assert codes[45, 45].tolist() == [255, 128, 0]  # only low
    mirrored = both.view("agreement", "high", opacity=1.0)
    assert mirrored[45, 45].tolist() in ([0, 0, 64], [255, 255, 255])  # only the other
    assert codes[20, 20].tolist() == [128, 192, 255]


def test_the_zip_holds_masks_and_numbers(both, tmp_path):
    with zipfile.ZipFile(both.to_zip(tmp_path / "r.zip")) as archive:
        names = set(archive.namelist())
        assert {"README.txt", "metrics.json", "true_mask.png", "low_mask.png", "high_error-map.png"} <= names
        mask = np.asarray(Image.open(io.BytesIO(archive.read("low_mask.png"))))
        numbers = json.loads(archive.read("metrics.json"))
    assert np.array_equal(mask, both.results[0].mask * 255)
    assert numbers["models"][0]["numbers"]["extra_px"] == 100
    assert numbers["threshold"] == 0.5


def test_names_of_files_in_the_zip_are_plain(image, tmp_path):
    named = {"U-Net <b>/../x": painted(), "U-Net (b) x": painted()}
    with zipfile.ZipFile(compare(image, named).to_zip(tmp_path / "r.zip")) as archive:
        masks = [name for name in archive.namelist() if name.endswith("_mask.png")]
    assert masks == ["U-Net-b-x_mask.png", "U-Net-b-x-2_mask.png"]


def test_the_zips_mask_is_the_predictors_mask_byte_for_byte(image, tmp_path):
    predictor = painted()
    write_mask(tmp_path / "mask.png", predictor(image).mask, binary=True)
    with zipfile.ZipFile(compare(image, {"one": predictor}).to_zip(tmp_path / "r.zip")) as archive:
        assert archive.read("one_mask.png") == (tmp_path / "mask.png").read_bytes()


def test_truth_may_be_a_file_a_grey_mask_or_labelme(image, truth, tmp_path):
    write_mask(tmp_path / "m.png", truth)
    grey = Image.fromarray(np.where(truth, 200, 90).astype(np.uint8))
    grey.save(tmp_path / "grey.png")
    shape = {"label": "mole", "shape_type": "rectangle", "points": [[10, 10], [29, 29]]}
    content = {"version": "5.0.1", "imageHeight": 64, "imageWidth": 64, "imagePath": "x.png", "shapes": [shape]}
    (tmp_path / "m.json").write_text(json.dumps(content))
    for name, area in (("m.png", 450), ("grey.png", 450), ("m.json", None)):
        known = compare(image, {"one": painted()}, tmp_path / name).truth
        assert set(np.unique(known)) == {0, 1}
        assert known.sum() == area or 350 <= known.sum() <= 450
    with pytest.raises(ImageError, match="320 × 240 but the picture is 64 × 64"):
        compare(image, {"one": painted()}, np.zeros((240, 320), np.uint8))


def test_a_list_of_models_is_named_by_the_models(image):
    names = [result.name for result in compare(image, [painted(), painted()]).results]
    assert names == ["painted", "painted (2)"]
    with pytest.raises(ValueError, match="at least one model"):
        compare(image, {})


def test_compare_is_public():
    assert seglab.compare is compare
