"""Deletion and insertion: does taking away what a map marks take away the prediction?"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seglab.contract import require_name
from seglab.data import Dataset
from seglab.explain._gates import Gate, find_gates
from seglab.explain._maps import Bytes, Recorder
from seglab.explain._pictures import Picture, null, p_text, shown, span, table, walk
from seglab.explain._removal import DIRECTIONS, Floats, Removing, View, areas_of, ranks_of
from seglab.inference import Predictor
from seglab.stats import Difference, holm, paired_difference

__all__ = ["BASELINES", "PROBABILITY", "CurveGap", "CurvesPart", "RemovalCurves", "removal_curves"]

BASELINES = ("random", "edge", "centre")
PROBABILITY = "probability"


class CurveGap(NamedTuple):
    """An attention map against a baseline."""

    stage: str
    baseline: str  # one of BASELINES
    direction: str  # one of DIRECTIONS
    difference: Difference  # of the areas per picture, map minus baseline
    p_holm: float  # adjusted for all gaps

    @property
    def better(self) -> bool:
        """Whether the map was shown to find what the model needs better than the baseline does."""
        return shown(self.difference, self.p_holm) == (-1 if self.direction == "deletion" else 1)


@dataclass(frozen=True)
class RemovalCurves:
    """Deletion and insertion curves of every map on every picture.

    Attributes:
        model: Title of the model.
        names: Names of the pictures, N of them.
        percent: (T + 1,) from 0 to 100.
        scores: (N, T + 1) by (direction, map); maps are stages, BASELINES, PROBABILITY. NaN: nothing predicted.
        gaps: Every stage against every baseline.
        fill: What takes the place of a pixel.
        seed: Seed of the random order and of the statistics.
    """

    model: str
    names: tuple[str, ...]
    percent: Floats
    scores: dict[tuple[str, str], Floats]
    gaps: tuple[CurveGap, ...]
    fill: str
    seed: int

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps, the stages first."""
        return tuple(name for direction, name in self.scores if direction == DIRECTIONS[0])

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the attention maps among them."""
        return tuple(name for name in self.maps if name not in (*BASELINES, PROBABILITY))

    def area(self, direction: str, name: str) -> Floats:
        """(N,) areas under the curves of one map.

        Raises:
            ValueError: If the direction or the map is unknown.
        """
        require_name("direction", direction, DIRECTIONS)
        require_name("map", name, self.maps)
        return areas_of(self.scores[direction, name], self.percent)

    def to_markdown(self) -> str:
        """Mean areas of every map, then every stage against every baseline."""
        rows = [(name, *(f"{_mean(self.area(direction, name)):.3f}" for direction in DIRECTIONS)) for name in self.maps]
        n = int(np.isfinite(self.area(DIRECTIONS[0], self.maps[0])).sum())
        lines = table(("order of pixels", "deletion (low is good)", "insertion (high is good)"), rows)
        left_out = len(self.names) - n
        about = f"Removed pixels get: {self.fill}. {n} pictures"
        about += f"; {left_out} more, on which nothing is predicted, are left out." if left_out else "."
        head = ("stage", "against", "deletion [95 %]", "p (Holm)", "insertion [95 %]", "p (Holm)")
        pairs = zip(self.gaps[::2], self.gaps[1::2], strict=True)
        cells = [
            (a.stage, a.baseline, span(a.difference), p_text(a.p_holm), span(b.difference), p_text(b.p_holm))
            for a, b in pairs
        ]
        return "\n".join([about, "", *lines, "", *table(head, cells)])

    def to_json(self) -> str:
        """Every curve of every picture and every gap as JSON; NaN becomes null."""
        return json.dumps(self.content(), indent=1)

    def content(self) -> dict[str, Any]:
        """What `to_json` writes."""
        return {
            "model": self.model,
            "fill": self.fill,
            "seed": self.seed,
            "names": self.names,
            "percent": self.percent.tolist(),
            "curves": [
                {
                    "map": name,
                    "direction": direction,
                    "scores": [[null(one) for one in row] for row in scores.round(6).tolist()],
                }
                for (direction, name), scores in self.scores.items()
            ],
            "gaps": [
                {
                    "stage": gap.stage,
                    "baseline": gap.baseline,
                    "direction": gap.direction,
                    **{key: null(value) for key, value in vars(gap.difference).items()},
                    "p_holm": null(gap.p_holm),
                }
                for gap in self.gaps
            ],
        }


def removal_curves(
    predictor: Predictor,
    data: Dataset,
    *,
    step_percent: float = 10,
    fill: str = "mean",
    seed: int = 0,
    pictures: int | None = None,
    on_image: Callable[[int], None] | None = None,
) -> RemovalCurves:
    """Deletion and insertion curves of the spatial map of every stage, beside orders that know nothing of attention.

    Baselines: "random"; "edge", the largest gradient of the grey picture first; "centre", from the middle outwards.
    "probability", the model's own answer, is no baseline but a reference for a map that is right by construction. It is
    no bound: where objects lie in the middle, removing from the middle outwards can be as fast.
    Everything is measured at the size that the model sees.

    Args:
        predictor: A model with at least one spatial gate.
        data: Pictures with their masks, which are not used.
        step_percent: As for `deletion_curve`.
        fill: As for `deletion_curve`.
        seed: Seed of the random order, of the order among equals, of intervals and p.
        pictures: Take that many pictures of the dataset, at even steps; None takes all.
        on_image: Called with the number of pictures done.

    Raises:
        ValueError: If the model has no gate, an option is out of range, or the data set does not fit the model.

    Example:
        >>> from seglab import build_model, load_dataset
        >>> model = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
        >>> data = load_dataset("synthetic", None, count=(1, 1, 2), size=(32, 32)).test
        >>> removal_curves(model, data, step_percent=50).maps
        ('bottleneck', 'random', 'edge', 'centre', 'probability')
    """
    part = CurvesPart(predictor, find_gates(predictor), Removing(step_percent, fill, seed))
    return part.result(walk(predictor, data, [part], pictures, on_image))


class CurvesPart:
    """Deletion and insertion on a dataset, fed picture by picture."""

    def __init__(self, predictor: Predictor, gates: Sequence[Gate], removing: Removing) -> None:
        self.percent, self.recorder, self.removing = removing.percents(), Recorder(predictor), removing
        self.stages = tuple(dict.fromkeys(gate.stage for gate in gates if gate.kind == "spatial"))
        self.scores: dict[tuple[str, str], list[Floats]] = {
            (direction, name): [] for direction in DIRECTIONS for name in (*self.stages, *BASELINES, PROBABILITY)
        }

    def add(self, picture: Picture) -> None:
        """Curves of one picture, for every map."""
        predictor: Predictor = self.recorder.predictor
        view, seed = View(predictor, picture.image, self.removing), self.removing.seed
        stages = self.recorder.stages(view.image)  # of the whole picture, seen last
        maps: dict[str, NDArray[Any]] = {stage: stages[stage].spatial for stage in self.stages}
        maps |= {name: _baseline(name, view.image, (seed, picture.place)) for name in BASELINES}
        maps[PROBABILITY] = view.whole.reshape(view.image.shape[:2])
        for name, saliency in maps.items():
            ranks = ranks_of(saliency, (seed, picture.place, 1))
            for direction in DIRECTIONS:
                self.scores[direction, name].append(view.scores(ranks, self.percent, direction))

    def result(self, names: tuple[str, ...]) -> RemovalCurves:
        """Curves with every stage against every baseline."""
        scores = {key: np.stack(rows) for key, rows in self.scores.items()}
        areas = {key: areas_of(table, self.percent) for key, table in scores.items()}
        asked = [(stage, other, direction) for stage in self.stages for other in BASELINES for direction in DIRECTIONS]
        found = [
            paired_difference(areas[direction, b], areas[direction, a], seed=self.removing.seed)
            for a, b, direction in asked
        ]
        adjusted = holm([one.p for one in found]).tolist() if found else []
        gaps = tuple(CurveGap(*key, one, p) for key, one, p in zip(asked, found, adjusted, strict=True))
        model, (_, fill, seed, _) = self.recorder.predictor.name, self.removing
        return RemovalCurves(model, names, self.percent, scores, gaps, fill, seed)


def _baseline(name: str, image: Bytes, seed: tuple[int, ...]) -> Floats:
    """A map (h, w) that knows nothing of the model."""
    height, width = image.shape[:2]
    if name == "random":
        return np.random.default_rng(seed).random((height, width))
    down, right = np.ogrid[:height, :width]
    if name == "centre":
        distance: Floats = np.hypot(down - (height - 1) / 2, right - (width - 1) / 2)
        return -distance
    import cv2  # a heavy module

    grey = image.mean(axis=2)
    edges: Floats = np.hypot(cv2.Sobel(grey, cv2.CV_64F, 1, 0), cv2.Sobel(grey, cv2.CV_64F, 0, 1))
    return edges


def _mean(values: Floats) -> float:
    """Mean of the values that are there; NaN of none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
