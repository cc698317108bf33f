"""The shared figures hold the values they claim to show, and fit on their page."""

import io

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from small_pictures import discs

from seglab import Predictor, build_model, compare, explain, plots
from seglab.comparison import Comparison

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
TRUTH = np.zeros((48, 64), np.uint8)
TRUTH[10:30, 20:50] = 1
RECORDS = [{"epoch": i, "train_loss": 1 / i, "val_dice_fg_image": 1 - 1 / i} for i in (1, 2, 3)]


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    torch.manual_seed(0)
    models = {
        "plain": Predictor(build_model("unet", 1, width=4), size=32),
        "U-Net + CBAM with a very long name": Predictor(
            build_model("unet", 1, width=4, cbam=["bottleneck", "skip"]), size=32
        ),
    }
    return compare(PICTURE, models, TRUTH)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_label() != "<colorbar>"]


def drawn(figure: Figure, index: int) -> np.ndarray:
    return np.asarray(figure.axes[index].get_images()[0].get_array())


def assert_fits(figure: Figure) -> None:
    """No title, label or legend lies outside the page, and no title runs into the next one."""
    canvas = FigureCanvasAgg(figure)
    figure.savefig(io.BytesIO(), format="png")
    renderer = canvas.get_renderer()
    page = figure.bbox.padded(1)
    boxes = [axes.title.get_window_extent(renderer) for axes in figure.axes if axes.get_title()]
    words = [legend.get_window_extent(renderer) for legend in figure.legends]
    for box in [*boxes, *words, *[axes.xaxis.get_tightbbox(renderer) for axes in figure.axes if axes.get_xlabel()]]:
        assert page.x0 <= box.x0, box
        assert box.x1 <= page.x1, box
        assert page.y0 <= box.y0, box
        assert box.y1 <= page.y1, box
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_pictures_are_drawn_as_they_are() -> None:
    mask = TRUTH.copy()
    mask[0] = 255
    figure = plots.pictures({"picture": PICTURE, "mask": mask, "again": PICTURE}, columns=2)
    assert titles(figure) == ["picture", "mask", "again"]
    assert np.array_equal(drawn(figure, 0), PICTURE)
    assert np.unique(drawn(figure, 1)).tolist() == [0, 0.5, 1]
    assert_fits(figure)


@pytest.mark.parametrize(("named", "columns"), [({}, 4), ({"a": PICTURE}, 0)])
def test_pictures_refuses_nothing(named: dict[str, np.ndarray], columns: int) -> None:
    with pytest.raises(ValueError, match="named must hold a picture, columns be at least 1; got"):
        plots.pictures(named, columns=columns)


@pytest.mark.parametrize("kind", ["error", "agreement", "outline", "probability", "mask"])
def test_side_by_side_shows_the_views(comparison: Comparison, kind: str) -> None:
    figure = plots.side_by_side(comparison, kind)
    assert titles(figure) == ["picture", "true mask", "plain", "U-Net + CBAM with a very\nlong name"]
    assert np.array_equal(drawn(figure, 2), comparison.view(kind, "plain"))
    assert [len(legend.get_texts()) for legend in figure.legends] == ([3] if kind in plots.WORDS else [])
    assert_fits(figure)


def test_side_by_side_without_a_true_mask(comparison: Comparison) -> None:
    alone = compare(PICTURE, {"plain": Predictor(build_model("unet", 1, width=4), size=32)})
    assert titles(plots.side_by_side(alone, "mask")) == ["picture", "plain"]
    with pytest.raises(ValueError, match="true mask"):
        plots.side_by_side(alone, "error")


def test_attention_has_every_stage_on_one_scale(comparison: Comparison) -> None:
    stages = comparison.results[1].attention
    figure = plots.attention(stages, PICTURE)
    assert {title.split("\n")[0] for title in titles(figure)} == {"picture", *stages}
    for index, stage in enumerate(stages.values(), start=1):
        assert np.array_equal(drawn(figure, index), stage.spatial)
        assert figure.axes[index].get_images()[0].get_clim() == (0, 1)
        assert figure.axes[index].get_images()[0].get_cmap().name == "cividis"
    assert [axes.get_ylim() for axes in figure.axes if axes.get_label() == "<colorbar>"] == [(0, 1)]
    assert_fits(figure)


