"""PraNet: a coarse map from the deep features, then corrections from where that map sees nothing yet.

Receptive-field modules bring the encoder's three deepest maps, at an eighth, a sixteenth and a thirty-second of the
picture's size, to few channels; a partial decoder joins them into the global map. From the deepest features to
the finest, reverse attention then blanks out what the map before has found, and adds a correction:

    S = S_before + convs((1 - probability of an object in S_before) * features)

In training mode all four maps are supervised.

Reference:
    D.-P. Fan et al., "PraNet: Parallel Reverse Attention Network for Polyp Segmentation", MICCAI 2020. The partial
    decoder is from Z. Wu et al., "Cascaded Partial Decoder for Fast and Accurate Salient Object Detection", CVPR
    2019, the receptive-field module after S. Liu et al., "Receptive Field Block Net", ECCV 2018, the encoder from
    S.-H. Gao et al., "Res2Net", IEEE TPAMI 43(2), 2021.
    Differs: 30,498,319 parameters, not 32,547,319, because the encoder comes without the 2,049,000 of ImageNet's
    classifier, which segments nothing. The paper is binary; for K > 1 the gate is the probability of class 0, the
    background, which is the same for two classes. The papers leave some convolutions open; ours are those that give
    the published number of parameters, and ReLU comes only where it is named below. Up-sampling does not align
    corners, so that it does not depend on the size of the picture. The residual blocks of a fresh encoder start at a
    fifth of their strength.
"""

from collections.abc import Sequence
from os import PathLike

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.blocks import ReverseAttention
from seglab.models._knobs import require_at_least
from seglab.models._weights import load_encoder

ENCODER = "res2net50d"  # timm's name of Res2Net-50, 26 wide, 4 scales, with three 3x3 convolutions first ("v1b")
EXPANSION = 4  # what a stage of the encoder hands on, over its width
RESIDUAL_START = 0.2  # strength of the encoder's residual blocks; at 1 an untrained network's numbers run away
KERNELS = (3, 5, 7)  # of a receptive-field module, in pixels; the dilations too


class ReceptiveField(nn.Module):
    """Looks at a map through four windows of different size: (N, C, H, W) -> (N, C_out, H, W).

    One branch is a 1x1 convolution, the others continue with a 1xk, a kx1 and a 3x3 convolution of dilation k, for k
    3, 5 and 7. Another 3x3 convolution joins them, a 1x1 convolution of the input is added, ReLU comes last.

    Args:
        in_channels: C, at least 1.
        channels: C_out, at least 1.

    Example:
        >>> ReceptiveField(8, 4)(torch.zeros(2, 8, 5, 7)).shape
        torch.Size([2, 4, 5, 7])
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_conv(in_channels, channels, 1)])
        for k in KERNELS:
            layers = [_conv(channels, channels, kernel) for kernel in ((1, k), (k, 1))]
            self.branches.append(
                nn.Sequential(_conv(in_channels, channels, 1), *layers, _conv(channels, channels, 3, dilation=k))
            )
        self.join = _conv(len(self.branches) * channels, channels, 3)
        self.shortcut = _conv(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Few channels, many windows: (N, C, H, W) -> (N, C_out, H, W)."""
        joined = self.join(torch.cat([branch(x) for branch in self.branches], dim=1))
        return F.relu(joined + self.shortcut(x))


