"""A claim with everything that a reader needs to weigh it, as a mapping; and what is missing in one."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["CARD_FIELDS", "CARD_VERDICTS", "card_problems"]

CARD_VERDICTS = ("better", "worse", "not decided")
FEWEST_SEEDS = 3


def card_problems(card: Mapping[str, Any]) -> list[str]:
    """What a claim card lacks, in the order of `CARD_FIELDS`: one sentence a field; empty if it is complete.

    Args:
        card: Field to value; other fields than those of `CARD_FIELDS` are ignored.

    Example:
        >>> card = {"claim": "CBAM raises Dice.", "data": "steel", "split": "by picture", "selection": "validation",
        ...         "score": "Dice, mean over pictures", "seeds": [0, 1, 2], "each_seed": [0.01, 0.02, 0.03],
        ...         "difference": 0.02, "interval": (-0.01, 0.05), "verdict": "not decided",
        ...         "limits": ["one network"], "code": "seglab ablate"}
        >>> card_problems(card), card_problems({**card, "seeds": [0], "code": ""})
        ([], ['seeds must be 3 or more different whole numbers; got [0].', 'code must be a text; got an empty one.'])
    """
    found = []
    for field, (rule, met) in CARD_FIELDS.items():
        if field not in card:
            found.append(f"{field} is missing: it must be {rule}.")
        elif not met(card[field], card):
            value = card[field]
            got = "an empty one" if isinstance(value, str) and not value.strip() else repr(value)
            found.append(f"{field} must be {rule}; got {got}.")
    return found


def _text(value: Any, _: Mapping[str, Any]) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _seeds(value: Any, _: Mapping[str, Any]) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) for seed in value)
    return whole and len(set(value)) == len(value) >= FEWEST_SEEDS


def _each_seed(value: Any, card: Mapping[str, Any]) -> bool:
    seeds = card.get("seeds")
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(map(_finite, value)):
        return False
    return not _seeds(seeds, {}) or len(value) == len(seeds or ())


def _difference(value: Any, _: Mapping[str, Any]) -> bool:
    return _finite(value)


def _interval(value: Any, card: Mapping[str, Any]) -> bool:
    if not isinstance(value, Sequence) or len(value) != 2 or not all(map(_finite, value)):
        return False
    difference = card.get("difference")
    return bool(value[0] <= (difference if _finite(difference) else value[0]) <= value[1])


def _verdict(value: Any, _: Mapping[str, Any]) -> bool:
    return value in CARD_VERDICTS


def _limits(value: Any, _: Mapping[str, Any]) -> bool:
    return (
        isinstance(value, Sequence) and not isinstance(value, str) and bool(value) and all(_text(x, {}) for x in value)
    )


def _finite(value: Any) -> bool:
    try:
        return not isinstance(value, bool | str) and math.isfinite(value)
    except TypeError:
        return False


CARD_FIELDS: dict[str, tuple[str, Callable[[Any, Mapping[str, Any]], bool]]] = {  # field: (rule, whether it is met)
    "claim": ("a text", _text),
    "data": ("a text", _text),
    "split": ("a text", _text),
    "selection": ("a text", _text),
    "score": ("a text", _text),
    "seeds": (f"{FEWEST_SEEDS} or more different whole numbers", _seeds),
    "each_seed": ("one number for each seed", _each_seed),
    "difference": ("a number", _difference),
    "interval": ("two numbers with the difference between them", _interval),
    "verdict": (f"one of {', '.join(CARD_VERDICTS)}", _verdict),
    "limits": ("one text or more", _limits),
    "code": ("a text", _text),
}
