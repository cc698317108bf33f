"""One picture with pixels taken away in the order of a map, and what the model then sees."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seglab.contract import require_name
from seglab.explain._maps import Bytes
from seglab.images import read_image
from seglab.inference import Predictor, letterbox, to_probs

__all__ = [
    "DIRECTIONS", "FILLS", "Curve", "Floats", "Removing", "View", "areas_of", "deletion_curve", "insertion_curve",
    "ranks_of",
]  # fmt: skip

DIRECTIONS = ("deletion", "insertion")
FILLS = ("mean", "blur")
BLUR = 0.1  # sigma over the longer side of the picture

Floats = NDArray[np.float64]


class Removing(NamedTuple):
    """How pixels are removed; `deletion_curve` describes the fields."""

    step_percent: float = 10
    fill: str = "mean"
    seed: int = 0
    batch_size: int = 8

    def percents(self) -> Floats:
        """Shares from 0 to 100 percent at even steps, (T + 1,).

        Raises:
            ValueError: If an option is out of range.
        """
        require_name("fill", self.fill, FILLS)
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {self.batch_size}.")
        step = self.step_percent
        if not 0 < step <= 100 or abs(100 / step - round(100 / step)) > 1e-9:
            raise ValueError(f"step_percent must be in (0, 100] and divide 100; got {step}.")
        return np.linspace(0, 100, round(100 / step) + 1)


class Curve(NamedTuple):
    """Score against the share of pixels that were deleted or inserted."""

    percent: Floats  # (T + 1,) from 0 to 100
    score: Floats  # (T + 1,) in [0, 1]; NaN if the model predicts nothing on the whole picture

    @property
    def area(self) -> float:
        """Area under the curve over shares from 0 to 1, by trapezoids, in [0, 1].

        Example:
            >>> Curve(np.array([0.0, 50, 100]), np.array([1.0, 0.5, 0])).area
            0.5
        """
        return float(areas_of(self.score, self.percent))


def deletion_curve(
    predictor: Predictor,
    image: Any,
    saliency: NDArray[Any],
    *,
    step_percent: float = 10,
    fill: str = "mean",
    seed: int = 0,
    batch_size: int = 8,
) -> Curve:
    """How fast the prediction goes when pixels are taken away in the order of a map, the most salient first.

        score(t) = 2 sum(p_t p) / (sum(p_t^2) + sum(p^2))

    with p the object probability on the whole picture and p_t that on the picture without t percent of its pixels, both
    at the size that the model sees: a soft Dice to the model's own prediction, not to the truth, and 1 at t = 0. A low
    area is good: what the map marks was what the model needed.

    Pixels of equal saliency go in a seeded random order, so that a map of few values is not helped by the order of its
    rows. Limits: a picture with holes is like none that the model was trained on, and part of the fall is due to that,
    which is why only the difference to other orders (random, edges, centre) means something. An order that removes
    pixels here and there leaves more to guess from than one that removes a region. The mean colour can itself look like
    an object or like the background.

    Args:
        predictor: The model.
        image: Anything `seglab.images.read_image` takes, (H, W).
        saliency: (H, W) numbers, high where the map says that it matters.
        step_percent: Pixels removed between two points, above 0, at most 100, and 100 a multiple of it.
        fill: What takes the place of a pixel: "mean", the picture's mean colour, or "blur", the picture blurred with a
            sigma of a tenth of its longer side.
        seed: Seed of the order among equals.
        batch_size: Pictures per forward pass, at least 1.

    Raises:
        ImageError: If the picture cannot be read.
        ValueError: If the saliency has another shape than the picture or is not finite, or an option is out of range.

    Example:
        >>> from seglab import build_model
        >>> model = Predictor(build_model("unet", 1, width=4), size=32)
        >>> curve = deletion_curve(model, np.zeros((32, 32, 3), np.uint8), np.eye(32), step_percent=50)
        >>> curve.percent.tolist()
        [0.0, 50.0, 100.0]

    Reference:
        V. Petsiuk, A. Das and K. Saenko, "RISE", BMVC 2018, metric "deletion".
        Differs: the score there is the probability of a class, and deleted pixels are set to 0.
    """
    return _curve("deletion", predictor, image, saliency, Removing(step_percent, fill, seed, batch_size))


def insertion_curve(
    predictor: Predictor,
    image: Any,
    saliency: NDArray[Any],
    *,
    step_percent: float = 10,
    fill: str = "mean",
    seed: int = 0,
    batch_size: int = 8,
) -> Curve:
    """How fast the prediction comes back when pixels are put into an empty picture, the most salient first.

    The score is that of `deletion_curve`, with t percent of the pixels present; it is 1 at t = 100. A high area is
    good. The limits are the same, and "blur" leaves large objects visible from the start.

    Args:
        predictor: The model.
        image: Anything `seglab.images.read_image` takes, (H, W).
        saliency: (H, W) numbers, high where the map says that it matters.
        step_percent: Pixels put in between two points, above 0, at most 100, and 100 a multiple of it.
        fill: What the picture is before, "mean" or "blur".
        seed: Seed of the order among equals.
        batch_size: Pictures per forward pass, at least 1.

    Raises:
        ImageError: If the picture cannot be read.
        ValueError: If the saliency has another shape than the picture or is not finite, or an option is out of range.

    Example:
        >>> from seglab import build_model
        >>> model = Predictor(build_model("unet", 1, width=4), size=32)
        >>> curve = insertion_curve(model, np.zeros((32, 32, 3), np.uint8), np.eye(32), step_percent=25)
        >>> curve.percent.tolist()
        [0.0, 25.0, 50.0, 75.0, 100.0]

    Reference:
        V. Petsiuk, A. Das and K. Saenko, "RISE", BMVC 2018, metric "insertion".
        Differs: as for `deletion_curve`; the start is the mean colour, there it is the blurred picture.
    """
    return _curve("insertion", predictor, image, saliency, Removing(step_percent, fill, seed, batch_size))


class View:
    """A picture at the size that the model sees, and the model's answer to it with pixels taken away."""

    def __init__(self, predictor: Predictor, image: Bytes, removing: Removing) -> None:
        square, self.box = letterbox(image, predictor.size)
        self.rows = slice(self.box.top, self.box.top + self.box.height)
        self.columns = slice(self.box.left, self.box.left + self.box.width)
        self.image = np.ascontiguousarray(square[self.rows, self.columns])
        self.predictor, self.batch_size = predictor, removing.batch_size
        self.batch = predictor.prepare(self.image)[0]
        self.filled = self.batch.clone()
        self.filled[0, :, self.rows, self.columns] = _filling(self.image, removing.fill)
        self.whole = self._probs(self.batch)[0]

    def scores(self, ranks: NDArray[np.int64], percent: Floats, direction: str) -> Floats:
        """Soft Dice to the answer for the whole picture, after every share of the pixels, (T + 1,)."""
        if not (self.whole > 0.5).any():
            return np.full(len(percent), np.nan)
        first = ranks < np.round(percent[:, None] / 100 * len(ranks))  # (T + 1, h * w)
        kept = ~first if direction == "deletion" else first
        blocks = range(0, len(kept), self.batch_size)
        found = np.concatenate([self._seen(kept[start : start + self.batch_size]) for start in blocks])
        both, total = (found * self.whole).sum(axis=1), (found**2).sum(axis=1) + (self.whole**2).sum()
        scores: Floats = 2 * both / total
        return scores

    def _seen(self, kept: NDArray[np.bool_]) -> Floats:
        """Object probabilities (B, h * w) on the picture with only these pixels."""
        mask = torch.zeros(len(kept), 1, *self.batch.shape[2:], dtype=torch.bool)
        mask[:, 0, self.rows, self.columns] = torch.from_numpy(kept.reshape(-1, self.box.height, self.box.width))
        batch = torch.where(mask, self.batch, self.filled)
        return self._probs(batch.contiguous(memory_format=torch.channels_last))

    def _probs(self, batch: Tensor) -> Floats:
        """Probability of any object (B, h * w) inside the picture."""
        probs = to_probs(self.predictor.forward(batch))
        of_object = probs[:, 0] if probs.shape[1] == 1 else 1 - probs[:, 0]
        inner: Floats = of_object[:, self.rows, self.columns].flatten(1).double().numpy()
        return inner


