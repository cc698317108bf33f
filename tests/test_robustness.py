"""Robustness: the same disturbed pictures for all models, areas by hand, and nothing lost on the way to a file."""

import csv
import io
import json
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from small_pictures import Pictures, discs

from seglab import evaluate, plots
from seglab.checkpoint import Description, save_model
from seglab.cli import main
from seglab.contract import Sample
from seglab.corruptions import corrupt, find_corruption, list_corruptions
from seglab.inference import Prediction
from seglab.robustness import Robustness, Sweep, robustness
from seglab.stats import holm, paired_difference

DATA = discs(5)
LEVELS = {"noise": [20, 60], "hair": [10]}


@dataclass
class Fake:
    """A model whose mask is known: bright pixels, or always the same square; it keeps what it saw."""

    level: int | None = 140
    name: str = "fake"
    num_classes: int = 1
    classes: tuple[str, ...] = ("background", "object")
    description: object = None
    seen: list[np.ndarray] = field(default_factory=list)

    def __call__(self, image: np.ndarray) -> Prediction:
        self.seen.append(image.copy())
        if self.level is None:
            mask = np.zeros(image.shape[:2], np.uint8)
            mask[10:30, 20:40] = 1
        else:
            mask = (image.max(axis=2) > self.level).astype(np.uint8)
        return Prediction(mask, mask[None].astype(np.float32))


def table(hit: int, extra: int, missed: int) -> list[list[int]]:
    return [[100, extra], [missed, hit]]


def by_hand() -> Robustness:
    """Two models, three levels, two pictures and one without an object; Dice written beside."""
    empty = [table(0, 7, 0)] * 3
    first = [[table(4, 0, 0), table(2, 2, 2), table(0, 2, 2)], [table(3, 1, 1), table(3, 1, 1), table(3, 1, 1)], empty]
    #        1                 .5                0               .75               .75               .75
    second = [[table(4, 0, 0), table(4, 0, 0), table(4, 0, 0)], [table(1, 1, 1), table(1, 1, 1), table(1, 1, 1)], empty]
    #         1                                                 .5
    counts = torch.tensor([first, second]).transpose(1, 2)
    return Robustness(("A", "B"), ("p", "q", "r"), ("skin", "lesion"), (Sweep("noise", (0, 10, 20), counts),))


@pytest.fixture(scope="module")
def result() -> Robustness:
    return robustness({"bright": Fake(), "blind": Fake(None)}, DATA, corruptions=list(LEVELS), severities=LEVELS)


def test_dice_and_area_by_hand() -> None:
    result = by_hand()
    dice = result.dice("noise")
    assert dice[:, :, 0].tolist() == [[1, 0.5, 0], [1, 1, 1]]
    assert dice[:, :, 1].tolist() == [[0.75] * 3, [0.5] * 3]
    assert np.isnan(dice[:, :, 2]).all()  # no object in the true mask, whatever was predicted
    areas = result.areas("noise")  # ((1 + .5) / 2 + (.5 + 0) / 2) / 2 = .5
    assert areas[:, :2].tolist() == [[0.5, 0.75], [1, 0.5]]
    first, second = result.table()
    assert (first.clean, first.area, first.n) == (0.875, 0.625, 2)
    assert (second.clean, second.area) == (0.75, 0.75)
    row = result.differences()[0]
    assert (row.first, row.second, row.area, row.clean, row.n) == ("A", "B", 0.125, -0.125, 2)
    assert row.p == 1  # gaps +.5 and -.25: every arrangement is at least as far from 0 as +.125
    assert row.low < 0 < row.high


def test_a_middle_level_counts_twice_as_much_as_an_end() -> None:
    counts = torch.tensor([[[table(0, 2, 2)], [table(4, 0, 0)], [table(0, 2, 2)]]])
    result = Robustness(("A",), ("p",), ("skin", "lesion"), (Sweep("noise", (0, 10, 20), counts),))
    assert result.areas("noise").tolist() == [[0.5]]
    assert math.isnan(result.table()[0].low)  # one picture has no interval
    assert result.differences() == []


