"""Lesson 7: focal loss with a weight for each class, and the adaptive exponential loss, of one picture."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from seglab.losses import adaptive_exponential
from seglab.losses import focal as reference
from seglab.teach._check import expect

__all__ = ["expectations"]

SHARES = (0.01, 0.1, 0.25, 0.5, 0.9, 0.99)


def expectations(focal: Callable[[Tensor, Tensor, float, float], Tensor], adapt_exp: Callable[[Tensor, Tensor], Tensor]
                 ) -> None:  # fmt: skip
    """One pixel by hand first, then logits drawn by chance, shares from 1 % to 99 %, and slopes.

    Args:
        focal: Takes logit and truth (H, W), alpha and gamma; returns the mean loss.
        adapt_exp: Takes logit and truth; returns the mean loss, each class weighted by one over its share.
    """
    _focal(focal)
    _adapt_exp(adapt_exp)
    for name, loss in (("focal", lambda z, y: focal(z, y, 0.8, 2.0)), ("adapt_exp", adapt_exp)):
        logit, truth = _drawn(0.25)
        expect(
            torch.autograd.gradcheck(lambda z, y=truth, loss=loss: loss(z, y), logit.requires_grad_(),
                                     raise_exception=False),
            f"the slope of {name} is not that of its values.",
            "PyTorch can only differentiate what stays a tensor: no `.item()`, `.detach()` or `float(...)` on the way.",
        )  # fmt: skip


def _focal(focal: Callable[[Tensor, Tensor, float, float], Tensor]) -> None:
    """Values of the focal loss."""
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    expect(
        _near(focal(zero, one, 1.0, 0.0), math.log(2)),
        "focal with alpha 1 and gamma 0 is cross-entropy: log 2 for an object pixel with logit 0.",
    )
    expect(_near(focal(zero, one, 1.0, 2.0), math.log(2) / 4), "with gamma 2 it is (1 - 1/2)^2 log 2 there.")
    expect(_near(focal(zero, one, 0.8, 0.0), 0.8 * math.log(2)), "alpha 0.8 gives an object pixel the weight 0.8.")
    expect(
        _near(focal(zero, zero, 0.8, 0.0), 0.2 * math.log(2)),
        "alpha 0.8 gives a background pixel the weight 0.2.",
        "The weight is alpha where truth is 1, and 1 - alpha elsewhere.",
    )
    far = focal(-800 * one, one, 0.5, 2.0)
    expect(
        math.isfinite(float(far)) and _near(far, 400),
        "at a logit of -800 the loss of an object pixel is 0.5 x 800, and must not be infinite.",
        "log(p) is infinite where p rounds to 0. Start from `binary_cross_entropy_with_logits`.",
    )
    for share in SHARES:
        logit, truth = _drawn(share)
        wanted = reference(logit[None, None], truth[None].long(), alpha=0.7, gamma=1.5)
        expect(_near(focal(logit, truth, 0.7, 1.5), wanted), "focal is wrong on a picture drawn by chance.")


def _adapt_exp(adapt_exp: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Values of the adaptive exponential loss."""
    for share in SHARES:
        _, truth = _drawn(share)
        side = 800 * (2 * truth - 1)
        expect(
            _near(adapt_exp(side, truth), 2 / math.e),
            "each class has the mass 1, so a perfect prediction costs 2/e = 0.736, whatever the share is.",
            "The weight is 1 / share at the object's pixels, and 1 / (1 - share) elsewhere.",
        )
        expect(_near(adapt_exp(-side, truth), 2), "a prediction that is wrong everywhere costs 2.")
        missed = torch.full_like(truth, -800)
        expect(
            _near(adapt_exp(missed, truth), 1 + 1 / math.e),
            "if only the object is missed, its class costs 1 and the background 1/e.",
        )
        logit, truth = _drawn(share)
        wanted = adaptive_exponential(logit[None, None], truth[None].long(), eps=0.0)
        expect(_near(adapt_exp(logit, truth), wanted), "adapt_exp is wrong on a picture drawn by chance.")


def _drawn(share: float) -> tuple[Tensor, Tensor]:
    """Logits and truth of 10 x 10 pixels, both drawn by chance; so many of the hundred are object."""
    rng = torch.Generator().manual_seed(round(100 * share))
    logit = 3 * torch.randn(10, 10, generator=rng, dtype=torch.float64)
    truth = (torch.randperm(100, generator=rng) < round(100 * share)).to(torch.float64)
    return logit, truth.view(10, 10)


def _near(value: Tensor, wanted: Tensor | float) -> bool:
    return math.isclose(float(value), float(wanted), rel_tol=1e-9, abs_tol=1e-12)
