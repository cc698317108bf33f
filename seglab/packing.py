"""Everything of a comparison in one ZIP file, under names that tell model and view."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from seglab.files import atomic

if TYPE_CHECKING:
    from seglab.comparison import Comparison, ModelResult

__all__ = ["pack"]

README = """Results of seglab, for research and teaching. Not a medical device.

*_mask.png         0 background, 255 object, at the picture's own size; with several classes the class indices
*_probability.png  probability of the object, 0 to 255 for 0 to 1
*_outline.png      the mask's outline in orange, the true mask's in white
*_error-map.png    light blue correct, orange extra, dark with white stripes missed (only with a true mask)
*_agreement.png    light blue both models, orange only this one, dark with white stripes only the other
*_attention-*.png  spatial gate of one attention module, dark blue 0 to yellow 1: where the model looks
metrics.json       numbers, threshold, sizes, and the SHA-256 of the weights; null: not defined, or no true mask
"""


def pack(comparison: "Comparison", path: Path) -> Path:
    """Write the ZIP file of a comparison, whole or not at all.

    Args:
        comparison: What to write.
        path: The ZIP file.

    Returns:
        `path`.

    Raises:
        OSError: If it cannot be written; an older file is then intact.
    """
    prefixes = _prefixes([result.name for result in comparison.results])
    with atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", README)
        archive.writestr("metrics.json", json.dumps(comparison.to_dict(), indent=1))
        if comparison.truth is not None:
            archive.writestr("true_mask.png", _png(_as_written(comparison.truth)))
        for result, prefix in zip(comparison.results, prefixes, strict=True):
            for name, pixels in _pictures(comparison, result).items():
                archive.writestr(f"{prefix}_{name}.png", _png(pixels))
    return path


def _pictures(comparison: "Comparison", result: "ModelResult") -> dict[str, np.ndarray]:
    """All pictures of one model by name."""
    probs = result.probs[0] if len(result.probs) == 1 else 1 - result.probs[0]
    pictures = {
        "mask": _as_written(result.mask, binary=len(result.probs) <= 2),
        "probability": (probs * 255).round().astype(np.uint8),
        "outline": comparison.view("outline", result.name),
    }
    if comparison.truth is not None:
        pictures["error-map"] = comparison.view("error", result.name)
    if len(comparison.results) > 1:
        pictures["agreement"] = comparison.view("agreement", result.name)
    for stage in result.attention:
        pictures[f"attention-{_plain(stage)}"] = comparison.view("attention", result.name, stage=stage, opacity=1.0)
    return pictures


def _as_written(mask: np.ndarray, *, binary: bool = True) -> np.ndarray:
    """A mask as write_mask stores it: 0/255 for two classes, indices for more."""
    return np.where(mask > 0, 255, 0).astype(np.uint8) if binary else mask


def _png(pixels: np.ndarray) -> bytes:
    """PNG bytes without any metadata."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, format="PNG")
    return content.getvalue()


def _prefixes(names: list[str]) -> list[str]:
    """File-name forms of the models' names, numbered where they would be equal."""
    prefixes: list[str] = []
    for name in names:
        plain, number = _plain(name), 2
        while plain in prefixes:
            plain, number = f"{_plain(name)}-{number}", number + 1
        prefixes.append(plain)
    return prefixes


def _plain(name: str) -> str:
    """A name as every file system takes it."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60] or "model"
