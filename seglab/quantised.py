"""ONNX out in 8 bits: two to three times as fast as the float file, if held-out pictures show that nothing is lost.

Weights and activations become whole numbers from a range of 256, so a processor multiplies four times as many at once.
What is lost is rounding: a pixel whose probability is near 0.5 may change class. So no file is written on trust.
"""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seglab import metrics
from seglab.contract import Sample
from seglab.data import Dataset, picture_digest
from seglab.export import serialised, to_onnx
from seglab.exported import read_exported, require_onnx, sealed
from seglab.files import atomic
from seglab.images import read_image
from seglab.inference import Predictor

__all__ = ["MAX_DROP", "MAX_FLIPPED", "WAYS", "Quantised", "Way", "to_int8"]

Data = Dataset | Sequence[Any]  # samples with masks, or pictures only
MAX_DROP = 0.002  # of the mean Dice per image, where held-out pictures have masks
MAX_FLIPPED = 1e-3  # share of pixels that may change class, where they have none


class Way(NamedTuple):
    """One way to choose what becomes int8."""

    name: str
    percentile: float | None  # of an activation's values that its range holds; None: all of them
    ends_in_float: bool  # whether the first and the last convolution stay in float


WAYS = (  # in the order they are tried, the fastest first
    Way("all convolutions", None, ends_in_float=False),
    Way("all convolutions, ranges without outliers", 99.99, ends_in_float=False),
    Way("all convolutions but the first and the last, ranges without outliers", 99.99, ends_in_float=True),
)
CONVOLUTIONS = ["Conv", "ConvTranspose"]
# What lies between convolutions, so that numbers stay in int8 on their way.
BETWEEN = ["Relu", "Clip", "MaxPool", "AveragePool", "Concat", "Resize", "Add"]


@dataclass(frozen=True)
class Quantised:
    """What was written, and how far its answers are from the model's on held-out pictures."""

    path: Path
    way: str  # of WAYS
    pictures: int  # it was calibrated on
    held_out: int = 0  # pictures it was compared on
    before: float | None = None  # mean Dice per image (`dice_fg_image` of a report) of the model; None without masks
    after: float | None = None  # of the file
    flipped: float = 1.0  # share of the held-out pixels that change class

    def __str__(self) -> str:
        """One line for a terminal."""
        return (
            f"{self.path}: int8, {self.way}, calibrated on {self.pictures} pictures; on {self.held_out} others "
            f"{_told(self)}"
        )


def to_int8(
    source: str | Path | Predictor, target: str | Path, *, pictures: Data,
    held_out: Data, count: int = 64,
) -> Quantised:  # fmt: skip
    """Write a model as one ONNX file in int8, calibrated on training pictures and compared on held-out ones.

        q = round(x / scale) + zero,    scale = (highest - lowest) / 255

    Weights get one scale for each output channel and 8 bits with a sign, activations one scale for each tensor, from
    the pictures, and 8 bits without. Logits are added up in float, and attention gates stay in float. The file is
    otherwise that of `to_onnx`: same input, output, free dimensions, description and hashes, and `Predictor.load`
    reads it. Its title ends in int8, and its card says how it was made (`int8`); scores of the float model are left
    out of it.

    The WAYS are tried in turn, and the first whose answers pass is written. With masks, the mean Dice per image may
    fall by MAX_DROP. Without masks nobody can say whether a changed pixel was right before, so each counts as wrong:
    MAX_FLIPPED of them may change. Rounding moves pixels at borders, to both sides, so Dice usually falls by a small
    part of their share, and the second rule is the stricter one.

    Args:
        source: Checkpoint, run folder (its best checkpoint), or Predictor.
        target: `.onnx` file to write.
        pictures: Training pictures: a dataset, or anything that `read_image` takes. `count` of them at even steps are
            letterboxed as the model sees them and give the ranges.
        held_out: Others, for the comparison: a dataset with masks, or pictures only.
        count: Pictures to calibrate on, at least 1.

    Returns:
        The way taken, and how far the answers moved.

    Raises:
        FileNotFoundError: If there is no such source.
        ImageError: If a picture cannot be read.
        ImportError: If the onnx extra is not installed.
        OSError: If the disk is full or the folder cannot be written; an older file is then still there.
        ValueError: If `to_onnx` refuses the model, there is no picture, a calibration picture is held out too, the
            masks show no object, or the answers move too far in every way; nothing is then written.

    Example:
        >>> to_int8("runs/first", "first.safetensors", pictures=[], held_out=[])
        Traceback (most recent call last):
        ValueError: target must end in .onnx; got first.safetensors.

    Reference:
        B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
        Inference", CVPR 2018, sec. 2.1 and 3.
        Differs: no training with simulated rounding; ranges come from pictures after training. Processors without
        VNNI may overflow in ONNX Runtime (see its page on quantization): score the file on the machine that runs it.
    """
    target = Path(target)
    if target.suffix != ".onnx":
        raise ValueError(f"target must end in .onnx; got {target.name}.")
    if count < 1:
        raise ValueError(f"count must be at least 1; got {count}.")
    if not len(pictures) or not len(held_out):
        raise ValueError(
            f"int8 must have pictures to calibrate on and others to compare on; got {len(pictures)} and "
            f"{len(held_out)}. Give both."
        )
    require_onnx()
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "float.onnx"
        to_onnx(source, plain)
        before = Predictor.load(plain)
        squares = _squares(before, pictures, held_out, count)
        tried = []
        for way in WAYS:
            graph, start = _in_int8(before, squares, way, Path(folder)), Quantised(target, way.name, len(squares))
            tried.append(_compared(before, _opened(graph, before), held_out, start))
            if _passes(tried[-1]):
                return _written(tried[-1], graph, before)
    best = min(tried, key=lambda one: (_drop(one), one.flipped))
    rule = f"fall by at most {MAX_DROP:g} in mean Dice" if best.before is not None else f"flip at most {MAX_FLIPPED:g}"
    raise ValueError(
        f"answers in int8 must {rule}; got {_told(best)} with {best.way}, the best of {len(WAYS)} ways. {target} was "
        "not written. Calibrate on more pictures of the kind, give masks, or export in float."
    )


