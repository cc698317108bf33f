"""Histograms of probabilities against masks that were thresholded one by one; calibration added over pictures."""

import math
import warnings

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as reference
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from seglab import metrics


def pictures(channels: int = 1, images: int = 3, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K, 14, 17), many of them exactly on an edge, and masks with unknown pixels in one corner."""
    generator = torch.Generator().manual_seed(seed)
    classes = max(2, channels)
    probs = (4 * torch.randn(images, classes, 14, 17, generator=generator)).softmax(1)
    target = torch.randint(classes, (images, 14, 17), generator=generator)
    target[0, :4, :5] = 255
    if channels == 1:
        probs = probs[:, 1:]
        probs[1] = (probs[1] * 16).round() / 16  # 0 and 1 among them
    return probs, target


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bins", [2, 16, 256, 1024])
def test_counts_at_every_threshold_are_those_of_the_thresholded_masks(channels: int, bins: int) -> None:
    probs, target = pictures(channels)
    at = metrics.counts_at_thresholds(metrics.probability_counts(probs, target, bins=bins))
    assert at.shape == (bins - 1, 3, 2, 2)
    for k in {1, bins // 4 or 1, bins // 2, bins - 1}:
        pred = (probs[:, -1] > k / bins).long()
        assert torch.equal(at[k - 1], metrics.counts(pred, target, 1)), k / bins


def test_scores_at_thresholds_are_those_of_torchmetrics() -> None:
    probs, target = pictures()
    at = metrics.counts_at_thresholds(metrics.probability_counts(probs, target, bins=8)).sum(1)
    known = target != 255
    for k in range(1, 8):
        pair = (probs[:, 0][known] > k / 8).long(), target[known]
        for ours, theirs in (
            (metrics.dice, reference.binary_f1_score),
            (metrics.iou, reference.binary_jaccard_index),
            (metrics.precision, reference.binary_precision),
            (metrics.recall, reference.binary_recall),
            (metrics.specificity, reference.binary_specificity),
        ):
            assert ours(at[k - 1])[1].item() == pytest.approx(theirs(*pair).item(), abs=1e-6)


def test_histogram_worked_by_hand() -> None:
    """Each edge belongs to the bin below it, because a mask holds what is above the threshold; 0 is in the first."""
    probs = torch.tensor([[[[0.0, 0.25, 0.26, 0.5, 0.75, 1.0]]]])
    target = torch.tensor([[[0, 1, 0, 1, 255, 1]]])
    assert metrics.probability_counts(probs, target, bins=4).tolist() == [[[1, 1, 0, 0], [1, 1, 0, 1]]]


@pytest.mark.parametrize("label", [0, 1, 255])
def test_masks_of_one_label_fill_one_row(label: int) -> None:
    probs, _ = pictures()
    histogram = metrics.probability_counts(probs, torch.full((3, 14, 17), label))
    assert histogram.sum((0, 2)).tolist() == {0: [714, 0], 1: [0, 714], 255: [0, 0]}[label]


def test_histograms_of_no_image_are_empty() -> None:
    histogram = metrics.probability_counts(torch.zeros(0, 1, 4, 4), torch.zeros(0, 4, 4, dtype=torch.long))
    assert histogram.shape == (0, 2, 256)
    assert metrics.counts_at_thresholds(histogram).shape == (255, 0, 2, 2)


# Calibration


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("band", [None, 1.5, 40])
def test_calibration_adds_up_over_pictures(channels: int, band: float | None) -> None:
    probs, target = pictures(channels)
    parts = [metrics.confidence_sums(probs[i : i + 1], target[i : i + 1], bins=9, band=band) for i in range(3)]
    added, whole = metrics.calibration_of(sum(parts)), metrics.calibration(probs, target, bins=9, band=band)
    assert added.ece.item() == pytest.approx(whole.ece.item())
    np.testing.assert_allclose(added.table, whole.table)


@pytest.mark.parametrize("band", [0, 2.5, 30, 31])
def test_calibration_near_a_border_is_torchmetrics_of_the_pixels_there(band: float) -> None:
    """Both ways to find the band, below and above 30 pixels, on a picture with more pixels than fit in one block."""
    generator = torch.Generator().manual_seed(1)
    target = torch.zeros(1, 300, 320, dtype=torch.long)
    target[0, 100:190, 60:200] = 1
    target[0, 150:160, 230:] = 255
    probs = torch.rand(1, 1, 300, 320, generator=generator)
    inside = target[0].numpy() == 1
    border = np.zeros_like(inside)
    for axis in (0, 1):
        for step in (1, -1):
            border |= inside != np.roll(inside, step, axis)  # the object touches no edge, so nothing wraps
    near = torch.from_numpy(distance_transform_edt(~border) <= band) & (target[0] != 255)
    stated, truth = probs[0, 0][near], target[0][near]
    both = torch.stack((1 - stated, stated), dim=1)
    expected = reference.multiclass_calibration_error(both, truth, 2, n_bins=12, norm="l1")
    ece, table = metrics.calibration(probs, target, bins=12, band=band)
    assert ece.item() == pytest.approx(expected.item(), abs=1e-5)
    assert table[:, 2].sum() == near.sum()


def test_binary_calibration_of_torchmetrics_is_another_number() -> None:
    """It bins the foreground's probability, .25 and .75; we bin the confidence, .75 twice."""
    probs, target = torch.tensor([[[[0.25, 0.75, 0.75, 0.75]]]]), torch.tensor([[[1, 1, 1, 0]]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = reference.binary_calibration_error(probs.flatten(), target.flatten(), n_bins=4, norm="l1")
    assert metrics.calibration(probs, target, bins=4).ece.item() == pytest.approx(abs(2 / 4 - 3 / 4))
    assert theirs.item() == pytest.approx(1 / 4 * (1 - 1 / 4) + 3 / 4 * (3 / 4 - 2 / 3))


def test_perfect_confidence_is_calibrated_and_false_confidence_is_not() -> None:
    target = torch.tensor([[[0, 1, 1, 0]]])
    sure = target[:, None].float()
    assert metrics.calibration(sure, target).ece == 0
    assert metrics.calibration(1 - sure, target).ece == 1
    assert math.isnan(metrics.calibration_of(torch.zeros(15, 3)).ece)


# Messages


def test_what_has_no_histogram_is_named() -> None:
    probs, target = pictures()
    with pytest.raises(ValueError, match="probs must have 1 or 2 classes; got 3. More classes have no threshold"):
        metrics.probability_counts(*pictures(3))
    for bins in (1, 100, 2**17):
        with pytest.raises(ValueError, match=f"bins must be a power of two from 2 to 65536; got {bins}"):
            metrics.probability_counts(probs, target, bins=bins)
    with pytest.raises(ValueError, match="target must hold class indices 0 to 1; got values from 0 to 5"):
        metrics.probability_counts(probs, target.masked_fill(target == 1, 5))
    with pytest.raises(ValueError, match=r"share a shape \(N, H, W\); got \(3, 14, 17\) and \(3, 14, 16\)"):
        metrics.probability_counts(probs, target[..., 1:])
    with pytest.raises(ValueError, match=r"histogram must be \(N, 2, bins\) with 2 bins or more; got \(2, 8\)"):
        metrics.counts_at_thresholds(torch.zeros(2, 8))
    with pytest.raises(ValueError, match=r"sums must be \(bins, 3\); got \(3,\)"):
        metrics.calibration_of(torch.zeros(3))
