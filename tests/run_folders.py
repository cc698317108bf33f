"""What a run folder ends with, in a form that two of them can be compared by."""

import csv
import hashlib
from pathlib import Path

from torch import Tensor

from seglab.checkpoint import load_state


def rows_of(out: Path) -> list[dict[str, float]]:
    with (out / "history.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def digest(value: object) -> str:
    """SHA-256 of tensors and plain values, however nested."""
    total = hashlib.sha256()

    def add(inner: object) -> None:
        if isinstance(inner, Tensor):
            total.update(f"{inner.dtype}{tuple(inner.shape)}".encode() + inner.contiguous().numpy().tobytes())
        elif isinstance(inner, dict):
            for key in sorted(inner, key=str):
                total.update(str(key).encode())
                add(inner[key])
        elif isinstance(inner, list | tuple):
            for each in inner:
                add(each)
        else:
            total.update(repr(inner).encode())

    add(value)
    return total.hexdigest()


def fingerprint(out: Path) -> dict[str, str]:
    """Everything a run ends with that must not depend on whether it was stopped."""
    saved = load_state(out / "last.pt")
    parts = {key: digest(value) for key, value in saved.items() if key != "facts"}
    return parts | {
        "best": hashlib.sha256((out / "best.safetensors").read_bytes()).hexdigest(),
        "history": (out / "history.csv").read_text(),
        "lines": (out / "history.txt").read_text(),
    }
