"""What every model, loss, metric and dataset in seglab promises the others.

Dimension letters, the same in every file:
    N  images in a batch        C  channels
    K  classes                  H, W  height and width, in pixels

Images are RGB in [0, 1]; masks are class indices, IGNORE_INDEX where the class is unknown. K is read from the
logits, never from a flag: one channel is binary (sigmoid), more are exclusive classes (softmax).
"""

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from torch import Tensor

__all__ = ["IGNORE_INDEX", "PADDING_GREY", "Sample", "require_name", "to_mask"]

IGNORE_INDEX = 255
PADDING_GREY = 128  # what lies around a picture that is not as square as its letterbox


class Sample(NamedTuple):
    """One labelled image."""

    image: Tensor  # (3, H, W) uint8
    mask: Tensor  # (H, W) uint8, class indices or IGNORE_INDEX
    name: str


def to_mask(logits: Tensor) -> Tensor:
    """Class index of every pixel: (N, K, H, W) logits -> (N, H, W) int64.

    A single map is the object where its logit is above 0, that is, its probability above one half.

    Example:
        >>> import torch
        >>> to_mask(torch.tensor([[[[-1.0, 0.0, 2.0]]]]))
        tensor([[[0, 0, 1]]])
    """
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


def require_name(kind: str, name: str, options: Iterable[str]) -> None:
    """Raise a ValueError that lists the choices unless `name` is one of `options`.

    Example:
        >>> require_name("fruit", "appel", ["pear", "apple"])
        Traceback (most recent call last):
        ValueError: fruit must be one of apple, pear; got 'appel'. Did you mean 'apple'?
    """
    options = sorted(options)
    if name in options:
        return
    close = get_close_matches(str(name)[:100], options, n=1)  # its time grows with the length
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{kind} must be one of {', '.join(options)}; got {reprlib.repr(name)}.{hint}")
