"""Saving and reading models: one reader and one writer, nothing executable, damage noticed.

A model is a safetensors file whose header says how to rebuild it (a listed model name and its knobs), what it was
trained on, the SHA-256 of its tensors and that of the description itself. The state that resuming needs is a second
file with a hash over all its bytes, read with `weights_only=True`. Both are written to a temporary file, synced and
renamed.
"""

import hashlib
import json
import reprlib
import shutil
import struct
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from seglab.files import atomic, keep
from seglab.models import build_model, list_models
from seglab.sealed import read_sealed, write_sealed

__all__ = [
    "BEST", "BEST_COPY", "Description", "copy_whole", "description_text", "load_into", "load_model", "load_run",
    "load_state", "not_finite", "parse_description", "read_model", "require_fit", "save_model", "save_state",
]  # fmt: skip

FORMAT = "seglab-model-1"
MAX_BYTES = 4 * 2**30
MAX_HEADER = 100 * 10**6  # bytes, the limit of safetensors
BEST, BEST_COPY = "best.safetensors", "best.safetensors.copy"  # in a run folder; equal, so that one may be damaged
MAX_SIZE = 8192  # pixels of a letterbox's side; a wrong size must not exhaust memory
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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


def save_model(
    path: str | Path, model: nn.Module | Mapping[str, Tensor], description: Description, *, half: bool = False
) -> None:
    """Write a model and its description to a .safetensors file, whole or not at all.

    Args:
        path: File to write.
        model: A Segmenter, or its tensors by name.
        description: How to rebuild it and what it is; its sha256 is filled in.
        half: Store floats in half precision (they are read back as float32).

    Raises:
        OSError: If the disk is full or the folder cannot be written; an older file is then still there.
        ValueError: If a weight is not finite, or the description holds what JSON cannot.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "small.safetensors"
        >>> about = Description("unet", {"width": 4}, 1, ("background", "object"), 64)
        >>> save_model(path, build_model("unet", 1, width=4), about)
        >>> load_model(path)[1].size
        64
    """
    path = Path(path)
    named = model.state_dict() if isinstance(model, nn.Module) else model
    tensors = {name: _stored(value, half) for name, value in named.items()}
    bad = not_finite(tensors)
    if bad:
        raise ValueError(f"weights must be finite; got NaN or infinity in {bad}. {path} was not written.")
    header = description_text(replace(description, sha256=_digest(tensors)))
    metadata = {"format": FORMAT, "seglab": header, "seglab_sha256": _text_digest(header)}
    header_bytes, data = _in_order(dump_tensors(tensors, metadata=metadata))
    with atomic(path) as file:
        file.write(header_bytes)
        file.write(data)


def description_text(description: Description) -> str:
    """A description as the JSON that a checkpoint holds.

    Raises:
        ValueError: If the card or the knobs hold what JSON cannot.

    Example:
        >>> description_text(Description("unet", {}, 1, ("background", "object"), 64))[:16]
        '{"model": "unet"'
    """
    try:
        return json.dumps(asdict(description))
    except (TypeError, ValueError) as error:
        raise ValueError(f"card and knobs must hold plain JSON values; got: {_first_line(error)}.") from None


def load_model(path: str | Path) -> tuple[nn.Module, Description]:
    """Rebuild a model from its file, on the CPU, in eval mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, foreign, or does not fit the model it names; one line, naming the file.
    """
    path = Path(path)
    tensors, description = read_model(path)
    if description.model == "custom":
        raise ValueError(
            f"checkpoint {path} holds a network of one's own, which only its author's code can build. "
            "Build it, then fill it with seglab.checkpoint.load_into(path, Segmenter(net))."
        )
    if description.model not in list_models():
        name = reprlib.repr(description.model)
        raise ValueError(f"checkpoint {path} names the model {name}, which this version does not have.")
    if "weights" in description.knobs:  # a checkpoint must not make its reader open other files, or the network
        raise ValueError(f"checkpoint {path} must be complete; got one that asks for other weights.")
    # First without memory, so that a file cannot ask for a model much larger than itself.
    require_fit(_build(description, path, device="meta"), tensors, f"checkpoint {path}")
    model = _build(description, path, device="cpu")
    _fill(model, tensors, path)
    return model.eval(), description


