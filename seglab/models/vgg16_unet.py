"""VGG16-UNet: the thirteen convolutions of VGG16 as encoder, and a decoder of up-sampling and plain convolutions.

The skips are VGG16's maps before each pooling, 64, 128, 256 and 512 channels wide; the map before the last pooling,
512 channels at a sixteenth of the size, is the bottleneck. Liu's enhanced network is this one with CBAM; the paper
does not say where, so `cbam` is a knob, and `cbam="skip"` its likeliest reading.

Reference:
    O. Ronneberger, P. Fischer and T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    MICCAI 2015. K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    ICLR 2015, configuration D. Liu, "Image Recognition and Enhancements of the U-Net Model", Applied and
    Computational Engineering 172, 2025.
    Differs: up-sampling is bilinear and does not align corners, so that it does not depend on the size of the
    picture. Fresh weights are drawn as by K. He et al., "Delving Deep into Rectifiers", ICCV 2015, because without
    normalisation PyTorch's own default fades over so many layers.
"""

from collections.abc import Collection
from os import PathLike

from torch import Tensor, nn

from seglab.blocks import CBAMPlacement, UNetDecoder
from seglab.models._vgg16 import he_initialise, vgg16_layers
from seglab.models._weights import load_encoder

CHANNELS = (64, 128, 256, 512, 512)  # of VGG16's stages
DECODER_WIDTHS = (64, 128, 256, 512)


class VGG16UNet(nn.Module):
    """The VGG16-UNet of `build`: normalised picture (N, 3, H, W), sides multiples of 16 -> logits (N, K, H, W)."""

    stride = 16

    def __init__(self, num_classes: int, cbam: CBAMPlacement) -> None:
        super().__init__()
        self.num_classes = num_classes
        places = ["encoder"] * 4 + ["bottleneck"]
        # One flat sequence, numbered as torchvision's `features`, so that its weights fit as they are.
        self.encoder = nn.Sequential(*vgg16_layers()[:-1])
        self.attention = nn.ModuleList(cbam.at(place, c) for place, c in zip(places, CHANNELS, strict=True))
        self.decoder = UNetDecoder(
            CHANNELS, DECODER_WIDTHS, upsampling="bilinear", skip=cbam.skip, attend=cbam.decoder, block=_plain_block
        )
        self.head = nn.Conv2d(DECODER_WIDTHS[0], num_classes, kernel_size=1)
        for part in (self.encoder, self.decoder):
            part.apply(he_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        features: list[Tensor] = []
        for layer in self.encoder:
            if isinstance(layer, nn.MaxPool2d):
                x = self.attention[len(features)](x)
                features.append(x)
            x = layer(x)
        features.append(self.attention[-1](x))
        logits: Tensor = self.head(self.decoder(features)[-1])
        return logits


def build(
    num_classes: int,
    *,
    cbam: str | Collection[str] = (),
    cbam_style: str = "original",
    cbam_residual: bool = False,
    weights: str | PathLike[str] | None = None,
) -> VGG16UNet:
    """VGG16-UNet with 24.9 million parameters.

    Args:
        num_classes: K, at least 1.
        cbam: Where attention sits: any of "encoder", "bottleneck", "skip", "decoder".
        cbam_style: "original" or "compact", see `seglab.blocks.CBAM`.
        cbam_residual: Whether attention starts as the identity, as it should on a pretrained encoder.
        weights: Encoder weights: a state dict file of torchvision's vgg16 (.pth or .safetensors), "torchvision" to
            fetch its ImageNet weights (528 MB), or None for fresh ones.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If a name is unknown or the file holds other weights.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If torchvision cannot fetch its weights.

    Example:
        >>> sum(p.numel() for p in build(2).parameters())
        24891202
    """
    net = VGG16UNet(num_classes, CBAMPlacement(cbam, cbam_style, cbam_residual))
    if weights is not None:
        load_encoder(net.encoder, weights, "vgg16", "features.")
    return net


def _plain_block(in_channels: int, out_channels: int) -> nn.Module:
    """Two 3x3 convolutions with ReLU, without normalisation."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.ReLU(inplace=True),
    )
