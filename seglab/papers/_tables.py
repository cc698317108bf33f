"""Printed tables as data, in the words that `seglab audit` reads."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["COLUMNS", "PrintedTable", "read_rows"]

# What a column may be called, in the order of a CSV file. A name says what was averaged where the paper says so.
COLUMNS = (
    "name", "dataset", "n", "prevalence", "params_m", "accuracy", "precision", "recall", "specificity", "dice", "iou",
    "dice_image", "iou_image", "dice_pooled", "iou_pooled", "miou_2class_pooled", "miou_2class_image", "loss",
    "epochs", "train", "val", "test", "before", "after", "gain", "copied",
)  # fmt: skip


@dataclass(frozen=True)
class PrintedTable:
    """A table of a paper, typed in; values as printed, shares or percent.

    Attributes:
        title: What it shows.
        where: Where it is printed: number of the table, or section.
        rows: One mapping a printed row. Keys are of COLUMNS; `copied` says that the row's numbers come from another
            paper. A key that ends in `_sd` is the number after a plus-minus sign, a key `gflops` arithmetic.
        notes: What a reader must know: which column is called what, what is not printed.

    Example:
        >>> table = PrintedTable("scores", "Table 1", read_rows("iou dice", "U-Net | 0.5 0.6", dataset="ph2"))
        >>> table.rows[0]["iou"], table.cell("U-Net", "dice")
        (0.5, 0.6)
    """

    title: str
    where: str
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()

    def cell(self, name: str, column: str, **keys: Any) -> float:
        """The number of one row, found by its name and, if several rows share it, by other columns.

        Raises:
            ValueError: If there is no such row, or several.
        """
        wanted = {"name": name, **keys}
        found = [row for row in self.rows if all(row.get(key) == value for key, value in wanted.items())]
        if len(found) != 1:
            raise ValueError(f"{self.where} must have one row with {wanted}; got {len(found)}.")
        return float(found[0][column])

    def to_csv(self) -> str:
        """The rows as CSV that `seglab audit` reads; numbers after a plus-minus sign are left out, a gap is empty.

        Example:
            >>> print(PrintedTable("scores", "Table 1", read_rows("iou", "U-Net | 0.5")).to_csv(), end="")
            name,iou,copied
            U-Net,0.5,false
        """
        used = [column for column in COLUMNS if any(column in row for row in self.rows)]
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(used)
        for row in self.rows:
            values = [row.get(column, "") for column in used]
            lines.writerow([str(value).lower() if isinstance(value, bool) else value for value in values])
        return text.getvalue()


def read_rows(columns: str, text: str, *, copied: bool = False, **same: Any) -> tuple[dict[str, Any], ...]:
    """Rows of a table written as lines `name | value value ...`, a dash for a cell that is not printed.

    Args:
        columns: Names of the values, separated by spaces.
        text: The lines.
        copied: Whether the numbers come from another paper; a line that begins with `=` says so for itself.
        same: Columns with the same value in every row.

    Raises:
        ValueError: If a line has another number of values than `columns`.

    Example:
        >>> read_rows("params_m dice", "= AS-Net | 24.9 -", dataset="ph2")
        ({'name': 'AS-Net', 'dataset': 'ph2', 'params_m': 24.9, 'copied': True},)
    """
    rows = []
    for line in filter(None, map(str.strip, text.strip().splitlines())):
        name, _, rest = line.partition("|")
        names, values = columns.split(), rest.split()
        if len(names) != len(values):
            raise ValueError(f"line {line!r} must have {len(names)} values; got {len(values)}.")
        cells = {key: float(value) for key, value in zip(names, values, strict=True) if value != "-"}
        rows.append(
            {"name": name.strip(" ="), **same, **cells, "copied": copied or line.startswith("=")},
        )
    return tuple(rows)
