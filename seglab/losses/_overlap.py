"""Losses that compare areas: one minus a soft overlap of prediction and truth."""

from collections.abc import Sequence

from torch import Tensor

from seglab.contract import IGNORE_INDEX
from seglab.losses._counting import overlap, power, require_at_least, require_flag, soft_counts


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
        >>> import torch
        >>> dice(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]))  # 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
        tensor(0.3333)

    Reference:
        F. Milletari, N. Navab, S.-A. Ahmadi, "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image
        Segmentation", 3DV 2016, sec. 3.
        Differs: V-Net squares p and g in the denominator and has no smooth. Liu's code counts ignored pixels as false
        positives: a perfect prediction with half the pixels ignored costs .168 there, 0 here.
    """
    require_at_least("smooth", smooth, 0)
    tp, fp, fn = soft_counts(logits, target, reduce, ignore_index)
    return _averaged(overlap(tp, (fp + fn) / 2, smooth / 2), include_background).mean()


def tversky(  # noqa: PLR0913 - two prices beside the knobs of dice
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 0.5,
    reduce: str = "image",
    include_background: bool = True,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """One minus the Tversky index, averaged over classes; alpha prices false positives, beta misses.

        loss = 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth),  in [0, 1]

    Both prices are at least 0. 1/2 and 1/2 is `dice` with twice the smooth, hence the default of 0.5; 1 and 1 is the
    soft IoU. `include_background` is that of `dice`. Mind it for K = 2: what misses the object is a false positive of
    the background, so the mean over both classes softens a skewed price, and where both areas are equal cancels it.

    Example:
        >>> import torch
        >>> tversky(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]), alpha=1, beta=1)  # 1 - (.5 + .5) / (1.5 + .5)
        tensor(0.5000)

    Reference:
        S. S. M. Salehi, D. Erdogmus, A. Gholipour, "Tversky loss function for image segmentation using 3D fully
        convolutional deep networks", MLMI 2017.
        Differs: smooth is ours. The paper takes the lesion's index only: K = 1, or include_background=False, here.
    """
    each = _tversky(logits, target, (alpha, beta, smooth), reduce, ignore_index)
    return _averaged(each, include_background).mean()


def focal_tversky(  # noqa: PLR0913 - as for tversky
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    reduce: str = "image",
    include_background: bool = True,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Tversky loss of every class raised to 1 / gamma, then averaged: gamma > 1 looks harder at what is nearly right.

        loss = mean of (1 - Tversky index)^(1 / gamma),  in [0, 1]

    alpha, beta, smooth (0.5) and include_background are those of `tversky`, which gamma = 1 gives back; gamma is above
    0.

    Example:
        >>> import torch
        >>> logits, target = torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]])
        >>> focal_tversky(logits, target, alpha=1, beta=1, gamma=2)  # square root of the 0.5 above
        tensor(0.7071)

    Reference:
        N. Abraham, N. M. Khan, "A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion
        Segmentation", ISBI 2019.
        Differs: in the paper alpha prices misses and beta false positives (0.7 and 0.3, so the defaults agree), and
        classes are summed, not averaged.
    """
    require_at_least("gamma", gamma, 1e-3)  # 1 / gamma must stay finite
    each = _tversky(logits, target, (alpha, beta, 0.5), reduce, ignore_index)
    return power(_averaged(each, include_background), 1 / gamma).mean()


def _tversky(logits: Tensor, target: Tensor, prices: Sequence[float], reduce: str, ignore_index: int) -> Tensor:
    """Tversky loss of every image and class, (N, K) or (1, K); prices are alpha, beta and smooth."""
    for name, value in zip(("alpha", "beta", "smooth"), prices, strict=True):
        require_at_least(name, value, 0)
    tp, fp, fn = soft_counts(logits, target, reduce, ignore_index)
    return overlap(tp, prices[0] * fp + prices[1] * fn, prices[2])


def _averaged(each: Tensor, include_background: bool) -> Tensor:
    """The classes that are averaged, of a table (N, K): all, or all but the first; the only one is always in."""
    require_flag("include_background", include_background)
    return each if include_background or each.shape[1] == 1 else each[:, 1:]
