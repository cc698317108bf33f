"""The structure loss: weights by brute force, plain losses where there is no border, and the public code's slip."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seglab import losses

from .batches import batch


def plain(logits: Tensor, target: Tensor) -> float:
    """Cross-entropy plus soft IoU loss of smooth 1, averaged over images and classes."""
    return (losses.ce(logits, target) + losses.tversky(logits, target, alpha=1, beta=1, smooth=1)).item()


def weights_by_hand(mask: Tensor, kernel: int, edge_weight: float) -> Tensor:
    """1 + edge_weight |mean of the window - mask| of a binary mask (H, W), pixel by pixel, 0 outside."""
    reach, weights = kernel // 2, torch.zeros(mask.shape, dtype=torch.float64)
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            window = mask[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
            weights[row, column] = 1 + edge_weight * abs(window.sum().item() / kernel**2 - mask[row, column].item())
    return weights


@pytest.mark.parametrize("kernel", [3, 5, 31])
def test_structure_is_its_formula(kernel: int) -> None:
    logits, target = batch(1)
    values = []
    for z, y in zip(logits[:, 0], target, strict=True):
        w, p = weights_by_hand(y, kernel, 5), z.sigmoid()
        inter, whole = (w * p * y).sum(), (w * (p + y - p * y)).sum()
        entropy = (w * F.binary_cross_entropy(p, y.double(), reduction="none")).sum() / w.sum()
        values.append((entropy + 1 - (inter + 1) / (whole + 1)).item())
    assert losses.structure(logits, target, kernel=kernel) == pytest.approx(sum(values) / 3, rel=1e-12)


def test_defaults_are_the_published_constants() -> None:
    logits, target = batch(1)
    spelled = losses.structure(logits, target, kernel=31, edge_weight=5.0, weigh_bce=True, reduce="image")
    assert losses.structure(logits, target) == spelled


@pytest.mark.parametrize("knobs", [{"kernel": 1}, {"edge_weight": 0}])
@pytest.mark.parametrize("channels", [1, 3])
def test_without_border_it_is_cross_entropy_plus_iou(channels: int, knobs: dict[str, float]) -> None:
    logits, target = batch(channels)
    expected = plain(logits, target)
    assert losses.structure(logits, target, **knobs) == pytest.approx(expected, rel=1e-12)
    assert losses.structure(logits, target, kernel=3) != pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_empty_mask_has_no_border(channels: int) -> None:
    logits, target = batch(channels)
    target = torch.zeros_like(target)
    assert losses.structure(logits, target, kernel=5) == pytest.approx(plain(logits, target), rel=1e-12)


def test_full_mask_has_its_border_along_the_frame_only() -> None:
    """A wrong pixel costs the same anywhere inside, and more at the frame."""
    target = torch.ones(1, 9, 9, dtype=torch.long)
    costs = []
    for row, column in ((4, 4), (2, 3), (0, 4)):
        logits = torch.full((1, 1, 9, 9), 9.0, dtype=torch.float64)
        logits[0, 0, row, column] = -9.0
        costs.append(losses.structure(logits, target, kernel=3).item())
    assert costs[0] == pytest.approx(costs[1], rel=1e-9)
    assert costs[2] > 1.5 * costs[0]


def test_two_exclusive_classes_have_the_binary_weights() -> None:
    """Seen in the cross-entropy: the IoU part is averaged over both classes, so it is taken out."""
    logits, target = batch(1)
    two = torch.cat((torch.zeros_like(logits), logits), dim=1)
    parts = []
    for scores in (logits, two):
        weighed, even = (losses.structure(scores, target, kernel=5, weigh_bce=flag) for flag in (True, False))
        parts.append((weighed - even).item())
    assert parts[0] == pytest.approx(parts[1], rel=1e-9)
    assert abs(parts[0]) > 1e-4


def test_weight_of_a_class_is_the_share_of_all_others_around() -> None:
    """Three classes in a row, kernel 3: of nine places, one, two and one hold another class than the pixel's own.

    Outside is background, so the object pixels also see six and three places of it: 0, 1, 2 have 1/9, 8/9, 8/9.
    """
    target = torch.tensor([[[0, 1, 2]]])
    logits = torch.zeros(1, 3, 1, 3, dtype=torch.float64)
    logits[0, 0, 0, 0] = 3.0
    entropy = F.cross_entropy(logits, target, reduction="none")[0, 0]
    w = 1 + 5 * torch.tensor([1, 8, 8], dtype=torch.float64) / 9
    expected = (w * entropy).sum() / w.sum() - entropy.mean()
    weighed, even = (losses.structure(logits, target, kernel=3, weigh_bce=flag) for flag in (True, False))
    assert weighed - even == pytest.approx(expected.item(), rel=1e-9)


def test_public_code_averages_the_entropy_before_weighing_it() -> None:
    """A mean times w, summed and divided by the sum of w, is the mean: the weights cancel."""
    logits, target = batch(1)
    values = []
    mean = F.binary_cross_entropy_with_logits(logits[:, 0], target.double())  # over the batch, a scalar
    for z, y in zip(logits[:, 0], target, strict=True):
        w, p = weights_by_hand(y, 31, 5), z.sigmoid()
        overlap = 1 - ((w * p * y).sum() + 1) / ((w * (p + y)).sum() - (w * p * y).sum() + 1)
        values.append(((w * mean).sum() / w.sum() + overlap).item())
    published = sum(values) / 3
    assert losses.structure(logits, target, weigh_bce=False) == pytest.approx(published, rel=1e-12)
    assert losses.structure(logits, target) != pytest.approx(published, rel=1e-4)


def test_wrong_pixels_near_the_border_cost_more_than_far_from_it() -> None:
    target = torch.zeros(1, 32, 32, dtype=torch.long)
    target[:, :, 16:] = 1
    costs = []
    for column in (15, 1):
        logits = 9.0 * (2.0 * target[:, None] - 1)
        logits[0, 0, 16, column] = 9.0
        costs.append(losses.structure(logits, target, kernel=7).item())
    assert costs[0] > 1.5 * costs[1]
