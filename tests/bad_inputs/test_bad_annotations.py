"""labelme, COCO and VOC files as people have them: the right mask, or one line, and no half-written data set."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_case import (
    coco,
    encoded,
    labelme,
    link_to,
    picture,
    pipe,
    put,
    require_refused,
    run,
    save_coco,
    save_labelme,
    save_voc,
    square,
)
from PIL import Image


def shape(**changes: Any) -> dict[str, Any]:
    """A file with one shape that is not quite right."""
    return labelme(shapes=[{**labelme()["shapes"][0], **changes}])


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in labelme().items() if key not in keys}


def bare_shape(*keys: str) -> dict[str, Any]:
    return labelme(shapes=[{key: value for key, value in labelme()["shapes"][0].items() if key not in keys}])


def inside(data: object) -> dict[str, Any]:
    return labelme(imagePath="gone.png", imageData=data)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def mask_shape(data: bytes, points: object = ((16, 16), (31, 31))) -> dict[str, Any]:
    return shape(shape_type="mask", points=[list(point) for point in points], mask=b64(data))  # type: ignore[attr-defined]


def damaged() -> bytes:
    data = encoded(picture())
    return data[:60] + bytes([data[60] ^ 1]) + data[61:]


NUMBERS = "two finite numbers"
LABELME: dict[str, tuple[Any, str]] = {
    "zero bytes": (b"", "must be JSON"),
    "web page": ("<html></html>", "must be JSON"),
    "cut": (json.dumps(labelme())[:80], "must be JSON"),
    "UTF-16": (json.dumps(labelme()).encode("utf-16"), "must be UTF-8"),
    "Latin-1": (json.dumps(labelme(imagePath="ä.png"), ensure_ascii=False).encode("latin-1"), "must be UTF-8"),
    "binary": (bytes(range(256)), "must be UTF-8"),
    "a list": ([], "must hold a JSON object"),
    "a number": (5, "must hold a JSON object"),
    "null": (None, "must hold a JSON object"),
    "deep lists": ("[" * 100_000, "nested too deeply"),
    "a number without end": ('{"shapes": ' + "9" * 6000 + "}", "must be JSON"),
    "NaN": (json.dumps(labelme(imageHeight=float("nan"))), "NaN"),
    "infinity": (json.dumps(shape(points=[[float("inf"), 0], [1, 1], [2, 2]])), "Infinity"),
    "no shapes": (without("shapes"), "a list of shapes"),
    "shapes a dictionary": (labelme(shapes={}), "a list of shapes"),
    "shapes a text": (labelme(shapes="x"), "a list of shapes"),
    "shape a text": (labelme(shapes=["x"]), "shape 1"),
    "shape null": (labelme(shapes=[None]), "shape 1"),
    "shape without label": (bare_shape("label"), "must have a label"),
    "label empty": (shape(label=""), "must have a label"),
    "label a number": (shape(label=3), "must have a label"),
    "shape without points": (bare_shape("points"), "a list of points"),
    "points null": (shape(points=None), "a list of points"),
    "points empty": (shape(points=[]), "at least 3 points"),
    "points a text": (shape(points="[[1,2]]"), "a list of points"),
    "two points": (shape(points=[[1, 1], [9, 9]]), "at least 3 points"),
    "point of one number": (shape(points=[[1], [2], [3]]), NUMBERS),
    "point of three numbers": (shape(points=[[1, 2, 3]] * 3), NUMBERS),
    "coordinates as text": (shape(points=[["1", "2"], ["3", "4"], ["5", "6"]]), NUMBERS),
    "coordinates null": (shape(points=[[None, 1], [2, 2], [3, 3]]), NUMBERS),
    "coordinates true": (shape(points=[[True, 1], [2, 2], [3, 3]]), NUMBERS),
    "coordinates huge": (shape(points=[[1e300, 1], [2, 2], [3, 3]]), "in or near its picture"),
    "coordinates a huge whole number": (shape(points=[[10**400, 1], [2, 2], [3, 3]]), NUMBERS),
    "far outside": (shape(points=[[9000, 9000], [9100, 9000], [9100, 9100]]), "in or near its picture"),
    "a line": (shape(shape_type="line", points=[[1, 1], [9, 9]]), "polygon"),
    "a point": (shape(shape_type="point", points=[[1, 1]]), "polygon"),
    "a linestrip": (shape(shape_type="linestrip"), "polygon"),
    "unknown kind": (shape(shape_type="spline"), "polygon"),
    "kind a number": (shape(shape_type=1), "polygon"),
    "rectangle of three points": (shape(shape_type="rectangle", points=[[1, 1], [2, 2], [3, 3]]), "must have 2 points"),
    "circle of one point": (shape(shape_type="circle", points=[[5, 5]]), "must have 2 points"),
    "mask without bytes": (shape(shape_type="mask", points=[[1, 1], [5, 5]]), "base64"),
    "mask no base64": (shape(shape_type="mask", points=[[1, 1], [5, 5]], mask="%%%"), "base64"),
    "mask no picture": (mask_shape(b"no picture"), "PNG picture in base64"),
    "mask of another size": (mask_shape(encoded(Image.new("L", (5, 5), 1))), "as large as its box"),
    "height text": (labelme(imageHeight="48"), "imageHeight"),
    "height negative": (labelme(imageHeight=-48), "imageHeight"),
    "height zero": (labelme(imageHeight=0), "imageHeight"),
    "height a fraction": (labelme(imageHeight=48.5), "imageHeight"),
    "height huge": (labelme(imageHeight=10**9), "imageHeight"),
    "another size than its picture": (labelme(imageHeight=99), "(48, 64)"),
    "no imagePath": (without("imagePath"), "imagePath"),
    "imagePath null": (labelme(imagePath=None), "imagePath"),
    "imagePath empty": (labelme(imagePath=""), "imagePath"),
    "imagePath a list": (labelme(imagePath=["a.png"]), "imagePath"),
    "imagePath with a null byte": (labelme(imagePath="a\0.png"), "imagePath"),
    "imagePath half a character": ('{"shapes": [], "imagePath": "\\ud800.png"}', "imagePath"),
    "imagePath outside": (labelme(imagePath="../../../../etc/passwd"), "inside"),
    "imagePath absolute": (labelme(imagePath="/etc/passwd"), "inside"),
    "imagePath of Windows": (labelme(imagePath="C:\\Users\\a.png"), "inside"),
    "imagePath outside, spelled as in Windows": (labelme(imagePath="..\\..\\..\\..\\etc\\passwd"), "inside"),
    "imagePath a folder": (labelme(imagePath="."), "must be there"),
    "imagePath of nothing": (labelme(imagePath="gone.png"), "must be there"),
    "imageData a number": (inside(5), "base64"),
    "imageData no base64": (inside("%%%"), "base64"),
    "imageData no picture": (inside(b64(b"no picture")), "imageData"),
    "imageData a cut picture": (inside(b64(encoded(picture())[:90])), "imageData"),
    "imageData of another size": (inside(b64(encoded(picture(40, 40)))), "(40, 40)"),
    "imageData with a wrong checksum": (inside(b64(damaged())), "damaged"),
    "imageData PostScript": (inside(b64(b"%!PS-Adobe-3.0 EPSF-3.0\n")), "imageData"),
    "picture empty": (labelme(imagePath="empty.png"), "empty"),
    "link out of the folder": (labelme(imagePath="link.png"), "inside"),
    "named pipe": (pipe, "regular file"),
}


@pytest.mark.parametrize("name", LABELME)
def test_bad_labelme_file_is_one_line_and_no_data_set(name, tmp_path):
    content, said = LABELME[name]
    root = save_labelme(tmp_path / "data", content)
    (root / "empty.png").touch()
    link_to("/etc/passwd")(root / "link.png")
    line = require_refused(["import", "labelme", root, tmp_path / "new" / "out"], [said], tmp_path / "new" / "out")
    assert "a.json" in line or "empty.png" in line
    assert "root:" not in line


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8)
    mask[top : bottom + 1, left : right + 1] = 1
    return mask


def two(first: str, second: str) -> dict[str, Any]:
    shapes = [{"label": label, "points": points, "shape_type": "rectangle"}
              for label, points in ((first, [[0, 0], [19, 19]]), (second, [[10, 10], [29, 29]]))]  # fmt: skip
    return labelme(shapes=shapes)


def holed() -> np.ndarray:
    mask = box(0, 0, 19, 19)
    mask[10:30, 10:30] = 0
    return mask


def unknown() -> np.ndarray:
    mask = box(0, 0, 19, 19)
    mask[10:30, 10:30] = 255
    return mask


SQUARE = box(16, 16, 31, 31)
READ: dict[str, tuple[Any, np.ndarray]] = {
    "plain": (labelme(), SQUARE),
    "byte order mark": (b"\xef\xbb\xbf" + json.dumps(labelme()).encode(), SQUARE),
    "no kind, as 3.x wrote": (bare_shape("shape_type"), SQUARE),
    "no size": (without("imageHeight", "imageWidth"), SQUARE),
    "no shapes drawn": (labelme(shapes=[]), np.zeros((48, 64), np.uint8)),
    "rectangle, corners swapped": (shape(shape_type="rectangle", points=[[31, 31], [16, 16]]), SQUARE),
    "points doubled": (shape(points=[[16, 16]] * 3 + [[31, 16], [31, 31], [16, 31], [16, 16]]), SQUARE),
    "drawn over the edge": (shape(shape_type="rectangle", points=[[-10, -10], [5, 5]]), box(0, 0, 5, 5)),
    "background makes a hole": (two("mole", "_background_"), holed()),
    "__ignore__ is unknown": (two("mole", "__ignore__"), unknown()),
    "mask": (mask_shape(encoded(Image.new("L", (16, 16), 1))), SQUARE),
    "picture inside": (inside(b64(encoded(picture()))), SQUARE),
    "unknown keys": (labelme(extra={"a": [1]}, flags=None), SQUARE),
    "folder of the path with a backslash": (labelme(imagePath=".\\a.png"), SQUARE),
    "path through the parent": (labelme(imagePath="../data/a.png"), SQUARE),
    "whole numbers as floats": (labelme(imageHeight=48.0, imageWidth=64.0), SQUARE),
}


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.array(Image.open(path)) for path in (folder / "SegmentationClass").iterdir()}


@pytest.mark.parametrize("name", READ)
def test_odd_labelme_file_has_the_right_mask(name, tmp_path):
    content, expected = READ[name]
    root = save_labelme(tmp_path / "data", content)
    ran = run("import", "labelme", root, tmp_path / "out")
    assert (ran.code, ran.err) == (0, "")
    assert np.array_equal(masks_of(tmp_path / "out")["a"], expected)


# --- COCO


def annotation(**changes: Any) -> dict[str, Any]:
    first, *others = coco()["annotations"]
    return coco(annotations=[{**first, **changes}, *others])


def image(**changes: Any) -> dict[str, Any]:
    first, *others = coco()["images"]
    return coco(images=[{**first, **changes}, *others])


def runs(**changes: Any) -> dict[str, Any]:
    return annotation(segmentation={"size": [48, 64], "counts": [16 * 48, 16 * 48, 32 * 48], **changes})


COCO: dict[str, tuple[Any, str]] = {
    "zero bytes": (b"", "must be JSON"),
    "cut": (json.dumps(coco())[:100], "must be JSON"),
    "a list": ([], "JSON object"),
    "no images": ({**coco(), "images": None}, "called images"),
    "images of text": (coco(images=["a.png"]), "called images"),
    "no categories": (coco(categories=[]), "categories"),
    "category without id": (coco(categories=[{"name": "mole"}]), "id"),
    "category without name": (coco(categories=[{"id": 1}]), "name"),
    "category id as text": (coco(categories=[{"id": "1", "name": "mole"}]), "id"),
    "300 categories": (coco(categories=[{"id": n, "name": f"c{n}"} for n in range(300)]), "254 categories"),
    "two categories of one name": (coco(categories=[{"id": n, "name": "mole"} for n in (1, 2)]), "different names"),
    "annotation of no picture": (annotation(image_id=99), "annotation 1"),
    "annotation of no category": (annotation(category_id=99), "annotation 1"),
    "image id negative": (annotation(image_id=-1), "image_id"),
    "two pictures of one id": (image(id=2), "twice"),
    "file name outside": (image(file_name="../../../etc/passwd"), "inside"),
    "file name absolute": (image(file_name="/etc/passwd"), "inside"),
    "file name of nothing": (image(file_name="gone.png"), "gone.png"),
    "file name null": (image(file_name=None), "file_name"),
    "polygon of two points": (annotation(segmentation=[[1, 1, 2, 2]]), "3 points"),
    "polygon with an odd number": (annotation(segmentation=[[1, 1, 2, 2, 3, 3, 4]]), "3 points"),
    "polygon of text": (annotation(segmentation=[["1", "1", "2", "2", "3", "3"]]), NUMBERS),
    "polygon flat": (annotation(segmentation=[1, 1, 2, 2, 3, 3]), "polygons"),
    "polygon far outside": (annotation(segmentation=[[9e5, 1, 9e5, 9, 1, 9]]), "in or near"),
    "no segmentation": (annotation(segmentation=None), "segmentation"),
    "runs too short": (runs(counts=[5]), "cover"),
    "runs negative": (runs(counts=[-5, 3077]), "0 or above"),
    "runs of text": (runs(counts="\x00"), "run length string"),
    "runs cut": (runs(counts="o"), "inside a number"),
    "runs of another size": (runs(size=[9, 9]), "size"),
    "runs claiming more than there is": (runs(counts=[10**18]), "cover"),
}  # fmt: skip


@pytest.mark.parametrize("name", COCO)
def test_bad_coco_file_is_one_line_and_no_data_set(name, tmp_path):
    content, said = COCO[name]
    root = save_coco(tmp_path / "data", content)
    out = tmp_path / "new" / "out"
    assert "annotations.json" in require_refused(["import", "coco", root, out], [said], out)


def test_odd_coco_regions_are_right(tmp_path):
    whole = {"size": [48, 64], "counts": [16 * 48, 16 * 48, 32 * 48]}
    outline = [[16, 16, 32, 16, 32, 32, 16, 32]]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": whole},
        {"id": 2, "image_id": 2, "category_id": 1, "segmentation": outline, "iscrowd": 1},
        {"id": 3, "image_id": 3, "category_id": 1, "segmentation": []},
    ]
    root = save_coco(tmp_path / "data", coco(annotations=annotations))
    assert run("import", "coco", root, tmp_path / "out").code == 0
    masks = masks_of(tmp_path / "out")
    assert np.array_equal(masks["a"], box(16, 0, 31, 47))
    assert np.array_equal(masks["b"], SQUARE * 255)
    assert not masks["c"].any()
    assert not masks["d"].any()


# --- VOC


def rename(old: str, new: str) -> Callable[[Path], None]:
    return lambda root: (root / old).rename(root / new)  # type: ignore[return-value]


def write(name: str, content: Any) -> Callable[[Path], None]:
    return lambda root: put(root / name, content)  # type: ignore[return-value]


LISTS = "ImageSets/Segmentation"
VOC: dict[str, tuple[Callable[[Path], object], str]] = {
    "no masks folder": (rename("SegmentationClass", "Masks"), "SegmentationClass"),
    "list names nothing": (write(f"{LISTS}/train.txt", "a\nnowhere\n"), "nowhere"),
    "list names a path": (write(f"{LISTS}/train.txt", "../../etc/passwd\n"), "passwd"),
    "picture in two lists": (write(f"{LISTS}/val.txt", "a\nd\n"), "one part only"),
    "picture twice in a list": (write(f"{LISTS}/train.txt", "a\na\nb\n"), "a"),
    "list in UTF-16": (write(f"{LISTS}/train.txt", "a\nb\n".encode("utf-16")), "UTF-8"),
    "val only": (lambda root: (root / LISTS / "train.txt").unlink(), "train.txt"),
    "mask missing": (lambda root: (root / "SegmentationClass" / "a.png").unlink(), "SegmentationClass"),
    "mask cut": (write("SegmentationClass/a.png", b"\x89PNG\r\n\x1a\n"), "a.png"),
    "masks empty": (lambda root: [put(one, encoded(Image.new("L", (64, 48)))) for one in root.glob("*Class/*.png")],
                    "class"),
    "class named twice": (write("classes.txt", "background\nmole\nmole\n"), "different names"),
    "mask of another size": (write("SegmentationClass/a.png", encoded(Image.fromarray(square(40, 40, 1)))), "40 × 40"),
    "mask in colours": (write("SegmentationClass/a.png", encoded(picture())), "one number per pixel"),
    "two pictures of one stem": (write("JPEGImages/a.jpg", encoded(picture(), "JPEG")), "stem"),
    "classes with one name": (write("classes.txt", "background\n"), "class"),
}  # fmt: skip


@pytest.mark.parametrize("name", VOC)
def test_bad_voc_folder_is_one_line_and_no_data_set(name, tmp_path):
    change, said = VOC[name]
    root = save_voc(tmp_path / "data")
    change(root)
    out = tmp_path / "new" / "out"
    require_refused(["import", "voc", root, out], [said], out)
