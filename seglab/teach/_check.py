"""Checks of exercises: what a learner wrote is tried, and the first thing that is not right yet comes with a hint."""

import io
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import wraps
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

__all__ = ["NotYetError", "check", "expect", "list_exercises"]

EXERCISES = "seglab.teach.exercises"
_failed: Counter[str] = Counter()  # how often an expectation was not met, by its first hint: the next hint says more


class NotYetError(Exception):
    """An answer that is not right yet; the text is the hint."""


def list_exercises() -> list[str]:
    """Names that `check` accepts: the public files of seglab/teach/exercises.

    Example:
        >>> "overlap_scores" in list_exercises()
        True
    """
    return sorted(module.name for module in iter_modules(import_module(EXERCISES).__path__) if module.name[0] != "_")


def check(name: str, *answers: Any) -> None:
    """Print whether an exercise is solved: `passed`, or `not yet` with a hint.

    The hint belongs to the first thing that is not right; when the same thing is wrong again, the next hint says more.
    Whatever the answer does, no error leaves this function. What the answer prints or warns of is not shown.

    Args:
        name: One of `list_exercises()`.
        answers: What the learner wrote, in the order that the exercise names: mostly functions.

    Raises:
        ValueError: If there is no such exercise.

    Example:
        >>> def iou(pred, truth):
        ...     return ...
        >>> check("overlap_scores", iou, iou)
        not yet - iou still returns `...`: put your own code in its place.
    """
    from seglab.contract import require_name  # loads torch, which `setup` must come before

    require_name("exercise", name, list_exercises())
    print(_verdict(import_module(f"{EXERCISES}.{name}").expectations, answers))


def expect(met: object, *hints: str) -> None:
    """Go on if something is met; else stop the check with a hint.

    Args:
        met: Anything with a truth value.
        hints: At least one, from a nudge to nearly the solution.

    Raises:
        NotYetError: If it is not met.

    Example:
        >>> expect(1 + 1 == 2, "Count again.")
    """
    if not met:
        tries = _failed[hints[0]]
        _failed[hints[0]] += 1
        raise NotYetError(hints[min(tries, len(hints) - 1)])


def _verdict(expectations: Callable[..., None], answers: tuple[Any, ...]) -> str:
    """What `check` prints."""
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            expectations(*map(_watched, answers))
    except NotYetError as hint:
        return f"not yet - {hint}"
    except Exception as error:  # an answer of another kind than expected, which no comparison understands
        return f"not yet - the answer could not be compared ({_said(error)}). Is it what the task asks for?"
    return "passed"


def _watched(answer: Any) -> Any:
    """An answer whose missing results and errors become hints."""
    if answer is ...:
        raise NotYetError("the answer is still `...`: put your own in its place.")
    if not callable(answer):
        return answer
    name = getattr(answer, "__name__", "the answer")

    @wraps(answer)
    def watched(*args: Any, **knobs: Any) -> Any:
        try:
            result = answer(*args, **knobs)
        except Exception as error:
            raise NotYetError(f"{name} stopped with {_said(error)}") from error
        if result is ...:
            raise NotYetError(f"{name} still returns `...`: put your own code in its place.")
        if result is None:
            raise NotYetError(f"{name} returns nothing: is there a `return`?")
        return result

    return watched


def _said(error: Exception) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
