"""What printed scores must obey: identities and bounds, each under a named definition.

A rule yields one item per check it could make: None if the row obeys, a `Finding` if not. J is IoU, D is Dice.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from seglab.stats._printed import SCORES, Printed, PrintedRow

__all__ = ["ROW_RULES", "TABLE_RULES", "Finding"]

EXACT = 1e-9
IMAGE_SD = (0.04, 0.08)  # usual standard deviation of Dice and IoU over images, low and high


class Finding(NamedTuple):
    """A number that cannot be what its name says."""

    row: str
    rule: str
    definition: str  # under which it is inconsistent; another one may hold
    arithmetic: str

    def __str__(self) -> str:
        return f"{self.row}: inconsistent under {self.definition}: {self.arithmetic} [{self.rule}]"


Checks = Iterator[Finding | None]


def dice_of(iou: float) -> float:
    """Dice of one confusion matrix with that IoU."""
    return 2 * iou / (1 + iou)


def iou_of(dice: float) -> float:
    """IoU of one confusion matrix with that Dice."""
    return dice / (2 - dice)


def share(row: PrintedRow) -> Checks:
    """Every score lies in [0, 1]."""
    for name in SCORES:
        if name in row.shares:
            score = row.shares[name]
            wrong = score.low > 1 + EXACT or score.high < -EXACT
            text = f"{name} {score.value:.4f} is not in [0, 1]"
            yield Finding(row.label, "score in [0, 1]", f"{name} as a share", text) if wrong else None


def overlap(row: PrintedRow) -> Checks:
    """J <= D; J = D / (2 - D) in one confusion matrix; and for means over images D <= 2 J / (1 + J), by Jensen."""
    for end in ("", "_image", "_pooled"):
        if f"iou{end}" not in row.shares or f"dice{end}" not in row.shares:
            continue
        iou, dice = row.shares[f"iou{end}"], row.shares[f"dice{end}"]
        if iou.low >= dice.high - EXACT:  # no two numbers round to either side of one bound
            swapped = dice_of(dice.high) + EXACT >= iou.low
            hint = "; the row fits if the two are swapped, or if IoU is a mean over classes" if swapped else ""
            text = f"IoU {iou.value:.4f} > Dice {dice.value:.4f}{hint}"
            yield Finding(row.label, "IoU <= Dice", "one definition of both, per image or pooled", text)
        elif end == "_pooled" or row.numbers.get("n") == 1:
            yield _identity(row, iou, dice, "one image" if end != "_pooled" else "one confusion matrix (pooled)")
        else:
            yield _jensen(row, iou, dice, "means over images" if end else "means over images, and pooled")


def _identity(row: PrintedRow, iou: Printed, dice: Printed, definition: str) -> Finding | None:
    """D = 2 J / (1 + J)."""
    if dice_of(iou.low) - EXACT <= dice.high and dice.low <= dice_of(iou.high) + EXACT:
        return None
    must = dice_of(iou.value)
    text = (
        f"IoU {iou.value:.4f} gives Dice 2 J / (1 + J) = {must:.4f}; printed {dice.value:.4f}, "
        f"{100 * (dice.value - must):+.2f} points"
    )
    return Finding(row.label, "Dice = 2 IoU / (1 + IoU)", definition, text)


def _jensen(row: PrintedRow, iou: Printed, dice: Printed, definition: str) -> Finding | None:
    """Mean D <= 2 mean J / (1 + mean J), which is mean J >= mean D / (2 - mean D)."""
    if dice.low <= dice_of(iou.high) + EXACT:
        return None
    text = (
        f"Dice {dice.value:.4f} > 2 J / (1 + J) = {dice_of(iou.value):.4f} of IoU {iou.value:.4f}; "
        f"IoU must be at least D / (2 - D) = {iou_of(dice.value):.4f}"
    )
    return Finding(row.label, "mean Dice <= 2 mean IoU / (1 + mean IoU)", definition, text)


def background(row: PrintedRow) -> Checks:
    """The mean of two classes and the foreground give a background IoU, which lies in [0, 1]."""
    for way in ("pooled", "image"):
        mean, iou, dice = (row.shares.get(f"{name}_{way}") for name in ("miou_2class", "iou", "dice"))
        if mean is None or (iou is None and dice is None):
            continue
        if iou is None and dice is not None:  # pooled it is iou_of(dice), a mean over images is between that and Dice
            iou = Printed(iou_of(dice.value), iou_of(dice.low), dice.high if way == "image" else iou_of(dice.high))
        assert iou is not None
        low, high = 2 * mean.low - iou.high, 2 * mean.high - iou.low
        wrong = low > 1 + EXACT or high < -EXACT
        text = f"mean {mean.value:.4f}, foreground IoU {iou.value:.4f}: background {2 * mean.value - iou.value:.4f}"
        definition = f"a mean over two classes, {'pooled' if way == 'pooled' else 'per image, an object in each'}"
        yield Finding(row.label, "background IoU in [0, 1]", definition, text) if wrong else None


def baseline(row: PrintedRow) -> Checks:
    """A mask without any object has the accuracy 1 - prevalence."""
    if "accuracy" in row.shares and "prevalence" in row.shares:
        accuracy, empty = row.shares["accuracy"].value, 1 - row.shares["prevalence"].value
        text = f"accuracy {accuracy:.4f} is not above {empty:.4f}, that of predicting background everywhere"
        definition = "a pooled accuracy that shows skill"
        yield Finding(row.label, "accuracy > all-background", definition, text) if accuracy <= empty else None


def recall(row: PrintedRow) -> Checks:
    """Accuracy a, precision P and prevalence q fix TP = P (a + q - 1) / (2 P - 1), and so recall and IoU."""
    wanted = [row.shares.get(name) for name in ("accuracy", "precision", "prevalence")]
    if None in wanted:
        return
    accuracy, precision, prevalence = (one for one in wanted if one is not None)
    if precision.low <= 0.5 <= precision.high or prevalence.low <= 0:
        return
    value = _hits(accuracy.value, precision.value, prevalence.value) / prevalence.value
    corners = [_hits(a, p, q) / q for a, p, q in product(*(one[1:] for one in (accuracy, precision, prevalence)))]
    low, high = min(corners), max(corners)
    given = f"accuracy {accuracy.value:.4f}, precision {precision.value:.4f}, prevalence {prevalence.value:.4f}"
    text = f"{given} give recall {value:.3f} ({low:.3f} to {high:.3f} within rounding)"
    wrong = high < -EXACT or low > 1 + EXACT
    yield Finding(row.label, "recall in [0, 1]", "pooled scores of the foreground", text) if wrong else None
    if wrong:
        return
    hits = (max(low, 0.0) * prevalence.low, min(high, 1.0) * prevalence.high)  # shares of all pixels
    errors = (1 - accuracy.low, max(1 - accuracy.high, EXACT))
    middle = min(max((1 - errors[1]) / 2, hits[0]), hits[1])  # where the mean over two classes is highest
    limits = {
        "recall": (low, high),
        "iou_pooled": tuple(hit / (hit + error) for hit, error in zip(hits, errors, strict=True)),
        "dice_pooled": tuple(2 * hit / (2 * hit + error) for hit, error in zip(hits, errors, strict=True)),
        "miou_2class_pooled": (min(_two_classes(hit, errors[0]) for hit in hits), _two_classes(middle, errors[1])),
    }
    for name, (floor, top) in limits.items():
        if name in row.shares:
            score = row.shares[name]
            outside = score.low > top + EXACT or score.high < floor - EXACT
            more = f"{text}, so {name} {floor:.3f} to {top:.3f}; printed {score.value:.4f}"
            yield Finding(row.label, f"{name} from accuracy and precision", "pooled scores", more) if outside else None


def _hits(accuracy: float, precision: float, prevalence: float) -> float:
    """Share of all pixels that are true positives."""
    return precision * (accuracy + prevalence - 1) / (2 * precision - 1)


def _two_classes(hit: float, error: float) -> float:
    """Mean IoU of two classes, from the shares of pixels that are true positives and that are wrong."""
    return (hit / (hit + error) + (1 - error - hit) / (1 - hit)) / 2


def ceiling(row: PrintedRow) -> Checks:
    """The highest pooled overlap that an accuracy allows at a prevalence: no object is missed if that can be."""
    if "accuracy" not in row.shares or "prevalence" not in row.shares:
        return
    accuracy, prevalence = row.shares["accuracy"], row.shares["prevalence"]
    tops: dict[str, Callable[[float, float], float]] = {
        "miou_2class_pooled": _highest_mean,
        "iou_pooled": lambda a, q: min(a, q) / (min(a, q) + 1 - a),
        "dice_pooled": lambda a, q: 2 * min(a, q) / (2 * min(a, q) + 1 - a),
    }
    for name, top in tops.items():
        if name in row.shares:
            score, value = row.shares[name], top(accuracy.value, prevalence.value)
            highest = max(top(min(accuracy.high, 1 - EXACT), q) for q in prevalence)
            text = (
                f"accuracy {accuracy.value:.4f} at prevalence {prevalence.value:.4f} allows {name} {value:.3f} at most "
                f"({highest:.3f} within rounding); printed {score.value:.4f}"
            )
            wrong = score.low > highest + EXACT
            yield Finding(row.label, "highest overlap at that accuracy", f"{name}", text) if wrong else None


def _highest_mean(accuracy: float, prevalence: float) -> float:
    """Highest mean IoU of two classes: true positives and negatives as equal as the prevalence allows."""
    hit = min(max(accuracy / 2, accuracy - 1 + prevalence), prevalence, accuracy)
    return _two_classes(hit, 1 - accuracy)


def gain(row: PrintedRow) -> Checks:
    """A gain from `before` to `after` is absolute, after - before, unless it is called relative."""
    if not {"before", "after", "gain"} <= row.shares.keys():
        return
    before, after, said = (row.shares[name] for name in ("before", "after", "gain"))
    low, high = after.low - before.high, after.high - before.low
    if said.low <= high + EXACT and said.high >= low - EXACT:
        yield None
        return
    absolute, relative = after.value - before.value, after.value / before.value - 1 if before.value else math.inf
    near = before.low > 0 and said.low <= after.high / before.low - 1 and said.high >= after.low / before.high - 1
    text = (
        f"from {before.value:.4f} to {after.value:.4f} is {100 * absolute:+.1f} points, or {100 * relative:+.1f} % of "
        f"the first; printed {100 * said.value:+.1f}"
    )
    definition = "an absolute gain in points" if near else "an absolute or a relative gain"
    yield Finding(row.label, "gain = after - before", definition, text)


def split(row: PrintedRow) -> Checks:
    """Parts of a split sum to the whole."""
    parts = [row.numbers[name] for name in ("train", "val", "test") if name in row.numbers]
    if len(parts) > 1 and "n" in row.numbers:
        total, whole = sum(parts), row.numbers["n"]
        text = f"{' + '.join(f'{part:g}' for part in parts)} = {total:g}; printed {whole:g}"
        yield Finding(row.label, "split sums", "parts that share no picture", text) if total != whole else None


def folds(rows: Sequence[PrintedRow]) -> Checks:
    """Means over folds of n images differ by chance alone, about sd / sqrt(n); far less is no sampling of images."""
    groups = defaultdict(list)
    for row in rows:
        if re.search(r"\bfold[\s_-]*\d", row.name, re.IGNORECASE) and row.numbers.get("n", 0) > 1:
            groups[re.sub(r"\d+", "", row.name), row.group, row.numbers["n"]].append(row)
    for (_, group, n), members in groups.items():
        for name in (name for name in SCORES if len(members) > 2 and all(name in row.shares for row in members)):
            values = [row.shares[name] for row in members]
            half = values[0].high - values[0].value
            sd = float(np.std([one.value for one in values], ddof=1))
            low, high = (one / math.sqrt(n) for one in IMAGE_SD)
            chance = _chi_square_below((len(values) - 1) * ((sd + half) / low) ** 2, len(values) - 1)
            text = (
                f"standard deviation {100 * sd:.3f} points over {len(values)} folds of {n:g} images; images alone give "
                f"{100 * low:.1f} to {100 * high:.1f} (sd {IMAGE_SD[0]} to {IMAGE_SD[1]} over images), "
                f"{low / sd if sd else math.inf:.0f} to {high / sd if sd else math.inf:.0f} times as much"
            )
            label = f"{members[0].name} to {members[-1].name}" + (f" ({', '.join(group)})" if group else "")
            wrong = chance < 0.001
            definition = f"{name} of folds with different images"
            yield Finding(label, "fold sd against sampling error", definition, text) if wrong else None


def _chi_square_below(x: float, df: int) -> float:
    """Probability that chi-square with df degrees of freedom is below x: series of the incomplete gamma function."""
    if x > 5 * df + 50:
        return 1.0
    half, shape, term, total = x / 2, df / 2, 2 / df, 0.0
    for step in range(1, 1000):
        total += term
        term *= half / (shape + step)
    return math.exp(shape * math.log(half) - half - math.lgamma(shape)) * total if x > 0 else 0.0


ROW_RULES: tuple[Callable[[PrintedRow], Checks], ...] = (
    share, overlap, background, baseline, recall, ceiling, gain, split,
)  # fmt: skip
TABLE_RULES: tuple[Callable[[Sequence[PrintedRow]], Checks], ...] = (folds,)
