"""The pictures that explanations are tested on, and how the numbers of a test are written."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from seglab.data import Dataset
from seglab.explain._maps import Bytes
from seglab.inference import Predictor
from seglab.stats import Difference

__all__ = ["Part", "Picture", "null", "p_text", "sentence_end", "shown", "span", "table", "walk"]


class Picture(NamedTuple):
    """One picture with its true mask."""

    place: int  # in the dataset
    name: str
    image: Bytes  # (H, W, 3)
    truth: Bytes  # (H, W) class indices


class Part(Protocol):
    """One test, fed picture by picture."""

    def add(self, picture: Picture) -> None:
        """Measure one picture."""


def walk(
    predictor: Predictor,
    data: Dataset,
    parts: Sequence[Part],
    pictures: int | None,
    on_image: Callable[[int], None] | None,
) -> tuple[str, ...]:
    """Feed a dataset, or `pictures` of it at even steps, to every part; returns the names of the pictures.

    Raises:
        ValueError: If the dataset is empty or has other classes than the model, or `pictures` is below 1.
    """
    if len(data) == 0:
        raise ValueError("the data set must hold at least one picture; got none.")
    if pictures is not None and pictures < 1:
        raise ValueError(f"pictures must be at least 1; got {pictures}.")
    if len(data.classes) != len(predictor.classes):
        expected, got = len(predictor.classes), len(data.classes)
        raise ValueError(f"the data set must have the model's {expected} classes; got {got}: {data.classes}.")
    count = min(len(data), pictures or len(data))
    names = []
    for done, index in enumerate(np.linspace(0, len(data) - 1, count).round().astype(int).tolist(), start=1):
        sample = data[index]
        image = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
        picture = Picture(index, sample.name, image, sample.mask.numpy())
        for part in parts:
            part.add(picture)
        names.append(picture.name)
        if on_image is not None:
            on_image(done)
    return tuple(names)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def span(difference: Difference, *, shift: float = 0.0, sign: str = "+") -> str:
    """Mean and 95 % interval, as in "+0.001 [-0.002, 0.004]"; `shift` is added to all three."""
    if math.isnan(difference.mean):
        return "not defined"
    mean, low, high = (value + shift for value in (difference.mean, difference.low, difference.high))
    middle = f"{mean:{sign}.3f}"
    return middle if math.isnan(low) else f"{middle} [{low:.3f}, {high:.3f}]"


def shown(difference: Difference, p_holm: float) -> int:
    """1 or -1, the sign of a difference that was shown; 0 if none was."""
    if not (p_holm < 0.05 and (difference.low > 0 or difference.high < 0)):
        return 0
    return 1 if difference.mean > 0 else -1


def sentence_end(difference: Difference, p_holm: float) -> str:
    """What stands behind a difference in brackets: p and n, and what could have been missed if nothing was shown."""
    known = f"p = {p_holm:.2g} after Holm, n = {difference.n}"
    return (
        f"({known})"
        if shown(difference, p_holm)
        else f"({known}; less than {difference.detectable:.3f} could be missed)"
    )


def p_text(p: float) -> str:
    """A p for a table; nothing where there is none."""
    return "" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def null(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
