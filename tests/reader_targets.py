"""Every reader of files from elsewhere as a target: bytes in; a sound result, or one line that names the file.

`tests/test_readers.py` aims at them for seconds, `tests/soak/fuzz.py` for as long as one likes.
"""

import contextlib
import hashlib
import io
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from seglab.checkpoint import Description, load_model, load_state, save_model, save_state
from seglab.config import TrainConfig
from seglab.contract import IGNORE_INDEX
from seglab.data import Splits, load_dataset
from seglab.data._folds import fold_of, read_folds
from seglab.data.coco import run_lengths
from seglab.data.labelme import read_labelme
from seglab.images import mask_values, read_image, read_mask, write_png
from seglab.models import build_model
from seglab.records import read_record

PIXELS = 2**18  # a limit that keeps one reading short
SIZE = (16, 17)


class Target(NamedTuple):
    """A reader, examples of what it accepts, and whether those are JSON."""

    read: Callable[[bytes, Path], None]
    seeds: Callable[[], list[bytes]]
    is_json: bool = False


def aim(target: Target, data: bytes, folder: Path) -> bool:
    """Let the reader read; whether it took the bytes. Anything but one line that names the place is an error."""
    try:
        target.read(data, folder)
    except (ValueError, FileNotFoundError) as error:
        words = str(error)
        if not words or "\n" in words or len(words) > 2000:
            raise AssertionError(f"not one line: {words!r}") from error
        if not any(name in words for name in (folder.name, *NAMES)):
            raise AssertionError(f"no file named: {words!r}") from error
        return False
    return True


# Names of the files below, and of what is no file.
NAMES = ("a.bin", "a.json", "setting", "counts", *(field.name for field in fields(TrainConfig)))


# --- pictures and masks


def _image(data: bytes, folder: Path) -> None:
    path = folder / "a.bin"
    path.write_bytes(data)
    picture = read_image(path, max_pixels=PIXELS)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert min(picture.shape[:2]) >= 16
    assert picture.size <= 3 * PIXELS


def _png(data: bytes, folder: Path) -> None:
    """As a picture, with the checksums put right, so that what is behind them is reached."""
    _image(with_checksums(data), folder)


def _mask(data: bytes, folder: Path) -> None:
    path = folder / "a.bin"
    path.write_bytes(with_checksums(data))
    values = mask_values(path, max_pixels=PIXELS)
    mask = read_mask(path, num_classes=3, max_pixels=PIXELS)
    assert mask.dtype == np.uint8
    assert mask.ndim == 2
    assert set(np.unique(mask).tolist()) <= {0, 1, 2, IGNORE_INDEX} & {int(value) for value in values}


