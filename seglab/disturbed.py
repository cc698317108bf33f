"""How models bear a disturbed picture: noise, blur, JPEG and brightness before every model, the true mask as it is.

The undisturbed result is kept beside the disturbed one, so that the page can say what the disturbance cost.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seglab import metrics
from seglab.comparison import Comparison, ModelResult, compare
from seglab.contract import IGNORE_INDEX
from seglab.corruptions import corrupt, find_corruption
from seglab.inference import Predictor
from seglab.texts import ENGLISH, Texts

__all__ = ["KINDS", "LOSS", "breaking_points", "cost", "disturb", "in_words", "is_none", "note_in_zip", "points_table"]

KINDS = ("noise", "blur", "brightness", "jpeg")  # in this order one after the other, JPEG last as a camera does
LOSS = 0.1  # of Dice: a model that has lost as much counts as broken


def is_none(severities: Mapping[str, float]) -> bool:
    """Whether severities leave a picture as it is."""
    return all(value == find_corruption(kind).none for kind, value in severities.items())


def disturb(comparison: Comparison, predictors: Mapping[str, Predictor], severities: Mapping[str, float]) -> Comparison:
    """The same models on a disturbed copy of the picture, against the same truth at the same threshold.

    Args:
        comparison: Of the undisturbed picture.
        predictors: Its models, by the names it has for them.
        severities: By kind, in the units of `seglab.corruptions`; applied in the order of KINDS.

    Returns:
        A new comparison, whose picture is the disturbed one; the same object if no severity disturbs.

    Raises:
        ValueError: If a severity is out of its range.
    """
    if is_none(severities):
        return comparison
    image = comparison.image
    for kind in KINDS:
        if kind in severities:
            image = corrupt(image, kind, severities[kind])
    found = compare(image, predictors, threshold=comparison.threshold)
    return replace(found, truth=comparison.truth).at(comparison.threshold)


def in_words(severities: Mapping[str, float], texts: Texts = ENGLISH) -> str:
    """The disturbances with their units: "Blur 1 (sigma in % of the shorter side)"; nothing if there is none."""
    found = ((kind, severities[kind]) for kind in KINDS if kind in severities and severities[kind] != _none(kind))
    return texts("list.comma").join(
        texts("disturb.said", title=texts(f"corruption.{kind}"), unit=texts(f"corruption.{kind}.unit"), value=value)
        for kind, value in found
    )


def cost(clean: Comparison, disturbed: Comparison, texts: Texts = ENGLISH) -> str:
    """What a disturbance did to every model, in a sentence or two; plain text.

    With a true mask that has an object, Dice before and after. Without, how much of each model's own undisturbed mask
    is left, as Dice between its two masks.

    Args:
        clean: Of the picture as it is.
        disturbed: Of the same models, in the same order, on the disturbed picture.
        texts: Of the language to say it in.
    """
    pairs = list(zip(clean.results, disturbed.results, strict=True))
    scores = [(before.name, _score(clean, before, before), _score(clean, before, after)) for before, after in pairs]
    known = [(name, was, now) for name, was, now in scores if was is not None and now is not None]
    if len(known) < len(scores):
        return texts("cost.undefined")
    told = "; ".join(texts("cost.model", name=name, before=was, after=now) for name, was, now in known)
    losses = [(round(was, 3) - round(now, 3), name) for name, was, now in known]
    return texts("cost.dice" if _has_object(clean) else "cost.own", told=told, who=_who(losses, texts))


def breaking_points(
    comparison: Comparison,
    predictors: Mapping[str, Predictor],
    kinds: tuple[str, ...] = KINDS,
    on_step: Callable[[int, int, str, float], None] | None = None,
) -> dict[str, dict[str, float | None]]:
    """The weakest tried severity at which each model has lost LOSS of Dice; None if it has not at any.

    A kind is left as soon as every model is broken. Severities are tried from weak to strong, those of brightness by
    their distance from none; without a true mask that has an object, Dice is with the model's own undisturbed mask.

    Args:
        comparison: Of the undisturbed picture.
        predictors: Its models, by the names it has for them.
        kinds: Disturbances to try.
        on_step: Called before each severity with the number of those done, of all, the kind and the severity.

    Returns:
        By kind, then by model.
    """
    steps = {kind: sorted(find_corruption(kind).severities, key=lambda one: abs(one - _none(kind))) for kind in kinds}
    total, done, points = sum(map(len, steps.values())), 0, {}
    for kind, severities in steps.items():
        points[kind] = dict.fromkeys((one.name for one in comparison.results), None)
        for number, severity in enumerate(severities):
            if None not in points[kind].values():
                break
            if on_step is not None:
                on_step(done + number, total, kind, severity)
            _note_broken(points[kind], comparison, disturb(comparison, predictors, {kind: severity}), severity)
        done += len(severities)
    return points


def points_table(
    points: Mapping[str, Mapping[str, float | None]], heads: Mapping[str, str], texts: Texts = ENGLISH
) -> str:
    """What `breaking_points` found as a Markdown table: a row a disturbance, a column a model.

    Args:
        points: By kind, then by model; at least one kind.
        heads: How each model's name is to be written in Markdown.
        texts: Of the language to say it in.
    """
    names = list(next(iter(points.values())))
    head = texts("points.head")
    lines = [f"| {head} | " + " | ".join(heads[name] for name in names) + " |", "|---" + "|---:" * len(names) + "|"]
    for kind, found in points.items():
        cells = (texts("points.none") if found[name] is None else f"{found[name]:g}" for name in names)
        title = texts("points.row", title=texts(f"corruption.{kind}"), unit=texts(f"corruption.{kind}.unit"))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def note_in_zip(path: Path, image: np.ndarray, severities: Mapping[str, float]) -> None:
    """Add the disturbed picture and its severities to a ZIP of results, so that nobody takes them for undisturbed."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG", compress_level=1)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("disturbed.png", content.getvalue())
        archive.writestr("disturbed.json", json.dumps({"severities": dict(severities), "said": in_words(severities)}))


def _note_broken(found: dict[str, float | None], clean: Comparison, disturbed: Comparison, severity: float) -> None:
    """Enter the severity for the models that it breaks first."""
    for before, after in zip(clean.results, disturbed.results, strict=True):
        was, now = _score(clean, before, before), _score(clean, before, after)
        if found[before.name] is None and was is not None and now is not None and was - now >= LOSS:
            found[before.name] = severity


def _none(kind: str) -> float:
    return find_corruption(kind).none


def _has_object(comparison: Comparison) -> bool:
    """Whether there is a truth to be scored against."""
    truth = comparison.truth
    return truth is not None and bool(((truth > 0) & (truth != IGNORE_INDEX)).any())


def _score(clean: Comparison, before: ModelResult, after: ModelResult) -> float | None:
    """Dice of a model's mask with the truth, or with its undisturbed mask where no truth has an object."""
    if _has_object(clean):
        return after.numbers["dice"]
    now, was = (torch.from_numpy(one.mask)[None] for one in (after, before))
    mean = float(metrics.dice(metrics.counts(now, was, len(before.probs))[0])[1:].nanmean())
    return None if np.isnan(mean) else mean


def _who(losses: list[tuple[float, str]], texts: Texts) -> str:
    """Which model lost most."""
    if len(losses) < 2:
        return ""
    ranked = sorted(losses, reverse=True)
    if round(ranked[0][0] - ranked[1][0], 3) == 0:
        return texts("cost.equal")
    return texts("cost.most", name=ranked[0][1]) if ranked[0][0] > 0 else texts("cost.none")
