"""Decoded pictures kept on disk: equal bits with and without, never stale, never half, never in the way."""

import json
import multiprocessing
import os
import re
import shutil
import time
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seglab import disk_cache
from seglab.batches import Cache
from seglab.classroom import Training
from seglab.config import TrainConfig
from seglab.contract import Sample
from seglab.data import Joined, PairedFolder, Splits, load_dataset
from seglab.data._folds import Chosen
from seglab.data._layout import BinaryMask
from seglab.data.coco import CocoFolder
from seglab.data.labelme import load as load_labelme
from seglab.losses import build_loss
from seglab.orders import Order
from seglab.training import train

SIZE = 32


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(disk_cache, "SMALL", 0)
    return tmp_path / "cache" / "pictures"


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "data")


@pytest.fixture
def data(root):
    return load_dataset("folder", root, shares=(1.0, 0.0, 0.0)).train


@pytest.fixture
def reads(monkeypatch):
    """Names of the pictures that were decoded."""
    seen: list[str] = []

    def read(self: PairedFolder, index: int, original=PairedFolder.__getitem__) -> Sample:
        seen.append(self.name(index))
        return original(self, index)

    monkeypatch.setattr(PairedFolder, "__getitem__", read)
    return seen


def write(root: Path, count: int = 4) -> Path:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(root / "images" / f"{index}.png")
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, index : 30 + index] = 255
        Image.fromarray(mask).save(root / "masks" / f"{index}.png")
    return root


