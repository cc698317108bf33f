"""How fast seglab is, as ratios to what people use today, measured side by side in one run.

A second says little: the machine may be busy, or another one. So every row runs both ways in turn, on the same data,
and gives the median ratio of the pairs with its quartiles. A peer that is not installed, and a device that is not
there, give a row that says so.
"""

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pkgutil import iter_modules

import torch

from seglab.benchmarks._paired import Ratio, Row, paired
from seglab.contract import require_name

__all__ = ["Ratio", "Row", "list_benchmarks", "machine", "measure", "paired", "to_markdown"]

PACKAGES = [
    "torch", "torchvision", "numpy", "opencv-python-headless", "pillow", "openvino", "onnxruntime", "torchmetrics",
    "monai", "MedPy", "albumentations",
]  # fmt: skip


def list_benchmarks() -> list[str]:
    """Names of the groups of rows: the public files of this folder.

    Example:
        >>> "metrics" in list_benchmarks()
        True
    """
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def measure(
    names: Iterable[str] = (), *, quick: bool = False, on_row: Callable[[Row], None] | None = None
) -> list[Row]:
    """Measure groups of rows, on one thread of the processor.

    Args:
        names: Of `list_benchmarks()`; none takes all.
        quick: Few rounds of small work, to see that it runs; its ratios mean little.
        on_row: Called with each row as it is measured.

    Raises:
        ValueError: If a name is unknown.

    Example:
        >>> measure(["gpu"])[0].what
        'training step on a GPU, VGG16 U-Net, 512 px, batch 16'
    """
    chosen = list(names) or list_benchmarks()
    for name in chosen:
        require_name("benchmark", name, list_benchmarks())
    threads, found = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for name in chosen:
            rows: Iterator[Row] = import_module(f"{__name__}.{name}").rows(quick=quick)
            for row in rows:
                found.append(row)
                if on_row is not None:
                    on_row(row)
    finally:
        torch.set_num_threads(threads)
    return found


def to_markdown(rows: Iterable[Row]) -> str:
    """A table with the machine and the versions below it.

    Example:
        >>> print(to_markdown([Row("a", "b", ">= 2", "3.00", True)]).splitlines()[2])
        | a | b | >= 2 | 3.00 | yes | |
    """
    words = {True: "yes", False: "**no**", None: "-"}
    lines = [
        "| what | against | goal | measured, times as fast (quartiles) | met | note |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        note = f"{row.note} " if row.note else ""
        lines.append(f"| {row.what} | {row.against} | {row.wanted} | {row.got} | {words[row.met]} | {note}|")
    return "\n".join([*lines, "", machine()])


def machine() -> str:
    """The processor, the GPU and the versions, in one paragraph."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    told = [f"{name} {found}" for name in PACKAGES if (found := _version(name))]
    return (
        f"{_processor()}, {os.cpu_count()} logical cores, {gpu}; Python {platform.python_version()}, {', '.join(told)}."
    )


def _processor() -> str:
    """Name of the processor as the system tells it."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(name: str) -> str:
    """Installed version; empty if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
