"""Swin-Unet: a U-Net without convolutions, Swin Transformer blocks down and up.

Patches of 4 x 4 pixels become vectors; three times a stage of blocks is followed by merging, which halves the map; the
way up mirrors this with patch expanding, which doubles it, and joins each skip by concatenation and a linear layer. A
last expansion by four returns to the pixels. Skips carry what a stage's blocks made, before merging.

Reference:
    H. Cao et al., "Swin-Unet: Unet-like Pure Transformer for Medical Image Segmentation", ECCV Workshops 2022.
    Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021.
    Differs: pictures of any size, not only 224 x 224: a map that does not divide into windows is filled up at its right
    and bottom, and nothing looks at what was filled in; a map smaller than a window is one window. There is no
    stochastic depth. `weights` fills the encoder alone. Fresh weights are drawn as Swin's: normal of deviation 0.02.
"""

from collections.abc import Sequence
from os import PathLike

import torch
from torch import Tensor, nn

from seglab.models._swin import Embedding, PatchMerging, swin_stage
from seglab.models._weights import load_encoder

PATCH = 4  # side of a patch, in pixels


class PatchExpanding(nn.Module):
    """One pixel becomes `scale` x `scale` of them: (N, H, W, C) -> (N, scale H, scale W, C_out).

    Args:
        channels: C, at least 1.
        out_channels: C_out, at least 1.
        scale: At least 1.

    Example:
        >>> PatchExpanding(8, 4, scale=2)(torch.zeros(1, 3, 5, 8)).shape
        torch.Size([1, 6, 10, 4])

    Reference:
        Cao et al., "Swin-Unet", ECCV Workshops 2022, the patch expanding layer.
    """

    def __init__(self, channels: int, out_channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Linear(channels, scale * scale * out_channels, bias=False)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """The map at `scale` times its size."""
        x = self.expand(x).unflatten(-1, (self.scale, self.scale, -1))  # (N, H, W, scale, scale, C_out)
        expanded: Tensor = self.norm(x.transpose(2, 3).flatten(3, 4).flatten(1, 2))
        return expanded


class SwinEncoder(nn.Module):
    """The way down; its state dict is that of torchvision's Swin Transformer of the same depths, less the classifier.

    Args:
        embed: Channels of the first stage; each stage below has twice as many.
        depths: Blocks of the four stages, finest first.
        heads: Attention heads of the first stage; each stage below has twice as many.
        window: Side of a window, in pixels of each map.

    Example:
        >>> [tuple(x.shape) for x in SwinEncoder(4, (1, 1, 1, 1), heads=1, window=4)(torch.zeros(1, 3, 32, 64))]
        [(1, 8, 16, 4), (1, 4, 8, 8), (1, 2, 4, 16), (1, 1, 2, 32)]
    """

    def __init__(self, embed: int, depths: Sequence[int], heads: int, window: int) -> None:
        super().__init__()
        parts: list[nn.Module] = [Embedding(embed)]
        for number, depth in enumerate(depths):
            if number:
                parts.append(PatchMerging(embed << number - 1))
            parts.append(swin_stage(embed << number, depth, heads << number, window))
        self.features = nn.Sequential(*parts)
        self.norm = nn.LayerNorm(embed << len(depths) - 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps after the blocks of every stage, finest first, (N, H, W, C): a 4th, 8th, 16th and 32nd of the size."""
        maps: list[Tensor] = []
        for number, part in enumerate(self.features):
            x = part(x)
            if number % 2:  # embedding and mergings are the even parts
                maps.append(x)
        maps[-1] = self.norm(maps[-1])
        return maps


class Level(nn.Module):
    """One step up: double the map, join the skip, look."""

    def __init__(self, channels: int, depth: int, heads: int, window: int) -> None:
        super().__init__()
        self.up = PatchExpanding(2 * channels, channels, scale=2)
        self.join = nn.Linear(2 * channels, channels)
        self.blocks = swin_stage(channels, depth, heads, window)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """This level's map, (N, H / 2, W / 2, 2 C) and skip (N, H, W, C) -> (N, H, W, C)."""
        joined: Tensor = self.blocks(self.join(torch.cat([self.up(x), skip], dim=-1)))
        return joined


class SwinUNet(nn.Module):
    """The Swin-Unet of `build`: normalised picture (N, 3, H, W), sides multiples of 32 -> logits (N, K, H, W)."""

    def __init__(self, num_classes: int, embed: int, depths: Sequence[int], heads: int, window: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stride = PATCH << len(depths) - 1
        self.encoder = SwinEncoder(embed, depths, heads, window)
        self.levels = nn.ModuleList(
            Level(embed << number, depths[number], heads << number, window)
            for number in reversed(range(len(depths) - 1))
        )
        self.norm = nn.LayerNorm(embed)
        self.up = PatchExpanding(embed, embed, scale=PATCH)
        self.head = nn.Conv2d(embed, num_classes, kernel_size=1, bias=False)
        self.apply(_initialise)

    def forward(self, picture: Tensor) -> Tensor:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        *skips, x = self.encoder(picture)
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            x = level(x, skip)
        logits: Tensor = self.head(self.up(self.norm(x)).movedim(-1, 1))
        return logits


def build(
    num_classes: int,
    *,
    embed: int = 96,
    depths: Sequence[int] = (2, 2, 2, 2),
    heads: int = 3,
    window: int = 7,
    weights: str | PathLike[str] | None = None,
) -> SwinUNet:
    """Swin-Unet with 27.2 million parameters as published, or fewer.

    Args:
        num_classes: K, at least 1.
        embed: Channels of the first stage, a multiple of `heads`; each stage below has twice as many.
        depths: Blocks of the four stages of the encoder, finest first, each at least 1; the decoder mirrors the first
            three. Every second block of a stage shifts its windows.
        heads: Attention heads of the first stage, at least 1; each stage below has twice as many.
        window: Side of a window, in pixels of each map, at least 2.
        weights: Encoder weights: a state dict file of torchvision's swin_t (.pth or .safetensors), "torchvision" to
            fetch its ImageNet weights (108 MB), or None for fresh ones. Swin-T has depths 2, 2, 6, 2: with the
            published depths the first two of its six third-stage blocks are taken, with `depths=(2, 2, 6, 2)` all.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If a knob is out of range or the file holds other weights.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If torchvision cannot fetch its weights.

    Example:
        >>> sum(p.numel() for p in build(2).parameters())
        27168228
    """
    if not _is_count(heads) or not _is_count(embed) or embed % heads:
        raise ValueError(f"embed must be a multiple of heads and both at least 1; got {embed!r} and {heads!r}.")
    if not isinstance(depths, Sequence) or len(depths) != 4 or not all(_is_count(depth) for depth in depths):
        raise ValueError(f"depths must be four integers of at least 1; got {depths!r}.")
    if not _is_count(window) or window < 2:
        raise ValueError(f"window must be an integer of at least 2; got {window!r}.")
    net = SwinUNet(num_classes, embed, depths, heads, window)
    if weights is not None:
        load_encoder(net.encoder, weights, "swin_t", "")
    return net


def _is_count(value: object) -> bool:
    """Whether it is an integer of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _initialise(module: nn.Module) -> None:
    """Draw the weights of a linear layer as Swin does."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
