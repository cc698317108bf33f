"""Where a model looks and where it errs, as arrays: attention maps, error maps, and pictures of them.

The palette is told apart in normal vision and in the three kinds of colour blindness, also when blended over light
and dark skin and steel: light blue, orange, and dark navy with white stripes (CIEDE2000 of at least 33 between two
classes at opacity 0.55).
"""

import re
from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seglab.blocks import CBAM, AttentionMap
from seglab.contract import IGNORE_INDEX
from seglab.images import read_image

__all__ = [
    "BLUE", "CORRECT", "EXTRA", "MISSED", "NAVY", "ORANGE", "StageAttention", "agreement_map", "attention_maps",
    "colour_map", "error_map", "heat", "outline", "overlay",
]  # fmt: skip

CORRECT, EXTRA, MISSED = 1, 2, 3
BLUE, ORANGE, NAVY = (128, 192, 255), (255, 128, 0), (0, 0, 64)
PALETTE = {CORRECT: BLUE, EXTRA: ORANGE, MISSED: NAVY}

Colour = tuple[int, int, int]
_HOOKING = Lock()  # hooks sit on the shared model: two pictures at once would mix their maps


class StageAttention(NamedTuple):
    """The two gates of one CBAM for one picture."""

    name: str  # "encoder 1", "bottleneck", "skip 1" (1 is the finest), "decoder 1"
    channel: np.ndarray  # (C,) float32 in [0, 1]
    spatial: np.ndarray  # (H, W) float32 in [0, 1], at the picture's own size


def attention_maps(predictor: Any, image: Any) -> dict[str, StageAttention]:
    """Both gates of every CBAM of a model, for one picture.

    A gate says by what a map was multiplied: where the network looked, not how sure it is, and not why. One picture at
    a time is worked on, because the hooks sit on the model that all callers share.

    Args:
        predictor: A Predictor.
        image: Anything `seglab.images.read_image` takes.

    Returns:
        By stage name, encoder first, then bottleneck, skips and decoder; empty if the model has no CBAM.

    Example:
        >>> from seglab.inference import Predictor
        >>> from seglab.models import build_model
        >>> predictor = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
        >>> maps = attention_maps(predictor, np.zeros((40, 60, 3), np.uint8))
        >>> {name: (one.channel.shape, one.spatial.shape) for name, one in maps.items()}
        {'bottleneck': ((64,), (40, 60))}

    Reference:
        S. Woo et al., "CBAM", ECCV 2018, eq. 2 and 3.
    """
    blocks = {name: module for name, module in predictor.model.named_modules() if isinstance(module, CBAM)}
    if not blocks:
        return {}
    batch, box = predictor.prepare(read_image(image))
    gates: dict[str, list[Tensor]] = {name: [] for name in blocks}
    with _HOOKING:
        handles = [_listen(gate, gates[name]) for name, block in blocks.items() for gate in _gates_of(block)]
        try:
            predictor.forward(batch)
        finally:
            for handle in handles:
                handle.remove()
    names = _stage_names(list(blocks))
    stages = {}
    for path in sorted(blocks, key=lambda path: _rank(names[path])):
        channel, spatial = gates[path]
        whole = _enlarge(spatial[0], predictor.size, int(getattr(predictor.model, "stride", 1)))
        spatial_map = predictor.restore(whole.numpy(), box)[0].clip(0, 1)
        stages[names[path]] = StageAttention(names[path], channel[0, :, 0, 0].numpy(), spatial_map)
    return stages


def error_map(pred: np.ndarray, target: np.ndarray, *, ignore_index: int = IGNORE_INDEX) -> np.ndarray:
    """What a prediction got right, drew too much and missed, pixel by pixel.

    Args:
        pred: (H, W) class indices; every index above 0 is object.
        target: (H, W) true class indices, or `ignore_index` where unknown.
        ignore_index: Label of unknown pixels.

    Returns:
        (H, W) uint8: 0 background in both, 1 CORRECT, 2 EXTRA (drawn as an object that is not there, or as the wrong
        one), 3 MISSED, 255 unknown.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> error_map(np.array([[0, 1, 1, 0]]), np.array([[0, 1, 0, 1]]))
        array([[0, 1, 2, 3]], dtype=uint8)
    """
    if pred.shape != target.shape:
        raise ValueError(f"target must have pred's shape {pred.shape}; got {target.shape}.")
    codes = np.zeros(pred.shape, np.uint8)
    codes[(pred > 0) & (pred == target)] = CORRECT
    codes[(pred > 0) & (pred != target)] = EXTRA
    codes[(pred == 0) & (target > 0)] = MISSED
    codes[target == ignore_index] = IGNORE_INDEX
    return codes


