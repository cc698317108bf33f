"""What a step is fed: every picture once an epoch, the same for any number of threads; nonsense is refused."""

from functools import partial

import numpy as np
import pytest
import torch
from small_pictures import discs

from seglab import resident
from seglab.augmentation import Parameters, draw
from seglab.batches import Batch, Cache, batches
from seglab.contract import IGNORE_INDEX, Sample
from seglab.inference import letterbox, to_batch


@pytest.fixture
def cache(pictures):
    return Cache(pictures(7), 32, workers=2)


def epoch_of(cache: Cache, epoch: int = 0, workers: int = 0, seed: int = 0, **changes: object) -> list[Batch]:
    settings = {"batch_size": 2, "augment": True} | changes
    drawn = partial(draw, seed, epoch) if settings.pop("augment") else None
    return list(batches(cache, seed=seed, epoch=epoch, workers=workers, draw=drawn, **settings))


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        a.indices == b.indices and torch.equal(a.images, b.images) and torch.equal(a.masks, b.masks)
        for a, b in zip(first, second, strict=True)
    )


def one(image: object, mask: object, name: str = "odd") -> list[Sample]:
    class Data(list):
        classes = ("background", "object")

    return Data([Sample(image, mask, name)])


def test_pictures_lie_in_memory_letterboxed_with_unknown_padding(pictures, cache):
    sample = pictures(7)[3]
    image = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
    assert np.array_equal(cache.images[3], letterbox(image, 32)[0])
    assert (cache.masks[3][:4] == IGNORE_INDEX).all()  # 40 x 56 becomes 23 x 32
    assert set(np.unique(cache.masks[3][4:27])) == {0, 1}
    assert cache.names == [f"p{i}" for i in range(7)]
    assert len(cache) == 7


def test_batches_have_the_promised_shapes_and_ranges(cache):
    batch = epoch_of(cache)[0]
    assert batch.images.shape == (2, 3, 32, 32)
    assert batch.images.dtype == torch.float32
    assert batch.images.min() >= 0
    assert 0.5 < batch.images.max() <= 1
    assert batch.masks.shape == (2, 32, 32)
    assert batch.masks.dtype == torch.int64
    assert set(batch.masks.unique().tolist()) == {0, 1, IGNORE_INDEX}


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("workers", [1, 2, 4, 9])
def test_number_of_threads_changes_nothing(cache, workers, augment):
    for epoch in range(2):
        assert equal(epoch_of(cache, epoch, workers, augment=augment), epoch_of(cache, epoch, augment=augment))


def test_order_and_draws_depend_on_seed_and_epoch_only(cache):
    torch.manual_seed(5)
    first = epoch_of(cache, 1)
    torch.manual_seed(6)
    assert equal(first, epoch_of(cache, 1))
    for other in (epoch_of(cache, 2), epoch_of(cache, 1, seed=1)):
        assert [b.indices for b in first] != [b.indices for b in other]


@pytest.mark.parametrize("workers", [0, 2, 4])
def test_every_picture_of_every_epoch_is_augmented_differently(pictures, workers):
    same = pictures(1)[0]
    cache = Cache(one(*same), 32)
    cache.images, cache.masks = (np.repeat(array, 7, axis=0) for array in (cache.images, cache.masks))
    cache.boxes *= 7
    looks = set()
    for epoch in range(2):
        for batch in epoch_of(cache, epoch, workers, batch_size=3, seed=2):
            looks |= {image.numpy().tobytes() for image in batch.images}
    assert len(looks) == 12  # two epochs of 3 + 3, the last single one left out


def test_without_augmentation_pictures_are_as_they_are(cache):
    for batch in epoch_of(cache, augment=False):
        at_inference = to_batch(cache.images[list(batch.indices)])
        assert torch.equal(batch.images, at_inference)
        assert batch.images.stride() == at_inference.stride()
        for row, index in enumerate(batch.indices):
            assert np.array_equal((batch.images[row] * 255).round().byte().permute(1, 2, 0), cache.images[index])
            assert np.array_equal(batch.masks[row], cache.masks[index])


@pytest.mark.parametrize(("count", "batch_size", "sizes"), [
    (7, 2, [2, 2, 2]), (8, 2, [2, 2, 2, 2]), (7, 4, [4, 3]), (7, 1, [1] * 7), (1, 1, [1]), (1, 4, [1]), (3, 9, [3]),
    (5, 4, [4]),
])  # fmt: skip
def test_only_a_last_single_picture_is_left_out(pictures, count, batch_size, sizes):
    got = epoch_of(Cache(pictures(count), 32), batch_size=batch_size)
    assert [len(batch.indices) for batch in got] == sizes
    seen = [index for batch in got for index in batch.indices]
    assert len(set(seen)) == len(seen) == sum(sizes)


def test_left_out_picture_is_another_one_each_epoch(cache):
    left = [set(range(7)).difference(*(batch.indices for batch in epoch_of(cache, epoch))) for epoch in range(12)]
    assert len(set().union(*left)) >= 4


def test_stopping_early_leaves_no_thread_behind(cache):
    feed = batches(cache, batch_size=1, seed=0, epoch=0, draw=partial(draw, 0, 0), workers=2)
    next(feed)
    feed.close()
    assert next(feed, None) is None


