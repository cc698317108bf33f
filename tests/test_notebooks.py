"""Every lesson runs again to the outputs stored in it, and is fit to be read without running."""

import ast
import json
import re
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lessons import (
    LESSONS,
    NOTEBOOKS,
    ROOT,
    Json,
    code_of,
    copied,
    exercises_of,
    outputs_of,
    read,
    strict_run,
    tags_of,
    text_of,
)

LONGEST_CELL, LONGEST_NOTEBOOK, MOST_CELLS, LARGEST_FILE = 15, 120, 12, 400_000
PARTS = ["setup", "result", "predict", "observe", "explore", "exercise", "check", "claim"]
ENDING = ["Recap", "Questions", "Read on"]
WIDGET = "application/vnd.jupyter.widget-view+json"
SABOTAGE = """
import builtins, re
from matplotlib.axes import Axes

old_imshow, old_plot, old_barh, old_print = Axes.imshow, Axes.plot, Axes.barh, builtins.print
Axes.imshow = lambda axes, values, *more, **style: old_imshow(axes, values[:, ::-1], *more, **style)
Axes.plot = lambda axes, x, y, *more, **style: old_plot(axes, x, [*y[:-1], 1.01 * y[-1]], *more, **style)
Axes.barh = lambda axes, names, widths, **style: old_barh(axes, names, [1.01 * width for width in widths], **style)
other_digit = lambda found: str((int(found[0]) + 1) % 10)
other_words = lambda words: [re.sub("[0-9](?=[^0-9]*$)", other_digit, str(word)) for word in words]
builtins.print = lambda *words, **knobs: old_print(*other_words(words), **knobs)
"""
SABOTAGED = {  # lesson, its last cell that is run, and what it must have shown by then
    "00_quickstart": ("attention", "channels 0."),
    "02_audit_a_results_table": ("observe", '; line "'),
}


def code_problems(notebook: Json) -> list[str]:
    cells = code_of(notebook)
    sources = [text_of(cell) for cell in cells]
    lengths = [sum(bool(line.strip()) for line in source.splitlines()) for source in sources]
    found = [f"a cell has {length} lines" for length in lengths if length > LONGEST_CELL]
    if sum(lengths) > LONGEST_NOTEBOOK:
        found.append(f"the notebook has {sum(lengths)} lines of code")
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    if len(cells) > MOST_CELLS:
        found.append(f"the notebook has {len(cells)} cells of code")
    if any("nbval" in f"{tags_of(cell)} {source}".lower() for cell, source in zip(cells, sources, strict=True)):
        found.append("a cell asks nbval to look away")
    found += [f"class {node.name}" for node in nodes if isinstance(node, ast.ClassDef)]
    counts = [cell["execution_count"] for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        found.append(f"execution counts are {counts}")
    return found


def output_problems(notebook: Json) -> list[str]:
    found = ["widget state is stored"] if "widgets" in notebook["metadata"] else []
    outputs = outputs_of(notebook)
    if not outputs:
        found.append("no outputs are stored")
    for output, following in pairwise([*outputs, {}]):
        data = output.get("data", {})
        if output["output_type"] == "error" or output.get("name") == "stderr":
            found.append(f"output {output['output_type']} on {output.get('name')}")
        if WIDGET in data:
            found.append("a widget is stored")
        if "image/png" in data:
            alt = output["metadata"].get("image/png", {}).get("alt", "")
            twin = "".join(data.get("text/plain", []))
            if not alt or not twin.startswith(f"[figure] {alt}\n"):
                found.append("a figure has no alt text, or its text twin does not begin with it")
            if not "".join(following.get("data", {}).get("text/markdown", [])).startswith("*"):
                found.append("a figure has no caption")
        if "<Figure size" in json.dumps(data.get("text/plain", "")):
            found.append("a bare figure is stored")
    return found


def prose_problems(notebook: Json, folder: Path) -> list[str]:
    cells = notebook["cells"]
    prose = "\n\n".join(text_of(cell) for cell in cells if cell["cell_type"] == "markdown")
    prose = re.sub(r"```.*?```", "", prose, flags=re.DOTALL)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose, flags=re.MULTILINE)]
    found = []
    if levels[:1] != [1] or levels.count(1) != 1:
        found.append("the notebook must have one title, at its top")
    if any(after > before + 1 for before, after in zip(levels, levels[1:], strict=False)):
        found.append(f"headings skip a level: {levels}")
    if re.search(r"!\[\s*\]\(", prose):
        found.append("a picture has no alt text")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", prose) if "://" not in target]
    found += [f"link to {target}, which is not there" for target in targets if not (folder / target).exists()]
    if len({cell["id"] for cell in cells}) < len(cells):
        found.append("cell ids are not unique")
    return found


def path_problems(notebook: Json) -> list[str]:
    texts = [text_of(cell) for cell in notebook["cells"]]
    texts += [
        json.dumps({**output, "data": {**output.get("data", {}), "image/png": ""}}) for output in outputs_of(notebook)
    ]
    pattern = rf"(?<![\w.:/])/(?:home|root|tmp|usr|opt|mnt|var|Users)/|[A-Z]:\\\\|{re.escape(str(ROOT))}"
    return [f"absolute path {match[0]}" for text in texts for match in re.finditer(pattern, text)]


