"""Convolutions with their normalisation: the pair of a U-Net's level, and the single one of YOLO.

Reference:
    O. Ronneberger, P. Fischer and T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    MICCAI 2015.
"""

from torch import nn


class ConvBlock(nn.Sequential):
    """Two convolutions, each followed by batch normalisation and ReLU: (N, C, H, W) -> (N, C_out, H, W).

    The convolutions have no bias, because the normalisation after them would cancel it.

    Args:
        in_channels: Channels of the input, at least 1.
        out_channels: Channels of the output, at least 1.
        hidden_channels: Channels between the two convolutions; None takes `out_channels`.
        kernel_size: Side of both convolutions in pixels, odd.

    Example:
        >>> import torch
        >>> ConvBlock(3, 8)(torch.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 8, 5, 7])
    """

    def __init__(
        self, in_channels: int, out_channels: int, hidden_channels: int | None = None, kernel_size: int = 3
    ) -> None:
        hidden, around = hidden_channels or out_channels, kernel_size // 2
        super().__init__(
            nn.Conv2d(in_channels, hidden, kernel_size, padding=around, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, out_channels, kernel_size, padding=around, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class ConvSiLU(nn.Sequential):
    """Convolution without bias, batch normalisation, SiLU: (N, C, H, W) -> (N, C_out, H, W).

    Args:
        in_channels: Channels of the input, at least 1.
        out_channels: Channels of the output, at least 1.
        kernel_size: Side of the convolution in pixels, odd.

    Example:
        >>> import torch
        >>> ConvSiLU(3, 8)(torch.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 8, 5, 7])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.SiLU(inplace=True),
        )
