"""Measure the lessons and write what came out into the table of README.md: `python notebooks/measure.py [LESSON ...]`.

Running: the CPU seconds of one run from top to bottom, start of Python included, with one thread and no GPU. On an idle
computer this is also the time on the clock. Reading: the words at 130 a minute and the lines of code at 10 a minute.
The question of a lesson is taken from the table itself, what it needs from the links of its first cell.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from math import ceil
from pathlib import Path

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- written by measure.py -->", "<!-- end of the table -->"
HEAD = "| lesson | question | needs | to read | to run |\n|---|---|---|---:|---:|"
WORDS_PER_MINUTE, LINES_PER_MINUTE = 130, 10
SURROUNDINGS = {  # what every kernel of a lesson inherits, so that it prints what is stored
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "SEGLAB_WIDGETS": "static",
    "TQDM_DISABLE": "1",
}
Row = tuple[str, str, str, str]  # question, needs, to read, to run


def lessons() -> list[Path]:
    """All notebooks, in the order of their numbers."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


def reading(path: Path) -> int:
    """Minutes to read a lesson: its prose and its code, without what is folded."""
    minutes = 0.0
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            minutes += sum(bool(line.strip()) for line in text.splitlines()) / LINES_PER_MINUTE
        else:
            open_text = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
            minutes += len(re.findall(r"\w+", open_text)) / WORDS_PER_MINUTE
    return ceil(minutes)


def needs(path: Path) -> str:
    """Numbers of the lessons that the paragraph `Needs` of the first cell links to; a dash if there are none."""
    first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    paragraph = re.search(r"\*\*Needs\.\*\*(.*?)(?:\n\n|\Z)", first, re.DOTALL)
    return ", ".join(sorted(set(re.findall(r"\]\((\d\d)_", paragraph[1] if paragraph else "")))) or "-"


def running(path: Path) -> int:
    """CPU seconds of a run from top to bottom; what it prints is thrown away."""
    import resource  # not there on Windows, where only this function cannot run

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--stdout", "--log-level=ERROR"]
    surroundings = {**os.environ, **SURROUNDINGS}
    subprocess.run([*command, path.name], cwd=FOLDER, env=surroundings, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ceil(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def read_rows(text: str) -> dict[str, Row]:
    """Rows of the table in a README by lesson; a row that was typed by hand may end after the question."""
    rows = {}
    for stem, rest in re.findall(r"^\| \[(\w+)\]\(\w+\.ipynb\) \|(.*)\|\s*$", text, re.MULTILINE):
        question, *others = (cell.strip() for cell in rest.split("|"))
        found = [question, *others, "", "", ""]
        rows[stem] = (found[0], found[1], found[2], found[3])
    return rows


def write_rows(text: str, rows: dict[str, Row]) -> str:
    """The README with its table written anew; the last line says how the times were measured."""
    lines = [f"| [{stem}]({stem}.ipynb) | {' | '.join(row)} |" for stem, row in rows.items()]
    seconds = sum(int(row[3].split()[0]) for row in rows.values() if row[3])
    note = (
        f"All of them together run for {seconds} s. Times are from `python notebooks/measure.py`, on a computer with "
        f"{os.cpu_count()} cores, with one thread, without a GPU, and PyTorch {version('torch').partition('+')[0]}."
    )
    table = "\n".join([BEGIN, HEAD, *lines, "", *_wrapped(note), END])
    if BEGIN in text:
        return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: table, text, flags=re.DOTALL)
    raise ValueError(f"README.md must have a line {BEGIN}; got none.")


def _wrapped(text: str) -> list[str]:
    from textwrap import wrap

    return wrap(text, 120)


def main() -> None:
    """Measure the named lessons, or all; rows of the others stay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="such as 07; all if none is named")
    parser.add_argument("--text", action="store_true", help="only what needs no run: what it needs, and to read")
    chosen = parser.parse_args()
    for path in lessons():
        run = ""
        if not chosen.text and (not chosen.lessons or path.stem.startswith(tuple(chosen.lessons))):
            run = f"{running(path)} s"
            print(path.stem, run, flush=True)
        write(path, run)


def write(path: Path, run: str) -> None:
    """Write the row of one lesson into the README; an empty `run` keeps the time that is there."""
    readme = FOLDER / "README.md"
    text = readme.read_text(encoding="utf-8")
    rows = read_rows(text)
    question, _, _, old = rows.get(path.stem, (path.stem, "", "", ""))
    rows[path.stem] = (question, needs(path), f"{reading(path)} min", run or old)
    readme.write_text(write_rows(text, dict(sorted(rows.items()))), encoding="utf-8")


if __name__ == "__main__":
    main()
