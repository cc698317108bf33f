"""Every lesson runs again to the outputs stored in it, and is fit to be read without running."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_CELL, LONGEST_NOTEBOOK, LARGEST_FILE = 15, 80, 400_000
WIDGET = "application/vnd.jupyter.widget-view+json"
SURROUNDINGS = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "TQDM_DISABLE": "1",
}
SABOTAGE = """
from matplotlib.axes import Axes

draw_picture, draw_line = Axes.imshow, Axes.plot
Axes.imshow = lambda axes, picture, *more, **style: draw_picture(axes, picture[:, ::-1], *more, **style)
Axes.plot = lambda axes, x, y, *more, **style: draw_line(axes, x, [*y[:-1], 1.01 * y[-1]], *more, **style)
"""

Json = dict[str, Any]


def read(path: Path) -> Json:
    notebook: Json = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def text_of(cell: Json) -> str:
    return "".join(cell["source"])


def code_of(notebook: Json) -> list[Json]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs_of(notebook: Json) -> list[Json]:
    return [output for cell in code_of(notebook) for output in cell["outputs"]]


def strict_run(path: Path) -> tuple[list[str], str]:
    """Failure message of every code cell, empty if it printed what is stored; and all that was said."""
    report = path.parent / f"{path.stem}.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", f"--junitxml={report}"]
    command += ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=300", path.name]
    done = subprocess.run(
        command, cwd=path.parent, env=os.environ | SURROUNDINGS, capture_output=True, text=True, check=False
    )
    assert report.exists(), done.stdout + done.stderr
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return ["".join(case.itertext()) if len(case) else "" for case in cases], done.stdout


def copied(path: Path, folder: Path) -> Path:
    """The lesson in a folder that looks like the repository's to it, with other files to write in."""
    (folder / "assets").symlink_to(ROOT / "assets", target_is_directory=True)
    (folder / "notebooks").mkdir()
    return Path(shutil.copy(path, folder / "notebooks" / path.name))


def code_problems(notebook: Json) -> list[str]:
    cells = code_of(notebook)
    sources = [text_of(cell) for cell in cells]
    lengths = [sum(bool(line.strip()) for line in source.splitlines()) for source in sources]
    found = [f"a cell has {length} lines" for length in lengths if length > LONGEST_CELL]
    if sum(lengths) > LONGEST_NOTEBOOK:
        found.append(f"the notebook has {sum(lengths)} lines of code")
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
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
    for output in outputs:
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


def problems(notebook: Json, folder: Path) -> list[str]:
    return [
        *code_problems(notebook),
        *output_problems(notebook),
        *prose_problems(notebook, folder),
        *path_problems(notebook),
    ]


def test_there_is_a_lesson() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_fit_to_be_read(path: Path) -> None:
    assert problems(read(path), path.parent) == []
    assert path.stat().st_size <= LARGEST_FILE


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_to_its_stored_outputs(path: Path, tmp_path: Path) -> None:
    failures, said = strict_run(copied(path, tmp_path))
    assert len(failures) == len(code_of(read(path))), said
    assert not any(failures), said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_changed_figure_fails_the_run(path: Path, tmp_path: Path) -> None:
    copy = copied(path, tmp_path)
    notebook = read(copy)
    first = code_of(notebook)[0]
    first["source"] = text_of(first) + SABOTAGE  # pictures mirrored, the last point of every curve 1 % higher
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    has_figure = [
        any("image/png" in output.get("data", {}) for output in cell["outputs"]) for cell in code_of(notebook)
    ]
    failures, said = strict_run(copy)
    assert [bool(failure) for failure in failures] == has_figure, said
    assert all("mismatch 'text/plain'" in failure and "[figure]" in failure for failure in failures if failure), said


def good() -> Json:
    """A small lesson that the guard lets pass."""
    figure = {
        "output_type": "display_data",
        "data": {"image/png": "iVBORw0KGgo=", "text/plain": ["[figure] A line.\n", "axes"]},
        "metadata": {"image/png": {"alt": "A line."}},
    }
    code = {
        "cell_type": "code",
        "id": "b",
        "source": ["x = 1"],
        "execution_count": 1,
        "outputs": [figure],
        "metadata": {},
    }
    title = {
        "cell_type": "markdown",
        "id": "a",
        "source": ["# Title\n", "\n", "[a](good.md)\n\n## Part"],
        "metadata": {},
    }
    return {"cells": [title, code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def set_code(**values: Any) -> Callable[[Json], None]:
    return lambda notebook: notebook["cells"][1].update(values)


def set_output(**values: Any) -> Callable[[Json], None]:
    return lambda notebook: notebook["cells"][1]["outputs"][0].update(values)


def set_prose(text: str) -> Callable[[Json], None]:
    return lambda notebook: notebook["cells"][0].update(source=[text])


BROKEN = {
    "a cell has 16 lines": set_code(source=["x = 1\n"] * 16),
    "the notebook has 91 lines of code": lambda notebook: notebook["cells"].extend(notebook["cells"][1:] * 90),
    "class A": set_code(source=["class A: pass"]),
    "execution counts are [None]": set_code(execution_count=None),
    "execution counts are [2]": set_code(execution_count=2),
    "no outputs are stored": set_code(outputs=[]),
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
