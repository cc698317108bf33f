"""What a data check says: findings, one line each, and the report that holds all of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["CheckReport", "Finding", "listed"]

Severity = Literal["error", "warning", "note"]
ORDER: tuple[Severity, ...] = ("error", "warning", "note")


class Finding(NamedTuple):
    """One thing that is wrong, or worth knowing, in words a person can act on.

    An `error` stops training or falsifies it, a `warning` should be looked at, a `note` needs nothing.
    """

    kind: str  # one word or two, the same for all findings of its sort, for example "empty_mask"
    severity: Severity
    name: str  # the picture's name or the file, from the dataset's folder
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.severity}: {self.name}: {self.message}{' ' + self.remedy if self.remedy else ''}"


@dataclass(frozen=True)
class CheckReport:
    """Everything a data check found.

    Args:
        root: The dataset's folder, as given.
        pictures: Pictures that were looked at.
        findings: What was found, in no order.

    Example:
        >>> finding = Finding("empty_mask", "warning", "a", "its mask is empty.")
        >>> report = CheckReport("data", 1, (finding,))
        >>> report.ok, report.count("empty_mask")
        (True, 1)
        >>> print(report.to_text())
        data: 1 picture, 0 errors, 1 warning, 0 notes
        warning: a: its mask is empty.
    """

    root: str
    pictures: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings do not stop training."""
        return not any(finding.severity == "error" for finding in self.findings)

    def count(self, kind: str) -> int:
        """How many findings of a kind there are."""
        return sum(finding.kind == kind for finding in self.findings)

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of a kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def to_text(self, limit: int = 100) -> str:
        """The report for a terminal: a line of totals, then one line a finding, the grave ones first.

        Args:
            limit: Most lines of one kind, 1 or more; further ones are counted.
        """
        totals = Counter(finding.severity for finding in self.findings)
        said = ", ".join(_plural(totals[severity], severity) for severity in ORDER)
        lines = [f"{self.root}: {_plural(self.pictures, 'picture')}, {said}"]
        by_kind: dict[tuple[int, str], list[Finding]] = {}
        for finding in self.findings:
            by_kind.setdefault((ORDER.index(finding.severity), finding.kind), []).append(finding)
        for (_, kind), found in sorted(by_kind.items(), key=lambda item: item[0]):
            lines += [str(finding) for finding in found[:limit]]
            if len(found) > limit:
                lines.append(f"{found[0].severity}: and {len(found) - limit} more of this kind ({kind}).")
        return "\n".join(lines)

    __str__ = to_text


def listed(names: Iterable[str], most: int = 4) -> str:
    """Names for a sentence: the first few, and how many more.

    Example:
        >>> listed("abcdef", most=2)
        'a, b and 4 more'
    """
    names = list(names)
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
