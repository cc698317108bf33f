"""Gates on a skip that are steered from below: additive attention, reverse attention, boundary and reverse attention.

Reference:
    O. Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018.
    D.-P. Fan et al., "PraNet: Parallel Reverse Attention Network for Polyp Segmentation", MICCAI 2020.
    "Enhanced Skin Lesion Segmentation via Attentive Reverse-Attention U-Net", Symmetry 17(11), 2002, 2025.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.blocks._cbam import AttentionMap
from seglab.blocks._convolution import ConvBlock
from seglab.contract import require_name

BOUNDARIES = ("none", "pool", "sigmoid")


class AttentionGate(nn.Module):
    """Keeps of a skip what the map below asks for: (N, C, H, W) -> (N, C, H, W).

        gate = sigmoid(psi(relu(W_x x + W_g g + b))),    output = gate * x

    W_x, W_g and psi are 1x1 convolutions, psi with one output, so every pixel gets one number.

    Args:
        channels: C, channels of the skip x.
        gate_channels: Channels of the gating signal g.
        hidden_channels: Channels in which x and g are added; None takes half of C, at least 1.
        stride: Side of W_x and its step in pixels. 1 takes g at the size of x; the paper's 2 takes g half as large,
            and enlarges the gate bilinearly.
        norm: Whether batch normalisation follows W_x, W_g and psi, whose biases it then replaces.

    Example:
        >>> AttentionGate(8, 16)(torch.zeros(2, 8, 6, 4), torch.zeros(2, 16, 6, 4)).shape
        torch.Size([2, 8, 6, 4])

    Reference:
        Oktay et al., "Attention U-Net", MIDL 2018, eq. 1 and 2, fig. 2.
        Differs: `norm` is not in the paper, but in most two-dimensional forms of its network.
    """

    def __init__(
        self,
        channels: int,
        gate_channels: int,
        hidden_channels: int | None = None,
        *,
        stride: int = 1,
        norm: bool = False,
    ) -> None:
        super().__init__()
        hidden = hidden_channels or max(1, channels // 2)
        self.of_skip = _projection(channels, hidden, norm, bias=False, stride=stride)
        self.of_gate = _projection(gate_channels, hidden, norm, bias=True)
        self.psi = _projection(hidden, 1, norm, bias=True)
        self.map = AttentionMap()

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """Gated skip: x (N, C, H, W), gate (N, C', H / stride, W / stride) -> (N, C, H, W)."""
        scores = self.psi((self.of_skip(x) + self.of_gate(gate)).relu())  # (N, 1, H / stride, W / stride)
        gated: Tensor = x * self.map(_enlarge(scores.sigmoid(), x))
        return gated


class ReverseAttention(nn.Module):
    """Corrects a coarse mask by looking where it sees nothing yet: features (N, C, H, W) -> logits (N, K, H, W).

        crop = enlarge(coarse),    output = crop + convs((1 - sigmoid(crop)) * features)

    The convolutions are 1x1 to the hidden width, then `depth` of side `kernel_size` with ReLU, then one to K, each
    followed by batch normalisation. With K of 2 or more, class 0 is the background and 1 - sigmoid is its probability.

    Args:
        channels: C, channels of the features.
        hidden_channels: Channels of the convolutions.
        kernel_size: Side of the convolutions in pixels, odd.
        depth: How many convolutions lie between the first and the last.
        out_kernel_size: Side of the last convolution in pixels, odd.
        num_classes: K of the coarse logits and of the output.

    Example:
        >>> ReverseAttention(8, 4)(torch.zeros(2, 8, 6, 4), torch.zeros(2, 1, 3, 2)).shape
        torch.Size([2, 1, 6, 4])

    Reference:
        Fan et al., "PraNet", MICCAI 2020, eq. 1 and 2. Its deepest branch is
        `ReverseAttention(2048, 256, kernel_size=5, depth=3, out_kernel_size=1)`, the other two are
        `ReverseAttention(1024, 64)` and `ReverseAttention(512, 64)`.
        Differs: the paper has one class.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int = 64,
        *,
        kernel_size: int = 3,
        depth: int = 2,
        out_kernel_size: int = 3,
        num_classes: int = 1,
    ) -> None:
        super().__init__()
        layers = _normalised(channels, hidden_channels, 1)
        for _ in range(depth):
            layers += [*_normalised(hidden_channels, hidden_channels, kernel_size), nn.ReLU(inplace=True)]
        self.convs = nn.Sequential(*layers, *_normalised(hidden_channels, num_classes, out_kernel_size))
        self.map = AttentionMap()

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        """Corrected logits: x (N, C, H, W), coarse (N, K, h, w) -> (N, K, H, W)."""
        crop = _enlarge(coarse, x)
        corrected: Tensor = crop + self.convs(x * self.map(1 - foreground(crop)))
        return corrected


class ReverseMap(nn.Module):
    """Where a coarse mask sees nothing: logits (N, K, H, W) -> (N, 1, H, W) in [0, 1].

        R = 1 - p,    p the probability of the foreground

    Example:
        >>> ReverseMap()(torch.zeros(1, 1, 1, 1)).item()
        0.5
    """

    def __init__(self) -> None:
        super().__init__()
        self.map = AttentionMap()

    def forward(self, coarse: Tensor) -> Tensor:
        """Reverse map: (N, K, H, W) -> (N, 1, H, W)."""
        reverse: Tensor = self.map(1 - foreground(coarse))
        return reverse


class BoundaryMap(nn.Module):
    """Where a coarse mask changes or is unsure: logits (N, K, H, W) -> (N, 1, H, W) in [0, 1].

        "sigmoid":  B = 1 - |2 p - 1|,    "pool":  B = |p - mean of p over a square around the pixel|

    with p the probability of the foreground. Beyond the picture's border nothing is averaged.

    Args:
        kind: "sigmoid" or "pool".
        pool_size: Side of the square in pixels, odd.

    Raises:
        ValueError: If `kind` is unknown or `pool_size` is even or below 1.

    Example:
        >>> BoundaryMap("sigmoid")(torch.zeros(1, 1, 1, 1)).item()
        1.0
    """

    def __init__(self, kind: str, pool_size: int = 7) -> None:
        super().__init__()
        require_name("kind", kind, ("pool", "sigmoid"))
        if pool_size < 1 or pool_size % 2 == 0:
            raise ValueError(f"pool_size must be odd and at least 1; got {pool_size}.")
        self.kind, self.pool_size = kind, pool_size
        self.map = AttentionMap()

    def forward(self, coarse: Tensor) -> Tensor:
        """Boundary map: (N, K, H, W) -> (N, 1, H, W)."""
        p = foreground(coarse)
        if self.kind == "sigmoid":
            edge = 1 - (2 * p - 1).abs()
        else:
            around = F.avg_pool2d(p, self.pool_size, 1, self.pool_size // 2, count_include_pad=False)
            edge = (p - around).abs()
        boundary: Tensor = self.map(edge)
        return boundary


class BoundaryReverseAttention(nn.Module):
    """Raises a skip where a coarse mask sees nothing and where it changes: (N, C, H, W) -> the same.

        S = conv1x1(up),    output = convs(skip * (1 + R(S) + B(S)))

    with `ReverseMap` R and `BoundaryMap` B, and two convolutions with batch normalisation and ReLU. S is a mask of its
    own: given to a loss as well (deep supervision), it is taught to be one.

    Args:
        channels: C, channels of the skip.
        up_channels: Channels of the enlarged map from below.
        num_classes: K of the coarse logits S; with 2 or more, class 0 is the background.
        reverse: Whether R takes part.
        boundary: Form of B, "sigmoid" or "pool"; "none" or None leaves it out.
        pool_size: Side of the square of "pool" in pixels, odd.
        kernel_size: Side of the convolutions in pixels, odd.

    Raises:
        ValueError: If `boundary` is unknown or `pool_size` is even or below 1.

    Example:
        >>> attended, coarse = BoundaryReverseAttention(8, 4)(torch.zeros(2, 8, 6, 5), torch.zeros(2, 4, 6, 5))
        >>> attended.shape, coarse.shape
        (torch.Size([2, 8, 6, 5]), torch.Size([2, 1, 6, 5]))

    Reference:
        "Enhanced Skin Lesion Segmentation via Attentive Reverse-Attention U-Net", Symmetry 17(11), 2002, 2025.
        Differs: a reconstruction. The paper embeds boundary and reverse attention in the skips; which formula they
        have is not known to us. R is that of PraNet (Fan et al., MICCAI 2020, eq. 2), the "pool" form of B is the one
        that weighs pixels in PraNet's loss.
    """

    def __init__(
        self,
        channels: int,
        up_channels: int,
        num_classes: int = 1,
        *,
        reverse: bool = True,
        boundary: str | None = "sigmoid",
        pool_size: int = 7,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        boundary = boundary or "none"
        require_name("boundary", boundary, BOUNDARIES)
        self.coarse = nn.Conv2d(up_channels, num_classes, kernel_size=1)
        self.reverse = ReverseMap() if reverse else None
        self.boundary = None if boundary == "none" else BoundaryMap(boundary, pool_size)
        self.convs = ConvBlock(channels, channels, kernel_size=kernel_size)

    def forward(self, skip: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
        """Attended skip and coarse logits: (N, C, H, W), (N, C', H, W) -> (N, C, H, W), (N, K, H, W)."""
        coarse = self.coarse(up)
        weight = torch.ones_like(skip[:, :1])
        for part in (self.reverse, self.boundary):
            if part is not None:
                weight = weight + part(coarse)
        return self.convs(skip * weight), coarse


def foreground(logits: Tensor) -> Tensor:
    """Probability of anything but the background: logits (N, K, H, W) -> (N, 1, H, W).

    With K = 1 the one class is the foreground, else class 0 is the background.

    Example:
        >>> foreground(torch.zeros(1, 4, 1, 1)).item()
        0.75
    """
    return logits.sigmoid() if logits.shape[1] == 1 else 1 - logits.softmax(dim=1)[:, :1]


def _projection(in_channels: int, out_channels: int, norm: bool, *, bias: bool, stride: int = 1) -> nn.Sequential:
    """Convolution that looks at one pixel (of the coarser grid), with normalisation in place of its bias if wanted."""
    conv = nn.Conv2d(in_channels, out_channels, stride, stride, bias=bias and not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels)) if norm else nn.Sequential(conv)


def _normalised(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    """Convolution that keeps the size, followed by batch normalisation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
    return [conv, nn.BatchNorm2d(out_channels)]


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize to the height and width of `like`."""
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
