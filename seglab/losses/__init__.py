"""Losses for segmentation: plain functions of logits (N, K, H, W) and class indices (N, H, W).

What holds for every loss of this folder, so that no docstring has to repeat it:

* `logits` are raw scores, (N, K, H, W): K = 1 is binary (sigmoid), K >= 2 are exclusive classes (softmax). `target`
  holds class indices, (N, H, W), integer. The result is a scalar of at least 0, and 0 or close to it if perfect,
  except for the two exponential losses, which stop at 1/e times their weights.
* Pixels whose `target` is `ignore_index` leave every sum. If nothing is known, the loss is 0 and so is its gradient.
* `bce`, `ce`, `focal` and `exponential` average over all known pixels of the batch. The overlap losses (`dice`,
  `tversky` and what is built on them) form their ratio per image and class, then average over classes and images
  (`reduce="image"`), so that a small object counts as much as a large one. `reduce="batch"` sums over the batch first.
  So do `structure` and `adaptive_exponential`. An image without a known pixel counts as an image of loss 0.
* `smooth`, in pixels, at least 0, is added to both sides of a ratio. A class that is absent from an image is not
  skipped: its loss is 0 when nothing is predicted there, and it rises towards 1 with every wrong pixel.
* Half precision logits are computed in float32, float64 stays float64.
* A ValueError says which rule a shape, a dtype, a knob or a label breaks. Labels are looked at on the CPU only, because
  on an accelerator the look would make every step wait for the device.
"""

from collections.abc import Callable
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor

from seglab.contract import require_name
from seglab.losses._compound import bce_dice, ce_dice, compound, dice_focal
from seglab.losses._exponential import adaptive_exponential, exponential
from seglab.losses._overlap import dice, focal_tversky, tversky
from seglab.losses._pixel import bce, ce, focal
from seglab.losses._structure import structure

__all__ = [
    "adaptive_exponential", "bce", "bce_dice", "build_loss", "ce", "ce_dice", "compound", "dice", "dice_focal",
    "exponential", "focal", "focal_tversky", "list_losses", "structure", "tversky",
]  # fmt: skip


def list_losses() -> list[str]:
    """Names that build_loss accepts, sorted: the public losses of this folder.

    Example:
        >>> "ce_dice" in list_losses()
        True
    """
    return [name for name in __all__ if name not in ("build_loss", "list_losses")]


def build_loss(name: str, **knobs: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Loss of that name with its knobs set; a wrong knob fails here, not in the first step of training.

    Args:
        name: One of `list_losses()`.
        knobs: Keyword arguments of that loss.

    Returns:
        A function (logits, target) -> scalar. An unknown name, knob or value is a ValueError that lists the choices.

    Example:
        >>> loss = build_loss("ce", ignore_index=0)
        >>> loss(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]]))  # two equal logits: log 2
        tensor(0.6931)
    """
    require_name("loss", name, list_losses())
    function: Callable[..., Tensor] = globals()[name]
    accepted = [key for key, value in signature(function).parameters.items() if value.kind is Parameter.KEYWORD_ONLY]
    for knob in knobs:
        require_name(f"knob of loss {name}", knob, accepted)
    loss = partial(function, **knobs)
    weights = knobs.get("class_weights")
    channels = len(weights) if weights is not None and hasattr(weights, "__len__") else 2
    loss(torch.zeros(1, max(channels, 1), 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))  # tries the values
    return loss
