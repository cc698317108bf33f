"""Outlines drawn in labelme, 3.x to 5.x: a folder of JSON files with their pictures beside them or inside.

Shapes `polygon`, `rectangle`, `circle` and `mask` become regions; files without `shape_type` (3.x) hold polygons.
Shapes without an area (`line`, `linestrip`, `point`) are refused. Shapes are drawn in the order of the file, so where
two overlap the later one counts. Outlines are drawn as labelme's own export draws them: the outline is part of the
region, and (x, y) is the centre of column x and row y.

Classes are the setting `classes`, else `labels.txt` or `classes.txt` in the root (a name a line, the background
first; labelme's `_background_` and `__ignore__` lines are understood), else the background and all labels found, in
alphabetical order. The label `__ignore__` makes pixels unknown (255), the background's label makes a hole.

Folders inside the root are read too. Pictures are split three ways by the seed; two files about one picture stay on
one side. `metadata.csv` with the columns `id` and `group` keeps a group on one side, `splits.json` replaces the split;
names are the JSON files' paths in the root, without `.json`.

A picture is found by `imagePath`, which must lead to a file inside the root, whoever wrote it; a file that is not
there is replaced by the picture inside the JSON (`imageData`).
"""

import base64
import binascii
import io
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from seglab.contract import IGNORE_INDEX
from seglab.data import Pair, PairedFolder, Splits, is_there
from seglab.data._annotations import Point, is_path, points_of, read_object, real, short, whole_number
from seglab.data._layout import SHARES, Shares, one_set, read_lines
from seglab.images import MAX_PIXELS, ImageError, read_image

__all__ = ["load", "read_labelme"]

IGNORED = "__ignore__"
BACKGROUND = ("background", "_background_")
POINTS = {"polygon": (3, None), "rectangle": (2, 2), "circle": (2, 2), "mask": (2, 2)}  # least and most points


class Shape(NamedTuple):
    """One drawn region."""

    label: str
    kind: str
    points: list[Point]
    bitmap: str  # base64 PNG of a `mask`, else empty
    where: str  # for messages


