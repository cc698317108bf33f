"""Printed tables as numbers with the rounding of their digits."""

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["NUMBERS", "SCORES", "Printed", "PrintedRow", "read_table"]

SCORES = (
    "accuracy", "precision", "recall", "specificity", "dice", "iou", "dice_image", "iou_image", "dice_pooled",
    "iou_pooled", "miou_2class_pooled", "miou_2class_image",
)  # fmt: skip
SHARES = (*SCORES, "prevalence", "before", "after", "gain")
NUMBERS = ("n", "train", "val", "test")
LABELS = ("name", "dataset", "loss", "epochs")
IGNORED = ("params_m", "gflops", "copied")  # known, and no rule speaks of them
MISSING = ("", "-", "–", "—", "nan", "none", "n/a")
COPIED_UNITS = 10  # a copied number was rounded, converted or taken over a mean of runs by other hands


class Printed(NamedTuple):
    """A share as printed, and the values that round to it."""

    value: float
    low: float
    high: float


class PrintedRow(NamedTuple):
    """One row of a table; columns without a number are left out."""

    label: str  # name, and what tells it from rows of the same name
    name: str
    group: tuple[str, ...]  # data set, loss and epochs
    copied: bool
    shares: dict[str, Printed]  # in [0, 1], unless the table says otherwise
    numbers: dict[str, float]


def read_table(table: Any) -> tuple[list[PrintedRow], list[str]]:
    """Rows of a CSV file, of a list of mappings, or of an object with `.rows`; and the columns that are not known.

    A column is percent if one of its numbers is above 1.5 or has a percent sign. Its digits are those of its most
    precise number, because tables drop the last zero: 79.5 beside 77.95 is 79.50.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If there is no row or no known column, or a cell is not a number.
    """
    rows = _from_csv(Path(table)) if isinstance(table, str | Path) else list(getattr(table, "rows", table))
    if not rows:
        raise ValueError("table must have at least one row; got none.")
    columns = list(dict.fromkeys(str(key) for row in rows for key in row))
    known = (*SHARES, *NUMBERS, *LABELS, *IGNORED)
    if not any(column in (*SHARES, *NUMBERS) for column in columns):
        raise ValueError(f"table must have a column such as dice, iou_pooled or accuracy; got {', '.join(columns)}.")
    units = [column for column in (*SHARES, *NUMBERS) if column in columns]
    cells = {column: [_number(row.get(column), column, index) for index, row in enumerate(rows)] for column in units}
    copied = [str(row.get("copied", "")).strip().lower() in ("true", "1", "yes", "copied") for row in rows]
    percent = {column: _is_percent(column, cells[column]) for column in units if column in SHARES}
    if percent.get("before") or percent.get("after"):
        percent["gain"] = True
    shares = {column: _shares(cells[column], copied, percent[column]) for column in units if column in SHARES}
    found = []
    for index, row in enumerate(rows):
        name = str(row.get("name") or f"row {index + 1}")
        group = tuple(str(row[key]) for key in LABELS[1:] if str(row.get(key) or ""))
        numbers = {key: cell.number for key in units if key in NUMBERS and (cell := cells[key][index])}
        found.append(
            PrintedRow(
                f"{name} ({', '.join(group)})" if group else name,
                name,
                group,
                copied[index],
                {key: share for key, column in shares.items() if (share := column[index])},
                numbers,
            )
        )
    return found, [key for key in columns if key not in known and not key.endswith("_sd")]


class _Cell(NamedTuple):
    """A number as typed."""

    number: float
    digits: int  # behind the point
    percent: bool  # a percent sign stands beside it


def _from_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file with a heading; separated by commas, or by semicolons or tabs if the heading is."""
    if not path.exists():
        raise FileNotFoundError(f"table {path} must exist; got no file of that name.")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"table {path} must be UTF-8 text; got {error.reason}. Save it as CSV in UTF-8.") from error
    heading = text.partition("\n")[0]
    mark = next((mark for mark in ";\t" if mark in heading and "," not in heading), ",")
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
    reader.fieldnames = [str(name).strip().lower() for name in reader.fieldnames or []]
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                wanted = len(reader.fieldnames)
                raise ValueError(f"line {reader.line_num} of {path} must have {wanted} cells, as the heading has.")
            rows.append({key: cell.replace(",", ".") if mark == ";" else cell for key, cell in row.items()})
    except csv.Error as error:
        raise ValueError(f"table {path} must be CSV; got an error in line {reader.line_num}: {error}.") from error
    return rows


def _number(value: object, column: str, index: int) -> _Cell | None:
    """A cell as a number; what follows a plus-minus sign is left out.

    Raises:
        ValueError: If it is none.
    """
    if value is None or isinstance(value, float) and math.isnan(value):
        return None
    text = str(value).partition("±")[0].strip() if isinstance(value, str) else _decimal(value)
    if text.lower() in MISSING:
        return None
    found = re.fullmatch(r"([+-]?\d*\.?\d+(?:e[+-]?\d+)?|[+-]?\d+\.)\s*(%?)", text.lower())
    if not found:
        raise ValueError(f"{column} of row {index + 1} must be a number; got {value!r}.")
    whole, _, behind = found[1].partition(".")
    return _Cell(float(found[1]), 0 if "e" in found[1] else len(behind), bool(found[2]))


def _decimal(value: Any) -> str:
    """A float as it was typed, without what binary numbers add."""
    try:
        return f"{float(value):.6f}".rstrip("0").rstrip(".")
    except (TypeError, ValueError):
        return str(value)


def _is_percent(column: str, cells: Sequence[_Cell | None]) -> bool:
    """Whether a column is in percent.

    Raises:
        ValueError: If it mixes shares and percent.
    """
    there = [cell for cell in cells if cell is not None]
    percent = any(abs(cell.number) > 1.5 or cell.percent for cell in there)
    small = [cell.number for cell in there if 0 < cell.number < 1 and not cell.percent]
    if percent and small and column in SCORES:
        large = max(cell.number for cell in there)
        raise ValueError(f"column {column} must be all shares or all percent; got {small[0]:g} and {large:g}.")
    return percent


def _shares(cells: Sequence[_Cell | None], copied: Sequence[bool], percent: bool) -> list[Printed | None]:
    """A column in [0, 1] with its rounding."""
    unit = 0.01 if percent else 1.0
    half = 0.5 * 10.0 ** -max((cell.digits for cell in cells if cell is not None), default=0) * unit
    found: list[Printed | None] = []
    for cell, foreign in zip(cells, copied, strict=True):
        value, by = unit * cell.number if cell else 0.0, 2 * COPIED_UNITS * half if foreign else half
        found.append(Printed(value, value - by, value + by) if cell else None)
    return found