class PartialDecoder(nn.Module):
    """Joins three maps into coarse logits of the finest one's size, leaving the shallow maps of the encoder out.

    Each map is multiplied by what every deeper one says, then all are concatenated from deep to fine.

    Args:
        channels: C of all three maps, at least 1.
        num_classes: K, at least 1.

    Example:
        >>> maps = [torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 4, 4), torch.zeros(2, 4, 2, 2)]
        >>> PartialDecoder(4, num_classes=1)(maps).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        c = channels
        self.deep_on_middle, self.deep_on_fine, self.middle_on_fine = (_conv(c, c, 3) for _ in range(3))
        self.deep_up, self.deep_join = _conv(c, c, 3), _conv(2 * c, 2 * c, 3)
        self.middle_up, self.middle_join = _conv(2 * c, 2 * c, 3), _conv(3 * c, 3 * c, 3)
        self.head = nn.Sequential(_conv(3 * c, 3 * c, 3), nn.Conv2d(3 * c, num_classes, kernel_size=1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Coarse logits: three (N, C, H, W), finest first, each half as large as the one before -> (N, K, H, W)."""
        fine, middle, deep = maps
        large, larger = middle.shape[2:], fine.shape[2:]
        deep_fine, middle_fine, deep = _resize(deep, larger), _resize(middle, larger), _resize(deep, large)
        fine = fine * self.deep_on_fine(deep_fine) * self.middle_on_fine(middle_fine)
        middle = middle * self.deep_on_middle(deep)
        joined = self.deep_join(torch.cat([middle, self.deep_up(deep)], dim=1))
        joined = self.middle_join(torch.cat([fine, self.middle_up(_resize(joined, larger))], dim=1))
        logits: Tensor = self.head(joined)
        return logits


class PraNet(nn.Module):
    """The PraNet of `build`: normalised picture (N, 3, H, W), sides multiples of 32 -> logits (N, K, H, W).

    In training mode it gives a list of four logits of the picture's size, from the finest features', which are the
    main ones, to the partial decoder's.
    """

    stride = 32

    def __init__(self, num_classes: int, width: int, channels: int) -> None:
        super().__init__()
        from timm import create_model

        self.num_classes = num_classes
        stages = [width * 2**level for level in range(4)]
        self.encoder = create_model(
            ENCODER,
            pretrained=False,
            features_only=True,
            out_indices=(2, 3, 4),
            channels=stages,
            stem_width=width // 2,
        )
        for key, parameter in self.encoder.named_parameters():
            if key.endswith("bn3.weight"):  # timm starts at 0, which would keep the first gradient out of the block
                nn.init.constant_(parameter, RESIDUAL_START)
        found = [EXPANSION * each for each in stages[1:]]
        self.fields = nn.ModuleList(ReceptiveField(each, channels) for each in found)
        self.decoder = PartialDecoder(channels, num_classes)
        fine, middle, deep = found
        wide = ReverseAttention(deep, 4 * width, kernel_size=5, depth=3, out_kernel_size=1, num_classes=num_classes)
        narrow = [ReverseAttention(each, width, num_classes=num_classes) for each in (middle, fine)]
        self.reverse = nn.ModuleList([wide, *narrow])  # in the order they run

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W), a list of four of these in training mode."""
        picture, features = x.shape[2:], self.encoder(x)
        logits = self.decoder([field(each) for field, each in zip(self.fields, features, strict=True)])
        maps = [logits]
        for reverse, each in zip(self.reverse, reversed(features), strict=True):
            logits = reverse(each, logits)
            maps.append(logits)
        enlarged = [_resize(each, picture) for each in (reversed(maps) if self.training else maps[-1:])]
        return enlarged if self.training else enlarged[0]


def build(
    num_classes: int, *, width: int = 64, channels: int = 32, weights: str | PathLike[str] | None = None
) -> PraNet:
    """PraNet with 30.5 million parameters as published, or fewer.

    Args:
        num_classes: K, at least 1; with more than one, class 0 is the background.
        width: Channels of the encoder's first stage, at least 4; all but the partial decoder grows with it.
        channels: Channels of the receptive-field modules and the partial decoder, at least 1.
        weights: Encoder weights: a state dict file of timm's res2net50d (.pth or .safetensors), or None for fresh
            ones.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If a number is out of its range or the file holds other weights.
        FileNotFoundError: If the file does not exist.

    Example:
        >>> with torch.device("meta"):  # counting needs no memory
        ...     sum(p.numel() for p in build(1).parameters())
        30498319
    """
    require_at_least("width", width, 4)
    require_at_least("channels", channels, 1)
    net = PraNet(num_classes, width, channels)
    if weights is not None:
        load_encoder(net.encoder, weights, ENCODER, prefix="", library="timm")
    return net


def _conv(in_channels: int, out_channels: int, kernel: int | tuple[int, int], *, dilation: int = 1) -> nn.Sequential:
    """Convolution that keeps height and width, then batch normalisation."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (dilation * (height // 2), dilation * (width // 2))
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, (height, width), padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Map of that height and width."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
