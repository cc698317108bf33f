"""What a training step is fed: pictures read once, shuffled by (seed, epoch), augmented by (seed, epoch, index).

Pictures are letterboxed to the training size once and kept as uint8, on disk if they are files (see `disk_cache`), else
in memory. Threads read and augment ahead of the step; since every draw depends only on (seed, epoch, index), their
number and timing cannot change a result. For a GPU with room for them the pictures live there, and are augmented there.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple, NoReturn, Self

import numpy as np
import torch
from torch import Tensor

from seglab import augmentation, disk_cache, resident
from seglab.contract import IGNORE_INDEX, Sample
from seglab.data import Dataset, picture_digest
from seglab.data._seen import seen
from seglab.devices import out_of_memory
from seglab.disk_cache import Decoded
from seglab.inference import Box, letterbox

__all__ = ["Batch", "Cache", "Draw", "batches"]

Draw = Callable[[int], augmentation.Parameters]
Take = Callable[[tuple[int, ...]], tuple[int, ...]]


class Batch(NamedTuple):
    """One step's pictures and masks."""

    images: Tensor  # (N, 3, S, S) float in [0, 1]
    masks: Tensor  # (N, S, S) int64; the letterbox's padding is IGNORE_INDEX
    indices: tuple[int, ...]  # which pictures of the data set
    group: tuple[int, ...] = ()  # those of the whole batch, of which this is what `mine` took

    def pinned(self) -> Self:
        """The batch in memory from which a GPU copies by itself, so that the step need not wait for the copy."""
        return self._replace(images=self.images.pin_memory(), masks=self.masks.pin_memory())


class Cache:
    """A dataset's pictures and masks at the training size, 4 bytes a pixel: mapped from the disk cache, or in memory.

    Args:
        data: The dataset; every picture is read here, so a damaged file is found before training. If the disk cache
            holds what the same files gave before, they are compared with it by their bytes and not decoded again.
        size: Side of the letterbox in pixels.
        workers: Threads that read.

    Raises:
        ValueError: If the dataset is empty, a mask does not fit its picture, or a label is not a class.

    Attributes:
        images: (N, S, S, 3) uint8.
        masks: (N, S, S) uint8; the letterbox's padding is IGNORE_INDEX.
        names: Names of the pictures, in order.
        pictures: Digest of each picture without its mask, see `seglab.data.picture_digest`.
        digests: Fingerprint of each picture and mask by name, in order; a name met again gets its index behind it.

    Example:
        >>> from seglab.data.synthetic import Synthetic
        >>> cache = Cache(Synthetic("skin", count=2, size=(40, 60)), 32)
        >>> cache.images.shape, int(cache.masks[0, 0, 0])
        ((2, 32, 32, 3), 255)
    """

    def __init__(self, data: Dataset, size: int, *, workers: int = 2) -> None:
        if len(data) == 0:
            raise ValueError("the data set must hold at least one picture; got none.")
        entry = disk_cache.entry_of(data, size, workers=workers)
        found = disk_cache.load(entry) if entry is not None else None
        if found is None:
            found = _decoded(data, size, workers)
            if entry is not None and disk_cache.entry_of(data, size, workers=workers) == entry:  # no file has changed
                found = disk_cache.store(entry, found)
        self.images, self.masks = found.images, found.masks
        self.boxes = [Box(*box) for box in found.boxes]
        self.names, self.pictures = found.names, found.pictures
        self._residents: dict[torch.device, resident.Resident | None] = {}
        self.digests: dict[str, str] = {}
        for index, (name, digest) in enumerate(zip(self.names, found.digests, strict=True)):
            self.digests[f"{name} ({index})" if name in self.digests else name] = digest

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def has_objects(self) -> bool:
        """Whether any pixel of any mask is of a class above 0."""
        return bool(((self.masks > 0) & (self.masks != IGNORE_INDEX)).any())

    def on(self, device: torch.device) -> resident.Resident | None:
        """The pictures on a GPU, brought there at the first call; None without one, or without room for them.

        Room is a quarter of what is free there at that time, for a step needs the rest.
        """
        if device not in self._residents:
            free = resident.free_memory(device)
            self._residents[device] = resident.placed(self.images, self.masks, self.boxes, device, free)
        return self._residents[device]

    def batch(
        self, indices: tuple[int, ...], draw: Draw | None = None, source: resident.Resident | None = None
    ) -> Batch:
        """The pictures of these indices, augmented by what `draw` gives for each index; None: as they are.

        From `source`, if it is given, they come on its device, and augmented by `apply_batch`.
        """
        try:
            if source is not None:
                return Batch(*source.batch(indices, draw), indices)
            pairs = [self._augmented(i, draw(i)) if draw else (self.images[i], self.masks[i]) for i in indices]
        except Exception as error:
            _explain(error, f"batch with {', '.join(self.names[i] for i in indices[:4])} could not be made")
        return Batch(*_as_tensors(pairs), indices)

    def _augmented(self, index: int, parameters: augmentation.Parameters) -> tuple[np.ndarray, np.ndarray]:
        return augmentation.apply(self.images[index], self.masks[index], parameters, self._padding(index))

    def _padding(self, index: int) -> np.ndarray | None:
        """(S, S) uint8, 1 on the letterbox's grey; None if there is none."""
        side, box = self.masks.shape[1], self.boxes[index]
        if (box.height, box.width) == (side, side):
            return None
        padding = np.ones((side, side), np.uint8)
        padding[box.top : box.top + box.height, box.left : box.left + box.width] = 0
        return padding


