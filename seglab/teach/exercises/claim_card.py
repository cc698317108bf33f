"""Lesson 10: a claim card from the scores of several seeds, with the verdict that the interval allows."""

from collections.abc import Callable, Mapping
from typing import Any

from seglab.stats import paired_difference
from seglab.teach._card import card_problems
from seglab.teach._check import expect

__all__ = ["expectations"]

KNOWN = {
    "claim": "The enhanced model has a higher Dice.",
    "data": "generated pictures",
    "split": "by picture, before augmentation",
    "selection": "best epoch on the validation part",
    "score": "Dice of the object, mean over pictures",
    "limits": ["one network, one data set"],
    "code": "seglab ablate",
}
BETTER = {0: (0.80, 0.84), 1: (0.81, 0.84), 2: (0.79, 0.835), 3: (0.80, 0.83)}
COLLAPSED = {2: (0.80, 0.0), 0: (0.79, 0.83), 1: (0.81, 0.84)}  # a run that failed, and seeds in another order
UNSURE = {0: (0.80, 0.83), 1: (0.81, 0.80), 2: (0.79, 0.80)}


def expectations(
    claim_card: Callable[[Mapping[int, tuple[float, float]], Mapping[str, Any]], Mapping[str, Any]],
) -> None:
    """The fields first, then their values for clear, worse, unsure and collapsed runs.

    Args:
        claim_card: Takes seed to (score without, score with) and what is known already; returns the whole card.
    """
    for scores in (BETTER, COLLAPSED):
        known = dict(KNOWN)
        card = claim_card(scores, known)
        expect(isinstance(card, Mapping), "claim_card must return one mapping of fields: `{**known, ...}`.")
        lacking = card_problems(card)
        expect(not lacking, f"the card is not complete: {' '.join(lacking)}", "`{**known, ...}` starts from `known`.")
        expect(known == KNOWN, "`known` belongs to the caller: return a new mapping.")
    for scores in (BETTER, COLLAPSED, UNSURE, {seed: pair[::-1] for seed, pair in BETTER.items()}):
        _compare(dict(claim_card(scores, KNOWN)), scores)


def _compare(card: Mapping[str, Any], scores: Mapping[int, tuple[float, float]]) -> None:
    """The numbers of one card with those worked out here."""
    seeds = sorted(scores)
    found = paired_difference(*([scores[seed][side] for seed in seeds] for side in (0, 1)))
    expect(sorted(card["seeds"]) == seeds, "every seed belongs on the card, also that of a run that failed.")
    gaps = dict(zip(card["seeds"], card["each_seed"], strict=True))
    expect(
        all(_near(gaps[seed], scores[seed][1] - scores[seed][0]) for seed in seeds),
        "each_seed holds with minus without, in the order of the seeds.",
    )
    expect(_near(card["difference"], found.mean), "difference is the mean over the seeds.")
    expect(
        _near(card["interval"][0], found.low) and _near(card["interval"][1], found.high),
        "the interval is that of `stats.paired_difference(without, with)`: its `low` and `high`.",
    )
    wanted = "better" if found.low > 0 else "worse" if found.high < 0 else "not decided"
    expect(
        card["verdict"] == wanted,
        f"an interval from {found.low:.3f} to {found.high:.3f} allows only the verdict {wanted!r}.",
        "Look at both ends of the interval, not at the difference.",
    )


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) < 1e-9
