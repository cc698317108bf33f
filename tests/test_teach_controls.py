"""A lesson's controls move its figure, its questions keep their answer back, and both can be stored as text."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from typing import Any

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from seglab import teach
from seglab.teach._explore import Control, Explorer
from seglab.teach._predict import Prediction

COLOURS = {"black": 0.0, "grey": 0.5, "white": 1.0}


def square(side: int = 4, light: float = 0.5, colour: str = "grey", turned: bool = False) -> tuple[np.ndarray, str]:
    """A picture that shows all of its settings."""
    if light > 0.9:
        raise ValueError("too <bright>")
    picture = np.full((side, side + 1), light * COLOURS[colour])
    return (picture.T if turned else picture), f"{side} by {side + 1} & {colour}"


CONTROLS: dict[str, Any] = {"side": (2, 8), "light": (0.0, 1.0, 0.1), "colour": list(COLOURS), "turned": False}


def explorer() -> Explorer:
    return Explorer(square, "A square.", {name: Control(name, rule) for name, rule in CONTROLS.items()})


def size_of(explorer: Explorer) -> tuple[int, int]:
    """Width and height of the picture on the page."""
    found = re.search(r'base64,([^"]+)"', explorer.picture.value)
    assert found
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
        return picture.size


def test_every_control_moves_the_figure() -> None:
    one = explorer()
    pictures = [one.picture.value]
    for name, value in {"side": 7, "light": 0.7, "colour": "white", "turned": True}.items():
        one.inputs[name].value = value
        pictures.append(one.picture.value)
    assert len(set(pictures)) == 5
    assert size_of(one) == (7, 8)  # turned
    assert one.sentence.value == '<p role="status">7 by 8 &amp; white</p>'


def test_the_figure_on_the_page_says_what_it_shows() -> None:
    one = explorer()
    one.inputs["colour"].value = "black"
    assert 'alt="A square. side = 2, light = 0, colour = black, turned = no: 2 by 3 &amp; black"' in one.picture.value


def test_a_setting_that_cannot_be_drawn_says_so_and_keeps_the_figure() -> None:
    one = explorer()
    before = one.picture.value
    one.inputs["light"].value = 1.0
    assert one.sentence.value == "This setting cannot be drawn: too &lt;bright&gt;"
    assert one.picture.value == before
    one.inputs["light"].value = 0.3
    assert one.picture.value != before


@pytest.mark.parametrize(("value", "clamped"), [(99, 8), (-1, 2)])
def test_a_number_beyond_the_end_is_the_end(value: int, clamped: int) -> None:
    one = explorer()
    one.inputs["side"].value = value
    assert one.inputs["side"].value == clamped


@pytest.mark.parametrize(("name", "kind"), [("side", ipywidgets.IntSlider), ("light", ipywidgets.FloatSlider)])
def test_a_slider_and_its_named_box_follow_each_other(name: str, kind: type) -> None:
    box, slider = Control(name, CONTROLS[name]).widgets()
    assert isinstance(slider, kind)
    assert box.description == name  # the handle of a slider has no name for a screen reader
    slider.value = slider.max
    assert box.value == slider.max
    box.value = box.min
    assert slider.value == box.min


def test_the_question_stands_above_the_controls() -> None:
    one = Explorer(square, "A square.", {"side": Control("side", (2, 8))}, "Is 1 < 2?")
    assert one.box.children[0].value == "<b>Is 1 &lt; 2?</b>"


@pytest.mark.parametrize(
    ("rule", "default", "start", "told"),
    [
        ((2, 8), None, 2, "from 2 to 8"),
        ((2, 8), 5, 5, "from 2 to 8"),
        ((0.0, 1), None, 0.0, "from 0 to 1"),
        (["a", "b"], None, "a", "a or b"),
        (True, None, True, "yes or no"),
        (True, False, False, "yes or no"),
    ],
)
def test_a_control_starts_at_its_default(rule: Any, default: Any, start: Any, told: str) -> None:
    control = Control("it", rule, default)
    assert control.start == start
    assert control.range == told
    assert control.widgets()[0].value == start


def test_stored_it_is_a_sheet_of_figures(capsys: pytest.CaptureFixture[str]) -> None:
    teach.explore(square, "A square.", at=[{}, {"side": 8, "turned": True}], caption="Which?", **CONTROLS)
    assert capsys.readouterr().out.splitlines() == [
        "Which?",
        "[figure] A square. side = 4, light = 0.5, colour = grey, turned = no: 4 by 5 & grey",
        "picture: image 4 x 5, mean 0.25, from 0.25 to 0.25, quarters 0.25 0.25 0.25 0.25",
        "side = 4, light = 0.5, colour = grey, turned = no: 4 by 5 & grey",
        "[figure] A square. side = 8, light = 0.5, colour = grey, turned = yes: 8 by 9 & grey",
        "picture: image 9 x 8, mean 0.25, from 0.25 to 0.25, quarters 0.25 0.25 0.25 0.25",
        "side = 8, light = 0.5, colour = grey, turned = yes: 8 by 9 & grey",
        "Run this cell to set it yourself: side from 2 to 8, light from 0 to 1, colour black or grey or white, "
        "turned yes or no.",
    ]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({}, "controls must name at least one setting of the figure; got none"),
        ({"width": (1, 2)}, r"control must be a parameter of the function \(side, .*\); got 'width'"),
        ({"side": 3}, r"control side must be \(low, high\), \(low, high, step\), a list or a bool; got 3"),
        ({"side": (3, 2)}, r"control side must be .* with low < high; got \(3, 2\)"),
        ({"side": (3, 5, 0)}, "control side must be .* with low < high"),
        ({"side": (5, 9)}, "side must be from 5 to 9; got 4"),
        ({"side": (2, 9), "at": [{"side": 1}]}, "side must be from 2 to 9; got 1"),
        ({"side": (2, 9), "at": [{"light": 1}]}, r"at must name settings \(side\); got 'light'"),
        ({"side": []}, "control side must be"),
    ],
)
def test_explore_refuses(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        teach.explore(square, "A square.", **knobs)


def test_explore_asks_for_a_description() -> None:
    with pytest.raises(ValueError, match="alt must say what there is to see"):
        teach.explore(square, " ", side=(2, 9))


def test_the_answer_appears_only_after_the_commitment() -> None:
    one = Prediction("Which?", ["a", "b"], "b", "Because of <c>.")
    assert (one.choice.value, one.commit.disabled, one.result.value) == (None, True, "")
    one.choice.value = "a"
    assert (one.commit.disabled, one.result.value) == (False, "")
    one.commit.click()
    told = '<p role="status">You predicted: a. The answer is: b. Because of &lt;c&gt;.</p>'
    assert (one.choice.disabled, one.commit.disabled, one.result.value) == (True, True, told)


def test_a_right_prediction_is_told_so() -> None:
    one = Prediction("Which?", ["a", "b"], "b")
    one.choice.value = "b"
    one.commit.click()
    assert one.result.value == '<p role="status">As you predicted: b.</p>'


@pytest.mark.parametrize(
    ("choices", "answer", "message"),
    [
        (["a"], "a", "choices must be two or more different ones"),
        (["a", "a"], "a", "choices must be two or more different ones"),
        (["a", "b"], "c", r"answer must be one of the choices \['a', 'b'\]; got 'c'"),
    ],
)
def test_predict_refuses(choices: list[str], answer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        teach.predict("Which?", choices, answer)


@pytest.mark.parametrize(
    ("holds", "verdict"),
    [
        (True, "holds"),
        (np.bool_(True), "holds"),
        (False, "does not hold"),
        (np.bool_(False), "does not hold"),
        (None, "cannot be decided from the paper"),
    ],
)
def test_a_claim_has_one_of_three_verdicts(holds: Any, verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    teach.claim("All.", holds, source="A, Table 1", because="So.", would_decide="More.")
    assert capsys.readouterr().out.splitlines() == [
        "Claim: All. (A, Table 1)", f"Verdict: {verdict}. So.", "What would decide it: More.",
    ]  # fmt: skip


@pytest.mark.parametrize("missing", ["text", "source", "because", "would_decide"])
def test_a_claim_without_its_parts_is_refused(missing: str) -> None:
    parts = {"text": "All.", "source": "A", "because": "So.", "would_decide": "More."} | {missing: " "}
    with pytest.raises(ValueError, match=f"{missing} of a claim must say something"):
        teach.claim(parts.pop("text"), True, **parts)


IN_A_NOTEBOOK = """
import json
import numpy as np
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from seglab import teach