def agreement_map(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where two masks agree: 0 both background, 1 both the same object, 2 only the second, 3 only the first.

    Where both say object but not the same one, it is 2.

    Example:
        >>> agreement_map(np.array([[0, 1, 0, 1]]), np.array([[0, 1, 1, 0]]))
        array([[0, 1, 2, 3]], dtype=uint8)
    """
    return error_map(second, first, ignore_index=-1)


def colour_map(image: np.ndarray, codes: np.ndarray, *, opacity: float = 0.6) -> np.ndarray:
    """The codes of `error_map` or `agreement_map` in colour over the picture.

    Light blue 1, orange 2, dark navy with white stripes 3, each with a border in the pure colour; unknown pixels grey.

    Args:
        image: (H, W, 3) uint8.
        codes: (H, W) uint8.
        opacity: Of the areas, in [0, 1]; borders are always opaque.

    Returns:
        (H, W, 3) uint8.
    """
    _check_opacity(opacity)
    result = image.astype(np.float32)
    for code, colour in PALETTE.items():
        area = codes == code
        paint = np.broadcast_to(np.array(colour, np.float32), image.shape)[area]
        if code == MISSED:
            paint = np.where(_stripes(*codes.shape)[area][:, None], np.float32(255), paint)
        result[area] = result[area] * (1 - opacity) + paint * opacity
    result[codes == IGNORE_INDEX] = result[codes == IGNORE_INDEX] * (1 - opacity) + 128 * opacity
    drawn = result.round().astype(np.uint8)
    for code, colour in PALETTE.items():
        drawn = outline(drawn, [((codes == code).astype(np.uint8), colour)], width=1)
    return drawn


def overlay(image: np.ndarray, mask: np.ndarray, *, colour: Colour = BLUE, opacity: float = 0.5) -> np.ndarray:
    """The object of a mask as a coloured area over the picture: (H, W, 3) uint8 and (H, W) -> (H, W, 3) uint8.

    Example:
        >>> overlay(np.zeros((1, 2, 3), np.uint8), np.array([[0, 1]]), colour=(200, 100, 0))[0, 1]
        array([100,  50,   0], dtype=uint8)
    """
    _check_opacity(opacity)
    result = image.astype(np.float32)
    area = (mask > 0) & (mask != IGNORE_INDEX)
    result[area] = result[area] * (1 - opacity) + np.array(colour, np.float32) * opacity
    return result.round().astype(np.uint8)


def outline(image: np.ndarray, masks: Sequence[tuple[np.ndarray, Colour]], *, width: int | None = None) -> np.ndarray:
    """The borders of masks drawn into a copy of the picture, later ones over earlier ones.

    Args:
        image: (H, W, 3) uint8.
        masks: (H, W) masks with their colours.
        width: In pixels; None takes one pixel for each 300 of the longer side, 1 at least.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2  # a heavy module

    result = np.ascontiguousarray(image).copy()
    thick = width or max(1, round(max(image.shape[:2]) / 300))
    for mask, colour in masks:
        area = np.ascontiguousarray(((mask > 0) & (mask != IGNORE_INDEX)).astype(np.uint8))
        inner = cv2.erode(area, np.ones((3, 3), np.uint8), iterations=thick, borderValue=1)
        result[(area > 0) & (inner == 0)] = colour
    return result


def heat(values: np.ndarray, *, image: np.ndarray | None = None, opacity: float = 1.0) -> np.ndarray:
    """Values in [0, 1] in the colours of cividis, on a fixed scale, over the picture if one is given.

    Args:
        values: (H, W) float in [0, 1]; values outside are clipped.
        image: (H, W, 3) uint8 that shows through.
        opacity: Of the colours, in [0, 1].

    Returns:
        (H, W, 3) uint8.

    Reference:
        J. Nuñez, C. Anderton and R. Renslow, "Optimizing colormaps with consideration for color vision deficiency",
        PLoS ONE 13(7), 2018.
    """
    from matplotlib import colormaps  # a heavy module

    _check_opacity(opacity)
    colours = colormaps["cividis"](np.asarray(values, np.float64).clip(0, 1), bytes=True)[..., :3]
    if image is None:
        return np.ascontiguousarray(colours)
    mixed = image.astype(np.float32) * (1 - opacity) + colours.astype(np.float32) * opacity
    return mixed.round().astype(np.uint8)


def _gates_of(block: nn.Module) -> list[nn.Module]:
    """The AttentionMaps of a CBAM, channel first."""
    return [module for module in block.modules() if isinstance(module, AttentionMap)]


def _listen(gate: nn.Module, found: list[Tensor]) -> torch.utils.hooks.RemovableHandle:
    """Keep what passes through a gate."""
    return gate.register_forward_hook(lambda module, inputs, output: found.append(output.detach().float().cpu()))


def _enlarge(gate: Tensor, size: int, stride: int) -> Tensor:
    """A gate (1, h, w) at the letterbox's size: the Segmenter pads to its stride at the right and the bottom."""
    padded = -(-size // stride) * stride
    large = nn.functional.interpolate(gate[None], size=(padded, padded), mode="bilinear", align_corners=False)[0]
    return large[:, :size, :size].contiguous()


def _stage_names(paths: Sequence[str]) -> dict[str, str]:
    """Readable names from module paths; what cannot be read keeps its path.

    Encoder attention is numbered from the finest map, and so are skips and decoder levels, whose modules are stored
    coarsest first.
    """
    names = {}
    levels = 1 + max((int(m[1]) for path in paths if (m := re.search(r"levels\.(\d+)\.", path))), default=3)
    for path in paths:
        level = re.search(r"levels\.(\d+)\.", path)
        stage = re.search(r"(^|\.)attention\.(\d+)$", path)
        if level:
            names[path] = f"{'skip' if '.skip' in path else 'decoder'} {levels - int(level[1])}"
        elif stage and int(stage[2]) == 4:
            names[path] = "bottleneck"
        elif stage:
            names[path] = f"encoder {int(stage[2]) + 1}"
        else:
            names[path] = path
    return names


def _rank(name: str) -> tuple[int, str]:
    """Order of the stages: as the picture passes them, skips from the finest."""
    kinds = ("encoder", "bottleneck", "skip", "decoder")
    kind = name.split(" ")[0]
    return (kinds.index(kind) if kind in kinds else len(kinds), name)


def _stripes(height: int, width: int) -> np.ndarray:
    """(H, W) bool: thin diagonal stripes, wide enough to be seen when the picture is shown small."""
    period = max(6, round(max(height, width) / 60))
    rows, columns = np.ogrid[:height, :width]
    stripes: np.ndarray = (rows + columns) % period < max(1, period // 4)
    return stripes


def _check_opacity(opacity: float) -> None:
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be in [0, 1]; got {opacity}.")
