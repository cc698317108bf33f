"""Every score of a segmentation by its full name, from confusion counts, in numpy."""

from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Definition",
    "Floats",
    "as_counts",
    "define",
    "list_definitions",
    "mean_known",
    "parts",
    "per_image",
    "score",
]

Floats = NDArray[np.float64]
RATIOS = ("dice", "iou", "precision", "recall", "specificity")


class Definition(NamedTuple):
    """What a score is: a ratio, the classes it is averaged over, and where the pixels are summed."""

    name: str
    ratio: str  # one of RATIOS, or accuracy, which knows no classes
    classes: tuple[int, ...]
    pooled: bool  # counts of all pictures are summed first; else per picture, then the mean over pictures


def list_definitions(num_classes: int = 2) -> tuple[str, ...]:
    """Names of all scores that can be asked for, as `seglab.evaluate` names them, and those of single classes.

    `_fg` is the foreground, class 1 and above, `_2class` the mean over all classes (`_3class` for three), `_class0` one
    class. `_image` is taken per picture and averaged over the pictures that have a value; `_pooled` sums the counts of
    all pictures first. `precision`, `recall` and `specificity` without more are the foreground's; `_macro` is pooled
    and averaged over all classes.

    Args:
        num_classes: The background included, 2 or more.

    Example:
        >>> [name for name in list_definitions() if name.startswith("iou")]  # doctest: +NORMALIZE_WHITESPACE
        ['iou_fg_image', 'iou_class0_image', 'iou_class1_image',
         'iou_fg_pooled', 'iou_class0_pooled', 'iou_class1_pooled']
    """
    return tuple(_definitions(num_classes))


def define(name: str, num_classes: int) -> Definition:
    """The definition of a name; `precision_fg_image` is `precision_image`, and `iou_2class_image` `miou_2class_image`.

    Raises:
        ValueError: If there is none of that name.
    """
    known = _definitions(num_classes)
    for spelling in (name, name.replace("_fg", ""), f"m{name}"):
        if spelling in known:
            return known[spelling]
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"definition must be one of list_definitions({num_classes}); got {name!r}.{hint}")


def per_image(counts: ArrayLike, definition: str) -> Floats:
    """Score of every picture, (N,); NaN where it is not defined.

    Dice and IoU of a class are NaN where mask and prediction are both without it, and 0 where only one is. A mean over
    classes is over those that have a value.

    Args:
        counts: (N, K, K) pixels, rows true, columns predicted.
        definition: A name of `list_definitions`; where it sums does not matter here.

    Raises:
        ValueError: If the counts have another shape or the name is unknown.

    Example:
        >>> per_image([[[4, 1], [0, 3]], [[8, 0], [0, 0]]], "iou_fg_image")  # 3 / 4; no object, none found
        array([0.75,  nan])
    """
    table = as_counts(counts)
    return ratio(table, define(definition, table.shape[-1]))


def score(counts: ArrayLike, definition: str) -> float:
    """One score of a whole set of pictures; NaN if it is not defined.

    Args:
        counts: (N, K, K) pixels, rows true, columns predicted.
        definition: A name of `list_definitions`.

    Raises:
        ValueError: If the counts have another shape or the name is unknown.

    Example:
        >>> counts = [[[4, 1], [0, 3]], [[8, 0], [0, 0]]]
        >>> score(counts, "miou_2class_image")  # (.775 + 1) / 2; the second picture has no object
        0.8875
        >>> score(counts, "iou_class0_pooled")  # 12 / 13
        0.9230769230769231
    """
    table = as_counts(counts)
    wanted = define(definition, table.shape[-1])
    return float(ratio(table.sum(axis=0), wanted) if wanted.pooled else mean_known(ratio(table, wanted), axis=0))


def ratio(counts: Floats, definition: Definition) -> Floats:
    """The ratio of every confusion matrix, (..., K, K) to (...), averaged over the classes that have a value."""
    above, below = parts(counts, definition)
    return mean_known(_divide(above, below), axis=-1)


def parts(counts: Floats, definition: Definition) -> tuple[Floats, Floats]:
    """What stands above and below the line, both sums of counts: (..., K, K) to (..., C), C the classes averaged."""
    hit = np.diagonal(counts, axis1=-2, axis2=-1)  # (..., K)
    predicted, true = counts.sum(axis=-2), counts.sum(axis=-1)
    total = true.sum(axis=-1, keepdims=True)
    if definition.ratio == "accuracy":
        return hit.sum(axis=-1, keepdims=True), total
    above, below = {
        "dice": (2 * hit, predicted + true),
        "iou": (hit, predicted + true - hit),
        "precision": (hit, predicted),
        "recall": (hit, true),
        "specificity": (total - predicted - true + hit, total - true),
    }[definition.ratio]
    chosen = list(definition.classes)
    return above[..., chosen], below[..., chosen]


def mean_known(values: Floats, axis: int) -> Floats:
    """Mean of the values that are not NaN; NaN where there is none."""
    known = ~np.isnan(values)
    return _divide(np.where(known, values, 0.0).sum(axis=axis), known.sum(axis=axis).astype(float))


def as_counts(counts: ArrayLike) -> Floats:
    """Counts as (N, K, K) floats, which hold them exactly.

    Raises:
        ValueError: If they have another shape.
    """
    table = np.asarray(counts, dtype=float)
    if table.ndim != 3 or table.shape[1] != table.shape[2] or table.shape[1] < 2 or len(table) == 0:
        raise ValueError(f"counts must be (N, K, K) with N of at least 1 and K of at least 2; got {table.shape}.")
    return table


@cache
def _definitions(num_classes: int) -> dict[str, Definition]:
    """Every definition by name."""
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background included; got {num_classes}.")
    everything, foreground = tuple(range(num_classes)), tuple(range(1, num_classes))
    found = []
    for way in ("image", "pooled"):
        pooled = way == "pooled"
        for name in RATIOS:
            mark = "_fg" if name in ("dice", "iou") else ""
            found.append(Definition(f"{name}{mark}_{way}", name, foreground, pooled))
            found.append(Definition(f"m{name}_{num_classes}class_{way}", name, everything, pooled))
            found += [Definition(f"{name}_class{k}_{way}", name, (k,), pooled) for k in everything]
        found.append(Definition(f"accuracy_{way}", "accuracy", (), pooled))
    found += [Definition(f"{name}_macro", name, everything, True) for name in ("precision", "recall", "specificity")]
    found.append(Definition("accuracy_macro", "recall", everything, True))
    return {one.name: one for one in found}


def _divide(above: Floats, below: Floats) -> Floats:
    """Ratio; NaN where it is 0 / 0."""
    result: Floats = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=result, where=np.asarray(below) != 0)
    return result