def _image(item: Any) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) of a dataset's sample or of a picture."""
    if isinstance(item, Sample):
        return np.ascontiguousarray(item.image.permute(1, 2, 0).numpy())
    return read_image(item)


def _digest(item: Any) -> str:
    """The picture's pixels, by their hash."""
    return picture_digest(torch.from_numpy(_image(item)).permute(2, 0, 1))


def _squares(before: Predictor, pictures: Data, held_out: Data, count: int) -> list[NDArray[Any]]:
    """Calibration pictures as the model sees them, (1, 3, S, S) each.

    Raises:
        ValueError: If one of them is held out too.
    """
    steps = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int)
    images = [_image(pictures[int(step)]) for step in steps]
    seen = {_digest(image) for image in images}
    shared = sum(_digest(held_out[index]) in seen for index in range(len(held_out)))
    if shared:
        raise ValueError(
            f"held-out pictures must not be those of the calibration; got {shared} of {len(held_out)} that are. "
            "Compare on a part that was not trained on."
        )
    return [np.ascontiguousarray(before.prepare(image)[0].numpy()) for image in images]


class _Reader:
    """Calibration pictures in the form that ONNX Runtime asks for, one at a time, so that memory stays small."""

    def __init__(self, squares: list[NDArray[Any]]) -> None:
        self.squares, self.left = squares, iter(squares)

    def __len__(self) -> int:
        return len(self.squares)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with these pictures."""
        self.left = iter(self.squares[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next picture; None after the last one."""
        square = next(self.left, None)
        return None if square is None else {"image": square}


def _in_int8(before: Predictor, squares: list[NDArray[Any]], way: Way, folder: Path) -> bytes:
    """The model in int8, as a graph without description and seal."""
    onnx = require_onnx()
    from onnxruntime import quantization

    proto = onnx.load_model_from_string(before.model.content)
    del proto.metadata_props[:]
    method, more = quantization.CalibrationMethod.MinMax, {}
    if way.percentile is not None:
        method, more = quantization.CalibrationMethod.Percentile, {"CalibPercentile": way.percentile}
    with _silent():
        quantization.quantize_static(
            proto, folder / "int8.onnx", _Reader(squares), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            calibrate_method=method, op_types_to_quantize=[*CONVOLUTIONS, *BETWEEN],
            nodes_to_exclude=_gates(proto) + (_ends(proto) if way.ends_in_float else []),
            extra_options=more | {"CalibStridedMinMax": 1},
        )  # fmt: skip
    result = onnx.load(folder / "int8.onnx")
    _keep_logits_in_float(result.graph)
    return serialised(result)


def _opened(graph: bytes, before: Predictor) -> Predictor:
    """A graph as a predictor."""
    assert before.description is not None  # it comes from a file
    net, description = read_exported(sealed(graph, before.description), "the model in int8 must be readable")
    return Predictor(net, size=before.size, classes=before.classes, description=description)


