"""Every exercise of a lesson: the stub is not yet right, the folded solution passes, and a mistake in it is found."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lessons import LESSONS, Exercise, code_of, exercises_of, read, text_of

from seglab.teach import list_exercises

EXERCISES = [(path, one) for path in LESSONS for one in exercises_of(read(path))]
MISTAKES = [(path, one, right) for path, one in EXERCISES for right in one.mutants]
Try = Callable[[Path, Exercise, str], str]


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Try]:
    """What the check says to a code in the place of the stub, after nothing but the lesson's first cell."""

    def run(path: Path, one: Exercise, code: str) -> str:
        monkeypatch.chdir(path.parent)
        names: dict[str, object] = {}
        for source in (text_of(code_of(read(path))[0]), code, one.check):
            capsys.readouterr()
            exec(compile(source, f"{path.stem} {one.name}", "exec"), names)
        return capsys.readouterr().out

    yield run
    torch.set_default_dtype(torch.float32)


def named(value: object) -> str:
    return value.stem if isinstance(value, Path) else value.name if isinstance(value, Exercise) else str(value)


@pytest.mark.parametrize(("path", "one"), EXERCISES, ids=named)
def test_the_stub_is_not_yet_right(path: Path, one: Exercise, attempt: Try) -> None:
    assert attempt(path, one, one.stub).startswith("not yet - ")


@pytest.mark.parametrize(("path", "one"), EXERCISES, ids=named)
def test_the_solution_passes(path: Path, one: Exercise, attempt: Try) -> None:
    assert attempt(path, one, one.solution) == "passed\n"


@pytest.mark.parametrize(("path", "one", "right"), MISTAKES, ids=named)
def test_a_mistake_in_the_solution_is_found(path: Path, one: Exercise, right: str, attempt: Try) -> None:
    said = attempt(path, one, one.solution.replace(right, one.mutants[right]))
    assert said.startswith("not yet - ")
    assert "stopped with" not in said  # a mistake in what is computed, not a text that is no code


def test_every_exercise_is_in_one_lesson() -> None:
    assert sorted(one.name for _, one in EXERCISES) == list_exercises()
