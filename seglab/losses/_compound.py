"""Sums of a pixel loss and overlap losses."""

from torch import Tensor

from seglab.contract import IGNORE_INDEX
from seglab.losses._counting import require_at_least
from seglab.losses._overlap import dice, tversky
from seglab.losses._pixel import bce, ce, focal


def bce_dice(
    logits: Tensor, target: Tensor, *, smooth: float = 1.0, reduce: str = "image", ignore_index: int = IGNORE_INDEX
) -> Tensor:
    """Sum of `bce` and `dice`, one to one.

    Example:
        >>> import torch
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
        >>> import torch
        >>> ce_dice(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]), alpha=0.5)  # (0.6931 + 0.3333) / 2
        tensor(0.5132)

    Reference:
        Zhang, enhanced U-Net with CBAM for defects (SD-saliency-900): the loss, and alpha = 0.7 from its figure 5.
        Differs: the paper says neither smooth nor where Dice is summed.
    """
    require_at_least("alpha", alpha, 0, 1)
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
        >>> import torch
        >>> dice_focal(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]))  # 0.3333 + 0.1733
        tensor(0.5066)

    Reference:
        Liu, "Image Recognition and Enhancements of the U-Net Model", ACE 172, 2025.
        Differs: the paper gives no constants; its code has alpha=0.5, gamma=2, smooth=1e-5 and reduce="batch".
    """
    overlap = dice(logits, target, smooth=smooth, reduce=reduce, ignore_index=ignore_index)
    return overlap + focal(logits, target, alpha=alpha, gamma=gamma, ignore_index=ignore_index)


def compound(  # noqa: PLR0913 - a weight for each of three parts, and the prices of one
    logits: Tensor,
    target: Tensor,
    *,
    w_bce: float = 1.0,
    w_dice: float = 1.0,
    w_tversky: float = 0.0,
    alpha: float = 0.3,
    beta: float = 0.7,
    reduce: str = "image",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Weighted sum of cross-entropy, Dice and Tversky losses.

        loss = w_bce BCE + w_dice Dice + w_tversky Tversky(alpha, beta)

    K = 1 takes `bce`, K >= 2 takes `ce`. Dice and Tversky are those of this folder with their own smooth (1 and 0.5),
    so on an image without object they fall to 0 as nothing is predicted, and on a full one as all of it is. With the
    defaults and K = 1 this is `bce_dice`.

    Args:
        logits: (N, K, H, W).
        target: (N, H, W).
        w_bce: Weight of the cross-entropy, at least 0.
        w_dice: Weight of `dice`, at least 0.
        w_tversky: Weight of `tversky`, at least 0. One of the three has to be above 0.
        alpha: Price of a false positive in `tversky`, at least 0.
        beta: Price of a miss in `tversky`, at least 0.
        reduce: "image" or "batch": where Dice and Tversky are summed.
        ignore_index: Label of unknown pixels.

    Raises:
        ValueError: If a knob breaks its rule.

    Example:
        >>> import torch
        >>> logits, target = torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]])
        >>> compound(logits, target)  # 0.6931 + 0.3333
        tensor(1.0265)
        >>> compound(logits, target, w_bce=0, w_dice=0, w_tversky=1)  # 1 - (.5 + .5) / (.5 + .3 * .5 + .7 * .5 + .5)
        tensor(0.3333)

    Reference:
        B. Toptas, "Enhanced Skin Lesion Segmentation via Attentive Reverse-Attention U-Net", Symmetry 17(11), 2002,
        2025, which names a compound of its losses.
        Differs: neither the parts nor their weights are known from the paper; 1, 1, 0 and the prices are ours.
    """
    for name, value in (("w_bce", w_bce), ("w_dice", w_dice), ("w_tversky", w_tversky)):
        require_at_least(name, value, 0)
    if not (w_bce or w_dice or w_tversky):
        raise ValueError("w_bce, w_dice and w_tversky must not all be 0; got 0, 0 and 0.")
    pixels = ce(logits, target, ignore_index=ignore_index)  # of one logit: bce
    even = dice(logits, target, reduce=reduce, ignore_index=ignore_index)
    skewed = tversky(logits, target, alpha=alpha, beta=beta, reduce=reduce, ignore_index=ignore_index)
    return w_bce * pixels + w_dice * even + w_tversky * skewed
