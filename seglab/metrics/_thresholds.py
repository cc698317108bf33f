"""Every threshold at once, from a histogram of the foreground's probability."""

import numpy as np
import torch
from torch import Tensor

from seglab.contract import IGNORE_INDEX
from seglab.metrics._calibration import BLOCK, require_probs
from seglab.metrics._ratios import as_bytes, require_below

__all__ = ["counts_at_thresholds", "probability_counts"]


def probability_counts(probs: Tensor, target: Tensor, *, bins: int = 256, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Histogram of the foreground's probability in every image, for background and for foreground pixels.

    Bin k holds probabilities above k / bins, up to and with (k + 1) / bins; the first holds 0, too. So a threshold at
    an edge cuts exactly where `probability > threshold` does. `counts_at_thresholds` makes the scores of it.

    Args:
        probs: Probabilities in [0, 1], (N, K, H, W) with K = 1 or 2; the last channel is the foreground.
        target: True class indices 0 and 1, (N, H, W).
        bins: Number of bins, a power of two from 2 to 65536, for which edges are exact in float32.
        ignore_index: Label of pixels whose class is unknown; they are not counted.

    Returns:
        (N, 2, bins) int64, in pixels: pixels that are truly background, then those truly foreground.

    Example:
        >>> probability_counts(torch.tensor([[[[0.1, 0.5, 0.6, 1.0]]]]), torch.tensor([[[0, 0, 1, 1]]]), bins=4)
        tensor([[[1, 1, 0, 0],
                 [0, 0, 1, 1]]])
    """
    require_probs(probs, target)
    if probs.shape[1] > 2:
        raise ValueError(f"probs must have 1 or 2 classes; got {probs.shape[1]}. More classes have no threshold.")
    if not 2 <= bins <= 65536 or bins & (bins - 1):
        raise ValueError(f"bins must be a power of two from 2 to 65536; got {bins}.")
    if (
        bins <= 256
        and probs.device.type == "cpu"
        and (fast := _in_bytes(probs, target, bins, ignore_index)) is not None
    ):
        return fast
    unknown = target.int() == ignore_index
    true = target.masked_fill(unknown, 0)
    require_below("target", true, 2)
    result = torch.zeros(len(probs), 2, bins, dtype=torch.int64, device=probs.device)
    rows = zip(result, probs[:, -1].flatten(1), true.bool().flatten(1), (~unknown).flatten(1), strict=True)
    for row, *image in rows:
        for stated, foreground, known in zip(*(part.split(BLOCK) for part in image), strict=True):
            index = stated.float().mul(bins).ceil_().sub_(1).clamp_(min=0).to(torch.int32)
            objects = torch.bincount(index[foreground], minlength=bins)
            row += torch.stack((torch.bincount(index[known], minlength=bins) - objects, objects))
    return result


def _in_bytes(probs: Tensor, target: Tensor, bins: int, ignore_index: int) -> Tensor | None:
    """The histograms on the CPU, bins and labels as bytes, block by block; None where a label is no byte, or wrong."""
    import cv2  # a heavy module; it counts bytes several times as fast

    masks = as_bytes(target)
    if masks is None or not 2 <= ignore_index <= 255:
        return None
    result = np.zeros((len(probs), 2, bins), np.int64)
    for row, stated, mask in zip(result, probs[:, -1].float().flatten(1).numpy(), masks, strict=True):
        labels = mask.ravel()
        for start in range(0, labels.size, BLOCK):
            true = labels[start : start + BLOCK]
            index = np.ceil(stated[start : start + BLOCK] * np.float32(bins))  # exact: bins is a power of two
            index -= 1
            index = np.maximum(index, 0, out=index).astype(np.uint8)
            known = None
            if true.max() > 1:
                known = (true != ignore_index).view(np.uint8)
                true = true * known
                if true.max() > 1:
                    return None
            # float32 holds the counts of a block exactly.
            every, objects = (cv2.calcHist([index], [0], one, [bins], [0, bins]).ravel() for one in (known, true))
            row += np.stack([every - objects, objects]).astype(np.int64)
    return torch.from_numpy(result)


def counts_at_thresholds(histogram: Tensor) -> Tensor:
    """Confusion counts of every image at every threshold, without the model.

    The thresholds are the edges k / bins, k from 1 to bins - 1; a pixel counts as foreground if its probability is
    above. The counts are those of `counts`, so every ratio and `aggregate` take them.

    Args:
        histogram: (N, 2, bins) from `probability_counts`.

    Returns:
        (bins - 1, N, 2, 2) int64, rows true, columns predicted.

    Example:
        >>> histogram = torch.tensor([[[1, 1, 0, 0], [0, 0, 1, 1]]])
        >>> counts_at_thresholds(histogram)[:, 0].tolist()  # at 1/4, 2/4 and 3/4
        [[[1, 1], [0, 2]], [[2, 0], [0, 2]], [[2, 0], [1, 1]]]
    """
    if histogram.ndim != 3 or histogram.shape[1] != 2 or histogram.shape[2] < 2:
        raise ValueError(f"histogram must be (N, 2, bins) with 2 bins or more; got {tuple(histogram.shape)}.")
    below = histogram.cumsum(dim=2)[..., :-1]  # (N, 2, bins - 1): not above the edge
    above = histogram.sum(dim=2, keepdim=True) - below
    return torch.stack((below, above), dim=-1).permute(2, 0, 1, 3)
