"""Every architecture of segmentation-models-pytorch, with any of its encoders: the models whose names begin with smp_.

    build_model("smp_fpn", 1)                                                   FPN on a ResNet-34
    build_model("smp_unet", 2, encoder="resnet50", decoder_attention_type="scse")
    build_model("smp_segformer", 2, encoder="mit_b0", weights="mit_b0.safetensors")
    build_model("smp_unet", 1, encoder="tu-resnetv2_50")                        tu-NAME is timm's NAME

The networks are the library's own, and so are their state dicts. Their knobs are `encoder`, `weights`, and what else
the class of the library takes, under the names it has there.

Reference:
    P. Iakubovskii, "Segmentation Models Pytorch", github.com/qubvel-org/segmentation_models.pytorch, 2019. The papers:
    Ronneberger 2015 (U-Net), Zhou 2018 (U-Net++), Fan 2020 (MA-Net), Chaurasia 2017 (LinkNet), Kirillov 2017 (FPN),
    Zhao 2017 (PSPNet), Li 2018 (PAN), Chen 2017 (DeepLabv3), Chen 2018 (DeepLabv3+), Xiao 2018 (UPerNet), Xie 2021
    (SegFormer), Ranftl 2021 (DPT).
    Differs: nothing is downloaded unless asked for, while the library fetches ImageNet weights by default. Pictures
    are normalised by ImageNet's mean and standard deviation whatever the encoder was trained with. The last
    up-sampling is chosen so that the logits are as large as the picture at every `encoder_depth`. PAN pools its
    deepest map three times, so its pictures are padded to multiples of 128 or 256. DPT takes only transformers that
    accept any size of picture and whose patches are 16 or 32 pixels wide.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from difflib import get_close_matches
from inspect import signature
from os import PathLike
from typing import Any, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from seglab.models._weights import load_encoder

ARCHITECTURES = {  # by the model's name; a test compares them with the library's own list
    "smp_deeplabv3": "DeepLabV3",
    "smp_deeplabv3plus": "DeepLabV3Plus",
    "smp_dpt": "DPT",
    "smp_fpn": "FPN",
    "smp_linknet": "Linknet",
    "smp_manet": "MAnet",
    "smp_pan": "PAN",
    "smp_pspnet": "PSPNet",
    "smp_segformer": "Segformer",
    "smp_unet": "Unet",
    "smp_unetplusplus": "UnetPlusPlus",
    "smp_upernet": "UPerNet",
}
OURS = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params", "upsampling", "kwargs")
FIXED = {"smp_dpt": {"dynamic_img_size": True, "num_classes": 0}}  # any size of picture, no classifier
PATCHES = (16, 32)  # with others the logits of a DPT are not as large as the picture


def knobs(name: str) -> dict[str, object]:
    """Knobs of `build` for that architecture with their defaults.

    Example:
        >>> knobs("smp_linknet")
        {'encoder': 'resnet34', 'weights': None, 'encoder_depth': 5, 'decoder_use_norm': 'batchnorm'}
    """
    encoder = "tu-vit_base_patch16_224" if name == "smp_dpt" else "resnet34"
    parameters = signature(_architecture(name)).parameters
    own = {key: parameter.default for key, parameter in parameters.items() if key not in OURS}
    return {"encoder": encoder, "weights": None, **own}


def build(
    name: str,
    num_classes: int,
    *,
    encoder: str | None = None,
    weights: str | PathLike[str] | None = None,
    **options: object,
) -> nn.Module:
    """Network of segmentation-models-pytorch, as that library builds it.

    Args:
        name: One of `ARCHITECTURES`.
        num_classes: K, at least 1.
        encoder: Name of an encoder of the library, or "tu-" and the name of one of timm's networks; None takes the
            architecture's own default.
        weights: Encoder weights: a state dict file in the format of torchvision, timm or the library, whichever has
            the encoder; "torchvision" to fetch torchvision's; None for fresh ones.
        options: The other `knobs` of that architecture.

    Returns:
        The bare network: normalised picture (N, 3, H, W), sides multiples of its `stride` -> logits (N, K, H, W).

    Raises:
        ValueError: If the encoder is unknown, the architecture cannot use it, or the file holds other weights.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If torchvision cannot fetch its weights.

    Example:
        >>> with torch.device("meta"):  # counts without memory
        ...     sum(p.numel() for p in build("smp_unet", 1, encoder="tu-resnetv2_50").parameters())
        32509329
    """
    accepted = knobs(name)
    encoder = str(accepted["encoder"] if encoder is None else encoder)
    _require_encoder(encoder)
    net = _built(name, num_classes, encoder, {**_upsampling(name, {**accepted, **options}), **options})
    stride = int(net.encoder.output_stride)
    if name == "smp_dpt" and stride not in PATCHES:
        raise ValueError(f"encoder of smp_dpt must have patches of 16 or 32 pixels; got {encoder!r} with {stride}.")
    # PAN halves its deepest map three times more; DPT halves its map of patches once.
    net.stride = stride * {"smp_pan": 8, "smp_dpt": 2}.get(name, 1)
    net.num_classes = num_classes
    if weights is not None:
        _load(net.encoder, encoder, weights)
    return cast(nn.Module, net)


def _architecture(name: str) -> Any:
    """The library's class."""
    import segmentation_models_pytorch as smp

    return getattr(smp, ARCHITECTURES[name])


