"""Batch norm over the pictures of all processes, on any device.

Whatever calls `torch.nn.functional.batch_norm` in training is caught, whichever module it stands in, and no module is
changed: a checkpoint holds plain batch norm, and goes on in any number of processes. Running statistics become those of
one process with the whole batch.

Reference: S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015, algorithm 1; merging means and variances of parts:
Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
Differs: torch.nn.SyncBatchNorm works on GPUs only, and takes the place of modules of known classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from seglab import distributed

__all__ = ["together"]


def together(wanted: bool, count: int) -> AbstractContextManager[object]:
    """While the block lasts, every batch norm that is training takes its statistics over all processes' pictures.

    Args:
        wanted: False: each process normalises its own part.
        count: Pictures of the whole batch; a process without one does not count.

    Raises:
        ValueError: From the block, if there is but one value to a channel.

    Example:
        >>> with together(True, count=2):  # one process: as always
        ...     torch.nn.BatchNorm2d(1)(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)).flatten().round().tolist()
        [-1.0, 1.0]
    """
    if distributed.world() == 1:
        return nullcontext()
    if not wanted:
        return _apart()
    return _Together(distributed.shares(count)[distributed.rank()] > 0)


@contextmanager
def _apart() -> Iterator[None]:
    """Say what helps when a process's own part is too small for a layer of single pixels."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "each process must have two pictures or more of every batch for a batch norm of this model; got 1. "
            "Train with sync_bn=true, or with a batch_size that leaves no such rest."
        ) from error


class _Together(TorchFunctionMode):
    """Catches every `batch_norm` that is training."""

    def __init__(self, counts: bool) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs or {})
        return func(*args, **kwargs or {})

    def _batch_norm(  # noqa: PLR0913, PLR0917 - the parameters of torch.nn.functional.batch_norm
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """As torch.nn.functional.batch_norm, (N, C, ...) -> (N, C, ...)."""
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        count, mean, var = _moments(x.detach(), self.counts)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)  # unbiased, as PyTorch's
        y: Tensor = _Normalise.apply(x, weight, bias, mean, var, (count if self.counts else None, eps))
        return y


def _moments(x: Tensor, counts: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Values per channel, mean and biased variance (C,) over all processes that count."""
    dims = [0, *range(2, x.ndim)]
    kind = torch.promote_types(x.dtype, torch.float32)
    own = x.numel() // x.shape[1] if counts else 0
    var, mean = torch.var_mean(x.to(kind), dims, correction=0)
    told = torch.stack([torch.full_like(mean, own, dtype=torch.double), mean.double(), var.double()])[None]
    ns, means, variances = distributed.pooled(told, distributed.world()).unbind(1)
    total = ns[:, 0].sum()
    if total.device.type == "cpu" and total < 2:  # elsewhere the look would make every layer wait; a NaN will tell
        raise ValueError(
            f"batch norm must see two values per channel or more to train; got {int(total)}. Add pictures."
        )
    mean = (ns * means).sum(0) / total
    var = (ns * (variances + (means - mean) ** 2)).sum(0) / total
    return total, mean.to(kind), var.to(kind)


class _Normalise(torch.autograd.Function):
    """Normalises with given moments; its gradient knows that these came from the pictures of all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, facts: Any
    ) -> Tensor:
        ctx.count, eps = facts
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps))
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The slope: dx = weight / std * (dy - mean(dy) - normal * mean(dy * normal)), means over the whole batch."""
        x, weight, mean, scale = ctx.saved_tensors
        dims, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
        dy = grad.to(mean.dtype)
        normal = (x - mean.view(shape)) * scale.view(shape)
        sums = torch.stack([dy.sum(dims), (dy * normal).sum(dims)])
        total = sums.clone()
        dist.all_reduce(total)
        dx = None
        if ctx.needs_input_grad[0]:
            if ctx.count is not None:
                total /= ctx.count
                dy = dy - total[0].view(shape) - normal * total[1].view(shape)
            dx = (dy * (scale if weight is None else scale * weight).view(shape)).to(x.dtype)
        # Of the weights only this process's part: DistributedDataParallel adds the others'.
        return (
            dx,
            sums[1] if ctx.needs_input_grad[1] else None,
            sums[0] if ctx.needs_input_grad[2] else None,
            *[None] * 3,
        )
