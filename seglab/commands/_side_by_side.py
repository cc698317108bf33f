"""Scores of several models on the same pictures in one table, and what may be said of their differences."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seglab.evaluation import Report

__all__ = ["side_by_side"]


def side_by_side(reports: "Mapping[str, Report]") -> str:
    """Every score of every report but those of single classes, then each model against the first, six definitions.

    Args:
        reports: By the name to show; of the same pictures.
    """
    from dataclasses import replace

    from seglab.stats import compare

    names = list(reports)
    rows = ["| score | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for score in (name for name in next(iter(reports.values())).values if "_class" not in name):
        cells = [f"{report.values[score][0]:.4f}" for report in reports.values()]
        rows.append(f"| {score} | " + " | ".join(cells) + " |")
    first = replace(reports[names[0]], model=names[0])
    for name in names[1:]:
        rows += ["", compare(first, replace(reports[name], model=name)).to_markdown()]
    if len(names) > 2:
        rows.append(f"Holm is over the definitions of one table; {len(names) - 1} tables ask more than one question.")
    return "\n".join(rows)
