"""Pretrained weights of the hybrid vision transformer, from the archive its authors published (.npz)."""

from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seglab.models._r50_vit import GRID, MapTransformer, R50ViT, TransformerLayer

Array = np.ndarray
Arrange = Callable[..., Array]
Entry = tuple[Tensor, tuple[str, ...], Arrange]  # what to fill, from which arrays, put together how


def load_r50_vit(encoder: R50ViT, weights: str | PathLike[str]) -> None:
    """Fill the encoder with the published ImageNet-21k weights "R50+ViT-B_16.npz"; nothing is downloaded.

    The class token, the position of that token and the classifier of the archive are left out. The encoder stays as
    it was if anything is wrong with the file.

    Args:
        encoder: Filled in place.
        weights: A local .npz file; opening it cannot run code.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If `weights` is no path, or the file cannot be read, lacks an array, or holds one of another shape.

    Example:
        >>> load_r50_vit(R50ViT(8, hidden=8, layers=1, heads=1, dropout=0), "nowhere.npz")
        Traceback (most recent call last):
        FileNotFoundError: weights must be an existing .npz file; got nowhere.npz.
    """
    if not isinstance(weights, str | PathLike):
        raise ValueError(f"weights must be a .npz file; got {weights!r}.")
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"weights must be an existing .npz file; got {path}.")
    entries = list(_entries(encoder))
    arrays = _read(path, [name for _, names, _ in entries for name in names])
    values = [_arranged(path, entry, arrays) for entry in entries]
    with torch.no_grad():
        for (tensor, _, _), value in zip(entries, values, strict=True):
            tensor.copy_(torch.from_numpy(value))


def _read(path: Path, names: list[str]) -> dict[str, Array]:
    """The named arrays of the archive."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive]
            arrays = {name: np.asarray(archive[name], dtype=np.float32) for name in names if name in archive}
    except Exception as error:  # the reader raises half a dozen types
        raise ValueError(f"weights {path} must be a .npz archive of arrays; got a {type(error).__name__}.") from error
    if missing:
        raise ValueError(
            f"weights {path} must hold the R50+ViT-B_16 of its authors; "
            f"got an archive without {len(missing)} of its {len(names)} arrays, the first {missing[0]}."
        )
    return arrays


def _arranged(path: Path, entry: Entry, arrays: dict[str, Array]) -> Array:
    """The values of one tensor, in our order of dimensions."""
    tensor, names, arrange = entry
    shapes = ", ".join(str(arrays[name].shape) for name in names)
    try:
        value = np.ascontiguousarray(arrange(*(arrays[name] for name in names)))
    except ValueError:  # it has not even the right number of dimensions
        value = np.empty(0)
    if value.shape != tuple(tensor.shape):
        raise ValueError(f"weights {path} must hold {names[0]} for {tuple(tensor.shape)}; got {shapes}.")
    return value


def _entries(encoder: R50ViT) -> Iterator[Entry]:
    """Every parameter of the encoder and where its values are."""
    yield encoder.conv_root.weight, ("conv_root/kernel",), _convolution
    yield from _normalised(encoder.gn_root, "gn_root")
    for number, stage in enumerate(encoder.stages, start=1):
        assert isinstance(stage, torch.nn.Sequential)
        for position, unit in enumerate(stage, start=1):
            for part, module in unit.named_children():
                name = f"block{number}/unit{position}/{part}"
                if part.startswith("conv"):
                    assert isinstance(module.weight, Tensor)
                    yield module.weight, (f"{name}/kernel",), _convolution
                else:
                    yield from _normalised(module, name)
    yield from _transformer_entries(encoder.transformer)


def _transformer_entries(transformer: MapTransformer) -> Iterator[Entry]:
    """Every parameter of the transformer and where its values are."""
    assert transformer.embedding.bias is not None
    yield transformer.embedding.weight, ("embedding/kernel",), _convolution
    yield transformer.embedding.bias, ("embedding/bias",), np.ravel
    yield transformer.position, ("Transformer/posembed_input/pos_embedding",), _position
    yield from _normalised(transformer.norm, "Transformer/encoder_norm")
    for number, layer in enumerate(transformer.layers):
        assert isinstance(layer, TransformerLayer)
        name = f"Transformer/encoderblock_{number}"
        attention = f"{name}/MultiHeadDotProductAttention_1"
        heads = [f"{attention}/{part}" for part in ("query", "key", "value")]
        yield from _normalised(layer.norm1, f"{name}/LayerNorm_0")
        yield from _normalised(layer.norm2, f"{name}/LayerNorm_2")
        yield layer.qkv.weight, tuple(f"{part}/kernel" for part in heads), _to_heads
        yield layer.qkv.bias, tuple(f"{part}/bias" for part in heads), _joined
        yield layer.out.weight, (f"{attention}/out/kernel",), _from_heads
        yield layer.out.bias, (f"{attention}/out/bias",), np.ravel
        for dense, part in ((layer.dense1, "Dense_0"), (layer.dense2, "Dense_1")):
            yield dense.weight, (f"{name}/MlpBlock_3/{part}/kernel",), np.transpose
            yield dense.bias, (f"{name}/MlpBlock_3/{part}/bias",), np.ravel


def _normalised(module: torch.nn.Module, name: str) -> Iterator[Entry]:
    """The scale and the shift of a normalisation."""
    assert isinstance(module.weight, Tensor)
    assert isinstance(module.bias, Tensor)
    yield module.weight, (f"{name}/scale",), np.ravel
    yield module.bias, (f"{name}/bias",), np.ravel


def _convolution(kernel: Array) -> Array:
    """(height, width, in, out) -> (out, in, height, width)."""
    return kernel.transpose(3, 2, 0, 1)


def _position(table: Array) -> Array:
    """(1, 1 + GRID * GRID, C), the class token first -> (1, C, GRID, GRID)."""
    if table.ndim != 3 or table.shape[:2] != (1, 1 + GRID * GRID):
        raise ValueError
    return table[:, 1:].reshape(1, GRID, GRID, -1).transpose(0, 3, 1, 2)


def _to_heads(*kernels: Array) -> Array:
    """Query, key and value, each (in, heads, out / heads) -> (3 out, in)."""
    return np.concatenate([kernel.reshape(len(kernel), -1).T for kernel in kernels])


def _joined(*biases: Array) -> Array:
    """Query, key and value, each (heads, out / heads) -> (3 out,)."""
    return np.concatenate([bias.ravel() for bias in biases])


def _from_heads(kernel: Array) -> Array:
    """(heads, in / heads, out) -> (out, in)."""
    return kernel.reshape(-1, kernel.shape[-1]).T
