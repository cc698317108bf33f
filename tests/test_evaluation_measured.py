"""What a report holds beside counts: boundaries, calibration, thresholds, intervals, single classes; and its forms."""

import csv
import io
import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from seglab import metrics, plots, stats
from seglab.contract import IGNORE_INDEX
from seglab.evaluation import Report, evaluate
from seglab.inference import Predictor


def other_size(pictures, classes: int = 2):
    """Four pictures of another size than the model's; one with unknown rows, one without object."""
    data = pictures(4, (37, 52), num_classes=classes)
    data[1].mask[5:9] = IGNORE_INDEX
    data[2].mask[:] = 0
    return data


@pytest.fixture
def predictor(small_unet):
    return Predictor(small_unet(1), size=32)


@pytest.fixture
def measured(pictures, predictor) -> Report:
    return evaluate(predictor, other_size(pictures), pixel_size_mm=0.25, tolerance=1.5, band=3)


def of(counts: list[object], **changes: object) -> Report:
    table = torch.tensor(counts)
    n, size = table.shape[:2]
    far = torch.full((n,), torch.nan, dtype=torch.float64)
    parts = {"model": "m", "names": tuple(f"p{i}" for i in range(n)), "classes": tuple(f"c{i}" for i in range(size))}
    return Report(**parts | {"counts": table, "hausdorff95": far} | changes)


# Boundaries


def test_boundary_scores_are_those_of_the_metrics_in_pixels_and_mm(pictures, predictor, measured):
    for i, sample in enumerate(other_size(pictures)):
        known = sample.mask != IGNORE_INDEX
        pair = [((torch.as_tensor(mask) > 0) & known)[None] for mask in (predictor(sample.image).mask, sample.mask)]
        pixels = metrics.boundary(*pair, tolerance=1.5)
        scaled = metrics.boundary(*pair, pixel_size_mm=0.25, tolerance=1.5 * 0.25)
        for name in ("hausdorff95", "assd", "surface_dice"):
            np.testing.assert_allclose(measured.distances[name][i], getattr(pixels, name)[0])
        for name in ("hausdorff95", "assd"):
            np.testing.assert_allclose(measured.distances[f"{name}_mm"][i], getattr(scaled, name)[0])
        np.testing.assert_allclose(measured.surface_dice[i], scaled.surface_dice[0])


def test_means_of_distances_say_how_many_pictures_have_one(measured):
    known = measured.hausdorff95.isfinite()
    assert 0 < known.sum() < len(known)
    assert measured.values["assd_image"] == (pytest.approx(measured.assd[known].mean().item()), int(known.sum()))
    assert measured.values["assd_mm_image"].value == pytest.approx(measured.values["assd_image"].value / 4)
    assert measured.values["surface_dice_image"].n >= known.sum()


def test_notes_state_tolerance_scale_percentile_and_count_empty_masks(measured):
    assert "surface Dice within 1.5 px = 0.375 mm; 1 px = 0.25 mm" in measured.notes["boundary"]
    assert "95th percentile (linear) in each direction, then the larger" in measured.notes["boundary"]
    true, found = measured.counts[:, 1].sum(1) > 0, measured.counts[:, :, 1].sum(1) > 0
    assert measured.notes["both_empty"].startswith(f"{int((~true & ~found).sum())} pictures, left out of")
    assert measured.notes["one_empty"].startswith(f"{int((true != found).sum())} pictures")
    assert "within 3 px of a true border" in measured.notes["calibration"]


def test_what_was_not_asked_for_is_neither_measured_nor_noted(pictures, predictor):
    got = evaluate(predictor, other_size(pictures), boundary=False, probabilities=False)
    assert (got.assd, got.surface_dice, got.histogram, got.confidence) == (None,) * 4
    assert not {"assd_image", "surface_dice_image", "hausdorff95_mm_image", "ece", "ece_band"} & got.values.keys()
    assert not {"boundary", "calibration"} & got.notes.keys()
    assert "Calibration" not in got.to_markdown()
    with pytest.raises(ValueError, match=r"sweep must have .* two classes; got 2 classes, no histogram. Use evaluate"):
        got.threshold_sweep()


