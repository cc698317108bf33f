"""Training on a GPU, as `train` does it, against the usual loop, against itself without a part, and against the GPU.

Rows without numbers where there is no GPU. Nothing in this file has run on a GPU yet.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from seglab.batches import Batch, Cache
from seglab.benchmarks._paired import Row, paired
from seglab.compiling import GRAPHS_BELOW, Compiled, compiler, prepared
from seglab.config import TrainConfig
from seglab.contract import Sample
from seglab.losses import build_loss
from seglab.models import build_model
from seglab.stepping import Tally, exact, feed, looks_at_once, start, step

__all__ = ["Case", "Work", "needs", "rows"]


class Case(NamedTuple):
    """A network, and what is wanted of it."""

    model: str
    knobs: Mapping[str, object]
    goal: float  # times as fast as the usual loop
    share: float  # of the roofline


class Work(NamedTuple):
    """How much is computed."""

    side: int  # of a picture, in pixels
    batch: int
    steps: int  # in a round
    rounds: int
    matmul: int  # side of the matrices that show the peak
    copied: int  # bytes of the copy that does


CASES = {
    "VGG16 U-Net": Case("vgg16_unet", {}, 3.0, 0.5),
    "ResNet-34 U-Net": Case("smp_unet", {"encoder": "resnet34"}, 2.5, 0.28),
}
FULL, QUICK = Work(512, 16, 8, 15, 8192, 2**30), Work(128, 16, 2, 3, 2048, 2**26)
AGAINST = "the usual loop, its data left out: float32, NCHW, two .item() a step"
NOT_HERE = "no GPU here; `seglab benchmark gpu` measures it"


def rows(*, quick: bool, device: torch.device | None = None, work: Work | None = None) -> Iterator[Row]:
    """Every case's rows.

    Args:
        quick: Small work.
        device: Where; None takes the GPU, if there is one.
        work: How much; None goes by `quick`.
    """
    work = work or (QUICK if quick else FULL)
    if device is None and torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    for name, case in CASES.items():
        yield from (_nothing(name, case) if device is None else _measured(name, case, work, device))


def _titles(name: str, case: Case) -> list[tuple[str, str, str]]:
    """What, against what, and the goal, of each row of a case."""
    size = f"{name}, 512 px, batch 16"
    return [
        (f"training step on a GPU, {size}", AGAINST, f">= {case.goal:g}"),
        (f"time that does not wait for data, {size}", "the same with one batch that is there already", ">= 0.98"),
        (f"compiled step, {size}", "the same not compiled", ""),
        (f"share of the GPU's roofline, {size}", "its own matmul and copy", f">= {case.share:.0%}"),
        (f"CUDA graphs, {name}, 256 px, batch 16", "the same compiled without", ""),
    ]


def _nothing(name: str, case: Case) -> Iterator[Row]:
    for title in _titles(name, case):
        yield Row(*title, "not measured", None, NOT_HERE)


def _measured(name: str, case: Case, work: Work, device: torch.device) -> Iterator[Row]:
    """The rows of a case; each loop is gone before the next is made, but for the two that are compared."""
    titles, clock = _titles(name, case), _clock(device)
    note = "" if work == FULL else f"at {work.side} px, batch {work.batch}"
    with compiler(True, device):
        loop = _Loop(case, work, device)
        usual = _usual(case, work, device)
        ratio = paired(usual, loop.epoch, rounds=work.rounds, clock=clock)
        yield Row(*titles[0], str(ratio), ratio.median >= case.goal, note)
        del usual
        ratio = paired(loop.fixed, loop.epoch, rounds=work.rounds, clock=clock)
        yield Row(*titles[1], str(ratio), ratio.median >= 0.98, note)
        plain = _Loop(case, work, device, compiled=False)
        ratio = paired(plain.epoch, loop.epoch, rounds=work.rounds, clock=clock)
        yield Row(*titles[2], str(ratio), None, note)
        del plain
        seconds = _median_seconds(loop.epoch, work.rounds, clock) / work.steps
        yield _share(titles[3], case, work, device, seconds)
        del loop
    with compiler(True, device):
        smaller = work._replace(side=min(work.side, GRAPHS_BELOW) // 2)
        loops = [_Loop(case, smaller, device, graphs=graphs) for graphs in (False, True)]
        ratio = paired(loops[0].epoch, loops[1].epoch, rounds=work.rounds, clock=clock)
        yield Row(*titles[4], str(ratio), None, note)


class _Pictures:
    """Grey noise with a mask, from the index alone."""

    classes = ("background", "object")

    def __init__(self, count: int, side: int) -> None:
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        random = np.random.default_rng(index)
        image = torch.from_numpy(random.integers(0, 256, (3, self.side, self.side), np.uint8))
        return Sample(image, (image[0] > 200).to(torch.uint8), str(index))


class _Loop:
    """The steps of an epoch with everything that `train` does in them; a round is an epoch."""

    def __init__(
        self, case: Case, work: Work, device: torch.device, *, compiled: bool = True, graphs: bool | None = None
    ) -> None:
        self.device = device
        self.config = TrainConfig(size=work.side, batch_size=work.batch, optimizer="adamw", compile=compiled)
        self.fit = Cache(_Pictures(work.batch * work.steps, work.side), work.side)
        model = build_model(case.model, 1, **case.knobs).to(device).to(memory_format=torch.channels_last).train()
        self.state = start(model, self.config, device)
        self.net: nn.Module = prepared(model, self.config, len(self.fit), device)
        if graphs is False and isinstance(self.net, Compiled):
            self.net = Compiled(model, self.net.rows, None)
        self.loss, self.number = build_loss("bce_dice"), 0
        self.batch = next(iter(feed(self.fit, self.config, 0, device)))

    def epoch(self) -> None:
        """An epoch, from the pictures' bytes to the mean loss."""
        self._steps(feed(self.fit, self.config, self.number, self.device))
        self.number += 1

    def fixed(self) -> None:
        """As many steps with one batch."""
        self._steps(repeat(self.batch, len(self.fit) // self.config.batch_size))

    def _steps(self, batches: Iterator[Batch]) -> None:
        tally = Tally(self.number, self.fit.names, at_once=looks_at_once(self.device))
        for batch in batches:
            step(self.state, self.net, self.loss, batch, self.config, progress=0.0, tally=tally)
        tally.mean()


def _usual(case: Case, work: Work, device: torch.device) -> Callable[[], None]:
    """As many updates of the weights, as most training scripts do them."""
    torch.manual_seed(0)
    model = build_model(case.model, 1, **case.knobs).to(device).train()
    images = torch.rand(work.batch, 3, work.side, work.side, device=device)
    masks = (images[:, 0] > 0.8).long()
    loss, optimizer = build_loss("bce_dice"), torch.optim.AdamW(model.parameters())

    def steps() -> None:
        for _ in range(work.steps):
            optimizer.zero_grad()
            logits = model(images)
            value = loss(logits, masks)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            value.item(), (logits.detach() > 0).float().mean().item()

    return steps


def _share(title: tuple[str, str, str], case: Case, work: Work, device: torch.device, seconds: float) -> Row:
    """How near a step comes to the time it would take if either arithmetic or memory were all there is."""
    flops, traffic = needs(case, work)
    peak, bandwidth = _peak_flops(work, device), _peak_bytes(work, device)
    share = max(flops / peak, traffic / bandwidth) / seconds
    note = f"{peak / 1e12:.3g} TFLOP/s, {bandwidth / 1e12:.3g} TB/s; {work.batch / seconds:.0f} pictures a second"
    return Row(*title, f"{share:.0%}", share >= case.share, note)


def needs(case: Case, work: Work) -> tuple[float, float]:
    """Floating-point operations of a step, and bytes that must move.

    Counted on tensors without numbers: operations of all convolutions and products, forward and backward; bytes of
    what convolutions, pooling and resizing read and write in bfloat16, everything else being fused into them.

    Example:
        >>> flops, traffic = needs(Case("unet", {"width": 4}, 1.0, 1.0), QUICK._replace(side=32, batch=1))
        >>> flops > traffic > 0
        True
    """
    with torch.device("meta"):
        model = build_model(case.model, 1, **case.knobs).train()
        images, target = torch.zeros(work.batch, 3, work.side, work.side), torch.zeros(work.batch, work.side, work.side)
    with FlopCounterMode(display=False) as counter, _Traffic() as traffic:
        value = build_loss("bce_dice")(exact(model(images)), target.long())
        value.backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops()), float(traffic.bytes)


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what operations on neighbouring pixels read and write, two bytes a number."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(word in str(func) for word in ("convolution", "pool", "upsample")):
            tensors = [each for each in tree_leaves((args, kwargs, out)) if isinstance(each, torch.Tensor)]
            self.bytes += sum(2 * each.numel() for each in tensors)
        return out


def _peak_flops(work: Work, device: torch.device) -> float:
    """Floating-point operations a second of a product in bfloat16; the best of all rounds."""
    left, right = (torch.ones(work.matmul, work.matmul, dtype=torch.bfloat16, device=device) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * work.matmul**3 / _best_seconds(lambda: torch.mm(left, right, out=out), work.rounds, _clock(device))


def _peak_bytes(work: Work, device: torch.device) -> float:
    """Bytes a second of a copy, read and written; the best of all rounds."""
    source = torch.zeros(work.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * work.copied / _best_seconds(lambda: target.copy_(source), work.rounds, _clock(device))


def _clock(device: torch.device) -> Callable[[], float]:
    """Seconds, when everything that was asked of the device is done."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def _times(way: Callable[[], object], rounds: int, clock: Callable[[], float]) -> list[float]:
    """Seconds of each round; one before them is thrown away."""
    found = []
    for _ in range(rounds + 1):
        before = clock()
        way()
        found.append(max(clock() - before, 1e-9))
    return found[1:]


def _best_seconds(way: Callable[[], object], rounds: int, clock: Callable[[], float]) -> float:
    return min(_times(way, rounds, clock))


def _median_seconds(way: Callable[[], object], rounds: int, clock: Callable[[], float]) -> float:
    return float(np.median(_times(way, rounds, clock)))
