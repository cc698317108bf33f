"""Weight randomisation: does a gate change when what the network learned is taken away?"""

import json
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from seglab.data import Dataset
from seglab.explain._gates import Gate, find_gates, inside
from seglab.explain._maps import Recorder, padded_side
from seglab.explain._pictures import Picture, null, span, table, walk
from seglab.inference import Box, Predictor
from seglab.stats import Difference, paired_difference

__all__ = [
    "UNCHANGED", "GateSanity", "Randomisation", "RandomisationPart", "rank_correlation", "weight_randomisation",
]  # fmt: skip

UNCHANGED = 0.7  # squared it is one half: from here on two maps share half of the variance of their ranks
SCHEMES = ("cascading", "independent")

Floats = NDArray[np.float64]


class GateSanity(NamedTuple):
    """One gate of the trained network beside the same gate of networks that learned nothing."""

    stage: str
    kind: str
    strength: Difference  # its mean and interval: |rank correlation| over pictures, each a mean over the draws

    @property
    def flagged(self) -> bool:
        """Whether the gate hardly changes: its mean is UNCHANGED or above, so it shows little of what was learned."""
        return self.strength.mean >= UNCHANGED


@dataclass(frozen=True)
class Randomisation:
    """Rank correlation of every gate of the trained model with that of models with randomised weights.

    Attributes:
        model: Title of the model.
        names: Names of the pictures, N of them.
        gates: One row per gate, G of them, with all layers randomised.
        layers: Which layers each of the T steps randomises, from the output to the input.
        correlations: (G, T, N) by scheme; "cascading" has all layers up to the step randomised, "independent" only the
            step's own. NaN where a gate is constant in one of the two models.
        full: (G, D, N) with all layers randomised, D times.
        seed: Seed of the random weights.
    """

    model: str
    names: tuple[str, ...]
    gates: tuple[GateSanity, ...]
    layers: tuple[str, ...]
    correlations: dict[str, Floats]
    full: Floats
    seed: int

    @property
    def flagged(self) -> tuple[str, ...]:
        """Gates that hardly change, as "STAGE KIND"."""
        return tuple(f"{one.stage} {one.kind}" for one in self.gates if one.flagged)

    def to_markdown(self) -> str:
        """Every gate with all layers randomised, then signed correlations along the cascade and layer by layer."""
        rows = [
            (one.stage, one.kind, span(one.strength, sign=""), "yes" if one.flagged else "no", one.strength.n)
            for one in self.gates
        ]
        about = f"Rank correlation of gates with those of {self.full.shape[1]} networks whose weights are all random."
        head = ("stage", "gate", "absolute correlation [95 %]", f"hardly changes ({UNCHANGED} or more)", "n")
        lines = [about, "", *table(head, rows)]
        for scheme in SCHEMES:
            steps = zip(self.layers, _means(self.correlations[scheme]).T.tolist(), strict=True)
            cells = [(layers, *(f"{one:.2f}" for one in row)) for layers, row in steps]
            gates = [f"{one.stage} {one.kind}" for one in self.gates]
            lines += ["", *table([f"{scheme}: randomised", *gates], cells)]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Every correlation as JSON; NaN becomes null."""
        return json.dumps(self.content(), indent=1)

    def content(self) -> dict[str, Any]:
        """What `to_json` writes."""
        return {
            "model": self.model,
            "seed": self.seed,
            "names": self.names,
            "layers": self.layers,
            "gates": [
                {
                    "stage": one.stage,
                    "kind": one.kind,
                    "absolute": null(one.strength.mean),
                    "interval_95": [null(one.strength.low), null(one.strength.high)],
                    "n": one.strength.n,
                    "flagged": one.flagged,
                    "full": _nested(self.full[index]),
                    **{scheme: _nested(self.correlations[scheme][index]) for scheme in SCHEMES},
                }
                for index, one in enumerate(self.gates)
            ],
        }


def weight_randomisation(
    predictor: Predictor,
    data: Dataset,
    *,
    steps: int = 8,
    draws: int = 3,
    seed: int = 0,
    pictures: int | None = None,
    on_image: Callable[[int], None] | None = None,
) -> Randomisation:
    """Likeness of every gate to the same gate of a network with random weights: a map that stays shows no learning.

    Layers are set back to random weights in three ways: "cascading", from the output down to the input, in `steps`
    steps; "independent", each step's layers alone; and all of them, `draws` times. The likeness is Spearman's rank
    correlation, over the pixels of a spatial gate that show the picture, or over the channels of a channel gate. For
    the verdict its absolute value is taken, because a random network may turn a map over.

    A gate is computed on the way forward, so layers behind it cannot change it: along the cascade its correlation stays
    at 1 until the first layer before it is reached. That is no fault; the last step is what counts. A gate is flagged
    if its mean absolute correlation there is 0.7 or more, half of the variance of the ranks: then the picture and the
    architecture alone make most of the map. A gate that is not flagged depends on the weights, which is necessary for
    an explanation and not sufficient. A gate that is constant in both networks has correlation 1; in one only, none.

    Args:
        predictor: A model with at least one attention gate.
        data: Pictures with their masks, which are not used.
        steps: Groups that the layers are divided into, at least 1.
        draws: How often all layers are randomised, at least 1.
        seed: Seed of the weights and the interval.
        pictures: Take that many pictures of the dataset, at even steps; None takes all.
        on_image: Called with the number of pictures done.

    Raises:
        ValueError: If the model has no gate or no weights, `steps` or `draws` is below 1, or the data set does not fit
            the model.

    Example:
        >>> from seglab import build_model, load_dataset
        >>> model = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
        >>> data = load_dataset("synthetic", None, count=(1, 1, 2), size=(32, 32)).test
        >>> result = weight_randomisation(model, data, steps=2, draws=1)
        >>> result.correlations["cascading"].shape, result.full.shape
        ((2, 2, 2), (2, 1, 2))

    Reference:
        J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, section 3.
        Differs: gates instead of saliency maps, whole groups of layers per step, torch's default start for every layer,
        and a threshold, which the paper leaves to the reader.
    """
    part = RandomisationPart(predictor, find_gates(predictor), steps, draws, seed)
    return part.result(walk(predictor, data, [part], pictures, on_image))


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation, in [-1, 1]; equal values share their mean rank.

    Args:
        a: Numbers.
        b: As many numbers.

    Returns:
        1 if both are constant: nothing changed. NaN if one is constant: it has no order to compare.

    Raises:
        ValueError: If they are not of one shape, or empty.

    Example:
        >>> rank_correlation([1, 2, 3, 4], [1, 2, 4, 3])
        0.8
    """
    first, second = np.asarray(a, float).ravel(), np.asarray(b, float).ravel()
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"a and b must hold equally many numbers, at least 1; got {len(first)} and {len(second)}.")
    x, y = (_ranks(values) - (len(values) + 1) / 2 for values in (first, second))
    spread = float(np.sqrt((x @ x) * (y @ y)))
    if spread == 0:
        return float("nan") if x.any() or y.any() else 1.0
    return float(np.clip(x @ y / spread, -1, 1))


