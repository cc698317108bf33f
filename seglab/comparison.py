"""One picture, its truth if there is one, and any number of models: masks, views, numbers, and a ZIP of everything.

The app, the command line and the notebooks all use it, so they cannot disagree.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from seglab import explain, metrics
from seglab.cards import installed_version
from seglab.contract import IGNORE_INDEX
from seglab.explain import StageAttention
from seglab.images import read_image, read_mask
from seglab.inference import Predictor
from seglab.packing import pack

__all__ = ["METRICS", "VIEWS", "Comparison", "ModelResult", "compare", "read_truth"]

VIEWS = ("outline", "error", "agreement", "probability", "attention", "mask")
METRICS = {  # name: (title, decimals, whether it needs the truth)
    "dice": ("Dice", 3, True),
    "iou": ("IoU", 3, True),
    "precision": ("Precision", 3, True),
    "recall": ("Recall", 3, True),
    "extra_px": ("Extra (FP), px", 0, True),
    "missed_px": ("Missed (FN), px", 0, True),
    "hausdorff95_px": ("Border distance HD95, px", 1, True),
    "area_percent": ("Area, %", 2, False),
    "time_ms": ("Model time, ms", 0, False),
    "input_px": ("Input side, px", 0, False),
}


class ModelResult(NamedTuple):
    """What one model says of the picture."""

    name: str
    probs: np.ndarray  # (K, H, W) float32
    mask: np.ndarray  # (H, W) uint8
    attention: dict[str, StageAttention]  # empty: no attention module
    numbers: dict[str, float | None]  # None: not defined, or no truth
    seconds: float  # of the model's forward pass with resizing, without attention maps
    size: int  # side of its letterbox in pixels
    sha256: str  # of its weights; empty if it did not come from a checkpoint


@dataclass(frozen=True)
class Comparison:
    """Several models on one picture; every view and number is derived from the stored probabilities.

    Attributes:
        image: (H, W, 3) uint8.
        truth: (H, W) uint8 class indices, 255 unknown; None if there is none.
        threshold: Probability above which a pixel counts as object.
        results: One per model, in the order given.
    """

    image: np.ndarray
    truth: np.ndarray | None
    threshold: float
    results: tuple[ModelResult, ...]

    def at(self, threshold: float) -> "Comparison":
        """The same comparison at another threshold; no model runs.

        Raises:
            ValueError: If the threshold is not above 0 and below 1.
        """
        results = tuple(_decided(result, self.truth, threshold) for result in self.results)
        return replace(self, threshold=threshold, results=results)

    def result(self, model: str) -> ModelResult:
        """The result of the model of that name.

        Raises:
            ValueError: If there is none.
        """
        for result in self.results:
            if result.name == model:
                return result
        raise ValueError(f"model must be one of {', '.join(r.name for r in self.results)}; got {model!r}.")

    def view(
        self, kind: str, model: str, *, opacity: float = 0.6, stage: str | None = None, other: str | None = None
    ) -> np.ndarray:
        """One picture of one model.

        Args:
            kind: One of VIEWS. "error" needs the truth, "agreement" another model, "attention" a model with CBAM.
            model: Its name.
            opacity: Of colours over the picture, in [0, 1].
            stage: Of the attention; None takes the last stage.
            other: The model that "agreement" compares with, drawn as "only the other"; None takes the first other one.

        Returns:
            (H, W, 3) uint8.

        Raises:
            ValueError: If the view cannot be drawn, with the reason.
        """
        if kind not in VIEWS:
            raise ValueError(f"view must be one of {', '.join(VIEWS)}; got {kind!r}.")
        result = self.result(model)
        draw: dict[str, Callable[[], np.ndarray]] = {
            "outline": partial(self._outline, result),
            "error": partial(self._error, result, opacity),
            "agreement": partial(self._agreement, result, other, opacity),
            "probability": partial(explain.heat, result.probs[1:].max(0) if len(result.probs) > 1 else result.probs[0]),
            "attention": partial(self._attention, result, stage, opacity),
            "mask": partial(_mask_picture, result.mask),
        }
        return draw[kind]()

    def alt_text(self, kind: str, model: str, *, stage: str | None = None, other: str | None = None) -> str:
        """What a view shows, for those who cannot see it; the numbers are in the table."""
        result = self.result(model)
        area = f"The mask covers {result.numbers['area_percent']:.1f} % of the picture."
        texts = {
            "outline": f"Picture with the outline of the mask of {model}"
            f"{', and of the true mask in white' if self.truth is not None else ''}. {area}",
            "error": f"Error map of {model}. Light blue: correct. Orange: extra. Dark with stripes: missed.",
            "agreement": f"Agreement of {model} with {other or 'the other model'}. "
            f"Light blue: both. Orange: only {model}. Dark with stripes: only the other.",
            "probability": f"Probability of the object by {model}, from 0 (dark blue) to 1 (yellow).",
            "attention": f"Spatial attention of {model}, {stage or 'last stage'}, from 0 (dark blue) to 1 (yellow). "
            "It shows where the model looks, not how sure it is.",
            "mask": f"Mask of {model}, white is object. {area}",
        }
        return texts[kind]

    def verdict(self) -> str:
        """The result in one or two sentences; with truth, about the first two models."""
        if len(self.results) < 2:
            return self._verdict_of_one()
        first, second = self.results[:2]
        if self.truth is None:
            return self._verdict_without_truth(first, second)
        a, b = first.numbers["dice"], second.numbers["dice"]
        if a is None or b is None:
            if a is None and b is None:
                return "The mask is empty and both models found nothing: Dice is not defined."
            found = second.name if a is None else first.name
            return f"The mask is empty: {found} found an object that is not there, the other found nothing."
        if round(a, 3) == round(b, 3):
            return f"Both models are equally close to the true mask (Dice {a:.3f}) on this one picture."
        better = first.name if a > b else second.name
        return f"{better} is closer to the true mask by {abs(a - b):.3f} Dice on this one picture."

    def table(self) -> list[dict[str, str]]:
        """Numbers as text: a row a metric, a column a model, and second minus first if there are two models.

        "no mask" stands where the truth is missing, "not defined" where a number has no meaning.
        """
        rows = []
        for name, (title, decimals, needs_truth) in METRICS.items():
            values = [result.numbers[name] for result in self.results]
            missing = "no mask" if needs_truth and self.truth is None else "not defined"
            row = {"": title} | {
                result.name: missing if value is None else f"{value:.{decimals}f}"
                for result, value in zip(self.results, values, strict=True)
            }
            if len(values) == 2:
                row["Difference"] = _difference(values[0], values[1], decimals)
            rows.append(row)
        return rows

    def to_markdown(self) -> str:
        """The table in Markdown."""
        rows = self.table()
        heads = [head.replace("|", "\\|") for head in rows[0]]
        lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
        return "\n".join(lines + ["| " + " | ".join(row.values()) + " |" for row in rows])

    def to_dict(self) -> dict[str, Any]:
        """What `metrics.json` of the ZIP holds."""
        height, width = self.image.shape[:2]
        return {
            "seglab": installed_version(),
            "picture": {"height": height, "width": width},
            "threshold": self.threshold,
            "true_mask": self.truth is not None,
            "verdict": self.verdict(),
            "models": [
                {"name": r.name, "weights_sha256": r.sha256, "input_px": r.size, "numbers": dict(r.numbers)}
                for r in self.results
            ],
        }

    def to_zip(self, path: str | Path) -> Path:
        """Write masks, probabilities, maps and numbers to a ZIP file, whole or not at all.

        Masks are 0/255 PNG at the picture's own size for two classes, class indices for more. Nothing of the upload's
        metadata is copied.

        Raises:
            OSError: If the file cannot be written.
        """
        return pack(self, Path(path))

    def _outline(self, result: ModelResult) -> np.ndarray:
        masks: list[tuple[np.ndarray, explain.Colour]] = []
        if self.truth is not None:
            masks.append((self.truth, (255, 255, 255)))
        return explain.outline(self.image, [*masks, (result.mask, explain.ORANGE)])

    def _error(self, result: ModelResult, opacity: float) -> np.ndarray:
        if self.truth is None:
            raise ValueError("the error map needs the true mask; got none. Add one.")
        return explain.colour_map(self.image, explain.error_map(result.mask, self.truth), opacity=opacity)

    def _agreement(self, result: ModelResult, other: str | None, opacity: float) -> np.ndarray:
        others = [one for one in self.results if one.name != result.name and other in (None, one.name)]
        if not others:
            raise ValueError(f"the agreement needs another model; got {'one model' if other is None else repr(other)}.")
        return explain.colour_map(self.image, explain.agreement_map(others[0].mask, result.mask), opacity=opacity)

    def _attention(self, result: ModelResult, stage: str | None, opacity: float) -> np.ndarray:
        if not result.attention:
            raise ValueError(f"{result.name} has no attention module.")
        stage = stage or list(result.attention)[-1]
        if stage not in result.attention:
            raise ValueError(f"stage must be one of {', '.join(result.attention)}; got {stage!r}.")
        return explain.heat(result.attention[stage].spatial, image=self.image, opacity=opacity)

    def _verdict_of_one(self) -> str:
        result = self.results[0]
        dice = result.numbers["dice"]
        if self.truth is None:
            return f"{result.name} marks {result.numbers['area_percent']:.1f} % of the picture as object."
        if dice is None:
            return "The mask is empty and the model found nothing: Dice is not defined."
        return f"{result.name} has Dice {dice:.3f} on this one picture."

    def _verdict_without_truth(self, first: ModelResult, second: ModelResult) -> str:
        if not first.mask.any() and not second.mask.any():
            tops = " / ".join(f"{_object_probs(one.probs).max():.2f}" for one in (first, second))
            return f"Neither model found an object above {self.threshold:.2f}. Highest probability: {tops}."
        share = 100 * float((first.mask == second.mask).mean())
        return f"The models agree on {share:.1f} % of the pixels. Add the true mask to see which one is right."


def compare(
    image: Any,
    predictors: Mapping[str, Predictor] | Sequence[Predictor],
    truth: Any = None,
    threshold: float = 0.5,
    *,
    attention: bool = True,
    on_model: Callable[[int, str], None] | None = None,
) -> Comparison:
    """Run models on one picture and hold them against its truth.

    Args:
        image: Anything `seglab.images.read_image` takes.
        predictors: Models by name, or a list of them.
        truth: Mask of the picture: path, array or PIL image, or a labelme `.json`; None if there is none.
        threshold: Probability above which a pixel counts as object, for two-class models; above 0, below 1.
        attention: Also take the attention maps, one more forward pass for models with CBAM.
        on_model: Called with index and name before each model runs.

    Raises:
        ImageError: If the picture or the mask cannot be read, or their sizes differ.
        ValueError: If there is no model, or the threshold is out of range.

    Example:
        >>> from seglab.models import build_model
        >>> plain = Predictor(build_model("unet", 1, width=4), size=32)
        >>> compare(np.zeros((40, 60, 3), np.uint8), {"plain": plain}).results[0].mask.shape
        (40, 60)
    """
    named = dict(predictors) if isinstance(predictors, Mapping) else _by_name(predictors)
    if not named:
        raise ValueError("compare needs at least one model; got none.")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be above 0 and below 1; got {threshold}.")
    pixels = read_image(image)
    known = None if truth is None else read_truth(truth, pixels.shape[:2], next(iter(named.values())))
    results = []
    for index, (name, predictor) in enumerate(named.items()):
        if on_model is not None:
            on_model(index, name)
        start = time.perf_counter()
        probs = predictor.probs(pixels)
        seconds = time.perf_counter() - start
        maps = explain.attention_maps(predictor, pixels) if attention else {}
        sha256 = predictor.description.sha256 if predictor.description else ""
        empty = np.zeros(pixels.shape[:2], np.uint8)
        result = ModelResult(name, probs, empty, maps, {}, seconds, predictor.size, sha256)
        results.append(_decided(result, known, threshold))
    return Comparison(pixels, known, threshold, tuple(results))


def read_truth(source: Any, size: tuple[int, int], predictor: Predictor) -> np.ndarray:
    """The true mask of a picture of that (H, W): a mask in any form, or a labelme JSON file; grey masks from 128.

    Raises:
        ImageError: If it cannot be read or has another size.
        ValueError: If the labelme file is not what it should be.
    """
    classes = len(predictor.classes)
    if isinstance(source, str | Path) and str(source).lower().endswith(".json"):
        from seglab.data.labelme import read_labelme

        mask = read_labelme(source, size=size, classes=predictor.classes if classes > 2 else None)
        if classes == 2:  # whatever the labels are called, what is drawn is the object
            mask[(mask > 0) & (mask != IGNORE_INDEX)] = 1
        return mask
    return read_mask(source, num_classes=classes, size=size, threshold=128 if classes == 2 else None)


def _decided(result: ModelResult, truth: np.ndarray | None, threshold: float) -> ModelResult:
    """A result with its mask and numbers at a threshold."""
    mask = Predictor.decide(result.probs, threshold=threshold).mask
    numbers: dict[str, float | None] = dict.fromkeys(METRICS)
    numbers |= {
        "area_percent": 100 * float((mask > 0).mean()),
        "time_ms": 1000 * result.seconds,
        "input_px": result.size,
    }
    if truth is not None:
        numbers |= _scores(mask, truth)
    return result._replace(mask=mask, numbers=numbers)


def _scores(mask: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """Numbers of one picture, object (any class above 0) against background, unknown pixels left out."""
    known = truth != IGNORE_INDEX
    pred = torch.from_numpy(((mask > 0) & known).astype(np.uint8))[None]
    target = torch.from_numpy(np.where(known, truth > 0, IGNORE_INDEX).astype(np.uint8))[None]
    table = metrics.counts(pred, target, 1)[0]
    values = {name: float(getattr(metrics, name)(table)[1]) for name in ("dice", "iou", "precision", "recall")}
    values["hausdorff95_px"] = float(metrics.hausdorff95(pred > 0, target == 1)[0])
    scores = {name: None if math.isnan(value) else value for name, value in values.items()}
    return scores | {"extra_px": int(table[0, 1]), "missed_px": int(table[1, 0])}


def _difference(first: float | None, second: float | None, decimals: int) -> str:
    """Second minus first with its sign; nothing where one is missing."""
    return "" if first is None or second is None else f"{second - first:+.{decimals}f}"


def _object_probs(probs: np.ndarray) -> np.ndarray:
    """(H, W) probability of any object."""
    return probs[0] if len(probs) == 1 else 1 - probs[0]


def _mask_picture(mask: np.ndarray) -> np.ndarray:
    """A mask as a picture: white object; several classes in steps of grey."""
    grey = (mask.astype(np.float32) * (255 / max(1, int(mask.max())))).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _by_name(predictors: Sequence[Predictor]) -> dict[str, Predictor]:
    """Predictors by their names; equal names are numbered."""
    named: dict[str, Predictor] = {}
    for predictor in predictors:
        name, number = predictor.name, 2
        while name in named:
            name, number = f"{predictor.name} ({number})", number + 1
        named[name] = predictor
    return named