def with_checksums(data: bytes) -> bytes:
    """A PNG with the right checksum behind every chunk that is there whole; other files as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    result, at = bytearray(data), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        result[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(result)


@cache
def _pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8))
    grey = Image.fromarray(rng.integers(0, 3, SIZE, np.uint8))
    deep = Image.fromarray(rng.integers(0, 65535, SIZE, np.uint16))
    palette = grey.copy()
    palette.putpalette(list(range(256)) * 3)
    clear = colours.copy()
    clear.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        (colours, "PNG", {}), (grey, "PNG", {}), (deep, "PNG", {}), (palette, "PNG", {}), (clear, "PNG", {}),
        (grey.convert("1"), "PNG", {}), (colours, "JPEG", {"exif": exif}), (grey, "JPEG", {}),
        (colours.convert("CMYK"), "JPEG", {}), (colours, "BMP", {}), (palette, "BMP", {}), (colours, "WEBP", {}),
        (clear, "WEBP", {"lossless": True}), (colours, "TIFF", {}), (deep, "TIFF", {}),
        (colours, "TIFF", {"compression": "tiff_lzw"}), (Image.fromarray(rng.random(SIZE, np.float32)), "TIFF", {}),
    ]  # fmt: skip
    return [_encoded(image, form, options) for image, form, options in kinds]


def _encoded(image: Image.Image, form: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


# --- annotations


def _labelme_file(data: bytes, folder: Path) -> None:
    path = folder / "a.json"
    path.write_bytes(data)
    mask = read_labelme(path, size=SIZE)
    assert mask.dtype == np.uint8
    assert mask.shape == SIZE


def _labelme(data: bytes, folder: Path) -> None:
    (folder / "a.json").write_bytes(data)
    _write_picture(folder / "a.png")
    _use(load_dataset("labelme", folder))


def _coco(data: bytes, folder: Path) -> None:
    (folder / "images").mkdir()
    _write_picture(folder / "images" / "a.png")
    _write_picture(folder / "images" / "b.png")
    (folder / "annotations.json").write_bytes(data)
    _use(load_dataset("coco", folder))


def _runs(data: bytes, folder: Path) -> None:
    text = data.decode("latin-1")
    runs = run_lengths(text, "counts")
    assert all(run >= 0 for run in runs)


def _voc(data: bytes, folder: Path) -> None:
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for name in "abc":
        _write_picture(folder / "JPEGImages" / f"{name}.png")
        write_png(folder / "SegmentationClass" / f"{name}.png", (np.indices(SIZE).sum(axis=0) % 2).astype(np.uint8))
    (folder / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    _put(data, folder, ["ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt", "classes.txt"])
    _use(load_dataset("voc", folder))


def _folder(data: bytes, folder: Path) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for name in "abc":
        _write_picture(folder / "images" / f"{name}.png")
        write_png(folder / "masks" / f"{name}.png", (np.indices(SIZE).sum(axis=0) % 2).astype(np.uint8))
    _put(data, folder, ["splits.json", "metadata.csv", "classes.txt"])
    _use(load_dataset("folder", folder))


def _put(data: bytes, folder: Path, names: list[str]) -> None:
    """The first byte says which file the others are."""
    (folder / names[data[0] % len(names) if data else 0]).write_bytes(data[1:])


def _write_picture(path: Path) -> None:
    write_png(path, np.full((*SIZE, 3), 90, np.uint8))


def _use(splits: Splits) -> None:
    """Read every sample; the parts must be apart, and every mask as its classes say."""
    names = [part[index].name for part in splits for index in range(len(part))]
    assert len(names) == len(set(names))
    for part in splits:
        for index in range(len(part)):
            sample = part[index]
            assert sample.mask.shape == sample.image.shape[1:]
            known = sample.mask[sample.mask != IGNORE_INDEX]
            assert not len(known) or int(known.max()) < len(part.classes)


def _labelme_seeds() -> list[bytes]:
    mask = np.zeros((3, 4), np.uint8)
    mask[1] = 1
    shapes = [
        {"label": "mole", "points": [[1, 0], [9, 1], [5.5, 9]], "shape_type": "polygon", "group_id": None},
        {"label": "mole", "points": [[1, 0], [4, 5]], "shape_type": "rectangle"},
        {"label": "hair", "points": [[8, 8], [8, 12]], "shape_type": "circle"},
        {"label": "__ignore__", "points": [[1, 1], [3, 1], [2, 4]]},
        {"label": "hair", "points": [[2, 2], [5, 4]], "shape_type": "mask", "mask": _base64(Image.fromarray(mask))},
    ]
    content = {"version": "5.4.1", "imagePath": "a.png", "imageData": None, "imageHeight": 16, "imageWidth": 17}
    inside = content | {"imagePath": "gone.png", "imageData": _base64(Image.new("RGB", SIZE[::-1]))}
    return [json.dumps(head | {"shapes": some}).encode() for head in (content, inside) for some in (shapes, [])]


def _base64(image: Image.Image) -> str:
    import base64

    return base64.b64encode(_encoded(image, "PNG", {})).decode()


def _coco_seeds() -> list[bytes]:
    rle = {"size": list(SIZE), "counts": [20, 30, SIZE[0] * SIZE[1] - 50]}
    packed = {"size": list(SIZE), "counts": [272]}
    kinds = [[[1, 1, 9, 1, 9, 9]], rle, packed, [[1, 1, 9, 1, 9, 9], [3, 3, 5, 3, 5, 8.5]]]
    annotations = [
        {"id": n, "image_id": 1, "category_id": 3, "iscrowd": n % 2, "segmentation": one} for n, one in enumerate(kinds)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png", "height": 16, "width": 17}],
        "categories": [{"id": 3, "name": "mole"}, {"id": 7, "name": "hair"}],
    }
    return [json.dumps(content | {"annotations": some}).encode() for some in (annotations, annotations[:1], [])]


def _folder_seeds() -> list[bytes]:
    splits = json.dumps({"train": ["a"], "val": ["b"], "test": ["c"]}).encode()
    return [b"\0" + splits, b"\1id,group\na,x\nb,x\nc,y\n", b"\2background\nmole\n"]


# --- what seglab itself writes


def _folds(data: bytes, folder: Path) -> None:
    (folder / "a.json").write_bytes(data)
    folds = read_folds(folder / "a.json")
    assert all(isinstance(name, str) and type(fold) is int for name, fold in folds.items())
    splits = load_dataset("synthetic", count=(1, 1, 1), size=(32, 32))
    with contextlib.suppress(ValueError):  # folds of other pictures
        fold_of(splits, folds, 0)


def _model(data: bytes, folder: Path) -> None:
    """A model file; anything but the bytes that were written is refused."""
    (folder / "a.bin").write_bytes(data)
    model, _ = load_model(folder / "a.bin")
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def _description(data: bytes, folder: Path) -> None:
    """A model file with this description, rightly hashed, as somebody hostile would write it."""
    text = data.decode("latin-1")
    header, tensors = _model_parts()
    metadata = header["__metadata__"] | {"seglab": text, "seglab_sha256": hashlib.sha256(text.encode()).hexdigest()}
    content = json.dumps(header | {"__metadata__": metadata}).encode()
    _model(struct.pack("<Q", len(content)) + content + tensors, folder)


@cache
def _model_file() -> bytes:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        about = Description("unet", {"width": 4}, 1, ("background", "lesion"), 64, "Small", {"data": {"n": 3}})
        save_model(path, build_model("unet", 1, width=4), about)
        return path.read_bytes()


def _model_parts() -> tuple[dict[str, dict[str, str]], bytes]:
    content = _model_file()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _state(data: bytes, folder: Path) -> None:
    (folder / "a.bin").write_bytes(data)
    assert isinstance(load_state(folder / "a.bin"), dict)


def _pickle(data: bytes, folder: Path) -> None:
    """A training state that holds this pickle, with right checksums: nothing in it may run."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", bytes(24))
        archive.writestr("archive/version", "3\n")
    _state(file.getvalue(), folder)