def test_curve_points_are_what_evaluate_measures(result: Robustness) -> None:
    for name, sweep in (("noise", result.sweep("noise")), ("hair", result.sweep("hair"))):
        for place, level in enumerate(sweep.severities):

            def disturbed(image: np.ndarray, index: int, name: str = name, level: float = level) -> np.ndarray:
                return corrupt(image, name, level, index=index)

            report = evaluate(Fake(), DATA, boundary=False, corruption=disturbed)
            assert torch.equal(sweep.counts[0, place], report.counts)
            assert result.bands(name)[0, 0, place] == pytest.approx(report.values["dice_fg_image"][0])


def test_all_models_see_the_same_pictures_and_truth_is_read_once_and_left_alone() -> None:
    masks = [sample.mask.clone() for sample in DATA.samples]
    reads: list[int] = []

    class Counted(Pictures):
        def __getitem__(self, index: int) -> Sample:
            reads.append(index)
            return super().__getitem__(index)

    first, second = Fake(), Fake(None)
    done: list[int] = []
    result = robustness(
        {"a": first, "b": second}, Counted(DATA.samples), severities={"hair": [3]}, on_image=done.append
    )
    assert len(first.seen) == len(second.seen) == 5 * (1 + 6 * 5 + 1)  # undisturbed once, hair once
    assert all(np.array_equal(a, b) for a, b in zip(first.seen, second.seen, strict=True))
    assert reads == [0, 1, 2, 3, 4]
    assert done == [1, 2, 3, 4, 5]
    assert all(torch.equal(sample.mask, mask) for sample, mask in zip(DATA.samples, masks, strict=True))
    assert [sweep.corruption for sweep in result.sweeps] == list_corruptions()


def test_the_order_and_choice_of_disturbances_changes_nothing(result: Robustness) -> None:
    other = robustness({"bright": Fake()}, DATA, corruptions=["hair", "blur", "noise"], severities=LEVELS)
    for name in LEVELS:
        assert torch.equal(other.sweep(name).counts, result.sweep(name).counts[:1])
    again = robustness({"bright": Fake()}, DATA, corruptions=["noise"], severities={"noise": [60, 20]}, seed=1)
    assert again.sweep("noise").severities == (0, 20, 60)
    assert not torch.equal(again.sweep("noise").counts, result.sweep("noise").counts[:1])


def test_a_blind_model_has_a_flat_curve_and_differs_from_itself_by_exactly_0() -> None:
    result = robustness({"blind": Fake(None), "again": Fake(None)}, DATA, corruptions=["noise", "brightness"])
    for name in ("noise", "brightness"):
        dice = result.dice(name)
        assert (dice == dice[:, :1]).all()
        assert result.areas(name)[0] == pytest.approx(dice[0, 0])
    for row in result.differences():
        assert (row.clean, row.area, row.low, row.high, row.p, row.p_holm) == (0, 0, 0, 0, 1, 1)


def test_noise_costs_the_bright_model_and_the_difference_is_that_of_stats(result: Robustness) -> None:
    assert result.bands("noise")[0, 0, 0] > result.bands("noise")[0, 0, 2]
    rows = result.differences()
    assert [row.corruption for row in rows] == ["noise", "hair"]
    for row in rows:
        truth = paired_difference(*result.areas(row.corruption))
        assert (row.area, row.low, row.high, row.p) == (truth.mean, truth.low, truth.high, truth.p)
    assert [row.p_holm for row in rows] == holm([row.p for row in rows]).tolist()


def test_the_interval_of_an_area_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    hits = torch.from_numpy(rng.integers(1, 9, (1, 1, 40)))
    zero = torch.full_like(hits, 100)
    counts = torch.stack([torch.stack([zero, 9 - hits], -1), torch.stack([9 - hits, hits], -1)], -2).repeat(
        1, 2, 1, 1, 1
    )
    result = Robustness(("A",), tuple(map(str, range(40))), ("skin", "lesion"), (Sweep("noise", (0, 9), counts),))
    dice = hits[0, 0].numpy() / 9  # hits + (9 - hits), both ways
    reach = 2.0227 * dice.std(ddof=1) / math.sqrt(40)  # t of 39 degrees of freedom
    row = result.table()[0]
    assert row.area == pytest.approx(dice.mean())
    assert row.low == pytest.approx(dice.mean() - reach, abs=0.06 * reach)
    assert row.high == pytest.approx(dice.mean() + reach, abs=0.06 * reach)


