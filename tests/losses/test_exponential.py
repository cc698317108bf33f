"""Exponential losses: class masses, identities, masks without one of the classes, and the shape over the logit."""

import math

import pytest
import torch
from torch import Tensor

from seglab import losses

from .batches import batch, perfect

FLAT = math.exp(-0.5)  # what every pixel of logit 0 costs before its weight


def mask_of(lesion: int, pixels: int = 100) -> Tensor:
    """One row of pixels, (1, 1, pixels), whose first ones are lesion."""
    return (torch.arange(pixels) < lesion).long()[None, None]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("lesion", [1, 10, 50, 99])
def test_both_classes_weigh_one_each_whatever_their_share(lesion: int, channels: int) -> None:
    """k l1 + (1 - k) l2 = 2 as eps goes to 0: seen where all pixels cost the same."""
    logits, target = torch.zeros(1, channels, 1, 100, dtype=torch.float64), mask_of(lesion)
    assert losses.adaptive_exponential(logits, target, eps=0) == pytest.approx(2 * FLAT, rel=1e-12)
    k, eps = lesion / 100, 0.1
    mass = k / (k + eps) + (1 - k) / (1 - k + eps)
    assert losses.adaptive_exponential(logits, target, eps=eps) == pytest.approx(mass * FLAT, rel=1e-12)


def test_adaptive_is_the_lesion_mean_plus_the_background_mean() -> None:
    logits, target = batch(1, images=1)
    p, lesion = logits.sigmoid()[:, 0], target == 1
    expected = torch.exp(-p[lesion]).mean() + torch.exp(p[~lesion] - 1).mean()
    assert losses.adaptive_exponential(logits, target, eps=0) == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("name", ["exponential", "adaptive_exponential"])
def test_two_exclusive_classes_are_one_binary_channel(name: str) -> None:
    logits, target = batch(1)
    two = torch.cat((torch.zeros_like(logits), logits), dim=1)
    loss = getattr(losses, name)
    assert loss(logits, target) == pytest.approx(loss(two, target).item(), rel=1e-12)


def test_adaptive_weights_are_fixed_weights_of_one_image() -> None:
    logits, target = batch(3, images=1)
    shares = [(target == label).double().mean().item() for label in range(3)]
    expected = losses.exponential(logits, target, class_weights=[1 / (share + 0.01) for share in shares])
    assert losses.adaptive_exponential(logits, target, eps=0.01) == pytest.approx(expected.item(), rel=1e-12)


def test_twice_the_class_weights_are_twice_the_loss() -> None:
    logits, target = batch(3)
    once = losses.exponential(logits, target, class_weights=[1, 2, 5])
    assert losses.exponential(logits, target, class_weights=[2, 4, 10]) == pytest.approx(2 * once.item(), rel=1e-12)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_one_class_alone_counts_half_unless_normalised(eps: float, label: int) -> None:
    """Empty and full mask: the weight of the absent class, 1 / eps, meets no pixel."""
    logits, target = torch.zeros(1, 1, 1, 100), torch.full((1, 1, 100), label)
    assert losses.adaptive_exponential(logits, target, eps=eps) == pytest.approx(FLAT, rel=1e-5)
    both = losses.adaptive_exponential(logits, mask_of(10), eps=eps)
    assert both == pytest.approx(2 * FLAT, rel=1e-4)
    for mask in (target, mask_of(10)):
        value = losses.adaptive_exponential(logits, mask, eps=eps, normalise=True)
        assert value == pytest.approx(FLAT, rel=1e-5)


def test_normalised_loss_lies_between_one_over_e_and_one() -> None:
    _, target = batch(3)
    for eps, cap in ((1e-6, None), (0.5, None), (1e-6, 1.5)):
        knobs = {"eps": eps, "cap": cap, "normalise": True}
        right = losses.adaptive_exponential(perfect(target, 3), target, **knobs)
        wrong = losses.adaptive_exponential(perfect((target + 1) % 3, 3), target, **knobs)
        assert (right.item(), wrong.item()) == pytest.approx((1 / math.e, 1))


