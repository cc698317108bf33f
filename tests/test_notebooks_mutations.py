"""Change one stored number, curve, bar, map or verdict of any lesson, and the strict run fails.

No lesson runs again here. One kernel replays what is stored, output by output, beside references in which one thing is
changed: what `test_runs_to_its_stored_outputs` found equal must be found unequal. That a change of what is drawn
changes the text beside it is made sure in every strict run, by watched_kernel.py.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from lessons import LESSONS, NOTEBOOKS, Json, code_of, read, strict_run

DRAWN = {"curve": r'; line "', "bar": r"; bars", "map": r"; image \d"}
MOST = 4  # numbers that are changed in one output, spread from its first to its last
OPPOSITE = {
    "Verdict: holds": "Verdict: does not hold",
    "Verdict: does not hold": "Verdict: holds",
    "Verdict: cannot be decided": "Verdict: holds, it can be decided",
}


class Change(NamedTuple):
    """One stored output, and the same with one thing changed; equal for the control."""

    where: str  # lesson, cell, what is changed
    kind: str
    stored: Json
    changed: Json


def text_of_output(output: Json) -> str:
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))


def with_text(output: Json, text: str) -> Json:
    """The output as a reference without pictures and metadata, which a strict run does not look at."""
    if output["output_type"] == "stream":
        return {**output, "text": text}
    kept = {kind: "".join(value) for kind, value in output["data"].items() if kind != "image/png"}
    return {"output_type": "display_data", "metadata": {}, "data": {**kept, "text/plain": text}}


def other_digit(text: str, place: int) -> str:
    return f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}"


def changes_of(text: str) -> Iterator[tuple[str, str]]:
    """What is changed, and the text after it: drawn things first, then printed numbers, then the verdict."""
    for kind, pattern in DRAWN.items():
        for found in list(re.finditer(pattern, text))[:MOST]:
            end = re.search(r"; (?:line|bars|image|text|axes)|\n|$", text[found.end() :])
            part = found.end() + (end.start() if end else 0)
            digits = [place for place in range(found.end(), part) if text[place].isdigit()]
            if digits:
                yield kind, other_digit(text, digits[-1])
    if not text.startswith("[figure]"):
        digits = [found.end() - 1 for found in re.finditer(r"\d+", text)]  # the last digit of every number
        for place in digits[:: max(1, len(digits) // MOST)]:
            yield "number", other_digit(text, place)
    for verdict, other in OPPOSITE.items():
        if verdict in text:
            yield "verdict", text.replace(verdict, other)


def all_changes() -> list[Change]:
    found = []
    for path in NOTEBOOKS:
        for cell in code_of(read(path)):
            for output in cell["outputs"]:
                text = text_of_output(output)
                stored = with_text(output, text)
                found.append(Change(f"{path.stem} {cell['id']}", "control", stored, stored))
                for kind, changed in changes_of(text):
                    assert changed != text
                    found.append(Change(f"{path.stem} {cell['id']}", kind, stored, with_text(output, changed)))
    return found


def replayed(output: Json) -> str:
    """Code that puts out again what is stored."""
    if output["output_type"] == "stream":
        return f"print({output['text']!r}, end='')"
    return f"display({output['data']!r}, raw=True)"


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Change, str]]:
    """What one strict run says of every change."""
    changes = all_changes()
    cells = [
        {"cell_type": "code", "id": f"c{i}", "source": replayed(one.stored), "execution_count": i + 1,
         "outputs": [one.changed], "metadata": {}}
        for i, one in enumerate(changes)
    ]  # fmt: skip
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    folder = tmp_path_factory.mktemp("mutations") / "notebooks"
    folder.mkdir()
    path = folder / "replay.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    failures, said = strict_run(path)
    assert len(failures) == len(changes), said
    return list(zip(changes, failures, strict=True))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored_passes_and_every_change_of_it_fails(path: Path, verdicts: list[tuple[Change, str]]) -> None:
    own = [(one, failure) for one, failure in verdicts if one.where.startswith(f"{path.stem} ")]
    assert [one.where for one, failure in own if one.kind == "control" and failure] == []
    assert [(one.where, one.kind) for one, failure in own if one.kind != "control" and not failure] == []
    kinds = {one.kind for one, _ in own}
    assert "number" in kinds
    assert kinds & set(DRAWN)
    assert "verdict" in kinds or path not in LESSONS


def test_every_kind_of_change_was_tried(verdicts: list[tuple[Change, str]]) -> None:
    assert {one.kind for one, _ in verdicts} == {"control", "number", "verdict", *DRAWN}
    attention = [one for one, _ in verdicts if one.kind == "map" and "attention" in text_of_output(one.stored)]
    assert attention


def test_a_change_is_made_where_it_should_be() -> None:
    twin = '[figure] A.\naxes "a"; x "t"; line "b 7" n 3, x 0 to 2, mean 0.5; bars "c" 1 2; image 2 x 2, mean 3'
    found = dict(changes_of(twin))
    assert found["curve"] == twin.replace("mean 0.5", "mean 0.6")
    assert found["bar"] == twin.replace('bars "c" 1 2', 'bars "c" 1 3')
    assert found["map"] == twin.replace("mean 3", "mean 4")
    assert "number" not in found
    assert list(changes_of("IoU 0.19")) == [("number", "IoU 1.19"), ("number", "IoU 0.10")]
    assert list(changes_of("Verdict: holds. So.")) == [("verdict", "Verdict: does not hold. So.")]