def entries(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def same(first: Cache, second: Cache) -> bool:
    assert first.images.dtype == second.images.dtype == first.masks.dtype == second.masks.dtype == np.uint8
    facts = [(c.boxes, c.names, c.pictures, list(c.digests.items())) for c in (first, second)]
    arrays = np.array_equal(first.images, second.images) and np.array_equal(first.masks, second.masks)
    return arrays and facts[0] == facts[1]


def without(data: PairedFolder, monkeypatch: pytest.MonkeyPatch) -> Cache:
    with monkeypatch.context() as patch:
        patch.setenv("SEGLAB_CACHE", "off")
        return Cache(data, SIZE)


def test_second_time_nothing_is_decoded_and_every_bit_is_the_same(place, data, reads, monkeypatch):
    plain = without(data, monkeypatch)
    reads.clear()
    first = Cache(data, SIZE)
    assert sorted(reads) == ["0", "1", "2", "3"]
    second = Cache(data, SIZE)
    assert len(reads) == 4
    assert same(plain, first)
    assert same(plain, second)
    for cache in (first, second):
        assert isinstance(cache.images.base, np.memmap)  # also what was just stored no longer takes memory
    assert len(entries(place)) == 1


def test_whoever_writes_into_the_arrays_changes_no_file(place, data, monkeypatch):
    plain, changed = without(data, monkeypatch), Cache(data, SIZE)
    changed.images[:] = 0
    torch.from_numpy(changed.masks[:2])  # a read-only array would warn
    assert same(plain, Cache(data, SIZE))


def test_a_training_ends_with_the_same_bits_with_and_without(place, data, small_unet, tmp_path, monkeypatch):
    def trained(out: str) -> bytes:
        config = TrainConfig(epochs=1, size=SIZE, batch_size=2, device="cpu")
        train(small_unet(), build_loss("bce_dice"), data, data, config, out=tmp_path / out)
        return (tmp_path / out / "best.safetensors").read_bytes()

    Cache(data, SIZE)
    mapped = trained("mapped")
    monkeypatch.setenv("SEGLAB_CACHE", "off")
    assert mapped == trained("memory")
    assert len(entries(place)) == 1


@pytest.mark.parametrize("changed", ["image", "mask"])
def test_one_other_pixel_makes_another_entry_though_size_and_time_are_the_same(place, data, root, changed):
    file = root / f"{changed}s" / "2.png"
    with Image.open(file) as opened:
        pixels = np.array(opened)
    for stored in (file, file.with_suffix(".bmp")):  # uncompressed, so that the size stays
        Image.fromarray(pixels).save(stored)
    bmp = file.with_suffix(".bmp")
    pair = data.pairs[2]._replace(**{changed: bmp})
    data = replace(data, pairs=(*data.pairs[:2], pair))
    first = Cache(data, SIZE)
    before = bmp.stat()
    pixels[12, 12] = 255 - pixels[12, 12]
    Image.fromarray(pixels).save(bmp)
    os.utime(bmp, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert bmp.stat().st_size == before.st_size
    assert not same(first, Cache(data, SIZE))
    assert len(entries(place)) == 2


@pytest.mark.parametrize("kind", ["classes", "reader", "order", "names", "size", "code", "version"])
def test_whatever_the_content_depends_on_makes_another_entry(place, data, kind, monkeypatch):
    before, size = disk_cache.entry_of(data, SIZE), SIZE
    if kind == "classes":
        data = replace(data, classes=("background", "object", "other"))
    elif kind == "reader":
        data = replace(data, read_mask=BinaryMask(100))
        assert disk_cache.entry_of(replace(data, read_mask=BinaryMask(99)), size) != disk_cache.entry_of(data, size)
    elif kind == "order":
        data = replace(data, pairs=data.pairs[::-1])
    elif kind == "names":
        data = replace(data, pairs=(data.pairs[0]._replace(name="x"), *data.pairs[1:]))
    elif kind == "size":
        size = SIZE * 2
    elif kind == "code":
        monkeypatch.setattr(disk_cache, "CODE", ("images/*.py",))
    else:
        monkeypatch.setattr("PIL.__version__", "0")
    assert None is not before != disk_cache.entry_of(data, size)


def test_a_moved_dataset_keeps_its_entry(place, data, root, reads):
    Cache(data, SIZE)
    moved = load_dataset("folder", root.rename(root.with_name("moved")), shares=(1.0, 0.0, 0.0)).train
    reads.clear()
    Cache(moved, SIZE)
    assert reads == []


def test_joined_and_chosen_pictures_are_kept_too(place, data, reads, monkeypatch):
    for several in (
        Joined((data, data), ("a", "b")),
        Chosen((data, data), ((1, 2), (0, 0))),
        Joined((Chosen((data,), ((0, 1),)),), ("a",)),
    ):
        plain, built = without(several, monkeypatch), Cache(several, SIZE)
        reads.clear()
        assert same(plain, Cache(several, SIZE))
        assert same(plain, built)
        assert reads == []


def test_annotations_belong_to_the_content(place, data, root):
    file = root / "annotations.json"
    file.write_text("{}")
    pairs = tuple(pair._replace(mask=file) for pair in data.pairs)

    def coco(side: int) -> CocoFolder:
        square = [[0, 0, side, 0, side, side, 0, side]]
        return CocoFolder(pairs, regions={pair.name: [(1, square, "annotation 1")] for pair in pairs})

    assert disk_cache.entry_of(coco(9), SIZE) == disk_cache.entry_of(coco(9), SIZE) is not None
    assert disk_cache.entry_of(coco(9), SIZE) != disk_cache.entry_of(coco(12), SIZE)
    assert same(Cache(coco(9), SIZE), Cache(coco(9), SIZE))


def test_labelme_files_are_kept_by_their_labels(place, data, root, tmp_path):
    folder = tmp_path / "labelme"
    folder.mkdir()
    for name in ("0", "1", "2"):
        shutil.copy(root / "images" / f"{name}.png", folder)
        shape = {"label": "mole", "points": [[1, 1], [20, 20]], "shape_type": "rectangle"}
        content = {"shapes": [shape], "imageHeight": 40, "imageWidth": 60, "imagePath": f"{name}.png"}
        (folder / f"{name}.json").write_text(json.dumps(content))
    data = load_labelme(folder, shares=(1.0, 0.0, 0.0)).train
    assert same(Cache(data, SIZE), Cache(data, SIZE))
    assert len(entries(place)) == 1


@dataclass(frozen=True)
class Own(PairedFolder):
    """A subclass may read whatever it likes."""


def own_reader(path: Path) -> np.ndarray:
    return np.zeros((40, 60, 3), np.uint8)


def test_what_cannot_be_known_is_not_kept(place, data, pictures):
    generated = load_dataset("synthetic", count=(2, 1, 1), size=(40, 60)).train
    for unknown in (
        generated,
        pictures(2),
        Own(data.pairs),
        Joined((data, generated), ("a", "b")),
        replace(data, read_image=own_reader),
        replace(data, read_mask=partial(lambda path, size, num_classes: np.zeros(size, np.uint8))),
    ):
        assert disk_cache.entry_of(unknown, SIZE) is None
        Cache(unknown, SIZE)
    assert not place.exists()


def test_small_data_and_those_who_want_none_get_none(data, place, tmp_path, monkeypatch):
    monkeypatch.setattr(disk_cache, "SMALL", 10**6)
    Cache(data, SIZE)
    monkeypatch.setattr(disk_cache, "SMALL", 0)
    monkeypatch.setenv("SEGLAB_CACHE", "off")
    Cache(data, SIZE)
    assert not place.exists()


def test_the_folder_is_the_systems_unless_another_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("SEGLAB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert disk_cache.folder() == tmp_path / ".cache" / "seglab" / "pictures"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")  # which the specification says to ignore
    assert disk_cache.folder() == tmp_path / ".cache" / "seglab" / "pictures"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert disk_cache.folder() == tmp_path / "x" / "seglab" / "pictures"
    monkeypatch.setenv("SEGLAB_CACHE", "~/y")
    assert disk_cache.folder() == tmp_path / "y" / "pictures"
    monkeypatch.setenv("SEGLAB_CACHE", "off")
    assert disk_cache.folder() is None


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def empty(file: Path) -> None:
    os.truncate(file, 0)


@pytest.mark.parametrize("damage", [flip, cut, empty, Path.unlink])
@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "facts.json"])
def test_a_damaged_entry_is_noticed_and_made_again(place, data, reads, monkeypatch, name, damage):
    plain = without(data, monkeypatch)
    Cache(data, SIZE)
    damage(place / entries(place)[0] / name)
    reads.clear()
    assert same(plain, Cache(data, SIZE))
    assert len(reads) == 4
    assert same(plain, Cache(data, SIZE))
    assert len(reads) == 4
    assert len(entries(place)) == 1


