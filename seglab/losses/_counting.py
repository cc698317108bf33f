"""What the losses share: checked inputs, one-hot truth, soft counts and means that survive 0 / 0."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from seglab.contract import require_name


def prepare(logits: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Checked logits (N, K, H, W), at least float32, target (N, H, W) int64 and known (N, H, W), both 0 if unknown."""
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
        raise ValueError(f"ignore_index must be a whole number; got {ignore_index!r}.")
    if logits.ndim != 4 or not logits.numel() or not logits.is_floating_point():
        raise ValueError(f"logits must be float (N, K, H, W), not empty; got {logits.dtype} {tuple(logits.shape)}.")
    if target.is_floating_point() or target.is_complex():
        raise ValueError(f"target must hold integer class indices; got {target.dtype}.")
    expected = (logits.shape[0], *logits.shape[2:])
    if target.shape != expected:
        raise ValueError(f"target must have shape {expected}, that of the logits; got {tuple(target.shape)}.")
    target = target.long()
    known = target != ignore_index
    target = target.masked_fill(~known, 0)
    if target.device.type == "cpu":
        low, high, classes = int(target.min()), int(target.max()), max(2, logits.shape[1])
        if low < 0 or high >= classes:
            raise ValueError(f"target must hold classes 0 to {classes - 1}, or {ignore_index}; got {low} to {high}.")
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    # Filled rather than multiplied by 0, so that an infinite logit of an unknown pixel cannot become NaN.
    return logits.masked_fill(~known[:, None], 0), target, known


def one_hot(logits: Tensor, target: Tensor) -> Tensor:
    """Truth of every channel, (N, K, H, W), in the logits' dtype."""
    if logits.shape[1] == 1:
        return target[:, None].to(logits.dtype)
    return torch.zeros_like(logits).scatter_(1, target[:, None], 1.0)


def pixel_ce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of every pixel, (N, H, W)."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits.dtype), reduction="none")
    return F.cross_entropy(logits, target, reduction="none")


def pixel_weights(logits: Tensor, target: Tensor, class_weights: Sequence[float] | Tensor) -> Tensor:
    """Weight of every pixel's class, (N, H, W), from checked weights of max(2, K) classes."""
    classes = max(2, logits.shape[1])
    try:
        weights = torch.as_tensor(class_weights, dtype=logits.dtype)
    except (TypeError, ValueError, RuntimeError):
        weights = torch.empty(0)
    if weights.shape != (classes,):
        raise ValueError(f"class_weights must hold max(2, K) = {classes} numbers; got {class_weights!r}.")
    if weights.device.type == "cpu" and not (weights.isfinite() & (weights >= 0)).all():
        raise ValueError(f"class_weights must be numbers at least 0; got {class_weights!r}.")
    return weights.to(logits.device, non_blocking=True)[target]


def mean(pixels: Tensor, weights: Tensor, reduce: str = "batch") -> Tensor:
    """Weighted mean of pixels (N, H, W), 0 if all weights are 0; over the batch, or per image and then over images."""
    rows = 1 if reduce == "batch" else pixels.shape[0]
    total = weights.reshape(rows, -1).sum(dim=1).to(pixels.dtype)
    return ((pixels * weights).reshape(rows, -1).sum(dim=1) / total.where(total > 0, 1.0)).mean()


def power(base: Tensor, exponent: float) -> Tensor:
    """Power of a base of at least 0, with slope 0 instead of infinity at 0 (0 ** 0 is 1)."""
    if exponent == 0:
        return torch.ones_like(base)
    positive = base > 0
    return torch.where(positive, base.where(positive, 1.0) ** exponent, 0.0)


def soft_counts(logits: Tensor, target: Tensor, reduce: str, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Soft true positives, false positives and misses, each (N, K), or (1, K) summed over the batch."""
    return weighted_counts(*prepare(logits, target, ignore_index), reduce)


def weighted_counts(logits: Tensor, target: Tensor, weights: Tensor, reduce: str) -> tuple[Tensor, Tensor, Tensor]:
    """Soft counts of what `prepare` returned, in which a pixel counts as much as its weight, (N, H, W), says."""
    require_reduce(reduce)
    probs = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
    probs = probs * weights[:, None]
    truth = one_hot(logits, target)
    dims = (2, 3) if reduce == "image" else (0, 2, 3)
    tp, predicted, true = (
        t.sum(dim=dims).view(-1, logits.shape[1]) for t in (probs * truth, probs, truth * weights[:, None])
    )
    return tp, predicted - tp, true - tp


def overlap(tp: Tensor, errors: Tensor, smooth: float) -> Tensor:
    """1 - (tp + smooth) / (tp + errors + smooth), written so that 0 / 0 is a loss of 0 and nothing cancels."""
    whole = tp + errors + smooth
    return errors / whole.where(whole > 0, 1.0)


def require_at_least(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise a ValueError unless value is a finite number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or value == math.inf:
        rule = f"at least {low}" if high == math.inf else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be a number {rule}; got {value!r}.")


def require_reduce(reduce: str) -> None:
    """Raise a ValueError unless reduce says where to sum: per image, or over the batch."""
    require_name("reduce", reduce, ("image", "batch"))


def require_flag(name: str, value: bool) -> None:
    """Raise a ValueError unless value is True or False; a word such as "false" would count as true."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False; got {value!r}.")