@pytest.mark.parametrize(
    ("name", "levels", "axis"),
    [
        ("jpeg", [5, 50, 100], (100, 50, 5)),
        ("brightness", [30, -30], (-30, 0, 30)),
        ("contrast", [0.5], (1, 0.5)),
        ("contrast", [2, 0.5], (0.5, 1, 2)),
    ],
)
def test_the_axis_runs_from_none_to_strong_or_through_none(name: str, levels: list[float], axis: tuple) -> None:
    result = robustness({"blind": Fake(None)}, DATA, corruptions=[name], severities={name: levels})
    assert result.sweep(name).severities == axis


def test_empty_true_masks_and_training_pictures_are_counted_in_the_notes() -> None:
    from seglab.data import picture_digest

    bare = Sample(DATA.samples[0].image, torch.zeros_like(DATA.samples[0].mask), "bare")
    known = Fake()
    known.description = type("Description", (), {"card": {"trained_on": [picture_digest(DATA.samples[1].image)]}})
    result = robustness({"a": Fake(), "b": known}, Pictures((*DATA.samples, bare)), corruptions=["blur"])
    assert result.notes["empty_masks"].startswith("1 pictures have no object")
    assert "training set: 1 in b;" in result.notes["trained_on"]
    assert "shorter side 40 to 40 pixels" in result.notes["size"]
    assert np.isnan(result.dice("blur")[..., -1]).all()
    assert [row.n for row in result.table()] == [5, 5]


def test_several_classes_are_averaged_over_the_objects() -> None:
    three = discs(2, num_classes=3)
    model = Fake(num_classes=3, classes=three.classes)
    result = robustness({"a": model}, three, corruptions=["noise"], severities={"noise": [10]})
    report = evaluate(model, three, boundary=False, probabilities=False)  # the fake has none of three classes
    assert result.sweep("noise").counts.shape == (1, 2, 2, 3, 3)
    assert np.allclose(result.dice("noise")[0, 0], report.per_image_dice)


