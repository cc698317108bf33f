"""A claim card says what it lacks."""

from typing import Any

import pytest

from seglab import teach
from seglab.teach._card import CARD_FIELDS

CARD: dict[str, Any] = {
    "claim": "CBAM raises Dice.",
    "data": "steel",
    "split": "by picture",
    "selection": "best epoch on validation pictures",
    "score": "Dice, mean over pictures",
    "seeds": [0, 1, 2],
    "each_seed": (0.01, 0.02, 0.03),
    "difference": 0.02,
    "interval": [-0.01, 0.05],
    "verdict": "not decided",
    "limits": ["one network"],
    "code": "seglab ablate",
}


def test_a_complete_card_has_no_problem() -> None:
    assert teach.card_problems(CARD) == []


@pytest.mark.parametrize("field", CARD)
def test_a_missing_field_is_named_and_nothing_else(field: str) -> None:
    lacking = teach.card_problems({name: value for name, value in CARD.items() if name != field})
    assert [text.split()[0] for text in lacking] == [field]
    assert "is missing" in lacking[0]


def test_an_empty_card_lacks_every_field_in_order() -> None:
    assert [text.split()[0] for text in teach.card_problems({})] == list(CARD_FIELDS) == list(CARD)


WRONG = [
    *[(field, value) for field in ("claim", "data", "split", "selection", "score", "code") for value in ("", " ", 3)],
    *[("seeds", value) for value in ([0, 1], [0, 0, 1], [0, 1, 2.5], [True, 2, 3], "012", 3, None)],
    *[("each_seed", value) for value in ([0.1, 0.2], [0.1, 0.2, float("nan")], [0.1, 0.2, "x"], 0.1)],
    *[("difference", value) for value in (float("nan"), "0.02", None, True)],
    *[("interval", value) for value in ((0.03, 0.05), (0.05, -0.01), (0.01,), 0.01, (float("nan"), 1.0), (-1, None))],
    *[("verdict", value) for value in ("", "significant", None)],
    *[("limits", value) for value in ([], "none", [""], None)],
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_value_is_named_with_its_rule(field: str, value: object) -> None:
    (said,) = teach.card_problems({**CARD, field: value})
    assert said.startswith(f"{field} must be {CARD_FIELDS[field][0]}; got ")
