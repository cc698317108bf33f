"""Losses of single pixels against torch, identities and hand-worked pixels."""

import math

import pytest
import torch
from torch.nn import functional as F

from seglab import losses

from .batches import batch


def test_bce_and_ce_agree_with_torch() -> None:
    logits, target = batch(1)
    assert losses.bce(logits, target) == F.binary_cross_entropy_with_logits(logits[:, 0], target.double())
    logits, target = batch(3)
    truth = F.one_hot(target, 3).movedim(-1, 1).double()
    assert losses.bce(logits, target) == pytest.approx(F.binary_cross_entropy_with_logits(logits, truth).item())
    target[0] = 255
    expected = F.cross_entropy(logits, target, ignore_index=255)
    assert losses.ce(logits, target) == pytest.approx(expected.item(), rel=1e-12)
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    expected = F.cross_entropy(logits, target, weights, ignore_index=255)
    assert losses.ce(logits, target, class_weights=[1, 2, 5]) == pytest.approx(expected.item(), rel=1e-12)


def test_ce_of_one_logit_is_bce_and_is_ce_of_zero_and_that_logit() -> None:
    logits, target = batch(1)
    two = torch.cat((torch.zeros_like(logits), logits), dim=1)
    assert losses.ce(logits, target) == losses.bce(logits, target)
    for name in ("ce", "focal"):
        loss = getattr(losses, name)
        assert loss(logits, target) == pytest.approx(loss(two, target).item(), rel=1e-12)
    assert losses.ce(logits, target, class_weights=[1, 3]) == pytest.approx(
        losses.ce(two, target, class_weights=[1, 3]).item(), rel=1e-12
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_focal_without_gamma_is_ce(channels: int) -> None:
    logits, target = batch(channels)
    assert losses.focal(logits, target, gamma=0) == losses.ce(logits, target)


def test_focal_alpha_balances_unless_it_is_uniform() -> None:
    """One true pixel with p_t = 3/4, one background pixel with p_t = 1/2, worked by hand."""
    logits = torch.tensor([[[[math.log(3.0), 0.0]]]], dtype=torch.float64)
    target = torch.tensor([[[1, 0]]])
    object_, ground = 0.25**2 * math.log(4 / 3), 0.5**2 * math.log(2)
    assert losses.focal(logits, target) == pytest.approx((object_ + ground) / 2, rel=1e-12)
    assert losses.focal(logits, target, alpha=0.8) == pytest.approx((0.8 * object_ + 0.2 * ground) / 2, rel=1e-12)
    uniform = losses.focal(logits, target, alpha=0.8, uniform_alpha=True)
    assert uniform == pytest.approx(0.8 * (object_ + ground) / 2, rel=1e-12)


def test_focal_with_small_gamma_has_a_finite_gradient_where_the_model_is_sure() -> None:
    logits = torch.full((1, 1, 1, 1), 1000.0, requires_grad=True)
    losses.focal(logits, torch.ones(1, 1, 1, dtype=torch.long), gamma=0.5).backward()
    assert logits.grad.item() == 0


def test_class_weights_need_one_number_per_class() -> None:
    logits, target = batch(3)
    with pytest.raises(ValueError, match=r"class_weights must hold max\(2, K\) = 3 numbers; got \[1, 2\]"):
        losses.ce(logits, target, class_weights=[1, 2])
    assert losses.ce(logits, target, class_weights=[0, 0, 0]) == 0


def test_boudaiebs_focal_loss_is_the_uniform_alpha() -> None:
    """alpha (1 - exp(-BCE))^gamma BCE, whichever side the pixel is on."""
    logits, target = batch(1)
    bce = F.binary_cross_entropy_with_logits(logits[:, 0], target.double(), reduction="none")
    expected = (0.8 * (1 - torch.exp(-bce)) ** 2 * bce).mean().item()
    assert losses.focal(logits, target, alpha=0.8, uniform_alpha=True) == pytest.approx(expected, rel=1e-12)


def test_adam_divides_a_uniform_alpha_out_but_not_a_true_one() -> None:
    """Largest difference of any weight after sixty steps: about Adam's 1e-8 for the constant, far more otherwise."""
    images = torch.rand(8, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = (images.mean(dim=1) > 0.55).long()

    def trained(**knobs: float) -> torch.Tensor:
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(4, 1, 1)
        ).double()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            losses.focal(net(images), target, **knobs).backward()
            optimizer.step()
        return torch.nn.utils.parameters_to_vector(net.parameters()).detach()

    start, without = trained(alpha=0.0, uniform_alpha=True), trained()
    assert (without - start).abs().max() > 0.1
    assert (trained(alpha=0.8, uniform_alpha=True) - without).abs().max() < 2e-6
    assert (trained(alpha=0.8) - without).abs().max() > 0.1
