"""Gate ablation: what happens to the Dice of every picture when a gate no longer says where to look."""

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seglab import metrics
from seglab.contract import require_name
from seglab.data import Dataset
from seglab.explain._gates import KINDS, Gate, Switch, find_gates, replaced
from seglab.explain._maps import padded_side
from seglab.explain._pictures import Picture, null, p_text, sentence_end, shown, span, table, walk
from seglab.inference import Predictor, to_probs
from seglab.stats import Difference, holm, paired_difference

__all__ = ["ALL", "REPLACEMENTS", "AblationPart", "GateAblation", "GateChange", "gate_ablation"]

REPLACEMENTS = ("one", "mean", "shuffled")
ALL = "all stages"
WHAT = {"channel": "which channels it weighs", "spatial": "where it looks"}


class GateChange(NamedTuple):
    """One replacement, and what it did."""

    stage: str  # or ALL
    kind: str  # "channel", "spatial" or "both"
    replacement: str  # one of REPLACEMENTS
    counts: Tensor  # (N, K, K) int64 with the gate replaced
    difference: Difference  # of the Dice per picture, replaced minus intact
    p_holm: float  # of the difference, adjusted for all rows of its replacement


@dataclass(frozen=True)
class GateAblation:
    """Dice of every picture with every gate replaced.

    Attributes:
        model: Title of the model.
        names: Names of the pictures, N of them.
        counts: (N, K, K) int64 of the model as it is, rows true, columns predicted, at each picture's own size.
        changes: One row per stage, kind of gate and replacement.
        seed: Seed of the shuffles and of the statistics.
    """

    model: str
    names: tuple[str, ...]
    counts: Tensor
    changes: tuple[GateChange, ...]
    seed: int

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages in the order of the rows; ALL is the last if there are several."""
        return tuple(dict.fromkeys(change.stage for change in self.changes))

    @property
    def dice(self) -> NDArray[np.float64]:
        """(N,) Dice of the model as it is; NaN where mask and prediction are both empty."""
        return _dice(self.counts)

    def change(self, stage: str, kind: str = "spatial", replacement: str = "mean") -> GateChange:
        """One row.

        Raises:
            ValueError: If there is no such row.
        """
        rows = {f"{one.stage}, {one.kind}, {one.replacement}": one for one in self.changes}
        wanted = f"{stage}, {kind}, {replacement}"
        require_name("row", wanted, rows)
        return rows[wanted]

    def verdict(self, stage: str) -> str:
        """What replacing the gates of a stage by their mean says, one sentence a gate.

        An effect counts as shown if its p after Holm is below 0.05 and its interval leaves 0 out. What could be missed
        is said for one question alone; among many rows it is more.

        Raises:
            ValueError: If there is no such stage.
        """
        require_name("stage", stage, self.stages)
        means = [one for one in self.changes if one.replacement == "mean"]
        rows, family = [one for one in means if one.stage == stage and one.kind in WHAT], len(means)
        return " ".join(_sentence(one, family) for one in sorted(rows, key=lambda one: one.kind, reverse=True))

    def to_markdown(self) -> str:
        """One row per replacement: change of Dice with its interval, adjusted p, and what could have been missed."""
        rows = [
            (
                one.stage,
                one.kind,
                one.replacement,
                span(one.difference),
                p_text(one.p_holm),
                _number(one.difference.detectable),
                one.difference.n,
            )
            for one in self.changes
        ]
        head = ("stage", "gate", "replaced by", "Dice change [95 %]", "p (Holm)", "could be missed", "n")
        known = self.dice[np.isfinite(self.dice)]
        about = f"Dice as it is: {f'{known.mean():.4f}' if len(known) else 'not defined'}, {len(self.names)} pictures"
        left_out = len(self.names) - len(known)
        return "\n".join([f"{about}, {left_out} without a Dice.", "", *table(head, rows)])

    def to_json(self) -> str:
        """Every row with the Dice of every picture as JSON; NaN becomes null."""
        return json.dumps(self.content(), indent=1)

    def content(self) -> dict[str, Any]:
        """What `to_json` writes."""
        return {
            "model": self.model,
            "seed": self.seed,
            "names": self.names,
            "dice": [null(value) for value in self.dice.tolist()],
            "rows": [
                {
                    "stage": one.stage,
                    "kind": one.kind,
                    "replacement": one.replacement,
                    **{key: null(value) for key, value in vars(one.difference).items()},
                    "p_holm": null(one.p_holm),
                    "dice": [null(value) for value in _dice(one.counts).tolist()],
                    "counts": one.counts.tolist(),
                }
                for one in self.changes
            ],
        }


def gate_ablation(
    predictor: Predictor,
    data: Dataset,
    *,
    seed: int = 0,
    gates: Collection[str] | None = None,
    replacements: Collection[str] = REPLACEMENTS,
    pictures: int | None = None,
    on_image: Callable[[int], None] | None = None,
) -> GateAblation:
    """Change of Dice with gates replaced: of every stage its channel gate, its spatial gate, both, and all at once.

        change = Dice(prediction with the gate replaced) - Dice(prediction)        per picture, at its own size

    "mean" gives every pixel (or channel) the mean of the gate: the scale of the features stays and only *where* the
    module looks is lost, so it is the fair test of the map. "shuffled" gives every pixel the gate of another one: the
    values stay, the places are lost, and neighbours become unlike each other, which is a disturbance of its own.
    "one" takes the module away as if it let everything through; gates often sit near 0.5, so this also doubles the
    features, which the layers behind never saw: a fall of Dice under "one" alone says nothing about where it looks.
    Only the part of a gate that covers the picture is averaged or shuffled; padding keeps its gate, but under "one".

    A gate that comes later is computed from what the replaced one lets through. An effect is that of this trained model
    without retraining: a model trained without the gate may do as well. The model itself is never touched: replacing
    happens in hooks on a copy of its modules that shares its weights.

    Args:
        predictor: A model with at least one attention gate.
        data: Pictures with their masks; pictures without an object and without a prediction have no Dice.
        seed: Seed of the permutations, of the interval and of p. A gate is shuffled alike in every row.
        gates: Stages as `attention_maps` names them; None takes all.
        replacements: Any of "one", "mean" and "shuffled".
        pictures: Take that many pictures of the dataset, at even steps; None takes all.
        on_image: Called with the number of pictures done.

    Returns:
        Rows with counts per picture, mean change, 95 % interval, p, and p after Holm over the rows of one replacement:
        each replacement is a question of its own.

    Raises:
        ValueError: If the model has no gate, a name is unknown, or the data set does not fit the model.

    Example:
        >>> from seglab import build_model, load_dataset
        >>> model = Predictor(build_model("unet", 1, width=4, cbam=["bottleneck", "skip"]), size=32)
        >>> data = load_dataset("synthetic", None, count=(1, 1, 3), size=(32, 32)).test
        >>> result = gate_ablation(model, data, gates=["skip 1"], replacements=["mean"])
        >>> [(one.stage, one.kind, one.replacement) for one in result.changes]
        [('skip 1', 'channel', 'mean'), ('skip 1', 'spatial', 'mean'), ('skip 1', 'both', 'mean')]

    Reference:
        R. Meyes et al., "Ablation Studies in Artificial Neural Networks", arXiv 1901.08644, 2019; S. Woo et al.,
        "CBAM", ECCV 2018, for the gates.
        Differs: the gate of a trained network is replaced, not the module left out of training.
    """
    part = AblationPart(predictor, find_gates(predictor), gates, replacements, seed)
    return part.result(walk(predictor, data, [part], pictures, on_image))


class AblationPart:
    """Gate ablation, fed picture by picture."""

    def __init__(
        self,
        predictor: Predictor,
        found: Sequence[Gate],
        stages: Collection[str] | None,
        replacements: Collection[str],
        seed: int,
    ) -> None:
        for how in replacements:
            require_name("replacement", how, REPLACEMENTS)
        known = list(dict.fromkeys(gate.stage for gate in found))
        for stage in () if stages is None else stages:
            require_name("gate", stage, known)
        chosen = [stage for stage in known if stages is None or stage in stages]
        targets = _targets([gate for gate in found if gate.stage in chosen])
        self.seed, self.switch, self.model = seed, Switch(predictor), predictor.name
        self.side = padded_side(predictor.model, predictor.size)
        self.places = {gate.path: place for place, gate in enumerate(found)}
        self.rows = {(*name, how): paths for name, paths in targets.items() for how in replacements}
        self.intact: list[Tensor] = []
        self.counts: dict[tuple[str, str, str], list[Tensor]] = {row: [] for row in self.rows}

    def add(self, picture: Picture) -> None:
        """Count one picture with every gate as it is, and with every row's gates replaced."""
        predictor = self.switch.predictor
        batch, box = predictor.prepare(picture.image)
        truth = torch.from_numpy(picture.truth)[None]

        def counted(how: str = "", paths: Sequence[str] = ()) -> Tensor:
            changes = {
                path: partial(
                    replaced, how=how, box=box, side=self.side, seed=(self.seed, picture.place, self.places[path])
                )
                for path in paths
            }
            probs = to_probs(self.switch.forward(batch, changes))[0].numpy()
            mask = predictor.decide(predictor.restore(probs, box)).mask
            return metrics.counts(torch.from_numpy(mask)[None], truth, predictor.num_classes)[0]

        self.intact.append(counted())
        for row, paths in self.rows.items():
            self.counts[row].append(counted(row[2], paths))

    def result(self, names: tuple[str, ...]) -> GateAblation:
        """Rows with their statistics."""
        intact = torch.stack(self.intact)
        tables = {row: torch.stack(counts) for row, counts in self.counts.items()}
        gaps = [paired_difference(_dice(intact), _dice(one), seed=self.seed) for one in tables.values()]
        adjusted = np.full(len(gaps), np.nan)
        for how in {row[2] for row in tables}:
            family = [row[2] == how for row in tables]
            adjusted[family] = holm([gap.p for gap, one in zip(gaps, family, strict=True) if one])
        rows = zip(tables.items(), gaps, adjusted.tolist(), strict=True)
        changes = tuple(GateChange(*row, counts, gap, p) for (row, counts), gap, p in rows)
        return GateAblation(self.model, names, intact, changes, self.seed)


