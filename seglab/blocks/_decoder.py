"""The right-hand side of the U-Net family; what happens to a skip is the caller's idea.

Reference:
    O. Ronneberger, P. Fischer and T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    MICCAI 2015.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from seglab.blocks._convolution import ConvBlock
from seglab.contract import require_name

UPSAMPLING = ("transposed", "bilinear", "convolution")

SkipBuilder = Callable[[int, int, int], nn.Module]
"""(channels of the skip, of the next deeper encoder map, of the up-sampled map) -> module called with these maps."""


class LoneSkip(nn.Module):
    """A skip that looks at nothing but itself: `block` is applied to it, its neighbours are left out.

    Args:
        block: Maps (N, C, H, W) to (N, C, H, W).

    Example:
        >>> LoneSkip(nn.ReLU())(torch.tensor([-1.0, 2.0]), None, None)
        tensor([0., 2.])
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, skip: Tensor, deeper: Tensor, up: Tensor) -> Tensor:
        """What the decoder receives: (N, C, H, W) -> (N, C, H, W)."""
        passed: Tensor = self.block(skip)
        return passed


class DecoderLevel(nn.Module):
    """One step up: enlarge by two, attend, join the skip, convolve.

    Args:
        up: Doubles height and width.
        attend: Applied to the enlarged map; keeps its shape.
        skip: Called with the skip, the next deeper encoder map and the enlarged map; keeps the skip's shape.
        block: Applied to skip and enlarged map, concatenated in this order.

    Example:
        >>> level = DecoderLevel(nn.Upsample(scale_factor=2), nn.Identity(), LoneSkip(nn.Identity()), ConvBlock(5, 4))
        >>> deeper = torch.zeros(2, 3, 4, 4)
        >>> level(torch.zeros(2, 2, 8, 8), deeper, below=deeper).shape
        torch.Size([2, 4, 8, 8])
    """

    def __init__(self, up: nn.Module, attend: nn.Module, skip: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.up, self.attend, self.skip, self.block = up, attend, skip, block

    def forward(self, skip: Tensor, deeper: Tensor, below: Tensor) -> Tensor:
        """This level's map: skip (N, C, H, W), below (N, C', H/2, W/2) -> (N, C_out, H, W)."""
        up = self.enlarge(below)
        return self.join(self.skip(skip, deeper, up), up)

    def enlarge(self, below: Tensor) -> Tensor:
        """The map from below, enlarged and attended: (N, C', H/2, W/2) -> (N, C_up, H, W)."""
        up: Tensor = self.attend(self.up(below))
        return up

    def join(self, skip: Tensor, up: Tensor) -> Tensor:
        """This level's map from a skip that is ready: (N, C, H, W), (N, C_up, H, W) -> (N, C_out, H, W)."""
        joined: Tensor = self.block(torch.cat([skip, up], dim=1))
        return joined


class UNetDecoder(nn.Module):
    """The right-hand side of every U-Net here; what happens to a skip is the caller's idea.

    Args:
        channels: Channels of the encoder's maps, finest first; the last is the bottleneck.
        widths: Channels of the decoder's maps, finest first, one fewer than `channels`.
        upsampling: "transposed" halves the channels with a learned 2x2 convolution of stride 2; "bilinear" keeps them
            and has no parameters; "convolution" is bilinear, then halves them with a 3x3 convolution, batch
            normalisation and ReLU.
        up_channels: Channels of the enlarged maps, finest first, where `upsampling` learns them; None halves.
        block: Builds the convolutions of a level from (channels in, channels out).
        skip: Builds the module of each skip.
        attend: Builds what follows each up-sampling from its channels; it keeps the shape.

    Raises:
        ValueError: If `upsampling` is unknown.

    Example:
        >>> from seglab.blocks import CBAMPlacement
        >>> plain = CBAMPlacement()
        >>> decoder = UNetDecoder((4, 8), (4,), upsampling="bilinear", skip=plain.skip, attend=plain.decoder)
        >>> [m.shape for m in decoder([torch.zeros(2, 4, 6, 6), torch.zeros(2, 8, 3, 3)])]
        [torch.Size([2, 4, 6, 6])]

    Reference:
        Ronneberger et al., "U-Net", MICCAI 2015, fig. 1.
        Differs: the paper crops its skips, because its convolutions have no padding; ours have. Bilinear up-sampling
        does not align corners, so it does not depend on the size of the picture.
    """

    def __init__(
        self,
        channels: Sequence[int],
        widths: Sequence[int],
        *,
        upsampling: str,
        skip: SkipBuilder,
        attend: Callable[[int], nn.Module],
        block: Callable[[int, int], nn.Module] = ConvBlock,
        up_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        require_name("upsampling", upsampling, UPSAMPLING)
        self.levels = nn.ModuleList()
        below = (*widths[1:], channels[-1])
        learned = up_channels or [each // 2 for each in below]
        enlarged = below if upsampling == "bilinear" else learned
        for (fine, deeper), source, up, width in reversed(
            list(zip(pairwise(channels), below, enlarged, widths, strict=True))
        ):
            doubling, join = _up(upsampling, source, up), block(fine + up, width)
            self.levels.append(DecoderLevel(doubling, attend(up), skip(fine, deeper, up), join))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps of all levels, coarsest first; the last has the size of the finest of the encoder's `features`.

        Args:
            features: Encoder maps, finest first, each (N, C, H, W) and half as high and wide as the one before.

        Returns:
            One map per level, (N, widths[i], H, W).
        """
        below, maps = features[-1], []
        for level, (fine, deeper) in zip(self.levels, reversed(list(pairwise(features))), strict=True):
            below = level(fine, deeper, below)
            maps.append(below)
        return maps


def _up(upsampling: str, in_channels: int, out_channels: int) -> nn.Module:
    """Doubling of height and width."""
    if upsampling == "transposed":
        return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
    bilinear = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    if upsampling == "bilinear":
        return bilinear
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(bilinear, conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
