"""Pictures that live on the device: the same batches as from the processor, to rounding; only where there is room."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from seglab import resident, training
from seglab.augmentation import draw
from seglab.batches import Batch, Cache, batches
from seglab.config import TrainConfig
from seglab.contract import IGNORE_INDEX, PADDING_GREY
from seglab.losses import build_loss
from seglab.models import Segmenter
from seglab.resident import Resident

CPU = torch.device("cpu")


@pytest.fixture
def cache(pictures):
    return Cache(pictures(7), 32)


@pytest.fixture
def room(monkeypatch):
    """As if the processor were a GPU with room."""
    monkeypatch.setattr(resident, "free_memory", lambda device: 2**30)


def epoch_of(cache: Cache, *, workers: int = 0, augment: bool = True, device: torch.device | None = CPU) -> list[Batch]:
    drawn = partial(draw, 0, 1) if augment else None
    return list(batches(cache, batch_size=3, seed=0, epoch=1, draw=drawn, workers=workers, device=device))


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        a.indices == b.indices and torch.equal(a.images, b.images) and torch.equal(a.masks, b.masks)
        for a, b in zip(first, second, strict=True)
    )


def test_without_augmentation_batches_are_bit_for_bit_those_of_the_processor(cache, room):
    found = epoch_of(cache, augment=False)
    assert equal(found, epoch_of(cache, augment=False, device=None))
    assert isinstance(cache.on(CPU), Resident)
    for batch in found:
        assert batch.images.dtype == torch.float32
        assert batch.masks.dtype == torch.int64
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_augmented_batches_are_those_of_the_processor_to_rounding(cache, room):
    for found, expected in zip(epoch_of(cache), epoch_of(cache, device=None), strict=True):
        assert found.indices == expected.indices
        assert found.group == expected.group
        apart = (found.images - expected.images).abs() * 255
        assert apart.mean() < 1
        assert apart.quantile(0.99) <= 6  # as in the tests of apply_batch
        assert (found.masks != expected.masks).float().mean() < 2e-3
        assert set(found.masks.unique().tolist()) == {0, 1, IGNORE_INDEX}


@pytest.mark.parametrize("workers", [1, 3])
def test_number_of_threads_changes_nothing(cache, room, workers):
    assert equal(epoch_of(cache, workers=workers), epoch_of(cache))


def test_a_process_gets_its_part_of_a_batch(cache, room):
    whole = epoch_of(cache, augment=False)
    half = batches(cache, batch_size=3, seed=0, epoch=1, draw=None, workers=0, mine=lambda group: group[:2], device=CPU)
    for found, expected in zip(half, whole, strict=True):
        assert found.indices == expected.indices[:2]
        assert torch.equal(found.images, expected.images[:2])


def test_padding_is_painted_where_each_picture_has_it(pictures, room):
    wide, tall, square = pictures(1, (20, 32)), pictures(1, (32, 10)), pictures(1, (32, 32))
    data = type(wide)(wide.samples + tall.samples + square.samples)
    cache = Cache(data, 32)
    images, _ = cache.on(CPU).batch([2, 1, 0], partial(draw, 0, 0, rotation=0.0, strength=0.0))  # flips alone
    grey = ((images * 255).round() == PADDING_GREY).all(dim=1)
    assert not grey[0].any()
    assert grey[1].sum() == 32 * 22
    assert grey[1].all(dim=0).sum() == 22
    assert grey[2].sum() == 32 * 12
    assert grey[2].all(dim=1).sum() == 12


def test_pictures_are_brought_there_once_and_not_copied_again(cache, room):
    first = cache.on(CPU)
    epoch_of(cache)
    assert cache.on(CPU) is first
    images = np.full((2, 4, 4, 3), 7, np.uint8)
    kept = Resident(images, images[..., 0].copy(), [(0, 0, 4, 4)] * 2, CPU)
    assert kept.images.data_ptr() == images.ctypes.data


@pytest.mark.parametrize(("share_of_need", "there"), [(0.99, False), (1.01, True)])
def test_without_room_they_stay_where_they_are(cache, monkeypatch, share_of_need, there):
    need = (cache.images.nbytes + cache.masks.nbytes) / resident.SHARE
    monkeypatch.setattr(resident, "free_memory", lambda device: int(need * share_of_need))
    assert (cache.on(CPU) is not None) == there
    if not there:
        assert equal(epoch_of(cache), epoch_of(cache, device=None))


def test_memory_that_another_process_took_meanwhile_is_no_failure(cache, room, monkeypatch):
    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Resident, "__init__", refuse)
    assert equal(epoch_of(cache), epoch_of(cache, device=None))


def test_on_the_processor_nothing_changes(cache):
    assert cache.on(CPU) is None
    assert equal(epoch_of(cache, device=CPU), epoch_of(cache, device=None))


def test_an_error_names_the_batch(cache, room):
    def fail(index: int) -> None:
        raise KeyError(index)

    feed = batches(cache, batch_size=3, seed=0, epoch=0, draw=fail, workers=2, device=CPU)
    with pytest.raises(ValueError, match=r"batch with p\d, p\d, p\d could not be made; got KeyError: \d\."):
        list(feed)


def test_validation_takes_its_pictures_from_the_device_and_scores_the_same(pictures, room, monkeypatch):
    torch.manual_seed(0)
    model, config = Segmenter(nn.Conv2d(3, 1, 1)), TrainConfig(size=32, batch_size=2, amp=False)
    val, taken = Cache(pictures(5), 32), []
    batch = Resident.batch
    monkeypatch.setattr(
        Resident, "batch", lambda self, indices, draw: (taken.extend(indices), batch(self, indices, draw))[1]
    )
    found = training._validate(model, build_loss("bce_dice"), val, config)
    assert taken == [0, 1, 2, 3, 4]
    monkeypatch.setattr(resident, "free_memory", lambda device: 0)
    expected = training._validate(model, build_loss("bce_dice"), Cache(pictures(5), 32), config)
    assert found == expected
    assert len(taken) == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_batches_are_there_and_agree(cache):
    for workers in (0, 2):
        found = epoch_of(cache, workers=workers, augment=False, device=torch.device("cuda", 0))
        for batch, expected in zip(found, epoch_of(cache, augment=False, device=None), strict=True):
            assert batch.images.device.type == batch.masks.device.type == "cuda"
            assert torch.allclose(batch.images.cpu(), expected.images, atol=1e-6)
            assert torch.equal(batch.masks.cpu(), expected.masks)
