"""One picture under several names: equal files, other colours, other compression, shifted, mirrored or turned.

Three steps, from cheap to sure. Small blurred copies are compared all with all; the nearest are laid over each other
with a shift; and for those that fit, 25 small windows must each find their like close by. Lesions resemble each
other in outline, but only the same picture has the same hairs and pores in the same places.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seglab.data._findings import Finding, listed
from seglab.data._inspect import THUMB, Look

__all__ = ["find_duplicates"]

Array = NDArray[Any]  # float32
Match = tuple[float, int, int]  # correlation and the shift across and down
NEAREST, ALIKE = 12, 0.8  # step 1: candidates of each picture, and their least correlation
OVERLAY = 0.55  # step 2: least correlation after the best shift
SAME = 0.88  # step 3: least median correlation of the windows; in four public datasets strangers stay below 0.86
WINDOW, AROUND, REACH = 20, 4, 8  # pixels of THUMB; REACH in pixels of half of it
PLAIN = 0.8  # grey levels by which a window must vary, or it fits anywhere
BLACK = 24  # grey below which nothing can be seen
TURNED = 0.85  # step 1 for mirrored and turned copies, which are compared in more detail and without shift


class _Pair(NamedTuple):
    """Two pictures (by number) that show the same."""

    first: int
    second: int
    match: float
    how: str


class _Thumbs(NamedTuple):
    """Copies of all pictures without their slow changes of brightness, so that light and colour do not count."""

    fine: list[Array]  # (THUMB, THUMB)
    coarse: list[Array]  # (THUMB / 2, THUMB / 2)
    outline: Array  # (N, 256), mean 0, length 1
    detail: Array  # (N, 24, 24)


def find_duplicates(looks: Sequence[Look], groups: Mapping[str, str], parts: Mapping[str, str]) -> list[Finding]:
    """Pictures that show the same, gathered into sets.

    Args:
        looks: The pairs; those without a readable picture are left out.
        groups: Group of a name, where one is given; pictures of one group are kept on one side of a split.
        parts: Part of a name, where the split is fixed.

    Returns:
        One finding for each set: an error if it lies in several parts, a note if it is one group, else a warning.
    """
    looks = [look for look in looks if look.grey is not None]
    if len(looks) < 2:
        return []
    equal = _equal(looks)
    known = {(pair.first, pair.second) for pair in equal}
    near = [pair for pair in _near(looks) if (pair.first, pair.second) not in known]
    return [_finding(looks, members, pairs, groups, parts) for members, pairs in _sets(equal + near, len(looks))]


def _equal(looks: Sequence[Look]) -> list[_Pair]:
    """Pictures with the very same pixels."""
    first: dict[str, int] = {}
    pairs = []
    for number, look in enumerate(looks):
        other = first.setdefault(look.digest, number)
        if other != number:
            pairs.append(_Pair(other, number, 1.0, "identical"))
    return pairs


def _near(looks: Sequence[Look]) -> Iterator[_Pair]:
    """Pictures that fit each other in detail."""
    thumbs = _thumbs(looks)
    for first, second in _candidates(thumbs.outline):
        match, across, down = _overlay(thumbs.coarse[first], thumbs.coarse[second])
        if match >= OVERLAY:
            match = _windows(thumbs.fine[first], thumbs.fine[second], across, down)
            if match >= SAME:
                yield _Pair(first, second, match, "nearly the same")
    yield from _turned(thumbs)


def _thumbs(looks: Sequence[Look]) -> _Thumbs:
    """The copies that are compared."""
    import cv2

    fine, coarse, outline, detail = [], [], [], []
    for look in looks:
        assert look.grey is not None
        grey = look.grey.astype(np.float32)
        seen = _seen(look.grey)
        fine.append(_without_light(grey, seen, 0.8, 6))
        smooth = _without_light(grey, seen, 1, 8)
        coarse.append(cv2.resize(smooth, (THUMB // 2, THUMB // 2), interpolation=cv2.INTER_AREA))
        detail.append(cv2.resize(smooth, (24, 24), interpolation=cv2.INTER_AREA))
        outline.append(cv2.resize(cv2.GaussianBlur(grey, (0, 0), 3), (16, 16), interpolation=cv2.INTER_AREA))
    return _Thumbs(fine, coarse, _unit(np.array(outline)), np.array(detail))


def _seen(grey: NDArray[Any]) -> Array:
    """1 where the picture shows something, 0 in black corners: these are alike in all pictures of one instrument."""
    import cv2

    _, marks = cv2.connectedComponents((grey < BLACK).astype(np.uint8))
    edge = np.concatenate([marks[0], marks[-1], marks[:, 0], marks[:, -1]])
    black = np.isin(marks, np.unique(edge[edge > 0])).astype(np.uint8)
    result: Array = 1 - cv2.dilate(black, np.ones((5, 5), np.uint8)).astype(np.float32)
    return result


def _without_light(grey: Array, seen: Array, small: float, large: float) -> Array:
    """What is finer than `large` and coarser than `small` pixels; means are taken over what is seen only."""
    import cv2

    means = [
        cv2.GaussianBlur(grey * seen, (0, 0), size) / np.maximum(cv2.GaussianBlur(seen, (0, 0), size), 1e-3)
        for size in (small, large)
    ]
    difference: Array = (means[0] - means[1]) * seen
    return difference


def _unit(fields: Array) -> Array:
    """(N, ...) fields as (N, P) rows of mean 0 and length 1; a flat field becomes zeros."""
    rows = fields.reshape(len(fields), -1)
    rows = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    result: Array = np.where(length > 1e-3, rows / np.maximum(length, 1e-3), 0).astype(np.float32)
    return result


def _candidates(rows: Array, step: int = 1000) -> list[tuple[int, int]]:
    """Each picture with its nearest ones."""
    found = set()
    for start in range(0, len(rows), step):
        likeness = rows[start : start + step] @ rows.T
        likeness[np.arange(len(likeness)), start + np.arange(len(likeness))] = -1
        count = min(NEAREST, len(rows) - 1)
        nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        for number, others in enumerate(nearest):
            first = start + number
            found |= {(min(first, int(o)), max(first, int(o))) for o in others if likeness[number, o] >= ALIKE}
    return sorted(found)


def _overlay(first: Array, second: Array) -> Match:
    """Best correlation of two coarse copies over all small shifts, and that shift in pixels of the fine ones."""
    import cv2

    scores = cv2.matchTemplate(first, second[REACH:-REACH, REACH:-REACH], cv2.TM_CCOEFF_NORMED)
    _, best, _, (across, down) = cv2.minMaxLoc(scores)
    return best, 2 * (across - REACH), 2 * (down - REACH)


def _windows(first: Array, second: Array, across: int, down: int) -> float:
    """Median correlation of 25 windows, each with its like in the other picture; 0 if too few overlap."""
    import cv2

    scores = []
    places = np.linspace(6, THUMB - WINDOW - 6, 5).astype(int)
    for y in places:
        for x in places:
            top, left = y + down - AROUND, x + across - AROUND
            wide = WINDOW + 2 * AROUND
            if min(top, left) < 0 or max(top, left) + wide > THUMB:
                continue
            window = second[y : y + WINDOW, x : x + WINDOW]
            if window.std() < PLAIN:
                continue
            around = first[top : top + wide, left : left + wide]
            scores.append(cv2.matchTemplate(around, window, cv2.TM_CCOEFF_NORMED).max())
    return float(np.median(scores)) if len(scores) >= 8 else 0.0


def _turned(thumbs: _Thumbs) -> Iterator[_Pair]:
    """Mirrored and turned copies, as augmentation before the split leaves them."""
    upright = _unit(thumbs.detail)
    for turn in range(1, 8):
        others = _unit(np.array([_turn(field, turn) for field in thumbs.detail]))
        for start in range(0, len(upright), 1000):
            likeness = upright[start : start + 1000] @ others.T
            for first, second in np.argwhere(likeness >= TURNED):
                first, second = int(first) + start, int(second)
                if first >= second:  # the same pair comes again the other way round, where it is found too
                    continue
                match = _windows(thumbs.fine[first], np.ascontiguousarray(_turn(thumbs.fine[second], turn)), 0, 0)
                if match >= SAME:
                    yield _Pair(first, second, match, "mirrored or turned")


def _turn(field: Array, turn: int) -> Array:
    """One of the eight ways to lay a square down; 0 leaves it."""
    result: Array = np.rot90(field.T if turn >= 4 else field, turn % 4)
    return result


def _sets(pairs: Sequence[_Pair], count: int) -> list[tuple[list[int], list[_Pair]]]:
    """Sets of pictures that are linked by pairs."""
    parent = list(range(count))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for pair in pairs:
        parent[root(pair.first)] = root(pair.second)
    members: dict[int, list[int]] = {}
    for number in sorted({number for pair in pairs for number in (pair.first, pair.second)}):
        members.setdefault(root(number), []).append(number)
    links: dict[int, list[_Pair]] = {}
    for pair in pairs:
        links.setdefault(root(pair.first), []).append(pair)
    return [(found, links[key]) for key, found in members.items()]


def _finding(
    looks: Sequence[Look],
    members: Sequence[int],
    pairs: Sequence[_Pair],
    groups: Mapping[str, str],
    parts: Mapping[str, str],
) -> Finding:
    """A set of equal pictures in one line."""
    names = [looks[number].pair.name for number in members]
    hows = {pair.how for pair in pairs}
    how = "identical" if hows == {"identical"} else f"nearly the same (match {min(pair.match for pair in pairs):.2f})"
    if "mirrored or turned" in hows:
        how += ", mirrored or turned"
    message = f"and {listed(names[1:], 8)} show the same picture: {how}"
    places = {parts[name] for name in names if name in parts}
    together = len({groups.get(name, name) for name in names}) == 1
    if len(places) > 1:
        said = f"{message}; they lie in {' and '.join(sorted(places))}."
        return Finding("duplicate_leak", "error", names[0], said, "Move them to one part, or results are too good.")
    if together or places:
        why = "one group" if together else f"all in {places.pop()}"
        return Finding("duplicate", "note", names[0], f"{message}; {why}, so no split parts them.")
    remedy = "Give them one group in metadata.csv, or keep one."
    return Finding("duplicate", "warning", names[0], f"{message}; a random split may part them.", remedy)
