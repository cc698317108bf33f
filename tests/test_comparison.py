import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import seglab
from seglab.comparison import METRICS, VIEWS, compare
from seglab.contract import Sample
from seglab.images import ImageError, read_mask, write_mask
from seglab.inference import Predictor
from seglab.models import build_model
from seglab.packing import OutdatedError


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
    assert result.verdict() == (
        "The mask is empty and both models found nothing: Dice is not defined on this one picture."
    )
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


def test_zip_that_nobody_wants_any_more_ends_early_and_leaves_nothing(both, tmp_path):
    answers = iter([True, True, False])
    with pytest.raises(OutdatedError):
        both.to_zip(tmp_path / "r.zip", lambda: next(answers))
    assert not list(tmp_path.iterdir())


def test_pictures_of_the_zip_have_every_pixel_of_the_views(both, tmp_path):
    with zipfile.ZipFile(both.to_zip(tmp_path / "r.zip", lambda: True)) as archive:
        for kind, name in (("outline", "outline"), ("error", "error-map"), ("agreement", "agreement")):
            found = np.asarray(Image.open(io.BytesIO(archive.read(f"high_{name}.png"))))
            assert np.array_equal(found, both.view(kind, "high")), kind
        probability = np.asarray(Image.open(io.BytesIO(archive.read("low_probability.png"))))
    assert np.array_equal(probability, (both.results[0].object_probs * 255).round())


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
    shape = {"label": "mole", "shape_type": "rectangle", "points": [[10, 20], [29, 29]]}
    content = {"version": "5.0.1", "imageHeight": 64, "imageWidth": 64, "imagePath": "x.png", "shapes": [shape]}
    (tmp_path / "m.json").write_text(json.dumps(content))
    drawn = np.zeros_like(truth)
    drawn[20:30, 10:30] = 1  # the outline of a labelme shape is part of it
    for name, expected in (("m.png", truth), ("grey.png", truth), ("m.json", drawn)):
        assert np.array_equal(compare(image, {"one": painted()}, tmp_path / name).truth, expected)
    with pytest.raises(ImageError, match="320 × 240 but the picture is 64 × 64"):
        compare(image, {"one": painted()}, np.zeros((240, 320), np.uint8))


def test_a_list_of_models_is_named_by_the_models(image):
    names = [result.name for result in compare(image, [painted(), painted()]).results]
    assert names == ["painted", "painted (2)"]
    with pytest.raises(ValueError, match="at least one model"):
        compare(image, {})


def test_compare_is_public():
    assert seglab.compare is compare


def test_numbers_are_those_of_evaluate(both, image, truth):
    sample = Sample(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(truth), "one")

    class One(list):
        classes = ("background", "object")

    values = seglab.evaluate(painted(0.5), One([sample])).values
    numbers = both.results[0].numbers
    for ours, theirs in (("dice", "dice_fg"), ("iou", "iou_fg"), ("precision",) * 2, ("hausdorff95_px", "hausdorff95")):
        assert numbers[ours] == pytest.approx(values[f"{theirs}_image"].value)


def test_unknown_pixels_are_left_out_of_every_number(image, truth):
    truth[40:50, 40:50] = 255  # just where `low` draws too much
    truth[0:5, 0:10] = 255  # and where all miss
    result = compare(image, {"low": painted()}, truth)
    numbers = result.results[0].numbers
    assert (numbers["dice"], numbers["extra_px"], numbers["missed_px"], numbers["hausdorff95_px"]) == (1, 0, 0, 0)


class Classes(torch.nn.Module):
    """Three classes by brightness: dark, grey, bright."""

    num_classes, stride, name = 3, 1, "classes"

    def __init__(self):
        super().__init__()
        self.centres = torch.nn.Parameter(torch.tensor([0.0, 0.6, 1.0]))

    def forward(self, x):
        return -100 * (x[:, :1] - self.centres[:, None, None]) ** 2


def test_several_classes_are_told_apart(image, truth, tmp_path):
    truth[40:50, 40:50] = 1  # bright class, but grey there: drawn as another object
    result = compare(image, {"one": Predictor(Classes(), size=64)}, np.where(truth == 1, 2, 0).astype(np.uint8))
    numbers = result.results[0].numbers
    assert (numbers["extra_px"], numbers["missed_px"]) == (100, 50)
    assert numbers["dice"] == pytest.approx((0 + 2 * 400 / (400 + 550)) / 2)  # mean of the grey and the bright class
    assert sorted({*result.view("mask", "one")[..., 0].flat}) == [0, 127, 255]
    assert result.at(0.9).results[0].mask.max() == 2
    with zipfile.ZipFile(result.to_zip(tmp_path / "r.zip")) as archive:
        mask = np.asarray(Image.open(io.BytesIO(archive.read("one_mask.png"))))
    assert np.array_equal(mask, result.results[0].mask)


def test_models_of_different_tasks_are_refused(image):
    with pytest.raises(ValueError, match=r"one number of classes; got 2 \(a\), 3 \(b\)"):
        compare(image, {"a": painted(), "b": Predictor(Classes(), size=64)})
    with pytest.raises(ValueError, match="must not be empty or 'Difference'"):
        compare(image, {"Difference": painted()})


def test_attention_costs_no_second_run_and_changes_no_mask(image):
    torch.manual_seed(0)
    attending = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
    calls = []
    head = attending.model.net.head
    head.register_forward_hook(lambda *_: calls.append(1))
    (result,) = compare(image, {"cbam": attending}).results
    assert (len(calls), list(result.attention)) == (1, ["bottleneck"])
    assert np.array_equal(result.mask, attending(image).mask)
    assert compare(image, {"cbam": attending}, attention=False).results[0].attention == {}


