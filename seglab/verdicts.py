"""What a comparison says in words: the verdict, and the texts for those who cannot see its pictures.

Every verdict speaks of this one picture, because one picture is no evidence for or against a model.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seglab.contract import IGNORE_INDEX
from seglab.texts import ENGLISH, Texts

if TYPE_CHECKING:
    from seglab.comparison import Comparison, ModelResult

__all__ = ["alt_text", "verdict"]


def verdict(comparison: "Comparison", texts: Texts = ENGLISH) -> str:
    """The result in one or two sentences, for any number of models.

    Args:
        comparison: With at least one model.
        texts: Of the language to say it in.

    Returns:
        Plain text, the names of the models as they are. Dice counts to three decimals, as in the table.
    """
    results = comparison.results
    if comparison.truth is None:
        return _without_truth(results, comparison.threshold, texts)
    known = comparison.truth != IGNORE_INDEX
    if not known.any():
        return texts("verdict.unknown")
    if not ((comparison.truth > 0) & known).any():
        return _empty_truth(results, texts)
    if not any(((result.mask > 0) & known).any() for result in results):
        return _nobody("missed", results, comparison.threshold, texts)
    if len(results) == 1:
        return texts("verdict.dice", name=results[0].name, dice=_dice(results[0]))
    return _ranking(results, texts)


def alt_text(  # noqa: PLR0917 - the names a view takes, and the language
    comparison: "Comparison", kind: str, model: str, stage: str | None, other: str | None, texts: Texts = ENGLISH
) -> str:
    """What a view shows; the names are those that the view would take.

    Args:
        comparison: Whose view it is.
        kind: One of VIEWS.
        model: Name of the model.
        stage: Of the attention.
        other: The other model of the agreement.
        texts: Of the language to say it in.
    """
    area = texts("alt.area", area=comparison.result(model).numbers["area_percent"])
    truth = texts("alt.truth") if comparison.truth is not None else ""
    values = {"model": model, "area": area, "truth": truth, "stage": stage, "other": other}
    return texts(f"alt.{kind}", **values)


def _ranking(results: Sequence["ModelResult"], texts: Texts) -> str:
    """Which of several models is closest to a true mask that has an object."""
    ranked = sorted(results, key=_dice, reverse=True)
    top = _dice(ranked[0])
    best = [result.name for result in ranked if _dice(result) == top]
    many = _many(results)
    if len(best) == len(results):
        return texts(f"verdict.equal.{many}", number=texts.counted(len(best)), dice=top)
    if len(best) > 1:
        return texts("verdict.best.several", names=texts.listed(best), dice=top)
    return texts(f"verdict.best.{many}", best=best[0], gap=top - _dice(ranked[1]), second=ranked[1].name)


def _empty_truth(results: Sequence["ModelResult"], texts: Texts) -> str:
    """Where there is no object, a model can only draw nothing, or pixels too many."""
    extra = {result.name: result.numbers["extra_px"] or 0 for result in results}
    if not any(extra.values()):
        return texts(f"verdict.empty.{_many(results)}")
    drawn = [texts("verdict.empty.draws", name=name, pixels=pixels) for name, pixels in extra.items() if pixels]
    quiet = [name for name, pixels in extra.items() if not pixels]
    number = "one" if len(quiet) == 1 else "many"
    silent = texts(f"verdict.empty.silent.{number}", names=texts.listed(quiet)) if quiet else ""
    return texts("verdict.empty.drawn", drawn=texts.listed(drawn), silent=silent)


def _without_truth(results: Sequence["ModelResult"], threshold: float, texts: Texts) -> str:
    """How far the models agree, or that nobody found anything."""
    if not any(result.mask.any() for result in results):
        return _nobody("nothing", results, threshold, texts)
    if len(results) == 1:
        return texts("verdict.area", name=results[0].name, area=results[0].numbers["area_percent"])
    same = np.logical_and.reduce([result.mask == results[0].mask for result in results[1:]])
    share = np.count_nonzero(same) / same.size
    return texts(f"verdict.agree.{_many(results)}", share=_share(share, texts))


def _share(share: float, texts: Texts) -> str:
    """A share in percent that says 100 only if nothing is missing."""
    return texts("verdict.share", percent=min(100 * share, 99.9)) if share < 1 else texts("verdict.share.all")


def _nobody(what: str, results: Sequence["ModelResult"], threshold: float, texts: Texts) -> str:
    """That no model did it, at which threshold where it decides, and the highest probability by every model."""
    above = texts("verdict.above", threshold=threshold) if len(results[0].probs) <= 2 else ""
    tops = " / ".join(f"{float(one.object_probs.max()):.2f}" for one in results)
    found = {"name": results[0].name, "above": above, "tops": texts("verdict.tops", values=tops)}
    return texts(f"verdict.{what}.{_many(results)}", **found)


def _many(results: Sequence["ModelResult"]) -> str:
    """How many models a sentence is about, where languages tell it apart."""
    return {1: "one", 2: "two"}.get(len(results), "many")


def _dice(result: "ModelResult") -> float:
    """Dice to three decimals, as shown; it is defined wherever the truth has an object."""
    return round(result.numbers["dice"] or 0.0, 3)