def test_a_full_disk_costs_one_warning_and_nothing_else(place, data, monkeypatch):
    plain = without(data, monkeypatch)
    monkeypatch.setattr(disk_cache, "RESERVE", 2**60)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        cache = Cache(data, SIZE)
        Cache(data, SIZE * 2)  # as the validation set of the same training
    message = (
        rf"decoded pictures could not be kept in {place}: less than \d+ MB would stay free\. .*SEGLAB_CACHE=off none\."
    )
    assert [bool(re.fullmatch(message, str(one.message))) for one in told] == [True]
    assert Path(told[0].filename).parent.name == "seglab"  # what the command line prints
    assert same(plain, cache)
    assert entries(place) == []


def test_a_disk_that_fills_while_writing_leaves_nothing_behind(place, data, monkeypatch):
    plain = without(data, monkeypatch)

    def save(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.save", save)
    with pytest.warns(UserWarning, match="No space left on device"):
        cache = Cache(data, SIZE)
    assert same(plain, cache)
    assert entries(place) == []


def test_a_folder_that_cannot_be_made_costs_one_warning(place, data, monkeypatch):
    plain = without(data, monkeypatch)
    place.parent.write_text("a file is in the way")
    with pytest.warns(UserWarning, match="could not be kept"):
        assert same(plain, Cache(data, SIZE))


def test_a_write_that_lies_is_noticed(place, data, monkeypatch):
    plain, write = without(data, monkeypatch), np.save

    def lie(file: object, array: np.ndarray, **settings: bool) -> None:
        write(file, array ^ np.uint8(1), **settings)

    with monkeypatch.context() as patch:
        patch.setattr("numpy.save", lie)
        assert same(plain, Cache(data, SIZE))
    assert same(plain, Cache(data, SIZE))


def test_a_file_that_changes_while_it_is_read_is_not_kept(place, data, root, monkeypatch):
    original = PairedFolder.__getitem__

    def read(self: PairedFolder, index: int) -> Sample:
        found = original(self, index)
        shutil.copy(root / "images" / "1.png", root / "images" / "0.png")
        return found

    monkeypatch.setattr(PairedFolder, "__getitem__", read)
    Cache(data, SIZE)
    assert not place.exists()


def test_a_missing_or_odd_file_is_told_of_by_its_reader(place, data, root):
    (root / "images" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"1\.png.*does not exist"):
        Cache(data, SIZE)
    os.mkfifo(root / "images" / "1.png")  # which nobody will ever write to
    with pytest.raises(ValueError, match=r"1\.png.*must be a regular file"):
        Cache(data, SIZE)
    assert not place.exists()


def test_of_two_that_store_at_once_either_stays(place, data, monkeypatch):
    entry, plain = disk_cache.entry_of(data, SIZE), without(data, monkeypatch)
    decoded = disk_cache.Decoded(
        plain.images, plain.masks, plain.boxes, plain.names, plain.pictures, list(plain.digests.values())
    )
    first = disk_cache.store(entry, decoded)
    inode = (entry / "images.npy").stat().st_ino
    assert np.array_equal(disk_cache.store(entry, decoded).images, first.images)
    assert (entry / "images.npy").stat().st_ino == inode
    assert entries(place) == [entry.name]


def build(root: Path, start: multiprocessing.Barrier, queue: multiprocessing.Queue) -> None:
    disk_cache.SMALL = 0
    data = load_dataset("folder", root, shares=(1.0, 0.0, 0.0)).train
    start.wait(120)
    cache = Cache(data, SIZE)
    queue.put((cache.images.tobytes(), cache.masks.tobytes(), cache.names))


def test_processes_that_build_at_once_all_get_the_pictures(place, data, root, monkeypatch):
    plain = without(data, monkeypatch)
    context = multiprocessing.get_context("spawn")
    start, queue = context.Barrier(2), context.Queue()
    process = context.Process(target=build, args=(root, start, queue))
    process.start()
    start.wait(120)
    assert same(plain, Cache(data, SIZE))
    assert queue.get(timeout=120) == (plain.images.tobytes(), plain.masks.tobytes(), plain.names)
    process.join()
    assert len(entries(place)) == 1


def test_only_old_entries_are_removed_and_nothing_that_is_not_one(place, data):
    place.mkdir(parents=True)
    old = time.time() - 61 * 86400
    for name in ("0" * 32, "1" * 32 + ".abc.part", "thesis", "2" * 31):
        (place / name).mkdir()
        os.utime(place / name, (old, old))
    (place / ("3" * 32 + ".x.part")).mkdir()  # another process is at it now
    Cache(data, SIZE)
    kept = set(entries(place)) - {disk_cache.entry_of(data, SIZE).name}
    assert kept == {"thesis", "2" * 31, "3" * 32 + ".x.part"}


def test_use_keeps_an_entry_young(place, data):
    Cache(data, SIZE)
    entry = disk_cache.entry_of(data, SIZE)
    os.utime(entry, (0, 0))
    Cache(data, SIZE)
    assert time.time() - entry.stat().st_mtime < 3600


def test_an_entry_that_may_not_be_touched_is_still_used(place, data, reads, monkeypatch):
    Cache(data, SIZE)
    reads.clear()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk_cache.os, "utime", refuse)
    Cache(data, SIZE)
    assert reads == []


def test_pictures_are_kept_from_other_users(place, data):
    Cache(data, SIZE)
    assert place.stat().st_mode & 0o077 == 0


def test_splits_of_one_dataset_do_not_share_an_entry(place, root):
    splits: Splits = load_dataset("folder", root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = [Cache(part, SIZE).names for part in splits]
    assert len(entries(place)) == 3
    assert names == [Cache(part, SIZE).names for part in splits]


def test_what_visitors_upload_to_the_app_is_not_kept(tmp_path, monkeypatch):
    seen: list[dict[str, str]] = []
    monkeypatch.setattr("seglab.classroom.subprocess.Popen", lambda *_, env, **__: seen.append(env))
    Training(tmp_path, Order(data="skin"))
    assert seen[0]["SEGLAB_CACHE"] == "off"
