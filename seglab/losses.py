"""Losses for segmentation: plain functions of logits (N, K, H, W) and class indices (N, H, W).

What holds for every loss of this file, so that no docstring has to repeat it:

* `logits` are raw scores, (N, K, H, W): K = 1 is binary (sigmoid), K >= 2 are exclusive classes (softmax). `target`
  holds class indices, (N, H, W), integer. The result is a scalar of at least 0, and 0 or close to it if perfect.
* Pixels whose `target` is `ignore_index` leave every sum. If nothing is known, the loss is 0 and so is its gradient.
* `bce`, `ce` and `focal` average over all known pixels of the batch. The overlap losses (`dice`, `tversky` and what
  is built on them) form their ratio per image and class, then average over classes and images (`reduce="image"`), so
  that a small object counts as much as a large one. `reduce="batch"` sums over the batch first. An image without a
  known pixel counts as an image of loss 0.
* `smooth`, in pixels, at least 0, is added to both sides of a ratio. A class that is absent from an image is not
  skipped: its loss is 0 when nothing is predicted there, and it rises towards 1 with every wrong pixel.
* Half precision logits are computed in float32, float64 stays float64.
* A ValueError says which rule a shape, a dtype, a knob or a label breaks. Labels are looked at on the CPU only, because
  on an accelerator the look would make every step wait for the device.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seglab.contract import IGNORE_INDEX, require_name

__all__ = [
    "bce", "bce_dice", "build_loss", "ce", "ce_dice", "dice", "dice_focal", "focal", "focal_tversky", "list_losses",
    "tversky",
]  # fmt: skip


def list_losses() -> list[str]:
    """Names that build_loss accepts, sorted: the public losses of this file.

    Example:
        >>> "ce_dice" in list_losses()
        True
    """
    return [name for name in __all__ if name not in ("build_loss", "list_losses")]


def build_loss(name: str, **knobs: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Loss of that name with its knobs set; a wrong knob fails here, not in the first step of training.

    Args:
        name: One of `list_losses()`.
        knobs: Keyword arguments of that loss.

    Returns:
        A function (logits, target) -> scalar. An unknown name, knob or value is a ValueError that lists the choices.

    Example:
        >>> loss = build_loss("ce", ignore_index=0)
        >>> loss(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]]))  # two equal logits: log 2
        tensor(0.6931)
    """
    require_name("loss", name, list_losses())
    function: Callable[..., Tensor] = globals()[name]
    accepted = [key for key, value in signature(function).parameters.items() if value.kind is Parameter.KEYWORD_ONLY]
    for knob in knobs:
        require_name(f"knob of loss {name}", knob, accepted)
    loss = partial(function, **knobs)
    weights = knobs.get("class_weights")
    channels = len(weights) if weights is not None and hasattr(weights, "__len__") else 2
    loss(torch.zeros(1, max(channels, 1), 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))  # tries the values
    return loss


def bce(logits: Tensor, target: Tensor, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Binary cross-entropy of the sigmoid, averaged over known pixels (and channels).

    For K >= 2 every channel is one class against the rest: the target becomes one-hot and each
    channel gets its own sigmoid. Use `ce` where the classes exclude each other.

        loss = mean of -[y log p + (1 - y) log(1 - p)],  p = sigmoid(logit)

    Example:
        >>> bce(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 255]]]))  # p = 1/2 everywhere: log 2
        tensor(0.6931)

    Reference:
        C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, eq. 4.90.
    """
    logits, target, known = _prepare(logits, target, ignore_index)
    pixels = F.binary_cross_entropy_with_logits(logits, _one_hot(logits, target), reduction="none").mean(dim=1)
    return _mean(pixels, known)


def ce(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Sequence[float] | Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Cross-entropy of the softmax, averaged over known pixels.

    One logit z is read as the two logits (0, z), so with K = 1 this equals `bce`. `class_weights` are max(2, K) numbers
    of at least 0; None weighs all classes alike.

        loss = sum of w_y (-log p_y) / sum of w_y,  p = softmax(logits), y the true class

    Example:
        >>> ce(torch.zeros(1, 4, 1, 1), torch.tensor([[[2]]]))  # four equal classes: log 4
        tensor(1.3863)

    Reference:
        C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, eq. 4.108.
    """
    logits, target, known = _prepare(logits, target, ignore_index)
    if class_weights is None:
        return _mean(_pixel_ce(logits, target), known)
    classes = max(2, logits.shape[1])
    weights = torch.as_tensor(class_weights, dtype=logits.dtype, device=logits.device)
    if weights.shape != (classes,):
        raise ValueError(f"class_weights must hold max(2, K) = {classes} numbers; got {class_weights!r}.")
    return _mean(_pixel_ce(logits, target), known * weights[target])


