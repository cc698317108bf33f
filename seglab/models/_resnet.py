"""ResNet as an encoder: torchvision's layers under torchvision's names, and narrower where asked."""

from collections.abc import Sequence

from torch import Tensor, nn

from seglab.contract import require_name

DEPTHS = {  # blocks per stage
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}


class ResNetEncoder(nn.Module):
    """The five stages of a ResNet: (N, 3, H, W) -> maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of its size.

    Its state dict is that of torchvision's network of the same name, less the classifier `fc`.

    Attributes:
        channels: Channels of the five maps, finest first.

    Args:
        name: One of `DEPTHS`.
        width: Channels of the first stage, 64 as published; all others keep their ratio to it.

    Raises:
        ValueError: If `name` is unknown.

    Example:
        >>> ResNetEncoder("resnet50", 8).channels
        (8, 32, 64, 128, 256)

    Reference:
        K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1.
        Differs: a deep block that halves the size does so in its 3x3 convolution, as torchvision's.
    """

    def __init__(self, name: str, width: int = 64) -> None:
        super().__init__()
        require_name("encoder", name, DEPTHS)
        from torchvision.models.resnet import BasicBlock, Bottleneck

        block = BasicBlock if name in ("resnet18", "resnet34") else Bottleneck
        self.channels = (width, *(width * block.expansion * 2**stage for stage in range(4)))
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        for stage, depth in enumerate(DEPTHS[name]):
            before, after, stride = self.channels[stage], self.channels[stage + 1], 1 if stage == 0 else 2
            shortcut = None
            if stride > 1 or before != after:
                shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
            planes = width * 2**stage
            blocks = [block(before, planes, stride, shortcut), *(block(after, planes) for _ in range(depth - 1))]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, attend: Sequence[nn.Module] | nn.ModuleList) -> list[Tensor]:
        """Maps of all stages, finest first, each passed through its own of five modules `attend` on the way."""
        x = attend[0](self.relu(self.bn1(self.conv1(x))))
        features = [x]
        for stage in range(1, 5):
            x = attend[stage](self.get_submodule(f"layer{stage}")(self.maxpool(x) if stage == 1 else x))
            features.append(x)
        return features