# Probabilities


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_calibration_is_that_of_all_pixels_of_all_pictures_at_once(pictures, small_unet, classes):
    data, model = other_size(pictures, max(2, classes)), Predictor(small_unet(classes), size=32)
    got = evaluate(model, data)
    probs = torch.stack([torch.from_numpy(model(sample.image).probs) for sample in data])
    target = torch.stack([sample.mask for sample in data])
    for name, band in (("all", None), ("band", 10.0)):
        expected = metrics.calibration(probs, target, band=band)
        assert got.calibration[name].ece.item() == pytest.approx(expected.ece.item())
        np.testing.assert_allclose(got.calibration[name].table, expected.table)
    assert got.values["ece"].n == (target != IGNORE_INDEX).sum()
    assert 0 < got.values["ece_band"].n < got.values["ece"].n


def test_sweep_gives_what_the_model_gives_with_each_threshold(pictures, predictor, measured):
    sweep, data = measured.threshold_sweep(), other_size(pictures)
    assert sweep.thresholds.tolist() == [k / 256 for k in range(1, 256)]
    for threshold in (1 / 256, 0.25, 0.5, 130 / 256, 255 / 256):
        counts = [
            metrics.counts(torch.from_numpy(predictor(s.image, threshold=threshold).mask)[None], s.mask[None], 1)[0]
            for s in data
        ]
        expected = metrics.aggregate(torch.stack(counts))
        for name, value in sweep.at(threshold).items():
            assert value == pytest.approx(expected[name].value, nan_ok=True), (threshold, name)
        index = int(threshold * 256) - 1
        assert sweep.pictures[index] == expected["dice_fg_image"].n
    assert sweep.at(0.5)["dice_fg_pooled"] == pytest.approx(measured.values["dice_fg_pooled"].value)


def histogram(*rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows)


def test_best_threshold_worked_by_hand():
    """Four bins: background in the first two, object in the last two; so 1/2 cuts between them."""
    clear = of([[[2, 0], [0, 2]]], histogram=histogram([[1, 1, 0, 0], [0, 0, 1, 1]])).threshold_sweep()
    assert clear.scores["dice_fg_image"].tolist() == pytest.approx([4 / 5, 1, 2 / 3])
    assert clear.best() == 0.5
    late = of([[[2, 0], [0, 2]]], histogram=histogram([[1, 0, 1, 0], [0, 0, 0, 2]])).threshold_sweep()
    assert late.best("iou_fg_pooled") == 0.75
    flat = of([[[2, 0], [0, 2]]], histogram=histogram([[2, 0, 0, 0], [0, 0, 0, 2]])).threshold_sweep()
    assert flat.best() == 0.5  # all are equal; the one nearest to 1/2
    nothing = of([[[0, 0], [0, 0]]], histogram=histogram([[0] * 4, [0] * 4])).threshold_sweep()
    with pytest.raises(ValueError, match="dice_fg_image must have a value at some threshold; got none"):
        nothing.best()
    with pytest.raises(ValueError, match="score must be one of .* got 'dice'"):
        clear.best("dice")
    with pytest.raises(ValueError, match="threshold must be k / 4, between 0 and 1; got 0.3"):
        clear.at(0.3)


def test_sweep_reads_as_table_and_as_csv_and_warns(measured):
    sweep = measured.threshold_sweep()
    text = str(sweep)
    assert text == sweep.to_markdown()
    assert text.count("\n| 0.") == 15
    assert "on validation pictures only, never on test pictures" in text
    rows = list(csv.DictReader(io.StringIO(sweep.to_csv())))
    assert len(rows) == 255
    assert float(rows[127]["threshold"]) == 0.5
    for name, value in sweep.at(0.5).items():
        assert float(rows[127][name]) == pytest.approx(value, abs=1e-6)
    assert "Never choose it on" in type(sweep).best.__doc__


def test_three_classes_have_calibration_but_no_threshold(pictures, small_unet):
    got = evaluate(Predictor(small_unet(3), size=32), other_size(pictures, 3))
    assert got.histogram is None
    assert got.values["ece"].n > 0
    with pytest.raises(ValueError, match="must have probabilities of two classes; got 3 classes"):
        got.threshold_sweep()
    assert Report.from_json(got.to_json()) == got


# Every name


@pytest.mark.parametrize("classes", [2, 3])
def test_every_name_of_the_statistics_is_in_the_report_with_the_same_value(classes):
    rng = np.random.default_rng(0)
    got = of(rng.integers(0, 50, (9, classes, classes)).tolist())
    twice = {f"m{ratio}_{classes}class_pooled" for ratio in ("precision", "recall", "specificity")}  # also `_macro`
    for name in {*stats.list_definitions(classes)} - twice:
        assert got.values[name].value == pytest.approx(stats.score(got.counts, name)), name


