"""Reading annotation files written by others: JSON that may be anything, and outlines made into masks."""

import json
import math
import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = ["fill_polygon", "is_path", "points_of", "read_object", "real", "short", "whole_number"]

MAX_BYTES = 2**30  # COCO's own largest file is half of this
Point = tuple[float, float]


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: A regular file of at most 1 GiB.
        what: The word for it in messages, such as "labelme file".

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, too large, no JSON, nested too deeply, or not an object. One line.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.json"
        >>> _ = file.write_text('{"shapes": []}')
        >>> read_object(file, "labelme file")
        {'shapes': []}
    """
    if not path.exists():
        raise FileNotFoundError(f"{what} {path} must exist; got no file of that name.")
    if not path.is_file():  # opening a named pipe would wait for ever
        raise ValueError(f"{what} {path} must be a regular file.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{what} {path} must have at most {MAX_BYTES} bytes; got {path.stat().st_size}.")
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} {path} must be UTF-8 text; got a byte that is not, at {error.start}.") from None
    except RecursionError:
        raise ValueError(f"{what} {path} must be JSON of ordinary depth; got lists nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{what} {path} must be JSON; got an error: {str(error).splitlines()[0]}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{what} {path} must hold a JSON object; got a {type(content).__name__}.")
    return content


def points_of(value: object, size: tuple[int, int] | None, where: str) -> list[Point]:
    """List of (x, y) in pixels from a JSON list of pairs.

    Args:
        value: What the file holds.
        size: (H, W); points farther outside than the longer side are refused, they are damage. None skips that.
        where: The subject of messages.

    Raises:
        ValueError: If it is no list of pairs of finite numbers near the picture.

    Example:
        >>> points_of([[1, 2.5]], (10, 10), "shape 1 of a.json")
        [(1.0, 2.5)]
    """
    if not isinstance(value, list):
        raise ValueError(f"{where} must have a list of points; got {short(value)}.")
    points = []
    for point in value:
        if not isinstance(point, list) or len(point) != 2 or not all(_is_finite(number) for number in point):
            raise ValueError(f"{where} must have points of two finite numbers; got {short(point)}.")
        x, y = float(point[0]), float(point[1])
        if size is not None and not (_is_near(x, size[1], max(size)) and _is_near(y, size[0], max(size))):
            raise ValueError(
                f"{where} must lie in or near its picture of {size[1]} x {size[0]} pixels; got {short(point)}."
            )
        points.append((x, y))
    return points


def fill_polygon(size: tuple[int, int], points: Sequence[Point]) -> NDArray[np.bool_]:
    """Pixels whose centre lies inside a polygon, by the even-odd rule.

    The centre of the pixel in row r and column c is (c + 1/2, r + 1/2); a centre on a left or upper edge is inside.

    Args:
        size: (H, W).
        points: Corners (x, y) in pixels, in order; parts outside the picture are cut off.

    Returns:
        (H, W) bool. Fewer than three points enclose nothing.

    Example:
        >>> fill_polygon((3, 4), [(1, 0), (3, 0), (3, 2), (1, 2)]).astype(int).tolist()
        [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    height, width = size
    inside = np.zeros((height, width), bool)
    corners = np.asarray(points, float).reshape(-1, 2)
    (x1, y1), (x2, y2) = corners.T, np.roll(corners, -1, axis=0).T
    for row in range(height):
        y = row + 0.5
        crossed = (y1 <= y) != (y2 <= y)
        if not crossed.any():
            continue
        at = x1[crossed] + (y - y1[crossed]) / (y2[crossed] - y1[crossed]) * (x2[crossed] - x1[crossed])
        first = np.ceil(at - 0.5).clip(0, width).astype(int)  # the first column whose centre is not left of the edge
        inside[row] = np.bincount(first, minlength=width + 1)[:width].cumsum() % 2
    return inside


def whole_number(value: object) -> int | None:
    """A JSON number as int if it is a whole number of 0 or above, else None.

    Example:
        >>> whole_number(480.0), whole_number(True), whole_number("480"), whole_number(-1)
        (480, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value) or value < 0:
        return None
    return int(value) if int(value) == value else None


def is_path(value: object) -> bool:
    r"""Whether a JSON value is text that can be the path of a file on this system.

    Example:
        >>> is_path("a/b.png"), is_path(""), is_path("a\0"), is_path("\ud800"), is_path(3)
        (True, False, False, False, False)
    """
    try:
        return isinstance(value, str) and bool(value) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # half of a character; JSON can spell it
        return False


def real(path: Path) -> Path:
    """The path without links; unlike `Path.resolve` it does not raise for links that lead in a circle.

    Example:
        >>> real(Path("/a/../b")).name
        'b'
    """
    return Path(os.path.realpath(path))


def short(value: object) -> str:
    """A value on one short line, for messages."""
    return reprlib.repr(value).replace("\n", " ")


def _is_finite(value: object) -> bool:
    """Whether a JSON value is a number that fits a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the floats
        return False


def _is_near(value: float, side: int, margin: int) -> bool:
    """Whether a coordinate is inside the picture or not far outside."""
    return -margin <= value <= side + margin


def _refuse_constant(name: str) -> NoReturn:
    """JSON has no NaN and no infinity."""
    raise ValueError(f"the number {name}, which JSON does not have")
