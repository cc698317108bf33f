"""Pretrained encoder weights: from a local file, or from torchvision when asked for by that word."""

import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn


def load_encoder(
    encoder: nn.Module,
    weights: str | PathLike[str],
    architecture: str,
    prefix: str,
    *,
    library: str = "torchvision",
) -> None:
    """Fill an encoder with pretrained weights; nothing is downloaded unless `weights` is "torchvision".

    Args:
        encoder: Filled in place. Its state dict must be that of the library's `architecture`, less `prefix`.
        weights: A state dict (.pth, .pt) or .safetensors file, or "torchvision" for its own ImageNet weights.
        architecture: Name of the network in the library, for example "vgg16".
        prefix: What precedes the encoder's keys in the library's state dict, for example "features.".
        library: Whose network it is; weights of any other than "torchvision" are read from files only.

    Raises:
        FileNotFoundError: If the file does not exist.
        ConnectionError: If torchvision cannot fetch its weights.
        ValueError: If `weights` is no path, or the file cannot be read, lacks a tensor, or holds one of another shape.

    Example:
        >>> load_encoder(torch.nn.Conv2d(1, 1, 1), "nowhere.pth", "vgg16", "features.")
        Traceback (most recent call last):
        FileNotFoundError: weights must be an existing file or "torchvision"; got nowhere.pth.
    """
    fetched = library == "torchvision"
    alternative = ' or "torchvision"' if fetched else ""
    if not isinstance(weights, str | PathLike):
        raise ValueError(f"weights must be a file{alternative}; got {weights!r}.")
    state = _fetch(architecture) if fetched and weights == library else _read(Path(weights), alternative)
    expected = {prefix + key: tensor.shape for key, tensor in encoder.state_dict().items()}
    state = _respelled(state, expected)
    # Counters of normalised batches are younger than some published weights, and nothing here reads them.
    expected = {key: shape for key, shape in expected.items() if key in state or not key.endswith("_tracked")}
    missing = [key for key in expected if not isinstance(state.get(key), Tensor)]
    if missing:
        raise ValueError(
            f"weights {weights} must hold the state dict of {library}'s {architecture}; "
            f"got one without {len(missing)} of the encoder's {len(expected)} tensors, the first {missing[0]}."
        )
    for key, shape in expected.items():
        if state[key].shape != shape:
            raise ValueError(f"weights {weights} must hold {key} as {tuple(shape)}; got {tuple(state[key].shape)}.")
    encoder.load_state_dict({key.removeprefix(prefix): state[key] for key in expected})


def _respelled(state: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The same tensors under the encoder's names and shapes, where they are only written in another way.

    timm's feature extractors say "stages_0" for "stages.0"; and the weights (C_out, C * h * w) of a fully connected
    layer are those of the convolution (C_out, C, h, w) that does the same.
    """
    respelled: dict[str, Tensor] = {}
    for key, tensor in state.items():
        flat = str(key).replace(".", "_", 1)
        name = flat if flat in expected and key not in expected else key
        shape = expected.get(name, torch.Size())
        flattened = isinstance(tensor, Tensor) and len(shape) == 4 and tensor.shape == (shape[0], math.prod(shape[1:]))
        respelled[name] = tensor.reshape(shape) if flattened else tensor
    return respelled


def _read(path: Path, alternative: str) -> dict[str, Tensor]:
    """State dict in a local file; opening it cannot run code."""
    if not path.is_file():
        raise FileNotFoundError(f"weights must be an existing file{alternative}; got {path}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the two readers raise a dozen types between them
        raise ValueError(
            f"weights {path} must be a state dict saved by torch.save or safetensors; got a {type(error).__name__}."
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"weights {path} must be a state dict; got a {type(state).__name__}.")
    return state


def _fetch(architecture: str) -> dict[str, Tensor]:
    """State dict of torchvision's own ImageNet weights, from its cache or the network."""
    from torchvision.models import get_model_weights

    best = get_model_weights(architecture).DEFAULT
    try:
        return dict(best.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConnectionError(
            f"weights of {architecture} could not be fetched from {best.url}: {reason}. "
            "Fetch that file on another machine and pass its path as weights=FILE."
        ) from error
