"""Sums of a pixel loss and an overlap loss."""

from torch import Tensor

from seglab.contract import IGNORE_INDEX
from seglab.losses._counting import require_at_least
from seglab.losses._overlap import dice
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