class RandomisationPart:
    """Weight randomisation, fed picture by picture."""

    def __init__(self, predictor: Predictor, gates: Sequence[Gate], steps: int, draws: int, seed: int) -> None:
        if steps < 1 or draws < 1:
            raise ValueError(f"steps and draws must be at least 1; got {steps} and {draws}.")
        self.trained, self.gates, self.seed, self.draws = Recorder(predictor), gates, seed, draws
        self.scrambled = _Scrambled(predictor, steps, seed)
        self.side = padded_side(predictor.model, predictor.size)
        self.rows: dict[str, list[Floats]] = {name: [] for name in (*SCHEMES, "full")}

    def add(self, picture: Picture) -> None:
        """Correlations of one picture."""
        batch, box = self.trained.predictor.prepare(picture.image)
        trained, net = self._gates(self.trained, batch, box), self.scrambled

        def likeness() -> list[float]:
            random = self._gates(net.recorder, batch, box)
            return [rank_correlation(a, b) for a, b in zip(trained, random, strict=True)]

        cascading, independent, full = [], [], []
        for step in range(len(net.groups)):
            net.randomise([step], draw=0)
            cascading.append(likeness())
        full.append(cascading[-1])
        for draw in range(1, self.draws):
            net.randomise(range(len(net.groups)), draw)
            full.append(likeness())
        net.restore(range(len(net.groups)))
        for step in range(len(net.groups)):
            net.randomise([step], draw=0)
            independent.append(likeness())
            net.restore([step])
        for name, rows in zip(self.rows, (cascading, independent, full), strict=True):
            self.rows[name].append(np.array(rows).T)  # (G, T) or (G, D)

    def _gates(self, recorder: Recorder, batch: Tensor, box: Box) -> list[Floats]:
        """Values of every gate for a batch of one picture, padding left out."""
        recorder.predictor.forward(batch)
        found = []
        for gate in self.gates:
            values = recorder.gates[gate.path][0].double().cpu().numpy()  # (C, h, w)
            found.append(values[:, inside(values.shape[1:], box, self.side)].ravel())
        return found

    def result(self, names: tuple[str, ...]) -> Randomisation:
        """Correlations with a row for every gate."""
        tables = {name: np.stack(rows, axis=-1) for name, rows in self.rows.items()}
        full = tables.pop("full")
        rows = []
        for gate, correlations in zip(self.gates, full, strict=True):  # (D, N)
            strength = _mean_known(np.abs(correlations), axis=0)
            difference = paired_difference(np.zeros(len(strength)), strength, seed=self.seed)
            rows.append(GateSanity(gate.stage, gate.kind, difference))
        model, layers = self.trained.predictor.name, self.scrambled.labels
        return Randomisation(model, names, tuple(rows), layers, tables, full, self.seed)