def test_attention_needs_attention() -> None:
    with pytest.raises(ValueError, match="stages must hold at least one; got none"):
        plots.attention({}, PICTURE)


def test_curves_hold_the_records() -> None:
    figure = plots.curves({"plain": RECORDS, "cbam": RECORDS[:2]})
    assert titles(figure) == ["train loss", "validation Dice"]
    first, second = figure.axes[1].get_lines()
    assert list(first.get_ydata()) == [record["val_dice_fg_image"] for record in RECORDS]
    assert list(second.get_xdata()) == [1, 2]
    assert first.get_linestyle() != second.get_linestyle()
    assert_fits(figure)


def test_curves_leave_out_a_score_that_was_not_recorded() -> None:
    figure = plots.curves({"plain": RECORDS}, scores=["val_loss"])
    assert np.isnan(figure.axes[0].get_lines()[0].get_ydata()).all()


@pytest.mark.parametrize("runs", [{}, {"plain": []}])
def test_curves_refuses_nothing(runs: dict[str, list[dict[str, float]]]) -> None:
    with pytest.raises(ValueError, match="runs must hold records of one epoch or more each"):
        plots.curves(runs)


@pytest.fixture(scope="module")
def tested() -> explain.Faithfulness:
    torch.manual_seed(0)
    model = Predictor(build_model("unet", 1, width=4, cbam=("bottleneck", "skip")), size=32)
    model.model.net.head.bias.fill_(1.0)  # so that there is a prediction to lose
    return explain.faithfulness(model, discs(3, (32, 32)), step_percent=25)


def test_gate_effects_are_the_numbers_of_the_table(tested: explain.Faithfulness) -> None:
    figure = plots.gate_effects(tested.gates)
    assert titles(figure) == ["channel gate", "spatial gate", "both gates"]
    for axes, kind in zip(figure.axes, ("channel", "spatial", "both"), strict=True):
        for bars, replacement in zip(axes.containers[1::2], ("one", "mean", "shuffled"), strict=True):
            expected = [tested.gates.change(stage, kind, replacement) for stage in tested.gates.stages]
            assert [bar.get_width() for bar in bars] == [one.difference.mean for one in expected]
            assert bars.get_label() == replacement
            (caps,) = bars.errorbar.lines[2]
            ends = [(low[0], high[0]) for low, high in caps.get_segments()]
            wanted = [(one.difference.low, one.difference.high) for one in expected]
            assert np.asarray(ends) == pytest.approx(np.asarray(wanted))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(tested.gates.stages)
    assert_fits(figure)


def test_deletion_and_insertion_have_a_line_per_order(tested: explain.Faithfulness) -> None:
    figure = plots.deletion_insertion(tested.curves)
    assert titles(figure) == ["deletion: low is good", "insertion: high is good"]
    for axes, direction in zip(figure.axes, ("deletion", "insertion"), strict=True):
        for line, name in zip(axes.get_lines(), tested.curves.maps, strict=True):
            assert line.get_ydata() == pytest.approx(np.nanmean(tested.curves.scores[direction, name], axis=0))
            assert line.get_label() == f"{name}: {np.nanmean(tested.curves.area(direction, name)):.3f}"
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in figure.axes[0].get_lines()}
    assert len(looks) == len(tested.curves.maps) == 9
    assert_fits(figure)


def test_stages_of_the_curves_may_be_chosen(tested: explain.Faithfulness) -> None:
    figure = plots.deletion_insertion(tested.curves, ["skip 1"])
    assert [line.get_label().split(":")[0] for line in figure.axes[0].get_lines()][:2] == ["skip 1", "random"]
    with pytest.raises(ValueError, match="stage must be one of bottleneck, skip 1, .*; got 'random'"):
        plots.deletion_insertion(tested.curves, ["random"])


def test_nothing_global_is_touched(comparison: Comparison) -> None:
    import matplotlib.pyplot as plt

    plots.side_by_side(comparison)
    plots.curves({"plain": RECORDS})
    assert plt.get_fignums() == []
