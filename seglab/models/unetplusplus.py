"""U-Net++: a U-Net whose skips are filled with nested, densely connected blocks.

Node X(i, j) is at depth i of the encoder and step j of its skip. X(i, 0) is the encoder; every other node joins all
nodes before it in its row with the enlarged node below:

    X(i, j) = block(concat(X(i, 0), ..., X(i, j - 1), up(X(i + 1, j - 1)))),    i + j <= 4

So X(0, 1), X(0, 2), X(0, 3) and X(0, 4) are the outputs of U-Nets of depth one to four that share their encoder. With
deep supervision each of them has a head and is taught.

Reference:
    Z. Zhou, M. M. R. Siddiquee, N. Tajbakhsh and J. Liang, "UNet++: A Nested U-Net Architecture for Medical Image
    Segmentation", DLMIA 2018; "UNet++: Redesigning Skip Connections to Exploit Multiscale Features in Image
    Segmentation", IEEE Transactions on Medical Imaging 39(6), 2020.
    Differs: the paper's block is "a convolution operation followed by an activation function" and its enlarging "an
    up-sampling layer". Here a block is two 3x3 convolutions with batch normalisation and ReLU, and up-sampling is
    bilinear, without aligned corners. The paper's accurate mode averages outputs, ours the logits, not probabilities.
    `cbam` is not in the paper: "skip" attends each encoder map where it enters its row, "decoder" each of the ten
    enlarged maps.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.blocks import CBAMPlacement
from seglab.models._knobs import require_at_least

DEPTH = 4  # of the deepest U-Net inside


class NestedNode(nn.Module):
    """X(i, j): joins the row so far with the enlarged node below, then convolves.

    Args:
        row_channels: Channels of all earlier nodes of the row together.
        below_channels: Channels of the node below.
        out_channels: Channels of this node.
        attend: Applied to the enlarged node; keeps its shape.

    Example:
        >>> node = NestedNode(8, 6, 4, nn.Identity())
        >>> node([torch.zeros(2, 4, 8, 8)] * 2, torch.zeros(2, 6, 4, 4)).shape
        torch.Size([2, 4, 8, 8])
    """

    def __init__(self, row_channels: int, below_channels: int, out_channels: int, attend: nn.Module) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.attend = attend
        self.block = _block(row_channels + below_channels, out_channels)

    def forward(self, row: Sequence[Tensor], below: Tensor) -> Tensor:
        """This node's map: row of (N, C, H, W), below (N, C', H/2, W/2) -> (N, C_out, H, W)."""
        joined: Tensor = self.block(torch.cat([*row, self.attend(self.up(below))], dim=1))
        return joined


class UNetPlusPlus(nn.Module):
    """The U-Net++ of `build`: normalised picture (N, 3, H, W), sides multiples of 16 -> logits (N, K, H, W).

    With deep supervision and in training mode: a list of four logits, deepest U-Net first.
    """

    stride = 2**DEPTH

    def __init__(
        self, num_classes: int, width: int, cbam: CBAMPlacement, *, deep_supervision: bool, average: bool
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.deep_supervision, self.average = deep_supervision, average
        channels = [width * 2**depth for depth in range(DEPTH + 1)]
        places = ["encoder"] * DEPTH + ["bottleneck"]
        self.encoder = nn.ModuleList(_block(a, b) for a, b in zip([3, *channels], channels, strict=False))
        # Apart from the encoder, because attention on a frozen encoder still has to learn.
        self.attention = nn.ModuleList(cbam.at(place, c) for place, c in zip(places, channels, strict=True))
        self.skips = nn.ModuleList(cbam.at("skip", c) for c in channels[:DEPTH])
        self.columns = nn.ModuleList(
            nn.ModuleList(
                NestedNode(step * channels[i], channels[i + 1], channels[i], cbam.decoder(channels[i + 1]))
                for i in range(DEPTH + 1 - step)
            )
            for step in range(1, DEPTH + 1)
        )
        # One head per U-Net inside, the shallowest first; without deep supervision only the deepest has one.
        self.heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for _ in range(DEPTH if deep_supervision else 1))

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits of every pixel: (N, 3, H, W) -> (N, K, H, W), or a list of four with deep supervision in training."""
        outputs = self._nodes(x)[-len(self.heads) :]
        if not self.training and not self.average:  # what nobody looks at is not computed
            deepest: Tensor = self.heads[-1](outputs[-1])
            return deepest
        logits = [head(each) for head, each in zip(self.heads, outputs, strict=True)][::-1]
        if self.training:
            return logits if self.deep_supervision else logits[0]
        return torch.stack(logits).mean(dim=0)

    def _nodes(self, x: Tensor) -> list[Tensor]:
        """X(0, 1) to X(0, 4), each (N, width, H, W)."""
        encoded: list[Tensor] = []
        for stage, attend in zip(self.encoder, self.attention, strict=True):
            x = attend(stage(F.max_pool2d(x, 2) if encoded else x))
            encoded.append(x)
        rows = [[skip(each)] for skip, each in zip(self.skips, encoded, strict=False)]
        column = encoded
        for nodes in self.columns:
            assert isinstance(nodes, nn.ModuleList)
            column = [node(row, below) for node, row, below in zip(nodes, rows, column[1:], strict=False)]
            for row, each in zip(rows, column, strict=False):
                row.append(each)
        return rows[0][1:]


def build(
    num_classes: int,
    *,
    width: int = 32,
    deep_supervision: bool = False,
    average: bool = False,
    cbam: str | Collection[str] = (),
    cbam_style: str = "original",
    cbam_residual: bool = False,
) -> UNetPlusPlus:
    """U-Net++ with 9.2 million parameters as published, or fewer.

    Args:
        num_classes: K, at least 1.
        width: Channels of the first stage, at least 4; each stage below has twice as many.
        deep_supervision: Whether all four U-Nets inside have a head. In training mode the network then returns the
            logits of all four, deepest first; in evaluation mode one tensor, see `average`.
        average: What evaluation returns under deep supervision: the deepest U-Net's logits (False, the paper's fast
            mode) or the mean of all four (True, its accurate mode).
        cbam: Where attention sits: any of "encoder", "bottleneck", "skip", "decoder".
        cbam_style: "original" or "compact", see `seglab.blocks.CBAM`.
        cbam_residual: Whether attention starts as the identity.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If `width` is below 4, a name is unknown, or `average` is set without `deep_supervision`.

    Example:
        >>> [sum(p.numel() for p in build(1, deep_supervision=deep).parameters()) for deep in (False, True)]
        [9163329, 9163428]
    """
    require_at_least("width", width, 4)
    if average and not deep_supervision:
        raise ValueError("average must be False without deep_supervision; got True. There is one head to look at.")
    placement = CBAMPlacement(cbam, cbam_style, cbam_residual)
    return UNetPlusPlus(num_classes, width, placement, deep_supervision=deep_supervision, average=average)


def _block(in_channels: int, out_channels: int) -> nn.Module:
    """Two 3x3 convolutions, each followed by batch normalisation and ReLU."""
    # The normalisation cancels the biases; they are kept because the published number of parameters counts them.
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