def load_run(folder: str | Path) -> tuple[nn.Module, Description]:
    """The best model of a run folder: from the copy, with a warning, if the file itself is damaged or gone.

    Raises:
        FileNotFoundError: If neither is there.
        ValueError: If both are damaged, or the model cannot be rebuilt.
    """
    best, copy = Path(folder) / BEST, Path(folder) / BEST_COPY
    try:
        return load_model(best)
    except (ValueError, FileNotFoundError) as error:
        try:
            found = load_model(copy)
        except (ValueError, OSError):
            raise error from None
        state = "damaged" if best.exists() else "gone"
        warnings.warn(f"checkpoint {best} is {state}; its copy {copy.name} is whole and is used.", stacklevel=2)
        return found


def copy_whole(source: Path, target: Path) -> None:
    """Copy a model file byte for byte, whole or not at all.

    Raises:
        OSError: If it cannot be written; an older file is then still there.
    """
    with source.open("rb") as file, atomic(target) as copy:
        shutil.copyfileobj(file, copy, 2**20)


def save_state(path: Path, state: Mapping[str, Any], *, previous: Path | None = None) -> None:
    """Write what resuming needs: tensors, numbers, strings, lists and dictionaries of them; whole or not at all.

    Args:
        path: File to write.
        state: What to write.
        previous: What `path` held until now is kept under this name.

    Raises:
        OSError: If the disk is full or the folder cannot be written; an older file is then still there.
    """
    with atomic(path) as file:
        write_sealed(file, state)
        if previous is not None and path.is_file():
            keep(path, previous)  # only now, when the new file is complete


def load_state(path: Path) -> dict[str, Any]:
    """Read a resume state; nothing in the file can run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is cut, has a flipped bit, is packed in another way, or holds objects.
    """
    path = _checked_file(Path(path))
    try:
        state = read_sealed(path)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"training state {path} must be a whole seglab state; got: {_first_line(error)}. "
            "Copy it again, or train anew in another folder."
        ) from None
    if not isinstance(state, dict):
        raise ValueError(f"training state {path} must hold a dictionary; got {type(state).__name__}.")
    return state


def load_into(path: str | Path, model: nn.Module) -> Description:
    """Fill a model of the same build with a checkpoint's weights; nothing is copied unless all fits.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or holds another model's tensors.
    """
    path = Path(path)
    tensors, description = read_model(path)
    _fill(model, tensors, path)
    return description


