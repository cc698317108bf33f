"""Batch norm folded into the convolution before it: the same function, one pass over memory less."""

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

__all__ = ["fold"]

Convolution = nn.Conv2d | nn.ConvTranspose2d


class _Uses(TorchFunctionMode):
    """Count how many functions take each tensor; tensors are kept, so that no two share an id."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[int] = Counter()
        self.kept: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") not in ("__get__", "dim", "size"):  # reading a shape is no use
            for one in torch.utils._pytree.tree_leaves((args, dict(kwargs or {}))):
                if isinstance(one, Tensor):
                    self.counts[id(one)] += 1
                    self.kept.append(one)
        return func(*args, **(kwargs or {}))


def fold(model: nn.Module, picture: Tensor) -> tuple[nn.Module, int]:
    """A copy of a model for inference, each batch norm folded into the convolution whose output only it takes.

    The layers are found by running the model once, so the network may be written in any way. What cannot be folded is
    left as it is: a layer that runs twice, a convolution whose output something else takes too.

    Args:
        model: In eval mode.
        picture: (1, 3, H, W) that the model takes.

    Returns:
        The copy, and how many batch norms were folded.

    Reference:
        B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
        Inference", CVPR 2018, sec. 3.2.
    """
    copy = deepcopy(model).eval()
    pairs = _pairs(copy, picture)
    places = {id(module): (parent, name) for parent in copy.modules() for name, module in parent.named_children()}
    for convolution, norm in pairs:
        _absorb(convolution, norm)
        parent, name = places[id(norm)]
        setattr(parent, name, nn.Identity())
    return copy.requires_grad_(False), len(pairs)


def _pairs(model: nn.Module, picture: Tensor) -> list[tuple[Convolution, nn.BatchNorm2d]]:
    """Convolutions and the batch norms that alone take their output, each called once."""
    made: dict[int, Convolution] = {}
    met: list[tuple[nn.BatchNorm2d, int]] = []
    calls: Counter[int] = Counter()
    hooks = []

    def after(module: nn.Module, _inputs: Any, output: Any) -> None:
        calls[id(module)] += 1
        if isinstance(module, Convolution):
            made[id(output)] = module

    def before(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, nn.BatchNorm2d):
            met.append((module, id(inputs[0])))

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)):
            hooks += [module.register_forward_hook(after), module.register_forward_pre_hook(before)]
    try:
        with _Uses() as uses, torch.no_grad():
            model(picture)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (made[source], norm)
        for norm, source in met
        if source in made
        and uses.counts[source] == 1
        and calls[id(norm)] == calls[id(made[source])] == 1
        and _can_absorb(made[source], norm)
    ]


def _can_absorb(convolution: Convolution, norm: nn.BatchNorm2d) -> bool:
    """Whether the arithmetic holds: fixed statistics, and no groups the other way round."""
    grouped = isinstance(convolution, nn.ConvTranspose2d) and convolution.groups > 1
    return norm.running_mean is not None and not norm.training and not grouped


def _absorb(convolution: Convolution, norm: nn.BatchNorm2d) -> None:
    """Put the scale and the offset of a batch norm into the convolution, computed in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    kind = convolution.weight.dtype
    numbers = [None if one is None else one.double() for one in (convolution.weight, convolution.bias)]
    facts = [None if one is None else one.double() for one in (norm.running_mean, norm.running_var)]
    scale = [None if one is None else one.double() for one in (norm.weight, norm.bias)]
    weight, bias = fuse_conv_bn_weights(
        numbers[0], numbers[1], facts[0], facts[1], norm.eps, scale[0], scale[1],  # type: ignore[arg-type]
        transpose=isinstance(convolution, nn.ConvTranspose2d),
    )  # fmt: skip
    convolution.weight, convolution.bias = nn.Parameter(weight.to(kind)), nn.Parameter(bias.to(kind))
