"""What a comparison says in words: the verdict, and the texts for those who cannot see its pictures.

Every verdict speaks of this one picture, because one picture is no evidence for or against a model.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seglab.contract import IGNORE_INDEX

if TYPE_CHECKING:
    from seglab.comparison import Comparison, ModelResult

__all__ = ["alt_text", "verdict"]

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def verdict(comparison: "Comparison") -> str:
    """The result in one or two sentences, for any number of models.

    Args:
        comparison: With at least one model.

    Returns:
        Plain text, the names of the models as they are. Dice counts to three decimals, as in the table.
    """
    results = comparison.results
    if comparison.truth is None:
        return _without_truth(results, comparison.threshold)
    known = comparison.truth != IGNORE_INDEX
    if not known.any():
        return "The mask holds no known pixel, so nothing can be said on this one picture."
    if not (comparison.truth[known] > 0).any():
        return _empty_truth(results)
    if not any(result.mask[known].any() for result in results):
        found = f"{_nobody(results)} found the object of the mask {_above(results, comparison.threshold)}"
        return f"{found}on this one picture. {_tops(results)}"
    if len(results) == 1:
        return f"{results[0].name} has Dice {_dice(results[0]):.3f} on this one picture."
    return _ranking(results)


def alt_text(comparison: "Comparison", kind: str, model: str, stage: str | None, other: str | None) -> str:
    """What a view shows; the names are those that the view would take.

    Args:
        comparison: Whose view it is.
        kind: One of VIEWS.
        model: Name of the model.
        stage: Of the attention.
        other: The other model of the agreement.
    """
    result = comparison.result(model)
    area = f"The mask covers {result.numbers['area_percent']:.1f} % of the picture."
    truth = ", and of the true mask in white" if comparison.truth is not None else ""
    texts = {
        "outline": f"Picture with the outline of the mask of {model} in orange{truth}. {area}",
        "error": f"Error map of {model}. Light blue: correct. Orange: extra. Dark with stripes: missed.",
        "agreement": f"Agreement of {model} with {other}. "
        f"Light blue: both. Orange: only {model}. Dark with stripes: only {other}.",
        "probability": f"Probability of the object by {model}, from 0 (dark blue) to 1 (yellow).",
        "attention": f"Spatial attention of {model}, {stage}, from 0 (dark blue) to 1 (yellow). "
        "It shows where the model looks, not how sure it is.",
        "mask": f"Mask of {model}, white is object. {area}",
    }
    return texts[kind]


def _ranking(results: Sequence["ModelResult"]) -> str:
    """Which of several models is closest to a true mask that has an object."""
    ranked = sorted(results, key=_dice, reverse=True)
    best = [result.name for result in ranked if _dice(result) == _dice(ranked[0])]
    many = len(results) > 2
    if len(best) == len(results):
        who = f"All {_number(len(best))}" if many else "Both"
        return f"{who} models are equally close to the true mask (Dice {_dice(ranked[0]):.3f}) on this one picture."
    if len(best) > 1:
        return f"{_list(best)} are closest to the true mask (Dice {_dice(ranked[0]):.3f} each) on this one picture."
    gap = _dice(ranked[0]) - _dice(ranked[1])
    if many:
        return f"{best[0]} is closest to the true mask on this one picture, {gap:.3f} Dice before {ranked[1].name}."
    return f"{best[0]} is closer to the true mask by {gap:.3f} Dice on this one picture."


def _empty_truth(results: Sequence["ModelResult"]) -> str:
    """Where there is no object, a model can only draw nothing, or pixels too many."""
    extra = {result.name: result.numbers["extra_px"] or 0 for result in results}
    if not any(extra.values()):
        who = {1: "the model", 2: "both models"}.get(len(results), "all models")
        return f"The mask is empty and {who} found nothing: Dice is not defined on this one picture."
    drawn = _list([f"{name} draws {pixels:.0f} pixels too many" for name, pixels in extra.items() if pixels])
    silent = [name for name, pixels in extra.items() if not pixels]
    rest = f"; {_list(silent)} {'draws' if len(silent) == 1 else 'draw'} nothing" if silent else ""
    return f"The mask is empty. On this one picture {drawn}{rest}."


def _without_truth(results: Sequence["ModelResult"], threshold: float) -> str:
    """How far the models agree, or that nobody found anything."""
    if not any(result.mask.any() for result in results):
        return f"{_nobody(results)} found an object {_above(results, threshold)}on this one picture. {_tops(results)}"
    if len(results) == 1:
        area = f"{results[0].numbers['area_percent']:.1f} %"
        return f"{results[0].name} marks {area} of this one picture as object. Add the true mask to see what is right."
    same = np.logical_and.reduce([result.mask == results[0].mask for result in results[1:]])
    share, right = _share(float(same.mean())), "one is" if len(results) == 2 else "ones are"
    return (
        f"The models agree on {share} of the pixels of this one picture. Add the true mask to see which {right} right."
    )


def _share(share: float) -> str:
    """A share in percent that says 100 only if nothing is missing."""
    return f"{min(100 * share, 99.9):.1f} %" if share < 1 else "all"


def _above(results: Sequence["ModelResult"], threshold: float) -> str:
    """The threshold, where it decides."""
    return f"above {threshold:.2f} " if len(results[0].probs) <= 2 else ""


def _tops(results: Sequence["ModelResult"]) -> str:
    """The highest probability of an object by every model."""
    return f"Highest probability: {' / '.join(f'{float(one.object_probs.max()):.2f}' for one in results)}."


def _nobody(results: Sequence["ModelResult"]) -> str:
    """Subject of a sentence about models none of which did it; the sentence goes on with a verb."""
    return {1: f"{results[0].name} has not", 2: "Neither model"}.get(len(results), "No model")


def _dice(result: "ModelResult") -> float:
    """Dice to three decimals, as shown; it is defined wherever the truth has an object."""
    return round(result.numbers["dice"] or 0.0, 3)


def _number(number: int) -> str:
    """A small number in words."""
    return NUMBERS[number] if number < len(NUMBERS) else str(number)


def _list(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
