"""One training shared out among processes: each computes its part of every batch, all take the same step.

`torchrun --nproc-per-node 4 -m seglab train unet ce_dice pictures --out runs/a` starts four processes; on GPUs each
has a device of its own (NCCL), without GPUs they share the processor (gloo). `batch_size` stays the size of the whole
batch. Without torchrun everything here does nothing, and one process trains as if this module did not exist.

The result is that of one process, up to rounding, because

* every process takes a contiguous part of the same shuffled batch (`mine`), and draws the same augmentation for it;
* the loss is that of the whole batch, also where it is no mean over pictures: every process has all logits (`pooled`);
* DistributedDataParallel averages the gradients of all processes (`wrapped`). Each backpropagates world * loss through
  its own rows only. So the mean is 1/world * sum over processes of world * dL/d(own rows) * d(own rows)/dw = dL/dw;
* with `sync_bn`, batch norm takes mean and variance over the whole batch (`seglab.norms`).

Two things are not the same. Without `sync_bn` (the default, as elsewhere) batch norm normalises each process's own
part, and keeps the first process's running statistics. And dropout is drawn in each process by itself.

Each process reads all pictures and keeps them as one would. The tests share a training between two processes on the
CPU; on several GPUs it has not been tried.
"""

import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from seglab.devices import device_named

__all__ = [
    "from_first", "is_first", "joined", "level", "mine", "one_voice", "pooled", "rank",
    "require_alike", "require_shares", "reseed", "shares", "world", "wrapped",
]  # fmt: skip


def world() -> int:
    """Number of processes that share the training; 1 without torchrun.

    Example:
        >>> world(), rank(), is_first()
        (1, 0, True)
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Number of this process, from 0."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ["RANK"]) if world() > 1 else 0


def is_first() -> bool:
    """Whether this process writes files, prints, and holds the run folder."""
    return rank() == 0


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """This process's device, and the way to the other processes while the block lasts.

    A process group that is there already is used and left.

    Args:
        device: As `TrainConfig.device`; with several processes auto, cpu or cuda.

    Raises:
        ValueError: If there is no such device, or not one for each process.
        ConnectionError: If another process ends before the block does.

    Example:
        >>> with joined("cpu") as own:
        ...     own
        device(type='cpu')
    """
    own = _own_device(device)
    if world() == 1 or dist.is_initialized():
        yield own
        return
    if own.type == "cuda":
        torch.cuda.set_device(own)
    backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
    times = _store().add(f"joined by {rank()}", 1)  # a name of its own for each group, or old addresses would be met
    store = dist.distributed_c10d.PrefixStore(f"group {times}", _store())
    dist.init_process_group(backend, store=store, rank=rank(), world_size=world())
    try:
        yield own
    except BaseException as error:
        _fails_first()  # before the connections close, so that those who notice know who began
        if own.type != "cuda":
            dist.destroy_process_group()  # with NCCL this could wait for the others; the end of the process does it
        if _is_lost_connection(error):
            raise ConnectionError(
                f"all {world()} processes must go on to the end; process {rank()} lost another one. "
                "Give the same command again, which goes on from the last checkpoint."
            ) from error
        raise
    dist.destroy_process_group()


@contextmanager
def one_voice() -> Iterator[None]:
    """Of all processes let only the first warn, and only the first to fail say why; the others end without a word.

    Raises:
        SystemExit: In a process that fails because, or after, another one did.

    Example:
        >>> with one_voice():
        ...     print("one process is as always")
        one process is as always
    """
    if world() == 1:
        yield
        return
    with warnings.catch_warnings():
        if not is_first():
            warnings.simplefilter("ignore")
        try:
            yield
        except BaseException as error:
            if _fails_first():
                raise
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 2) from None


def require_shares(batch_size: int) -> None:
    """Refuse a batch that has not a picture for each process.

    Raises:
        ValueError: Then.
    """
    if batch_size < world():
        raise ValueError(
            f"batch_size must be at least the number of processes, {world()}; got {batch_size}. "
            "It is the size of the whole batch, which they share."
        )


def require_alike(facts: Mapping[str, Any]) -> None:
    """Refuse to train together what is not the same in every process.

    Args:
        facts: What must be the same, as JSON can hold it.

    Raises:
        ValueError: In every process, with the first one that differs.
    """
    if world() == 1:
        return
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()
    rows = pooled(torch.from_numpy(np.frombuffer(digest, np.uint8).copy())[None], world())
    for number, row in enumerate(rows):
        if not torch.equal(row, rows[0]):
            raise ValueError(
                "model, loss, settings and pictures must be the same in every process; "
                f"got others in process {number} than in process 0."
            )


def shares(count: int) -> list[int]:
    """How many of so many pictures each process takes.

    Example:
        >>> shares(5)
        [5]
    """
    return [count // world() + (number < count % world()) for number in range(world())]


def mine(indices: tuple[int, ...]) -> tuple[int, ...]:
    """This process's part of a batch, in order; where none is left, a copy of the first picture, which does not count.

    With it, a process without a picture takes the same steps as the others, and nobody waits for it.

    Example:
        >>> mine((3, 1, 2))
        (3, 1, 2)
    """
    sizes = shares(len(indices))
    start = sum(sizes[: rank()])
    return indices[start : start + sizes[rank()]] or indices[:1]


def pooled(part: Tensor, count: int) -> Tensor:
    """The rows of all processes, one after another, which is the order of the batch.

    The gradient reaches this process's own rows only: every process has the same loss, so the others get theirs there.

    Args:
        part: (N, ...) of `mine`; dtype and all sizes but N are the same everywhere.
        count: Rows of all processes, as they were shared out.

    Returns:
        (count, ...).

    Example:
        >>> pooled(torch.tensor([1.0, 2.0]), 2)
        tensor([1., 2.])
    """
    if world() == 1:
        return part
    sizes = shares(count)
    own = part[: sizes[rank()]]
    padded = part.new_zeros((max(sizes), *part.shape[1:]))
    padded[: len(own)] = own.detach()
    flat = padded.reshape(-1).view(torch.uint8)  # bytes: every backend sends them, whatever they mean
    got = [torch.empty_like(flat) for _ in sizes]
    dist.all_gather(got, flat)
    rows = [each.view(part.dtype).view(padded.shape)[:size] for each, size in zip(got, sizes, strict=True)]
    rows[rank()] = own
    return torch.cat(rows)


def wrapped(model: nn.Module) -> nn.Module:
    """The model whose gradients are averaged over all processes; wrap it anew when other parameters learn.

    Parameters that a forward pass does not use are allowed, as in one process.
    """
    if world() == 1:
        return model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions would have another name for broadcast_buffers
        return nn.parallel.DistributedDataParallel(_Spared(model), broadcast_buffers=False, find_unused_parameters=True)


def level(*models: nn.Module | None) -> None:
    """Give every process the first one's buffers: without `sync_bn` each has the statistics of its own pictures."""
    if world() > 1:
        for model in models:
            for buffer in model.buffers() if model is not None else ():
                dist.broadcast(buffer, 0)


