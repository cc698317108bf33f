"""Mass inside: how much of an attention map lies on the object, against how much of the picture the object covers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seglab.contract import IGNORE_INDEX
from seglab.data import Dataset
from seglab.explain._gates import Gate, find_gates
from seglab.explain._maps import Recorder
from seglab.explain._pictures import Picture, null, p_text, span, table, walk
from seglab.inference import Predictor
from seglab.stats import Difference, holm, paired_difference

__all__ = ["Mass", "MassPart", "StageMass", "attention_mass", "mass_inside"]

Floats = NDArray[np.float64]


class StageMass(NamedTuple):
    """The spatial map of one stage."""

    stage: str
    ratios: Floats  # (N,) share of mass inside the object over the object's share of the area; NaN if not defined
    excess: Difference  # mean and interval of ratio - 1
    p_holm: float  # of "no better than chance", adjusted for all stages


@dataclass(frozen=True)
class Mass:
    """Mass of every spatial map inside the object.

    Attributes:
        model: Title of the model.
        names: Names of the pictures, N of them.
        areas: (N,) share of the known pixels that the object covers.
        stages: One row per stage.
        seed: Seed of the statistics.
    """

    model: str
    names: tuple[str, ...]
    areas: Floats
    stages: tuple[StageMass, ...]
    seed: int

    def to_markdown(self) -> str:
        """Every stage with its mean ratio, interval, p, and the pictures behind it."""
        rows = [
            (one.stage, span(one.excess, shift=1.0, sign=""), p_text(one.p_holm), one.excess.n) for one in self.stages
        ]
        about = (
            "Share of the map's mass inside the object over the object's share of the area; 1 = no better than chance."
        )
        return "\n".join([about, "", *table(("stage", "ratio [95 %]", "p (Holm)", "n"), rows)])

    def to_json(self) -> str:
        """Ratios of every picture as JSON; NaN becomes null."""
        return json.dumps(self.content(), indent=1)

    def content(self) -> dict[str, Any]:
        """What `to_json` writes."""
        return {
            "model": self.model,
            "seed": self.seed,
            "names": self.names,
            "areas": [null(value) for value in self.areas.round(6).tolist()],
            "stages": [
                {
                    "stage": one.stage,
                    "ratio": null(one.excess.mean + 1),
                    "interval_95": [null(one.excess.low + 1), null(one.excess.high + 1)],
                    "p_holm": null(one.p_holm),
                    "n": one.excess.n,
                    "ratios": [null(value) for value in one.ratios.round(6).tolist()],
                }
                for one in self.stages
            ],
        }


def attention_mass(saliency: NDArray[Any], truth: NDArray[Any], *, ignore_index: int | None = IGNORE_INDEX) -> float:
    """Share of a map's mass inside the object over the object's share of the area.

        ratio = (sum of the map inside / sum of the map) / (pixels inside / pixels)

    1 is what a map gives that knows nothing of the object; 1 / area share is the most there is. A map whose values all
    lie near 0.5, as gates often do, cannot get far from 1: the ratio says by how much more the object is let through
    than the average pixel. A large ratio is not yet faithful: a map may lie on the object and still do nothing.

    Args:
        saliency: (H, W) finite, 0 or above.
        truth: (H, W) class indices; above 0 is object.
        ignore_index: Value of pixels whose class is unknown, which are left out; None if there are none.

    Returns:
        0 or above; NaN if there is no object or the map is 0 everywhere.

    Raises:
        ValueError: If the shapes differ, or the map has values below 0 or that are no number.

    Example:
        >>> attention_mass(np.array([[3.0, 1.0], [0.0, 0.0]]), np.array([[1, 0], [0, 0]]))  # 3/4 over 1/4
        3.0

    Reference:
        L. Arras, A. Osman and W. Samek, "CLEVR-XAI", Information Fusion 81, 2022, "relevance mass accuracy".
        Differs: divided by the area share, so that objects of all sizes have one chance level.
    """
    values, mask = np.asarray(saliency, float), np.asarray(truth)
    if values.ndim != 2 or values.shape != mask.shape:
        raise ValueError(f"truth must have the map's shape {values.shape}, (H, W); got {mask.shape}.")
    if not (values >= 0).all() or not np.isfinite(values).all():
        raise ValueError(f"saliency must be finite and 0 or above; got values from {values.min()} to {values.max()}.")
    known = mask != ignore_index if ignore_index is not None else np.ones(mask.shape, bool)
    within = known & (mask > 0)
    if not within.any() or values[known].sum() == 0:
        return float("nan")
    return float(values[within].mean() / values[known].mean())


def mass_inside(
    predictor: Predictor,
    data: Dataset,
    *,
    seed: int = 0,
    pictures: int | None = None,
    on_image: Callable[[int], None] | None = None,
) -> Mass:
    """`attention_mass` of the spatial map of every stage on every picture, at the picture's own size.

    Args:
        predictor: A model with at least one spatial gate.
        data: Pictures with their masks; a picture without an object has no ratio.
        seed: Seed of intervals and p.
        pictures: Take that many pictures of the dataset, at even steps; None takes all.
        on_image: Called with the number of pictures done.

    Raises:
        ValueError: If the model has no gate, or the data set does not fit the model.

    Example:
        >>> from seglab import build_model, load_dataset
        >>> model = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
        >>> data = load_dataset("synthetic", None, count=(1, 1, 3), size=(32, 32)).test
        >>> [one.stage for one in mass_inside(model, data).stages]
        ['bottleneck']
    """
    part = MassPart(predictor, find_gates(predictor), seed)
    return part.result(walk(predictor, data, [part], pictures, on_image))


class MassPart:
    """Mass inside the object, fed picture by picture."""

    def __init__(self, predictor: Predictor, gates: Sequence[Gate], seed: int) -> None:
        self.recorder, self.seed = Recorder(predictor), seed
        self.ratios: dict[str, list[float]] = {gate.stage: [] for gate in gates if gate.kind == "spatial"}
        self.areas: list[float] = []

    def add(self, picture: Picture) -> None:
        """Ratios of one picture."""
        self.recorder.predictor.forward(self.recorder.predictor.prepare(picture.image)[0])
        stages = self.recorder.stages(picture.image)
        known = picture.truth != IGNORE_INDEX
        self.areas.append(float((picture.truth[known] > 0).mean()) if known.any() else float("nan"))
        for stage, ratios in self.ratios.items():
            ratios.append(attention_mass(stages[stage].spatial, picture.truth))

    def result(self, names: tuple[str, ...]) -> Mass:
        """Ratios with their statistics."""
        tables = {stage: np.array(ratios) for stage, ratios in self.ratios.items()}
        found = [paired_difference(np.ones(len(ratios)), ratios, seed=self.seed) for ratios in tables.values()]
        adjusted = holm([one.p for one in found]).tolist() if found else []
        rows = zip(tables.items(), found, adjusted, strict=True)
        stages = tuple(StageMass(*table, one, p) for table, one, p in rows)
        return Mass(self.recorder.predictor.name, names, np.array(self.areas), stages, self.seed)
