"""RFE-U-Net: a ResNet encoder, and skips that fuse each encoder map with the next deeper one.

    skip_i = C2f(concat(SPPF(E_i), enlarge(SPPF(E_{i+1}))))

SPPF widens what a pixel sees, C2f merges the two scales. The decoder enlarges with a 2x2 convolution of stride 2, joins
the skip, and convolves once, with SiLU throughout. Four skips leave the encoder, at 1/2, 1/4, 1/8 and 1/16 of the
picture; the logits are made at half its size and doubled bilinearly. `rfe=False` passes the encoder maps as they are,
which is the baseline of the paper's ablation.

The paper leaves open how many channels each part has, where maps of two sizes meet, and how the last doubling is done.
This reading agrees with its table of computing cost to one per cent: by the rule that the table seems to follow (one
for each multiplication of a convolution, four times that for a transposed one, four for each normalised number), a
picture of 256 x 256 pixels costs 8.98, 39.32 and 44.20 billion with ResNet-34, 50 and 101; printed are 9.046, 39.701
and 44.576.

Reference:
    M. Zarrin and H. Nikkhah, "A Novel Hybrid Deep Learning Model with Receptive Field-Enhanced Skip Connections and
    Adaptive Loss for Medical Image Segmentation", Journal of AI and Data Mining, 2025, fig. 1 and 2.
    K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    Differs: the text enlarges after C2f, but two maps of different size cannot be joined before; here the deeper one
    is enlarged bilinearly after its SPPF, which also brings it to the channels of the finer one. C2f has one
    bottleneck and no shortcut. The softmax is left to the loss. "resnet18", `width` and `cbam` are not in the paper;
    "skip" attends the fused map.
"""

from collections.abc import Collection
from os import PathLike

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.blocks import SPPF, C2f, CBAMPlacement, ConvSiLU, UNetDecoder
from seglab.contract import require_name
from seglab.models._knobs import require_at_least
from seglab.models._resnet import DEPTHS, ResNetEncoder
from seglab.models._weights import load_encoder


class RFE(nn.Module):
    """Receptive field enhancement, the skip of `build`: an encoder map fused with the next deeper one.

    Args:
        channels: C, channels of the encoder map; also of the result.
        deeper_channels: Channels of the next deeper map.
        attend: Applied to the fused map; keeps its shape.

    Example:
        >>> skip, deeper = torch.zeros(2, 4, 8, 8), torch.zeros(2, 8, 4, 4)
        >>> RFE(4, 8, nn.Identity())(skip, deeper, skip).shape
        torch.Size([2, 4, 8, 8])
    """

    def __init__(self, channels: int, deeper_channels: int, attend: nn.Module) -> None:
        super().__init__()
        self.fine = SPPF(channels)
        self.deep = SPPF(deeper_channels, channels)
        self.fuse = C2f(2 * channels, channels)
        self.attend = attend

    def forward(self, skip: Tensor, deeper: Tensor, up: Tensor) -> Tensor:
        """Fused map: skip (N, C, H, W), deeper (N, C', H/2, W/2) -> (N, C, H, W)."""
        enlarged = F.interpolate(self.deep(deeper), skip.shape[-2:], mode="bilinear", align_corners=False)
        fused: Tensor = self.attend(self.fuse(torch.cat([self.fine(skip), enlarged], dim=1)))
        return fused


class RFEUNet(nn.Module):
    """The network of `build`: normalised picture (N, 3, H, W), sides multiples of 32 -> logits (N, K, H, W)."""

    stride = 32

    def __init__(self, num_classes: int, encoder: ResNetEncoder, cbam: CBAMPlacement, *, rfe: bool) -> None:
        super().__init__()
        self.num_classes = num_classes
        channels = encoder.channels
        places = ["encoder"] * 4 + ["bottleneck"]
        self.encoder = encoder
        # Apart from the encoder, because attention on a frozen encoder still has to learn.
        self.attention = nn.ModuleList(cbam.at(place, c) for place, c in zip(places, channels, strict=True))

        def skip(fine: int, deeper: int, up: int) -> nn.Module:
            return RFE(fine, deeper, cbam.at("skip", fine)) if rfe else cbam.skip(fine, deeper, up)

        self.decoder = UNetDecoder(
            channels,
            channels[:-1],
            upsampling="transposed",
            skip=skip,
            attend=cbam.decoder,
            block=ConvSiLU,
            up_channels=channels[:-1],
        )
        self.head = nn.Conv2d(channels[0], num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W)."""
        logits = self.head(self.decoder(self.encoder(x, self.attention))[-1])  # (N, K, H / 2, W / 2)
        return F.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=False)


def build(  # noqa: PLR0913 - every knob is one an ablation would switch
    num_classes: int,
    *,
    encoder: str = "resnet101",
    width: int = 64,
    rfe: bool = True,
    cbam: str | Collection[str] = (),
    cbam_style: str = "original",
    cbam_residual: bool = False,
    weights: str | PathLike[str] | None = None,
) -> RFEUNet:
    """RFE-U-Net with 101.3 million parameters, or 25.1 with ResNet-34.

    Args:
        num_classes: K, at least 1.
        encoder: "resnet101" as published, "resnet50", "resnet34" (both in the paper's comparison) or "resnet18".
        width: Channels of the encoder's first stage, at least 4; 64 as published. All others keep their ratio.
        rfe: Whether skips are fused with the next deeper map; False is the paper's baseline.
        cbam: Where attention sits: any of "encoder", "bottleneck", "skip", "decoder".
        cbam_style: "original" or "compact", see `seglab.blocks.CBAM`.
        cbam_residual: Whether attention starts as the identity, as it should on a pretrained encoder.
        weights: Encoder weights: a state dict file of torchvision's network of that name (.pth or .safetensors),
            "torchvision" to fetch its ImageNet weights, or None for fresh ones. They need `width=64`.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `width` is below 4, a name is unknown or the file holds other weights.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If torchvision cannot fetch its weights.

    Example:
        >>> sum(p.numel() for p in build(1, encoder="resnet18", width=8).parameters())
        237097
    """
    require_at_least("width", width, 4)
    require_name("encoder", encoder, DEPTHS)
    placement = CBAMPlacement(cbam, cbam_style, cbam_residual)
    net = RFEUNet(num_classes, ResNetEncoder(encoder, width), placement, rfe=rfe)
    if weights is not None:
        load_encoder(net.encoder, weights, encoder, "")
    return net
