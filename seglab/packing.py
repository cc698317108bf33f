"""Everything of a comparison in one ZIP file, under names that tell model and view."""

import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seglab.contract import IGNORE_INDEX
from seglab.files import atomic
from seglab.images import mask_png, packed, picture_png

if TYPE_CHECKING:
    from seglab.comparison import Comparison, ModelResult

__all__ = ["OutdatedError", "pack", "wait_for_calm"]

PIXELS_A_SECOND = 8_000_000  # of waiting: 1.5 seconds for 12 megapixels

README = """Results of seglab, for research and teaching. Not a medical device.

*_mask.png         0 background, 255 object, at the picture's own size; with several classes the class indices
true_mask.png      the true mask, written alike; where pixels are unknown, 1 is object and 255 unknown
*_probability.png  probability of the object, 0 to 255 for 0 to 1
*_outline.png      the mask's outline in orange, the true mask's in white
*_error-map.png    light blue correct, orange extra, dark with white stripes missed (only with a true mask)
*_agreement.png    this model and the first one (for the first: the second): light blue both, orange only this one,
                   dark with white stripes only the other
*_attention-*.png  spatial gate of one attention module, dark blue 0 to yellow 1: where the model looks
metrics.json       numbers, threshold, sizes, and the SHA-256 of the weights; null: not defined, or no true mask

How the files of each model begin:
"""


class OutdatedError(Exception):
    """Nobody wants the file any more."""


def pack(comparison: "Comparison", path: Path, wanted: Callable[[], bool] | None = None) -> Path:
    """Write the ZIP file of a comparison, whole or not at all.

    Args:
        comparison: What to write.
        path: The ZIP file.
        wanted: Asked after every few rows of a picture whether to go on; None: always.

    Returns:
        `path`.

    Raises:
        OutdatedError: If it is not wanted any more; there is no file then.
        OSError: If it cannot be written; an older file is then intact.
    """
    prefixes = _prefixes([result.name for result in comparison.results])
    with atomic(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("README.txt", README + _listing(comparison, prefixes))
        archive.writestr("metrics.json", json.dumps(comparison.to_dict(), indent=1))
        if comparison.truth is not None:
            archive.writestr("true_mask.png", mask_png(_truth_as_written(comparison)))
        for result, prefix in zip(comparison.results, prefixes, strict=True):
            for name, content in _pictures(comparison, result, partial(_packed, wanted)):
                archive.writestr(f"{prefix}_{name}.png", content)
    return path


def wait_for_calm(comparison: "Comparison", wanted: Callable[[], bool]) -> None:
    """Wait before a large picture is packed, as long as it is wanted.

    While somebody tries thresholds, packing would only be begun and broken off, and would slow down the answers.
    """
    end = time.monotonic() + comparison.image.shape[0] * comparison.image.shape[1] / PIXELS_A_SECOND
    while wanted() and time.monotonic() < end:
        time.sleep(0.02)


def _packed(wanted: Callable[[], bool] | None, strip: bytes, *, flat: bool = False) -> bytes:
    """A few rows of a picture, as long as they are wanted."""
    if wanted is not None and not wanted():
        raise OutdatedError
    return packed(strip, flat=flat)


def _pictures(
    comparison: "Comparison", result: "ModelResult", rows: Callable[..., bytes]
) -> Iterator[tuple[str, bytes]]:
    """All pictures of one model by name, as PNG, one at a time: of large ones not many fit into memory."""
    runs = partial(rows, flat=True)
    yield "mask", mask_png(_as_written(result.mask, binary=len(result.probs) <= 2))  # as `seglab predict` writes it
    yield "probability", picture_png((result.object_probs * 255).round().astype(np.uint8), runs)
    yield "outline", picture_png(comparison.view("outline", result.name), rows)
    if comparison.truth is not None:
        yield "error-map", picture_png(comparison.view("error", result.name), rows)
    if len(comparison.results) > 1:
        yield "agreement", picture_png(comparison.view("agreement", result.name), rows)
    for stage in result.attention:
        colours = comparison.view("attention", result.name, stage=stage, opacity=1.0)
        yield f"attention-{_plain(stage)}", picture_png(colours, runs)


def _listing(comparison: "Comparison", prefixes: list[str]) -> str:
    """Start of the file names and name of every model, a line each."""
    names = [" ".join(result.name.split()) for result in comparison.results]
    return "".join(f"{prefix}_  {name}\n" for prefix, name in zip(prefixes, names, strict=True))


def _truth_as_written(comparison: "Comparison") -> np.ndarray:
    """The true mask in the form that is read back alike: 255 is the object only where no pixel is unknown."""
    truth = comparison.truth
    assert truth is not None
    binary = len(comparison.results[0].probs) <= 2 and not (truth == IGNORE_INDEX).any()
    return _as_written(truth, binary=binary)


def _as_written(mask: np.ndarray, *, binary: bool) -> np.ndarray:
    """A mask as write_mask stores it: 0/255 for two classes, indices for more."""
    return np.where(mask > 0, np.uint8(255), np.uint8(0)) if binary else mask


def _prefixes(names: list[str]) -> list[str]:
    """File-name forms of the models' names, numbered where they would be equal."""
    prefixes: list[str] = []
    taken = {"true"}  # the true mask; lower case, because some file systems do not tell it from upper case
    for name in names:
        plain, number = _plain(name), 2
        while plain.lower() in taken:
            plain, number = f"{_plain(name)}-{number}", number + 1
        prefixes.append(plain)
        taken.add(plain.lower())
    return prefixes


def _plain(name: str) -> str:
    """A name as every file system takes it."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60] or "model"
