"""The ways to run one model: PyTorch as it was trained, PyTorch prepared, OpenVINO, ONNX Runtime."""

import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seglab.checkpoint import Description
from seglab.devices import cpu_has_bf16
from seglab.engines._fold import fold
from seglab.export import graph_of
from seglab.exported import ExportedNet

__all__ = ["EXACT", "RUNTIMES", "here"]


class InBfloat16(nn.Module):
    """A Segmenter whose network computes in bfloat16; pictures are normalised, and logits returned, in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.num_classes, self.name = getattr(model, "num_classes", 0), getattr(model, "name", "custom")
        net = getattr(model, "net", model)
        net.to(torch.bfloat16)
        net.register_forward_pre_hook(lambda _module, inputs: (inputs[0].to(torch.bfloat16),))
        net.register_forward_hook(lambda _module, _inputs, logits: logits.float())

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, H, W) float32 of pictures (N, 3, H, W) in [0, 1]."""
        logits: Tensor = self.model(image)
        return logits


class InOpenVINO(nn.Module):
    """An ONNX graph compiled by OpenVINO for the CPU; several threads may call it.

    Its precision is set, because OpenVINO would choose bfloat16 by itself where the processor has it.
    """

    def __init__(self, model: nn.Module, size: int, precision: str) -> None:
        super().__init__()
        openvino = _openvino()
        self.num_classes, self.name = getattr(model, "num_classes", 0), getattr(model, "name", "custom")
        wanted = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        core = openvino.Core()
        graph = core.read_model(graph_of(model, size))
        graph.reshape([1, 3, size, size])
        self.compiled = core.compile_model(graph, "CPU", wanted)
        self.own = threading.local()

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, S, S) float32 of pictures (N, 3, S, S) in [0, 1]."""
        if not hasattr(self.own, "request"):
            self.own.request = self.compiled.create_infer_request()
        pixels = np.ascontiguousarray(image.detach().float().cpu().numpy())
        parts = [self.own.request.infer([pixels[i : i + 1]])[0].copy() for i in range(len(pixels))]
        return torch.from_numpy(np.concatenate(parts))


def _openvino() -> Any:
    """The module openvino without its telemetry, which writes an id to the home folder and reports over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # an import of it now fails, as intended
    import openvino

    return openvino


def _onnxruntime(model: nn.Module, size: int) -> nn.Module:
    """ONNX Runtime, whatever the classes are called."""
    count = int(getattr(model, "num_classes", 1))
    names = tuple(f"class {k}" for k in range(max(2, count)))
    facts = Description(str(getattr(model, "name", "custom")), {}, count, names, size, "")
    return ExportedNet(graph_of(model, size), facts).eval()


def _folded(model: nn.Module, size: int) -> nn.Module:
    """PyTorch, batch norm folded, channels last."""
    return fold(model, torch.rand(1, 3, size, size))[0].to(memory_format=torch.channels_last)


def _bf16(model: nn.Module, size: int) -> nn.Module:
    """The same with the network in bfloat16."""
    return InBfloat16(_folded(model, size)).to(memory_format=torch.channels_last)


RUNTIMES: dict[str, Callable[[nn.Module, int], nn.Module]] = {
    "torch": lambda model, _size: model,
    "folded": _folded,
    "bf16": _bf16,
    "openvino": lambda model, size: InOpenVINO(model, size, "f32"),
    "openvino-bf16": lambda model, size: InOpenVINO(model, size, "bf16"),
    "onnxruntime": _onnxruntime,
}
NEEDED = {"openvino": "openvino", "openvino-bf16": "openvino", "onnxruntime": "onnx"}  # extra
PACKAGES = {"openvino": ("openvino", "onnx", "onnxscript"), "onnx": ("onnx", "onnxruntime", "onnxscript")}
EXACT = ("torch", "folded", "openvino", "onnxruntime")  # in float32


def here(engine: str) -> str:
    """Why this machine cannot run an engine; empty if it can."""
    extra = NEEDED.get(engine, "")
    if extra and any(find_spec(package) is None for package in PACKAGES[extra]):
        return f'needs the {extra} extra; install it with pip install "seglab[{extra}]"'
    if engine.endswith("bf16") and not cpu_has_bf16():
        return "needs a processor that multiplies bfloat16 itself (avx512_bf16)"
    return ""
