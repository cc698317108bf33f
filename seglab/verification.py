"""Do the numbers of a run still hold? Its best model is scored again on the pictures it was scored on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from seglab.data import Splits
from seglab.evaluation import Report, evaluate
from seglab.inference import Predictor
from seglab.records import Noted, Source, environment, read_record

__all__ = ["TOLERANCE", "Verification", "verify"]

TOLERANCE = 1e-3  # of every score, and of distances per pixel above 1; other machines round otherwise
REPORTS = {"test.json": "test", "report.json": "val"}  # what `experiments.run` and `seglab train` write


@dataclass(frozen=True)
class Verification:
    """What came out.

    Attributes:
        run: The run folder.
        part: Which part of the data was scored, and how many pictures.
        holds: Whether the recorded numbers still hold.
        exact: Whether every number is the same, to the last bit.
        numbers: What is said about the numbers.
        changed: What is not as it was recorded: versions, machine, commit, pictures, split.
        missing: What the run did not record.
    """

    run: Path
    part: str
    holds: bool
    exact: bool
    numbers: tuple[str, ...]
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = field(default=())

    def to_text(self) -> str:
        """One line a finding.

        Example:
            >>> print(Verification(Path("runs/a"), "test, 3 pictures", True, True, ("equal",)).to_text())
            runs/a, test, 3 pictures: the recorded numbers hold exactly
            equal
        """
        verdict = "hold exactly" if self.exact else "hold within the tolerance" if self.holds else "do not hold"
        lines = [f"{self.run}, {self.part}: the recorded numbers {verdict}", *self.numbers]
        lines += [f"changed: {line}" for line in self.changed]
        return "\n".join(lines + [f"not recorded: {line}" for line in self.missing])


def verify(run: str | Path, source: Source | None = None, *, tolerance: float = TOLERANCE) -> Verification:
    """Score the best model of a run again and compare with what the run recorded.

    With the same pictures, versions, machine and number of threads every number must be equal. Where one of these has
    changed, or was never recorded, every number must be equal within the tolerance: |new - old| <= tolerance * max(1,
    |old|). With other pictures, masks or parts the numbers cannot be held to what they were, so they do not hold,
    unless all of them are equal.

    Args:
        run: Run folder that `seglab train` or `seglab.experiments.run` finished.
        source: Where the pictures are now; None: where the run says.
        tolerance: As above, 0 or more.

    Raises:
        FileNotFoundError: If the folder, its report, its model or the pictures are not there.
        ValueError: If one of them is damaged, or the run does not say where its pictures are.
    """
    run = Path(run)
    if not run.is_dir():
        raise FileNotFoundError(f"run folder {run} must exist; got no folder of that name.")
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance must be 0 or above, and finite; got {tolerance}.")
    record = read_record(run)
    path = _report_of(run, record)
    try:
        before = Report.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"report {path} must be whole to be compared with; {error}") from None
    source = source or _source_of(run, record)
    predictor = Predictor.load(run)
    splits = source.splits()
    part = record["part"] if record else REPORTS[path.name]
    noted = Noted(getattr(splits, part))
    now = _score(predictor, noted, before)
    changed = _changes(before, now, record, _recorded_split(record, predictor), splits, noted)
    other_pictures = bool(changed)
    if record:
        changed += _environment_changes(record["environment"], environment())
    missing = () if record else ("pictures, versions and machine; the tolerance is applied",)
    exact, numbers = _compare(before, now)
    close = all(_close(*pair, tolerance) for pair in _pairs(before, now).values())
    # What is unknown may have changed.
    holds = exact or (close and not other_pictures and (bool(changed) or record is None))
    return Verification(run, f"{part}, {len(now.names)} pictures", holds, exact, numbers, tuple(changed), missing)


def _report_of(run: Path, record: Mapping[str, Any] | None) -> Path:
    """The report that holds the run's numbers."""
    names = [record["report"]] if record else list(REPORTS)
    found = [run / name for name in names if (run / name).is_file()]
    if not found:
        raise FileNotFoundError(f"run folder {run} must hold {' or '.join(names)}; got none. Finish the run first.")
    return found[0]