def test_json_reads_back_and_csv_and_markdown_hold_the_numbers(result: Robustness, tmp_path) -> None:
    result.save(tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    again = Robustness.from_json(text)
    assert again.differences() == result.differences()
    assert (again.models, again.names, again.notes, again.seed) == (result.models, result.names, result.notes, 0)
    assert all(torch.equal(a.counts, b.counts) for a, b in zip(again.sweeps, result.sweeps, strict=True))
    assert json.loads(text)["areas"][0]["area"] == result.table()[0].area
    result.save(tmp_path / "r.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert len(rows) == 2 * (3 + 2) * 5
    wanted = [row for row in rows if (row["model"], row["severity"], row["name"]) == ("bright", "60", "p2")]
    assert float(wanted[0]["dice"]) == pytest.approx(result.dice("noise")[0, 2, 2], abs=1e-6)
    assert int(wanted[0]["true1_pred1"]) == int(result.sweep("noise").counts[0, 2, 2, 1, 1])
    result.save(tmp_path / "r.md")
    page = (tmp_path / "r.md").read_text()
    assert page == f"{result}\n"
    assert "**Gaussian noise**: sigma in grey levels" in page
    assert "| model | 0 (none) | 20 | 60 | area (95 % interval) |" in page
    assert f"{result.table()[0].area:.4f}" in page
    assert "0 pictures have no object" in page


def test_json_of_one_picture_has_no_nan(tmp_path) -> None:
    one = robustness({"a": Fake(), "b": Fake(None)}, Pictures(DATA.samples[:1]), corruptions=["blur"])
    assert "NaN" not in one.to_json()
    assert "not defined" in one.to_markdown()


def test_figure_holds_the_curves(result: Robustness) -> None:
    figure = plots.robustness_curves(result, columns=1)
    assert [axes.get_title() for axes in figure.axes] == ["Gaussian noise", "Hair"]
    axes = figure.axes[0]
    assert axes.get_xlabel() == find_corruption("noise").unit
    assert [label.get_text() for label in axes.get_xticklabels()] == ["none", "20", "60"]
    for index, line in enumerate(axes.get_lines()):
        assert np.array_equal(line.get_ydata(), result.bands("noise")[0, index])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"{row.model}: {row.area:.3f}" for row in result.table()[:2]
    ]
    assert "5 pictures, seed 0" in figure.get_supxlabel()
    FigureCanvasAgg(figure).draw()
    with pytest.raises(ValueError, match="columns must be at least 1; got 0"):
        plots.robustness_curves(result, columns=0)


@pytest.mark.parametrize(
    ("predictors", "data", "knobs", "message"),
    [
        ({}, DATA, {}, "robustness needs at least one model; got none"),
        ({"a": Fake()}, Pictures(()), {}, "data set must hold at least one picture; got none"),
        ({"a": Fake()}, discs(1, num_classes=3), {}, "must have the 2 classes of a; got 3: "),
        ({"a": Fake()}, DATA, {"corruptions": []}, "corruptions must name at least one; got none"),
        ({"a": Fake()}, DATA, {"corruptions": ["blurr"]}, "got 'blurr'. Did you mean 'blur'?"),
        (
            {"a": Fake()},
            DATA,
            {"corruptions": ["blur"], "severities": {"noise": [1]}},
            "corruption with severities must be one of blur; got 'noise'",
        ),
        ({"a": Fake()}, DATA, {"severities": {"noise": [500]}}, "severity of noise must be from 0 to 128 .*; got 500"),
        (
            {"a": Fake()},
            DATA,
            {"severities": {"jpeg": [100]}},
            r"severities of jpeg must hold one besides 100, none; got \[100\]",
        ),
    ],
)
def test_what_is_refused_is_said_before_anything_runs(
    predictors: dict, data: Pictures, knobs: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        robustness(predictors, data, **knobs)
    assert not any(one.seen for one in predictors.values())


def test_other_files_and_unmeasured_names_are_refused(result: Robustness, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"robustness file must end in .json, .csv or .md; got r.txt"):
        result.save(tmp_path / "r.txt")
    with pytest.raises(ValueError, match="corruption must be one of hair, noise; got 'blur'"):
        result.dice("blur")
    with pytest.raises(ValueError, match="robustness must be JSON that `to_json` wrote; got an error"):
        Robustness.from_json("{}")
    broken = json.loads(result.to_json()) | {"pictures": ["p"]}
    with pytest.raises(ValueError, match=r"counts of noise must be \(2, 3, 1, 2, 2\); got \(2, 3, 5, 2, 2\)"):
        Robustness.from_json(json.dumps(broken))


@pytest.fixture
def compared(tmp_path, small_unet) -> list[str]:
    """The command `compare` with two saved models and generated pictures."""
    words = ["compare"]
    for name in ("a", "b"):
        model = small_unet(cbam=["bottleneck"] if name == "b" else [])
        path = tmp_path / f"{name}.safetensors"
        save_model(path, model, Description("unet", model.knobs, 1, ("skin", "lesion"), 32, name))
        words.append(str(path))
    return [*words, "--dataset", "synthetic", "--data", "data.size=32", "data.count=12"]


def test_the_command_prints_and_writes_what_the_function_measures(compared, tmp_path, capsys) -> None:
    for ending in ("json", "png"):
        out = tmp_path / f"robust.{ending}"
        assert main([*compared, "--corrupt", "noise,hair", "--severities", "noise=10", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    result = Robustness.from_json((tmp_path / "robust.json").read_text())
    assert str(result) in text
    assert [sweep.severities for sweep in result.sweeps] == [(0, 10), (0, *find_corruption("hair").severities)]
    assert (tmp_path / "robust.png").read_bytes().startswith(b"\x89PNG")
    assert main([*compared, "--corrupt", "brightness", "--severities", "brightness=-20,20"]) == 0
    assert "| model | -20 | 0 (none) | 20 |" in capsys.readouterr().out
    assert main([*compared, "--corrupt", "jpeg", "--severities", "30"]) == 0
    assert "| model | 100 (none) | 30 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corrupt", "nose"], "Did you mean 'noise'?"),
        (["--severities", "noise=1"], "--severities with --corrupt"),
        (["--corrupt", "noise", "--image", "a.png"], "--image takes neither"),
        (
            ["--corrupt", "noise", "--out", "r.zip"],
            "--out with --corrupt must end in .json, .csv, .md, .png; got r.zip",
        ),
        (["--corrupt", "noise,blur", "--severities", "5"], "--severities must be NAME=NUMBER,NUMBER, every name once"),
        (["--corrupt", "noise", "--severities", "noise=x"], "got 'noise=x'"),
        (["--corrupt", "noise", "--severities", "1", "noise=2"], "got 'noise=2'"),
    ],
)
def test_the_command_refuses_in_one_line(compared, words: list[str], message: str, capsys) -> None:
    assert main([*compared, *words]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1
