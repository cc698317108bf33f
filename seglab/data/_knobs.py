"""Settings of a dataset as they come from a command line: of the kind that its loader asks for, or one line."""

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["require_kinds"]

WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}


def require_kinds(what: str, load: Callable[..., Any], knobs: Mapping[str, Any]) -> None:
    """Refuse a setting whose value is of another kind than the loader's signature says.

    Args:
        what: The dataset's name, for the message.
        load: Its loader, with annotated parameters.
        knobs: Values by parameter.

    Raises:
        ValueError: With the first such setting.

    Example:
        >>> def load(*, seed: int = 0, shares: tuple[float, float] = (1, 0)) -> None: ...
        >>> require_kinds("mine", load, {"seed": 3, "shares": (0.5, 0.5)})
        >>> require_kinds("mine", load, {"seed": "x"})
        Traceback (most recent call last):
        ValueError: setting seed of dataset mine must be a whole number; got 'x'.
    """
    hints = get_type_hints(load)
    for name, value in knobs.items():
        if name in hints and not _fits(value, hints[name]):
            raise ValueError(
                f"setting {name} of dataset {what} must be a {_spelled(hints[name])}; got {reprlib.repr(value)}."
            )
        if name == "seed" and isinstance(value, Integral) and not 0 <= int(value) < 2**63:
            raise ValueError(f"setting seed of dataset {what} must be in [0, 2^63); got {reprlib.repr(value)}.")


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of the kind a hint says; kinds that no command line can spell always fit."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) in (tuple, list, Sequence):
        return isinstance(value, tuple | list) and all(_fits(one, get_args(hint)[0]) for one in value)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, Real) and not isinstance(value, bool) and _is_finite(value)
    return hint not in WORDS or isinstance(value, hint)


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the floats
        return False


def _spelled(hint: Any) -> str:
    """A hint in words."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_spelled(one) for one in get_args(hint))
    if get_origin(hint) in (tuple, list, Sequence):
        return f"list of {_spelled(get_args(hint)[0])}s"
    return WORDS.get(hint, str(hint))
