"""Bars and lines hold the numbers they are given, in their order, and tell their groups apart without colour."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from seglab import charts

PANELS = {"one": {"b": 3.0, "a": -1.0, "c": 2.0}, "two": {"a": 0.5, "d": 4.0}}


def lengths(figure: Figure, panel: int) -> dict[str, tuple[float, float]]:
    """Place (from the top) and length of every bar, by the name beside it."""
    axes = figure.axes[panel]
    names = axes.yaxis.get_major_formatter().format_ticks(range(9))
    bars = [bar for group in axes.containers for bar in group]
    found = {names[round(bar.get_y() + bar.get_height() / 2)]: bar for bar in bars}
    return {name: (round(bar.get_y() + bar.get_height() / 2), bar.get_width()) for name, bar in found.items()}


def test_bars_are_as_long_as_told_and_in_order() -> None:
    figure = charts.bars(PANELS, "points", marked={"one": ["a"]}, words=("fits", "does not"))
    assert lengths(figure, 0) == {"b": (0, 3.0), "a": (1, -1.0), "c": (2, 2.0)}
    assert lengths(figure, 1) == {"a": (0, 0.5), "d": (1, 4.0)}
    top, bottom = figure.axes[0].get_ylim()
    assert top > bottom  # the first name is the highest


def test_marked_bars_have_stripes_and_a_word() -> None:
    figure = charts.bars(PANELS, "points", marked={"one": ["a"]}, words=("fits", "does not"))
    plain, marked = figure.axes[0].containers
    assert [len(plain), len(marked)] == [2, 1]
    assert (plain[0].get_hatch(), marked[0].get_hatch()) == ("", "////")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fits", "does not"]


def test_bars_without_marks_have_no_legend() -> None:
    assert charts.bars(PANELS, "points").legends == []


def test_lengths_are_written_if_asked_for() -> None:
    figure = charts.bars(PANELS, "points", digits=1)
    assert [text.get_text() for text in figure.axes[0].texts] == ["3.0", "-1.0", "2.0"]
    assert not charts.bars(PANELS, "points").axes[0].texts


def test_panels_share_one_scale() -> None:
    figure = charts.bars(PANELS, "points")
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_lines_and_points() -> None:
    figure = charts.lines({"curve": ([0, 1], [2, 3]), "seen": ([1], [5])}, x="here", y="there", points=["seen"])
    curve, seen = figure.axes[0].get_lines()
    assert (list(curve.get_xdata()), list(curve.get_ydata()), curve.get_linestyle()) == ([0, 1], [2, 3], "-")
    assert (seen.get_linestyle(), seen.get_marker(), seen.get_label()) == ("None", "s", "seen")
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("here", "there")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: charts.lines({}, x="", y=""), r"named must hold a line, and all of points; got \[\] and \[\]"),
        (lambda: charts.lines({"a": ([], [])}, x="", y="", points=["b"]), "named must hold a line, and all of points"),
        (lambda: charts.bars({}, ""), r"panels must have one bar or more each; got \[\]"),
        (lambda: charts.bars({"one": {}}, ""), r"panels must have one bar or more each; got \[0\]"),
        (lambda: charts.bars(PANELS, "", marked={"two": ["b"]}), r"marked must name bars of panel 'two'; got \['b'\]"),
        (lambda: charts.bars(PANELS, "", marked={"three": ["b"]}), "marked must name bars of panel 'three'"),
    ],
)
def test_charts_refuse(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_intervals_are_drawn_and_written() -> None:
    figure = charts.intervals({"a": (0.01, -0.02, 0.04), "b": (0.5, 0.25, 0.75)}, "effect", zero=True)
    axes = figure.axes[0]
    found = {line.get_label(): np.transpose(line.get_xydata()).tolist() for line in axes.get_lines()}
    assert found["a"] == [[-0.02, 0.04], [0, 0]]
    assert found["b, value"] == [[0.5], [1]]
    assert found["0"][0] == [0, 0]
    assert [text.get_text() for text in axes.texts] == ["0.010 (-0.020 to 0.040)", "0.500 (0.250 to 0.750)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first name is the highest


@pytest.mark.parametrize("named", [{}, {"a": (0.5, 0.6, 0.7)}, {"a": (float("nan"), 0.0, 1.0)}])
def test_intervals_refuse_values_outside(named: Any) -> None:
    with pytest.raises(ValueError, match="named must hold a value or more, each in its interval"):
        charts.intervals(named, "effect")
