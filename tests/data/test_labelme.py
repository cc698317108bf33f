"""labelme files: regions, labels, and JSON that somebody else made up."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from seglab.data import load_dataset
from seglab.data.labelme import read_labelme

SIZE = (24, 32)  # (H, W) of the pictures
BOX = {"label": "mole", "points": [[3, 2], [10, 7]], "shape_type": "rectangle"}


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def note(tmp_path):
    """Function that writes one labelme file."""

    def save(shapes, name="a", **fields):
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name.split('/')[-1]}.png"}
        content |= {"imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1]} | fields
        file = tmp_path / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
        return file

    return save


@pytest.fixture
def root(tmp_path, note, save_picture):
    for index, name in enumerate("abc"):
        note([BOX], name)
        save_picture(tmp_path / f"{name}.png", shade=index)
    return tmp_path


def test_rectangle_includes_its_corners_in_either_order(note, rectangle):
    expected = rectangle(2, 3, 8, 11)
    for points in ([[3, 2], [10, 7]], [[10, 7], [3, 2]], [[3, 7], [10, 2]]):
        assert np.array_equal(read_labelme(note([BOX | {"points": points}])), expected)


@pytest.mark.parametrize("kind", [{"shape_type": "polygon"}, {"shape_type": None}, {}])
def test_polygon_is_drawn_with_its_outline_and_is_the_default(note, rectangle, kind):
    shape = {
        "label": "mole",
        "points": [[3, 2], [10, 2], [10, 7], [3, 7]],
        "line_color": None,
        "fill_color": None,
    } | kind
    assert np.array_equal(read_labelme(note([shape])), rectangle(2, 3, 8, 11))


def test_triangle_has_the_pixels_counted_by_hand(note):
    mask = read_labelme(note([{"label": "x", "points": [[0, 0], [4, 0], [0, 4]]}]))
    assert mask[:6, :6].tolist() == [
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_circle_is_a_centre_and_a_point_on_the_rim(note):
    mask = read_labelme(note([{"label": "x", "points": [[15, 11], [15, 17]], "shape_type": "circle"}]))
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(rows - 11, columns - 15)
    assert mask[distance <= 5.5].all()
    assert not mask[distance > 6.5].any()


def test_mask_shape_lies_at_its_box(note):
    bitmap = np.array([[1, 0, 1], [0, 1, 1]])
    shape = {"label": "x", "points": [[5, 6], [7, 7]], "shape_type": "mask", "mask": png(bitmap * 255)}
    mask = read_labelme(note([shape]))
    assert np.array_equal(mask[6:8, 5:8], bitmap)
    assert mask.sum() == 4


def test_later_shape_counts_background_makes_holes_and_ignore_is_unknown(note, rectangle):
    inner = {"points": [[5, 4], [6, 5]], "shape_type": "rectangle"}
    expected = rectangle(2, 3, 8, 11, 2)
    for label, value in (("hair", 1), ("background", 0), ("_background_", 0), ("__ignore__", 255)):
        expected[4:6, 5:7] = value
        read = read_labelme(note([BOX, inner | {"label": label}]), classes=["background", "hair", "mole"])
        assert np.array_equal(read, expected)
    assert set(np.unique(read_labelme(note([inner | {"label": "hair"}, BOX])))) == {0, 2}  # hair is covered by mole


def test_file_without_shapes_is_all_background(note):
    assert read_labelme(note([])).shape == SIZE
    assert not read_labelme(note([])).any()


def test_size_comes_from_the_caller_where_the_file_is_silent(note):
    file = note([BOX], imageHeight=None, imageWidth=None)
    assert read_labelme(file, size=(20, 16)).shape == (20, 16)
    with pytest.raises(ValueError, match=r"a\.json must name imageHeight and imageWidth"):
        read_labelme(file)


def test_other_size_than_the_picture_is_refused(note):
    with pytest.raises(ValueError, match=r"picture of \(24, 30\) \(H, W\); got \(24, 32\)"):
        read_labelme(note([BOX]), size=(24, 30))


def test_labels_found_become_classes_in_alphabetical_order(root, note):
    note([BOX | {"label": "hair"}, BOX | {"label": "__ignore__"}], "b")
    data = load_dataset("labelme", root, shares=(1, 0, 0)).train
    assert data.classes == ("background", "hair", "mole")
    assert data[0].mask.max() == 2
    assert data[0].image[0, 0, 5] == 5


def test_labels_file_names_the_classes(root):
    (root / "labels.txt").write_text("__ignore__\n_background_\nmole\nhair\n")
    assert load_dataset("labelme", root).train.classes == ("_background_", "mole", "hair")
    (root / "labels.txt").write_text("mole\nhair\n")
    assert load_dataset("labelme", root).train.classes == ("background", "mole", "hair")


def test_unknown_label_names_file_label_choices_and_remedy(root, note):
    note([BOX | {"label": "mule"}], "b")
    with pytest.raises(
        ValueError, match=r"b\.json must be one of background, mole; got 'mule'\. Add it to labels\.txt"
    ):
        load_dataset("labelme", root, classes=["background", "mole"])


def test_two_files_of_one_picture_stay_on_one_side(root, note, save_picture):
    for index in range(8):
        save_picture(root / f"p{index}.png")
        note([BOX], f"x{index}", imagePath=f"p{index}.png")
        note([BOX], f"y{index}", imagePath=f"p{index}.png")
    (root / "metadata.csv").write_text("id,group\na,g\nb,g\n")  # says nothing about the others
    for part in load_dataset("labelme", root):
        found = [part.name(i) for i in range(len(part))]
        assert {name[1] for name in found if name[0] == "x"} == {name[1] for name in found if name[0] == "y"}


def test_picture_inside_the_file_is_used_where_there_is_no_other(tmp_path, note):
    pixels = np.full((*SIZE, 3), 50)
    note([BOX], imageData=png(pixels))
    sample = load_dataset("labelme", tmp_path, shares=(1, 0, 0)).train[0]
    assert (sample.image == 50).all()
    note([BOX], imageData="%%%")
    with pytest.raises(ValueError, match=r"imageData of .*a\.json must be base64"):
        load_dataset("labelme", tmp_path, shares=(1, 0, 0)).train[0]
    note([BOX], imageData=base64.b64encode(b"%!PS-Adobe").decode())
    with pytest.raises(ValueError, match=r"imageData of .*a\.json must be"):
        load_dataset("labelme", tmp_path, shares=(1, 0, 0)).train[0]


@pytest.mark.parametrize("path", ["../a.png", "..\\a.png", "b/../../a.png", "/etc/passwd", "C:\\a.png", "C:/a.png"])
def test_picture_outside_the_root_is_refused(tmp_path, note, save_picture, path):
    save_picture(tmp_path / "a.png")
    file = note([BOX], "sub/a", imagePath=path)
    with pytest.raises(ValueError, match="must lead to a picture inside"):
        load_dataset("labelme", file.parent)


def test_link_to_a_picture_outside_the_root_is_refused(tmp_path, note, save_picture):
    save_picture(tmp_path / "secret.png")
    file = note([BOX], "sub/a")
    (file.parent / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match="must lead to a picture inside"):
        load_dataset("labelme", file.parent)


@pytest.mark.parametrize("path", ["../pictures/a.png", "..\\pictures\\a.png"])
def test_path_through_the_parent_is_right_inside_the_root(tmp_path, note, save_picture, path):
    save_picture(tmp_path / "pictures" / "a.png")
    note([BOX], "notes/a", imagePath=path)
    data = load_dataset("labelme", tmp_path, shares=(1, 0, 0)).train
    assert data.name(0) == "notes/a"
    assert data[0].mask.sum() == 48


def test_missing_picture_is_named(root):
    (root / "b.png").unlink()
    with pytest.raises(ValueError, match=r"picture 'b\.png' of .*b\.json must be there, or inside as imageData"):
        load_dataset("labelme", root)


def test_picture_of_another_size_is_refused(root, save_picture):
    save_picture(root / "a.png", size=(20, 20))
    with pytest.raises(ValueError, match=r"a\.json must belong to a picture of \(20, 20\)"):
        load_dataset("labelme", root, shares=(1, 0, 0)).train[0]


def test_folder_without_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must hold labelme files \(\.json\); got none"):
        load_dataset("labelme", tmp_path)


ODD_SHAPES = {
    "no object": (7, "shape 1 of .* must be a JSON object; got 7"),
    "no label": ({"points": [[0, 0], [1, 1], [2, 0]]}, "must have a label; got None"),
    "line": (BOX | {"shape_type": "linestrip"}, "must be a polygon.*got 'linestrip'. Draw 'mole' as a polygon"),
    "odd kind": (BOX | {"shape_type": ["polygon"]}, "must be a polygon"),
    "no points": ({"label": "x"}, "must have a list of points; got None"),
    "two points": ({"label": "x", "points": [[0, 0], [1, 1]]}, "at least 3 points, being a polygon; got 2"),
    "three corners": (BOX | {"points": [[0, 0]] * 3}, "2 points, being a rectangle; got 3"),
    "text": (BOX | {"points": [["0", 0], [1, 1]]}, "points of two finite numbers; got"),
    "flat": (BOX | {"points": [1, 2]}, "points of two finite numbers; got 1"),
    "truth": (BOX | {"points": [[True, 0], [1, 1]]}, "points of two finite numbers"),
    "huge": (BOX | {"points": [[0, 0], [10**400, 1]]}, "points of two finite numbers"),
    "far": (BOX | {"points": [[0, 0], [1e9, 1]]}, "in or near its picture of 32 x 24 pixels"),
    "mask of text": (BOX | {"shape_type": "mask", "mask": "no"}, "mask of shape 1 of .* must be"),
    "mask missing": (BOX | {"shape_type": "mask"}, "must have its mask as base64 text; got None"),
    "mask size": (BOX | {"shape_type": "mask", "mask": png(np.ones((3, 3)))}, "mask as large as its box; got 3 x 3"),
}


@pytest.mark.parametrize("case", ODD_SHAPES)
def test_odd_shape_is_refused_in_one_line(note, case):
    shape, message = ODD_SHAPES[case]
    with pytest.raises(ValueError, match=message) as caught:
        read_labelme(note([shape]))
    assert "\n" not in str(caught.value)
    assert "a.json" in str(caught.value)


ODD_FILES = {
    "list": (b"[]", "must hold a JSON object; got a list"),
    "nothing": (b"", "must be JSON"),
    "cut": (b'{"shapes": [', "must be JSON"),
    "not a number": (b'{"shapes": [{"label": "x", "points": [[NaN, 0]]}]}', "the number NaN"),
    "beyond floats": (
        b'{"imageHeight": 9, "imageWidth": 9, "shapes": [{"label": "x", "points": [[1e999, 0]]}]}',
        "finite",
    ),
    "deep": (b"[" * 200_000, "nested too deeply"),
    "long number": (b'{"a": ' + b"9" * 5000 + b"}", "must be JSON"),
    "other bytes": (b'{"a": "\xff"}', "must be UTF-8"),
    "no shapes": (b'{"imageHeight": 9, "imageWidth": 9}', "must have a list of shapes; got None"),
    "negative size": (b'{"imageHeight": -9, "imageWidth": 9, "shapes": []}', "whole numbers"),
    "large size": (b'{"imageHeight": 1000000, "imageWidth": 1000000, "shapes": []}', "whole numbers"),
}


@pytest.mark.parametrize("case", ODD_FILES)
def test_odd_file_is_refused_in_one_line(tmp_path, case):
    content, message = ODD_FILES[case]
    (tmp_path / "a.json").write_bytes(content)
    for read in (lambda: read_labelme(tmp_path / "a.json"), lambda: load_dataset("labelme", tmp_path)):
        with pytest.raises(ValueError, match=message) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert "a.json" in str(caught.value)


def test_text_with_a_byte_order_mark_is_read(note):
    file = note([BOX])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_labelme(file).sum() == 48
