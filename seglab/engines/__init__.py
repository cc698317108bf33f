"""Run a trained model faster, and only where its answers stay what they were.

An engine is a way to compute the same network: PyTorch as it was trained (`torch`), with batch norm folded into the
convolutions (`folded`), in bfloat16 (`bf16`), or compiled by OpenVINO or ONNX Runtime, which are extras. Before an
engine is used its answers are compared with the model's own, on pictures of yours or on generated ones: an exact one
may move no probability by more than 1e-5 and no pixel to another class, one in bfloat16 may move 2 pixels in 10,000.
In a file in int8 (`seglab.quantised`) every layer rounds, and where a sum lies between two steps runtimes do not round
alike; such a file may move 5 pixels in 10,000, on every engine, which is a part of what int8 itself moves.
Which one is fastest depends on the processor, so `race` measures them on the machine at hand.
"""

import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seglab.contract import require_name
from seglab.data import load_dataset
from seglab.engines._fold import fold
from seglab.engines._runtimes import EXACT, RUNTIMES, here
from seglab.exported import first_line
from seglab.inference import Predictor, to_probs

__all__ = ["Candidate", "Race", "fold", "generated", "list_engines", "race", "with_engine"]

MAX_DIFFERENCE = 1e-5  # of a probability, for an exact engine: sums in another order move the last bits
KINDS = ("skin", "steel")
MAX_FLIPPED = 2e-4  # share of pixels that change class, for one that rounds
# OpenVINO against ONNX Runtime, the eight shipped models in int8 on their test pictures: at most 0.7e-4, on the worst
# eight pictures 2.9e-4; against the models in float 11e-4 to 32e-4 change.
MAX_FLIPPED_INT8 = 5e-4


class Candidate(NamedTuple):
    """One engine in a race."""

    engine: str
    milliseconds: float  # median of one picture; NaN if it did not run
    difference: float  # largest, of a probability, on the pictures it was checked on
    flipped: float  # share of their pixels that change class
    refused: str  # why it may not be used; empty if it may


class Race(NamedTuple):
    """What was measured, and the winner."""

    predictor: Predictor
    engine: str
    candidates: tuple[Candidate, ...]

    def __str__(self) -> str:
        """One line: the winner, and how much faster it is than the model as it was trained."""
        times = {one.engine: one.milliseconds for one in self.candidates}
        won = next(one for one in self.candidates if one.engine == self.engine)
        return (
            f"{self.engine}: {times[self.engine]:.1f} ms a picture, {times['torch'] / times[self.engine]:.2f} times as "
            f"fast as torch; probabilities differ by at most {won.difference:.1e}, and {won.flipped:.1e} of the pixels "
            "change class"
        )


def list_engines() -> list[str]:
    """Names of all engines; whether one runs here depends on the processor and on extras.

    Example:
        >>> "folded" in list_engines()
        True
    """
    return list(RUNTIMES)


def with_engine(predictor: Predictor, engine: str, *, pictures: Tensor | None = None) -> Predictor:
    """The same predictor on another engine, if its answers are the model's own.

    Args:
        predictor: On the CPU.
        engine: A name of `list_engines()`.
        pictures: (N, 3, S, S) in [0, 1] to compare on, best of the kind that the model is for; None generates three of
            skin and three of steel.

    Raises:
        ImportError: If it needs an extra that is not installed.
        ValueError: If the name is unknown, this processor cannot run it, the model is not on the CPU or cannot be run
            so, or the answers differ.

    Example:
        >>> from seglab import build_model
        >>> plain = Predictor(build_model("unet", 1, width=4), size=32)
        >>> with_engine(plain, "folded").name
        'unet'
    """
    require_name("engine", engine, RUNTIMES)
    missing = here(engine)
    if missing:
        raise (ImportError if "extra" in missing else ValueError)(f"engine {engine} {missing}.")
    _require_cpu(predictor)
    try:
        net = _prepared(predictor, engine)
    except Exception as error:  # every runtime has its own classes
        raise ValueError(
            f"engine {engine} cannot run {predictor.name}: {first_line(error)}. Use engine torch."
        ) from None
    seen = generated(predictor.size) if pictures is None else pictures
    difference, flipped = _compared(predictor.model, net, seen)
    refused = _refusal(predictor, engine, difference, flipped)
    if refused:
        raise ValueError(f"engine {engine} must answer as {predictor.name} does; {refused}. Use engine torch.")
    return _replaced(predictor, net)


