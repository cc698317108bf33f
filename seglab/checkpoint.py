"""Saving and reading models: one reader and one writer, nothing executable, damage noticed.

A model is a safetensors file whose header says how to rebuild it (a listed model name and its knobs), what it was
trained on, and the SHA-256 of its tensors. The state that resuming needs is a second file, read with
`weights_only=True`. Both are written to a temporary file, synced and renamed.
"""

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from seglab.files import atomic, disk_error
from seglab.models import build_model, list_models

__all__ = ["Description", "load_into", "load_model", "load_state", "save_model", "save_state"]

FORMAT = "seglab-model-1"
MAX_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Description:
    """What a checkpoint says of itself."""

    model: str  # a name of list_models()
    knobs: dict[str, Any]
    num_classes: int
    classes: tuple[str, ...]
    size: int  # side of the letterbox in pixels
    title: str = ""
    card: dict[str, Any] = field(default_factory=dict)  # data, split hash, command, versions, epochs, scores, limits
    sha256: str = ""  # of the tensors; written by save_model, checked by load_model


def save_model(path: Path, model: nn.Module, description: Description, *, half: bool = False) -> None:
    """Write a model and its description to a .safetensors file, whole or not at all.

    Args:
        path: File to write.
        model: A Segmenter; its tensors are saved.
        description: How to rebuild it and what it is; its sha256 is filled in.
        half: Store floats in half precision (they are read back as float32).

    Raises:
        OSError: If the disk is full or the folder cannot be written; an older file is then still there.
        ValueError: If a value is not finite.
    """
    tensors = {name: _stored(value, half) for name, value in model.state_dict().items()}
    bad = _not_finite(tensors)
    if bad:
        raise ValueError(f"weights must be finite; got NaN or infinity in {bad}. {path} was not written.")
    header = asdict(description) | {"sha256": _digest(tensors)}
    content = dump_tensors(tensors, metadata={"format": FORMAT, "seglab": json.dumps(header)})
    _write(Path(path), content)


def load_model(path: str | Path) -> tuple[nn.Module, Description]:
    """Rebuild a model from its file, on the CPU, in eval mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, foreign, or does not fit the model it names; one line, naming the file.
    """
    path = _checked_file(Path(path))
    tensors, description = _read(path)
    if description.model not in list_models():
        raise ValueError(f"checkpoint {path} names the model {description.model!r}, which this version does not have.")
    try:
        model = build_model(description.model, description.num_classes, **description.knobs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"checkpoint {path} describes a model that cannot be built: {error}") from None
    _fill(model, tensors, path)
    return model.eval(), description


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write what resuming needs: tensors, numbers, strings, lists and dictionaries of them; whole or not at all."""
    path = Path(path)
    try:
        with atomic(path) as file:
            torch.save(dict(state), file)
    except (OSError, RuntimeError) as error:
        raise _explain(path, error) from error


def load_state(path: Path) -> dict[str, Any]:
    """Read a resume state; nothing in the file can run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is cut, has a flipped bit, is packed in another way, or holds objects.
    """
    path = _checked_file(Path(path))
    try:
        _check_zip(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"training state {path} must be a whole seglab state; got: {_first_line(error)}.") from None
    if not isinstance(state, dict):
        raise ValueError(f"training state {path} must hold a dictionary; got {type(state).__name__}.")
    return state


def load_into(path: str | Path, model: nn.Module) -> Description:
    """Fill a model of the same build with a checkpoint's weights; nothing is copied unless all fits.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or holds another model's tensors.
    """
    path = _checked_file(Path(path))
    tensors, description = _read(path)
    _fill(model, tensors, path)
    return description


def _read(path: Path) -> tuple[dict[str, Tensor], Description]:
    """Tensors and description of a checkpoint whose hash is right."""
    content = path.read_bytes()
    description = _read_description(path, content)
    try:
        tensors: dict[str, Tensor] = load_tensors(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"checkpoint {path} must be a whole safetensors file; got: {error}.") from None
    if _digest(tensors) != description.sha256:
        raise ValueError(f"checkpoint {path} is damaged: its tensors do not match the SHA-256 in its header. Copy it again.")
    return tensors, description


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors strictly, after names, shapes, kinds and values have been checked against the model."""
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        raise ValueError(f"checkpoint {path} must hold the model's tensors; missing {missing[:3]}, unknown {extra[:3]}.")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            got, want = tuple(tensor.shape), tuple(wanted[name].shape)
            raise ValueError(f"checkpoint {path} must hold {name} of shape {want}; got {got}.")
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise ValueError(f"checkpoint {path} must hold {name} as {wanted[name].dtype}; got {tensor.dtype}.")
    bad = _not_finite(tensors)
    if bad:
        raise ValueError(f"checkpoint {path} must hold finite weights; got NaN or infinity in {bad}.")
    model.load_state_dict(tensors)


