"""From a picture of any size to a mask of the same size: letterbox, forward, exact un-padding."""

from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seglab.checkpoint import Description, load_model, load_run
from seglab.contract import PADDING_GREY
from seglab.exported import load_exported
from seglab.images import Picture, fitted
from seglab.tiles import blended, orientations

__all__ = ["Box", "Prediction", "Predictor", "letterbox", "restore", "to_batch", "to_probs"]


class Box(NamedTuple):
    """Where a picture lies in its letterbox, and how large it was."""

    top: int
    left: int
    height: int
    width: int
    original_height: int
    original_width: int


class Prediction(NamedTuple):
    """What a model says of one picture."""

    mask: np.ndarray  # (H, W) uint8, class indices, at the picture's own size
    probs: np.ndarray  # (K, H, W) float32 in [0, 1]; K = 1: of the object


def letterbox(
    image: np.ndarray | Picture, size: int, *, fill: int = PADDING_GREY, nearest: bool = False
) -> tuple[np.ndarray, Box]:
    """The picture in a square of `size` pixels with its side ratio kept, centred, padded with `fill`.

    Shrinking averages over the area, so fine texture does not alias; enlarging is bilinear.

    Args:
        image: (H, W) or (H, W, C) uint8, at least one pixel; or a Picture, which is decoded as far as it is needed.
        size: Side of the square in pixels, above 0.
        fill: Grey level of the padding.
        nearest: True for masks: values are picked, never mixed.

    Returns:
        (size, size) or (size, size, C) uint8, and the Box for `restore`.

    Example:
        >>> square, box = letterbox(np.zeros((30, 60), np.uint8), 20, fill=9)
        >>> square.shape, box.top, box.height, int(square[0, 0]), int(square[10, 0])
        ((20, 20), 5, 10, 9, 0)
    """
    import cv2  # a heavy module

    height, width = image.shape[:2]
    inner_h, inner_w = fitted(height, width, size)
    inner: Any = image.within(size) if isinstance(image, Picture) else None
    if inner is None:
        longest, pixels = max(height, width), image.pixels if isinstance(image, Picture) else image
        method = cv2.INTER_NEAREST_EXACT if nearest else cv2.INTER_AREA if size < longest else cv2.INTER_LINEAR
        inner = pixels if size == longest else cv2.resize(pixels, (inner_w, inner_h), interpolation=method)
    square = np.full((size, size, *image.shape[2:]), fill, np.uint8)
    top, left = (size - inner_h) // 2, (size - inner_w) // 2
    square[top : top + inner_h, left : left + inner_w] = inner.reshape(inner_h, inner_w, *image.shape[2:])
    return square, Box(top, left, inner_h, inner_w, height, width)


def restore(maps: np.ndarray, box: Box) -> np.ndarray:
    """Maps of a letterboxed picture at the picture's own size: padding cut off exactly, then bilinear.

    Args:
        maps: (K, S, S) float32.
        box: From `letterbox`.

    Returns:
        (K, H, W) float32, between the lowest and the highest value of each map.

    Example:
        >>> _, box = letterbox(np.zeros((30, 60), np.uint8), 20)
        >>> restore(np.ones((2, 20, 20), np.float32), box).shape
        (2, 30, 60)
    """
    import cv2  # a heavy module

    inner = maps[:, box.top : box.top + box.height, box.left : box.left + box.width]
    shape = (box.original_width, box.original_height)
    if inner.shape[1:] == shape[::-1]:
        return np.ascontiguousarray(inner)
    full = [cv2.resize(np.ascontiguousarray(one), shape, interpolation=cv2.INTER_LINEAR) for one in inner]
    for each, one in zip(full, inner, strict=True):
        each.clip(one.min(), one.max(), out=each)
    return full[0][None] if len(full) == 1 else np.stack(full)