def focal(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float | None = None,
    gamma: float = 2.0,
    uniform_alpha: bool = False,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Cross-entropy that fades where the model is already sure, averaged over known pixels.

        loss = mean of alpha_t (1 - p_t)^gamma (-log p_t),  p_t = probability of the true class

    alpha_t is `alpha`, in [0, 1], for foreground (class 1 and above) and 1 - alpha for background; None weighs both 1.
    `gamma`, at least 0, says how fast sure pixels fade; 0 without alpha is `ce`. `uniform_alpha` multiplies both sides
    by alpha, as Boudaieb et al. print it: a constant factor, which balances nothing and which Adam divides out again.

    Example:
        >>> focal(torch.zeros(1, 1, 1, 1), torch.tensor([[[1]]]))  # (1 - 1/2)^2 log 2
        tensor(0.1733)

    Reference:
        T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5. B. Boudaieb et al., JISEM
        10(58s), 2025, sec. 3.3.3 (uniform alpha).
        Differs: Lin divides by the number of positive anchors, we by the number of known pixels. p_t is taken before
        any class weight; code that weighs the cross-entropy first gets p_t = p^w.
    """
    _require_at_least("gamma", gamma, 0)
    if alpha is not None:
        _require_at_least("alpha", alpha, 0, 1)
    logits, target, known = _prepare(logits, target, ignore_index)
    pixels = _pixel_ce(logits, target)
    pixels = _power(-torch.expm1(-pixels), gamma) * pixels
    if alpha is not None:
        sides = logits.new_tensor([alpha if uniform_alpha else 1 - alpha, alpha])  # background, foreground
        pixels = pixels * sides[(target > 0).long()]
    return _mean(pixels, known)


def dice(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 1.0,
    reduce: str = "image",
    include_background: bool = True,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """One minus the soft Dice coefficient, averaged over classes.

        loss = 1 - (2 sum(p g) + smooth) / (sum(p) + sum(g) + smooth),  in [0, 1]

    `include_background` says whether class 0 is one of the averaged classes; it has no effect for K = 1.

    Example:
        >>> dice(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]))  # 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
        tensor(0.3333)

    Reference:
        F. Milletari, N. Navab, S.-A. Ahmadi, "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image
        Segmentation", 3DV 2016, sec. 3.
        Differs: V-Net squares p and g in the denominator and has no smooth. Liu's code counts ignored pixels as false
        positives: a perfect prediction with half the pixels ignored costs .168 there, 0 here.
    """
    _require_at_least("smooth", smooth, 0)
    tp, fp, fn = _soft_counts(logits, target, reduce, ignore_index)
    first = 0 if include_background or tp.shape[1] == 1 else 1
    return _overlap(tp, (fp + fn) / 2, smooth / 2)[:, first:].mean()


def tversky(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 0.5,
    reduce: str = "image",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """One minus the Tversky index, averaged over all classes; alpha prices false positives, beta misses.

        loss = 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth),  in [0, 1]

    Both prices are at least 0. 1/2 and 1/2 is `dice` with twice the smooth, hence the default of 0.5; 1 and 1 is the
    soft IoU.

    Example:
        >>> tversky(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]), alpha=1, beta=1)  # 1 - (.5 + .5) / (1.5 + .5)
        tensor(0.5000)

    Reference:
        S. S. M. Salehi, D. Erdogmus, A. Gholipour, "Tversky loss function for image segmentation using 3D fully
        convolutional deep networks", MLMI 2017.
        Differs: smooth is ours.
    """
    return _tversky(logits, target, (alpha, beta, smooth), reduce, ignore_index).mean()


def focal_tversky(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    reduce: str = "image",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Tversky loss of every class raised to 1 / gamma, then averaged: gamma > 1 looks harder at what is nearly right.

        loss = mean of (1 - Tversky index)^(1 / gamma),  in [0, 1]

    alpha, beta and smooth (0.5) are those of `tversky`, which gamma = 1 gives back; gamma is above 0.

    Example:
        >>> logits, target = torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]])
        >>> focal_tversky(logits, target, alpha=1, beta=1, gamma=2)  # square root of the 0.5 above
        tensor(0.7071)

    Reference:
        N. Abraham, N. M. Khan, "A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion
        Segmentation", ISBI 2019.
        Differs: in the paper alpha prices misses and beta false positives, and classes are summed, not averaged.
    """
    _require_at_least("gamma", gamma, 1e-3)  # 1 / gamma must stay finite
    return _power(_tversky(logits, target, (alpha, beta, 0.5), reduce, ignore_index), 1 / gamma).mean()


