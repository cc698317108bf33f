"""DeepLabv3+: a dilated ResNet, its deepest map seen at several distances at once, and a fine map to sharpen borders.

The deepest map, at a 16th of the picture's size, passes side by side through a 1x1 convolution, three separable 3x3
convolutions of growing dilation, and an average over the whole map. The five results are joined, enlarged by four,
joined with the encoder's map at a quarter of the size, and enlarged by four again. The network is that of
segmentation-models-pytorch; "smp_deeplabv3plus" is the same with all of that library's knobs.

Reference:
    L.-C. Chen, Y. Zhu, G. Papandreou, F. Schroff and H. Adam, "Encoder-Decoder with Atrous Separable Convolution for
    Semantic Image Segmentation", ECCV 2018, fig. 2.
    Differs: the paper's best encoder is a modified Xception; here it is a ResNet, the paper's other one. Of the two
    3x3 convolutions of the paper's decoder, the library has one before the maps are joined and one after. Public code
    that has plain convolutions where the paper has separable ones is another layout and larger: 39,756,962 parameters
    at two classes with a ResNet-50 and 58,749,090 with a ResNet-101, against 26.7 and 45.7 million here.
"""

from os import PathLike

from torch import nn

from seglab.models import _smp

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # output stride: dilations of the three convolutions, as published


def build(
    num_classes: int,
    *,
    encoder: str = "resnet50",
    output_stride: int = 16,
    weights: str | PathLike[str] | None = None,
) -> nn.Module:
    """DeepLabv3+ with 26.7 million parameters on a ResNet-50, 45.7 million on a ResNet-101.

    Args:
        num_classes: K, at least 1.
        encoder: "resnet50", "resnet101", or another encoder of segmentation-models-pytorch that can be dilated.
        output_stride: How many pixels of the picture the deepest map's pixels are apart: 16, or 8 for finer maps at
            about three times the work.
        weights: Encoder weights: a state dict file of torchvision's network of that name (.pth or .safetensors),
            "torchvision" to fetch its ImageNet weights, or None for fresh ones.

    Returns:
        The bare network; `seglab.build_model` wraps it.

    Raises:
        ValueError: If the encoder or the stride is unknown or the file holds other weights.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If torchvision cannot fetch its weights.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # counts without memory
        ...     sum(p.numel() for p in build(1).parameters())
        26677585
    """
    if output_stride not in RATES:
        raise ValueError(f"output_stride must be 8 or 16; got {output_stride!r}.")
    return _smp.build(
        "smp_deeplabv3plus",
        num_classes,
        encoder=encoder,
        weights=weights,
        encoder_output_stride=output_stride,
        decoder_atrous_rates=RATES[output_stride],
    )