def _built(name: str, num_classes: int, encoder: str, options: Mapping[str, object]) -> Any:
    """The library's network, or one line that says why there is none."""
    numbers = _NumbersStayNumbers() if encoder.startswith("mit_") else nullcontext()
    try:
        with numbers:
            return _architecture(name)(
                encoder, encoder_weights=None, classes=num_classes, **FIXED.get(name, {}), **options
            )
    except Exception as error:  # the library and timm raise whatever comes first
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        given = ", ".join([f"encoder={encoder!r}", *(f"{key}={value!r}" for key, value in options.items())])
        raise ValueError(f"knobs of {name} must fit together; got {given}: {reason}") from error


def _upsampling(name: str, options: Mapping[str, object]) -> dict[str, object]:
    """The last up-sampling of the architectures that leave it to the caller and do not adapt it to their depth."""
    depth = options.get("encoder_depth")
    if not isinstance(depth, int) or name not in ("smp_fpn", "smp_pspnet"):
        return {}
    return {"upsampling": 2 ** (depth if name == "smp_pspnet" else max(0, depth - 3))}


def _require_encoder(encoder: str) -> None:
    """Raise a ValueError unless the library or timm has that encoder; a name cannot ask for a download."""
    import timm
    from segmentation_models_pytorch.encoders import get_encoder_names

    own = [each for each in get_encoder_names() if not each.startswith("timm-")]  # deprecated there, each has a tu-
    universal = [f"tu-{each}" for each in timm.list_models()]
    if encoder in own or encoder in universal:
        return
    close = [f"tu-{encoder}"] if f"tu-{encoder}" in universal else []
    close = close or get_close_matches(encoder, universal if encoder.startswith("tu-") else own, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"encoder must be one of the {len(own)} of segmentation-models-pytorch, or tu- and one of timm's "
        f"{len(universal)} names; got {encoder!r}.{hint}"
    )


def _load(net: nn.Module, encoder: str, weights: str | PathLike[str]) -> None:
    """Fill the encoder from a file in the format of the library that has it."""
    from torchvision.models import list_models

    if encoder.startswith("tu-"):
        model = net.get_submodule("model")  # timm's network inside the library's encoder
        load_encoder(model, weights, encoder.removeprefix("tu-"), "", library="timm")
    elif encoder in list_models():
        load_encoder(net, weights, encoder, "")
    else:
        load_encoder(net, weights, encoder, "", library="segmentation-models-pytorch")


class _NumbersStayNumbers(TorchFunctionMode):
    """Keeps `torch.linspace` on the CPU: mix transformers read numbers from it, which the meta device does not have."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        on_cpu = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**(kwargs or {}), **on_cpu})
