"""One file per architecture: the file's name is the model's name, its build() makes the network.

The names that begin with smp_ share one file, _smp.py, because their networks are another library's.

A model file holds the paper's bare network. What practice needs around it is in `Segmenter`: normalising, padding to
the network's stride, cropping back, freezing the encoder, and remembering what was built.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from inspect import signature
from pkgutil import iter_modules
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.contract import require_name
from seglab.models import _smp

MIN_SIDE = 32  # the smallest picture every model takes, in pixels
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Segmenter(nn.Module):
    """A network in working clothes: RGB picture (N, 3, H, W) in [0, 1] -> logits (N, K, H, W), any H and W >= 32.

    Its first layer normalises by ImageNet's mean and standard deviation, whether or not the encoder is pretrained, so
    that nobody can forget to. The picture is then padded at the right and the bottom to a multiple of `stride` by
    repeating its border, and the logits are cropped back.

    A deeply supervised network returns a list of logits in training mode, the main one first; so does its Segmenter.

    Attributes:
        net: The bare network.
        name: Name it was built from, "custom" for a network of one's own.
        knobs: Every knob it was built from, as plain JSON values; `weights` is left out, because a trained model no
            longer needs the file it started from.
        num_classes: K.
        stride: Sides of what `net` sees are multiples of this, in pixels.

    Args:
        net: Maps a normalised (N, 3, H, W) to (N, K, H, W). Its attributes `encoder`, `stride` (else 32) and
            `num_classes` (else K of a trial picture) are read.
        name: Name to remember.
        knobs: Knobs to remember; they must survive JSON.

    Example:
        >>> model = Segmenter(nn.Conv2d(3, 5, 1))
        >>> model.num_classes, model(torch.rand(2, 3, 33, 47)).shape
        (5, torch.Size([2, 5, 33, 47]))
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, *, name: str = "custom", knobs: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self.net = net
        self.name = name
        self.knobs: dict[str, object] = json.loads(json.dumps(dict(knobs or {}), default=sorted))
        stride = getattr(net, "stride", None)  # a layer of PyTorch has one too, but of another kind
        self.stride = stride if isinstance(stride, int) else MIN_SIDE
        self.encoder_frozen = False
        # Not in the state dict: they are constants, and a checkpoint must not be able to change them.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        self.num_classes: int = getattr(net, "num_classes", 0) or _trial_classes(net, self.stride)

    @property
    def encoder(self) -> nn.Module:
        """The part of `net` that freezing freezes; empty if the network names none."""
        return getattr(self.net, "encoder", None) or nn.ModuleList()

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits of every pixel.

        Args:
            image: RGB, (N, 3, H, W) floating point in [0, 1], H and W at least 32.

        Returns:
            (N, K, H, W); a list of these from a deeply supervised network in training mode.

        Raises:
            ValueError: If `image` has another shape, is too small or holds integers.
        """
        _check(image)
        height, width = image.shape[-2:]
        x = (image.to(self.mean.dtype) - self.mean) / self.std
        below, right = -height % self.stride, -width % self.stride
        if below or right:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        logits: Tensor | list[Tensor] = self.net(x)
        if isinstance(logits, Tensor):
            return logits[..., :height, :width]
        return [each[..., :height, :width] for each in logits]

    def freeze_encoder(self, frozen: bool) -> None:
        """Stop (or resume) all learning in the encoder, the statistics of its normalisation included.

        Frozen parameters get no gradient, and the frozen encoder stays in evaluation mode even after `train()`.

        Args:
            frozen: Whether the encoder is frozen from now on.

        Raises:
            ValueError: If the network names no encoder and `frozen` is True.
        """
        if frozen and next(self.encoder.parameters(), None) is None:
            raise ValueError(f"net must have an attribute `encoder` to freeze; {type(self.net).__name__} has none.")
        self.encoder_frozen = frozen
        self.encoder.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder_frozen:
            self.encoder.eval()
        return self


def list_models() -> list[str]:
    """Names that `build_model` accepts: the public model files of this folder, and the names of _smp.py.

    Example:
        >>> "unet" in list_models()
        True
    """
    files = [module.name for module in iter_modules(__path__) if not module.name.startswith("_")]
    return sorted([*files, *_smp.ARCHITECTURES])


def knobs_of(name: str) -> dict[str, object]:
    """Knobs of that model with their defaults.

    Args:
        name: One of `list_models()`.

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> knobs_of("unet")["width"]
        64
    """
    require_name("model", name, list_models())
    if name in _smp.ARCHITECTURES:
        return _smp.knobs(name)
    parameters = signature(_builder(name)).parameters
    return {key: knob.default for key, knob in parameters.items() if key != "num_classes"}


def build_model(name: str, num_classes: int, **knobs: object) -> Segmenter:
    """Model described in seglab/models/<name>.py, with fresh weights unless its knob `weights` says otherwise.

    Args:
        name: One of `list_models()`.
        num_classes: K, background included, 1 to 255; 1 is binary.
        knobs: Keyword arguments of that file's `build`; `knobs_of` lists them.

    Returns:
        The wrapped network; it remembers `name` and all knobs.

    Raises:
        ValueError: If the name, a knob or a value is unknown or out of range.
        FileNotFoundError: If `weights` is a file that does not exist.

    Example:
        >>> model = build_model("unet", 2, width=8, cbam="skip")
        >>> model(torch.rand(1, 3, 32, 48)).shape
        torch.Size([1, 2, 32, 48])
    """
    accepted = knobs_of(name)
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or not 1 <= num_classes <= 255:
        raise ValueError(f"num_classes must be an integer from 1 to 255; got {num_classes!r}.")
    for knob in knobs:
        require_name(f"knob of {name}", knob, accepted)
    remembered = {key: value for key, value in (accepted | knobs).items() if key != "weights"}
    return Segmenter(_builder(name)(num_classes, **knobs), name=name, knobs=remembered)


def _builder(name: str) -> Callable[..., nn.Module]:
    """The function that makes the bare network of that name."""
    if name in _smp.ARCHITECTURES:
        return partial(_smp.build, name)
    build: Callable[..., nn.Module] = import_module(f"{__name__}.{name}").build
    return build


def _check(image: Tensor) -> None:
    """Raise a ValueError unless the image is what every model takes."""
    shape = tuple(image.shape)
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"image must be RGB of shape (N, 3, H, W); got {shape}.")
    if min(shape[-2:]) < MIN_SIDE:
        raise ValueError(f"image must be at least {MIN_SIDE} pixels high and wide; got {shape}.")
    if not image.is_floating_point():
        raise ValueError(f"image must be floating point in [0, 1]; got {image.dtype}. Divide it by 255.")


@torch.no_grad()
def _trial_classes(net: nn.Module, stride: int) -> int:
    """K of a network that does not say, read from the logits of a black picture."""
    training = net.training
    logits: Tensor = net.eval()(torch.zeros(1, 3, 2 * stride, 2 * stride))
    net.train(training)
    return logits.shape[1]
