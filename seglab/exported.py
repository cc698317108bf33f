"""A model in an ONNX file of `seglab.export`: checked as strictly as a checkpoint, and called like a network.

Such a file is an ordinary ONNX model (normalising inside) followed by metadata: the description that a checkpoint
has, and SHA-256 hashes of both. ONNX Runtime runs it on the CPU.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seglab.checkpoint import Description, description_text, parse_description

__all__ = ["ExportedNet", "first_line", "load_exported", "read_exported", "require_layers", "require_onnx", "sealed"]

FORMAT = "seglab-onnx-1"
MAX_BYTES = 2**31 - 1  # of one protocol buffer
KEYS = {"format", "seglab", "seglab_sha256", "graph_bytes", "graph_sha256"}


class ExportedNet(nn.Module):
    """The network in an ONNX file, called as a Segmenter is: (N, 3, H, W) in [0, 1] to logits (N, K, H, W).

    It has no layers to look into, no parameters and no gradients. Several threads may call it. `int8` says whether
    it is a file of `seglab.quantised`.

    Args:
        content: The ONNX file.
        description: What the file says of itself.

    Raises:
        ImportError: If onnxruntime is not installed.
        ValueError: If ONNX Runtime refuses the file, or its input or output is not a model's.
    """

    def __init__(self, content: bytes, description: Description) -> None:
        super().__init__()
        self.content, self.session = content, _session(content)
        self.name, self.num_classes, self.size = description.model, description.num_classes, description.size
        self.int8 = "int8" in description.card
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not _is_picture(inputs[0].shape, self.size):
            got = [(one.type, one.shape) for one in inputs]
            raise ValueError(f"its input must be one tensor(float) [N, 3, {self.size}, {self.size}]; got {got}")
        if len(outputs) != 1 or len(outputs[0].shape) != 4 or outputs[0].shape[1] != self.num_classes:
            got = [one.shape for one in outputs]
            raise ValueError(f"its output must be one tensor [N, {self.num_classes}, H, W]; got {got}")
        self.input, self.batch = inputs[0].name, inputs[0].shape[0]

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, H, W) float32 of pictures (N, 3, H, W) in [0, 1]."""
        pixels = np.ascontiguousarray(image.detach().float().cpu().numpy())
        step = self.batch if isinstance(self.batch, int) else len(pixels)
        parts = [self.session.run(None, {self.input: pixels[i : i + step]})[0] for i in range(0, len(pixels), step)]
        return torch.from_numpy(np.concatenate(parts))


def load_exported(path: str | Path) -> tuple[ExportedNet, Description]:
    """The model in a file of `seglab.export.to_onnx`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If onnx or onnxruntime is not installed.
        ValueError: If the file is damaged or foreign; one line, naming the file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"ONNX file {path} must exist; got no file of that name.")
    if not path.is_file():
        raise ValueError(f"ONNX file {path} must be a file; got a folder or device.")
    if not 0 < path.stat().st_size <= MAX_BYTES:
        raise ValueError(f"ONNX file {path} must hold 1 byte to 2 GiB; got {path.stat().st_size} bytes.")
    return read_exported(path.read_bytes(), f"ONNX file {path} must be one that `seglab export` wrote")


def read_exported(content: bytes, foreign: str) -> tuple[ExportedNet, Description]:
    """The model in the bytes of an exported file; a ValueError begins with `foreign`."""
    onnx = require_onnx()
    try:
        proto = onnx.load_model_from_string(content)
    except Exception:  # DecodeError of a package that onnx brings
        raise ValueError(f"{foreign}; got another kind of file, or a damaged one.") from None
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    if metadata.get("format") != FORMAT or metadata.keys() != KEYS:
        raise ValueError(f"{foreign}; got an ONNX file without the mark {FORMAT}.")
    length = metadata["graph_bytes"]
    graph = content[: int(length)] if length.isdecimal() and len(length) < 12 else b""
    description = parse_description(metadata["seglab"], foreign)
    # Bytes behind the metadata would be merged into the graph, so the whole file is compared.
    if metadata["seglab"] != description_text(description) or sealed(graph, description) != content:
        raise ValueError(f"{foreign}; it is damaged or was changed: its hashes do not match. Copy or export it again.")
    if any(_location(tensor) for tensor in _tensors(proto)):
        raise ValueError(f"{foreign}; got one whose weights lie in other files.")
    try:
        return ExportedNet(content, description).eval(), description
    except ImportError:
        raise
    except Exception as error:  # ONNX Runtime has its own classes
        raise ValueError(f"{foreign}; {first_line(error)}.") from None


def sealed(graph: bytes, description: Description) -> bytes:
    """An exported file: a serialised ONNX model without metadata, then the description and the hashes."""
    onnx = require_onnx()
    text = description_text(description)
    entries = {
        "format": FORMAT,
        "graph_bytes": str(len(graph)),
        "graph_sha256": hashlib.sha256(graph).hexdigest(),
        "seglab": text,
        "seglab_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    # Protocol buffers that follow each other are read as one.
    tail = onnx.ModelProto()
    for key, value in entries.items():
        tail.metadata_props.add(key=key, value=value)
    whole: bytes = graph + tail.SerializeToString(deterministic=True)
    return whole


def require_onnx() -> Any:
    """The module onnx, if it and ONNX Runtime are installed.

    Raises:
        ImportError: If one of them is not.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 - whether it is there
    except ImportError:
        raise ImportError('ONNX export needs the onnx extra; install it with pip install "seglab[onnx]".') from None
    return onnx


def require_layers(predictor: Any) -> None:
    """Refuse an exported model where layers are looked into.

    Raises:
        ValueError: If the predictor's model is an exported one.

    Example:
        >>> from seglab import Predictor, build_model
        >>> require_layers(Predictor(build_model("unet", 1, width=4), size=32))
    """
    if isinstance(getattr(predictor, "model", None), ExportedNet):
        raise ValueError(
            f"attention and layers can be looked at only in a checkpoint; {predictor.name} comes from an ONNX file, "
            "which has pictures in and logits out. Load its .safetensors file or run folder."
        )


def first_line(error: BaseException) -> str:
    """First line of an error's text, without the full stop.

    Example:
        >>> first_line(ValueError("no such node."))
        'no such node'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]


def _session(content: bytes) -> Any:
    """ONNX Runtime on the CPU, with as many threads as torch uses; waiting threads hold no core."""
    require_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised as well
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _is_picture(shape: list[Any], size: int) -> bool:
    """Whether an input of this shape takes a batch (N, 3, size, size); a name stands for any number."""
    wanted = (1, 3, size, size)
    return (
        len(shape) == 4
        and shape[1] == 3
        and all(not isinstance(n, int) or n == want for n, want in zip(shape, wanted, strict=True))
    )


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in a protocol buffer, however deep."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for kind, value in message.ListFields():
        if kind.type == kind.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _tensors(part)


def _location(tensor: Any) -> bool:
    """Whether a tensor's values lie in another file."""
    return bool(tensor.external_data) or tensor.data_location == tensor.EXTERNAL
