"""Two reports on the same pictures, compared under every definition at once."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from seglab.stats._paired import ComparisonRow, compare_counts
from seglab.stats._scores import Floats, as_counts

__all__ = ["ComparisonTable", "compare"]


class Scored(Protocol):
    """What `compare` needs of a report; `seglab.Report` has it."""

    @property
    def model(self) -> str:
        """Title of the model."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the N pictures."""

    @property
    def counts(self) -> Any:
        """(N, K, K) pixels, rows true, columns predicted."""


@dataclass(frozen=True)
class ComparisonTable:
    """What `compare` found; second minus first throughout.

    Attributes:
        first: Title of the first model.
        second: Title of the second.
        pictures: Number of pictures of both reports.
        rows: One per definition, in the order asked for.
        draws: Sign flips and resamples.
        seed: Seed of both.
    """

    first: str
    second: str
    pictures: int
    rows: tuple[ComparisonRow, ...]
    draws: int
    seed: int

    def row(self, definition: str) -> ComparisonRow:
        """The row of that definition.

        Raises:
            ValueError: If it was not compared.
        """
        for row in self.rows:
            if row.definition == definition:
                return row
        raise ValueError(f"definition must be one of {', '.join(r.definition for r in self.rows)}; got {definition!r}.")

    def verdict(self) -> str:
        """Who is better under which definitions, in words, at the 5 % level after Holm."""
        asked, parts = len(self.rows), []
        for side, name in ((2, self.second), (1, self.first)):
            won = [row.definition for row in self.rows if row.winner == side]
            if won:
                which = (
                    f"all {asked} definitions" if len(won) == asked > 1 else f"{len(won)} of {asked} ({', '.join(won)})"
                )
                parts.append(f"{name} is better under {which}")
        if not parts:
            parts.append(f"no difference was shown under any of {asked} definitions")
        if {1.0, -1.0} <= {np.sign(row.difference) for row in self.rows}:
            parts.append("which of them scores higher depends on the definition")
        return "; ".join(parts) + "."

    def to_markdown(self) -> str:
        """The table, what was left out, and the verdict."""
        heads = ["definition", self.first, self.second, "difference", "95 % interval", "p", "p (Holm)", "detectable"]
        lines = ["| " + " | ".join(_cell(head) for head in [*heads, "n"]) + " |", "|---" + "|---:" * len(heads) + "|"]
        for row in self.rows:
            cells = [_show(row.first), _show(row.second), _show(row.difference, "+")]
            cells += [f"{_show(row.low, '+')} to {_show(row.high, '+')}", _show(row.p), _show(row.p_holm)]
            lines.append(f"| {row.definition} | {' | '.join(cells)} | {_show(row.detectable)} | {row.n} |")
        lines += ["", f"{self.pictures} pictures, paired; difference = {_cell(self.second)} minus {_cell(self.first)}."]
        lines += [_left_out(row) for row in self.rows if row.left_out]
        return "\n".join([*lines, _cell(self.verdict())])

    def to_json(self) -> str:
        """Everything as JSON; NaN becomes null."""
        rows = [
            {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in found.items()}
            for found in (row._asdict() for row in self.rows)
        ]
        return json.dumps(asdict(self) | {"rows": rows, "verdict": self.verdict()}, indent=1)

    def __str__(self) -> str:
        return self.to_markdown()