InteractiveShell.instance()
with capture_output() as seen:
    teach.predict("Which?", ["a", "b"], "b", because="So.")
    teach.explore(lambda side=2: (np.zeros((side, side)), "fine"), "A square.", side=(1, 3))
    teach.claim("All.", True, source="A", because="So.", would_decide="More.")
print(json.dumps([output.data for output in seen.outputs]))
"""


def shown(widgets: str) -> list[dict[str, Any]]:
    """What a notebook shows, under SEGLAB_WIDGETS."""
    surroundings = os.environ | {"SEGLAB_WIDGETS": widgets}
    command = [sys.executable, "-c", IN_A_NOTEBOOK]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings)
    bundles: list[dict[str, Any]] = json.loads(done.stdout)
    return bundles


def test_stored_a_lesson_has_figures_and_text_and_no_widget() -> None:
    bundles = shown("static")
    assert [sorted(bundle) for bundle in bundles] == [
        ["text/markdown", "text/plain"],
        ["image/png", "text/plain"],
        *[["text/markdown", "text/plain"]] * 3,
    ]
    assert bundles[0]["text/markdown"] == (
        "**Predict.** Which?\n\n1. a\n2. b\n\n"
        "<details><summary>Answer: open it when you have chosen</summary>\n\n**b** So.\n\n</details>"
    )
    assert bundles[-1]["text/markdown"] == (
        "> **Claim:** All. (A)\n>\n> **Verdict:** holds. So.\n>\n> **What would decide it:** More."
    )


def test_in_jupyter_questions_and_figures_are_widgets() -> None:
    bundles = shown("live")
    assert ["application/vnd.jupyter.widget-view+json" in bundle for bundle in bundles] == [True, True, False]
