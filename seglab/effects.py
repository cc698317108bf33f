"""What an ablation showed: every cell with its spread over seeds, main effects and interactions with intervals."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seglab.ablation import Cell, Plan, label
from seglab.evaluation import Report
from seglab.files import atomic_text
from seglab.stats import Factorial, factorial, hierarchical_difference, per_image, score

__all__ = ["DEFINITIONS", "Ablation", "collect"]

DEFINITIONS = ("dice_fg_image", "dice_fg_pooled", "iou_fg_image", "miou_2class_pooled")
DRAWS = 4000


@dataclass(frozen=True)
class Ablation:
    """The scores of all cells on the same pictures.

    Attributes:
        factors: Levels of every factor, as typed; the first is the one others are compared with.
        seeds: Seeds of every cell.
        names: Pictures tested, N of them; with folds every picture once.
        counts: (S, N, K, K) pixels of every cell by its levels: seeds, pictures, rows true, columns predicted.
        updates: Updates of the weights that every run got (in the smallest fold, if there are folds).
        folds: Number of folds; None if the dataset's own test part was tested.
        task: What every cell started from, as JSON holds it.
        command: Command line that made it, if one did.
    """

    factors: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    names: tuple[str, ...]
    counts: Mapping[tuple[str, ...], NDArray[np.int64]]
    updates: int
    folds: int | None
    task: Mapping[str, Any]
    command: str = ""

    @property
    def definitions(self) -> tuple[str, ...]:
        """Names of the scores that are reported."""
        classes = next(iter(self.counts.values())).shape[-1]
        return tuple(name.replace("2class", f"{classes}class") for name in DEFINITIONS)

    def scores(self, levels: tuple[str, ...], definition: str) -> list[float]:
        """One score of a cell for every seed."""
        return [score(counts, definition) for counts in self.counts[levels]]

    def effects(self, definition: str = "dice_fg_image") -> Factorial | None:
        """Main effects and interactions; None if a factor has more than two levels, where they are not defined.

        Args:
            definition: A name of `seglab.stats.list_definitions`.
        """
        if any(len(levels) != 2 for levels in self.factors.values()):
            return None
        keys = {
            levels: tuple(list(options).index(one) for options, one in zip(self.factors.values(), levels, strict=True))
            for levels in self.counts
        }
        if definition.endswith("_image"):
            scores = {
                keys[one]: np.stack([per_image(run, definition) for run in runs]) for one, runs in self.counts.items()
            }
            return factorial(scores, list(self.factors), draws=DRAWS)
        cells = {keys[one]: runs for one, runs in self.counts.items()}
        return factorial(cells, list(self.factors), definition=definition, draws=DRAWS)

    def to_markdown(self) -> str:
        """Cells, effects under every definition, and what was held equal."""
        held = f"{len(self.names)} test pictures" + (f" ({self.folds} folds)" if self.folds else "")
        lines = [
            f"Held equal: {held}, {self.updates} updates, seeds {', '.join(map(str, self.seeds))}, "
            f"split {self.task['split']}, model {self.task['model']} {json.dumps(self.task['knobs'])}, "
            f"loss {self.task['loss']} {json.dumps(self.task['loss_knobs'])}.",
            "",
            *self._cell_lines(),
        ]
        for definition in self.definitions:
            lines += ["", f"#### {definition}", "", *self._effect_lines(definition)]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Cells with the score of every seed, and effects under every definition; NaN becomes null."""
        cells = [
            {
                "levels": dict(zip(self.factors, levels, strict=True)),
                **{name: [_null(one) for one in self.scores(levels, name)] for name in self.definitions},
            }
            for levels in self.counts
        ]
        found = {name: self.effects(name) for name in self.definitions}
        return json.dumps(
            {
                "factors": {name: list(levels) for name, levels in self.factors.items()},
                "seeds": list(self.seeds),
                "pictures": list(self.names),
                "updates": self.updates,
                "folds": self.folds,
                "task": dict(self.task),
                "command": self.command,
                "cells": cells,
                "effects": {name: json.loads(one.to_json()) for name, one in found.items() if one is not None},
            },
            indent=1,
        )

    def save(self, out: str | Path) -> None:
        """Write ablation.md and ablation.json into a folder.

        Raises:
            OSError: If they cannot be written.
        """
        atomic_text(Path(out) / "ablation.json", self.to_json() + "\n")
        atomic_text(Path(out) / "ablation.md", self.to_markdown() + "\n")

    def __str__(self) -> str:
        return self.to_markdown()

    def _cell_lines(self) -> list[str]:
        """A table of the cells: mean over seeds, spread, every seed; by data set too if there are several."""
        sources = sorted({name.partition("/")[0] for name in self.names if "/" in name})
        parts = {
            source: [i for i, name in enumerate(self.names) if name.startswith(f"{source}/")] for source in sources
        }
        heads = [*self.factors, "Dice, image", "sd over seeds", "each seed", "Dice, pooled"]
        heads += [f"{source} (n = {len(part)})" for source, part in parts.items()]
        lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for levels, runs in self.counts.items():
            image, pooled = (self.scores(levels, name) for name in ("dice_fg_image", "dice_fg_pooled"))
            spread = f"{np.std(image, ddof=1):.4f}" if len(image) > 1 else "one seed"
            each = " ".join(f"{one:.4f}" for one in image)
            cells = [*map(_word, levels), f"{np.mean(image):.4f}", spread, each, f"{np.mean(pooled):.4f}"]
            for part in parts.values():
                cells.append(f"{np.mean([score(run[part], 'dice_fg_image') for run in runs]):.4f}")
            lines.append("| " + " | ".join(cells) + " |")
        return lines

    def _effect_lines(self, definition: str) -> list[str]:
        """Effects under one definition; without them, every cell against the first."""
        found = self.effects(definition)
        if found is not None:
            return found.to_markdown().split("\n\n", 1)[1].split("\n")
        (first, runs), *others = self.counts.items()
        lines = []
        for levels, mine in others:
            verdict = hierarchical_difference(runs, mine, definition=definition, draws=DRAWS).verdict()
            names = [label(list(self.factors), one) for one in (first, levels)]
            lines.append(f"- {names[0]} (first) against {names[1]} (second): {verdict}")
        return lines