def compare(
    report_a: Scored,
    report_b: Scored,
    *,
    definitions: Sequence[str] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> ComparisonTable:
    """Is the second model better than the first, by how much, how sure, and under which definition?

    Each definition is compared over the pictures for which both models have a score, so the two scores may differ
    slightly from those of the reports; how many were left out is said. Per-image scores: the difference is a mean over
    pictures. Pooled scores: whole pictures are resampled, and the ratio is taken anew. The interval is
    difference +- t * bootstrap standard error, as in `paired_difference`; p comes from swapping the models in random
    pictures. Both speak of other pictures of the same kind and of these two trained models: another seed may turn the
    result (`hierarchical_difference`).

    Args:
        report_a: The first report; `seglab.evaluate` makes them.
        report_b: The second, of the same pictures and masks, in any order.
        definitions: Names of `list_definitions`; None takes Dice, IoU and the mean IoU over classes, each per image and
            pooled.
        draws: Sign flips and resamples, 1 or above.
        seed: Seed of both.

    Raises:
        ValueError: If the reports are not of the same pictures, masks and classes, or a name is unknown or missing.

    Example:
        >>> from types import SimpleNamespace
        >>> names = [f"{i}.png" for i in range(12)]
        >>> a = SimpleNamespace(model="A", names=names, counts=[[[70, 10], [10, 10]]] * 12)  # Dice 1/2 everywhere
        >>> b = SimpleNamespace(model="B", names=names, counts=[[[75, 5], [5, 15]]] * 12)  # Dice 3/4
        >>> row = compare(a, b, definitions=["dice_fg_image"]).rows[0]
        >>> row.first, row.second, row.difference, round(row.p, 4)  # 2 of 4096 arrangements are as far from 0
        (0.5, 0.75, 0.25, 0.0005)

    Reference:
        P. Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 3rd ed., 2005, ch. 3 and 6.
    """
    first, second = _matched(report_a, report_b)
    names = tuple(definitions) if definitions is not None else _usual(first.shape[-1])
    if not names:
        raise ValueError("definitions must name at least one score; got none.")
    rows = compare_counts(first, second, names, draws=draws, seed=seed)
    return ComparisonTable(str(report_a.model), str(report_b.model), len(first), rows, draws, seed)


def _matched(report_a: Scored, report_b: Scored) -> tuple[Floats, Floats]:
    """Counts of both reports, picture by picture.

    Raises:
        ValueError: If the pictures, their masks or the classes differ.
    """
    first, second = as_counts(report_a.counts), as_counts(report_b.counts)
    ours, theirs = list(report_a.names), list(report_b.names)
    if ours != theirs:
        lacking = [
            [name for name in one if name not in other] for one, other in ((ours, set(theirs)), (theirs, set(ours)))
        ]
        if any(lacking) or len(set(ours)) != len(ours) or len(ours) != len(theirs):
            raise ValueError(f"reports must be of the same pictures; got {_lacking(ours, theirs, lacking)}.")
        place = {name: index for index, name in enumerate(theirs)}
        second = second[[place[name] for name in ours]]
    if first.shape != second.shape:
        raise ValueError(f"reports must have the same classes; got {first.shape[-1]} and {second.shape[-1]}.")
    other = int((first.sum(axis=2) != second.sum(axis=2)).any(axis=1).sum())
    if other:
        raise ValueError(f"reports must be of the same masks; got other numbers of true pixels in {other} pictures.")
    return first, second


def _lacking(ours: list[str], theirs: list[str], lacking: list[list[str]]) -> str:
    """Which pictures only one report has."""
    if not any(lacking):
        return f"{len(ours)} and {len(theirs)} pictures in another order, some of the same name"
    return " and ".join(
        f"{len(names)} only in the {which} ({names[0]}{', ...' if names[1:] else ''})"
        for which, names in zip(("first", "second"), lacking, strict=True)
        if names
    )


def _usual(num_classes: int) -> tuple[str, ...]:
    """Dice, IoU and the mean IoU over classes, each per image and pooled."""
    names = ("dice_fg", "iou_fg", f"miou_{num_classes}class")
    return tuple(f"{name}_{way}" for name in names for way in ("image", "pooled"))


def _left_out(row: ComparisonRow) -> str:
    """Why pictures are missing from a row."""
    text = f"{row.definition}: {row.left_out} pictures left out, without a score of both models"
    return f"{text}; in {row.one_sided} of them one model has a score." if row.one_sided else f"{text}."


def _show(value: float, sign: str = "") -> str:
    """A number for a table; a missing one in words."""
    return "not defined" if math.isnan(value) else f"{value:{sign}.4f}"


def _cell(text: str) -> str:
    """Text that stays in its cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
