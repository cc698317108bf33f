"""The mask doctor: everything that is wrong with a dataset in one report, before an hour of training shows it.

Files, names, values, sizes, empty and full masks, inverted ones, one picture under two names, leaks between parts.
Nothing is repaired here; `seglab.data._repair` writes a repaired copy.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from seglab.data._duplicates import find_duplicates
from seglab.data._findings import CheckReport, Finding
from seglab.data._inspect import Look, inspect
from seglab.data._inventory import Inventory, take_inventory
from seglab.data._polarity import find_inverted
from seglab.data._repair import Repaired, repair

__all__ = ["check", "fix"]


def check(
    root: str | Path, *, dataset: str = "folder", on_picture: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Find all that is wrong with a dataset; never stops at the first fault.

    Args:
        root: The dataset's folder.
        dataset: Name of its layout, as in `load_dataset`. The layout `folder` is searched file by file; of other
            layouts, what their loader can pair is checked.
        on_picture: Called with (done, total) after each picture.

    Returns:
        A report; `report.ok` says that training may begin. A folder without pictures gives an error in it.

    Raises:
        FileNotFoundError: If `root` is no folder.
        ValueError: If there is no such layout.

    Example:
        >>> import tempfile
        >>> report = check(tempfile.mkdtemp())
        >>> report.ok, report.findings[0].kind
        (False, 'layout')
    """
    root = Path(root)
    found, looks = _examine(root, dataset, on_picture)
    return _report(root, found, looks)


def fix(root: str | Path, out: str | Path, *, dataset: str = "folder", invert: Sequence[str] = ()) -> Repaired:
    """Write a repaired copy of a dataset in the layout `folder`; the source is not touched.

    Repaired is what admits no doubt: masks smeared by JPEG are cut at 128, masks of 0 and one other number become 0
    and 255, masks stored sideways are turned as their picture, colour files with equal channels become grey, mask
    names become the picture's. Left out are pictures and masks that cannot be read or lack each other. The rest is
    only listed in `check-data.log`: whether a mask is inverted or too large is for a person to say.

    Args:
        root: The dataset's folder.
        out: Folder to write; it must not exist, or be empty, and not lie in `root`.
        dataset: Name of the layout of `root`.
        invert: Names of pictures whose masks are to be inverted.

    Returns:
        What was done and what is left; its text is the log.

    Raises:
        FileExistsError: If `out` holds something.
        ValueError: If `out` lies in `root`, or `invert` names what is not there.
        OSError: If `out` cannot be written; nothing is then left behind.
    """
    root = Path(root)
    found, looks = _examine(root, dataset, None)
    return repair(root, Path(out), found, looks, findings=_report(root, found, looks).findings, invert=invert)


def _examine(root: Path, dataset: str, on_picture: Callable[[int, int], None] | None) -> tuple[Inventory, list[Look]]:
    """The files, and a look at each pair."""
    found = take_inventory(root, dataset)
    looks = []
    for number, pair in enumerate(found.pairs, start=1):
        looks.append(inspect(pair, len(found.classes), found.data))
        if on_picture is not None:
            on_picture(number, len(found.pairs))
    return found, looks


def _report(root: Path, found: Inventory, looks: Sequence[Look]) -> CheckReport:
    """All findings together."""
    findings = [*found.findings, *(finding for look in looks for finding in look.findings)]
    findings += _judge_styles(looks)
    findings += _judge_empty(looks, found.columns)
    if len(found.classes) == 2:
        findings += find_inverted(looks)
    findings += find_duplicates(looks, found.groups, found.parts)
    return CheckReport(str(root), len(found.pairs), tuple(findings))


def _judge_styles(looks: Sequence[Look]) -> list[Finding]:
    """0/255 is read as 0/1; both spellings in one set are read too, but 255 then means two things."""
    styles = Counter(look.style for look in looks if look.pixels)
    if not styles["0255"]:
        return []
    if not styles["01"]:
        message = f"{styles['0255']} hold 0 and 255; 255 is read as the object. This is right."
        return [Finding("style_0_255", "note", "masks", message)]
    message = f"{styles['0255']} hold 0 and 255, {styles['01']} hold 0 and 1; both are read, each by its own values."
    return [Finding("mixed_style", "warning", "masks", message, "Write all in one way, so that no tool is misled.")]


def _judge_empty(looks: Sequence[Look], columns: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """Empty masks: meant so where a column of metadata.csv has a value whose masks are nearly all empty."""
    empty = {look.pair.name for look in looks if look.share == 0}
    read = {look.pair.name for look in looks if look.share >= 0}  # NaN is not
    masks = {look.pair.name: look.pair.mask.name for look in looks}
    column, meant = _explain_empty(empty, read, columns)
    findings = []
    if meant:
        values = columns[column]
        message = (
            f"{len(meant)} are empty, and {column} is {', '.join(sorted({values[name] for name in meant}))} there."
        )
        findings.append(Finding("empty_by_design", "note", "masks", f"{message} This is right.", ""))
    for name in sorted(empty - meant):
        said = "is empty."
        if column and name in columns[column]:
            value = columns[column][name]
            others = [other for other in read if columns[column].get(other) == value]
            full = sum(other not in empty for other in others)
            said = f"is empty, though {column} is {value}: {full} of the {len(others)} masks there show an object."
        findings.append(
            Finding("empty_mask", "warning", masks[name], said, "Draw the object, or see that there is none.")
        )
    return findings


def _explain_empty(empty: set[str], read: set[str], columns: Mapping[str, Mapping[str, str]]) -> tuple[str, set[str]]:
    """The column that explains most empty masks, and the names it explains; ("", set()) if none does."""
    best: tuple[str, set[str]] = ("", set())
    for column, values in columns.items():
        members: dict[str, set[str]] = {}
        for name in read & values.keys():
            members.setdefault(values[name], set()).add(name)
        if not 2 <= len(members) <= 50:
            continue
        meant = {name for names in members.values() if len(names & empty) >= 0.9 * len(names) for name in names & empty}
        if len(meant) > len(best[1]):
            best = (column, meant)
    return best
