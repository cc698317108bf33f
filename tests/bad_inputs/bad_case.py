"""How every case of this folder is run: the real command in this process, watched for what no user may ever see."""

import contextlib
import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from seglab.checkpoint import Description, save_model
from seglab.cli import main
from seglab.models import build_model

LONGEST = 60  # seconds that one command may take


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


def run(*words: object) -> Ran:
    """The command `seglab` with these words; a traceback or a hang fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _limit():
        before = signal.getsignal(signal.SIGTERM)
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            signal.signal(signal.SIGTERM, before)
    return Ran(code, out.getvalue(), err.getvalue())


def require_refused(words: list[object], said: list[str], out: Path | None = None) -> str:
    """Exit code 2, one line that says all of this, and nothing written to `out`; returns the line."""
    before = tree(out.parent) if out is not None else {}
    ran = run(*words)
    assert ran.code == 2, (ran.code, ran.out[-500:], ran.err[-500:])
    assert ran.err.count("\n") == 1, ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err) < 1500, ran.err
    for text in said:
        assert text in ran.err, (text, ran.err)
    if out is not None:
        assert tree(out.parent) == before, "something was written"
    return ran.err


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time."""
    found = {}
    for path in folder.rglob("*") if folder.is_dir() else []:
        if path.is_file() and path.name != ".lock":  # of a run folder in which nothing came to be
            found[str(path)] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    """A command that takes too long is a failure, not a wait."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"took longer than {LONGEST} s")

    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@cache
def colours(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8, even enough for JPEG to keep."""
    rows, columns = np.indices((height, width))
    return np.stack([rows * 255 // height, columns * 255 // width, np.full_like(rows, 40 + seed)], axis=2).astype(
        np.uint8
    )


def picture(height: int = 48, width: int = 64, seed: int = 0) -> Image.Image:
    """An RGB picture; another one for every seed."""
    return Image.fromarray(colours(height, width, seed))


def square(height: int = 48, width: int = 64, value: int = 255) -> np.ndarray:
    """(H, W) uint8 mask with an object of 16 by 16 pixels."""
    mask = np.zeros((height, width), np.uint8)
    mask[16:32, 16:32] = value
    return mask


def save_tiny(path: Path, **changes: Any) -> Path:
    """A small whole checkpoint."""
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "model": "unet", "knobs": {"width": 4}, "num_classes": 1, "classes": ("background", "object"), "size": 32,
        "title": "Tiny",
    }  # fmt: skip
    save_model(path, build_model("unet", 1, width=4), Description(**given | changes))
    return path


def save_folder(root: Path, names: str = "abcdef") -> Path:
    """A right data folder in the plain layout."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        picture(seed=number).save(root / "images" / f"{name}.png")
        Image.fromarray(square()).save(root / "masks" / f"{name}.png")
    return root


def save_voc(root: Path, names: str = "abcdef") -> Path:
    """A right data folder in the layout of VOC."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        picture(seed=number).save(root / "JPEGImages" / f"{name}.png")
        Image.fromarray(square(value=1)).save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\nc\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("d\ne\n")
    (root / "ImageSets/Segmentation/test.txt").write_text("f\n")
    return root


def labelme(**changes: Any) -> dict[str, Any]:
    """A right labelme file about a.png."""
    shape = {"label": "mole", "points": [[16, 16], [31, 16], [31, 31], [16, 31]], "shape_type": "polygon"}
    content = {"version": "5.4.1", "flags": {}, "imagePath": "a.png", "imageData": None}
    return {**content, "imageHeight": 48, "imageWidth": 64, "shapes": [shape], **changes}


def save_labelme(root: Path, content: Any, names: str = "bcd") -> Path:
    """A folder of right labelme files and, as a.json, this content."""
    root.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate("a" + names):
        picture(seed=number).save(root / f"{name}.png")
        (root / f"{name}.json").write_text(json.dumps(labelme(imagePath=f"{name}.png")))
    put(root / "a.json", content)
    return root


def coco(**changes: Any) -> dict[str, Any]:
    """A right COCO file about a.png to d.png."""
    outline = [[16, 16, 32, 16, 32, 32, 16, 32]]
    images = [{"id": n, "file_name": f"{name}.png", "height": 48, "width": 64} for n, name in enumerate("abcd", 1)]
    annotations = [
        {"id": n, "image_id": n, "category_id": 1, "segmentation": outline, "iscrowd": 0} for n in range(1, 5)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "mole"}], **changes}


def save_coco(root: Path, content: Any) -> Path:
    """A folder in the layout of COCO with this content."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate("abcd"):
        picture(seed=number).save(root / "images" / f"{name}.png")
    put(root / "annotations.json", content)
    return root


def put(path: Path, content: Any) -> Path:
    """Write bytes as they are, text as UTF-8, the rest as JSON; a function is called with the path."""
    if callable(content):
        content(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def pipe(path: Path) -> None:
    """A named pipe, at which a careless reader waits for ever."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link_to(target: str) -> Callable[[Path], None]:
    """A symbolic link in place of the file."""

    def make(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return make


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