def collect(plan: Plan, reports: Mapping[Cell, Report]) -> Ablation:
    """Put the reports of all cells together.

    Args:
        plan: The ablation.
        reports: From `run_plan`; the pictures of a cell's folds become one set.

    Raises:
        ValueError: If the cells were not tested on the same pictures.
    """
    counts: dict[tuple[str, ...], list[NDArray[np.int64]]] = {}
    names: tuple[str, ...] | None = None
    for levels, seed in dict.fromkeys((cell.levels, cell.seed) for cell in reports):
        mine = [one for cell, one in reports.items() if (cell.levels, cell.seed) == (levels, seed)]
        tested = tuple(name for report in mine for name in report.names)
        if names not in (None, tested):
            raise ValueError(f"cells must be tested on the same pictures; {label(list(plan.factors), levels)} was not.")
        names = tested
        counts.setdefault(levels, []).append(np.concatenate([report.counts.numpy() for report in mine]))
    cells = list(plan.cells())
    splits = plan.recipe_of(cells[0]).splits()
    return Ablation(
        factors=plan.factors,
        seeds=plan.seeds,
        names=names or (),
        counts={levels: np.stack(runs) for levels, runs in counts.items()},
        updates=plan.recipe.updates(len(splits.train)),
        folds=plan.folds,
        task=plan.recipe.task(splits),
    )


def _word(level: str) -> str:
    """A level for a table."""
    return "none" if level == "[]" else level


def _null(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
