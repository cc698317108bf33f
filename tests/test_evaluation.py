"""Counts per picture at its own size; every score from them; reports that can be read back."""

import csv
import io
import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seglab
from seglab.contract import IGNORE_INDEX, Sample
from seglab.data import Joined
from seglab.evaluation import Report, evaluate
from seglab.inference import Predictor
from seglab.models import Segmenter


def report(counts: list[object], **changes: object) -> Report:
    table = torch.tensor(counts)
    size = table.shape[1]
    parts = {
        "model": "m",
        "names": tuple(f"p{i}" for i in range(len(table))),
        "classes": tuple(f"c{i}" for i in range(size)),
        "counts": table,
        "hausdorff95": torch.full((len(table),), torch.nan, dtype=torch.float64),
    }
    return Report(**parts | changes)


def brute(mask: np.ndarray, truth: np.ndarray, size: int) -> list[list[int]]:
    return [
        [
            sum(
                int(truth[y, x] == true and mask[y, x] == pred)
                for y in range(truth.shape[0])
                for x in range(truth.shape[1])
            )
            for pred in range(size)
        ]
        for true in range(size)
    ]


@pytest.mark.parametrize("num_classes", [1, 2, 3])
def test_counts_equal_a_brute_force_at_the_pictures_own_size(pictures, small_unet, num_classes):
    size = max(2, num_classes)
    data = pictures(3, (37, 52), num_classes=size)
    data[1].mask[5:9] = IGNORE_INDEX
    predictor = Predictor(small_unet(num_classes), size=32)
    got = evaluate(predictor, data)
    assert got.counts.shape == (3, size, size)
    for index, sample in enumerate(data):
        want = brute(predictor(sample.image).mask, sample.mask.numpy(), size)
        assert got.counts[index].tolist() == want
    assert got.counts.sum((1, 2)).tolist() == [37 * 52, 33 * 52, 37 * 52]
    assert got.names == ("p0", "p1", "p2")
    assert got.classes == data.classes


class Constant(nn.Module):
    """Says the same of every pixel."""

    stride, num_classes = 1, 1

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :1]) + self.logit


def blank(count: int, label: int = 0, classes: int = 2) -> list[Sample]:
    class Data(list):
        pass

    Data.classes = tuple(f"c{i}" for i in range(classes))
    image = torch.zeros(3, 32, 48, dtype=torch.uint8)
    return Data(Sample(image, torch.full((32, 48), label, dtype=torch.uint8), f"b{i}") for i in range(count))


def test_pictures_empty_in_both_are_left_out_and_counted(pictures):
    nothing = Predictor(Segmenter(Constant(-9.0)), size=32)
    both = blank(2)
    both.extend([pictures(1)[0]])
    got = evaluate(nothing, both)
    assert got.notes["both_empty"].startswith("2 pictures, left out of per-image Dice and IoU")
    assert got.notes["one_empty"].startswith("1 pictures")
    assert torch.isnan(got.per_image_dice).tolist() == [True, True, False]
    assert got.values["dice_fg_image"] == (0.0, 1)
    everything = evaluate(Predictor(Segmenter(Constant(9.0)), size=32), blank(2))
    assert everything.notes["both_empty"].startswith("0 pictures")
    assert everything.values["dice_fg_image"] == (0.0, 2)


def test_nothing_to_average_is_not_a_number_anywhere():
    got = evaluate(Predictor(Segmenter(Constant(-9.0)), size=32), blank(2))
    assert math.isnan(got.values["dice_fg_image"].value)
    assert all(math.isnan(end) for end in got.interval())
    assert "not defined" in got.to_markdown()
    assert json.loads(got.to_json())["values"]["dice_fg_image"] == {"value": None, "n": 0}
    assert got.values["hausdorff95_image"].n == 0


def test_perfect_prediction_scores_one_with_distance_zero():
    got = evaluate(Predictor(Segmenter(Constant(9.0)), size=32), blank(3, label=1))
    for name in ("dice_fg_image", "iou_fg_pooled", "accuracy_pooled"):
        assert got.values[name].value == 1
    assert got.values["hausdorff95_image"] == (0.0, 3)


def test_boundaries_can_be_left_out():
    got = evaluate(Predictor(Segmenter(Constant(9.0)), size=32), blank(1, label=1), boundary=False)
    assert torch.isnan(got.hausdorff95).all()


def test_unknown_pixels_take_no_part_in_the_distance():
    data = blank(1, label=1)
    data[0].mask[:, 12:24] = 0
    data[0].mask[:, 24:] = IGNORE_INDEX
    got = evaluate(Predictor(Segmenter(Constant(9.0)), size=32), data)
    assert got.values["hausdorff95_image"].value == 12  # the outlines of columns 0 to 23 and of 0 to 11
    assert got.counts[0].tolist() == [[0, 32 * 12], [0, 32 * 12]]


def test_corruption_is_applied_before_the_model_sees_the_picture():
    class Red(Constant):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1] * self.logit

    seen = []

    def corrupt(image: np.ndarray, index: int) -> np.ndarray:
        seen.append((index, image.shape, image.dtype))
        return np.full_like(image, 255 * index)

    got = evaluate(Predictor(Segmenter(Red(9.0)), size=32), blank(2), corruption=corrupt)
    assert seen == [(0, (32, 48, 3), np.uint8), (1, (32, 48, 3), np.uint8)]
    assert got.counts[:, 0, 1].tolist() == [0, 32 * 48]
    assert got.notes["corruption"] == "corrupt"
    assert got.notes["threshold"] == "0.5"


def test_progress_counts_pictures():
    done = []
    evaluate(Predictor(Segmenter(Constant(9.0)), size=32), blank(3), on_image=done.append)
    assert done == [1, 2, 3]


