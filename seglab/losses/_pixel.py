"""Losses that average over pixels, each pixel by itself."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from seglab.contract import IGNORE_INDEX
from seglab.losses._counting import (
    mean,
    one_hot,
    pixel_ce,
    pixel_weights,
    power,
    prepare,
    require_at_least,
    require_flag,
)


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
    logits, target, known = prepare(logits, target, ignore_index)
    pixels = F.binary_cross_entropy_with_logits(logits, one_hot(logits, target), reduction="none").mean(dim=1)
    return mean(pixels, known)


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
    logits, target, known = prepare(logits, target, ignore_index)
    if class_weights is None:
        return mean(pixel_ce(logits, target), known)
    return mean(pixel_ce(logits, target), known * pixel_weights(logits, target, class_weights))


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
    require_at_least("gamma", gamma, 0)
    require_flag("uniform_alpha", uniform_alpha)
    if uniform_alpha and alpha is None:
        raise ValueError("alpha must be a number in [0, 1] where uniform_alpha is True; got None.")
    if alpha is not None:
        require_at_least("alpha", alpha, 0, 1)
    logits, target, known = prepare(logits, target, ignore_index)
    pixels = pixel_ce(logits, target)
    pixels = power(-torch.expm1(-pixels), gamma) * pixels
    if alpha is not None:
        # Filled, because a list copied to a GPU makes every step wait for it.
        background, foreground = (pixels.new_full((), side) for side in (alpha if uniform_alpha else 1 - alpha, alpha))
        pixels = pixels * torch.where(target > 0, foreground, background)
    return mean(pixels, known)