class _Scrambled:
    """A model of its own whose layers can be set back to random weights, and to the trained ones."""

    def __init__(self, predictor: Predictor, steps: int, seed: int) -> None:
        self.trained, self.seed = predictor.model, seed
        other = copy(predictor)
        other.model = deepcopy(predictor.model)
        self.recorder = Recorder(other)
        self.model: nn.Module = other.model
        paths = _layers_from_output(predictor)
        self.groups = [tuple(group) for group in np.array_split(np.array(paths, object), min(steps, len(paths)))]
        self.labels = tuple(_label(group) for group in self.groups)

    def randomise(self, steps: Sequence[int], draw: int) -> None:
        """Random weights for the layers of these steps; equal draws give equal weights."""
        for step in steps:
            state = torch.get_rng_state()
            try:
                torch.default_generator.manual_seed(
                    int(np.random.SeedSequence((self.seed, draw, step)).generate_state(1)[0])
                )
                for path in self.groups[step]:
                    fresh = _fresh(self.trained.get_submodule(path))
                    self._write(path, fresh)
            finally:
                torch.set_rng_state(state)

    def restore(self, steps: Sequence[int]) -> None:
        """Trained weights for the layers of these steps."""
        for step in steps:
            for path in self.groups[step]:
                self._write(path, _own(self.trained.get_submodule(path)))

    def _write(self, path: str, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in _own(self.model.get_submodule(path)).items():
                tensor.copy_(values[name])


def _own(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a module itself, not of those in it."""
    return dict(chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False)))


def _fresh(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as they are before training.

    A module that cannot start anew gets parameters drawn with the mean and spread of its own; a single number, such as
    the factor of a residual CBAM, has no spread and stays.
    """
    again: Any = deepcopy(module).cpu()
    start = getattr(again, "reset_parameters", None) or getattr(again, "_reset_parameters", None)
    if start is not None:
        start()
        return _own(again)
    drawn = _own(module)
    for name, tensor in module.named_parameters(recurse=False):
        values = tensor.detach().float().cpu()
        drawn[name] = values.mean() + values.std(correction=0) * torch.randn(values.shape)
    return drawn


def _layers_from_output(predictor: Predictor) -> list[str]:
    """Paths of all modules with weights of their own, the last to be used first."""
    model, used = deepcopy(predictor.model), dict[str, int]()

    def note(path: str, module: nn.Module, inputs: object, output: object) -> None:
        used.setdefault(path, len(used))

    paths = [path for path, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None]
    if not paths:
        raise ValueError(f"the model must have weights to randomise; got none in {predictor.name}.")
    for path in paths:
        model.get_submodule(path).register_forward_hook(partial(note, path))
    probe = next(model.parameters())
    with torch.inference_mode():
        model(torch.zeros(1, 3, predictor.size, predictor.size, device=probe.device))
    places, last = {}, -1
    for path in paths:  # what is used without a call of its own belongs to the module named before it
        last = places[path] = used.get(path, last)
    return sorted(paths, key=lambda path: places[path], reverse=True)


def _label(group: Sequence[str]) -> str:
    """First and last layer of a group, without what all paths begin with."""
    first, last = (path.removeprefix("net.") or "network" for path in (group[0], group[-1]))
    return first if len(group) == 1 else f"{first} to {last}"


def _ranks(values: Floats) -> Floats:
    """Rank of every value from 1, equal values sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place.ravel()]
    return ranks


def _mean_known(values: Floats, axis: int) -> Floats:
    """Mean along an axis of the values that are there; NaN of none."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0).sum(axis=axis), known.sum(axis=axis)
    means: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means


def _means(correlations: Floats) -> Floats:
    """Mean over pictures: (G, T, N) -> (G, T)."""
    return _mean_known(correlations, axis=-1)


def _nested(values: Floats) -> list[list[float | None]]:
    """Rows of numbers for JSON."""
    return [[null(one) for one in row] for row in values.round(6).tolist()]
