"""Whether a stated probability can be taken at its word."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seglab.contract import IGNORE_INDEX
from seglab.metrics._ratios import require_below, require_masks

__all__ = ["Calibration", "calibration"]


class Calibration(NamedTuple):
    """Expected calibration error and the reliability table behind it."""

    ece: Tensor  # () float64 in [0, 1]
    table: Tensor  # (bins, 3) float64: mean confidence, share of correct pixels, number of pixels


def calibration(
    probs: Tensor, target: Tensor, *, bins: int = 15, band: float | None = None, ignore_index: int = IGNORE_INDEX
) -> Calibration:
    """Expected calibration error: how far the stated confidence is from the share of pixels that are right.

    Confidence is the probability of the predicted class. Pixels are sorted by it into bins of equal width. Most pixels
    are easy and far from a border, which makes a poor model look calibrated: `band` keeps those near a true border.

        ECE = sum over bins of (pixels in bin / pixels) * |share correct - mean confidence|

    Args:
        probs: Probabilities in [0, 1], (N, K, H, W); for K = 1 that of the foreground.
        target: True class indices, (N, H, W).
        bins: Number of bins on [0, 1], at least 1.
        band: Keep pixels at most this many pixels away (Euclidean) from a border pixel, one with a 4-neighbour of
            another known class; the edge of the picture is no border. 0 keeps the border pixels; None keeps all.
        ignore_index: Label of pixels whose class is unknown.

    Returns:
        Calibration(ece, table). A bin without pixels has NaN, NaN, 0; ece is NaN if no pixel is left.

    Example:
        >>> probs = torch.tensor([[[[0.75, 0.75, 0.75, 0.75]]]])
        >>> calibration(probs, torch.tensor([[[1, 1, 0, 0]]]), bins=2).ece  # 3/4 sure, 1/2 right
        tensor(0.2500, dtype=torch.float64)

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
        Differs: Guo's bins are closed above, ours below (the last one on both sides).
    """
    if probs.ndim != 4 or not probs.is_floating_point():
        raise ValueError(f"probs must be float (N, K, H, W); got {probs.dtype} {tuple(probs.shape)}.")
    if not bool(((probs >= 0) & (probs <= 1)).all()):
        raise ValueError("probs must be in [0, 1]; got values outside or NaN. Logits need a sigmoid or softmax first.")
    if bins < 1 or (band is not None and not band >= 0):
        raise ValueError(f"bins must be at least 1 and band at least 0; got {bins} and {band}.")
    require_masks(probs[:, 0] > 0.5, target)
    keep = target != ignore_index
    require_below("target", target.masked_fill(~keep, 0), max(2, probs.shape[1]))
    if band is not None:
        keep = keep & _near_border(target, keep, band)
    full = torch.cat((1 - probs, probs), dim=1) if probs.shape[1] == 1 else probs  # (N, K, H, W), K >= 2
    confidence, pred = full.double().max(dim=1)  # (N, H, W)
    confidence, right = confidence[keep], (pred == target)[keep].double()
    index = (confidence * bins).long().clamp_(max=bins - 1)
    weights = (torch.ones_like(right), confidence, right)
    number, sure, correct = (torch.bincount(index, weight, bins) for weight in weights)
    ece = (correct - sure).abs().sum() / number.sum()
    return Calibration(ece, torch.stack((sure / number, correct / number, number), dim=1))


def _near_border(target: Tensor, known: Tensor, band: float) -> Tensor:
    """Pixels (N, H, W) at most `band` pixels away from one that has a known 4-neighbour of another class."""
    from scipy.ndimage import distance_transform_edt

    border = torch.zeros_like(known)
    down = (target[:, 1:] != target[:, :-1]) & known[:, 1:] & known[:, :-1]
    right = (target[:, :, 1:] != target[:, :, :-1]) & known[:, :, 1:] & known[:, :, :-1]
    border[:, 1:] |= down
    border[:, :-1] |= down
    border[:, :, 1:] |= right
    border[:, :, :-1] |= right
    near = [distance_transform_edt(~one) <= band if one.any() else one for one in border.cpu().numpy()]
    return torch.from_numpy(np.stack(near)).to(target.device) if near else border