def test_unknown_pixels_inside_the_picture_stay_visible(pictures):
    sample = pictures(1, (32, 32))[0]
    sample.mask[8:24, 8:24] = IGNORE_INDEX
    data = one(sample.image, sample.mask)
    batch = epoch_of(Cache(data, 32), batch_size=1)[0]
    inside = batch.images[0][:, batch.masks[0] == IGNORE_INDEX]
    assert inside.shape[1] > 50
    assert inside.std() > 0.03


def test_fingerprints_change_with_one_pixel_of_picture_or_mask(pictures):
    def digests(change: str) -> list[str]:
        data = pictures(2)
        if change:
            getattr(data[1], change)[..., 5, 5] ^= 1
        return list(Cache(data, 32).digests.values())

    plain = digests("")
    assert digests("") == plain
    for part in ("image", "mask"):
        assert digests(part)[0] == plain[0]
        assert digests(part)[1] != plain[1]


def test_pictures_of_one_name_keep_a_fingerprint_each(pictures):
    twice = one(*pictures(1)[0])
    twice.append(pictures(2)[1]._replace(name="p0"))
    digests = Cache(twice, 32).digests
    assert list(digests) == ["p0", "p0 (1)"]
    assert len(set(digests.values())) == 2


def test_objects_are_known_pixels_above_zero():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    mask = torch.zeros(32, 32, dtype=torch.uint8)
    mask[0] = IGNORE_INDEX
    assert not Cache(one(image, mask), 32).has_objects
    mask[1, 1] = 1
    assert Cache(one(image, mask), 32).has_objects


U8 = torch.uint8


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (torch.zeros(3, 32, 32), torch.zeros(32, 32, dtype=U8), r"image odd must be uint8 \(3, H, W\); got float32"),
        (torch.zeros(1, 32, 32, dtype=U8), torch.zeros(32, 32, dtype=U8), r"image odd must be uint8 \(3, H, W\)"),
        (torch.zeros(3, 32, 32, dtype=U8), torch.zeros(32, 31, dtype=U8), r"mask odd must have the picture's size"),
        (torch.zeros(3, 32, 32, dtype=U8), torch.zeros(32, 32).long(), "mask odd must be uint8; got int64"),
        (torch.zeros(3, 32, 32, dtype=U8), torch.full((32, 32), 200, dtype=U8), r"below 2, or 255; got \[200\]"),
    ],
)
def test_samples_that_would_train_on_nonsense_are_refused_by_name(image, mask, message):
    with pytest.raises(ValueError, match=message):
        Cache(one(image, mask), 32)


def test_empty_dataset_is_refused(pictures):
    with pytest.raises(ValueError, match="data set must hold at least one picture; got none"):
        Cache(pictures(0), 32)


class Broken:
    """Three pictures, the second of which cannot be read."""

    classes = ("background", "object")

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        if index == 1:
            raise self.error
        return discs(1)[0]


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (StopIteration("ends quietly"), ValueError, r"picture number 1 could not be read; got StopIteration: ends q"),
        (KeyError("mask"), ValueError, r"picture number 1 could not be read; got KeyError: 'mask'\."),
        (ZeroDivisionError(), ValueError, r"picture number 1 could not be read; got ZeroDivisionError\."),
        (ValueError("a.png: The picture file is empty."), ValueError, r"^a\.png: The picture file is empty\.$"),
        (FileNotFoundError("b.png is not there"), FileNotFoundError, r"^b\.png is not there$"),
        (MemoryError("Unable to allocate 9 GiB"), MemoryError, "^Unable to allocate 9 GiB$"),
        (RuntimeError("x: Insufficient memory\nin function"), MemoryError, "^x: Insufficient memory in function$"),
    ],
)
def test_error_of_a_reading_thread_comes_out_in_one_line_that_names_the_picture(workers, error, kind, message):
    with pytest.raises(kind, match=message):
        Cache(Broken(error), 32, workers=workers)


@pytest.mark.parametrize("workers", [0, 3])
def test_error_of_an_augmenting_thread_names_the_batch_and_never_ends_the_epoch_early(pictures, workers):
    def fail(index: int) -> Parameters:
        if index == 4:
            raise StopIteration
        return draw(0, 0, index)

    feed = batches(Cache(pictures(6), 32), batch_size=2, seed=0, epoch=0, draw=fail, workers=workers)
    with pytest.raises(ValueError, match=r"batch with p\d, p\d could not be made; got StopIteration\."):
        list(feed)


def test_for_a_gpu_without_room_batches_come_in_memory_it_copies_from(pictures, monkeypatch):
    monkeypatch.setattr(resident, "free_memory", lambda device: 0)
    pinned: list[torch.Size] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: (pinned.append(tensor.shape), tensor)[1])
    cache = Cache(pictures(4), 32)
    for device, count in ((None, 0), (torch.device("cpu"), 0), (torch.device("cuda"), 4)):
        list(batches(cache, batch_size=2, seed=0, epoch=0, draw=None, workers=0, device=device))
        assert len(pinned) == count
    assert set(pinned) == {(2, 3, 32, 32), (2, 32, 32)}
