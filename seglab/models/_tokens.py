"""What networks of convolutions and token-wise layers share; a token is the vector of channels at one pixel."""

from math import sqrt

from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of every token, with a learned scale and offset for each channel.

    Args:
        channels: C, at least 1.

    Example:
        >>> import torch
        >>> ChannelNorm(2)(torch.tensor([[[[1.0]], [[3.0]]]])).flatten().round().tolist()
        [-1.0, 1.0]
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised map: (N, C, H, W) -> (N, C, H, W)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def depthwise(channels: int) -> nn.Conv2d:
    """3x3 convolution of each channel by itself: (N, C, H, W) -> (N, C, H, W)."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)


def initialise(module: nn.Module) -> None:
    """Draw one layer's weights as token-wise networks do; meant for `nn.Module.apply`.

    A token-wise layer (1x1 convolution) starts near zero, any other convolution keeps the variance of its input.

    Args:
        module: Changed in place if it is a convolution.
    """
    if not isinstance(module, nn.Conv2d):
        return
    height, width = module.kernel_size
    if height * width == 1:
        nn.init.trunc_normal_(module.weight, std=0.02)
    else:
        nn.init.normal_(module.weight, std=sqrt(2 * module.groups / (height * width * module.out_channels)))
    if module.bias is not None:
        nn.init.zeros_(module.bias)
