"""Lesson 6: a mask keeps its classes when it is warped, and a split keeps relatives together."""

from collections.abc import Callable, Sequence

import numpy as np

from seglab.teach._check import expect

__all__ = ["expectations"]

Warp = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
Split = Callable[[Sequence[str], int, np.random.Generator], tuple[list[tuple[str, int]], list[str]]]


def expectations(warp_mask: Warp, split_then_copy: Split) -> None:
    """Masks by hand, then by chance; then who is in which part of a split.

    Args:
        warp_mask: Takes a mask (H, W) and for every new pixel the row and the column, with fractions, that it comes
            from; returns the new mask with values of the old one only, its border repeated outside.
        split_then_copy: Takes names, a number of copies and random numbers; returns the copies (name, number) of nine
            tenths of the names, and the names of the last tenth.
    """
    _expect_warp(warp_mask)
    names = [f"picture {i}" for i in range(40)]
    train, val = split_then_copy(list(names), 3, np.random.default_rng(0))
    parents = {name for name, _ in train}
    expect(len(val) == 4, f"of 40 pictures 4 must be for validation; you have {len(val)}: split pictures, not copies.")
    expect(
        not parents & set(val),
        "a picture has copies on both sides: that is the leak.",
        "Split the names first. Make copies of the training names only.",
    )
    expect(parents | set(val) == set(names), "every picture must be in one of the two parts.")
    expect(
        sorted(train) == sorted((name, number) for name in parents for number in range(3)),
        "every training picture must have the copies 0, 1 and 2, each once.",
    )
    again = split_then_copy(list(names), 3, np.random.default_rng(0))[1]
    other = split_then_copy(list(names), 3, np.random.default_rng(1))[1]
    expect(set(again) == set(val), "the same random numbers must give the same split: draw from `rng` alone.")
    expect(
        set(other) != set(val) and set(val) != set(names[:4]) and set(val) != set(names[-4:]),
        "the split must be drawn: the first or the last pictures of a folder may be of one kind.",
        "`rng.permutation(names)` gives the names in an order by chance.",
    )


def _expect_warp(warp_mask: Warp) -> None:
    """Nothing moved, moved by whole pixels, by parts of a pixel, over the border."""
    mask = np.array([[0, 0, 2], [0, 2, 2], [255, 0, 0]], np.uint8)
    rows, columns = np.mgrid[:3, :3].astype(float)
    expect(_same(warp_mask(mask, rows, columns), mask), "where nothing moves, the mask stays as it is.")
    expect(
        _same(warp_mask(mask, columns, rows), mask.T),
        "rows and columns exchanged must give the mask turned over.",
        "The value of a new pixel is `mask[row, column]` of the place it comes from.",
    )
    moved = warp_mask(mask, rows + 0.3, columns - 0.4)
    expect(
        _same(moved, mask),
        "a place 0.3 below and 0.4 left of a pixel is still nearest to that pixel.",
        "Round to the nearest: `np.rint(rows).astype(int)`.",
    )
    far = warp_mask(mask, rows + 2, columns - 5)
    expect(
        _same(far, np.full((3, 3), 255)),
        "outside, the border goes on: a place below and left of the mask has the value of that corner.",
        "`np.clip(..., 0, mask.shape[0] - 1)` keeps the rows inside.",
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.choice(np.array([0, 2, 255], np.uint8), (7, 9))
        rows, columns = rng.uniform(-2, 8, (7, 9)), rng.uniform(-2, 10, (7, 9))
        wanted = [[mask[min(max(round(r), 0), 6), min(max(round(c), 0), 8)] for r, c in zip(*line, strict=True)]
                  for line in zip(rows, columns, strict=True)]  # fmt: skip
        expect(_same(warp_mask(mask, rows, columns), np.array(wanted)), "masks drawn by chance come out otherwise.")


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one, other))
