"""The structure loss: cross-entropy and IoU that look harder at pixels near a border."""

from torch import Tensor
from torch.nn import functional as F

from seglab.contract import IGNORE_INDEX
from seglab.losses._counting import (
    mean,
    one_hot,
    overlap,
    pixel_ce,
    prepare,
    require_at_least,
    require_flag,
    weighted_counts,
)


def structure(
    logits: Tensor,
    target: Tensor,
    *,
    kernel: int = 31,
    edge_weight: float = 5.0,
    weigh_bce: bool = True,
    reduce: str = "image",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Sum of a weighted cross-entropy and a weighted IoU loss; the weight grows near the border of the mask.

        w = 1 + edge_weight |share - mask|,  share = mean of the mask in kernel x kernel pixels around
        loss = sum(w BCE) / sum(w) + 1 - (sum(w p g) + 1) / (sum(w (p + g - p g)) + 1),  averaged over images

    Far from a border w is 1, on a straight border about 1 + edge_weight / 2, on a thin object almost 1 + edge_weight.
    What lies outside the picture counts as background in the share, so an object that the frame cuts has a border
    there. Unknown pixels count like the outside, and leave all sums.

    Empty mask: w is 1 everywhere; the IoU part falls to 0 as nothing is predicted. Full mask: w is above 1 along the
    frame only. Without a known pixel an image costs 0.

    Args:
        logits: (N, K, H, W).
        target: (N, H, W).
        kernel: Side of the window in pixels, an odd number. 1 knows no border: plain cross-entropy and IoU.
        edge_weight: What a border adds to the weight, at least 0.
        weigh_bce: False leaves the weights to the IoU part and takes the plain mean of the cross-entropy. This is what
            the public code computes, see below.
        reduce: "image", as in the source, averages over images; "batch" forms both ratios over the batch.
        ignore_index: Label of unknown pixels.

    Raises:
        ValueError: If a knob breaks its rule.

    Example:
        >>> import torch
        >>> logits, target = torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]])
        >>> structure(logits, target, kernel=1)  # log 2 + 1 - (.5 + 1) / (1.5 + 1)
        tensor(1.0931)
        >>> structure(logits, target, kernel=3)  # shares 1/9: w = 49/9, 14/9; log 2 + 1 - (2.7222 + 1) / (6.2222 + 1)
        tensor(1.1778)

    Reference:
        D.-P. Fan et al., "PraNet: Parallel Reverse Attention Network for Polyp Segmentation", MICCAI 2020, sec. 2.3;
        the weights are those of J. Wei, S. Wang, Q. Huang, "F3Net: Fusion, Feedback and Focus for Salient Object
        Detection", AAAI 2020.
        Differs: in PraNet's public code the cross-entropy is a scalar mean before it is weighted (`reduce="none"`
        where `reduction="none"` is meant), so the weights cancel; weigh_bce=False gives that. The source is binary:
        for K >= 2 the cross-entropy is that of the softmax, the IoU is averaged over all classes, and w is
        1 + edge_weight (1 - share of the pixel's own class), which for K = 2 are the binary weights.
    """
    if isinstance(kernel, bool) or not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel must be an odd whole number at least 1; got {kernel!r}.")
    require_at_least("edge_weight", edge_weight, 0)
    require_flag("weigh_bce", weigh_bce)
    logits, target, known = prepare(logits, target, ignore_index)
    weights = known * (1 + edge_weight * _closeness(one_hot(logits, target), target, kernel))
    tp, fp, fn = weighted_counts(logits, target, weights, reduce)
    pixels = mean(pixel_ce(logits, target), weights if weigh_bce else known, reduce)
    return pixels + overlap(tp, fp + fn, 1.0).mean()


def _closeness(truth: Tensor, target: Tensor, kernel: int) -> Tensor:
    """Share of other classes in the window around each pixel, (N, H, W); outside the picture is background."""
    objects = truth if truth.shape[1] == 1 else truth[:, 1:]
    share = F.avg_pool2d(objects, (kernel, 1), 1, (kernel // 2, 0))  # rows, then columns: 62 sums instead of 961
    share = F.avg_pool2d(share, (1, kernel), 1, (0, kernel // 2))
    own = share.gather(1, (target[:, None] - 1).clamp(min=0))[:, 0]
    return (1 - own).where(target > 0, share.sum(dim=1)).clamp(min=0)