def batches(  # noqa: PLR0913 - four say which pictures, four how they come
    cache: Cache,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    draw: Draw | None,
    workers: int,
    mine: Take = tuple,
    device: torch.device | None = None,
) -> Iterator[Batch]:
    """One epoch of shuffled batches.

    A last batch of a single picture is left out when there are larger ones: batch norm cannot train on one value.

    Args:
        cache: The pictures.
        batch_size: Pictures in a batch, 1 or above; the last batch may have fewer.
        seed: Seed of the run, 0 or above.
        epoch: Epoch, from 0.
        draw: Index of a picture -> its augmentation in this epoch; None: pictures as they are.
        workers: Threads that work ahead; 0 works when asked.
        mine: What this process takes of each batch, when several share it; at least one picture.
        device: Where the step is. A GPU with room for all pictures keeps them, and gives batches that are there
            already; then colours differ from those of the processor by rounding, and noise by its numbers.
    """
    source = None if device is None else cache.on(device)

    def made(group: tuple[int, ...]) -> Batch:
        batch = cache.batch(mine(group), draw, source)._replace(group=group)
        return batch.pinned() if source is None and device is not None and device.type == "cuda" else batch

    order = np.random.default_rng([seed, epoch]).permutation(len(cache)).tolist()
    groups = [tuple(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]
    if batch_size > 1 and len(groups) > 1 and len(groups[-1]) == 1:
        groups.pop()
    if workers == 0:
        yield from map(made, groups)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[Batch]] = deque()
        for group in groups:
            ahead.append(pool.submit(made, group))
            if len(ahead) > workers + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _as_tensors(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """What `to_batch` makes of the pictures, and the masks, picture by picture: one stays in the processor's cache."""
    shape = (len(pairs), *pairs[0][1].shape)
    images, masks = np.empty((*shape, 3), np.float32), np.empty(shape, np.int64)
    for row, (image, mask) in enumerate(pairs):
        np.copyto(images[row], image)
        images[row] /= np.float32(255)
        masks[row] = mask
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(masks)


def _decoded(data: Dataset, size: int, workers: int) -> Decoded:
    """Every picture and mask read, checked, and letterboxed into memory."""
    count = len(data)
    images, masks = np.empty((count, size, size, 3), np.uint8), np.empty((count, size, size), np.uint8)
    boxes: list[tuple[int, ...]] = [()] * count
    names, pictures, digests = ([""] * count for _ in range(3))

    def fill(index: int) -> None:
        sample = _sample(data, index)
        image, mask = sample.image.permute(1, 2, 0).numpy(), sample.mask.numpy()
        _check(image, mask, len(data.classes), sample.name)
        images[index], boxes[index] = letterbox(seen(data, index, np.ascontiguousarray(image)), size)
        masks[index] = letterbox(mask, size, fill=IGNORE_INDEX, nearest=True)[0]
        names[index] = sample.name
        pictures[index] = picture_digest(sample.image)
        digests[index] = hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()[:16]

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for _ in pool.map(fill, range(count)):
            pass
    return Decoded(images, masks, boxes, names, pictures, digests)


def _sample(data: Dataset, index: int) -> Sample:
    """One picture with its mask; whatever its reader raises names it."""
    try:
        return data[index]
    except (ValueError, OSError):  # the readers' own words, which name the file
        raise
    except Exception as error:
        name = getattr(data, "name", None)
        _explain(error, f"picture {name(index) if callable(name) else f'number {index}'} could not be read")


def _explain(error: Exception, what: str) -> NoReturn:
    """Raise an error of a worker thread in one line; a StopIteration must not end an epoch early."""
    if out_of_memory(error):
        raise error if isinstance(error, MemoryError) else MemoryError(" ".join(str(error).split()))
    words = " ".join(str(error).split())
    raise ValueError(f"{what}; got {type(error).__name__}{': ' if words else ''}{words}.") from error


def _check(image: np.ndarray, mask: np.ndarray, num_classes: int, name: str) -> None:
    """Refuse a pair that would train on nonsense."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image {name} must be uint8 (3, H, W); got {image.dtype} {image.shape}.")
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask {name} must have the picture's size {image.shape[:2]}; got {mask.shape}.")
    if mask.dtype != np.uint8:
        raise ValueError(f"mask {name} must be uint8; got {mask.dtype}.")
    present = np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256))
    wrong = [int(v) for v in present if v >= num_classes and v != IGNORE_INDEX]
    if wrong:
        raise ValueError(f"mask {name} must hold class indices below {num_classes}, or 255; got {wrong[:5]}.")