def exercise_problems(notebook: Json) -> list[str]:
    found = []
    for one in exercises_of(notebook):
        if not one.name:
            found.append("an exercise has no check in the cell after it")
        if one.hints < 2 or not one.solution:
            found.append(f"{one.name} must have two hints and a solution, folded; got {one.hints} hints")
        if not one.mutants or not all(one.solution.count(right) == 1 for right in one.mutants):
            found.append(f"{one.name} must have mutants, each in place of one text of its solution")
    for cell in code_of(notebook):
        said = "".join("".join(output.get("text", "")) for output in cell["outputs"])
        if "check" in tags_of(cell) and not said.startswith("not yet - "):
            found.append(f"the check of a stub says {said!r}")
    return found


def problems(notebook: Json, folder: Path) -> list[str]:
    return [
        *code_problems(notebook),
        *output_problems(notebook),
        *prose_problems(notebook, folder),
        *path_problems(notebook),
        *exercise_problems(notebook),
    ]


def anatomy_problems(notebook: Json) -> list[str]:
    """What a lesson lacks of its parts, which come in one order."""
    tags = [tag for cell in code_of(notebook) for tag in tags_of(cell)]
    found = [f"no cell is tagged {part}" for part in PARTS if part not in tags]
    places = [tags.index(part) for part in PARTS if part in tags]
    if places != sorted(places):
        found.append(f"the parts are in the order {tags}")
    prose = [text_of(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    headings = re.findall(r"^## (.*)$", "\n\n".join(prose), flags=re.MULTILINE)
    if headings[-3:] != ENDING:
        found.append(f"the last headings are {headings[-3:]}, not {ENDING}")
    found += [f"the first cell has no {word}" for word in ("Goal", "Time", "Needs", "Claim") if word not in prose[0]]
    questions = next((text for text in prose if "## Questions" in text), "").partition("## Questions")[2]
    if questions.partition("## ")[0].count("<details>") < 3:
        found.append("there are fewer than three questions with folded answers")
    return found


def test_there_is_a_lesson() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_fit_to_be_read(path: Path) -> None:
    assert problems(read(path), path.parent) == []
    assert path.stat().st_size <= LARGEST_FILE


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_has_all_parts_of_a_lesson(path: Path) -> None:
    assert anatomy_problems(read(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_to_its_stored_outputs(path: Path, tmp_path: Path) -> None:
    failures, said = strict_run(copied(path, tmp_path))
    assert len(failures) == len(code_of(read(path))), said
    assert not any(failures), said


@pytest.mark.parametrize("stem", SABOTAGED)
def test_a_changed_curve_map_bar_or_number_fails_the_run(stem: str, tmp_path: Path) -> None:
    copy = copied(ROOT / "notebooks" / f"{stem}.ipynb", tmp_path)
    notebook = read(copy)
    last, shown = SABOTAGED[stem]
    end = [cell["id"] for cell in notebook["cells"]].index(last) + 1
    notebook["cells"] = notebook["cells"][:end]
    cells = code_of(notebook)
    cells[0]["source"] = text_of(cells[0]) + SABOTAGE  # maps mirrored, curves and bars 1 % off, the last digit printed
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    failures, said = strict_run(copy)
    stored = [json.dumps([{**output, "metadata": {}} for output in cell["outputs"]]) for cell in cells]
    printed = [re.search(r'"text": \["[^\]]*\d', text) for text in stored]
    assert shown.replace('"', '\\"') in stored[-1]
    assert any(printed)
    for failure, text, number in zip(failures, stored, printed, strict=True):
        assert bool(failure) == ("[figure]" in text or number is not None), said
        assert "[figure]" not in text or "mismatch 'text/plain'" in failure and "[figure]" in failure, said
        assert "[figure]" in text or number is None or "mismatch 'stdout'" in failure, said


WATCHED = {
    "a lesson must not use the network": "import socket\nsocket.create_connection(('localhost', 80))",
    "does not tell the last value of line": """
figure = Figure()
axes = figure.subplots()
axes.plot([1, 2])
axes.set_label("<colorbar>")  # of which only the label is told
teach.show(figure, "A line.")""",
    "control side does not change the figure": """
teach.explore(lambda side=1: (np.zeros((2, 2)), "so"), "A square.", side=(1, 3))""",
    "side = 3: This setting cannot be drawn": """
teach.explore(lambda side=1: (np.zeros((2, 3 - side)), "so"), "A square.", side=(1, 3))""",
}


def test_a_kernel_under_test_is_watched(tmp_path: Path) -> None:
    start = "import numpy as np\nfrom matplotlib.figure import Figure\nfrom seglab import teach"
    (tmp_path / "notebooks").mkdir()
    cells = [
        {"cell_type": "code", "id": f"c{i}", "source": source, "execution_count": i, "outputs": [], "metadata": {}}
        for i, source in enumerate([start, *WATCHED.values()], 1)
    ]
    path = tmp_path / "notebooks" / "canary.ipynb"
    path.write_text(json.dumps({**good(), "cells": cells}), encoding="utf-8")
    failures, said = strict_run(path)
    assert failures[0] == "", said
    for message, failure in zip(WATCHED, failures[1:], strict=True):
        assert message in failure, said


EXERCISE = [
    {"cell_type": "code", "id": "d", "source": "def two(): ...", "execution_count": 2, "outputs": [],
     "metadata": {"tags": ["exercise"], "mutants": {"2": "3"}}},
    {"cell_type": "code", "id": "e", "source": 'teach.check("two", two)', "execution_count": 3,
     "outputs": [{"output_type": "stream", "name": "stdout", "text": ["not yet - so"]}],
     "metadata": {"tags": ["check"]}},
    {"cell_type": "markdown", "id": "f", "metadata": {}, "source": (
        "<summary>Hint 1</summary> <summary>Hint 2</summary> <summary>Solution</summary>\n\n"
        "```python\ndef two(): return 2\n```\n\n</details>"
    )},
]  # fmt: skip


def good() -> Json:
    """A small lesson that the guard lets pass."""
    figure = {
        "output_type": "display_data",
        "data": {"image/png": "iVBORw0KGgo=", "text/plain": ["[figure] A line.\n", "axes"]},
        "metadata": {"image/png": {"alt": "A line."}},
    }
    caption = {"output_type": "display_data", "data": {"text/markdown": ["*A line.*"]}, "metadata": {}}
    code = {
        "cell_type": "code",
        "id": "b",
        "source": ["x = 1"],
        "execution_count": 1,
        "outputs": [figure, caption],
        "metadata": {},
    }
    title = {
        "cell_type": "markdown",
        "id": "a",
        "source": ["# Title\n", "\n", "[a](good.md)\n\n## Part"],
        "metadata": {},
    }
    return {"cells": [title, code, *deepcopy(EXERCISE)], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def set_code(**values: Any) -> Callable[[Json], None]:
    return lambda notebook: notebook["cells"][1].update(values)


def set_output(**values: Any) -> Callable[[Json], None]:
    return lambda notebook: notebook["cells"][1]["outputs"][0].update(values)


def set_prose(text: str) -> Callable[[Json], None]:
    return lambda notebook: notebook["cells"][0].update(source=[text])


def set_exercise(place: int, **values: Any) -> Callable[[Json], None]:
    return lambda notebook: notebook["cells"][place].update(values)


BROKEN = {
    "an exercise has no check": set_exercise(3, source="two()"),
    "must have two hints and a solution": set_exercise(4, source="<summary>Hint 1</summary>"),
    "two must have mutants": set_exercise(2, metadata={"tags": ["exercise"], "mutants": {"4": "3"}}),
    "the check of a stub says 'passed'": set_exercise(
        3, outputs=[{"output_type": "stream", "name": "stdout", "text": ["passed"]}]
    ),
    "the notebook has 13 cells": lambda notebook: notebook["cells"].extend(notebook["cells"][1:2] * 10),
    "a cell asks nbval to look away": set_code(source=["# NBVAL_SKIP"]),
    "a figure has no caption": lambda notebook: notebook["cells"][1]["outputs"].pop(),
    "a cell has 16 lines": set_code(source=["x = 1\n"] * 16),
    "the notebook has 123 lines of code": lambda notebook: notebook["cells"].extend(notebook["cells"][1:2] * 120),
    "class A": set_code(source=["class A: pass"]),
    "execution counts are [None, 2, 3]": set_code(execution_count=None),
    "execution counts are [2, 2, 3]": set_code(execution_count=2),
    "no outputs are stored": lambda notebook: [cell.update(outputs=[]) for cell in code_of(notebook)],
    "widget state is stored": lambda notebook: notebook["metadata"].update(widgets={}),
    "a widget is stored": set_output(data={WIDGET: {}}),
    "output stream on stderr": set_output(output_type="stream", name="stderr", text=["!"], data={}),
    "output error on None": set_output(output_type="error", data={}),
    "a figure has no alt text": set_output(metadata={}),
    "its text twin does not begin with it": set_output(data={"image/png": "", "text/plain": ["<Axes>"]}),
    "a bare figure is stored": set_output(data={"text/plain": ["<Figure size 4x3 with 1 Axes>"]}),
    "must have one title": set_prose("## Part"),
    "headings skip a level": set_prose("# Title\n\n### Part"),
    "a picture has no alt text": set_prose("# Title\n\n![](good.md)"),
    "link to gone.md": set_prose("# Title\n\n[a](gone.md)"),
    "cell ids are not unique": set_code(id="a"),
    "absolute path /home/": set_code(source=["open('/home/me/x')"]),
}


def test_the_guard_lets_a_good_lesson_pass(tmp_path: Path) -> None:
    (tmp_path / "good.md").touch()
    assert problems(good(), tmp_path) == []


@pytest.mark.parametrize("message", BROKEN)
def test_the_guard_finds(message: str, tmp_path: Path) -> None:
    (tmp_path / "good.md").touch()
    notebook = good()
    BROKEN[message](notebook)
    found = problems(notebook, tmp_path)
    assert any(message in problem for problem in found), found
