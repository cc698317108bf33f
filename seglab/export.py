"""ONNX out: one file that describes itself and answers as the model does, or no file."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seglab.checkpoint import Description, load_model, load_run
from seglab.exported import ExportedNet, first_line, read_exported, require_layers, require_onnx, sealed
from seglab.files import atomic
from seglab.inference import Predictor, to_probs

__all__ = ["MAX_DIFFERENCE", "MAX_FLIPPED", "Exported", "check_pictures", "graph_of", "serialised", "to_onnx"]

MAX_DIFFERENCE = 1e-4  # of a probability
MAX_FLIPPED = 1e-4  # share of the pixels that may change class
MAX_SIDE = 8192
FREE = (("batch", "height", "width"), ("batch",), ())  # what a caller may choose, the most useful first


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its answers are from the model's."""

    path: Path
    free: tuple[str, ...]  # the dimensions that the file leaves to its caller, of batch, height and width
    size: int  # side of the pictures it was checked on, in pixels
    stride: int  # height and width, where free, must be multiples of it
    difference: float  # largest, of a probability
    flipped: int  # pixels that change class
    pixels: int  # compared

    def __str__(self) -> str:
        """One line for a terminal."""
        shape = f"fixed at {self.size} x {self.size} pixels"
        if "height" in self.free:
            shape = f"height and width any multiple of {self.stride}"
        return (
            f"{self.path}: {shape}, batch {'of any size' if 'batch' in self.free else 'of 1'}; largest difference "
            f"of a probability {self.difference:.1e}, {self.flipped} of {self.pixels} pixels change class"
        )


def to_onnx(
    source: str | Path | Predictor, target: str | Path, *, scores: list[dict[str, Any]] | None = None
) -> Exported:
    """Write a model as one ONNX file, with normalising inside and its description in the metadata.

    Its input `image` is (N, 3, H, W) float32 RGB in [0, 1], its output `logits` (N, K, H, W). N, H and W are left
    free if the model exports so and then answers right, otherwise N only, otherwise none: then the file takes one
    picture of the training size. Before anything is written, the file's answers to `check_pictures` are compared
    with the model's, and with H or W free, those to another size too. `Predictor.load` reads it.

    Args:
        source: Checkpoint, run folder (its best checkpoint), or Predictor.
        target: `.onnx` file to write.
        scores: From `seglab.cards.scores_of`, one for each test set, for the card.

    Returns:
        What was left free, and the differences.

    Raises:
        FileNotFoundError: If there is no such source.
        ImportError: If the onnx extra is not installed.
        OSError: If the disk is full or the folder cannot be written; an older file is then still there.
        ValueError: If `target` has another ending, the source is no checkpoint, the model cannot be exported, or the
            difference is above MAX_DIFFERENCE or MAX_FLIPPED; nothing is then written.

    Example:
        >>> to_onnx("runs/first", "first.safetensors")
        Traceback (most recent call last):
        ValueError: target must end in .onnx; got first.safetensors.
    """
    target = Path(target)
    if target.suffix != ".onnx":
        raise ValueError(f"target must end in .onnx; got {target.name}.")
    require_onnx()
    model, description = _source(source)
    if scores:
        description = replace(description, card=description.card | {"scores": scores})
    pictures, stride = check_pictures(description.size), int(getattr(model, "stride", 1))
    expected, reason = model(pictures), "nothing was tried"
    for free in FREE[description.size % stride > 0 :]:  # a picture that is padded inside cannot be of any size
        try:
            content = sealed(_graph(model, description.size, stride, free), description)
            net, _ = read_exported(content, "the exported model must be readable")
            _require_free(model, net, description.size, stride, free)
        except Exception as error:  # every operator has its own way to fail
            reason = first_line(error)
            continue
        difference, flipped = _difference(expected, net(pictures))
        result = Exported(target, free, description.size, stride, difference, flipped, expected[:, 0].numel())
        _require_equal(result)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic(target) as file:
            file.write(content)
        return result
    raise ValueError(f"model {description.title or description.model} cannot be exported to ONNX: {reason}.")