def require_fit(model: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse tensors that are not this model's by name, shape and kind, before anything is copied.

    Args:
        model: What they are for; may be on the meta device.
        tensors: Tensors by name. Floats may be of another precision.
        what: What holds them, for the message.

    Raises:
        ValueError: With the first difference.

    Example:
        >>> require_fit(nn.Linear(2, 3), nn.Linear(2, 4).state_dict(), "file a")
        Traceback (most recent call last):
        ValueError: file a must hold weight of shape (3, 2); got (4, 2).
    """
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        names = f"missing {missing[:3]}, unknown {extra[:3]}"[:300]
        raise ValueError(f"{what} must hold the model's tensors; {names}.")
    for name, want in wanted.items():
        tensor = tensors[name]
        if tensor.shape != want.shape:
            raise ValueError(f"{what} must hold {name} of shape {tuple(want.shape)}; got {tuple(tensor.shape)}.")
        if tensor.dtype != want.dtype and not (tensor.dtype in FLOATS and want.dtype in FLOATS):
            raise ValueError(f"{what} must hold {name} as {want.dtype}; got {tensor.dtype}.")


def read_model(path: Path) -> tuple[dict[str, Tensor], Description]:
    """Tensors and description of a model file whose hashes are right; nothing is built.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or foreign; one line, naming the file.
    """
    content = _checked_file(path).read_bytes()
    description = _read_description(path, content)
    try:
        tensors: dict[str, Tensor] = load_tensors(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"checkpoint {path} must be a whole safetensors file; got: {_first_line(error)}.") from None
    if _digest(tensors) != description.sha256:
        raise _damaged(path, "its tensors do")
    return tensors, description


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(f"checkpoint {path} is damaged: {what} not match the SHA-256 in its header. Copy it again.")


def _build(description: Description, path: Path, device: str) -> nn.Module:
    """The model that a checkpoint describes, fresh."""
    try:
        with torch.device(device):
            return build_model(description.model, description.num_classes, **description.knobs)
    except Exception as error:  # whatever foreign knobs may cause
        raise ValueError(f"checkpoint {path} describes a model that cannot be built: {_first_line(error)}.") from None


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors strictly, after names, shapes, kinds and values have been checked against the model."""
    require_fit(model, tensors, f"checkpoint {path}")
    tensors = {name: tensors[name].to(want.dtype) for name, want in model.state_dict().items()}
    bad = not_finite(tensors)
    if bad:
        raise ValueError(f"checkpoint {path} must hold finite weights; got NaN or infinity in {bad}.")
    model.load_state_dict(tensors)


def _in_order(content: bytes) -> tuple[bytes, memoryview]:
    """A safetensors file as header and data, its metadata sorted: safetensors writes them in an order of chance."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors stay aligned
    return struct.pack("<Q", len(text)) + text, memoryview(content)[8 + length :]


def _stored(value: Tensor, half: bool) -> Tensor:
    """A tensor as it goes to the file: on the CPU, contiguous, not shared."""
    value = value.detach().cpu()
    return (value.half() if half and value.is_floating_point() else value.clone()).contiguous()


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Name of the first tensor with NaN or infinity, or nothing.

    Example:
        >>> not_finite({"a": torch.zeros(2), "b": torch.tensor([1.0, torch.nan])})
        'b'
    """
    return next((n for n, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()), "")


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, kinds, shapes and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_description(path: Path, content: bytes) -> Description:
    """The header's description, if its hash is right."""
    foreign = f"checkpoint {path} must be a seglab model (.safetensors)"
    metadata = _read_metadata(foreign, content)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{foreign}; got a file without the mark {FORMAT}.")
    # Files from before this second hash have none.
    if metadata.get("seglab_sha256", _text_digest(metadata["seglab"])) != _text_digest(metadata["seglab"]):
        raise _damaged(path, "its description does")
    return parse_description(metadata["seglab"], foreign)


def parse_description(text: str, foreign: str) -> Description:
    """The description in a `description_text`, checked field by field; a ValueError begins with `foreign`."""
    try:
        header = json.loads(text)
        if type(header["classes"]) is not list:
            raise TypeError("its classes are no list")
        description = Description(**header | {"classes": tuple(header["classes"])})
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"{foreign}; its description is incomplete: {_first_line(error)}.") from None
    kinds = {"model": str, "knobs": dict, "num_classes": int, "size": int, "title": str, "card": dict, "sha256": str}
    wrong = [name for name, kind in kinds.items() if type(getattr(description, name)) is not kind]
    if wrong:
        raise ValueError(f"{foreign}; its description has a wrong {wrong[0]}.")
    if not 1 <= description.num_classes <= 255 or not 32 <= description.size <= MAX_SIZE:
        raise ValueError(f"{foreign}; its description has a wrong number of classes or size.")
    if not all(isinstance(name, str) for name in description.classes):
        raise ValueError(f"{foreign}; its class names must be text.")
    if len(description.classes) != max(2, description.num_classes):
        raise ValueError(f"{foreign}; its class names are not as many as its classes.")
    return description


def _read_metadata(foreign: str, content: bytes) -> dict[str, str]:
    """The texts in a safetensors header."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        if length > min(MAX_HEADER, len(content)):
            raise ValueError
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{foreign}; got another kind of file, or a cut one.") from None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("seglab", ""), str):
        raise ValueError(f"{foreign}; got a file whose header is not seglab's.")
    if metadata.get("format") == FORMAT and metadata.keys() - {"format", "seglab", "seglab_sha256"}:
        raise ValueError(f"{foreign}; got a header with other entries than seglab writes. Copy the file again.")
    return {"seglab": ""} | metadata


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


def _first_line(error: BaseException) -> str:
    """First line of an error's text, without the full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
