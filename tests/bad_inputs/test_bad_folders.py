"""Data folders as people have them: the right split, or one line, before anything is trained or written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_case import encoded, link_to, picture, pipe, put, require_refused, run, save_folder, square
from PIL import Image

from seglab.data import load_dataset

Change = Callable[[Path], object]


def write(name: str, content: Any) -> Change:
    return lambda root: put(root / name, content)


def remove(name: str) -> Change:
    return lambda root: shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()


def splits(**changes: Any) -> Change:
    content = {"train": ["a", "b"], "val": ["c"], "test": ["d"], **changes}
    return write("splits.json", {key: value for key, value in content.items() if value != "left out"})


def smeared() -> bytes:
    return encoded(Image.fromarray(square()).resize((64, 48), box=(3, 3, 61, 43)), "JPEG", quality=30)


BAD: dict[str, tuple[Change, str]] = {
    "no such folder": (lambda root: shutil.rmtree(root), "must exist"),
    "a file in its place": (lambda root: (shutil.rmtree(root), root.write_text("x")), "must exist"),
    "empty folder": (lambda root: (shutil.rmtree(root), root.mkdir()), "images"),
    "no images folder": (remove("images"), "images"),
    "no masks folder": (remove("masks"), "masks"),
    "images without pictures": (lambda root: (remove("images")(root), remove("masks")(root), (root / "images").mkdir(),
                                              (root / "masks").mkdir()), "must hold pictures"),
    "picture without mask": (remove("masks/a.png"), "a.png"),
    "mask without picture": (remove("images/a.png"), "a.png"),
    "two pictures of one stem": (write("images/a.jpg", encoded(picture(), "JPEG")), "differ in their stem"),
    "two masks of one stem": (write("masks/a.bmp", encoded(Image.fromarray(square()), "BMP")), "differ in their stem"),
    "case of names differs": (lambda root: (root / "masks/a.png").rename(root / "masks/A.png"), "a.png"),
    "picture empty": (write("images/a.png", b""), "empty (0 bytes)"),
    "mask empty": (write("masks/a.png", b""), "empty (0 bytes)"),
    "mask of another size": (write("masks/a.png", encoded(Image.fromarray(square(40, 40)))), "40 × 40"),
    "mask a JPEG": (write("masks/a.png", smeared()), "JPEG"),
    "mask of three values": (write("masks/a.png", encoded(Image.fromarray(square(value=7)))), "7"),
    "picture a pipe": (lambda root: pipe(root / "images/a.png"), "a.png"),
    "picture a circle of links": (lambda root: link_to("a.png")(root / "images/a.png"), "a.png"),
    "picture a dead link": (lambda root: link_to("gone.png")(root / "images/a.png"), "a.png"),
    "picture a folder": (lambda root: (remove("images/a.png")(root), (root / "images/a.png").mkdir()), "a.png"),
    "splits no JSON": (write("splits.json", "train: a"), "splits.json must be JSON"),
    "splits empty file": (write("splits.json", b""), "splits.json must be JSON"),
    "splits a list": (write("splits.json", ["a"]), "keys train, val and test"),
    "splits without test": (splits(test="left out"), "keys train, val and test"),
    "splits of numbers": (splits(train=[1]), "list of names"),
    "splits of null": (splits(train=None), "list of names"),
    "splits a text": (splits(train="ab"), "list of names"),
    "splits name nothing": (splits(train=["a", "nowhere"]), "not among the pictures"),
    "splits with endings": (splits(train=["a.png"]), "not among the pictures"),
    "splits with a path": (splits(train=["/etc/passwd"]), "not among the pictures"),
    "splits out of the folder": (splits(train=["../images/a"]), "not among the pictures"),
    "splits leak": (splits(val=["a"]), "twice, in train and val"),
    "splits name twice": (splits(train=["a", "a"]), "twice"),
    "splits without train": (splits(train=[]), "train"),
    "splits in UTF-16": (write("splits.json", json.dumps({"train": ["a"]}).encode("utf-16")), "splits.json must be"),
    "splits deep": (write("splits.json", "[" * 100_000), "splits.json must be"),
    "splits a dead link": (lambda root: link_to("gone.json")(root / "splits.json"), "dead link"),
    "splits a folder": (lambda root: (root / "splits.json").mkdir(), "splits.json must be a regular file"),
    "splits a pipe": (lambda root: pipe(root / "splits.json"), "splits.json"),
    "metadata without id": (write("metadata.csv", "name,group\na,1\n"), "column id"),
    "metadata of other pictures": (write("metadata.csv", "id,group\nx.png,1\ny.png,2\n"), "name the pictures"),
    "metadata binary": (write("metadata.csv", b"id,group\n\xff\xfe,1\n"), "UTF-8"),
    "metadata a pipe": (lambda root: pipe(root / "metadata.csv"), "metadata.csv"),
    "classes one": (write("classes.txt", "background\n"), "at least two classes"),
    "classes empty": (write("classes.txt", ""), "at least two classes"),
    "classes twice": (write("classes.txt", "background\nmole\nmole\n"), "classes.txt"),
    "classes binary": (write("classes.txt", b"\xff\xfe\0"), "classes.txt"),
    "all in one group": (write("metadata.csv", "id,group\n" + "".join(f"{name},g\n" for name in "abcdef")), "train"),
    "one picture": (lambda root: [one.unlink() for one in root.glob("*/[bcdef].png")], "at least one picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_folder_is_one_line_before_training(name, tmp_path):
    change, said = BAD[name]
    root = save_folder(tmp_path / "data")
    change(root)
    out = tmp_path / "new" / "run"
    settings = ["epochs=1", "size=32", "model.width=4", "batch_size=2", "workers=0", "device=cpu"]
    require_refused(["train", "unet", "bce_dice", root, "--out", out, *settings], [said], out)


GOOD: dict[str, Change] = {
    "hidden files": lambda root: (put(root / "images/.DS_Store", b"x"), put(root / "masks/._a.png", b"x")),
    "other files": lambda root: (put(root / "images/Thumbs.db", b"x"), put(root / "README.md", "x")),
    "folders inside": lambda root: (root / "images" / "old").mkdir(),
    "upper case endings": lambda root: (root / "images/a.png").rename(root / "images/a.PNG"),
    "picture a JPEG": lambda root: (
        remove("images/a.png")(root), put(root / "images/a.jpg", encoded(picture(), "JPEG")),
    ),
    "splits with a byte order mark": lambda root: put(
        root / "splits.json", b"\xef\xbb\xbf" + json.dumps({"train": ["a"], "val": ["b"], "test": ["c"]}).encode()
    ),
    "masks of both spellings": lambda root: put(root / "masks/a.png", encoded(Image.fromarray(square(value=1)))),
    "palette masks": lambda root: put(root / "masks/a.png", encoded(Image.fromarray(square(value=1)).convert("P"))),
    "picture a link": lambda root: ((root / "images/a.png").rename(root / "real.png"),
                                    link_to("../real.png")(root / "images/a.png")),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_odd_folder_is_read_right(name, tmp_path):
    root = save_folder(tmp_path / "data")
    GOOD[name](root)
    parts = load_dataset("folder", root)
    samples = [part[number] for part in parts for number in range(len(part))]
    assert len(samples) == (3 if "splits" in name else 6)
    assert all(int((sample.mask == 1).sum()) == 256 for sample in samples)
    assert len({sample.name for sample in samples}) == len(samples)
    assert run("check-data", root).code in (0, 1)


@pytest.mark.parametrize("name", BAD)
def test_check_data_names_what_is_wrong_or_refuses_in_one_line(name, tmp_path):
    root = save_folder(tmp_path / "data")
    BAD[name][0](root)
    ran = run("check-data", root)
    assert ran.code in (0, 1, 2)
    assert "Traceback" not in ran.err
    assert ran.err.count("\n") == (1 if ran.code == 2 else 0), ran.err
    if ran.code == 0:
        assert name in ("one picture", "all in one group", "splits without train"), ran.out
