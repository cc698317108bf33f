"""A repaired copy of a dataset: what admits no doubt is put right, the rest is listed in a log."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seglab.contract import IGNORE_INDEX
from seglab.data import SPLIT_NAMES
from seglab.data._findings import Finding
from seglab.data._inspect import Look, rewrite
from seglab.data._inventory import Inventory
from seglab.files import atomic_text
from seglab.images import write_mask

__all__ = ["Repaired", "repair"]

LOG = "check-data.log"
DONE = {
    "smeared_mask": "grey values cut at 128 into 0 and 255",
    "wrong_values": "its object value written as 255",
    "exif_mismatch": "turned as its picture (EXIF)",
    "rgb_mask": "colour file with equal channels written as grey",
}


class Repaired(NamedTuple):
    """What `fix` did.

    Example:
        >>> print(Repaired("copy", 1, ("a.png: inverted, as asked.",), ()))
        copy: 1 picture written, 1 change, 0 findings left
        changed: a.png: inverted, as asked.
    """

    out: str
    pictures: int
    changed: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        picture, change = ("" if count == 1 else "s" for count in (self.pictures, len(self.changed)))
        head = f"{self.out}: {self.pictures} picture{picture} written, {len(self.changed)} change{change}, "
        lines = [f"{head}{len(self.left)} findings left"]
        return "\n".join(
            [*lines, *(f"changed: {line}" for line in self.changed), *(f"left: {line}" for line in self.left)]
        )


def repair(
    root: Path,
    out: Path,
    found: Inventory,
    looks: Sequence[Look],
    *,
    findings: Sequence[Finding],
    invert: Sequence[str] = (),
) -> Repaired:
    """Write the copy; `seglab.data._checks.fix` says what is repaired."""
    _require_free(root, out, looks, invert)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        (part / "images").mkdir()
        (part / "masks").mkdir()
        changed: list[str] = []
        names = [look.pair.name for look in looks if _write_pair(look, part, found, set(invert), changed)]
        changed += _write_tables(root, part, found, set(names))
        left = tuple(str(finding) for finding in findings if not _is_settled(finding, changed))
        log = Repaired(str(out), len(names), tuple(changed), left)
        atomic_text(part / LOG, f"{log}\n")
        part.chmod(0o755)  # mkdtemp makes private folders
        os.replace(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return log


def _require_free(root: Path, out: Path, looks: Sequence[Look], invert: Sequence[str]) -> None:
    """Neither the source nor anything else may be written over."""
    if out.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"folder {out} must not lie in the dataset {root}, which is never changed. Name another.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"folder {out} must not exist yet; got one that holds something. Name another.")
    unknown = sorted(set(invert) - {look.pair.name for look in looks})
    if unknown:
        raise ValueError(f"names of masks to invert must be among the pictures; got {', '.join(unknown)}.")


def _write_pair(look: Look, out: Path, found: Inventory, invert: set[str], changed: list[str]) -> bool:
    """Copy one picture with its mask; False if the pair is left out."""
    wrong = {finding.kind for finding in look.findings if finding.severity == "error"} - set(look.repairs)
    if wrong:
        changed.append(f"{look.pair.name}: left out ({', '.join(sorted(wrong))}).")
        return False
    shutil.copyfile(look.pair.image, out / "images" / look.pair.image.name)
    target = out / "masks" / f"{look.pair.name}.png"
    if look.pair.name in invert:
        mask = rewrite(look)
        known = mask != IGNORE_INDEX
        mask[known] = 1 - mask[known]
        write_mask(target, mask)
        changed.append(f"{look.pair.name}: mask inverted, as asked.")
    elif found.data is not None:
        write_mask(target, found.data.read_mask(look.pair.mask, look.shape, len(found.classes)))
    elif look.repairs:
        write_mask(target, rewrite(look), binary=None if len(found.classes) == 2 else False)
        changed.append(f"{look.pair.mask.name}: {'; '.join(DONE[kind] for kind in look.repairs)}.")
    else:
        shutil.copyfile(look.pair.mask, target.with_suffix(look.pair.mask.suffix))
    if look.pair.mask.stem != look.pair.name:
        changed.append(f"{look.pair.mask.name}: renamed after its picture.")
    return True


def _write_tables(root: Path, out: Path, found: Inventory, names: set[str]) -> list[str]:
    """classes.txt and metadata.csv as they are; splits.json without the names that are not there."""
    for name in ("classes.txt", "metadata.csv"):
        if (root / name).is_file():
            shutil.copyfile(root / name, out / name)
    if not found.parts:
        return ["splits.json: left out, it could not be read."] if (root / "splits.json").is_file() else []
    split = {part: sorted(n for n, p in found.parts.items() if p == part and n in names) for part in SPLIT_NAMES}
    atomic_text(out / "splits.json", json.dumps(split, indent=1) + "\n")
    wrong = [finding for finding in found.findings if finding.kind in ("split_file", "split_leak")]
    return ["splits.json: names that are unknown or came twice taken out."] if wrong else []


def _is_settled(finding: Finding, changed: Sequence[str]) -> bool:
    """Whether a finding does not hold for the copy any more; notes are not repeated."""
    if finding.severity == "note" or finding.kind in ("mask_suffix", "name_case", "missing_mask", "missing_picture"):
        return True
    stem = Path(finding.name).stem
    return finding.severity == "error" and any(line.partition(":")[0] in (finding.name, stem) for line in changed)
