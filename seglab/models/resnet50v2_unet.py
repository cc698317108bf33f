"""ResNet50V2-UNet: a pre-activation ResNet-50 as encoder, and a U-Net decoder of learned up-sampling.

The skips are the maps at a half (64 channels), a quarter (256), an eighth (512) and a 16th (1024) of the picture's
size; the map at a 32nd (2048) is the bottleneck. Four levels of the decoder join them; a fifth brings the half-size map
to the picture's size, where there is nothing to join. The encoder is timm's resnetv2_50. "smp_unet" with the encoder
"tu-resnetv2_50" has the same encoder under another decoder, which enlarges without learning.

Reference:
    Boudaieb et al., "Addressing Class Imbalance in Skin Lesion Segmentation", Journal of Information Systems
    Engineering and Management 10(58s), 2025. K. He, X. Zhang, S. Ren and J. Sun, "Identity Mappings in Deep Residual
    Networks", ECCV 2016.
    Differs: the paper gives neither the decoder's channels nor the place of its dropout of 0.3. Here the channels halve
    from level to level as in U-Net (512, 256, 128, 64, then 32), each level is two convolutions with batch
    normalisation, and dropout follows the bottleneck unless `dropout_place` says otherwise. The paper's network is
    Keras', which puts the stride of a stage into its last block; timm's has it in the first, as published by He et
    al. The head gives logits for a sigmoid (K = 1) or a softmax; the paper names both. Pictures are normalised by
    ImageNet's mean and standard deviation, while timm's own weights were trained on pictures scaled to [-1, 1].
"""

from collections.abc import Collection
from os import PathLike
from typing import Any, cast

from torch import Tensor, nn

from seglab.blocks import CBAMPlacement, ConvBlock, UNetDecoder
from seglab.contract import require_name
from seglab.models._weights import load_encoder

DROPOUT_PLACES = ("bottleneck", "decoder", "head")


class ResNet50V2UNet(nn.Module):
    """The network of `build`: normalised picture (N, 3, H, W), sides multiples of 32 -> logits (N, K, H, W)."""

    stride = 32

    def __init__(self, num_classes: int, width: int, cbam: CBAMPlacement, dropout: float, dropout_place: str) -> None:
        super().__init__()
        import timm

        self.num_classes = num_classes
        # All layers but the classifier, under timm's own names, so that its weights fit as they are. Fresh residual
        # branches start at random, as published; timm's own default starts them at zero.
        self.encoder = timm.create_model(
            "resnetv2_50", num_classes=0, global_pool="", width_factor=width / 64, zero_init_last=False
        )
        channels = [width, 4 * width, 8 * width, 16 * width, 32 * width]
        widths = [width, 2 * width, 4 * width, 8 * width]
        places = ["encoder"] * 4 + ["bottleneck"]
        drops = {place: dropout if place == dropout_place else 0.0 for place in DROPOUT_PLACES}
        self.attention = nn.ModuleList(cbam.at(place, c) for place, c in zip(places, channels, strict=True))
        self.drop = nn.Dropout(drops["bottleneck"])

        def block(in_channels: int, out_channels: int) -> nn.Module:
            return nn.Sequential(ConvBlock(in_channels, out_channels), nn.Dropout(drops["decoder"]))

        self.decoder = UNetDecoder(
            channels, widths, upsampling="transposed", skip=cbam.skip, attend=cbam.decoder, block=block
        )
        self.last = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2),
            cbam.decoder(width // 2),
            block(width // 2, width // 2),
        )
        self.head = nn.Sequential(nn.Dropout(drops["head"]), nn.Conv2d(width // 2, num_classes, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        # The deepest map passes the encoder's last normalisation and ReLU, the others are sums that had none yet.
        maps: list[Tensor] = cast(Any, self.encoder).forward_intermediates(x, norm=True, intermediates_only=True)
        features = [attend(each) for attend, each in zip(self.attention, maps, strict=True)]
        features[-1] = self.drop(features[-1])
        logits: Tensor = self.head(self.last(self.decoder(features)[-1]))
        return logits


def build(  # noqa: PLR0913 - every knob is one an ablation would switch
    num_classes: int,
    *,
    width: int = 64,
    dropout: float = 0.3,
    dropout_place: str = "bottleneck",
    cbam: str | Collection[str] = (),
    cbam_style: str = "original",
    cbam_residual: bool = False,
    weights: str | PathLike[str] | None = None,
) -> ResNet50V2UNet:
    """ResNet50V2-UNet with 47.5 million parameters, or fewer.

    Args:
        num_classes: K, at least 1.
        width: Channels of the encoder's first map, a multiple of 8; 64 is ResNet-50.
        dropout: Share of values dropped while training, 0 to below 1.
        dropout_place: Where: after the "bottleneck", after every level of the "decoder", or before the "head".
        cbam: Where attention sits: any of "encoder", "bottleneck", "skip", "decoder".
        cbam_style: "original" or "compact", see `seglab.blocks.CBAM`.
        cbam_residual: Whether attention starts as the identity, as it should on a pretrained encoder.
        weights: Encoder weights: a state dict file of timm's resnetv2_50 (.pth or .safetensors), or None for fresh
            ones.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If a number is out of its range, a name is unknown or the file holds other weights.
        FileNotFoundError: If the file does not exist.

    Example:
        >>> net = build(1, width=8)
        >>> [net.encoder.feature_info[i]["reduction"] for i in range(5)]
        [2, 4, 8, 16, 32]
    """
    if not isinstance(width, int) or isinstance(width, bool) or width < 8 or width % 8:
        raise ValueError(f"width must be a multiple of 8, at least 8; got {width!r}.")
    if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout < 1:
        raise ValueError(f"dropout must be a number from 0 to below 1; got {dropout!r}.")
    require_name("dropout_place", dropout_place, DROPOUT_PLACES)
    net = ResNet50V2UNet(num_classes, width, CBAMPlacement(cbam, cbam_style, cbam_residual), dropout, dropout_place)
    if weights is not None:
        load_encoder(net.encoder, weights, "resnetv2_50", "", library="timm")
    return net
