"""Run every model on every picture under every disturbance, and count."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from seglab import metrics
from seglab.contract import require_name
from seglab.corruptions import corrupt, find_corruption, list_corruptions
from seglab.data import Dataset, picture_digest
from seglab.data._seen import seen
from seglab.images import Picture
from seglab.inference import Predictor
from seglab.robustness._result import Robustness, Sweep

__all__ = ["robustness"]


def robustness(
    predictors: Mapping[str, Predictor],
    data: Dataset,
    *,
    corruptions: Sequence[str] | None = None,
    severities: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
    on_image: Callable[[int], None] | None = None,
) -> Robustness:
    """Dice of every model on every picture under every disturbance, at each picture's own size.

    Each picture is read once, and disturbed once for all models, at its own size, before a model shrinks it. Its true
    mask is never disturbed.

    Args:
        predictors: Models by name; the others are compared with the first.
        data: The pictures with their masks.
        corruptions: Names of `list_corruptions()`; None takes all.
        severities: Severities by name of the disturbance, in its unit, for those that are not to have their five usual
            ones. The severity that means "none" is always added.
        seed: Of noise and hair.
        on_image: Called with the number of pictures done, for progress bars.

    Raises:
        ValueError: If there is no model or no picture, a model has other classes than the data, a name is unknown, or a
            severity is out of range.

    Example:
        >>> from seglab import build_model, load_dataset
        >>> plain = Predictor(build_model("unet", 1, width=4), size=32)
        >>> data = load_dataset("synthetic", size=32, count=12).test
        >>> result = robustness({"plain": plain}, data, corruptions=["noise"], severities={"noise": [20, 40]})
        >>> result.sweep("noise").severities, result.areas("noise").shape == (1, len(data))
        ((0, 20, 40), True)
    """
    axes = _axes(corruptions, severities or {})
    _require(predictors, data)
    counted: dict[str, list[torch.Tensor]] = {name: [] for name in axes}
    names, sides, fitted = [], [], dict.fromkeys(predictors, 0)
    known = {name: _trained_on(predictor) for name, predictor in predictors.items()}
    for index in range(len(data)):
        sample = data[index]
        image = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
        names.append(sample.name)
        sides.append(min(image.shape[:2]))
        for name in predictors:
            fitted[name] += picture_digest(sample.image) in known[name]
        clean = _count(predictors, seen(data, index, image), sample.mask)
        for name, axis in axes.items():
            rows = []
            for level in axis:
                other = level != find_corruption(name).none
                picture = corrupt(image, name, level, seed=seed, index=index) if other else image
                rows.append(_count(predictors, picture, sample.mask) if other else clean)
            counted[name].append(torch.stack(rows, dim=1))
        if on_image is not None:
            on_image(index + 1)
    sweeps = tuple(Sweep(name, axis, torch.stack(counted[name], dim=2)) for name, axis in axes.items())
    notes = _notes(sweeps[0].counts[0, 0], sides, fitted)
    return Robustness(tuple(predictors), tuple(names), tuple(data.classes), sweeps, seed, notes)


def _axes(corruptions: Sequence[str] | None, severities: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    """Severities of every disturbance in the order of its axis: ascending, or descending if the highest means none."""
    names = list_corruptions() if corruptions is None else list(dict.fromkeys(corruptions))
    if not names:
        raise ValueError("corruptions must name at least one; got none.")
    for name in names:
        require_name("corruption", name, list_corruptions())
    for name in severities:
        require_name("corruption with severities", name, names)
    axes = {}
    for name in names:
        found = find_corruption(name)
        levels = severities.get(name, found.severities)
        for level in levels:
            found.require(level)
        if set(levels) <= {found.none}:
            raise ValueError(f"severities of {name} must hold one besides {found.none:g}, none; got {list(levels)}.")
        axis = sorted({*levels, found.none})
        axes[name] = tuple(axis[::-1] if axis[-1] == found.none else axis)
    return axes


def _require(predictors: Mapping[str, Predictor], data: Dataset) -> None:
    """Refuse models and data that do not go together."""
    if not predictors:
        raise ValueError("robustness needs at least one model; got none.")
    if len(data) == 0:
        raise ValueError("the data set must hold at least one picture; got none.")
    for name, predictor in predictors.items():
        classes = max(2, predictor.num_classes)
        if len(data.classes) != classes:
            got = f"{len(data.classes)}: {data.classes}"
            raise ValueError(f"the data set must have the {classes} classes of {name}; got {got}.")


def _count(predictors: Mapping[str, Predictor], image: NDArray[np.uint8] | Picture, mask: torch.Tensor) -> torch.Tensor:
    """Counts of every model on one picture, (M, K, K)."""
    tables = []
    for predictor in predictors.values():
        pred = torch.from_numpy(predictor(image).mask)[None]
        tables.append(metrics.counts(pred, mask[None], predictor.num_classes)[0])
    return torch.stack(tables)


def _notes(counts: torch.Tensor, sides: Sequence[int], fitted: Mapping[str, int]) -> dict[str, str]:
    """What a reader must know, from the counts (N, K, K) of one model and the shorter sides of the pictures."""
    empty = int((counts[:, 1:].sum(dim=(1, 2)) == 0).sum())
    notes = {
        "size": f"disturbed and scored at each picture's own size; shorter side {min(sides)} to {max(sides)} pixels",
        "empty_masks": f"{empty} pictures have no object in their true mask and are left out of every Dice",
        "area": "normalised trapezoid of Dice over the severities shown, equally spaced, none included",
    }
    told = [f"{count} in {name}" for name, count in fitted.items() if count]
    if told:
        notes["trained_on"] = f"pictures that were in the training set: {', '.join(told)}; its scores here flatter it"
    return notes


def _trained_on(predictor: Predictor) -> frozenset[str]:
    """Digests of the pictures the model was fitted to, as far as its checkpoint tells."""
    card = predictor.description.card if predictor.description else {}
    told = card.get("trained_on", [])
    return frozenset(told if isinstance(told, list) else [])
