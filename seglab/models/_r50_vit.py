"""R50+ViT-B/16: three stages of a ResNet-50 whose last map a vision transformer reads as words.

Reference:
    A. Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021,
    hybrid architecture. Its ResNet-50 has group normalisation (Y. Wu and K. He, ECCV 2018) and standardised weights
    (S. Qiao et al., "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization", 2019), as in
    A. Kolesnikov et al., "Big Transfer (BiT)", ECCV 2020.
    Differs: there is no class token.
"""

from collections.abc import Iterable
from itertools import pairwise
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 14  # sides of the table of positions: a picture of 224 pixels
UNITS = (3, 4, 9)  # residual units per stage
GROUPS = 32


class StandardizedConv2d(nn.Conv2d):
    """Convolution whose filters have mean 0 and variance 1, without bias: (N, C, H, W) -> (N, C_out, H/s, W/s).

    The border is padded so that H and W shrink by exactly s; an odd pixel of padding lies below and at the right.

    Args:
        in_channels: C, at least 1.
        out_channels: C_out, at least 1.
        kernel_size: Side of the filters in pixels, odd.
        stride: s; H and W are multiples of it.

    Example:
        >>> StandardizedConv2d(3, 8, kernel_size=7, stride=2)(torch.zeros(1, 3, 8, 6)).shape
        torch.Size([1, 8, 4, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, bias=False)
        total = max(kernel_size - stride, 0)
        self.border = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        """The convolved map."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        weight = (self.weight - mean) * (variance + 1e-10).rsqrt()
        return F.conv2d(F.pad(x, self.border) if any(self.border) else x, weight, stride=self.stride)


class Bottleneck(nn.Module):
    """Residual unit 1x1, 3x3, 1x1, each normalised: (N, C, H, W) -> (N, C_out, H/s, W/s).

    Args:
        in_channels: C.
        out_channels: C_out; the 3x3 convolution has a quarter of it.
        stride: s of the 3x3 convolution, and of the shortcut's projection.

    Example:
        >>> Bottleneck(8, 16, stride=2)(torch.zeros(1, 8, 4, 6)).shape
        torch.Size([1, 16, 2, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        middle = out_channels // 4
        self.conv1, self.gn1 = StandardizedConv2d(in_channels, middle), _norm(middle)
        self.conv2, self.gn2 = StandardizedConv2d(middle, middle, 3, stride), _norm(middle)
        self.conv3, self.gn3 = StandardizedConv2d(middle, out_channels), _norm(out_channels)
        self.projected = in_channels != out_channels or stride != 1
        if self.projected:
            self.conv_proj, self.gn_proj = StandardizedConv2d(in_channels, out_channels, 1, stride), _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """The unit's map."""
        shortcut = self.gn_proj(self.conv_proj(x)) if self.projected else x
        x = F.relu(self.gn1(self.conv1(x)))
        x = F.relu(self.gn2(self.conv2(x)))
        return F.relu(shortcut + self.gn3(self.conv3(x)))


class TransformerLayer(nn.Module):
    """Self-attention, then two dense layers, each on a normalised input and added to it: (N, L, C) -> (N, L, C).

    Args:
        hidden: C, a multiple of `heads`; the dense layers have 4 C units between them.
        heads: Heads of the attention.
        dropout: Share of the dense layers' units dropped in training.

    Example:
        >>> TransformerLayer(8, heads=2)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, hidden: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(hidden, eps=1e-6)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)
        self.norm2 = nn.LayerNorm(hidden, eps=1e-6)
        self.dense1 = nn.Linear(hidden, 4 * hidden)
        self.dense2 = nn.Linear(4 * hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """The layer's tokens."""
        parts = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1))  # (N, L, 3, heads, C / heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind()
        tokens = tokens + self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        dense = self.dropout(F.gelu(self.dense1(self.norm2(tokens))))
        result: Tensor = tokens + self.dropout(self.dense2(dense))
        return result


