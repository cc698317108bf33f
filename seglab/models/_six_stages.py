"""The skeleton that MALUNet and EGE-UNet share: six narrow stages down, five up, and how they start to learn."""

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

MULTIPLES = (1, 2, 3, 4, 6, 8)  # channels of the six stages over those of the first
PLAIN = 3  # the finest stages are one 3x3 convolution each; the deeper ones hold the paper's idea
GROUPS = 4  # of every normalisation

Block = Callable[[int, int], nn.Module]
"""(channels in, channels out) -> what a deep stage computes."""


def channels_of(width: int) -> list[int]:
    """Channels of the six stages, finest first.

    Args:
        width: Channels of the first stage, a multiple of 4, at least 8.

    Raises:
        ValueError: If `width` is something else.

    Example:
        >>> channels_of(8)
        [8, 16, 24, 32, 48, 64]
    """
    if not isinstance(width, int) or isinstance(width, bool) or width < 2 * GROUPS or width % GROUPS:
        raise ValueError(f"width must be a multiple of {GROUPS} and at least {2 * GROUPS}; got {width!r}.")
    return [width * multiple for multiple in MULTIPLES]


def encoder(channels: list[int], block: Block) -> nn.ModuleList:
    """Six stages; each of the first five normalises and halves the map, the sixth only looks again."""
    stages = nn.ModuleList()
    for number, (before, after) in enumerate(pairwise([3, *channels])):
        inside = nn.Conv2d(before, after, 3, padding=1) if number < PLAIN else block(before, after)
        shrink = [nn.GroupNorm(GROUPS, after), nn.MaxPool2d(2)] if number < len(channels) - 1 else []
        stages.append(nn.Sequential(inside, *shrink, nn.GELU()))
    return stages


def decoder(channels: list[int], block: Block) -> nn.ModuleList:
    """Five stages, coarsest first, whose output has the size of the encoder's stages 5 to 1."""
    stages = nn.ModuleList()
    for number, (before, after) in enumerate(pairwise(reversed(channels))):
        inside = block(before, after) if number < PLAIN else nn.Conv2d(before, after, 3, padding=1)
        enlarge = [] if number == 0 else [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)]
        stages.append(nn.Sequential(inside, nn.GroupNorm(GROUPS, after), *enlarge, nn.GELU()))
    return stages


def resize(x: Tensor, like: Tensor) -> Tensor:
    """The map with the height and width of another, bilinear with aligned corners, as both papers' code has it."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


def initialise(module: nn.Module) -> None:
    """Draw the weights of a convolution so that its outputs keep their variance; biases start at 0."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
