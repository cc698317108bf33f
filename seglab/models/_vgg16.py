"""VGG16's convolutions, numbered as torchvision numbers them: the encoder of more than one model.

Reference:
    K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
    configuration D.
"""

from torch import nn

STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # (channels over those of the first stage, convolutions)


def vgg16_layers(width: int = 64, *, norm: bool = False, indices: bool = False) -> list[nn.Module]:
    """Layers of VGG16 up to its last pooling; the index of a layer is its name in torchvision's `features`.

    Args:
        width: Channels of the first stage, 64 as published.
        norm: Whether each convolution is followed by batch normalisation, as in torchvision's vgg16_bn.
        indices: Whether each pooling also returns where its maxima were.

    Returns:
        Thirteen convolutions with what follows each, and five poolings, one after each stage.

    Example:
        >>> [len(vgg16_layers(norm=norm)) for norm in (False, True)]
        [31, 44]
    """
    layers: list[nn.Module] = []
    channels = 3
    for factor, convolutions in STAGES:
        for _ in range(convolutions):
            layers.append(nn.Conv2d(channels, factor * width, 3, padding=1))
            layers += [nn.BatchNorm2d(factor * width)] if norm else []
            layers.append(nn.ReLU(inplace=True))
            channels = factor * width
        layers.append(nn.MaxPool2d(2, return_indices=indices))
    return layers


def he_initialise(module: nn.Module) -> None:
    """Draw the weights of a convolution so that ReLU keeps their variance; without a bias, as in attention, keep them.

    Example:
        >>> layers = nn.Sequential(*vgg16_layers(4)).apply(he_initialise)
        >>> layers[0].bias.abs().sum().item()
        0.0

    Reference:
        K. He et al., "Delving Deep into Rectifiers", ICCV 2015, eq. 14.
    """
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(module.bias)
