"""What is known of models beyond the picture on the page: their scores on test pictures, with intervals."""

from collections.abc import Mapping
from typing import Any

from seglab.inference import Predictor
from seglab.shown import plain
from seglab.texts import ENGLISH, Texts

__all__ = ["evidence"]


def evidence(predictors: Mapping[str, Predictor], texts: Texts = ENGLISH) -> str:
    """A sentence, a Markdown table and what to do next: scores that the models' files carry since they were published.

    Args:
        predictors: By the name to show.
        texts: Of the language to say it in.

    Returns:
        A row a model and test set: how many pictures, mean Dice of a picture with its 95 % interval. A model without
        scores gets a row that says so, and the command that measures them follows.
    """
    scores = {name: _scores(predictor) for name, predictor in predictors.items()}
    heads = [texts(f"evidence.{key}") for key in ("model", "data", "count", "dice")]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|---:|---:|"]
    for name, found in scores.items():
        rows = [_cells(one, texts) for one in found] or [("", "", texts("evidence.none"))]
        lines += [f"| {plain(name)} | " + " | ".join(cells) + " |" for cells in rows]
    last = texts("evidence.compare" if all(scores.values()) else "evidence.command")
    return "\n".join([texts("evidence.help"), "", *lines, "", last])


def _scores(predictor: Predictor) -> list[dict[str, Any]]:
    """The scores in a model's file that have an interval, one for each test set."""
    description = getattr(predictor, "description", None)
    found = description.card.get("scores") if description else None
    rows = found if isinstance(found, list) else []  # a file may hold anything
    return [one for one in rows if isinstance(one, dict) and {"dice_fg_image", "dice_fg_image_interval_95"} <= set(one)]


def _cells(score: dict[str, Any], texts: Texts) -> tuple[str, str, str]:
    """Test set, number of pictures, Dice with its interval."""
    try:
        dice, (low, high) = score["dice_fg_image"], score["dice_fg_image_interval_95"]
        value = texts("evidence.value", dice=float(dice["value"]), low=float(low), high=float(high))
        return plain(str(score.get("data", ""))), str(int(dice["n"])), value
    except (TypeError, ValueError, KeyError):
        return "", "", texts("evidence.none")
