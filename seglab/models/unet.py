"""U-Net: an encoder that halves the picture four times, a decoder that doubles it back, and skips between them.

The knob `cbam` says where attention sits. The defect network of Zhang is `cbam=("encoder", "bottleneck", "decoder")`:
a CBAM after the convolutions of all five encoder blocks, whose attended maps the skips carry, and one after each
up-sampling.

Reference:
    O. Ronneberger, P. Fischer and T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    MICCAI 2015. S. Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018.
    Differs: convolutions are padded, so that the output is as large as the picture, and followed by batch
    normalisation; there is no dropout. "bilinear" replaces the learned up-sampling and halves the bottleneck;
    "convolution" doubles bilinearly and then halves the channels with a 3x3 convolution.
"""

from collections.abc import Collection

from torch import Tensor, nn
from torch.nn import functional as F

from seglab.blocks import UPSAMPLING, CBAMPlacement, ConvBlock, SkipBuilder, UNetDecoder
from seglab.contract import require_name
from seglab.models._knobs import require_at_least


class UNet(nn.Module):
    """The U-Net of `build`: normalised picture (N, 3, H, W), sides multiples of 16 -> logits (N, K, H, W).

    Networks that differ from it in their skips alone pass their own `skip`, see `seglab.blocks.UNetDecoder`.
    """

    stride = 16

    def __init__(
        self, num_classes: int, width: int, upsampling: str, cbam: CBAMPlacement, skip: SkipBuilder | None = None
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        halve = 2 if upsampling == "bilinear" else 1  # bilinear keeps the channels, so every deeper map has half
        channels = [width, 2 * width, 4 * width, 8 * width, 16 * width // halve]
        widths = [width, 2 * width // halve, 4 * width // halve, 8 * width // halve]
        places = ["encoder"] * 4 + ["bottleneck"]
        self.encoder = nn.ModuleList(ConvBlock(a, b) for a, b in zip([3, *channels], channels, strict=False))
        # Apart from the encoder, because attention on a frozen encoder still has to learn.
        self.attention = nn.ModuleList(cbam.at(place, c) for place, c in zip(places, channels, strict=True))
        self.decoder = UNetDecoder(
            channels, widths, upsampling=upsampling, skip=skip or cbam.skip, attend=cbam.decoder, block=_decoder_block
        )
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        logits: Tensor = self.head(self.decoder(self.encode(x))[-1])
        return logits

    def encode(self, x: Tensor) -> list[Tensor]:
        """Attended maps of all five stages, finest first: (N, 3, H, W) -> (N, C_i, H / 2^i, W / 2^i)."""
        features: list[Tensor] = []
        for stage, attend in zip(self.encoder, self.attention, strict=True):
            x = attend(stage(F.max_pool2d(x, 2) if features else x))
            features.append(x)
        return features


def build(
    num_classes: int,
    *,
    width: int = 64,
    upsampling: str = "transposed",
    cbam: str | Collection[str] = (),
    cbam_style: str = "original",
    cbam_residual: bool = False,
) -> UNet:
    """U-Net with 31.0 million parameters as published, or fewer.

    Args:
        num_classes: K, at least 1.
        width: Channels of the first stage, at least 4; each stage below has twice as many.
        upsampling: "transposed" (learned), "bilinear" (17.3 million parameters at width 64) or "convolution" (34.5
            million).
        cbam: Where attention sits: any of "encoder", "bottleneck", "skip", "decoder".
        cbam_style: "original" or "compact", see `seglab.blocks.CBAM`.
        cbam_residual: Whether attention starts as the identity.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `width` is below 4 or a name is unknown.

    Example:
        >>> sum(p.numel() for p in build(1).parameters())
        31037633
    """
    require_at_least("width", width, 4)
    require_name("upsampling", upsampling, UPSAMPLING)
    return UNet(num_classes, width, upsampling, CBAMPlacement(cbam, cbam_style, cbam_residual))


def _decoder_block(in_channels: int, out_channels: int) -> ConvBlock:
    """Convolutions of one decoder level; they first halve the channels, then reach the level's width."""
    return ConvBlock(in_channels, out_channels, in_channels // 2)
