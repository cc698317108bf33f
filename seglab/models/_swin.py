"""Swin Transformer's parts: attention inside windows that shift from block to block, and merging of patches.

Maps have their channels last here, (N, H, W, C), because every part but the first is linear in the channels.

Reference:
    Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021.
    Differs: there is no stochastic depth and no dropout. A map that does not divide into windows is filled up at its
    right and bottom, as the authors do for dense tasks, but nothing looks at what was filled in. A map smaller than a
    window is one window.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN = 4  # width of the two-layer network of a block, over its channels


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a learned bias per head and offset: (N, H, W, C) -> (N, H, W, C).

        output = softmax(q k^T / sqrt(C / heads) + bias[offset of the two pixels]) v

    A pixel sees its own window only: `window` x `window` pixels of a grid that starts at (0, 0), or at
    (`shift`, `shift`) so that the next block joins what this one parts. An axis not longer than `window` is one window.

    Args:
        channels: C, a multiple of `heads`.
        heads: At least 1.
        window: Side of a window in pixels, at least 2.
        shift: Where the grid starts, in pixels, 0 to `window` - 1.

    Example:
        >>> WindowAttention(8, heads=2, window=4, shift=2)(torch.zeros(1, 7, 9, 8)).shape
        torch.Size([1, 7, 9, 8])

    Reference:
        Liu et al., "Swin Transformer", ICCV 2021, eq. 4 and section 3.2.
    """

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Every pixel as a mixture of its window's."""
        height, width = x.shape[1:3]
        rows, columns = min(self.window, height), min(self.window, width)
        shift = (self.shift if height > rows else 0, self.shift if width > columns else 0)
        below, right = -height % rows, -width % columns
        mask = None
        if any(shift) or below or right:
            mask = self._strangers(height, width, shift, x.device)
            x = F.pad(x, (0, 0, 0, right, 0, below)).roll((-shift[0], -shift[1]), dims=(1, 2))
        seen = self._attend(_split(x, rows, columns), self._bias(rows, columns), mask)
        x = _join(self.proj(seen), x.shape[1:3], rows, columns)
        return x if mask is None else x.roll(shift, dims=(1, 2))[:, :height, :width]

    def _attend(self, windows: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
        """Attention in each window: (N, windows, L, C) -> the same."""
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias  # (N, windows, heads, L, L)
        if mask is not None:
            scores = scores.masked_fill(mask[:, None], float("-inf"))
        attended: Tensor = (scores.softmax(dim=-1) @ v).transpose(-3, -2).flatten(-2)
        return attended

    def _bias(self, rows: int, columns: int) -> Tensor:
        """Bias of every pair of pixels in a window of that size, (heads, L, L)."""
        device = self.relative_position_bias_table.device
        row = torch.arange(rows, device=device).repeat_interleave(columns)
        column = torch.arange(columns, device=device).repeat(rows)
        down, across = (each[:, None] - each[None] + self.window - 1 for each in (row, column))
        return self.relative_position_bias_table[down * (2 * self.window - 1) + across].permute(2, 0, 1)

    def _strangers(self, height: int, width: int, shift: tuple[int, int], device: torch.device) -> Tensor:
        """Which pairs of a window's pixels must not see each other, (windows, L, L) boolean.

        Rolling puts pixels of opposite borders into one window, and filling up puts nothing beside something.
        """
        rows, columns = min(self.window, height), min(self.window, width)
        homes = [
            (torch.arange(size + -size % side, device=device) - start).div(side, rounding_mode="floor")
            for size, side, start in ((height, rows, shift[0]), (width, columns, shift[1]))
        ]
        home = homes[0][:, None] * (width + self.window) + homes[1]  # a number for every window of the unrolled grid
        home[height:] = home[:, width:] = -2 * (width + self.window)  # the number of no window
        home = home.roll((-shift[0], -shift[1]), dims=(0, 1))
        home = _split(home[None, :, :, None], rows, columns)[0, :, :, 0]  # (windows, L)
        return home[:, :, None] != home[:, None]


class SwinBlock(nn.Module):
    """Window attention, then two linear layers per pixel, each normalised before and added after: keeps (N, H, W, C).

    Args:
        channels: C, a multiple of `heads`.
        heads: At least 1.
        window: Side of a window in pixels, at least 2.
        shift: Where the grid of windows starts, in pixels.

    Example:
        >>> SwinBlock(8, heads=2, window=4, shift=0)(torch.zeros(1, 5, 6, 8)).shape
        torch.Size([1, 5, 6, 8])

    Reference:
        Liu et al., "Swin Transformer", ICCV 2021, eq. 3.
    """

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window, shift)
        self.norm2 = nn.LayerNorm(channels)
        # Numbered as torchvision's, whose third and fifth layers drop out, so that its weights fit as they are.
        self.mlp = nn.Sequential(
            nn.Linear(channels, HIDDEN * channels), nn.GELU(), nn.Identity(), nn.Linear(HIDDEN * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The map after both halves of the block."""
        x = x + self.attn(self.norm1(x))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class PatchMerging(nn.Module):
    """Four neighbours become one pixel of twice the channels: (N, H, W, C) -> (N, H / 2, W / 2, 2 C).

    Args:
        channels: C, at least 1.

    Example:
        >>> PatchMerging(3)(torch.zeros(1, 4, 6, 3)).shape
        torch.Size([1, 2, 3, 6])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """The map at half its size."""
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return merged


def swin_stage(channels: int, depth: int, heads: int, window: int) -> nn.Sequential:
    """`depth` blocks, every second one with its windows shifted by half a window."""
    return nn.Sequential(*(SwinBlock(channels, heads, window, window // 2 * (i % 2)) for i in range(depth)))


class Embedding(nn.Sequential):
    """Each patch of 4 x 4 pixels becomes one of C channels: (N, 3, H, W) -> (N, H / 4, W / 4, C).

    Args:
        channels: C, at least 1.

    Example:
        >>> Embedding(6)(torch.zeros(1, 3, 8, 12)).shape
        torch.Size([1, 2, 3, 6])
    """

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(3, channels, 4, stride=4), ChannelsLast(), nn.LayerNorm(channels))


class ChannelsLast(nn.Module):
    """(N, C, H, W) -> (N, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same map, its axes in another order."""
        return x.movedim(1, -1)


def _split(x: Tensor, rows: int, columns: int) -> Tensor:
    """Windows of a map: (N, H, W, C) -> (N, windows, rows * columns, C)."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // rows, rows, width // columns, columns, channels)
    return x.transpose(2, 3).reshape(n, -1, rows * columns, channels)


def _join(windows: Tensor, size: torch.Size, rows: int, columns: int) -> Tensor:
    """What `_split` took apart: (N, windows, rows * columns, C) -> (N, H, W, C)."""
    n, channels, (height, width) = windows.shape[0], windows.shape[-1], size
    x = windows.reshape(n, height // rows, width // columns, rows, columns, channels)
    return x.transpose(2, 3).reshape(n, height, width, channels)