@cache
def _state_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.pt"
        save_state(path, {"model": {"weight": torch.arange(6.0)}, "epoch": 3, "history": [{"loss": 0.5}], "none": None})
        return path.read_bytes()


def _pickles() -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(_state_file())) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return [archive.read(name)]


def _record(data: bytes, folder: Path) -> None:
    (folder / "record.json").write_bytes(data)
    record = read_record(folder)
    assert record is not None
    assert record["part"] in ("train", "val", "test")


def _record_seeds() -> list[bytes]:
    source = {"dataset": "voc", "roots": ["../a", "ph2:../b"], "knobs": {"seed": 1}, "folds": "f.json", "fold": 0}
    record = {"format": "seglab-record-1", "report": "report.json", "part": "val", "source": source, "split": "0"}
    return [json.dumps(record | {"pictures": {"a": "0"}, "environment": {"versions": {}}}).encode()]


def _settings(data: bytes, folder: Path) -> None:
    TrainConfig().override(data.decode("latin-1").split("\n"))


TARGETS = {
    "image": Target(_image, _pictures),
    "png": Target(_png, lambda: _pictures()[:6]),
    "mask": Target(_mask, lambda: [_pictures()[number] for number in (1, 3, 5, 10)]),
    "labelme file": Target(_labelme_file, _labelme_seeds, is_json=True),
    "labelme folder": Target(_labelme, _labelme_seeds, is_json=True),
    "coco": Target(_coco, _coco_seeds, is_json=True),
    "coco runs": Target(_runs, lambda: [b"d0n0R7", b"203", b"PPPP0"]),
    "voc": Target(_voc, lambda: [b"\0a\nb\nc\n", b"\1c\n", b"\2background\nmole\n"]),
    "folder": Target(_folder, _folder_seeds),
    "folds": Target(
        _folds, lambda: [b'{"skin_train_00000": 0, "skin_val_00000": 1, "skin_test_00000": 2}'], is_json=True
    ),
    "model": Target(_model, lambda: [_model_file()]),
    "description": Target(
        _description, lambda: [_model_parts()[0]["__metadata__"]["seglab"].encode("latin-1")], is_json=True
    ),
    "state": Target(_state, lambda: [_state_file()]),
    "pickle": Target(_pickle, _pickles),
    "record": Target(_record, _record_seeds, is_json=True),
    "settings": Target(_settings, lambda: [b"epochs=3\nlr=1e-3", b"patience=null", b"schedule=poly\nsize=64"]),
}


@contextlib.contextmanager
def emptied() -> Iterator[Path]:
    """A folder that is new each time; in memory where there is such a place."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="reader-", dir=memory) as folder:
        yield Path(folder)
