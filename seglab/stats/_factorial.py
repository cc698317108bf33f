"""Which of several changes helped, and do they help each other? Effects of a paired 2^k factorial."""

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seglab.stats._cells import as_cells, contrast
from seglab.stats._difference import detectable, holm
from seglab.stats._scores import Floats

__all__ = ["Effect", "Factorial", "factorial"]

OFF = (False, None, "off", "none", "no", "")  # False is 0 as well
NOTHING = ("", "none", "plain", "baseline")  # names of the cell in which every factor is off


class Effect(NamedTuple):
    """One effect, in the unit of the scores."""

    name: str  # "aug", or "aug x cbam"
    value: float
    low: float  # 95 % interval
    high: float
    p: float
    p_holm: float  # adjusted for all effects; NaN for the published comparison, which is their sum
    detectable: float  # smallest true effect found with 80 % power at the 5 % level


@dataclass(frozen=True)
class Factorial:
    """What `factorial` found.

    Attributes:
        factors: Names of the factors.
        cells: Mean score and number of seeds of every cell, by its levels, 0 off and 1 on, in the order of the factors.
        effects: Main effects first, then interactions of two, three and more factors.
        published: All on minus all off, the comparison that a paper prints.
        n: Pictures.
        left_out: Pictures without a score in some run.
    """

    factors: tuple[str, ...]
    cells: dict[tuple[int, ...], tuple[float, int]]
    effects: tuple[Effect, ...]
    published: Effect
    n: int
    left_out: int

    def effect(self, name: str) -> Effect:
        """The effect of that name.

        Raises:
            ValueError: If there is none.
        """
        for effect in self.effects:
            if effect.name == name:
                return effect
        raise ValueError(f"effect must be one of {', '.join(e.name for e in self.effects)}; got {name!r}.")

    @property
    def mixed(self) -> tuple[Effect, ...]:
        """The effects whose sum is the published comparison: those of one, three, five ... factors."""
        return tuple(effect for effect in self.effects if effect.name.count(" x ") % 2 == 0)

    @property
    def note(self) -> str:
        """What the intervals hold, in words."""
        seeds = [number for _, number in self.cells.values()]
        if min(seeds) > 1:
            return f"The intervals hold pictures and seeds ({', '.join(map(str, seeds))})."
        return "The intervals exclude seed noise: some cells have one seed."

    def to_markdown(self) -> str:
        """Cells, effects, and the published comparison beside what it mixes."""
        heads = ["effect", "value", "95 % interval", "p", "p (Holm)", "detectable"]
        lines = ["| " + " | ".join([*self.factors, "score", "seeds"]) + " |", "|---" * (len(self.factors) + 2) + "|"]
        for levels, (score, seeds) in self.cells.items():
            words = ["on" if level else "off" for level in levels]
            lines.append(f"| {' | '.join(words)} | {score:.4f} | {seeds} |")
        lines += ["", "| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
        for effect in (*self.effects, self.published):
            values = [f"{effect.value:+.4f}", f"{effect.low:+.4f} to {effect.high:+.4f}", f"{effect.p:.4f}"]
            adjusted = "" if math.isnan(effect.p_holm) else f"{effect.p_holm:.4f}"
            lines.append(f"| {effect.name} | {' | '.join(values)} | {adjusted} | {effect.detectable:.4f} |")
        parts = " ".join(f"{effect.value:+.4f} ({effect.name})" for effect in self.mixed)
        lines += ["", f"As published, all on minus all off: {self.published.value:+.4f} = {parts}."]
        return "\n".join([*lines, f"{self.n} pictures, {self.left_out} left out. {self.note}"])

    def to_json(self) -> str:
        """Everything as JSON; NaN becomes null."""
        content = asdict(self)
        content["cells"] = [
            {"levels": dict(zip(self.factors, levels, strict=True)), "score": _null(score), "seeds": seeds}
            for levels, (score, seeds) in self.cells.items()
        ]
        content["effects"] = [_nulls(effect) for effect in self.effects]
        return json.dumps(content | {"published": _nulls(self.published), "note": self.note}, indent=1)

    def __str__(self) -> str:
        return self.to_markdown()


def factorial(
    scores: Mapping[Any, ArrayLike],
    factors: Sequence[str] | None = None,
    *,
    definition: str | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> Factorial:
    """Main effects and all interactions of k on/off factors, from the scores of all 2^k combinations.

    A main effect is the mean score of all cells where the factor is on, minus the mean of all cells where it is off:
    what switching it on changes, averaged over the levels of the other factors. The interaction of two factors is half
    the difference of differences: half of (what A changes when B is on, minus what A changes when B is off). The
    interaction of three is half the difference between the interactions of two, C on minus C off; and so on. With
    levels -1 and +1, every effect is the sum over cells of score * product of the levels, divided by 2^(k - 1).

    The comparison that papers print, all on against all off, is the sum of the effects of one, three, five ... factors:
    it cannot say which of them did it, and interactions of two do not show in it at all.

        k = 2: off/off .70, A .74, B .72, A and B .80.
        A = (.74 + .80)/2 - (.70 + .72)/2 = .06;  B = (.72 + .80)/2 - (.70 + .74)/2 = .04
        A x B = ((.80 - .72) - (.74 - .70)) / 2 = .02;  published: .80 - .70 = .10 = A + B

        k = 3, with C: the four cells above, and with C on .70, .74, .72, .84.
        A = (.04 + .08 + .04 + .12)/4 = .07;  A x B = (.02 + .04)/2 = .03;  A x B x C = (.04 - .02)/2 = .01
        B = .05;  C = .01;  published: .84 - .70 = .14 = A + B + C + A x B x C

    Intervals are those of `hierarchical_difference`: pictures and seeds are resampled. p is of the same t. Where every
    cell has one seed and scores are per image, p comes from the sign-flip test over pictures: exact for "this factor
    changes nothing in any combination", and for an interaction alone if its values are symmetric about 0. Holm adjusts
    over all effects.

    Args:
        scores: (S, N) scores of every cell, seeds by pictures, or its counts (S, N, K, K); the numbers of seeds may
            differ. A key is the levels of the factors, as (False, True), (0, 1) or ("off", "on"), the first-named level
            of two others counting as off; or the names of the factors that are on, as "aug+cbam" ("none" if none is) or
            a frozenset of names.
        factors: Names of the factors, in the order of the levels; None takes A, B, C, or the names in the keys.
        definition: For counts, a name of `list_definitions`.
        draws: Resamples, 1 or above.
        seed: Seed of the draws.

    Raises:
        ValueError: If a combination is missing, or the cells are not of the same pictures.

    Example:
        >>> cells = {"none": 0.70, "aug": 0.74, "cbam": 0.72, "aug+cbam": 0.80}
        >>> result = factorial({key: [[score] * 5] for key, score in cells.items()})
        >>> [(effect.name, round(effect.value, 4)) for effect in result.effects]
        [('aug', 0.06), ('cbam', 0.04), ('aug x cbam', 0.02)]
        >>> round(result.published.value, 4), [effect.name for effect in result.mixed]
        (0.1, ['aug', 'cbam'])

    Reference:
        G. E. P. Box, J. S. Hunter and W. G. Hunter, "Statistics for Experimenters", 2nd ed., 2005, ch. 5.
    """
    named, levels = _levels(list(scores), factors)
    order = sorted(range(len(levels)), key=levels.__getitem__)
    values = list(scores.values())
    cells = as_cells([values[index] for index in order], definition)
    names, weights = _contrasts(named)
    found = contrast(cells, weights, draws=draws, seed=seed)
    adjusted = [*holm(found.p[:-1]), math.nan]
    effects = [
        Effect(name, value, value - reach, value + reach, p, float(holm_p), detectable(error, 1))
        for name, value, error, reach, p, holm_p in zip(
            names, *(column.tolist() for column in found), adjusted, strict=True
        )
    ]
    means = [float(cells.scores(cell, np.ones((1, cells.n))).mean()) for cell in range(len(order))]
    table = {levels[index]: (mean, len(run)) for index, mean, run in zip(order, means, cells.runs, strict=True)}
    return Factorial(named, table, tuple(effects[:-1]), effects[-1], cells.n, cells.left_out)


def _levels(keys: list[Any], factors: Sequence[str] | None) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """Names of the factors, and the levels of every key, 0 off and 1 on.

    Raises:
        ValueError: If the keys are not all combinations, each once.
    """
    if keys and all(isinstance(key, str | frozenset) for key in keys):
        sets = [_names_on(key) for key in keys]
        found = tuple(factors or dict.fromkeys(name for one in sets for name in sorted(one)))
        levels = [tuple(int(name in one) for name in found) for one in sets]
        fits = all(one <= set(found) for one in sets)
    else:
        rows = [key if isinstance(key, tuple) else (key,) for key in keys]
        width = len(rows[0]) if rows else 0
        found = tuple(factors or "ABCDEFGHIJ"[:width])
        fits = all(len(row) == width for row in rows) and len(found) == width
        levels = list(zip(*(_on(column) for column in zip(*rows, strict=True)), strict=True)) if fits else []
    missing = sorted(set(product((0, 1), repeat=len(found))) - set(levels))
    if not found or not fits or missing or len(levels) != 2 ** len(found):
        lacking = f"; {missing[0]} is missing" if fits and missing else ""
        raise ValueError(f"cells must be all combinations of two levels a factor, each once; got {keys}{lacking}.")
    return found, levels


def _names_on(key: "str | frozenset[str]") -> frozenset[str]:
    """Names of the factors that are on in a cell."""
    if isinstance(key, frozenset):
        return key
    return frozenset() if key in NOTHING else frozenset(part.strip() for part in key.split("+"))


def _on(column: Sequence[Hashable]) -> list[int]:
    """Which levels of one factor count as on."""
    off = next((level for level in column if level in OFF), column[0])
    others = dict.fromkeys(level for level in column if level != off)
    return [0 if level == off else 1 + list(others).index(level) for level in column]


def _contrasts(factors: tuple[str, ...]) -> tuple[list[str], Floats]:
    """Names of the effects and their weights, (2^k, E), cells in the order of `product`; the published one last."""
    signs = 2.0 * np.array(list(product((0, 1), repeat=len(factors)))) - 1
    names, columns = [], []
    for size in range(1, len(factors) + 1):
        for chosen in combinations(range(len(factors)), size):
            names.append(" x ".join(factors[index] for index in chosen))
            columns.append(signs[:, chosen].prod(axis=1) / 2 ** (len(factors) - 1))
    published = np.zeros(len(signs))
    published[-1], published[0] = 1, -1
    return [*names, "as published"], np.stack([*columns, published], axis=1)


def _nulls(effect: Effect) -> dict[str, Any]:
    """An effect as JSON takes it."""
    return {key: _null(value) for key, value in effect._asdict().items()}


def _null(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value