# Intervals


def test_every_interval_is_of_the_same_draws(measured):
    together = measured.intervals(draws=300)
    assert not any("_class" in name or name.startswith("ece") for name in together)
    for name in ("dice_fg_image", "miou_2class_pooled", "hausdorff95_image", "assd_mm_image", "accuracy_macro"):
        assert measured.interval(name, draws=300) == pytest.approx(together[name], nan_ok=True)
        assert together[name][0] <= measured.values[name].value <= together[name][1]
    with pytest.raises(ValueError, match="definition must be one of"):
        measured.interval("dice")


@pytest.mark.parametrize("name", ["dice_fg_image", "iou_fg_pooled", "miou_2class_pooled", "accuracy_pooled"])
def test_interval_is_the_bootstrap_t_made_by_hand(name):
    """Standard errors by the jackknife, which needs no formula of the score."""
    rng = np.random.default_rng(0)
    counts = rng.integers(5, 90, (30, 2, 2)) * rng.integers(1, 4, (30, 1, 1))

    def with_error(some):
        left = [stats.score(np.delete(some, i, axis=0), name) for i in range(len(some))]
        return stats.score(some, name), np.std(left) * np.sqrt(len(some) - 1)

    value, error = with_error(counts)
    drawn = [with_error(counts[rng.integers(0, 30, 30)]) for _ in range(1500)]
    low, high = np.quantile([(one - value) / spread for one, spread in drawn], [0.025, 0.975])
    wanted = (value - high * error, value - low * error)
    assert of(counts.tolist()).interval(name, draws=6000) == pytest.approx(wanted, abs=0.15 * (wanted[1] - wanted[0]))


def test_interval_stays_in_the_range_of_the_score():
    good, bad = [[900, 0], [0, 100]], [[900, 0], [99, 1]]
    low, high = of([good] * 5 + [bad]).interval("dice_fg_image", draws=500)
    assert 0 <= low < high == 1
    lost = of([bad] * 3 + [[[900, 0], [100, 0]]]).interval("dice_fg_image", draws=500)
    assert lost[0] == 0 < lost[1] < 0.5


