"""Notebooks as data: what their cells hold, their exercises, and a strict run in a kernel that is watched."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if not path.name.startswith("00")]  # the quickstart has no exercise
SURROUNDINGS = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "SEGLAB_WIDGETS": "static",
    "TQDM_DISABLE": "1",
}

Json = dict[str, Any]


class Exercise(NamedTuple):
    """An exercise of a lesson, with what surrounds it."""

    name: str
    stub: str
    check: str
    hints: int
    solution: str
    mutants: dict[str, str]  # text of the solution -> a mistake to put in its place


def read(path: Path) -> Json:
    notebook: Json = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def text_of(cell: Json) -> str:
    return "".join(cell["source"])


def tags_of(cell: Json) -> list[str]:
    return list(cell["metadata"].get("tags", []))


def code_of(notebook: Json) -> list[Json]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs_of(notebook: Json) -> list[Json]:
    return [output for cell in code_of(notebook) for output in cell["outputs"]]


def exercises_of(notebook: Json) -> list[Exercise]:
    """Every cell tagged `exercise`, the code cell after it (the check), and the prose after that (hints, solution)."""
    found = []
    cells = notebook["cells"]
    for index, cell in enumerate(cells):
        if "exercise" in tags_of(cell):
            check, prose = text_of(cells[index + 1]), text_of(cells[index + 2])
            name = re.search(r'teach\.check\(\s*"(\w+)"', check)
            solution = re.search(r"<summary>Solution</summary>\s*```python\n(.*?)```\s*</details>", prose, re.DOTALL)
            found.append(
                Exercise(
                    name[1] if name else "",
                    text_of(cell),
                    check,
                    prose.count("<summary>Hint"),
                    solution[1] if solution else "",
                    cell["metadata"].get("mutants", {}),
                )
            )
    return found


def copied(path: Path, folder: Path) -> Path:
    """The lesson in a folder that looks like the repository's to it, with other files to write in."""
    (folder / "assets").symlink_to(ROOT / "assets", target_is_directory=True)
    (folder / "notebooks").mkdir()
    return Path(shutil.copy(path, folder / "notebooks" / path.name))


def strict_run(path: Path, other: Mapping[str, str] | None = None, *, seconds: int = 300) -> tuple[list[str], str]:
    """Failure message of every code cell, empty if it printed what is stored; and all that was said.

    The kernel is watched: see watched_kernel.py. It may have `other` surroundings; a cell may take so many `seconds`.
    """
    startup = path.parent / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "00_watch.py").write_text("import watched_kernel\n")
    report = path.parent / f"{path.stem}.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", f"--junitxml={report}"]
    command += ["--nbval", "--nbval-current-env", f"--nbval-cell-timeout={seconds}", path.name]
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # it has its own
    surroundings = outer | SURROUNDINGS | (other or {}) | {"IPYTHONDIR": str(path.parent / "ipython")}
    done = subprocess.run(command, cwd=path.parent, env=surroundings, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return ["".join(case.itertext()) if len(case) else "" for case in cases], done.stdout
