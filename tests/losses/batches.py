"""Logits and masks for the tests of losses."""

import torch
from torch.nn import functional as F

from seglab import losses

NAMES = losses.list_losses()


def batch(channels: int, images: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random float64 logits (N, K, 6, 7) and targets (N, 6, 7) without unknown pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, channels, 6, 7, generator=generator, dtype=torch.float64)
    return logits, torch.randint(max(2, channels), (images, 6, 7), generator=generator)


def perfect(target: torch.Tensor, channels: int, size: float = 50.0) -> torch.Tensor:
    """Logits that are sure of the target."""
    if channels == 1:
        return size * (2.0 * target[:, None] - 1)
    return size * F.one_hot(target, channels).movedim(-1, 1).float()