class MapTransformer(nn.Module):
    """Vision transformer over the pixels of a map: (N, C, H, W) -> (N, hidden, H, W).

    Each pixel is a token. A table of GRID x GRID positions is added; for a map of another size it is enlarged or
    shrunk linearly, its corners kept at the corners.

    Args:
        in_channels: C.
        hidden: Length of a token.
        layers: Number of transformer layers.
        heads: Heads of each.
        dropout: Share of units dropped in training: of the tokens at the start, and in every layer.

    Example:
        >>> MapTransformer(4, hidden=8, layers=1, heads=2)(torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 8, 3, 5])
    """

    def __init__(self, in_channels: int, *, hidden: int, layers: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(in_channels, hidden, kernel_size=1)
        self.position = nn.Parameter(0.02 * torch.randn(1, hidden, GRID, GRID))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(TransformerLayer(hidden, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(hidden, eps=1e-6)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """The map of what the tokens have become."""
        height, width = x.shape[-2:]
        x = self.embedding(x) + self.positions(height, width)
        tokens = self.layers(self.dropout(x.flatten(2).transpose(1, 2)))  # (N, H * W, hidden), row by row
        result: Tensor = self.norm(tokens).transpose(1, 2).reshape(x.shape)
        return result

    def positions(self, height: int, width: int) -> Tensor:
        """What is added to each pixel of a map of that size: (1, hidden, height, width)."""
        if (height, width) == (GRID, GRID):
            return self.position
        return F.interpolate(self.position, size=(height, width), mode="bilinear", align_corners=True)


class R50ViT(nn.Module):
    """The hybrid encoder: picture (N, 3, H, W), sides multiples of 16 -> four maps, finest first.

    Args:
        width: Channels of the stem; the stages have 4, 8 and 16 times as many.
        hidden: Length of a token.
        layers: Transformer layers.
        heads: Heads of each.
        dropout: Share of units dropped in training.
    """

    def __init__(self, width: int, *, hidden: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.channels = [width, 4 * width, 8 * width, 16 * width]
        self.conv_root, self.gn_root = StandardizedConv2d(3, width, kernel_size=7, stride=2), _norm(width)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # halves; where a window leaves the map, it is cut
        self.stages = nn.ModuleList(
            nn.Sequential(
                Bottleneck(before, channels, stride=2 if number else 1),
                *(Bottleneck(channels, channels) for _ in range(units - 1)),
            )
            for number, ((before, channels), units) in enumerate(zip(pairwise(self.channels), UNITS, strict=True))
        )
        self.transformer = MapTransformer(self.channels[-1], hidden=hidden, layers=layers, heads=heads, dropout=dropout)

    def forward(self, x: Tensor, attention: Iterable[nn.Module]) -> list[Tensor]:
        """Maps at a half, a quarter, an eighth and a sixteenth of the size; the last is the transformer's.

        Args:
            x: Normalised picture (N, 3, H, W).
            attention: Four modules, applied to the stem's map and to those of the stages; each keeps the shape.

        Returns:
            (N, width, H/2, W/2), (N, 4 width, H/4, W/4), (N, 8 width, H/8, W/8), (N, hidden, H/16, W/16).
        """
        first, *others = attention
        maps = [first(F.relu(self.gn_root(self.conv_root(x))))]
        x = self.pool(maps[0])
        for stage, attend in zip(self.stages, others, strict=True):
            x = attend(stage(x))
            maps.append(x)
        return [*maps[:-1], self.transformer(x)]


def _norm(channels: int) -> nn.GroupNorm:
    """Normalisation in 32 groups, or in fewer where 32 do not divide the channels."""
    return nn.GroupNorm(gcd(GROUPS, channels), channels, eps=1e-6)


def _initialise(module: nn.Module) -> None:
    """Draw the dense layers as J. Devlin's BERT does."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
