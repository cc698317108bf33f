"""Readers of files from elsewhere under generated input: the right result, or one line that names the file."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from reader_targets import TARGETS, aim, emptied

from seglab.data import load_dataset
from seglab.data._folds import read_folds, write_folds
from seglab.data.coco import run_lengths
from seglab.data.labelme import read_labelme
from seglab.images import mask_values, read_image, read_mask, write_mask, write_png

QUICK = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)  # fmt: skip
BINARY = [name for name, target in TARGETS.items() if not target.is_json]
JSON = [name for name, target in TARGETS.items() if target.is_json]
VALUES: list[object] = [
    None, True, False, 0, 1, -1, 255, 256, 2**31, 2**63, 10**400, -0.0, 0.5, 1e308, "", "a", "..", "../../etc/passwd",
    "/etc/passwd", "a.png", "\0", "é", "\ud800", "x" * 5000, "9" * 5000, [], [[]], [None], {}, {"a": []}, [[1, 2]] * 3,
]  # fmt: skip


# --- damage


@st.composite
def damaged(draw: Callable[..., object], seeds: Callable[[], list[bytes]]) -> bytes:
    """A file that is right, with a few bytes flipped, cut out, repeated or put in."""
    data = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "repeat", "zero"]))
        end = min(len(data), at + draw(st.integers(1, 40)))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at : end if draw(st.booleans()) else len(data)]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "repeat":
            data[at:at] = data[at:end] * draw(st.integers(1, 3))
        else:
            data[at:end] = bytes(end - at)
    return bytes(data)


def changed(content: object, chance: random.Random) -> object:
    """A JSON value with one place in it replaced by something else."""
    if isinstance(content, dict | list) and content and chance.random() < 0.85:
        copy = dict(content) if isinstance(content, dict) else list(content)
        key = chance.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        if chance.random() < 0.1:
            del copy[key]
        else:
            copy[key] = changed(copy[key], chance)
        return copy
    return chance.choice(VALUES)


@pytest.mark.parametrize("name", TARGETS)
def test_examples_are_read(name):
    for seed in TARGETS[name].seeds():
        with emptied() as folder:
            assert aim(TARGETS[name], seed, folder), seed[:80]


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_file_gives_a_sound_result_or_one_line_that_names_it(name):
    @QUICK
    @given(damaged(TARGETS[name].seeds))
    @example(b"")
    @example(b"\0")
    @example(b"[" * 100_000)
    @example(b"\xff\xfe\xfd")
    @example(b"9" * 6000)
    def check(data: bytes) -> None:
        with emptied() as folder:
            aim(TARGETS[name], data, folder)

    check()


@pytest.mark.parametrize("name", JSON)
def test_json_with_a_strange_value_gives_a_sound_result_or_one_line_that_names_the_file(name):
    chance = random.Random(name)
    for _ in range(150):
        content: object = json.loads(chance.choice(TARGETS[name].seeds()))
        for _ in range(chance.choice((1, 1, 2))):
            content = changed(content, chance)
        with emptied() as folder:
            aim(TARGETS[name], json.dumps(content).encode(), folder)


@pytest.mark.parametrize("kind", ["splits.json", "metadata.csv", "classes.txt"])
def test_damaged_side_file_of_a_folder_is_named(kind):
    number = ["splits.json", "metadata.csv", "classes.txt"].index(kind)
    bad = [b"\xff", b'{"train": [' + b"9" * 6000 + b"]}", b"[" * 100_000] if number == 0 else [b"id,group\n\xff,1\n"]
    for data in bad:
        with emptied() as folder, pytest.raises(ValueError, match=f"{kind} must be") as caught:
            TARGETS["folder"].read(bytes([number]) + data, folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 6000, "[1]", '{"a": -1}', '{"a": true}', "\ud800"])
def test_damaged_folds_are_named(tmp_path, text):
    path = tmp_path / "folds.json"
    path.write_text(text, errors="surrogatepass")
    with pytest.raises(ValueError, match=r"folds file .*folds\.json must (be JSON; got an error: [^\n]*|map)"):
        read_folds(path)


# --- the right result

pixels = st.tuples(st.integers(16, 40), st.integers(16, 40), st.integers(0, 2**32 - 1))


@QUICK
@given(pixels, st.sampled_from(["PNG", "BMP", "TIFF", "WEBP"]))
def test_picture_comes_back_from_every_lossless_format_pixel_by_pixel(shape, form):
    height, width, seed = shape
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    with emptied() as folder:
        Image.fromarray(array).save(folder / "a", form, **({"lossless": True} if form == "WEBP" else {}))
        assert np.array_equal(read_image(folder / "a"), array)
        write_png(folder / "b.png", array)
        assert np.array_equal(read_image(folder / "b.png"), array)


@QUICK
@given(pixels, st.integers(1, 8))
def test_picture_with_an_exif_turn_is_turned_as_the_standard_says(shape, orientation):
    height, width, seed = shape
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: array, 2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1], 5: array.swapaxes(0, 1),
        6: array[::-1].swapaxes(0, 1), 7: array[::-1, ::-1].swapaxes(0, 1), 8: array[:, ::-1].swapaxes(0, 1),
    }[orientation]  # fmt: skip
    with emptied() as folder:
        Image.fromarray(array).save(folder / "a.png", exif=exif)
        assert np.array_equal(read_image(folder / "a.png"), upright)


@QUICK
@given(pixels)
def test_deep_grey_picture_is_divided_by_257_and_rounded(shape):
    height, width, seed = shape
    array = np.random.default_rng(seed).integers(0, 65536, (height, width), np.uint16)
    with emptied() as folder:
        Image.fromarray(array).save(folder / "a.png")
        expected = np.rint(array / 257).astype(np.uint8)
        assert np.array_equal(read_image(folder / "a.png"), np.repeat(expected[..., None], 3, axis=2))


@QUICK
@given(pixels, st.integers(2, 254), st.booleans())
def test_mask_of_class_indices_comes_back_as_grey_and_as_palette(shape, num_classes, palette):
    height, width, seed = shape
    mask = np.random.default_rng(seed).integers(0, num_classes, (height, width), np.uint8)
    mask[0, :2] = (1, 255)  # beside a 1, 255 is unknown
    with emptied() as folder:
        image = Image.fromarray(mask)
        if palette:
            image.putpalette(np.random.default_rng(seed).integers(0, 256, 768, np.uint8).tolist())
        image.save(folder / "a.png")
        assert np.array_equal(read_mask(folder / "a.png", num_classes=num_classes), mask)
        assert mask_values(folder / "a.png").tolist() == np.unique(mask).tolist()
        write_mask(folder / "b.png", mask, binary=False)
        assert np.array_equal(read_mask(folder / "b.png", num_classes=num_classes), mask)


@QUICK
@given(pixels, st.integers(2, 5))
def test_mask_with_a_value_that_is_no_class_is_always_refused(shape, num_classes):
    height, width, seed = shape
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, num_classes, (height, width), np.uint8)
    mask[0, 0] = rng.integers(num_classes, 255)
    with emptied() as folder:
        Image.fromarray(mask).save(folder / "a.png")
        with pytest.raises(ValueError, match=r"mask a\.png must hold class indices below"):
            read_mask(folder / "a.png", num_classes=num_classes)


@QUICK
@given(st.integers(0, 2**32 - 1))
def test_rectangles_of_labelme_fill_what_a_slice_fills_in_the_order_of_the_file(seed):
    rng = np.random.default_rng(seed)
    expected, shapes = np.zeros((20, 30), np.uint8), []
    for _ in range(4):
        (top, bottom), (left, right) = np.sort(rng.integers(0, (20, 30), (2, 2)).T)
        label = int(rng.integers(1, 3))
        expected[top : bottom + 1, left : right + 1] = label
        corners = [[left, top], [right, bottom]][:: rng.choice([1, -1])]
        shapes.append({"label": "ab"[label - 1], "points": np.array(corners).tolist(), "shape_type": "rectangle"})
    with emptied() as folder:
        content = {"shapes": shapes, "imageHeight": 20, "imageWidth": 30}
        (folder / "a.json").write_text(json.dumps(content))
        assert np.array_equal(read_labelme(folder / "a.json", classes=("background", "a", "b")), expected)


@QUICK
@given(st.lists(st.integers(0, 2**20), max_size=12))
def test_run_lengths_come_back_from_their_packed_spelling(runs):
    assert run_lengths(packed(runs)) == runs


def packed(runs: list[int]) -> str:
    """Run lengths in the spelling of COCO, worked from its description: signed, five bits at a time, lowest first."""
    text = ""
    for index, run in enumerate(runs):
        number = run - runs[index - 2] if index > 2 else run
        while True:
            low, number = number & 31, number >> 5
            done = number == (-1 if low & 16 else 0)
            text += chr(48 + (low if done else low | 32))
            if done:
                break
    return text


@QUICK
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), st.integers(0, 9), max_size=9))
def test_folds_come_back(folds):
    with emptied() as folder:
        write_folds(folder / "folds.json", folds)
        assert read_folds(folder / "folds.json") == folds


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """Six pictures in the plain layout."""
    root = tmp_path_factory.mktemp("plain")
    for name in ("images", "masks"):
        (root / name).mkdir()
    for name in "abcdef":
        write_png(root / "images" / f"{name}.png", np.full((16, 16, 3), 9, np.uint8))
        write_png(root / "masks" / f"{name}.png", np.eye(16, dtype=np.uint8))
    return root


@QUICK
@given(st.lists(st.sampled_from(("train", "val", "test", "")), min_size=6, max_size=6))
def test_every_partition_of_splits_json_is_followed(plain, parts):
    wanted = {part: [n for n, p in zip("abcdef", parts, strict=True) if p == part] for part in ("train", "val", "test")}
    (plain / "splits.json").write_text(json.dumps(wanted))
    try:
        splits = load_dataset("folder", plain)
    finally:
        (plain / "splits.json").unlink()
    assert [[part.name(i) for i in range(len(part))] for part in splits] == list(wanted.values())


@QUICK
@given(st.lists(st.sampled_from("xyz"), min_size=6, max_size=6), st.integers(0, 99))
def test_groups_of_metadata_are_never_in_two_parts(plain, groups, seed):
    with (plain / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "group"), *zip("abcdef", groups, strict=True)])
    try:
        splits = load_dataset("folder", plain, seed=seed)
    finally:
        (plain / "metadata.csv").unlink()
    group_of = dict(zip("abcdef", groups, strict=True))
    homes = [{group_of[part.name(i)] for i in range(len(part))} for part in splits]
    assert sum(map(len, homes)) == len(set().union(*homes))
    assert sum(map(len, splits)) == 6
