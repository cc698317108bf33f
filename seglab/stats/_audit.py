"""Can the numbers of a printed table be what their names say?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seglab.stats._printed import read_table
from seglab.stats._rules import ROW_RULES, TABLE_RULES, Finding

__all__ = ["Audit", "audit"]


@dataclass(frozen=True)
class Audit:
    """What `audit` found.

    Attributes:
        findings: Numbers that do not fit together, in the order of the rows.
        rows: Rows read.
        checks: Checks made, by rule; a rule that found no row to speak of has none.
        unknown: Columns that no rule knows; their numbers were not looked at.
    """

    findings: tuple[Finding, ...]
    rows: int
    checks: dict[str, int]
    unknown: tuple[str, ...]

    def of(self, row: str) -> tuple[Finding, ...]:
        """The findings of rows whose label begins with that name."""
        return tuple(finding for finding in self.findings if finding.row.startswith(row))

    def to_markdown(self) -> str:
        """The findings as a table, and what was checked."""
        made = ", ".join(f"{rule} {number}" for rule, number in self.checks.items() if number) or "none"
        lines = [f"{self.rows} rows, {sum(self.checks.values())} checks ({made}), {len(self.findings)} findings."]
        if self.unknown:
            lines.append(f"Columns not checked: {', '.join(self.unknown)}.")
        if self.findings:
            lines += ["", "| row | inconsistent under | arithmetic | rule |", "|---|---|---|---|"]
            for one in self.findings:
                cells = (one.row, one.definition, one.arithmetic, one.rule)
                lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
            lines += ["", "A finding names a definition that cannot hold. Under another one the number may be right."]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Everything as JSON."""
        return json.dumps(asdict(self) | {"findings": [one._asdict() for one in self.findings]}, indent=1)

    def __str__(self) -> str:
        return self.to_markdown()


def audit(table: str | Path | Sequence[Mapping[str, Any]] | Any) -> Audit:
    """Hold every row of a printed table against what its scores must obey.

    Scores of one confusion matrix hang together: Dice and IoU by D = 2 J / (1 + J); accuracy, precision and the share
    of the object by the recall they imply; the mean over two classes by the background it implies. Means over images
    obey bounds. A finding says under which definition a row is inconsistent, never that it is wrong: a mean over other
    images, classes or runs may explain it. Every number may be anything that rounds to its printed digits; one of a
    row marked `copied` may be ten units of the last digit away, because it passed through other hands.

    The checks: scores in [0, 1]; IoU <= Dice; Dice = 2 IoU / (1 + IoU), pooled or for one image; mean Dice <= 2 mean
    IoU / (1 + mean IoU); background IoU in [0, 1]; accuracy above that of an empty mask; recall, and overlap, from
    accuracy and precision; highest overlap at an accuracy; gain = after - before; split sums; spread of folds against
    sampling error.

    Args:
        table: A CSV file, a list of mappings, or an object with `.rows`. Columns: name, dataset, loss, epochs, n,
            prevalence, accuracy, precision, recall, specificity; dice and iou, alone or with _image or _pooled;
            miou_2class_pooled, miou_2class_image; copied; train, val, test beside n for splits; before, after, gain.
            Rows named "fold 1", "fold 2" ... are folds of n images each. Shares or percent, a whole column alike.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is no table, or holds no column to check.

    Example:
        >>> result = audit([{"name": "U-Net", "dice": 0.96, "iou": 0.97}, {"name": "ours", "dice": 0.95, "iou": 0.91}])
        >>> print(result.findings[0])  # doctest: +NORMALIZE_WHITESPACE
        U-Net: inconsistent under one definition of both, per image or pooled: IoU 0.9700 > Dice 0.9600; the row fits
        if the two are swapped, or if IoU is a mean over classes [IoU <= Dice]
        >>> result.rows, sum(result.checks.values()), len(result.findings)
        (2, 6, 1)

    Reference:
        J. L. W. V. Jensen, "Sur les fonctions convexes et les inegalites entre les valeurs moyennes", Acta Math. 30,
        1906; N. J. L. Brown and J. A. J. Heathers, "The GRIM test", Soc. Psychol. Personal. Sci. 8(4), 2017, for the
        idea.
    """
    rows, unknown = read_table(table)
    results = [(rule.__name__, check) for row in rows for rule in ROW_RULES for check in rule(row)]
    results += [(rule.__name__, check) for rule in TABLE_RULES for check in rule(rows)]
    checks = {rule.__name__: 0 for rule in (*ROW_RULES, *TABLE_RULES)}
    for name, _ in results:
        checks[name] += 1
    return Audit(tuple(check for _, check in results if check is not None), len(rows), checks, tuple(unknown))
