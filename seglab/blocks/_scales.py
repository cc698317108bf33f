"""Blocks that look at several scales at once, as YOLO has them: SPPF and C2f.

Reference:
    G. Jocher, A. Chaurasia and J. Qiu, "Ultralytics YOLOv8", 2023. K. He, X. Zhang, S. Ren and J. Sun, "Spatial Pyramid
    Pooling in Deep Convolutional Networks for Visual Recognition", ECCV 2014.
"""

import torch
from torch import Tensor, nn

from seglab.blocks._convolution import ConvSiLU


class SPPF(nn.Module):
    """Fast spatial pyramid pooling, a wide view of every pixel's surroundings: (N, C, H, W) -> (N, C_out, H, W).

        y = conv1x1(x) to C / 2 channels,    output = conv1x1(concat(y, m(y), m(m(y)), m(m(m(y)))))

    with m the maximum over a square. Three squares of side 5 in a row see as far as squares of 5, 9 and 13 side by
    side, for less work.

    Args:
        in_channels: C, at least 2.
        out_channels: Channels of the output; None takes C.
        kernel_size: Side of the square in pixels, odd.

    Raises:
        ValueError: If `kernel_size` is even or below 1.

    Example:
        >>> sum(p.numel() for p in SPPF(256).parameters())
        164608

    Reference:
        Jocher et al., "Ultralytics YOLOv8", 2023. He et al., "Spatial Pyramid Pooling", ECCV 2014.
        Differs: batch normalisation has PyTorch's own epsilon and momentum (1e-5, 0.1), not YOLO's (1e-3, 0.03).
    """

    def __init__(self, in_channels: int, out_channels: int | None = None, kernel_size: int = 5) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1; got {kernel_size}.")
        hidden = in_channels // 2
        self.reduce = ConvSiLU(in_channels, hidden, 1)
        self.pool = nn.MaxPool2d(kernel_size, stride=1, padding=kernel_size // 2)
        self.fuse = ConvSiLU(4 * hidden, out_channels or in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Fused pyramid: (N, C, H, W) -> (N, C_out, H, W)."""
        pyramid = [self.reduce(x)]
        for _ in range(3):
            pyramid.append(self.pool(pyramid[-1]))
        fused: Tensor = self.fuse(torch.cat(pyramid, dim=1))
        return fused


class C2f(nn.Module):
    """Fast cross-stage bottleneck with two convolutions: (N, C, H, W) -> (N, C_out, H, W).

        a, b = halves of conv1x1(x),    output = conv1x1(concat(a, b, f_1(b), f_2(f_1(b)), ...))

    Each f is two 3x3 convolutions; every step of the chain is kept, so that the gradient has short ways.

    Args:
        in_channels: C.
        out_channels: Channels of the output, at least 2; None takes C.
        n: How many bottlenecks f, at least 0.
        shortcut: Whether each f is added to its input.

    Example:
        >>> sum(p.numel() for p in C2f(256, n=1).parameters())
        460288

    Reference:
        Jocher et al., "Ultralytics YOLOv8", 2023.
        Differs: batch normalisation as in `SPPF`.
    """

    def __init__(self, in_channels: int, out_channels: int | None = None, n: int = 1, shortcut: bool = False) -> None:
        super().__init__()
        out_channels = out_channels or in_channels
        hidden = out_channels // 2
        self.shortcut = shortcut
        self.split = ConvSiLU(in_channels, 2 * hidden, 1)
        self.chain = nn.ModuleList(
            nn.Sequential(ConvSiLU(hidden, hidden, 3), ConvSiLU(hidden, hidden, 3)) for _ in range(n)
        )
        self.fuse = ConvSiLU((2 + n) * hidden, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Fused chain: (N, C, H, W) -> (N, C_out, H, W)."""
        parts = list(self.split(x).chunk(2, dim=1))
        for bottleneck in self.chain:
            step = bottleneck(parts[-1])
            parts.append(parts[-1] + step if self.shortcut else step)
        fused: Tensor = self.fuse(torch.cat(parts, dim=1))
        return fused
