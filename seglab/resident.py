"""A dataset that lives on the device: bytes gathered, augmented and turned to floats there, none copied in a step."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from seglab.augmentation import Parameters, apply_batch

__all__ = ["SHARE", "Resident", "free_memory", "placed"]

SHARE = 0.25  # of the device's free memory that the pictures may take; the step needs the rest


class Resident:
    """Pictures and masks on a device.

    Args:
        images: (N, S, S, 3) uint8.
        masks: (N, S, S) uint8.
        boxes: (top, left, height, width, ...) of each picture in its letterbox; the rest of the square is padding.
        device: Where they are to live.

    Example:
        >>> images, masks = np.full((2, 32, 32, 3), 51, np.uint8), np.ones((2, 32, 32), np.uint8)
        >>> resident = Resident(images, masks, [(0, 0, 32, 32)] * 2, torch.device("cpu"))
        >>> floats, classes = resident.batch([1], None)
        >>> floats.shape, round(float(floats.max()), 2), classes.dtype
        (torch.Size([1, 3, 32, 32]), 0.2, torch.int64)
    """

    def __init__(
        self, images: np.ndarray, masks: np.ndarray, boxes: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        self.device = device
        self.images = torch.from_numpy(images).to(device)
        self.masks = torch.from_numpy(masks).to(device)
        side = masks.shape[1]
        edges = torch.tensor([[top, left, top + height, left + width] for top, left, height, width, *_ in boxes])
        self._padded = bool((edges != torch.tensor([0, 0, side, side])).any())
        self._edges = edges.to(device)  # (N, 4)

    def batch(self, indices: Sequence[int], draw: Callable[[int], Parameters] | None) -> tuple[Tensor, Tensor]:
        """The pictures of these indices, augmented by what `draw` gives for each; None: as they are.

        Returns:
            (N, 3, S, S) float in [0, 1], channels last in memory, and (N, S, S) int64, both on the device.
        """
        # A thread of its own starts on the first GPU, and would leave a context there.
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            rows = torch.tensor(indices)
            if self.device.type == "cuda":
                rows = rows.pin_memory().to(self.device, non_blocking=True)
            images, masks = self.images.index_select(0, rows), self.masks.index_select(0, rows)
            if draw is not None:
                padding = self._padding(rows) if self._padded else None
                images, masks = apply_batch(images, masks, [draw(index) for index in indices], padding)
            return images.permute(0, 3, 1, 2).float().div_(255), masks.long()

    def _padding(self, rows: Tensor) -> Tensor:
        """(N, S, S) bool, true on the letterbox's grey."""
        top, left, bottom, right = self._edges.index_select(0, rows)[:, :, None].unbind(1)  # (N, 1) each
        place = torch.arange(self.masks.shape[1], device=self.device)
        inside_rows, inside_columns = (place >= top) & (place < bottom), (place >= left) & (place < right)  # (N, S)
        return ~(inside_rows[:, :, None] & inside_columns[:, None, :])


def placed(
    images: np.ndarray, masks: np.ndarray, boxes: Sequence[Sequence[int]], device: torch.device, free: int
) -> Resident | None:
    """Pictures and masks on a device; None if they would take more than SHARE of what is free there.

    Args:
        images: As `Resident`.
        masks: As `Resident`.
        boxes: As `Resident`.
        device: As `Resident`.
        free: Bytes that are free there, see `free_memory`.

    Example:
        >>> images, masks = np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 2, 2), np.uint8)
        >>> [placed(images, masks, [(0, 0, 2, 2)], torch.device("cpu"), free) is None for free in (63, 64)]
        [True, False]
    """
    if images.nbytes + masks.nbytes > SHARE * free:
        return None
    try:
        return Resident(images, masks, boxes, device)
    except torch.OutOfMemoryError:  # another process was faster
        return None


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a GPU; 0 on a device that is none, where nothing would be gained.

    Example:
        >>> free_memory(torch.device("cpu"))
        0
    """
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
