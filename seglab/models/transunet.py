"""TransUNet: a ResNet-50, a vision transformer on its last map, and a decoder that climbs back over three skips.

The encoder is the hybrid vision transformer R50+ViT-B/16: each pixel of the ResNet's map at a sixteenth of the size
is a token, twelve transformer layers let every token see every other, and the tokens are a map again. The decoder
enlarges four times; the first three steps join the ResNet's maps of 512, 256 and 64 channels.

The transformer's table of positions is made for pictures of 224 x 224 pixels; for other sizes it is resized, so any
height and width will do. Without `weights` such an encoder needs far more pictures than a convolutional one.

Reference:
    J. Chen et al., "TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation", arXiv:2102.04306,
    2021; the encoder from A. Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at
    Scale", ICLR 2021.
    Differs: the encoder computes what it was pretrained to compute: strided convolutions pad below and at the right,
    every group normalisation has 32 groups. The authors' code pads on all sides, does not pad before pooling and
    fills up the skips with zeros, and normalises each channel of a projected shortcut by itself. Up-sampling does not
    align corners, so that it does not depend on the size of the picture. Pictures are normalised by ImageNet's mean
    and standard deviation as everywhere here, where the encoder was pretrained on values from -1 to 1. `cbam` is not
    in the paper.
"""

from collections.abc import Collection
from os import PathLike

from torch import Tensor, nn

from seglab.blocks import CBAMPlacement, ConvBlock, UNetDecoder
from seglab.models._knobs import require_at_least
from seglab.models._r50_vit import R50ViT
from seglab.models._vit_weights import load_r50_vit


class TransUNet(nn.Module):
    """The TransUNet of `build`: normalised picture (N, 3, H, W), sides multiples of 16 -> logits (N, K, H, W)."""

    stride = 16

    def __init__(self, num_classes: int, encoder: R50ViT, hidden: int, cbam: CBAMPlacement) -> None:
        super().__init__()
        self.num_classes = num_classes
        width = encoder.channels[0]
        skips = encoder.channels[:3]
        self.encoder = encoder
        # Apart from the encoder, because attention on a frozen encoder still has to learn.
        self.attention = nn.ModuleList(cbam.at("encoder", c) for c in encoder.channels)
        self.bottleneck = nn.Sequential(
            cbam.at("bottleneck", hidden),
            nn.Conv2d(hidden, 8 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(8 * width),
            nn.ReLU(inplace=True),
        )
        self.decoder = UNetDecoder(
            [*skips, 8 * width],
            [width, 2 * width, 4 * width],
            upsampling="bilinear",
            skip=cbam.skip,
            attend=cbam.decoder,
        )
        self.last = nn.Sequential(  # the one step without a skip
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            cbam.decoder(width),
            ConvBlock(width, width // 4),
        )
        self.head = nn.Conv2d(width // 4, num_classes, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        *skips, deepest = self.encoder(x, self.attention)
        logits: Tensor = self.head(self.last(self.decoder([*skips, self.bottleneck(deepest)])[-1]))
        return logits


def build(  # noqa: PLR0913 - every knob is one an ablation would switch
    num_classes: int,
    *,
    width: int = 64,
    hidden: int = 768,
    layers: int = 12,
    heads: int = 12,
    dropout: float = 0.1,
    cbam: str | Collection[str] = (),
    cbam_style: str = "original",
    cbam_residual: bool = False,
    weights: str | PathLike[str] | None = None,
) -> TransUNet:
    """TransUNet with 105.3 million parameters as published, or fewer.

    Args:
        num_classes: K, at least 1.
        width: Channels of the ResNet's stem, at least 8; its stages have 4, 8 and 16 times as many, and the decoder's
            widths follow.
        hidden: Length of a token, a multiple of `heads`.
        layers: Transformer layers, at least 1.
        heads: Heads of each layer's attention, at least 1.
        dropout: Share of the transformer's units dropped in training, 0 or more, below 1.
        cbam: Where attention sits: any of "encoder", "bottleneck", "skip", "decoder". "encoder" attends the stem and
            the three stages, "bottleneck" the transformer's map.
        cbam_style: "original" or "compact", see `seglab.blocks.CBAM`.
        cbam_residual: Whether attention starts as the identity, as it should on a pretrained encoder.
        weights: Encoder weights: a local copy of the file "R50+ViT-B_16.npz" (ImageNet-21k) that the authors of the
            vision transformer published, or None for fresh ones. It fits the published sizes only.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If a number is out of its range, a name is unknown or the file holds other weights.
        FileNotFoundError: If the file does not exist.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # counting needs no memory
        ...     sum(p.numel() for p in build(2).parameters())
        105276066
    """
    require_at_least("width", width, 8)
    require_at_least("layers", layers, 1)
    require_at_least("heads", heads, 1)
    require_at_least("hidden", hidden, heads)
    if hidden % heads:
        raise ValueError(f"hidden must be a multiple of heads; got {hidden} and {heads}.")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ValueError(f"dropout must be a number from 0 to below 1; got {dropout!r}.")
    placement = CBAMPlacement(cbam, cbam_style, cbam_residual)
    encoder = R50ViT(width, hidden=hidden, layers=layers, heads=heads, dropout=dropout)
    if weights is not None:
        load_r50_vit(encoder, weights)
    return TransUNet(num_classes, encoder, hidden, placement)