class Predictor:
    """A trained model that takes a picture of any size and gives a mask of that size.

    The model is put in eval mode, its gradients off, and is not to be changed afterwards: several threads may call
    one predictor.

    Args:
        model: A Segmenter.
        size: Side of the letterbox in pixels, the one it was trained with.
        classes: Class names, the background first.
        description: What the checkpoint says of itself, if it came from one.
        tile: For large pictures: the side in pixels of the pictures that the model was trained on. A larger picture
            is answered in overlapping tiles of this side, blended, each letterboxed to `size`. None: as a whole.
        tta: Mean of the probabilities in all eight orientations (four rotations, each also mirrored).

    Raises:
        ValueError: If `size` or `tile` is below 32, or the class names are not as many as the model's classes.

    Example:
        >>> from seglab.models import build_model
        >>> predictor = Predictor(build_model("unet", 1, width=4), size=32)
        >>> prediction = predictor(np.zeros((40, 60, 3), np.uint8))
        >>> prediction.mask.shape, prediction.probs.shape
        ((40, 60), (1, 40, 60))
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        size: int = 256,
        classes: tuple[str, ...] | None = None,
        description: Description | None = None,
        tile: int | None = None,
        tta: bool = False,
    ) -> None:
        if size < 32:
            raise ValueError(f"size must be at least 32; got {size}.")
        if tile is not None and tile < 32:
            raise ValueError(f"tile must be at least 32 pixels; got {tile}.")
        self.tile, self.tta = tile, tta
        # One memory order, the one training has: another gives other last bits.
        self.model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.size = size
        self.num_classes = int(getattr(model, "num_classes", len(classes or ("object",))))
        self.classes = classes or _default_classes(self.num_classes)
        if len(self.classes) != max(2, self.num_classes):
            raise ValueError(f"classes must name {max(2, self.num_classes)} classes; got {self.classes}.")
        self.description = description
        self.name = description.title if description else str(getattr(model, "name", type(model).__name__))
        self.name += " + tiles" * (tile is not None) + " + TTA" * tta  # scores of another way to answer

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu", tile: int | None = None, tta: bool = False) -> "Predictor":
        """Predictor of a checkpoint, of the best checkpoint of a run folder, or of a file of `seglab.export.to_onnx`.

        Args:
            path: A `.safetensors` file, a folder, or an `.onnx` file.
            device: Where it runs; an ONNX file runs on the CPU.
            tile: As `Predictor`; 0 is the model's own size: the pictures' pixels as they are.
            tta: As `Predictor`.

        Raises:
            FileNotFoundError: If there is no such file.
            ImportError: If an ONNX file is given and the onnx extra is not installed.
            ValueError: If it is not a whole seglab model, or the device is not the CPU and the file is ONNX.
        """
        model, description = _read(Path(path), device)
        tile = description.size if tile == 0 else tile
        classes = description.classes
        return cls(model, size=description.size, classes=classes, description=description, tile=tile, tta=tta)

    def __call__(self, image: Any, *, threshold: float = 0.5) -> Prediction:
        """Mask and probabilities of one picture.

        Args:
            image: Path, PIL image, array (H, W, 3) or tensor (3, H, W); see `seglab.images.read_image`.
            threshold: Probability above which a pixel counts as object, for two-class models; above 0, below 1.

        Raises:
            ImageError: If the picture cannot be read.
            ValueError: If the threshold is not above 0 and below 1.
        """
        return self.decide(self.probs(self.read(image)), threshold=threshold)

    def read(self, image: Any) -> Picture:
        """A picture, decoded as far as this predictor needs it: a large photo mostly not in full.

        Args:
            image: As `__call__`, or a Picture.

        Raises:
            ImageError: If the picture cannot be read.
        """
        picture = image if isinstance(image, Picture) else Picture(image)
        if self._in_tiles(picture):
            picture.pixels  # noqa: B018 - decodes it here, in the thread that reads
        else:
            picture.decode(self.size)
        return picture

    def probs(self, image: np.ndarray | Picture) -> np.ndarray:
        """Probabilities (K, H, W) float32 of an RGB picture (H, W, 3) uint8 at its own size."""
        return self.answer(image)()

    def answer(self, image: np.ndarray | Picture) -> Callable[[], np.ndarray]:
        """Run the model now; what comes back gives `probs` when it is called, in whatever thread.

        What is kept until then is small: the picture at its own size is made by the call.
        """
        if self._in_tiles(image):
            assert self.tile is not None
            pixels = image.pixels if isinstance(image, Picture) else image
            maps = blended(pixels, self.tile, lambda part: self._whole(part)())
            return lambda: maps
        return self._whole(image)

    def _in_tiles(self, image: np.ndarray | Picture) -> bool:
        return self.tile is not None and max(image.shape[:2]) > self.tile

    def _whole(self, image: np.ndarray | Picture) -> Callable[[], np.ndarray]:
        """`answer` for a picture that the model sees at once."""
        batch, box = self.prepare(image)
        if not self.tta:
            return partial(self.restore, to_probs(self.forward(batch))[0].numpy(), box)
        # One after the other: eight at once would need eight times the memory.
        views = [back(to_probs(self.forward(turned.contiguous()))) for turned, back in orientations(batch)]
        return partial(self.restore, torch.stack(views).mean(dim=0)[0].numpy(), box)

    def prepare(self, image: np.ndarray | Picture) -> tuple[Tensor, Box]:
        """A picture (H, W, 3) uint8 as what the model sees, (1, 3, S, S) float in [0, 1], and the way back."""
        square, box = letterbox(image, self.size)
        return to_batch(square[None]), box

    @staticmethod
    def restore(maps: np.ndarray, box: Box) -> np.ndarray:
        """Maps (K, S, S) of what the model saw, at the picture's own size: (K, H, W) float32."""
        return restore(maps, box)

    def forward(self, batch: Tensor) -> Tensor:
        """Logits (N, K, S, S) float32 on the CPU, of a batch (N, 3, S, S) in [0, 1]."""
        home = next(chain(self.model.parameters(), self.model.buffers()), batch)
        with torch.inference_mode():
            logits: Tensor = self.model(batch.to(home.device))
            return logits.float().cpu()

    @staticmethod
    def decide(probs: np.ndarray, *, threshold: float = 0.5) -> Prediction:
        """Mask from probabilities (K, H, W): threshold for one or two classes, the likeliest class for more.

        Raises:
            ValueError: If the threshold is not above 0 and below 1.

        Example:
            >>> Predictor.decide(np.array([[[0.2, 0.5, 0.6]]], np.float32)).mask
            array([[0, 0, 1]], dtype=uint8)
        """
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be above 0 and below 1; got {threshold}.")
        if len(probs) <= 2:
            return Prediction((probs[-1] > threshold).view(np.uint8), probs)
        return Prediction(probs.argmax(axis=0).astype(np.uint8), probs)