def test_other_classes_and_empty_data_are_refused():
    predictor = Predictor(Segmenter(Constant(9.0)), size=32)
    with pytest.raises(ValueError, match=r"data set must have the model's 2 classes; got 3: \('c0', 'c1', 'c2'\)"):
        evaluate(predictor, blank(1, classes=3))
    with pytest.raises(ValueError, match="data set must hold at least one picture; got none"):
        evaluate(predictor, blank(0))


# --- the report


def test_scores_equal_hand_arithmetic():
    # Dice of the object: 2*3/(3+4) and 2*1/(1+1); IoU: 3/4 and 1; pooled 2*4/(4+5)
    got = report([[[4, 1], [0, 3]], [[7, 0], [0, 1]]])
    assert got.per_image_dice.tolist() == pytest.approx([6 / 7, 1.0])
    assert got.values["dice_fg_image"] == (pytest.approx((6 / 7 + 1) / 2), 2)
    assert got.values["iou_fg_image"] == (pytest.approx(0.875), 2)
    assert got.values["dice_fg_pooled"].value == pytest.approx(8 / 9)


def test_several_object_classes_are_averaged_over_those_present():
    got = report([[[4, 0, 0], [0, 2, 2], [0, 0, 0]], [[8, 0, 0], [0, 0, 0], [0, 0, 0]]])
    assert got.per_image_dice[0] == pytest.approx((2 * 2 / 6 + 0) / 2)
    assert math.isnan(got.per_image_dice[1])


def test_interval_holds_the_mean_and_repeats():
    rng = np.random.default_rng(0)
    counts = [[[50, int(a)], [int(b), 40]] for a, b in rng.integers(0, 30, (40, 2))]
    got = report(counts)
    low, high = got.interval()
    assert low < got.values["dice_fg_image"].value < high
    assert got.interval() == (low, high)
    assert got.interval(seed=1) != (low, high)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        dice = rng.beta(8, 2, 40)  # true mean 0.8
        true = np.round(dice * 10_000).astype(int)
        counts = [[[0, 20_000 - 2 * int(t)], [0, int(t)]] for t in true]  # 2 t / (2 t + 20000 - 2 t)
        low, high = report(counts).interval(draws=400)
        hits += low <= 0.8 <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_single_picture_has_an_interval_of_no_width():
    low, high = report([[[4, 1], [0, 3]]]).interval()
    assert low == high == pytest.approx(6 / 7)


def test_json_holds_every_number_and_no_nan():
    got = report([[[4, 1], [0, 3]], [[8, 0], [0, 0]]], hausdorff95=torch.tensor([2.5, torch.nan]), notes={"a": "b"})
    content = json.loads(got.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    again = report([image["counts"] for image in content["images"]])
    assert again.values["dice_fg_image"] == got.values["dice_fg_image"]
    assert [image["hausdorff95"] for image in content["images"]] == [2.5, None]
    assert [image["name"] for image in content["images"]] == ["p0", "p1"]
    assert content["pictures"] == 2
    assert content["notes"] == {"a": "b"}
    assert content["dice_fg_image_interval_95"] == pytest.approx(list(got.interval()))
    assert content["values"].keys() == got.values.keys()


def test_csv_round_trip_gives_the_counts_back():
    got = report([[[4, 1], [0, 3]], [[8, 0], [0, 0]]], names=('a,"b"', "c\nd"))
    rows = list(csv.DictReader(io.StringIO(got.to_csv())))
    cells = [f"true{i}_pred{j}" for i in range(2) for j in range(2)]
    assert [[int(row[cell]) for cell in cells] for row in rows] == got.counts.flatten(1).tolist()
    assert [row["name"] for row in rows] == ['a,"b"', "c\nd"]
    assert float(rows[0]["dice"]) == pytest.approx(6 / 7, abs=1e-6)
    assert float(rows[0]["iou"]) == pytest.approx(3 / 4, abs=1e-6)
    assert rows[1]["dice"] == "nan"


def test_a_class_name_cannot_end_a_table_cell():
    text = report([[[4, 1], [0, 3]]], classes=("a|b", "c\nd")).to_markdown()
    assert "| 0 a\\|b | image |" in text
    assert "| 1 c d | pooled |" in text


@pytest.mark.parametrize("ending", ["json", "csv", "md"])
def test_file_holds_the_form_its_ending_names(tmp_path, ending):
    got = report([[[4, 1], [0, 3]]])
    got.save(str(tmp_path / f"r.{ending}"))
    text = (tmp_path / f"r.{ending}").read_text()
    form = {"json": got.to_json, "csv": got.to_csv, "md": got.to_markdown}[ending]()
    assert text.rstrip("\n") == form.rstrip("\n")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"report file must end in .json, .csv, .md or .png; got r.txt"):
        report([[[4, 1], [0, 3]]]).save(tmp_path / "r.txt")


def test_pictures_the_model_was_trained_on_are_counted(tmp_path):
    data = seglab.load_dataset("synthetic", count=(4, 2, 3), size=(32, 32))
    model, config = seglab.build_model("unet", 1, width=4), seglab.TrainConfig(epochs=1, size=32, workers=0)
    best = seglab.train(model, seglab.build_loss("bce_dice"), data.train, data.val, config, out=tmp_path / "run")
    mixed = Joined((data.test, data.train), ("a", "b"))
    assert "trained_on" not in seglab.evaluate(best, data.test).notes
    assert seglab.evaluate(best, mixed).notes["trained_on"].startswith("4 of these pictures")
    loaded = seglab.Predictor.load(tmp_path / "run")
    assert "4 of these pictures" in seglab.evaluate(loaded, mixed).to_markdown()
