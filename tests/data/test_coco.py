"""COCO: polygons and run lengths against pixels drawn by hand."""

import json

import numpy as np
import pytest

from seglab.data import load_dataset
from seglab.data._annotations import fill_polygon
from seglab.data.coco import run_lengths

SIZE = (24, 32)  # (H, W) of the pictures
BOX = [3, 2, 11, 2, 11, 8, 3, 8]  # x from 3 to 11, y from 2 to 8


def encode(counts):
    """The COCO API's compressed spelling, written down from its description as the reverse of the decoder."""
    text = ""
    for index, count in enumerate(counts):
        number = count - counts[index - 2] if index > 2 else count
        while True:
            bits = number & 31
            number >>= 5
            last = number == (-1 if bits & 16 else 0)
            text += chr(48 + (bits if last else bits | 32))
            if last:
                break
    return text


def runs_of(mask):
    """Run lengths down the columns, the first of zeros."""
    runs, value = [0], 0
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@pytest.fixture
def build(tmp_path, save_picture):
    """Function that writes one annotation file with three pictures."""

    def build_coco(annotations, /, file="annotations.json", pictures="images", numbers=(1, 2, 3), **fields):
        for number in numbers:
            save_picture(tmp_path / pictures / f"{number:06}.png", shade=number)
        images = [{"id": n, "file_name": f"{n:06}.png", "height": SIZE[0], "width": SIZE[1]} for n in numbers]
        content = {"images": images, "annotations": annotations}
        content["categories"] = [{"id": 7, "name": "scratch"}, {"id": 2, "name": "patch"}]
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(json.dumps(content | fields))
        return tmp_path

    return build_coco


def region(segmentation, category=2, image=1, **fields):
    return {"id": 1, "image_id": image, "category_id": category, "segmentation": segmentation} | fields


def first(root):
    return load_dataset("coco", root, shares=(1, 0, 0)).train[0]


def test_polygon_holds_the_pixels_between_its_edges(build, rectangle):
    sample = first(build([region([BOX])]))
    assert sample.name == "000001"
    assert np.array_equal(sample.mask.numpy(), rectangle(2, 3, 8, 11))


def test_categories_are_classes_in_the_order_of_their_ids(build, rectangle):
    root = build([region([BOX], category=7)])
    assert load_dataset("coco", root).train.classes == ("background", "patch", "scratch")
    assert np.array_equal(first(root).mask.numpy(), rectangle(2, 3, 8, 11, 2))


def test_picture_without_annotation_is_background(build):
    assert not load_dataset("coco", build([region([BOX])]), shares=(1, 0, 0)).train[2].mask.any()


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths_go_down_the_columns(build, rectangle, compressed):
    truth = rectangle(2, 3, 8, 11)
    truth[20, 30] = 1
    runs = runs_of(truth)
    counts = encode(runs) if compressed else runs
    sample = first(build([region({"size": list(SIZE), "counts": counts})]))
    assert np.array_equal(sample.mask.numpy(), truth)


@pytest.mark.parametrize("seed", range(20))
def test_compressed_run_lengths_come_back(seed):
    random = np.random.default_rng(seed)
    runs = [int(run) for run in random.integers(0, 10 ** random.integers(1, 7), 30)]
    assert run_lengths(encode(runs)) == runs


def test_crowds_are_unknown_and_lie_under_the_objects(build, rectangle):
    crowd = region({"size": list(SIZE), "counts": [0, SIZE[0] * SIZE[1]]}, iscrowd=1)
    expected = np.full(SIZE, 255)
    expected[2:8, 3:11] = 1
    assert np.array_equal(first(build([region([BOX]), crowd])).mask.numpy(), expected)


def test_published_val_becomes_the_test_part(build):
    build([], "annotations/instances_train2017.json", "train2017", range(1, 18))
    root = build([], "annotations/instances_val2017.json", "val2017", (90, 91))
    splits = load_dataset("coco", root)
    assert [len(part) for part in splits] == [14, 3, 2]
    assert splits.test.name(0) == "000090"


ODD = {
    "no region": (None, "must have a segmentation"),
    "two points": ([[0, 0, 5, 5]], "at least 3 points"),
    "half a point": ([[0, 0, 5, 5, 1, 2, 3]], "at least 3 points"),
    "text": ([["0", 0, 5, 5, 1, 2]], "finite numbers"),
    "far": ([[0, 0, 1e9, 5, 1, 2]], "in or near its picture"),
    "other size": ({"size": [9, 9], "counts": [81]}, r"must have the size \[24, 32\]"),
    "too few": ({"size": list(SIZE), "counts": [9]}, "must have runs that cover 768 pixels; got 9"),
    "too many": ({"size": list(SIZE), "counts": [10**12]}, "must have runs that cover 768 pixels"),
    "negative": ({"size": list(SIZE), "counts": [-1, 769]}, "whole numbers of 0 or above"),
    "odd text": ({"size": list(SIZE), "counts": "\u00e9"}, "must be a COCO run length string"),
    "cut text": ({"size": list(SIZE), "counts": "P"}, "ends inside a number"),
    "no counts": ({"size": list(SIZE), "counts": 5}, "counts as a list or a string"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_region_is_refused_by_its_place(build, case):
    segmentation, message = ODD[case]
    with pytest.raises(ValueError, match=message) as caught:
        first(build([region(segmentation)]))
    assert str(caught.value).startswith("annotation 1 of ")
    assert "\n" not in str(caught.value)


def test_unknown_picture_or_category_is_refused(build):
    for wrong in ({"image": 9}, {"category": 9}):
        with pytest.raises(ValueError, match="annotation 1 of .* must name a picture and a category; got"):
            load_dataset("coco", build([region([BOX], **wrong)]))


@pytest.mark.parametrize("name", ["../secret.png", "..\\secret.png", "/etc/passwd"])
def test_picture_outside_the_folder_is_refused(build, save_picture, name):
    root = build([], images=[{"id": 1, "file_name": name}])
    save_picture(root / "secret.png")
    with pytest.raises(ValueError, match="must stay inside"):
        load_dataset("coco", root)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_list_is_named(build, key):
    with pytest.raises(ValueError, match=f"must have a list of objects called {key}"):
        load_dataset("coco", build([], **{key: None}))


def test_other_folder_is_refused(tmp_path):
    (tmp_path / "masks").mkdir()
    with pytest.raises(ValueError, match=r"must hold annotations\.json and images.*got masks"):
        load_dataset("coco", tmp_path)


@pytest.mark.parametrize("seed", range(10))
def test_filled_polygon_is_what_counting_edges_per_pixel_gives(seed):
    points = np.random.default_rng(seed).uniform(-4, 14, (6, 2))
    expected = np.zeros((10, 12), bool)
    for row, column in np.ndindex(10, 12):
        x, y = column + 0.5, row + 0.5
        crossings = 0
        for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, 0), strict=True):
            if (y1 <= y) != (y2 <= y) and x1 + (y - y1) / (y2 - y1) * (x2 - x1) <= x:
                crossings += 1
        expected[row, column] = crossings % 2
    assert np.array_equal(fill_polygon((10, 12), [tuple(point) for point in points]), expected)