def to_batch(squares: np.ndarray) -> Tensor:
    """Pictures (N, S, S, 3) uint8 as a batch (N, 3, S, S) float in [0, 1], channels last in memory.

    Example:
        >>> to_batch(np.full((1, 2, 2, 3), 255, np.uint8)).shape
        torch.Size([1, 3, 2, 2])
    """
    return torch.from_numpy(np.ascontiguousarray(squares)).permute(0, 3, 1, 2).float().div_(255)


def to_probs(logits: Tensor) -> Tensor:
    """Probabilities (N, K, H, W): sigmoid for one map, softmax over several.

    Example:
        >>> to_probs(torch.zeros(1, 2, 1, 1)).flatten()
        tensor([0.5000, 0.5000])
    """
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


def _read(path: Path, device: str) -> tuple[nn.Module, Description]:
    """The model of a file or folder on its device, and what it says of itself."""
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        if device != "cpu":
            raise ValueError(f"device must be cpu for an ONNX file; got {device}.")
        return load_exported(path)
    model, description = load_run(path) if path.is_dir() else load_model(path)
    return model.to(device), description


def _default_classes(num_classes: int) -> tuple[str, ...]:
    """Names for a model that came without."""
    if num_classes <= 2:
        return ("background", "object")
    return ("background", *(f"class {i}" for i in range(1, num_classes)))