def _stored(value: Tensor, half: bool) -> Tensor:
    """A tensor as it goes to the file: on the CPU, contiguous, not shared."""
    value = value.detach().cpu()
    return (value.half() if half and value.is_floating_point() else value.clone()).contiguous()


def _not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Name of the first tensor with NaN or infinity, or nothing."""
    return next((n for n, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()), "")


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, kinds, shapes and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def _read_description(path: Path, content: bytes) -> Description:
    """The header's description, checked field by field."""
    foreign = f"checkpoint {path} must be a seglab model (.safetensors)"
    try:
        (length,) = struct.unpack("<Q", content[:8])
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{foreign}; got a file without the mark {FORMAT}.")
        header = json.loads(metadata["seglab"])
        description = Description(**header | {"classes": tuple(header["classes"])})
    except (struct.error, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError(f"{foreign}; got another kind of file, or a cut one.") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{foreign}; its description is incomplete: {_first_line(error)}.") from None
    kinds = {"model": str, "knobs": dict, "num_classes": int, "size": int, "title": str, "card": dict, "sha256": str}
    wrong = [name for name, kind in kinds.items() if type(getattr(description, name)) is not kind]
    if wrong or description.num_classes < 1 or description.size < 32:
        raise ValueError(f"{foreign}; its description has a wrong {wrong[0] if wrong else 'number of classes or size'}.")
    if not all(isinstance(name, str) for name in description.classes):
        raise ValueError(f"{foreign}; its class names must be text.")
    return description


def _checked_file(path: Path) -> Path:
    """The path, if it is a regular file of a sensible size."""
    if not path.exists():
        raise FileNotFoundError(f"checkpoint {path} must exist; got no file of that name.")
    if not path.is_file():
        raise ValueError(f"checkpoint {path} must be a file; got a folder or device.")
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"checkpoint {path} is empty (0 bytes). Copy it again.")
    if size > MAX_BYTES:
        raise ValueError(f"checkpoint {path} must be smaller than {MAX_BYTES >> 30} GiB; got {size / 2**30:.1f} GiB.")
    return path


def _check_zip(path: Path) -> None:
    """Find what torch.load does not look for: flipped bits, and entries that unpack to more than the file holds."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which seglab never writes")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries claim more bytes than the file has")
        broken = archive.testzip()
        if broken:
            raise ValueError(f"the checksum of {broken} does not match")


def _write(path: Path, content: bytes) -> None:
    """Write bytes atomically, with a message that says what is still there if it fails."""
    try:
        with atomic(path) as file:
            file.write(content)
    except OSError as error:
        raise _explain(path, error) from error


def _explain(path: Path, error: BaseException) -> OSError:
    """The reason a save failed, in words, with what to do."""
    cause = disk_error(error)
    reason = os.strerror(cause.errno) if cause is not None and cause.errno else _first_line(error)
    kept = " The older file of that name is intact." if path.exists() else ""
    return OSError(f"{path} could not be written: {reason}. Free some space or choose another folder.{kept}")


def _first_line(error: BaseException) -> str:
    """First line of an error's text, without the full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