@pytest.fixture
def nothing():
    return np.zeros((64, 64), np.uint8)


class TestVerdict:
    def test_of_one_model(self, image, truth, nothing):
        one = {"one": painted()}
        assert compare(image, one, truth).verdict() == "one has Dice 0.842 on this one picture."
        assert compare(image, one).verdict().startswith("one marks 12.2 % of this one picture as object.")
        assert compare(nothing, one).verdict() == (
            "one has not found an object above 0.50 on this one picture. Highest probability: 0.01."
        )

    def test_of_an_empty_mask_on_which_models_draw(self, image, nothing):
        both = compare(image, {"low": painted(0.5), "high": painted(0.7)}, nothing)
        assert both.verdict() == (
            "The mask is empty. On this one picture low draws 500 pixels too many and high draws 400 pixels too many."
        )
        quiet = compare(image, {"low": painted(0.5), "none": painted(1.5)}, nothing)
        assert quiet.verdict().endswith("low draws 500 pixels too many; none draws nothing.")

    def test_of_an_object_that_no_model_found(self, image, truth):
        both = compare(image, {"a": painted(1.5), "b": painted(1.5)}, truth)
        assert both.verdict() == (
            "Neither model found the object of the mask above 0.50 on this one picture. "
            "Highest probability: 0.01 / 0.01."
        )
        assert both.results[0].numbers["dice"] == 0
        assert both.table()[6]["a"] == "not defined"  # no outline, no distance

    def test_of_a_mask_without_a_known_pixel(self, image, nothing):
        unknown = compare(image, {"a": painted(), "b": painted()}, nothing + 1, attention=False)
        blind = replace(unknown, truth=nothing + 255).at(0.5)
        assert blind.verdict() == "The mask holds no known pixel, so nothing can be said on this one picture."
        assert {row["a"] for row in blind.table()[:4]} == {"not defined"}

    def test_of_equal_models(self, image, truth):
        assert compare(image, {"a": painted(), "b": painted()}, truth).verdict() == (
            "Both models are equally close to the true mask (Dice 0.842) on this one picture."
        )

    def test_of_more_than_two_models(self, image, truth):
        levels = {"a": painted(0.5), "b": painted(0.5), "c": painted(0.7)}
        assert compare(image, levels, truth).verdict() == (
            "c is closest to the true mask on this one picture, 0.099 Dice before a."
        )
        assert compare(image, {**levels, "d": painted(0.7)}, truth).verdict() == (
            "c and d are closest to the true mask (Dice 0.941 each) on this one picture."
        )
        assert compare(image, dict.fromkeys("abc", painted()), truth).verdict().startswith("All three models are equ")
        assert "agree on 97.6 % of the pixels" in compare(image, levels).verdict()
        assert "which ones are right" in compare(image, levels).verdict()

    def test_never_rounds_to_full_agreement(self):
        pixels = np.zeros((100, 100, 3), np.uint8)
        pixels[50:52, 50:52] = 150
        both = compare(pixels, {"a": painted(0.5, 100), "b": painted(0.7, 100)})
        assert "agree on 99.9 % of the pixels" in both.verdict()


def test_the_difference_is_that_of_the_numbers_shown(image, truth):
    rows = compare(image, {"a": painted(), "b": painted()}, truth).table()
    assert [row["Difference"] for row in rows[:6]] == ["0.000"] * 4 + ["0"] * 2
    rows = compare(image, {"a": painted(0.5), "b": painted(0.7)}, truth).table()
    assert rows[0] == {"": "Dice", "a": "0.842", "b": "0.941", "Difference": "+0.099"}
    assert "Difference" not in compare(image, dict.fromkeys("abc", painted()), truth).table()[0]


def test_markup_in_names_is_shown_and_not_obeyed(image):
    head = compare(image, {"<b>x</b> | *y*\n[z](w)": painted()}).to_markdown().splitlines()[0]
    assert head == r"|  | &lt;b&gt;x&lt;/b&gt; \| \*y\* \[z\](w) |"


def test_unknown_pixels_of_the_truth_survive_the_zip(image, truth, tmp_path):
    truth[50:] = 255
    with zipfile.ZipFile(compare(image, {"a": painted()}, truth).to_zip(tmp_path / "r.zip")) as archive:
        (tmp_path / "t.png").write_bytes(archive.read("true_mask.png"))
    assert np.array_equal(read_mask(tmp_path / "t.png", num_classes=2), truth)


def test_no_two_files_of_the_zip_share_a_name(image, truth, tmp_path):
    named = dict.fromkeys(("true", "a", "A", "a-2"), painted())
    with zipfile.ZipFile(compare(image, named, truth).to_zip(tmp_path / "r.zip")) as archive:
        names = [name.lower() for name in archive.namelist()]
        listing = archive.read("README.txt").decode()
    assert len(names) == len(set(names))
    assert "true-2_  true\n" in listing


def test_every_number_of_the_zip_is_json(image, nothing, tmp_path):
    with zipfile.ZipFile(compare(image, {"a": painted(1.5)}, nothing).to_zip(tmp_path / "r.zip")) as archive:
        content = archive.read("metrics.json").decode()
    assert "NaN" not in content
    assert json.loads(content)["models"][0]["numbers"]["dice"] is None


def test_truth_of_a_photo_that_lies_on_its_side(tmp_path):
    photo, exif = Image.new("RGB", (40, 60)), Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "a.jpg", exif=exif)
    assert compare(tmp_path / "a.jpg", [painted()]).image.shape == (40, 60, 3)
    with pytest.raises(ImageError, match="stored sideways"):
        compare(tmp_path / "a.jpg", [painted()], np.zeros((60, 40), np.uint8))
