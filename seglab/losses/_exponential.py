"""Exponential losses: exp(-p) of the true class, with fixed weights or with weights from each image's own mask.

Both lie between 1/e and 1 times their weights, so a perfect prediction does not cost 0. As functions of the logit z
they are bounded: convex only where p is above (3 - sqrt 5) / 2 = .382, and flat where the model is surely wrong. At
z = -8 on an object pixel the slope is -.0003; that of `bce` is -.9997. A pixel that is learnt wrong early stays wrong.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seglab.contract import IGNORE_INDEX
from seglab.losses._counting import (
    mean,
    pixel_ce,
    pixel_weights,
    prepare,
    require_at_least,
    require_flag,
    require_reduce,
)


def exponential(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Sequence[float] | Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """exp(-p) of the true class with fixed class weights, averaged over known pixels.

        loss = mean of w_y exp(-p_y),  p_y = probability of the true class
             = mean of w_1 y exp(-P) + w_0 (1 - y) exp(-(1 - P))  for two classes, P = probability of the object

    A perfect prediction costs 1/e = .368 times the mean weight, not 0; the worst costs the mean weight. Empty and full
    masks need no rule: their pixels all have the same weight.

    Args:
        logits: (N, K, H, W).
        target: (N, H, W).
        class_weights: max(2, K) numbers of at least 0, background first; None weighs all classes 1. Unlike in `ce`,
            the sum is not divided by the weights, so that twice the weights are twice the loss.
        ignore_index: Label of unknown pixels.

    Raises:
        ValueError: If a knob breaks its rule.

    Example:
        >>> exponential(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]))  # exp(-1/2)
        tensor(0.6065)
        >>> exponential(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]), class_weights=[1, 3])  # (1 + 3) / 2 of it
        tensor(1.2131)

    Reference:
        S. Roshan et al., "A deep ensemble medical image segmentation with novel sampling method and loss function",
        Computers in Biology and Medicine 172, 108305, 2024 (ExpUNET), in the form of eq. 3 of `adaptive_exponential`.
        Differs: the later paper does not print the fixed weights: None, all of them 1, is ours. K > 2 is ours.
    """
    logits, target, known = prepare(logits, target, ignore_index)
    pixels = _pixel_exponential(logits, target)
    if class_weights is not None:
        pixels = pixels * pixel_weights(logits, target, class_weights)
    return mean(pixels, known)


def adaptive_exponential(
    logits: Tensor,
    target: Tensor,
    *,
    eps: float = 1e-6,
    normalise: bool = False,
    cap: float | None = None,
    reduce: str = "image",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """exp(-p) of the true class, each class of an image weighted by one over its share of that image.

        k = lesion pixels / known pixels,  l1 = 1 / (k + eps),  l2 = 1 / (1 - k + eps)
        loss = mean of l1 y exp(-P) + l2 (1 - y) exp(-(1 - P)),  P = probability of the lesion

    With a small eps this is the mean over the lesion plus the mean over the background: a perfect prediction costs
    2/e = .736, the worst 2. Unknown pixels leave k.

    Empty mask: k = 0, and l1 = 1 / eps finds no pixel to weigh. What is left is the background's mean, between 1/e and
    1: such an image counts half. A full mask is the mirror of it. `normalise` lets both count like the others.

    Why a cap: a class of one pixel weighs as much as all the rest. One stray pixel in 100 x 100 gets l1 = 9901 and adds
    as much as the background can cost altogether; under a cap of 10 it adds one thousandth (see the example).

    Args:
        logits: (N, K, H, W).
        target: (N, H, W).
        eps: Added to every share, at least 0. 0 is safe: an absent class is never divided by.
        normalise: Divide by the mean weight of the image's known pixels. Every loss then lies between 1/e and 1,
            whatever eps, cap and the number of classes present. Off in the paper.
        cap: Largest weight of a pixel, at least 1; None, as in the paper, sets no limit. 1 makes all weights equal.
        reduce: "image", as in the paper, takes the shares from each image and averages over images; "batch" treats the
            batch as one large image.
        ignore_index: Label of unknown pixels.

    Raises:
        ValueError: If a knob breaks its rule.

    Example:
        >>> adaptive_exponential(torch.zeros(1, 1, 1, 4), torch.tensor([[[1, 0, 0, 0]]]))  # (4 + 3 * 4/3) / 4 exp(-.5)
        tensor(1.2131)
        >>> empty = torch.full((1, 1, 100, 100), -99.0)
        >>> stray = torch.zeros(1, 100, 100, dtype=torch.long)
        >>> stray[0, 0, 0] = 1
        >>> adaptive_exponential(empty, stray), adaptive_exponential(empty, stray, cap=10)  # 0.3679 + 0.9901, + 0.001
        (tensor(1.3580), tensor(0.3689))

    Reference:
        M. Zarrin, H. Nikkhah, "Receptive Field-Enhanced Skip Connections and Adaptive Loss", JADM, 2025, doi
        10.22044/jadm.2025.16467.2771, eq. 1 to 3.
        Differs: eps is not given in the paper; normalise and cap are ours. The paper has one lesion class: for K >= 2
        each class of the softmax has its own share and weight, which for K = 2 is the paper's formula. The paper
        says that the loss is convex; of the logit it is not (see the head of this file).
    """
    require_at_least("eps", eps, 0)
    require_flag("normalise", normalise)
    require_reduce(reduce)
    if cap is not None:
        require_at_least("cap", cap, 1)
    logits, target, known = prepare(logits, target, ignore_index)
    shares = _class_shares(logits, target, known, reduce)
    scale = torch.where(shares > 0, 1 / (shares + eps), 0.0).clamp(max=math.inf if cap is None else cap)
    weights = scale.gather(1, target.flatten(1)).view_as(target) * known
    pixels = _pixel_exponential(logits, target)
    return mean(pixels, weights, reduce) if normalise else mean(weights * pixels, known, reduce)


def _pixel_exponential(logits: Tensor, target: Tensor) -> Tensor:
    """exp(-p) of the true class of every pixel, (N, H, W)."""
    return torch.exp(-torch.exp(-pixel_ce(logits, target)))


def _class_shares(logits: Tensor, target: Tensor, known: Tensor, reduce: str) -> Tensor:
    """Share of each class in the known pixels of each image, or of the batch, (N, max(2, K))."""
    rows = 1 if reduce == "batch" else target.shape[0]
    labels = target.masked_fill(~known, -1).reshape(rows, -1)
    found = torch.stack([(labels == label).sum(dim=1) for label in range(max(2, logits.shape[1]))], dim=1)
    found = found.to(logits.dtype)
    return (found / found.sum(dim=1, keepdim=True).clamp(min=1)).expand(target.shape[0], -1)
