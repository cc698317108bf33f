"""One picture, its truth if there is one, and any number of models: masks, views, numbers, and a ZIP of everything.

The app, the command line and the notebooks all use it, so they cannot disagree.
"""

import html
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seglab import explain, verdicts
from seglab.cards import installed_version
from seglab.contract import IGNORE_INDEX
from seglab.explain import StageAttention
from seglab.images import Picture, read_mask
from seglab.inference import Predictor
from seglab.packing import pack
from seglab.scoring import Scorer
from seglab.texts import ENGLISH, Texts

__all__ = ["METRICS", "VIEWS", "Comparison", "ModelResult", "compare", "read_truth"]

VIEWS = ("outline", "error", "agreement", "probability", "attention", "mask")
METRICS = {  # name: (decimals, whether it needs the truth); the titles are among the texts
    "dice": (3, True),
    "iou": (3, True),
    "precision": (3, True),
    "recall": (3, True),
    "extra_px": (0, True),
    "missed_px": (0, True),
    "hausdorff95_px": (1, True),
    "area_percent": (2, False),
    "time_ms": (0, False),
    "input_px": (0, False),
}


SETTINGS = ("time_ms", "input_px")
DIFFERENCE = "Difference"


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

    @property
    def object_probs(self) -> np.ndarray:
        """(H, W) float32 in [0, 1], probability of any object."""
        one: np.ndarray = self.probs[0] if len(self.probs) == 1 else 1 - self.probs[0]
        return one


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several models on one picture; every view and number is derived from the stored probabilities.

    Attributes:
        image: (H, W, 3) uint8.
        truth: (H, W) uint8 class indices, 255 unknown; None if there is none.
        threshold: Probability above which a pixel counts as object.
        results: One per model, in the order given.
        scorer: What holds masks against the truth, kept for the next threshold.
        source: The picture as the models got it; None if `image` is all there is.
    """

    image: np.ndarray
    truth: np.ndarray | None
    threshold: float
    results: tuple[ModelResult, ...]
    scorer: Scorer | None = field(default=None, repr=False)  # of `truth`, as far as it has been needed
    source: Picture | None = field(default=None, repr=False)

    def at(self, threshold: float) -> "Comparison":
        """The same comparison at another threshold; no model runs.

        Raises:
            ValueError: If the threshold is not above 0 and below 1.
        """
        scorer = self.scorer
        if self.truth is None or scorer is None or scorer.truth is not self.truth:
            scorer = _scorer(self.truth)
        results = tuple(_decided(result, scorer, threshold) for result in self.results)
        return replace(self, threshold=threshold, results=results, scorer=scorer)

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
            other: The model that "agreement" compares with, navy where it alone draws; None takes the first other one.

        Returns:
            (H, W, 3) uint8.

        Raises:
            ValueError: If the view cannot be drawn, with the reason.
        """
        _require_view(kind)
        result = self.result(model)
        draw: dict[str, Callable[[], np.ndarray]] = {
            "outline": partial(self._outline, result),
            "error": partial(self._error, result, opacity),
            "agreement": partial(self._agreement, result, other, opacity),
            "probability": partial(explain.heat, result.object_probs),
            "attention": partial(self._attention, result, stage, opacity),
            "mask": partial(_mask_picture, result.mask, len(result.probs)),
        }
        return draw[kind]()

    def alt_text(
        self, kind: str, model: str, *, stage: str | None = None, other: str | None = None, texts: Texts = ENGLISH
    ) -> str:
        """What a view shows, for those who cannot see it; the numbers are in the table.

        Raises:
            ValueError: If the view cannot be drawn, as `view`.
        """
        _require_view(kind)
        result = self.result(model)
        if kind == "agreement":
            other = self._other(result, other).name
        if kind == "attention":
            stage = _stage(result, stage).name
        return verdicts.alt_text(self, kind, model, stage, other, texts)

    def verdict(self, texts: Texts = ENGLISH) -> str:
        """The result on this one picture in one or two sentences; plain text, not Markdown."""
        return verdicts.verdict(self, texts)

    def table(self, texts: Texts = ENGLISH) -> list[dict[str, str]]:
        """Numbers as text: a row a metric, a column a model, and second minus first if there are just two models.

        With more models there is no such column, because one difference of many would be picked by the order. The
        difference is that of the numbers as shown. "no mask" stands where the truth is missing, "not defined" where a
        number has no meaning.
        """
        rows = []
        for name, (decimals, needs_truth) in METRICS.items():
            values = [result.numbers[name] for result in self.results]
            missing = texts("table.no_mask" if needs_truth and self.truth is None else "table.not_defined")
            row = {"": texts(f"metric.{name}")} | {
                result.name: missing if value is None else f"{value:.{decimals}f}"
                for result, value in zip(self.results, values, strict=True)
            }
            if len(values) == 2:  # of one run's time and of the input side a difference says nothing about the models
                row[DIFFERENCE] = "" if name in SETTINGS else _difference(values[0], values[1], decimals)
            rows.append(row)
        return rows

    def to_markdown(self, texts: Texts = ENGLISH) -> str:
        """The table in Markdown; markup in the names of models is shown, not obeyed."""
        rows = self.table(texts)
        heads = [texts("table.difference") if head == DIFFERENCE else _escaped(head) for head in rows[0]]
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

    def to_zip(self, path: str | Path, wanted: Callable[[], bool] | None = None) -> Path:
        """Write masks, probabilities, maps and numbers to a ZIP file, whole or not at all.

        Masks are 0/255 PNG at the picture's own size for two classes, class indices for more. Nothing of the upload's
        metadata is copied. `wanted` is asked now and then whether to go on.

        Raises:
            OutdatedError: If `wanted` says no; there is no file then.
            OSError: If the file cannot be written.
        """
        return pack(self, Path(path), wanted)

    def _outline(self, result: ModelResult) -> np.ndarray:
        masks: list[tuple[np.ndarray, explain.Colour]] = []
        if self.truth is not None:
            masks.append((self.truth, (255, 255, 255)))
        return explain.outline(self.image, [*masks, (result.mask, explain.ORANGE)], casing=explain.NAVY)

    def _error(self, result: ModelResult, opacity: float) -> np.ndarray:
        if self.truth is None:
            raise ValueError("the error map needs the true mask; got none. Add one.")
        return explain.colour_map(self.image, explain.error_map(result.mask, self.truth), opacity=opacity)

    def _agreement(self, result: ModelResult, other: str | None, opacity: float) -> np.ndarray:
        codes = explain.agreement_map(self._other(result, other).mask, result.mask)
        return explain.colour_map(self.image, codes, opacity=opacity)

    def _other(self, result: ModelResult, other: str | None) -> ModelResult:
        """The model that another is compared with."""
        others = [one for one in self.results if one.name != result.name and other in (None, one.name)]
        if not others:
            raise ValueError(f"the agreement needs another model; got {'one model' if other is None else repr(other)}.")
        return others[0]

    def _attention(self, result: ModelResult, stage: str | None, opacity: float) -> np.ndarray:
        return explain.heat(_stage(result, stage).spatial, image=self.image, opacity=opacity)


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
        image: Anything `seglab.images.read_image` takes, or a Picture.
        predictors: Models by name, or a list of them.
        truth: Mask of the picture: path, array or PIL image, or a labelme `.json`; None if there is none.
        threshold: Probability above which a pixel counts as object, for two-class models; above 0, below 1.
        attention: Also keep the attention maps; they come from the same forward pass.
        on_model: Called with index and name before each model runs.

    Raises:
        ImageError: If the picture or the mask cannot be read, or their sizes differ.
        ValueError: If there is no model, one has no usable name, they have different numbers of classes, or the
            threshold is out of range.

    Example:
        >>> from seglab.models import build_model
        >>> plain = Predictor(build_model("unet", 1, width=4), size=32)
        >>> compare(np.zeros((40, 60, 3), np.uint8), {"plain": plain}).results[0].mask.shape
        (40, 60)
    """
    named = dict(predictors) if isinstance(predictors, Mapping) else _by_name(predictors)
    _require_models(named)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be above 0 and below 1; got {threshold}.")
    picture = image if isinstance(image, Picture) else Picture(image)
    known = None if truth is None else read_truth(truth, picture.shape[:2], next(iter(named.values())))
    results, scorer = [], _scorer(known)
    for index, (name, predictor) in enumerate(named.items()):
        if on_model is not None:
            on_model(index, name)
        result = _run(name, predictor, picture, attention)
        results.append(_decided(result, scorer, threshold))
    return Comparison(picture.pixels, known, threshold, tuple(results), scorer, picture)


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


def _run(name: str, predictor: Predictor, image: Picture, attention: bool) -> ModelResult:
    """What one model says of a picture, without mask and numbers."""
    recorder = explain.Recorder(predictor) if attention else None
    start = time.perf_counter()
    probs = (recorder.predictor if recorder else predictor).probs(image)
    seconds = time.perf_counter() - start
    maps = recorder.stages(image) if recorder else {}
    sha256 = predictor.description.sha256 if predictor.description else ""
    return ModelResult(name, probs, np.zeros(image.shape[:2], np.uint8), maps, {}, seconds, predictor.size, sha256)


def _scorer(truth: np.ndarray | None) -> Scorer | None:
    """What holds masks against the truth, if there is one."""
    return None if truth is None else Scorer(truth)


def _decided(result: ModelResult, scorer: Scorer | None, threshold: float) -> ModelResult:
    """A result with its mask and numbers at a threshold."""
    mask = Predictor.decide(result.probs, threshold=threshold).mask
    numbers: dict[str, float | None] = dict.fromkeys(METRICS)
    numbers |= {
        "area_percent": 100 * np.count_nonzero(mask) / mask.size,
        "time_ms": 1000 * result.seconds,
        "input_px": result.size,
    }
    if scorer is not None:
        numbers |= scorer.numbers(mask, len(result.probs))
    return result._replace(mask=mask, numbers=numbers)


def _difference(first: float | None, second: float | None, decimals: int) -> str:
    """Second minus first, as shown, with its sign; nothing where one is missing."""
    if first is None or second is None:
        return ""
    difference = round(round(second, decimals) - round(first, decimals), decimals)
    return f"{difference:+.{decimals}f}" if difference else f"{0:.{decimals}f}"


def _stage(result: ModelResult, stage: str | None) -> StageAttention:
    """One stage of a model's attention; None takes the last."""
    if not result.attention:
        raise ValueError(f"{result.name} has no attention module.")
    stage = stage or list(result.attention)[-1]
    if stage not in result.attention:
        raise ValueError(f"stage must be one of {', '.join(result.attention)}; got {stage!r}.")
    return result.attention[stage]


