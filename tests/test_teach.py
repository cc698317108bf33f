"""A lesson's figures can be read by a test, and its numbers by a person."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from seglab import teach
from seglab.teach import _figures

CURVE = np.linspace(1.0, 0.2, 20)
BLOB = np.hypot(*np.mgrid[-12:20, -20:28]) / 40  # (32, 48), bright towards one corner


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


def line_figure(values: Any, *, label: str = "loss") -> Figure:
    figure = Figure()
    axes = figure.subplots()
    axes.plot(range(1, len(values) + 1), values, label=label)
    axes.set(title="training", xlabel="epoch", ylabel="loss")
    return figure


def map_figure(values: np.ndarray) -> Figure:
    figure = Figure()
    axes = figure.subplots()
    figure.colorbar(axes.imshow(values, vmin=0, vmax=1), label="gate")
    return figure


def twin(figure: Figure | np.ndarray, capsys: pytest.CaptureFixture[str]) -> str:
    """What `show` says of a figure beside its alt text."""
    teach.show(figure, "What there is.", caption="Below.")
    first, *summary, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("[figure] What there is.", "Below.")
    return "\n".join(summary)


def test_setup_gives_the_same_numbers_again() -> None:
    draws = []
    for _ in range(2):
        teach.setup(seed=3)
        draws.append(torch.rand(4))
    assert torch.equal(*draws)


def test_setup_sets_the_precision_of_new_models() -> None:
    teach.setup(dtype="float64")
    assert torch.nn.Linear(2, 2).weight.dtype == torch.float64
    teach.setup()
    assert torch.nn.Linear(2, 2).weight.dtype == torch.float32


def test_setup_comes_before_torch() -> None:
    code = "import sys; from seglab import teach; print('torch' in sys.modules); teach.setup()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"  # how threads wait is read when torch loads


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"dtype": "half"}, "dtype must be one of float32, float64; got 'half'"),
        ({"seed": -1}, "seed must be 0 or above"),
    ],
)
def test_setup_refuses(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        teach.setup(**knobs)


@pytest.mark.parametrize(("value", "inside"), [(0.7, True), (0.9, True), (0.6999, False), (1.0, False)])
def test_band_hides_the_value_only_inside(value: float, inside: bool) -> None:
    assert (teach.band(value, 0.7, 0.9) == "between 0.7 and 0.9") is inside


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_band_shows_what_is_no_number(value: float) -> None:
    assert teach.band(value, 0, 1) == f"{value:.3g}, not between 0 and 1"


def test_band_refuses_ends_out_of_order() -> None:
    with pytest.raises(ValueError, match="low must be below high; got 1 and 0"):
        teach.band(0.5, 1, 0)


def test_twin_of_a_curve_names_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert twin(line_figure([1.0, 0.5, np.nan, 0.25]), capsys) == (
        'axes "training"; x "epoch"; y "loss"; '
        'line "loss" n 4, x 1 to 4, first 1, last 0.25, min 0.25, max 1, mean 0.583'
    )


@pytest.mark.parametrize("index", [0, 10, -1])
def test_a_changed_point_changes_the_twin(index: int, capsys: pytest.CaptureFixture[str]) -> None:
    changed = CURVE.copy()
    changed[index] += 0.02
    assert twin(line_figure(changed), capsys) != twin(line_figure(CURVE), capsys)


def test_a_curve_of_another_name_changes_the_twin(capsys: pytest.CaptureFixture[str]) -> None:
    assert twin(line_figure(CURVE, label="score"), capsys) != twin(line_figure(CURVE), capsys)


@pytest.mark.parametrize("change", [np.fliplr, np.flipud, lambda values: values * 1.01, lambda values: 1 - values])
def test_a_changed_map_changes_the_twin(change: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert twin(map_figure(change(BLOB)), capsys) != twin(map_figure(BLOB), capsys)


def test_last_bits_do_not_change_the_twin(capsys: pytest.CaptureFixture[str]) -> None:
    wobble = 1 + 1e-9 * np.random.default_rng(0).standard_normal(BLOB.shape)
    assert twin(map_figure(BLOB * wobble), capsys) == twin(map_figure(BLOB), capsys)
    balanced, nearly = np.array([1.0, -1.0]), np.array([1.0, -1.0 + 1e-12])  # means 0 and 5e-13
    assert twin(line_figure(balanced), capsys) == twin(line_figure(nearly), capsys)


def test_twin_has_bars_written_words_and_colour_bars(capsys: pytest.CaptureFixture[str]) -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.bar(["a", "b"], [0.5, 0.25])
    axes.text(0, 0.1, "half")
    assert twin(figure, capsys) == 'axes ""; bars "a" 0.5 "b" 0.25; text "half"'
    assert twin(map_figure(BLOB), capsys).splitlines()[1] == 'colour bar "gate"'


def test_twin_of_lying_and_of_named_bars(capsys: pytest.CaptureFixture[str]) -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.barh(["c", "d"], [3, 4], label="ours")
    axes.barh([5, 6.5], [1, 2])
    assert twin(figure, capsys) == 'axes ""; bars "ours" "c" 3 "d" 4; bars "" 1 "" 2'
    figure = Figure()
    figure.subplots().bar([1, 2], [7, 8])
    assert twin(figure, capsys) == 'axes ""; bars 7 8'


def test_twin_of_an_empty_curve_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert twin(line_figure([np.nan, np.nan]), capsys).endswith("n 2, no finite value")


@pytest.mark.parametrize("draw", ["scatter", "fill_between", "stackplot"])
def test_show_refuses_what_it_would_pass_over(draw: str) -> None:
    figure = Figure()
    getattr(figure.subplots(), draw)([1, 2], [3, 4])
    with pytest.raises(ValueError, match="figure must hold lines, bars and pictures, which can be described; got"):
        teach.show(figure, "Points.")


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_show_asks_for_a_description(alt: str) -> None:
    with pytest.raises(ValueError, match="alt must say what there is to see"):
        teach.show(BLOB, alt)


@pytest.mark.parametrize("shape", [(0, 4), (3,), (4, 4, 2), (2, 4, 4, 3)])
def test_show_refuses_what_is_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"picture must be \(H, W\) or \(H, W, 3\), not empty"):
        teach.show(np.zeros(shape), "Nothing.")


IN_A_NOTEBOOK = """
import json, sys
import numpy as np
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from seglab import teach
from seglab.teach import _figures

InteractiveShell.instance()
with capture_output() as seen:
    teach.show(np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "Four dots.", caption="Dots.")
print(json.dumps([[output.data, output.metadata] for output in seen.outputs]))
"""


def test_a_notebook_gets_picture_twin_and_caption() -> None:
    said = subprocess.run([sys.executable, "-c", IN_A_NOTEBOOK], capture_output=True, text=True, check=True).stdout
    (bundle, metadata), (caption, _) = json.loads(said)
    assert metadata == {"image/png": {"alt": "Four dots."}}
    assert bundle["text/plain"].startswith("[figure] Four dots.\npicture: image 2 x 2 x 3, mean 5.5, from 0 to 11")
    assert caption["text/markdown"] == "*Dots.*"
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) as picture:
        assert np.array_equal(np.asarray(picture).reshape(-1), np.arange(12))
        assert not picture.info


def test_the_same_figure_gives_the_same_file(monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[str] = []
    monkeypatch.setattr(_figures, "publish", lambda bundle, metadata=None: files.append(bundle.get("image/png", "")))
    for _ in range(2):
        teach.show(line_figure(CURVE), "A falling curve.")
    assert files[0]
    assert files[0] == files[2]