def graph_of(model: nn.Module, size: int) -> bytes:
    """A model as an ONNX graph for one picture of a size, without description and seal; an exported one as it is.

    Raises:
        ImportError: If the onnx extra is not installed.
        ValueError: If the model cannot be exported.
    """
    require_onnx()
    if isinstance(model, ExportedNet):
        return model.content
    plain = deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)
    return _graph(plain, size, int(getattr(model, "stride", 1)), ())


def check_pictures(size: int) -> Tensor:
    """The fixed pictures (6, 3, S, S) in [0, 1] that exported models are checked on.

    Grey, a slope, a disc, noise of two scales, and black.

    Example:
        >>> check_pictures(32).shape
        torch.Size([6, 3, 32, 32])
    """
    noise = torch.from_numpy(np.random.default_rng(0).random((2, 3, size, size), dtype=np.float32))
    slope = torch.linspace(0, 1, size).expand(3, size, size)
    across = torch.linspace(-1, 1, size) ** 2
    disc = torch.where(across[:, None] + across < 0.3, 0.3, 0.8) * torch.tensor([1, 0.8, 0.7])[:, None, None]
    coarse = nn.functional.interpolate(noise[:1, :, : size // 8, : size // 8], size=(size, size), mode="bilinear")[0]
    return torch.stack([torch.full_like(slope, 0.5), slope, disc, noise[1], coarse, torch.zeros_like(slope)])


class _Plain(nn.Module):
    """A Segmenter whose pictures need no padding and no checks, which would tie the file to one size."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.net, self.mean, self.std = model.net, model.mean, model.std

    def forward(self, image: Tensor) -> Any:
        """Logits."""
        return self.net((image - self.mean) / self.std)


def _source(source: str | Path | Predictor) -> tuple[nn.Module, Description]:
    """A copy of the model for the CPU, and its description."""
    if isinstance(source, Predictor):
        require_layers(source)
        model, description = deepcopy(source.model).cpu(), source.description
        name, knobs = str(getattr(model, "name", "custom")), dict(getattr(model, "knobs", {}))
        description = description or Description(
            name, knobs, source.num_classes, source.classes, source.size, source.name
        )
    else:
        model, description = load_run(Path(source)) if Path(source).is_dir() else load_model(source)
    # Plain memory order: an exporter follows tensors, not how they lie.
    return model.eval().requires_grad_(False).to(memory_format=torch.contiguous_format), description


def _graph(model: nn.Module, size: int, stride: int, free: tuple[str, ...]) -> bytes:
    """The model as a serialised ONNX model; nothing in it tells whose computer wrote it."""
    dim = torch.export.Dim
    shapes: dict[int, Any] = {0: dim("batch", min=1, max=4096)} if "batch" in free else {}
    if "height" in free:
        most = MAX_SIDE // stride
        shapes |= {2: stride * dim("rows", min=1, max=most), 3: stride * dim("columns", min=1, max=most)}
    wide = size + stride if "height" in free else size  # a square would tie height and width together
    network = _Plain(model).eval() if size % stride == 0 and hasattr(model, "net") else model
    with _quiet():
        program = torch.onnx.export(
            network, (torch.rand(2 if "batch" in free else 1, 3, size, wide),), input_names=["image"],
            output_names=["logits"], dynamo=True, dynamic_shapes=(shapes,) if shapes else None,
            external_data=False, verbose=False, optimize=True,
        )  # fmt: skip
    assert program is not None  # with dynamo=True it is there
    proto = program.model_proto
    _reduce_in_place(proto.graph)
    return serialised(proto)


def serialised(proto: Any) -> bytes:
    """An ONNX model as bytes, without what tells whose computer wrote it; the same model gives the same bytes."""
    _forget(proto)
    graph: bytes = proto.SerializeToString(deterministic=True)
    return graph


def _reduce_in_place(graph: Any) -> None:
    """Take means and maxima over axes of a tensor itself, not of a copy in another order, which costs a pass.

    A model moves axes to say in which order it reads; PyTorch moves no byte for that, an ONNX runtime does.
    """
    onnx = require_onnx()
    if any(one.HasField("g") for node in graph.node for one in node.attribute):
        return  # a graph inside may use what this one holds
    values, replaced = {one.name: one for one in graph.initializer}, set()
    for turn in [node for node in graph.node if node.op_type == "Transpose"]:
        order = next((list(one.ints) for one in turn.attribute if one.name == "perm"), [])
        users = [node for node in graph.node if turn.output[0] in node.input]
        axes = [_axes(node, values, order) for node in users]
        if not users or not all(axes) or turn.output[0] in {one.name for one in graph.output}:
            continue
        for number, (node, moved) in enumerate(zip(users, axes, strict=True)):
            name = f"{turn.output[0]}_axes_{number}"
            graph.initializer.append(onnx.numpy_helper.from_array(np.array(moved, np.int64), name))
            replaced.add(node.input[1])
            node.input[0], node.input[1] = turn.input[0], name
        graph.node.remove(turn)
    for name in replaced - {name for node in graph.node for name in node.input}:
        graph.initializer.remove(values[name])


def _axes(node: Any, values: dict[str, Any], order: list[int]) -> list[int]:
    """The axes that a reduction takes, counted before they were moved; none if the answer would be another."""
    onnx = require_onnx()
    drops = any(one.name == "keepdims" and one.i == 0 for one in node.attribute)
    if not node.op_type.startswith("Reduce") or not drops or len(node.input) < 2 or node.input[1] not in values:
        return []
    taken = {int(axis) % len(order) for axis in onnx.numpy_helper.to_array(values[node.input[1]]).ravel() if order}
    left = [order[axis] for axis in range(len(order)) if axis not in taken]
    return sorted(order[axis] for axis in taken) if left == sorted(left) else []


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's warnings are for its authors; what matters is compared afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _forget(message: Any) -> None:
    """Clear the metadata and comments, in which the exporter keeps the paths of source files."""
    for kind, value in message.ListFields():
        if kind.name in ("metadata_props", "doc_string"):
            message.ClearField(kind.name)
        elif kind.type == kind.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                _forget(part)


def _require_free(model: nn.Module, net: ExportedNet, size: int, stride: int, free: tuple[str, ...]) -> None:
    """Refuse a file that answers other shapes than the one it was made with wrongly."""
    if "height" not in free:
        return
    other = check_pictures(size + stride)[3:5, ..., :size]
    difference, _ = _difference(model(other), net(other))
    if not difference <= MAX_DIFFERENCE:
        raise ValueError(f"another height and width give another answer, by {difference:.1e}")


def _difference(expected: Tensor, got: Tensor) -> tuple[float, int]:
    """Largest difference of a probability, and how many pixels change class."""
    first, second = to_probs(expected), to_probs(got)
    if first.shape != second.shape:
        return float("inf"), first[:, 0].numel()
    changed = (first > 0.5) != (second > 0.5) if first.shape[1] == 1 else first.argmax(1) != second.argmax(1)
    return float((first - second).abs().max()), int(changed.sum())


def _require_equal(result: Exported) -> None:
    """Refuse a file whose answers are not the model's.

    Raises:
        ValueError: With the differences.
    """
    limit = int(MAX_FLIPPED * result.pixels)
    if not result.difference <= MAX_DIFFERENCE or result.flipped > limit:
        raise ValueError(
            f"the exported model must differ by at most {MAX_DIFFERENCE:.0e} in probability and in {limit} of "
            f"{result.pixels} pixels; got {result.difference:.1e} and {result.flipped}. {result.path} was not written."
        )