def test_intervals_cover_the_truth_for_fifty_pictures():
    """Per-image scores with a tail of failures; the mean of the mixture is .9 * .9 + .1 / 3."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        bad = rng.random(50) < 0.1
        dice = np.where(bad, rng.beta(2, 4, 50), rng.beta(18, 2, 50))
        true = np.round(dice * 10_000).astype(int)
        low, high = of([[[0, 20_000 - 2 * int(t)], [0, int(t)]] for t in true]).interval(draws=400)
        hits += low <= 0.9 * 0.9 + 0.1 / 3 <= high
    assert 0.93 <= hits / 400 <= 0.97


# Forms


def test_round_trip_through_json_is_equal(measured, tmp_path):
    measured.save(tmp_path / "r.json")
    again = Report.from_json((tmp_path / "r.json").read_text())
    assert again == measured
    assert again.to_json() == measured.to_json()
    assert again.threshold_sweep().best() == measured.threshold_sweep().best()
    assert pickle.loads(pickle.dumps(measured)) == measured  # noqa: S301 - our own


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"assd": None},
        {"surface_dice": torch.zeros(4, dtype=torch.float64)},
        {"histogram": torch.zeros(4, 2, 256, dtype=torch.int64)},
        {"counts": torch.zeros(4, 2, 2, dtype=torch.int64)},
        {"pixel_size_mm": None},
        {"notes": {}},
    ],
)
def test_reports_differ_in_what_they_hold(measured, changes):
    assert replace(measured) == measured
    assert replace(measured, **changes) != measured
    assert measured != "a report"


def test_json_keeps_rows_of_numbers_on_a_line_and_names_as_they_are(measured):
    names = ("a [1,  2]", 'b "\n[\n 3]', "c", "d")
    odd = replace(measured, names=names)
    text = odd.to_json()
    assert tuple(image["name"] for image in json.loads(text)["images"]) == names
    assert Report.from_json(text) == odd
    assert text.count("\n") < 600  # not one line for each of 2048 bins


def test_a_report_without_the_younger_parts_is_still_read():
    old = {
        "model": "m",
        "classes": ["c0", "c1"],
        "notes": {"size": "each picture's own"},
        "images": [{"name": "p0", "counts": [[4, 1], [0, 3]], "hausdorff95": None}],
    }
    got = Report.from_json(json.dumps(old))
    assert got.values["dice_fg_image"].value == pytest.approx(6 / 7)
    assert got == of([[[4, 1], [0, 3]]], notes=old["notes"])


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"images": [{"name": 1}]}', '{"images": 3}', "null"])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(ValueError, match="report must be JSON that a report wrote; got an error") as caught:
        Report.from_json(text)
    assert "\n" not in str(caught.value)


def test_csv_has_counts_and_every_distance_of_a_picture(measured):
    rows = list(csv.DictReader(io.StringIO(measured.to_csv())))
    assert [row["name"] for row in rows] == list(measured.names)
    for i, row in enumerate(rows):
        for name, scores in measured.distances.items():
            assert float(row[name]) == pytest.approx(scores[i].item(), abs=1e-6, nan_ok=True)
        assert int(row["true1_pred1"]) == measured.counts[i, 1, 1]
    assert {"hausdorff95_mm", "assd_mm"} <= rows[0].keys()


def test_options_out_of_range_are_refused_before_anything_is_predicted(pictures):
    class Never(Predictor):
        num_classes = 1

        def __init__(self):
            """No model: it must not be called."""

    data = pictures(1)
    with pytest.raises(ValueError, match="pixel_size_mm must be above 0; got -1"):
        evaluate(Never(), data, pixel_size_mm=-1)
    with pytest.raises(ValueError, match="tolerance and band must be at least 0; got -1 and 10"):
        evaluate(Never(), data, tolerance=-1)
    with pytest.raises(ValueError, match="tolerance and band must be at least 0; got 2.0 and nan"):
        evaluate(Never(), data, band=math.nan)


def test_markdown_shows_every_score_with_its_number(measured):
    text = measured.to_markdown()
    assert text == str(measured)
    lines = text.splitlines()
    for name, (value, n) in measured.values.items():
        if "_class" in name:
            continue
        (line,) = [line for line in lines if line.startswith(f"| {name} | ")]
        assert line.endswith(f" | {n} |")
        assert f"| {value:.4f} |" in line
    (line,) = [line for line in lines if line.startswith("| 1 object 1 | image |")]
    for ratio in ("dice", "iou", "precision", "recall", "specificity"):
        value, n = measured.values[f"{ratio}_class1_image"]
        assert f" {value:.4f} ({n}) |" in line
    assert [line for line in lines if line.startswith("#### ")] == [
        "#### Object",
        "#### Mean over classes",
        "#### All pixels",
        "#### Boundary of the object",
        "#### Single classes",
        "#### Calibration",
    ]
    for key, note in measured.notes.items():
        assert f"- {key}: {note}" in lines


# The figure


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_bars_show_the_numbers_of_every_class():
    got = of([[[4, 1, 0], [0, 3, 0], [0, 0, 0]]], classes=("background", "lesion", "hair"))
    figure = plots.class_bars(got)
    assert [axes.get_title() for axes in figure.axes] == [
        "IoU, mean 0.775",
        "Precision, mean 0.875",
        "Recall, mean 0.900",
        "Dice, mean 0.873",
    ]
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([4 / 5, 3 / 4, 0])
    assert [texts(axes) for axes in figure.axes] == [
        ["0.800", "0.750", "not defined"],
        ["1.000", "0.750", "not defined"],
        ["0.800", "1.000", "not defined"],
        ["0.889", "0.857", "not defined"],
    ]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["background", "lesion", "hair"]
    assert figure.axes[0].yaxis_inverted()  # the background on top, as in every table
    assert "all pixels together" in figure.get_suptitle()


def test_bars_of_single_pictures_say_how_many_have_a_value():
    got = of([[[4, 1], [1, 2]], [[8, 0], [0, 0]]])
    figure = got.to_figure(pooled=False)
    assert texts(figure.axes[0]) == ["0.833 (n = 2)", "0.500 (n = 1)"]
    assert figure.axes[0].get_title() == "IoU, mean 0.792"  # ((4 / 6 + 2 / 4) / 2 + 1) / 2, not the mean of the bars
    assert "mean over pictures" in figure.get_suptitle()


def test_a_report_without_a_value_has_a_figure_too():
    figure = of([[[0, 0], [0, 0]]]).to_figure()
    assert figure.axes[0].get_title() == "IoU, mean not defined"


def test_figure_is_saved_as_png(tmp_path):
    of([[[4, 1], [0, 3]]]).save(tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