def _mask_picture(mask: np.ndarray, num_classes: int) -> np.ndarray:
    """A mask as a picture: white object; several classes in steps of grey, the same for every model."""
    grey = (mask.astype(np.float32) * (255 / max(1, num_classes - 1))).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _escaped(text: str) -> str:
    """Text on one line that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _require_view(kind: str) -> None:
    if kind not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}; got {kind!r}.")


def _require_models(named: Mapping[str, Predictor]) -> None:
    """Refuse models that cannot be put side by side."""
    if not named:
        raise ValueError("compare needs at least one model; got none.")
    for name in named:
        if not name.strip() or name == DIFFERENCE:
            raise ValueError(f"a model's name must not be empty or {DIFFERENCE!r}, a head of the table; got {name!r}.")
    classes = {name: len(predictor.classes) for name, predictor in named.items()}
    if len(set(classes.values())) > 1:
        got = ", ".join(f"{number} ({name})" for name, number in classes.items())
        raise ValueError(f"models must have one number of classes; got {got}. Compare models of one task.")


def _by_name(predictors: Sequence[Predictor]) -> dict[str, Predictor]:
    """Predictors by their names; equal names are numbered."""
    named: dict[str, Predictor] = {}
    for predictor in predictors:
        name, number = predictor.name, 2
        while name in named:
            name, number = f"{predictor.name} ({number})", number + 1
        named[name] = predictor
    return named
