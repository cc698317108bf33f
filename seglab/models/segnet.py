"""SegNet: VGG16's convolutions and their mirror image, which puts every value back to where its maximum was.

Each pooling of the encoder remembers which pixel of its 2x2 window was the largest. The decoder has no skips and learns
no up-sampling: it enlarges a map by putting each value to the remembered pixel and zeros around it, and leaves the rest
to the convolutions that follow. Borders so come back where they were, at the price of one index per pooled value.

Reference:
    V. Badrinarayanan, A. Kendall and R. Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
    Segmentation", IEEE TPAMI 39(12), 2017, figs. 2 and 3.
    Differs: the last convolution gives the logits itself, without batch normalisation and ReLU after it (2 K parameters
    fewer than code that keeps an unused normalisation there). Pictures are normalised by ImageNet's mean and standard
    deviation, not by their local contrast. `width` is not in the paper.
"""

from os import PathLike

from torch import Tensor, nn

from seglab.models._vgg16 import STAGES, he_initialise, vgg16_layers
from seglab.models._weights import load_encoder


class SegNet(nn.Module):
    """The SegNet of `build`: normalised picture (N, 3, H, W), sides multiples of 32 -> logits (N, K, H, W)."""

    stride = 32

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        # One flat sequence, numbered as torchvision's `features`, so that its weights fit as they are.
        self.encoder = nn.Sequential(*vgg16_layers(width, norm=True, indices=True))
        self.decoder = nn.ModuleList(_mirrored_stages(width, num_classes))
        for part in (self.encoder, self.decoder):
            part.apply(he_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        remembered: list[Tensor] = []
        for layer in self.encoder:
            if isinstance(layer, nn.MaxPool2d):
                x, indices = layer(x)
                remembered.append(indices)
            else:
                x = layer(x)
        for stage, indices in zip(self.decoder, reversed(remembered), strict=True):
            x = stage(unpool(x, indices))
        return x


def unpool(x: Tensor, indices: Tensor) -> Tensor:
    """Twice as large a map with every value at its remembered pixel and zeros elsewhere: the inverse of 2x2 pooling.

    Args:
        x: (N, C, H, W).
        indices: Where each value goes, as `torch.nn.MaxPool2d` returns it: row * 2W + column of the large map,
            (N, C, H, W) int64.

    Returns:
        (N, C, 2H, 2W).

    Example:
        >>> import torch
        >>> unpool(torch.tensor([[[[7.0]]]]), torch.tensor([[[[2]]]]))
        tensor([[[[0., 0.],
                  [7., 0.]]]])
    """
    n, c, height, width = x.shape
    # Not F.max_unpool2d, because that has no deterministic form on a GPU and this is its equal.
    large = x.new_zeros(n, c, 4 * height * width).scatter(2, indices.flatten(2), x.flatten(2))
    return large.view(n, c, 2 * height, 2 * width)


def build(num_classes: int, *, width: int = 64, weights: str | PathLike[str] | None = None) -> SegNet:
    """SegNet with 29.4 million parameters as published, or fewer.

    Args:
        num_classes: K, at least 1.
        width: Channels of the first stage, at least 4; the deepest two have eight times as many.
        weights: Encoder weights: a state dict file of torchvision's vgg16_bn (.pth or .safetensors), "torchvision" to
            fetch its ImageNet weights (528 MB), or None for fresh ones.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `width` is below 4 or the file holds other weights.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If torchvision cannot fetch its weights.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # counts without memory
        ...     sum(p.numel() for p in build(2).parameters())
        29444162
    """
    if not isinstance(width, int) or isinstance(width, bool) or width < 4:
        raise ValueError(f"width must be an integer of at least 4; got {width!r}.")
    net = SegNet(num_classes, width)
    if weights is not None:
        load_encoder(net.encoder, weights, "vgg16_bn", "features.")
    return net


def _mirrored_stages(width: int, num_classes: int) -> list[nn.Module]:
    """Convolutions that follow each unpooling, deepest first; the last of a stage reaches the next one's channels."""
    stages: list[nn.Module] = []
    shallower = [factor * width for factor, _ in STAGES[:-1]]
    for (factor, convolutions), out_channels in reversed(list(zip(STAGES, [0, *shallower], strict=True))):
        channels = factor * width
        layers: list[nn.Module] = []
        for number in range(convolutions):
            last = number == convolutions - 1
            out = channels if not last else out_channels or num_classes
            layers.append(nn.Conv2d(channels, out, 3, padding=1))
            if out_channels or not last:
                layers += [nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        stages.append(nn.Sequential(*layers))
    return stages