def _targets(gates: Sequence[Gate]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Paths of the gates that are replaced together, by stage and kind."""
    stages = list(dict.fromkeys(gate.stage for gate in gates))
    targets: dict[tuple[str, str], tuple[str, ...]] = {}
    for stage in [*stages, ALL] if len(stages) > 1 else stages:
        own = [gate for gate in gates if stage in (gate.stage, ALL)]
        kinds = [kind for kind in KINDS if any(gate.kind == kind for gate in own)]
        for kind in kinds:
            targets[stage, kind] = tuple(gate.path for gate in own if gate.kind == kind)
        if len(kinds) > 1:
            targets[stage, "both"] = tuple(gate.path for gate in own)
    return targets


def _dice(counts: Tensor) -> NDArray[np.float64]:
    """(N,) Dice of the object classes, their mean if there are several, from (N, K, K)."""
    values: NDArray[np.float64] = metrics.dice(counts)[:, 1:].nanmean(dim=1).numpy()
    return values


def _sentence(one: GateChange, rows: int) -> str:
    """A row of "mean" in words; with too few pictures no effect at all could be shown among so many rows."""
    many = one.stage == ALL
    thing = {"spatial": "map", "channel": "channel gate"}[one.kind]
    swap = f"all {thing}s by their means" if many else f"its {thing} by its mean"
    start, needed = f"Replacing {swap} changes Dice by {span(one.difference)}", _pictures_needed(rows)
    if one.difference.n < needed:
        return (
            f"{start}: too few pictures to say more (n = {one.difference.n}; {needed} are needed for {rows} questions)."
        )
    what, sign = WHAT[one.kind], shown(one.difference, one.p_holm)
    if many:
        what = what.replace("it looks", "they look").replace("it weighs", "they weigh")
    said = {0: f"no effect of {what} was shown", 1: f"{what} does harm", -1: f"{what} helps"}[sign]
    return f"{start}: {said} {sentence_end(one.difference, one.p_holm)}."


def _pictures_needed(rows: int) -> int:
    """Fewest pictures with which a sign-flip test can get below 0.05 after Holm over so many rows: 2 / 2^n * rows."""
    return math.ceil(1 + math.log2(rows / 0.05))


def _number(value: float) -> str:
    """A number for a table."""
    return "" if np.isnan(value) else f"{value:.3f}"
