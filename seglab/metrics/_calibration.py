"""Whether a stated probability can be taken at its word."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seglab.contract import IGNORE_INDEX
from seglab.metrics._ratios import require_below, require_masks

__all__ = ["Calibration", "calibration", "calibration_of", "confidence_sums", "require_probs"]

BLOCK = 1 << 16  # pixels at a time; as many fit in a processor's cache


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
        Differs: Guo's bins are closed above, ours below (the last one on both sides). torchmetrics'
        `multiclass_calibration_error` is the same as ours; its `binary_calibration_error` bins the probability of the
        foreground and compares it with the share of foreground, which is another number.
    """
    return calibration_of(confidence_sums(probs, target, bins=bins, band=band, ignore_index=ignore_index))


def confidence_sums(
    probs: Tensor, target: Tensor, *, bins: int = 15, band: float | None = None, ignore_index: int = IGNORE_INDEX
) -> Tensor:
    """What `calibration` needs to know of a batch: sums that can be added over batches, so no probability is kept.

    Args:
        probs: As in `calibration`.
        target: As in `calibration`.
        bins: As in `calibration`.
        band: As in `calibration`.
        ignore_index: As in `calibration`.

    Returns:
        (bins, 3) float64: sum of confidence, number of correct pixels, number of pixels.

    Example:
        >>> probs = torch.tensor([[[[0.75, 0.75, 0.75, 0.75]]]])
        >>> confidence_sums(probs, torch.tensor([[[1, 1, 0, 0]]]), bins=2)
        tensor([[0., 0., 0.],
                [3., 2., 4.]], dtype=torch.float64)
    """
    require_probs(probs, target)
    if bins < 1 or (band is not None and not band >= 0):
        raise ValueError(f"bins must be at least 1 and band at least 0; got {bins} and {band}.")
    keep = target != ignore_index
    require_below("target", target.masked_fill(~keep, 0), max(2, probs.shape[1]))
    if band is not None:
        keep = keep & _near_border(target, keep, band)
    sums = np.zeros((bins, 3))
    for one, true, kept in zip(
        probs.detach().cpu().flatten(2), target.cpu().flatten(1), keep.cpu().flatten(1), strict=True
    ):
        for start in range(0, len(true), BLOCK):
            part = slice(start, start + BLOCK)
            stated, right, chosen = one[:, part].numpy(), true[part].numpy(), kept[part].numpy()
            if not chosen.any():
                continue
            if not chosen.all():
                stated, right = stated[:, chosen], right[chosen]
            sums += _sums(stated, right, bins)
    return torch.from_numpy(sums).to(probs.device)


def calibration_of(sums: Tensor) -> Calibration:
    """Calibration from `confidence_sums`, of one batch or added over many.

    Args:
        sums: (bins, 3) float64.

    Example:
        >>> calibration_of(torch.tensor([[0.0, 0, 0], [3, 2, 4]])).table[1]  # mean confidence, share correct, pixels
        tensor([0.7500, 0.5000, 4.0000], dtype=torch.float64)
    """
    if sums.ndim != 2 or sums.shape[1] != 3:
        raise ValueError(f"sums must be (bins, 3); got {tuple(sums.shape)}.")
    sure, correct, number = sums.double().unbind(dim=1)
    ece = (correct - sure).abs().sum() / number.sum()
    return Calibration(ece, torch.stack((sure / number, correct / number, number), dim=1))


def require_probs(probs: Tensor, target: Tensor) -> None:
    """Raise a ValueError unless they are probabilities (N, K, H, W) and a mask (N, H, W)."""
    if probs.ndim != 4 or not probs.is_floating_point():
        raise ValueError(f"probs must be float (N, K, H, W); got {probs.dtype} {tuple(probs.shape)}.")
    if probs.numel():
        low, high = (float(end) for end in probs.aminmax())
        if not (low >= 0 and high <= 1):
            raise ValueError(
                "probs must be in [0, 1]; got values outside or NaN. Logits need a sigmoid or softmax first."
            )
    require_masks(torch.empty((len(probs), *probs.shape[2:]), dtype=torch.bool, device="meta"), target)


def _near_border(target: Tensor, known: Tensor, band: float) -> Tensor:
    """Pixels (N, H, W) at most `band` pixels away from one that has a known 4-neighbour of another class."""
    border = torch.zeros_like(known)
    down = (target[:, 1:] != target[:, :-1]) & known[:, 1:] & known[:, :-1]
    right = (target[:, :, 1:] != target[:, :, :-1]) & known[:, :, 1:] & known[:, :, :-1]
    border[:, 1:] |= down
    border[:, :-1] |= down
    border[:, :, 1:] |= right
    border[:, :, :-1] |= right
    near = [_within(one, band) for one in border.cpu().numpy()]
    return torch.from_numpy(np.stack(near)).to(target.device) if near else border


def _within(marked: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    """Pixels (H, W) at most that far from a marked one."""
    if distance > 30:  # discs get large; a distance transform costs the same for any distance, but more for a small one
        from scipy.ndimage import distance_transform_edt

        near: NDArray[np.bool_] = distance_transform_edt(~marked) <= distance if marked.any() else marked
        return near
    reach = int(distance)
    wide = np.pad(np.zeros_like(marked), reach)
    width, cells = wide.shape[1], wide.reshape(-1)  # one index for row and column is twice as fast as two
    rows, columns = np.nonzero(marked)
    start = (rows + reach) * width + columns + reach
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if down * down + right * right <= distance * distance:
                cells[start + down * width + right] = True
    return wide[reach : reach + marked.shape[0], reach : reach + marked.shape[1]]


def _sums(probs: NDArray[Any], target: NDArray[Any], bins: int) -> NDArray[np.float64]:
    """The sums of `confidence_sums`, (bins, 3), of pixels with probabilities (K, P) and true classes (P,)."""
    if len(probs) == 1:
        stated = probs[0].astype(np.float64)
        confidence, pred = np.maximum(stated, 1 - stated), stated > 0.5
    else:
        confidence, pred = probs.max(axis=0).astype(np.float64), probs.argmax(axis=0)
    index = np.minimum((confidence * bins).astype(np.intp), bins - 1)
    wrong, right = np.bincount(index + bins * (pred == target), minlength=2 * bins).reshape(2, bins)
    return np.stack([np.bincount(index, confidence, bins), right, wrong + right], axis=1)