def test_cap_limits_what_a_stray_pixel_weighs() -> None:
    """One lesion pixel of 100, surely missed: weight 100 of 100 pixels, or 5 under the cap."""
    logits, target = torch.full((1, 1, 1, 100), -99.0), mask_of(1)
    background = 1 / math.e
    assert losses.adaptive_exponential(logits, target, eps=0) == pytest.approx(background + 1)
    assert losses.adaptive_exponential(logits, target, eps=0, cap=5) == pytest.approx(background + 0.05)


def test_lowest_cap_leaves_equal_weights() -> None:
    logits, target = batch(3)
    expected = losses.exponential(logits, target).item()
    assert losses.adaptive_exponential(logits, target, eps=0, cap=1) == pytest.approx(expected, rel=1e-12)
    assert losses.adaptive_exponential(logits, target, eps=0, cap=1e9) > 2 * expected  # a cap above all: three masses


def test_unknown_pixels_leave_the_lesion_share() -> None:
    """Ten lesion pixels and thirty of background are known: k = 1/4, not 1/10."""
    logits, target = torch.zeros(1, 1, 1, 100), mask_of(10)
    logits[..., :10] = 99.0
    target[..., 40:] = 255
    expected = 0.25 / (0.25 + 0.1) / math.e + 0.75 / (0.75 + 0.1) * FLAT
    assert losses.adaptive_exponential(logits, target, eps=0.1) == pytest.approx(expected)


def test_shares_are_of_each_image_or_of_the_batch() -> None:
    """Images with 1 and 3 of 4 lesion pixels: shares of 1/4 and 3/4, or of 1/2 together."""
    target = torch.tensor([[[1, 0, 0, 0]], [[1, 1, 1, 0]]])
    logits = 99.0 * torch.tensor([[[[-1.0, -1, -1, -1]]], [[[1.0, 1, 1, 1]]]])  # wrong in the rare class of each
    wrong, right = 1, 1 / math.e
    assert losses.adaptive_exponential(logits, target, eps=0) == pytest.approx(wrong + right)
    pooled = 2 * (2 * wrong + 6 * right) / 8
    assert losses.adaptive_exponential(logits, target, eps=0, reduce="batch") == pytest.approx(pooled)


def test_slope_and_curvature_over_the_logit_of_an_object_pixel() -> None:
    """Flat where surely wrong; convex only where p is above (3 - sqrt 5) / 2."""
    target = torch.ones(1, 1, 1, dtype=torch.long)
    edge = math.log((3 - math.sqrt(5)) / (math.sqrt(5) - 1))
    curvatures = []
    for place in (-8.0, edge - 1e-3, edge, edge + 1e-3):
        logit = torch.tensor([[[[place]]]], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(losses.exponential(logit, target), logit, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, logit)
        if place == -8:
            assert slope.item() == pytest.approx(-0.000335, abs=1e-6)
        curvatures.append(curvature.item())
    assert curvatures[1] < 0 < curvatures[3]
    assert curvatures[2] == pytest.approx(0, abs=1e-12)


def test_full_mask_with_unknown_pixels_and_without_eps_is_finite() -> None:
    """The absent background would weigh 1 / 0, also on unknown pixels."""
    logits, target = torch.zeros(1, 1, 1, 100, requires_grad=True), mask_of(100)
    target[..., 40:] = 255
    value = losses.adaptive_exponential(logits, target, eps=0)
    value.backward()
    assert value.item() == pytest.approx(FLAT)
    assert logits.grad.isfinite().all()


def test_normalising_a_batch_takes_its_mean_weight() -> None:
    """Six pixels known of two images, 2 lesion and 4 background: weights 3 and 3/2, their mean is 2."""
    target = torch.tensor([[[1, 0, 0, 0]], [[1, 0, 255, 255]]])
    logits = 99.0 * torch.tensor([[[[-1.0, -1, -1, -1]]], [[[1.0, -1, 0, 0]]]])
    wrong, right = 1, 1 / math.e
    expected = (3 * wrong + 3 * right + 4 * 1.5 * right) / 12
    value = losses.adaptive_exponential(logits, target, eps=0, normalise=True, reduce="batch")
    assert value == pytest.approx(expected)