def load(root: Path, *, seed: int = 0, shares: Shares = SHARES, classes: Sequence[str] | None = None) -> Splits:
    """Read a folder of labelme files; every file is read and checked.

    Args:
        root: Folder with the JSON files and the pictures; no picture outside it is opened.
        seed: Seed of the split.
        shares: Shares of train, val and test, sum 1.
        classes: Class names, the background first.

    Raises:
        ValueError: If there is no JSON file, a file is not as labelme writes it, a label is not among the classes,
            or a picture is missing or outside the root.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"dataset folder {root} must exist; got no folder of that name.")
    files = [
        file for file in sorted(root.rglob("*.json")) if not file.name.startswith(".") and file.name != "splits.json"
    ]
    if not files:
        raise ValueError(f"folder {root} must hold labelme files (.json); got none.")
    if classes is None:
        classes = _listed_classes(root)
    labels: dict[str, Path] = {}
    pairs = []
    for file in files:
        content = read_object(file, "labelme file")
        shapes = _shapes(content, file, _declared_size(content, file))
        labels = {**{shape.label: file for shape in shapes}, **labels}  # the first file with a label is named
        pairs.append(_pair(content, file, root))
    names = _classes(classes, labels)
    indices = _indices(names)
    for label, file in labels.items():
        _require_known(label, indices, f"label of {file}")
    reader = partial(_read_for_dataset, classes=names)
    data = PairedFolder(tuple(pairs), names, reader, _read_picture)
    return one_set(data, root, seed=seed, shares=shares)


def read_labelme(
    path: str | Path, *, size: tuple[int, int] | None = None, classes: Sequence[str] | None = None
) -> NDArray[np.uint8]:
    """The mask drawn in one labelme file; its picture is not needed.

    Args:
        path: The JSON file.
        size: (H, W) of the picture. None takes the size the file names.
        classes: Class names, the background first. None: the background and the labels of this file in alphabetical
            order, so with one label it is class 1.

    Returns:
        (H, W) uint8: class indices, or 255 where `__ignore__` is drawn. A file without shapes gives only 0.

    Raises:
        ValueError: If the file is not as labelme writes it, names another size, or uses another label; one line
            that names the file and the cause.

    Example:
        >>> import json, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.json"
        >>> shape = {"label": "mole", "points": [[1, 0], [2, 1]], "shape_type": "rectangle"}
        >>> _ = file.write_text(json.dumps({"shapes": [shape], "imageHeight": 3, "imageWidth": 4}))
        >>> read_labelme(file).tolist()
        [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    path = Path(path)
    content = read_object(path, "labelme file")
    size = _size(content, path, size)
    shapes = _shapes(content, path, size)
    indices = _indices(_classes(classes, {shape.label: path for shape in shapes}))
    canvas = Image.new("L", (size[1], size[0]), 0)
    for shape in shapes:
        _require_known(shape.label, indices, f"label of {shape.where}")
        _draw(canvas, shape, indices[shape.label])
    return np.array(canvas)


def _read_for_dataset(
    path: Path, size: tuple[int, int], num_classes: int, *, classes: Sequence[str]
) -> NDArray[np.uint8]:
    """The mask reader of PairedFolder."""
    return read_labelme(path, size=size, classes=classes)


def _read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture file, or the picture inside a labelme file: (H, W, 3) uint8."""
    if path.suffix.lower() != ".json":
        return read_image(path)
    data = _decoded(read_object(path, "labelme file").get("imageData"), f"imageData of {path}")
    try:
        return read_image(data)
    except ImageError as error:
        raise ValueError(f"imageData of {path} must be a readable picture; got: {error.message}") from None


def _pair(content: dict[str, Any], file: Path, root: Path) -> Pair:
    """A labelme file and its picture, which is the file itself where the picture is inside."""
    name = file.relative_to(root).with_suffix("").as_posix()
    path = content.get("imagePath")
    if not isinstance(path, str) or not is_path(path):
        raise ValueError(f"imagePath of {file} must be the name of a picture; got {short(path)}.")
    inside = real(root)
    picture = real(file.parent / path.replace("\\", "/"))
    if (PureWindowsPath(path).drive and not Path(path).is_absolute()) or not picture.is_relative_to(inside):
        raise ValueError(
            f"imagePath of {file} must lead to a picture inside {root}; got {short(path)}. "
            "Name the folder that holds both, or move the picture there and save the file again in labelme."
        )
    if picture.is_file():
        return Pair(name, picture, file, picture.relative_to(inside).as_posix())
    if not content.get("imageData"):
        raise ValueError(f"picture {short(path)} of {file} must be there, or inside as imageData; got neither.")
    return Pair(name, file, file, name)


def _shapes(content: dict[str, Any], file: Path, size: tuple[int, int] | None) -> list[Shape]:
    """The shapes of a file, checked."""
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise ValueError(f"labelme file {file} must have a list of shapes; got {short(shapes)}.")
    return [_shape(shape, f"shape {number} of {file}", size) for number, shape in enumerate(shapes, start=1)]


def _shape(shape: object, where: str, size: tuple[int, int] | None) -> Shape:
    """One shape, checked."""
    if not isinstance(shape, dict):
        raise ValueError(f"{where} must be a JSON object; got {short(shape)}.")
    label, kind = shape.get("label"), shape.get("shape_type")
    if not isinstance(label, str) or not label:
        raise ValueError(f"{where} must have a label; got {short(label)}.")
    kind = "polygon" if kind is None else kind  # 3.x wrote polygons only
    if not isinstance(kind, str) or kind not in POINTS:
        raise ValueError(f"{where} must be a {', '.join(POINTS)}; got {short(kind)}. Draw {short(label)} as a polygon.")
    points = points_of(shape.get("points"), size, where)
    least, most = POINTS[kind]
    if len(points) < least or (most is not None and len(points) > most):
        rule = f"{least}" if most == least else f"at least {least}"
        raise ValueError(f"{where} must have {rule} points, being a {kind}; got {len(points)}.")
    bitmap = shape.get("mask") if kind == "mask" else ""
    if not isinstance(bitmap, str):
        raise ValueError(f"{where} must have its mask as base64 text; got {short(bitmap)}.")
    return Shape(label, kind, points, bitmap, where)


def _draw(canvas: Image.Image, shape: Shape, index: int) -> None:
    """Fill the region of a shape."""
    draw = ImageDraw.Draw(canvas)
    if shape.kind == "polygon":
        draw.polygon(shape.points, fill=index, outline=index)
        return
    (x1, y1), (x2, y2) = shape.points
    if shape.kind == "circle":  # a centre and a point on the rim
        radius = math.hypot(x2 - x1, y2 - y1)
        draw.ellipse((x1 - radius, y1 - radius, x1 + radius, y1 + radius), fill=index, outline=index)
        return
    left, top, right, bottom = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
    if shape.kind == "rectangle":
        draw.rectangle((left, top, right, bottom), fill=index, outline=index)
        return
    bitmap = _bitmap(shape)
    corner = (round(left), round(top))
    if abs(bitmap.width - 1 - (right - left)) > 1 or abs(bitmap.height - 1 - (bottom - top)) > 1:
        raise ValueError(f"{shape.where} must have a mask as large as its box; got {bitmap.width} x {bitmap.height}.")
    canvas.paste(index, corner, bitmap)


def _bitmap(shape: Shape) -> Image.Image:
    """The picture inside a `mask` shape, above 0 where the region is."""
    data = _decoded(shape.bitmap, f"mask of {shape.where}")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError
            return image.convert("L").point(lambda value: 255 if value else 0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise ValueError(f"mask of {shape.where} must be a PNG picture in base64; got something else.") from None


def _decoded(text: object, what: str) -> bytes:
    """Bytes of a base64 text."""
    if not isinstance(text, str):
        raise ValueError(f"{what} must be base64 text; got {short(text)}.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{what} must be base64 text; got {short(text)}.") from None


def _declared_size(content: dict[str, Any], file: Path) -> tuple[int, int] | None:
    """(H, W) as the file says, or None where it does not: old files leave it out."""
    if content.get("imageHeight") is None or content.get("imageWidth") is None:
        return None
    height, width = (whole_number(content[key]) for key in ("imageHeight", "imageWidth"))
    if not height or not width or height * width > MAX_PIXELS:
        got = f"{short(content['imageHeight'])} and {short(content['imageWidth'])}"
        raise ValueError(
            f"imageHeight and imageWidth of {file} must be whole numbers, 1 to {MAX_PIXELS} pixels in all; got {got}."
        )
    return height, width


def _size(content: dict[str, Any], file: Path, size: tuple[int, int] | None) -> tuple[int, int]:
    """(H, W) of the mask: as the caller and the file say, who must agree."""
    declared = _declared_size(content, file)
    if size is None:
        if declared is None:
            raise ValueError(
                f"labelme file {file} must name imageHeight and imageWidth; got neither. Give size=(H, W)."
            )
        return declared
    size = (int(size[0]), int(size[1]))
    if declared not in (None, size):
        raise ValueError(f"labelme file {file} must belong to a picture of {size} (H, W); got {declared} in it.")
    return size


def _listed_classes(root: Path) -> list[str] | None:
    """Class names of `labels.txt` or `classes.txt`, or None."""
    for listing in (root / "labels.txt", root / "classes.txt"):
        if is_there(listing, "list"):
            names = [name for name in read_lines(listing) if name != IGNORED]
            return names if names and names[0] in BACKGROUND else ["background", *names]
    return None


def _classes(given: Sequence[str] | None, labels: dict[str, Path]) -> tuple[str, ...]:
    """Class names: as given, or the background and the labels found."""
    if given is None:
        given = ("background", *sorted(set(labels) - {IGNORED, *BACKGROUND}))
        if len(given) == 1:  # nothing is drawn anywhere; a dataset still has an object class
            given = ("background", "object")
    if isinstance(given, str) or not 2 <= len(given) <= IGNORE_INDEX or len(set(given)) < len(given):
        raise ValueError(
            f"classes must be 2 to {IGNORE_INDEX} different names, the background first; got {short(given)}."
        )
    return tuple(given)


def _indices(names: Sequence[str]) -> dict[str, int]:
    """What each label is drawn with."""
    special = {**dict.fromkeys(BACKGROUND, 0), IGNORED: IGNORE_INDEX}
    return {**special, **{name: index for index, name in enumerate(names)}}


def _require_known(label: str, indices: dict[str, int], what: str) -> None:
    """Refuse a label that is no class."""
    if label not in indices:
        known = ", ".join(name for name in indices if name not in (IGNORED, BACKGROUND[1]))
        raise ValueError(
            f"{what} must be one of {known}; got {short(label)}. Add it to labels.txt or the setting classes, "
            f"or rename it in labelme."
        )