def _source_of(run: Path, record: Mapping[str, Any] | None) -> Source:
    """Where the run says that its pictures are."""
    if record is None:
        raise ValueError(
            f"run folder {run} must say where its pictures are; got no record.json. Name them with --data."
        )
    source: Source = record["source"]
    return source


def _recorded_split(record: Mapping[str, Any] | None, predictor: Predictor) -> str:
    """Fingerprint of the split that the run was made with, or nothing."""
    if record is not None:
        return str(record["split"])
    card = predictor.description.card if predictor.description else {}
    data = card.get("data", {})
    return str(data.get("split", "")) if isinstance(data, dict) else ""


def _score(predictor: Predictor, data: Noted, before: Report) -> Report:
    """The report that was made then, made now."""
    return evaluate(
        predictor,
        data,
        boundary=before.assd is not None or bool(torch.isfinite(before.hausdorff95).any()),
        probabilities=before.histogram is not None or before.confidence is not None,
        pixel_size_mm=before.pixel_size_mm,
        tolerance=before.tolerance,
        band=before.band,
    )


def _changes(
    before: Report, now: Report, record: Mapping[str, Any] | None, split: str, splits: Splits, noted: Noted
) -> list[str]:
    """What is other about the pictures."""
    changes = []
    if split and split != splits.fingerprint():
        changes.append(f"the split was {split} and is {splits.fingerprint()}")
    if before.names != now.names:
        gone, new = sorted(set(before.names) - set(now.names)), sorted(set(now.names) - set(before.names))
        what = f"{len(gone)} gone, {len(new)} new, e.g. {(gone or new)[0]}" if gone or new else "in another order"
        changes.append(f"the pictures are others: {what}")
    digests = record["pictures"] if record else {}
    other = [name for name, digest in noted.digests.items() if digests.get(name, digest) != digest]
    if other:
        changes.append(f"{len(other)} pictures or masks have other pixels: {', '.join(other[:5])}")
    return changes


def _environment_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is other about versions, machine and commit."""
    changes = []
    versions, current = before.get("versions", {}), now["versions"]
    for name in sorted({*versions, *current}):
        if versions.get(name) != current.get(name):
            changes.append(f"{name} {versions.get(name, 'not there')} -> {current.get(name, 'not there')}")
    for name in ("system", "hardware", "device", "threads", "commit"):
        if before.get(name) != now[name]:
            changes.append(f"{name} {before.get(name)} -> {now[name]}")
    return changes


def _pairs(before: Report, now: Report) -> dict[str, tuple[float, float]]:
    """Every number by its name, then and now; a number that is no longer there is NaN."""
    old, new = before.values, now.values
    return {name: (old[name].value, new[name].value if name in new else math.nan) for name in old}


def _same(old: float, new: float) -> bool:
    """Whether two numbers are equal; a number that is not defined equals only another such."""
    return old == new or (math.isnan(old) and math.isnan(new))


def _close(old: float, new: float, tolerance: float) -> bool:
    """Whether two numbers are equal within the tolerance."""
    return _same(old, new) or abs(new - old) <= tolerance * max(1.0, abs(old))


def _compare(before: Report, now: Report) -> tuple[bool, tuple[str, ...]]:
    """Whether all is equal, and what there is to say about it."""
    pairs = _pairs(before, now)
    if before.names == now.names:
        unequal = int((before.counts != now.counts).flatten(1).any(dim=1).sum())
    else:
        unequal = len(now.names)
    other = {name: pair for name, pair in pairs.items() if not _same(*pair)}
    if not unequal and not other:
        return True, (f"{len(pairs)} numbers and the counts of {len(now.names)} pictures are equal",)
    lines = [f"{len(other)} of {len(pairs)} numbers and the counts of {unequal} of {len(now.names)} pictures differ"]
    widest = sorted(other, key=lambda name: -_distance(*other[name]))[:3]
    lines += [f"{name} was {other[name][0]:.6f} and is {other[name][1]:.6f}" for name in widest]
    return False, tuple(lines)


def _distance(old: float, new: float) -> float:
    """How far apart two numbers are, in the terms of the tolerance."""
    gap = abs(new - old) / max(1.0, abs(old))
    return math.inf if math.isnan(gap) else gap
