"""A check says passed or not yet, whatever it is given."""

from typing import Any

import numpy as np
import pytest

from seglab import teach
from seglab.teach import _check
from seglab.teach._check import NotYetError, expect


def half(value: float) -> float:
    return value / 2


def expectations(answer: Any) -> None:
    expect(answer(2) == 1, "half of 2 is 1.", "Divide by 2.")
    expect(answer(0) == 0, "half of 0 is 0.")


def loud(value: float) -> float:
    print("here", value)
    return value / 2


def nothing(value: float) -> None:
    pass


ANSWERS = {
    "passed": half,
    "passed ": loud,
    "not yet - half of 2 is 1.": lambda value: value,
    "not yet - half of 0 is 0.": lambda value: 1,
    "not yet - nothing returns nothing: is there a `return`?": nothing,
    "not yet - the answer is still `...`: put your own in its place.": ...,
    "not yet - <lambda> still returns `...`: put your own code in its place.": lambda value: ...,
    "not yet - <lambda> stopped with ZeroDivisionError: division by zero": lambda value: value / 0,
    "not yet - <lambda> stopped with TypeError: ": lambda: 1,
    "not yet - the answer could not be compared (TypeError: 'int' object is not callable)": 3,
    "not yet - the answer could not be compared (ValueError: The truth value of": lambda value: np.ones(2),
}


@pytest.fixture(autouse=True)
def _first_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_check, "_failed", type(_check._failed)())


@pytest.mark.parametrize("said", ANSWERS)
def test_a_check_never_raises(said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("seglab.teach.exercises.overlap_scores.expectations", expectations)
    teach.check("overlap_scores", ANSWERS[said])
    out, err = capsys.readouterr()
    assert out.startswith(said.strip())
    assert out.count("\n") == 1
    assert (out == "passed\n") is said.startswith("passed")
    assert err == ""


def test_the_same_mistake_again_gets_the_next_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seglab.teach.exercises.overlap_scores.expectations", expectations)
    for _ in range(3):
        teach.check("overlap_scores", lambda value: value)
    first, second, third = capsys.readouterr().out.splitlines()
    assert (first, second) == ("not yet - half of 2 is 1.", "not yet - Divide by 2.")
    assert third == second


def test_the_wrong_number_of_answers_is_not_yet(capsys: pytest.CaptureFixture[str]) -> None:
    teach.check("overlap_scores", half)
    assert capsys.readouterr().out.startswith("not yet - the answer could not be compared (TypeError: ")


def test_an_unknown_exercise_is_refused() -> None:
    with pytest.raises(ValueError, match="exercise must be one of .*overlap_scores.*; got 'overlap_score'"):
        teach.check("overlap_score", half)


def test_expect_stops_only_at_what_is_not_met() -> None:
    expect(True, "Never.")
    with pytest.raises(NotYetError, match="Again"):
        expect(0, "Again.")
