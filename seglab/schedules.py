"""The learning rate over a training."""

import math

from seglab.config import TrainConfig

__all__ = ["learning_rate"]


def learning_rate(config: TrainConfig, progress: float, scale: float) -> float:
    """Learning rate after `progress` epochs (with fractions).

    Args:
        config: Its lr, min_lr, schedule, warmup_epochs and epochs count.
        progress: Epochs done, 0 upwards.
        scale: What the plateau schedule has come down to, in (0, 1].

    Example:
        >>> config = TrainConfig(epochs=10, lr=1.0, min_lr=0.0, schedule="cosine")
        >>> [round(learning_rate(config, epochs, 1.0), 6) for epochs in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """
    if progress < config.warmup_epochs:
        return config.lr * (progress + 0.05) / (config.warmup_epochs + 0.05)
    share = (progress - config.warmup_epochs) / max(1e-9, config.epochs - config.warmup_epochs)
    share = min(1.0, share)
    if config.schedule == "cosine":
        return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * share)) / 2
    if config.schedule == "poly":
        return max(config.min_lr, config.lr * math.pow(1 - share, 0.9))
    return max(config.min_lr, config.lr * scale)
