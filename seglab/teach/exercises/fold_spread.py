"""Lesson 9: folds that keep groups whole, and the spread of their scores."""

from collections.abc import Callable, Sequence

import numpy as np

from seglab.teach._check import expect

__all__ = ["expectations"]

Folds = Sequence[Sequence[int]]


def expectations(k_folds: Callable[[list[str], int], Folds], fold_spread: Callable[[np.ndarray, Folds], float]) -> None:
    """Six pictures by hand first, then groups drawn by chance; then the spread, by hand and of chance alone.

    Args:
        k_folds: Takes the group of each picture and k; returns the picture numbers of k folds: each picture once,
            groups whole, the largest group first, always to the fold with the fewest pictures.
        fold_spread: Takes a score for each picture, (N,), and the folds; returns the standard deviation of their means,
            with k - 1 below the line.
    """
    _try_single(k_folds)
    _try_groups(k_folds)
    scores = np.array([1.0, 3.0, 5.0, 7.0, 9.0, 11.0])
    expect(
        abs(fold_spread(scores, [[0, 1], [2, 3], [4, 5]]) - 4) < 1e-9,
        "three folds with the means 2, 6 and 10 have a standard deviation of 4.",
        "Divide by k - 1: that is `ddof=1`. NumPy's own default divides by k.",
    )
    expect(
        abs(fold_spread(scores, [[0, 1, 2, 3], [4], [5]]) - np.std([4, 9, 11], ddof=1)) < 1e-9,
        "folds of different sizes: every fold counts once, with the mean of its own pictures.",
    )
    rng = np.random.default_rng(0)
    folds = k_folds([str(picture) for picture in range(200)], 5)
    found = [fold_spread(rng.normal(90, 2, 200), folds) for _ in range(500)]
    expect(
        abs(float(np.mean(np.square(found))) * 40 / 2**2 - 1) < 0.15, "the spread of 500 sets drawn by chance is off."
    )
    expect(
        float(np.mean(np.array(found) <= 0.025)) < 1e-3, "a spread of 0.025 is far too common in sets drawn by chance."
    )


def _try_single(k_folds: Callable[[list[str], int], Folds]) -> None:
    """Every picture a group of its own."""
    folds = k_folds(list("abcdef"), 3)
    expect(len(folds) == 3, "three folds were asked for: return a list of three lists.")
    expect(
        sorted(number for fold in folds for number in fold) == list(range(6)),
        "every picture must be in one fold, and in no other: six pictures, the numbers 0 to 5.",
        "Start with `folds = [[] for _ in range(k)]` and put every group into one of them.",
    )
    expect(
        [len(fold) for fold in folds] == [2, 2, 2],
        "six pictures of six patients in three folds: two in each.",
        "Give each group to the fold that has the fewest pictures so far: `min(folds, key=len)`.",
    )


def _try_groups(k_folds: Callable[[list[str], int], Folds]) -> None:
    """Several pictures of a group."""
    groups = ["ben", "anna", "cleo", "anna", "anna", "dan"]
    folds = [sorted(fold) for fold in k_folds(groups, 2)]
    expect(
        any({1, 3, 4} <= set(fold) for fold in folds),
        "the pictures 1, 3 and 4 show the same patient: they belong into one fold.",
    )
    expect(
        sorted(folds) == [[0, 2, 5], [1, 3, 4]],
        "three pictures of anna and one each of three others, in two folds: anna is one fold, the others the second.",
        "Deal the largest group first: `sorted(dict.fromkeys(groups), key=groups.count, reverse=True)`.",
    )
    rng = np.random.default_rng(0)
    for _ in range(30):
        groups = [str(number) for number in rng.integers(0, 12, 40)]
        folds = [sorted(fold) for fold in k_folds(groups, 4)]
        expect(sorted(sum(folds, [])) == list(range(40)), "40 pictures drawn by chance: one is lost, or there twice.")
        homes = [{groups[number] for number in fold} for fold in folds]
        expect(sum(map(len, homes)) == len(set(groups)), "groups drawn by chance: one is torn apart.")
        sizes = [len(fold) for fold in folds]
        most = max(map(groups.count, groups))
        expect(max(sizes) - min(sizes) <= most, "folds may differ by the size of the largest group, no more.")