def race(
    predictor: Predictor,
    *,
    exact: bool = True,
    engines: Sequence[str] | None = None,
    pictures: Tensor | None = None,
    seconds: float = 0.5,
) -> Race:
    """Measure the engines against each other on this machine and take the fastest whose answers are the model's own.

    They run in turn, one picture each, so that whatever else the machine does slows all of them.

    Args:
        predictor: On the CPU.
        exact: Only engines that compute in float32.
        engines: Names to try besides `torch`; None tries all that run here.
        pictures: As `with_engine`.
        seconds: Time to measure, after what each engine needs to start.

    Raises:
        ValueError: If a name is unknown, or the model is not on the CPU.

    Example:
        >>> from seglab import build_model
        >>> plain = Predictor(build_model("unet", 1, width=4), size=32)
        >>> race(plain, engines=["folded"], seconds=0.1).engine in ("torch", "folded")
        True
    """
    for name in engines or ():
        require_name("engine", name, RUNTIMES)
    _require_cpu(predictor)
    allowed = EXACT if exact else tuple(RUNTIMES)
    wanted = ["torch", *(name for name in (engines or allowed) if name != "torch")]
    seen = generated(predictor.size) if pictures is None else pictures
    nets, found = {}, {}
    for name in wanted:
        net, found[name] = _tried(predictor, name, seen)
        if net is not None and not found[name].refused:
            nets[name] = net
    times = _timed(nets, seen[:1], seconds)
    candidates = tuple(one._replace(milliseconds=times.get(name, float("nan"))) for name, one in found.items())
    engine = min(times, key=times.__getitem__)
    return Race(_replaced(predictor, nets[engine]), engine, candidates)


def generated(size: int) -> Tensor:
    """Three generated pictures of skin and three of steel, (6, 3, S, S) in [0, 1].

    Example:
        >>> generated(32).shape
        torch.Size([6, 3, 32, 32])
    """
    parts = [load_dataset("synthetic", kind=kind, count=(0, 0, 3), size=(size, size)).test for kind in KINDS]
    return torch.stack([part[index].image for part in parts for index in range(3)]).float() / 255


def _tried(predictor: Predictor, engine: str, pictures: Tensor) -> tuple[nn.Module | None, Candidate]:
    """An engine's network and what came of the comparison; without a network if it cannot run."""
    nothing = Candidate(engine, float("nan"), float("nan"), float("nan"), here(engine))
    if nothing.refused:
        return None, nothing
    try:
        net = _prepared(predictor, engine)
        difference, flipped = _compared(predictor.model, net, pictures)
    except Exception as error:  # every runtime has its own classes
        return None, nothing._replace(refused=f"cannot run this model: {first_line(error)}")
    refused = _refusal(predictor, engine, difference, flipped)
    return net, nothing._replace(difference=difference, flipped=flipped, refused=refused)


def _prepared(predictor: Predictor, engine: str) -> nn.Module:
    """The predictor's model on an engine."""
    return RUNTIMES[engine](predictor.model, predictor.size)


def _compared(model: nn.Module, net: nn.Module, pictures: Tensor) -> tuple[float, float]:
    """Largest difference of a probability, and the share of pixels that change class."""
    with torch.inference_mode():
        first, second = (torch.cat([to_probs(one(p[None]).float()) for p in pictures]) for one in (model, net))
    if first.shape != second.shape or not bool(second.isfinite().all()):
        return float("inf"), 1.0
    changed = (first > 0.5) != (second > 0.5) if first.shape[1] == 1 else first.argmax(1) != second.argmax(1)
    return float((first - second).abs().max()), float(changed.float().mean())


def _refusal(predictor: Predictor, engine: str, difference: float, flipped: float) -> str:
    """Why an engine with these differences may not be used; empty if it may."""
    int8 = getattr(predictor.model, "int8", False)
    told = f"got a difference of {difference:.1e} and {flipped:.1e} of the pixels in another class"
    if engine in EXACT and not int8 and (not difference <= MAX_DIFFERENCE or flipped > 0):
        return f"a probability may move by {MAX_DIFFERENCE:.0e} and no pixel to another class, {told}"
    most = MAX_FLIPPED_INT8 if int8 else MAX_FLIPPED
    return "" if flipped <= most else f"{most:.0e} of the pixels may change class, {told}"


def _timed(nets: dict[str, nn.Module], picture: Tensor, seconds: float) -> dict[str, float]:
    """Median milliseconds of one picture, all in turn until the time is over; at least three rounds."""
    times: dict[str, list[float]] = {name: [] for name in nets}
    end = time.perf_counter() + seconds
    with torch.inference_mode():
        while len(times["torch"]) < 3 or time.perf_counter() < end:
            for name, net in nets.items():
                start = time.perf_counter()
                net(picture)
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: median(one) for name, one in times.items()}


def _require_cpu(predictor: Predictor) -> None:
    """Refuse a model that is elsewhere."""
    device = next((one.device.type for one in predictor.model.parameters()), "cpu")
    if device != "cpu":
        raise ValueError(f"engines are for models on the CPU; got one on {device}.")


def _replaced(predictor: Predictor, net: nn.Module) -> Predictor:
    """The predictor with another network that answers alike."""
    same = Predictor(
        net,
        size=predictor.size,
        classes=predictor.classes,
        description=predictor.description,
        tile=predictor.tile,
        tta=predictor.tta,
    )
    same.name, same.num_classes = predictor.name, predictor.num_classes
    return same