def ranks_of(saliency: NDArray[Any], seed: tuple[int, ...]) -> NDArray[np.int64]:
    """Place of every pixel (h * w,) in the order of a map (h, w), 0 the most salient; equals in random order.

    Example:
        >>> ranks_of(np.array([[0.1, 0.9], [0.5, 0.2]]), (0,)).tolist()
        [3, 0, 1, 2]
    """
    flat = saliency.ravel()
    order = np.lexsort((np.random.default_rng(seed).random(len(flat)), -flat))
    ranks = np.empty(len(flat), np.int64)
    ranks[order] = np.arange(len(flat))
    return ranks


def areas_of(scores: Floats, percent: Floats) -> Floats:
    """Area under every curve by trapezoids: (..., T + 1) -> (...,)."""
    areas: Floats = np.asarray(np.trapezoid(scores, percent / 100, axis=-1))
    return areas


def _curve(direction: str, predictor: Predictor, image: Any, saliency: NDArray[Any], removing: Removing) -> Curve:
    """One curve of one picture and one map."""
    percent, pixels, values = removing.percents(), read_image(image), np.asarray(saliency, np.float32)
    if values.shape != pixels.shape[:2]:
        raise ValueError(f"saliency must have the picture's shape {pixels.shape[:2]}; got {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"saliency must be finite; got {int((~np.isfinite(values)).sum())} values that are not.")
    view = View(predictor, pixels, removing)
    return Curve(percent, view.scores(ranks_of(_resized(values, view), (removing.seed,)), percent, direction))


def _resized(saliency: NDArray[Any], view: View) -> NDArray[Any]:
    """A map at the size that the model sees."""
    import cv2  # a heavy module

    height, width = view.image.shape[:2]
    if saliency.shape == (height, width):
        return saliency
    method = cv2.INTER_AREA if height < saliency.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(saliency, (width, height), interpolation=method)


def _filling(image: Bytes, fill: str) -> Tensor:
    """What takes the place of removed pixels, (3, h, w) or (3, 1, 1) in [0, 1]."""
    values = image.astype(np.float32) / 255
    if fill == "mean":
        return torch.from_numpy(values.mean(axis=(0, 1)))[:, None, None]
    import cv2  # a heavy module

    blurred = cv2.GaussianBlur(values, (0, 0), BLUR * max(image.shape[:2]))
    return torch.from_numpy(blurred).permute(2, 0, 1)
