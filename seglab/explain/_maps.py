"""Attention maps of one picture, and maps of where masks err and agree."""

import re
from collections.abc import Callable, Iterable
from copy import copy, deepcopy
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from seglab.blocks import CBAM, AttentionMap, ChannelAttention
from seglab.contract import IGNORE_INDEX
from seglab.exported import require_layers
from seglab.images import Picture
from seglab.palette import CORRECT, EXTRA, MISSED

__all__ = ["Recorder", "StageAttention", "agreement_map", "attention_maps", "error_map"]

STAGES = ("encoder", "bottleneck", "skip", "decoder")

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class StageAttention(NamedTuple):
    """The gates of one attention module for one picture."""

    name: str  # "encoder 1", "bottleneck", "skip 1", "decoder 1", "skip 1 boundary"; 1 is the finest level
    channel: Floats  # (C,) in [0, 1]; empty if the module has no channel gate
    gate: Floats  # (h, w) in [0, 1], as the model made it, padding included
    side: int  # of the square that `gate` covers, in pixels of the model's input
    back: Callable[[NDArray[Any]], NDArray[Any]]  # from maps of the letterbox to maps of the picture

    @property
    def spatial(self) -> Floats:
        """Spatial gate (H, W) float32 in [0, 1] at the picture's own size, padding cut off.

        It is worked out when asked for: kept for every stage of a large picture it would fill the memory.
        """
        import cv2  # a heavy module

        square = cv2.resize(self.gate, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        full: Floats = self.back(square[None])[0]
        return full


class Recorder:
    """A predictor whose model keeps its gates, to predict and to explain in one forward pass.

    Its model is a copy of the modules that shares the weights: hooks on the model itself would also hear what other
    threads predict. So one recorder is for one thread; any number of recorders may share a predictor.

    Args:
        predictor: A `seglab.Predictor`.

    Attributes:
        predictor: Calls like the one given, with the same results.
        gates: Gate of every `AttentionMap` in the last forward pass, by module path.

    Example:
        >>> from seglab import Predictor, build_model
        >>> recorder = Recorder(Predictor(build_model("unet", 1, width=4, cbam="skip"), size=32))
        >>> image = np.zeros((40, 60, 3), np.uint8)
        >>> recorder.predictor(image).mask.shape, list(recorder.stages(image))
        ((40, 60), ['skip 1', 'skip 2', 'skip 3', 'skip 4'])
    """

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor
        self.gates: dict[str, Tensor] = {}
        if not gates_of(predictor.model):
            return
        self.predictor = twin(predictor)
        for path, module in gates_of(self.predictor.model).items():
            module.register_forward_hook(partial(self._keep, path))

    def _keep(self, path: str, module: nn.Module, inputs: object, gate: Tensor) -> None:
        self.gates[path] = gate

    def stages(self, image: Bytes | Picture) -> dict[str, StageAttention]:
        """Gates of the picture (H, W, 3) uint8 that was predicted last, by stage; see `attention_maps`."""
        if not self.gates:
            return {}
        if self.predictor.tta or self.predictor.tile is not None:  # the last pass saw a part, or a turned picture
            self.predictor.forward(self.predictor.prepare(image)[0])
        model, (batch, box) = self.predictor.model, self.predictor.prepare(image)
        back, side = partial(self.predictor.restore, box=box), padded_side(model, batch.shape[-1])
        stages: dict[str, StageAttention] = {}
        owners = {path: owner_of(model, path, gate) for path, gate in self.gates.items()}
        names = stage_names(model, (owner for owner, _ in owners.values()))
        for path, gate in self.gates.items():
            owner, is_channel = owners[path]
            values = gate[0].float().cpu().numpy()
            # A gate that is not there lets everything through.
            stage = stages.get(owner) or StageAttention(
                names[owner], np.zeros(0, np.float32), np.ones((1, 1), np.float32), side, back
            )
            stages[owner] = stage._replace(**{"channel": values[:, 0, 0]} if is_channel else {"gate": values[0]})
        return {stage.name: stage for stage in sorted(stages.values(), key=lambda one: stage_rank(one.name))}


def attention_maps(predictor: Any, image: Any) -> dict[str, StageAttention]:
    """Channel and spatial gates of every attention module for one picture.

    A gate says by what a map was multiplied: where the network looked, not how sure it is, and not why. One forward
    pass is made, and other threads may use the predictor meanwhile. The levels of encoder, skips and decoder are
    numbered alike: 1 is the finest, every further one half of it. Where several modules attend at one place, each has
    its own name there, as in "skip 1 reverse" and "skip 1 boundary".

    Args:
        predictor: A `seglab.Predictor`.
        image: Anything `seglab.images.read_image` takes.

    Returns:
        Stages by name, in the order encoder, bottleneck, skip, decoder; empty if the model has no attention module.

    Raises:
        ImageError: If the picture cannot be read.
        ValueError: If the model is an exported ONNX file.

    Example:
        >>> from seglab import Predictor, build_model
        >>> predictor = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
        >>> stage = attention_maps(predictor, np.zeros((40, 60, 3), np.uint8))["bottleneck"]
        >>> stage.channel.shape, stage.gate.shape, stage.spatial.shape
        ((64,), (2, 2), (40, 60))

    Reference:
        S. Woo et al., "CBAM", ECCV 2018, eq. 2 and 3.
    """
    require_layers(predictor)
    recorder, pixels = Recorder(predictor), Picture(image)
    if recorder.predictor is predictor:  # nothing to record
        return {}
    recorder.predictor.forward(recorder.predictor.prepare(pixels)[0])
    return recorder.stages(pixels)


def error_map(pred: NDArray[Any], target: NDArray[Any], *, ignore_index: int | None = IGNORE_INDEX) -> Bytes:
    """Where a mask is right, draws too much or misses.

    Args:
        pred: Predicted class indices (H, W); above 0 is object.
        target: True class indices (H, W).
        ignore_index: True value of pixels whose class is unknown; None if there are none.

    Returns:
        (H, W) uint8: 0 true background, 1 `CORRECT`, 2 `EXTRA`, 3 `MISSED`, 255 unknown. An object drawn as another
        class than it is counts as `EXTRA`. All 0 if both masks are empty.

    Raises:
        ValueError: If the masks are not of one shape (H, W).

    Example:
        >>> error_map(np.array([[0, 1, 1, 0, 1]]), np.array([[0, 1, 0, 1, 255]]))
        array([[  0,   1,   2,   3, 255]], dtype=uint8)
    """
    pred, target = np.asarray(pred), np.asarray(target)
    if pred.ndim != 2 or pred.shape != target.shape:
        raise ValueError(f"target must have pred's shape {pred.shape}, (H, W); got {target.shape}.")
    codes = np.zeros(pred.shape, np.uint8)
    codes[pred > 0] = EXTRA
    codes[(pred > 0) & (pred == target)] = CORRECT
    codes[(pred == 0) & (target > 0)] = MISSED
    if ignore_index is not None:
        codes[target == ignore_index] = IGNORE_INDEX
    return codes


def agreement_map(a: NDArray[Any], b: NDArray[Any]) -> Bytes:
    """Where two masks draw the same object.

    Args:
        a: Class indices (H, W) of the first; above 0 is object.
        b: Those of the second.

    Returns:
        (H, W) uint8: 0 neither, 1 both, 2 only the second, 3 only the first. An object on which the two disagree by
        class counts as 2.

    Raises:
        ValueError: If the masks are not of one shape (H, W).

    Example:
        >>> agreement_map(np.array([[0, 1, 0, 1]]), np.array([[0, 1, 1, 0]]))
        array([[0, 1, 2, 3]], dtype=uint8)
    """
    return error_map(b, a, ignore_index=None)


def gates_of(model: nn.Module) -> dict[str, AttentionMap]:
    """Every `AttentionMap` of a model by its path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, AttentionMap)}


def twin(predictor: Any) -> Any:
    """A predictor whose model is a copy of the modules that shares the weights: hooks on it are its own."""
    model: nn.Module = predictor.model
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    other = copy(predictor)
    other.model = deepcopy(model, shared)
    return other


def padded_side(model: nn.Module, size: int) -> int:
    """Side of the square that the network itself sees, in pixels: Segmenter pads to a multiple of the stride."""
    stride = getattr(model, "stride", 1)
    return size + (-size % stride if isinstance(stride, int) else 0)


def owner_of(model: nn.Module, path: str, gate: Tensor) -> tuple[str, bool]:
    """Path of the attention module that a gate belongs to, and whether the gate weighs channels."""
    owner = path.rpartition(".")[0]
    is_channel = isinstance(model.get_submodule(owner), ChannelAttention) or gate.shape[1] > 1
    above = owner.rpartition(".")[0]
    return (above if isinstance(model.get_submodule(above), CBAM) else owner), is_channel


def stage_names(model: nn.Module, owners: Iterable[str]) -> dict[str, str]:
    """Readable name of every attention module by its path; of several at one place, what each is called there too."""
    names = {owner: stage_name(model, owner) for owner in owners}
    crowded = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {owner: f"{name} {owner.rpartition('.')[2]}" if name in crowded else name for owner, name in names.items()}


def stage_name(model: nn.Module, path: str) -> str:
    """Readable name of an attention module, from its place in the model; its path where nothing is known."""
    encoder = re.fullmatch(r"(.*\b|)attention\.(\d+)", path)
    if encoder:
        number, last = int(encoder[2]) + 1, len(list(model.get_submodule(path.rpartition(".")[0]).children()))
        return "bottleneck" if number == last else f"encoder {number}"
    level = re.match(r"(.*\blevels|levels|.*\bdecoder)\.(\d+)\.(skip|attend)\b", path)
    if level:  # the decoder lists its levels from the coarsest
        levels = len(list(model.get_submodule(level[1]).children()))
        return f"{'skip' if level[3] == 'skip' else 'decoder'} {levels - int(level[2])}"
    return path or "attention"


def stage_rank(name: str) -> tuple[int, int]:
    """Place of a stage in the order of the data's way, by its name; unknown ones last."""
    kind, number, *_ = [*name.split(" "), ""]
    return (STAGES.index(kind), int(number) if number.isdigit() else 0) if kind in STAGES else (len(STAGES), 0)