def bce_dice(
    logits: Tensor, target: Tensor, *, smooth: float = 1.0, reduce: str = "image", ignore_index: int = IGNORE_INDEX
) -> Tensor:
    """Sum of `bce` and `dice`, one to one.

    Example:
        >>> bce_dice(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]))  # 0.6931 + 0.3333
        tensor(1.0265)

    Reference:
        F. Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation",
        Nature Methods 18, 2021.
        Differs: nnU-Net adds Dice to the softmax cross-entropy and leaves the background out of Dice.
    """
    pixels = bce(logits, target, ignore_index=ignore_index)
    return pixels + dice(logits, target, smooth=smooth, reduce=reduce, ignore_index=ignore_index)


def ce_dice(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.7,
    smooth: float = 1.0,
    reduce: str = "image",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Weighted mean of `ce` and `dice`: alpha * CE + (1 - alpha) * Dice, with alpha in [0, 1].

    Example:
        >>> ce_dice(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]), alpha=0.5)  # (0.6931 + 0.3333) / 2
        tensor(0.5132)

    Reference:
        Zhang, enhanced U-Net with CBAM for defects (SD-saliency-900): the loss, and alpha = 0.7 from its figure 5.
        Differs: the paper says neither smooth nor where Dice is summed.
    """
    _require_at_least("alpha", alpha, 0, 1)
    overlap = dice(logits, target, smooth=smooth, reduce=reduce, ignore_index=ignore_index)
    return alpha * ce(logits, target, ignore_index=ignore_index) + (1 - alpha) * overlap


def dice_focal(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float | None = None,
    gamma: float = 2.0,
    smooth: float = 1.0,
    reduce: str = "image",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Sum of `dice` and `focal`, one to one.

    Example:
        >>> dice_focal(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]))  # 0.3333 + 0.1733
        tensor(0.5066)

    Reference:
        Liu, "Image Recognition and Enhancements of the U-Net Model", ACE 172, 2025.
        Differs: the paper gives no constants; its code has alpha=0.5, gamma=2, smooth=1e-5 and reduce="batch".
    """
    overlap = dice(logits, target, smooth=smooth, reduce=reduce, ignore_index=ignore_index)
    return overlap + focal(logits, target, alpha=alpha, gamma=gamma, ignore_index=ignore_index)


def _prepare(logits: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Checked logits (N, K, H, W), at least float32, target (N, H, W) int64 and known (N, H, W), both 0 if unknown."""
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


def _one_hot(logits: Tensor, target: Tensor) -> Tensor:
    """Truth of every channel, (N, K, H, W), in the logits' dtype."""
    if logits.shape[1] == 1:
        return target[:, None].to(logits.dtype)
    return torch.zeros_like(logits).scatter_(1, target[:, None], 1.0)


def _pixel_ce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of every pixel, (N, H, W)."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits.dtype), reduction="none")
    return F.cross_entropy(logits, target, reduction="none")


def _mean(pixels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of pixels (N, H, W); 0 if all weights are 0."""
    total = weights.sum().to(pixels.dtype)
    return (pixels * weights).sum() / total.where(total > 0, torch.ones_like(total))


def _power(base: Tensor, exponent: float) -> Tensor:
    """Power of a base of at least 0, with slope 0 instead of infinity at 0 (0 ** 0 is 1)."""
    if exponent == 0:
        return torch.ones_like(base)
    positive = base > 0
    return torch.where(positive, base.where(positive, 1.0) ** exponent, 0.0)


def _soft_counts(logits: Tensor, target: Tensor, reduce: str, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Soft true positives, false positives and misses, each (N, K), or (1, K) summed over the batch."""
    require_name("reduce", reduce, ("image", "batch"))
    logits, target, known = _prepare(logits, target, ignore_index)
    probs = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
    probs = probs * known[:, None]
    truth = _one_hot(logits, target) * known[:, None]
    dims = (2, 3) if reduce == "image" else (0, 2, 3)
    tp, predicted, true = (t.sum(dim=dims).view(-1, logits.shape[1]) for t in (probs * truth, probs, truth))
    return tp, predicted - tp, true - tp


def _tversky(logits: Tensor, target: Tensor, prices: Sequence[float], reduce: str, ignore_index: int) -> Tensor:
    """Tversky loss of every image and class, (N, K) or (1, K); prices are alpha, beta and smooth."""
    for name, value in zip(("alpha", "beta", "smooth"), prices, strict=True):
        _require_at_least(name, value, 0)
    tp, fp, fn = _soft_counts(logits, target, reduce, ignore_index)
    return _overlap(tp, prices[0] * fp + prices[1] * fn, prices[2])


def _overlap(tp: Tensor, errors: Tensor, smooth: float) -> Tensor:
    """1 - (tp + smooth) / (tp + errors + smooth), written so that 0 / 0 is a loss of 0 and nothing cancels."""
    whole = tp + errors + smooth
    return errors / whole.where(whole > 0, 1.0)


def _require_at_least(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise a ValueError unless value is a finite number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or value == math.inf:
        rule = f"at least {low}" if high == math.inf else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be a number {rule}; got {value!r}.")