def _ends(proto: Any) -> list[str]:
    """Names of the first and the last convolution."""
    names = [node.name for node in proto.graph.node if node.op_type in CONVOLUTIONS]
    return [*names[:1], *names[-1:]]


def _gates(proto: Any) -> list[str]:
    """Names of the convolutions whose sums become a gate, and of what puts together their input.

    A gate is one number for many channels: in 8 bits it is coarse, runtimes do not round it alike, and it saves no
    time, because such a convolution has few channels.
    """
    nodes = proto.graph.node
    opened = {name for node in nodes if node.op_type == "Sigmoid" for name in node.input}
    gates = [node for node in nodes if node.op_type == "Conv" and node.output[0] in opened]
    sources = {node.input[0] for node in gates}
    joined = [node for node in nodes if node.op_type == "Concat" and node.output[0] in sources]
    return [node.name for node in (*gates, *joined)]


def _keep_logits_in_float(graph: Any) -> None:
    """Give out the last sums as they are: their rounding would only move the border between the classes."""
    made = {name: node for node in graph.node for name in node.output}
    last = made[graph.output[0].name]
    rounded = made.get(last.input[0])
    if last.op_type != "DequantizeLinear" or rounded is None or rounded.op_type != "QuantizeLinear":
        return
    source = rounded.input[0]
    if source not in made or sum(source in node.input for node in graph.node) > 1:
        return
    outputs = made[source].output
    outputs[list(outputs).index(source)] = graph.output[0].name
    graph.node.remove(last)
    graph.node.remove(rounded)


def _compared(before: Predictor, after: Predictor, held_out: Data, start: Quantised) -> Quantised:
    """The two on every held-out picture, at its own size.

    Raises:
        ValueError: If the masks show no object.
    """
    flipped, pixels = 0, 0
    counts: list[list[torch.Tensor]] = [[], []]
    for index in range(len(held_out)):
        item = held_out[index]
        masks = [one(_image(item)).mask for one in (before, after)]
        flipped, pixels = flipped + int((masks[0] != masks[1]).sum()), pixels + masks[0].size
        if isinstance(item, Sample):
            for some, mask in zip(counts, masks, strict=True):
                some.append(metrics.counts(torch.from_numpy(mask)[None], item.mask[None], before.num_classes))
    result = replace(start, held_out=len(held_out), flipped=flipped / pixels)
    if len(counts[0]) < len(held_out):
        return result
    first, second = (metrics.aggregate(torch.cat(some))["dice_fg_image"].value for some in counts)
    if not np.isfinite(first + second):
        raise ValueError("masks of held-out pictures must show an object; got none. Give others, or pictures only.")
    return replace(result, before=first, after=second)


def _drop(result: Quantised) -> float:
    """How far the mean Dice falls; 0 without masks."""
    return 0.0 if result.before is None or result.after is None else result.before - result.after


def _passes(result: Quantised) -> bool:
    """Whether a file with these answers may be written."""
    return result.flipped <= MAX_FLIPPED if result.before is None else _drop(result) <= MAX_DROP


def _told(result: Quantised) -> str:
    """The comparison in words."""
    dice = "" if result.before is None else f"mean Dice {result.before:.4f} in float, {result.after:.4f} in int8, "
    return f"{dice}{result.flipped:.1e} of the pixels change class"


def _written(result: Quantised, graph: bytes, before: Predictor) -> Quantised:
    """Write the file, with what the comparison gave in its card."""
    assert before.description is not None  # it comes from a file
    told: dict[str, Any] = {"way": result.way, "pictures": result.pictures, "held_out": result.held_out}
    told["flipped"] = round(result.flipped, 8)
    if result.before is not None and result.after is not None:
        told |= {"dice_fg_image": round(result.after, 4), "dice_fg_image_in_float": round(result.before, 4)}
    about = before.description
    card = {key: value for key, value in about.card.items() if key != "scores"}  # those are another model's
    description = replace(about, title=f"{about.title or about.model} int8", card=card | {"int8": told})
    result.path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(result.path) as file:
        file.write(sealed(graph, description))
    return result


@contextmanager
def _silent() -> Iterator[None]:
    """ONNX Runtime prints advice for its authors, and its first log message would add a handler to the root logger."""
    root, quiet = logging.getLogger(), logging.NullHandler()
    level = logging.root.manager.disable
    root.addHandler(quiet)
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
        root.removeHandler(quiet)
