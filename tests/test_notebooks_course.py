"""What holds for the whole course: no figure, exercise or claim is left out, and the syllabus names every lesson."""

import ast
import re
import sys
from pathlib import Path

import pytest
from lessons import LESSONS, NOTEBOOKS, ROOT, code_of, exercises_of, outputs_of, read, tags_of, text_of

from seglab.teach import list_exercises

sys.path.insert(0, str(ROOT / "notebooks"))

import measure  # noqa: E402 - a script beside the lessons

README = ROOT / "notebooks" / "README.md"
TRUTHS = (True, False, None)


def claims_of(path: Path) -> list[ast.Call]:
    """Every call of teach.claim in a lesson."""
    nodes = [node for cell in code_of(read(path)) for node in ast.walk(ast.parse(text_of(cell)))]
    return [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "teach.claim"]


def test_the_course_has_ten_lessons_and_a_quickstart_in_one_row() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(len(NOTEBOOKS))]


def test_every_figure_has_alt_text_a_text_twin_and_a_caption() -> None:
    outputs = [output for path in NOTEBOOKS for output in [*outputs_of(read(path)), {}]]
    places = [place for place, output in enumerate(outputs) if "image/png" in output.get("data", {})]
    assert len(places) >= 2 * len(NOTEBOOKS)
    alts = [outputs[place]["metadata"]["image/png"]["alt"] for place in places]
    twins = ["".join(outputs[place]["data"]["text/plain"]) for place in places]
    captions = ["".join(outputs[place + 1]["data"]["text/markdown"]) for place in places]
    assert all(alt.strip() for alt in alts)
    assert all(twin.startswith(f"[figure] {alt}\naxes ") for alt, twin in zip(alts, twins, strict=True))
    assert all(re.fullmatch(r"\*.+\*", caption, re.DOTALL) for caption in captions)


def test_every_exercise_has_a_stub_two_hints_a_check_a_solution_and_mutants() -> None:
    found = {path.stem: exercises_of(read(path)) for path in LESSONS}
    assert all(found.values())
    exercises = [one for some in found.values() for one in some]
    assert sorted(one.name for one in exercises) == list_exercises()
    for one in exercises:
        assert one.hints >= 2, one.name
        assert len(one.mutants) >= 3, one.name
        assert one.solution.strip(), one.name
        functions = [node for node in ast.parse(one.stub).body if isinstance(node, ast.FunctionDef)]
        assert functions, one.name
        assert all(ast.unparse(function.body[-1]) == "return ..." for function in functions), one.name
        assert all(ast.get_docstring(function) for function in functions), one.name


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_verdict_is_computed_and_not_typed(path: Path) -> None:
    claims = claims_of(path)
    assert claims
    for claim in claims:
        knobs = {knob.arg: knob.value for knob in claim.keywords}
        holds = claim.args[1] if len(claim.args) > 1 else knobs["holds"]
        assert not isinstance(holds, ast.Constant), ast.unparse(claim)
        assert {node.id for node in ast.walk(holds) if isinstance(node, ast.Name)}, ast.unparse(holds)


@pytest.mark.parametrize("path", LESSONS[:-1], ids=lambda path: path.stem)
def test_a_lesson_links_to_the_next_one(path: Path) -> None:
    last = text_of(read(path)["cells"][-1])
    following = NOTEBOOKS[NOTEBOOKS.index(path) + 1]
    assert f"]({following.name})" in last.rpartition("Next:")[2]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_asks_before_it_shows(path: Path) -> None:
    sources = {tag: text_of(cell) for cell in code_of(read(path)) for tag in tags_of(cell)}
    assert "teach.predict(" in sources["predict"]
    assert "teach.explore(" in sources["explore"]
    assert "teach.setup(" in sources["setup"]


def test_the_syllabus_has_every_lesson_with_what_it_needs_and_its_times() -> None:
    rows = measure.read_rows(README.read_text(encoding="utf-8"))
    assert list(rows) == [path.stem for path in NOTEBOOKS]
    for path in NOTEBOOKS:
        question, needs, reading, running = rows[path.stem]
        assert question.endswith("?"), path.stem
        assert needs == measure.needs(path), f"python notebooks/measure.py --text: {path.stem}"
        assert abs(int(reading.removesuffix(" min")) - measure.reading(path)) <= 2, path.stem
        assert re.fullmatch(r"\d+ s", running), f"python notebooks/measure.py {path.stem}"
        assert int(running.removesuffix(" s")) <= 90, path.stem  # what one lesson may cost, on a busy computer too


def test_the_table_is_written_between_its_marks_and_read_back() -> None:
    text = f"# A\n\n{measure.BEGIN}\n| [01_a](01_a.ipynb) | Why? |\n{measure.END}\n\nRest.\n"
    rows = measure.read_rows(text)
    assert rows == {"01_a": ("Why?", "", "", "")}
    written = measure.write_rows(text, {"01_a": ("Why?", "00", "9 min", "7 s"), "02_b": ("How?", "01", "8 min", "5 s")})
    assert measure.read_rows(written) == {
        "01_a": ("Why?", "00", "9 min", "7 s"),
        "02_b": ("How?", "01", "8 min", "5 s"),
    }
    assert "run for 12 s" in written
    assert written.startswith("# A\n")
    assert written.endswith("\n\nRest.\n")
    with pytest.raises(ValueError, match=r"README.md must have a line .*; got none"):
        measure.write_rows("# A\n", rows)


def test_reading_counts_open_prose_and_code_and_not_what_is_folded(tmp_path: Path) -> None:
    prose = "word " * 260 + "<details>" + "folded " * 900 + "</details>"
    first = "# T\n\n**Needs.** [one](01_a.ipynb) and [two](04_b.ipynb).\n\n[no](09_c.ipynb)"
    cells = [("markdown", first), ("markdown", prose), ("code", "x = 1\n\n" * 20)]
    path = tmp_path / "05_x.ipynb"
    path.write_text('{"cells": ' + str([{"cell_type": kind, "source": [text]} for kind, text in cells])
                    .replace("'", '"') + "}")  # fmt: skip
    assert measure.reading(path) == 5  # 2 of prose, 2 of code, and the first cell
    assert measure.needs(path) == "01, 04"
