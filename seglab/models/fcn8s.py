"""FCN-8s: VGG16 with its fully connected layers read as convolutions, and the scores of three depths summed.

A 1x1 convolution scores every class on the deepest map, at a 32nd of the picture's size. That map is enlarged by two
and added to the scores of the fourth pooling, again by two and added to those of the third, then by eight. Every
enlarging is a transposed convolution that starts as bilinear interpolation and is learned on. The knob `output_stride`
gives the paper's coarser variants: 16 leaves the third pooling out (FCN-16s), 32 both (FCN-32s).

Reference:
    J. Long, E. Shelhamer and T. Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, fig. 3.
    E. Shelhamer, J. Long and T. Darrell, the same title, IEEE TPAMI 39(4), 2017.
    Differs: the paper pads the picture by 100 pixels and crops the scores to fit; here every convolution is padded by
    half its kernel (fc6 by 3), so that the maps of all depths line up by themselves. The paper's scoring layers start
    at zero, its last enlarging stays bilinear, and its variants are trained one after another; here the scores start
    at random, and all is learned at once. `width` is not in the paper.
"""

from os import PathLike

import torch
from torch import Tensor, nn

from seglab.models._vgg16 import he_initialise, vgg16_layers
from seglab.models._weights import load_encoder

DROPOUT = 0.5  # after fc6 and fc7, as VGG16 has it
POOLINGS = {16: 8, 23: 16}  # index of a pooling whose map is scored: the stride of that map
STRIDES = (32, 16, 8)  # of all maps that can be scored, coarsest first


class ConvolutionalVGG16(nn.Module):
    """VGG16 without its last layer, its fully connected layers as convolutions; names as in torchvision."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*vgg16_layers(width))
        self.classifier = nn.Sequential(
            nn.Conv2d(8 * width, 64 * width, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout(DROPOUT),
            nn.Conv2d(64 * width, 64 * width, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(DROPOUT),
        )

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Maps of the third and fourth pooling and of fc7, by their stride: (N, 3, H, W) -> (N, C, H/s, W/s)."""
        maps: dict[int, Tensor] = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in POOLINGS:
                maps[POOLINGS[index]] = x
        maps[32] = self.classifier(x)
        return maps


class FCN(nn.Module):
    """The FCN of `build`: normalised picture (N, 3, H, W), sides multiples of 32 -> logits (N, K, H, W)."""

    stride = 32

    def __init__(self, num_classes: int, width: int, output_stride: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.encoder = ConvolutionalVGG16(width)
        self.encoder.apply(he_initialise)
        channels = dict(zip(STRIDES, (64 * width, 8 * width, 4 * width), strict=True))
        self.strides = [stride for stride in STRIDES if stride >= output_stride]
        self.score = nn.ModuleList(nn.Conv2d(channels[stride], num_classes, kernel_size=1) for stride in self.strides)
        factors = [2] * (len(self.strides) - 1) + [output_stride]
        self.enlarge = nn.ModuleList(BilinearUpsampling(num_classes, factor) for factor in factors)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        maps = self.encoder(x)
        total: Tensor | None = None
        for stride, score, enlarge in zip(self.strides, self.score, self.enlarge, strict=True):
            scores = score(maps[stride])
            total = enlarge(scores if total is None else total + scores)
        assert total is not None
        return total


class BilinearUpsampling(nn.ConvTranspose2d):
    """Transposed convolution that starts as bilinear interpolation of each channel by itself, and is learned on.

    With x the distance of a pixel of the 2f x 2f kernel from the kernel's middle, along one axis:

        weight = 1 - |x| / f

    Args:
        channels: C, at least 1.
        factor: f, how much larger the map becomes, even.

    Example:
        >>> BilinearUpsampling(1, 2).weight[0, 0, 0] * 16
        tensor([1., 3., 3., 1.], grad_fn=<MulBackward0>)

    Reference:
        Long et al., "Fully Convolutional Networks", CVPR 2015, section 3.3.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__(channels, channels, 2 * factor, stride=factor, padding=factor // 2, bias=False)
        axis = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
        with torch.no_grad():
            self.weight.zero_()
            for channel in range(channels):
                self.weight[channel, channel] = axis[:, None] * axis


def build(
    num_classes: int, *, width: int = 64, output_stride: int = 8, weights: str | PathLike[str] | None = None
) -> FCN:
    """FCN-8s with 134.3 million parameters as published, or fewer.

    Args:
        num_classes: K, at least 1.
        width: Channels of VGG16's first stage, at least 4; fc6 and fc7 have 64 times as many.
        output_stride: 8, 16 or 32 for FCN-8s, FCN-16s or FCN-32s.
        weights: Encoder weights: a state dict file of torchvision's vgg16 (.pth or .safetensors), "torchvision" to
            fetch its ImageNet weights (528 MB), or None for fresh ones.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `width` or `output_stride` is out of range or the file holds other weights.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If torchvision cannot fetch its weights.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # counts without memory
        ...     sum(p.numel() for p in build(2).parameters())
        134271430
    """
    if not isinstance(width, int) or isinstance(width, bool) or width < 4:
        raise ValueError(f"width must be an integer of at least 4; got {width!r}.")
    if output_stride not in STRIDES:
        raise ValueError(f"output_stride must be one of 8, 16, 32; got {output_stride!r}.")
    net = FCN(num_classes, width, output_stride)
    if weights is not None:
        load_encoder(net.encoder, weights, "vgg16", "")
    return net