def from_first(value: dict[str, Any]) -> dict[str, Any]:
    """The first process's tensors and plain values, in every process; other machines need not see its files.

    Example:
        >>> from_first({"epoch": 3})
        {'epoch': 3}
    """
    if world() == 1:
        return value
    content = torch.empty(0, dtype=torch.uint8)
    if is_first():
        file = io.BytesIO()
        torch.save(value, file)
        content = torch.frombuffer(file.getbuffer(), dtype=torch.uint8)
    size = torch.tensor([len(content)])
    dist.broadcast(size, 0)
    if not is_first():
        content = torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(content, 0)
    if is_first():
        return value
    loaded: dict[str, Any] = torch.load(io.BytesIO(content.numpy().tobytes()), weights_only=True, map_location="cpu")
    return loaded


def reseed(seed: int, epoch: int) -> None:
    """Let each of several processes draw its own dropout from (seed, epoch, process): a resume draws the same."""
    if world() > 1:
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank()]).generate_state(1, np.uint64)[0]))


class _Spared(nn.Module):
    """A model, and a parameter that is never used: without one, being ready for one is complained of in every run."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.spare = nn.Parameter(torch.zeros(1, device=next(model.parameters()).device))

    def forward(self, image: Tensor) -> Any:
        return self.model(image)


def _own_device(name: str) -> torch.device:
    """The device of that name; of several processes on one machine each has a GPU of its own."""
    if world() == 1:
        return device_named(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda for {world()} processes; got {name!r}.")
    number = int(os.environ.get("LOCAL_RANK", rank()))
    if name == "cuda" and number >= torch.cuda.device_count() > 0:
        raise ValueError(
            f"each process must have a GPU of its own; got {torch.cuda.device_count()} for process {number}, counted "
            "from 0. Start fewer with --nproc-per-node, or set device=cpu."
        )
    return device_named(f"cuda:{number}" if name == "cuda" else name)


@cache
def _store() -> Any:
    """The small table that all processes of torchrun see."""
    return next(rendezvous("env://"))[0]


def _fails_first() -> bool:
    """Whether no other process has failed before this one."""
    own = str(rank())
    try:
        return bool(_store().compare_set("fails first", "", own) == own.encode())
    except RuntimeError:  # torchrun is gone, and the table with it
        return True


def _is_lost_connection(error: BaseException) -> bool:
    """Whether an error says that another process cannot be reached."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "nccl", "connection"))
    )
