"""Every gate of a model by stage and kind, and a predictor in which gates can be replaced."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seglab.contract import PADDING_GREY
from seglab.explain._maps import Recorder, gates_of, owner_of, stage_names, stage_rank, twin
from seglab.exported import require_layers
from seglab.inference import Box, Predictor

__all__ = ["KINDS", "Gate", "Switch", "find_gates", "inside", "replaced"]

KINDS = ("channel", "spatial")

Change = Callable[[Tensor], Tensor]


class Gate(NamedTuple):
    """One gate of a model."""

    stage: str  # as `attention_maps` names it
    kind: str  # one of KINDS
    path: str  # of its `AttentionMap` in the model


def find_gates(predictor: Predictor) -> tuple[Gate, ...]:
    """Every gate that a prediction passes, in the order encoder, bottleneck, skip, decoder, channel before spatial.

    Raises:
        ValueError: If the model has none, or is an exported ONNX file.
    """
    require_layers(predictor)
    recorder, side = Recorder(predictor), predictor.size
    if recorder.predictor is predictor:
        raise ValueError(
            f"the model must have an attention gate to test, for example a CBAM; {predictor.name} has none."
        )
    grey = np.full((side, side, 3), PADDING_GREY, np.uint8)
    recorder.predictor.forward(recorder.predictor.prepare(grey)[0])
    owners = {path: owner_of(predictor.model, path, gate) for path, gate in recorder.gates.items()}
    names = stage_names(predictor.model, (owner for owner, _ in owners.values()))
    found = [Gate(names[owner], KINDS[not is_channel], path) for path, (owner, is_channel) in owners.items()]
    return tuple(sorted(found, key=lambda one: (*stage_rank(one.stage), one.stage, one.kind)))


class Switch:
    """A predictor whose gates can be replaced; the one given and its model stay as they are.

    Args:
        predictor: Whose weights are shared.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor: Predictor = twin(predictor)
        self.changes: Mapping[str, Change] = {}
        for path, module in gates_of(self.predictor.model).items():
            module.register_forward_hook(partial(self._change, path))

    def forward(self, batch: Tensor, changes: Mapping[str, Change]) -> Tensor:
        """Logits of a batch, as `Predictor.forward`, with the gates at these paths changed."""
        self.changes = changes
        try:
            return self.predictor.forward(batch)
        finally:
            self.changes = {}

    def _change(self, path: str, module: nn.Module, inputs: object, gate: Tensor) -> Tensor | None:
        change = self.changes.get(path)
        return None if change is None else change(gate)


def replaced(gate: Tensor, how: str, box: Box, side: int, seed: tuple[int, ...]) -> Tensor:
    """The gate of one picture with its values replaced: (1, C, h, w) -> (1, C, h, w).

    Args:
        gate: As the model made it.
        how: "one", "mean" or "shuffled".
        box: Where the picture lies in the letterbox.
        side: Of the square that the gate covers, in pixels of the letterbox.
        seed: Of the permutation.
    """
    if how == "one":
        return torch.ones_like(gate)
    here = torch.from_numpy(inside(gate.shape[-2:], box, side)).to(gate.device).expand(gate.shape)
    values, changed = gate[here], gate.clone()
    if how == "mean":
        changed[here] = values.mean()
    else:
        order = np.random.default_rng(seed).permutation(len(values))
        changed[here] = values[torch.from_numpy(order).to(gate.device)]
    return changed


def inside(shape: tuple[int, ...], box: Box, side: int) -> np.ndarray:
    """Cells of a map (h, w) that show some of the picture and not the padding only, (h, w) bool.

    Args:
        shape: Height and width of the map.
        box: Where the picture lies in the letterbox.
        side: Of the square that the map covers, in pixels of the letterbox.

    Example:
        >>> inside((4, 2), Box(3, 0, 2, 8, 2, 8), 8).astype(int).tolist()  # rows 3 and 4 of 8, two to a cell
        [[0, 0], [1, 1], [1, 1], [0, 0]]
    """
    cells = np.zeros(shape, bool)
    spans = []
    for length, start, size in ((shape[0], box.top, box.height), (shape[1], box.left, box.width)):
        spans.append(slice(start * length // side, math.ceil((start + size) * length / side)))
    cells[tuple(spans)] = True
    return cells
