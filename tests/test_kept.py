"""How many results of visitors are kept."""

import gc

import numpy as np
import pytest

from seglab.comparison import Comparison, ModelResult
from seglab.images import ImageError
from seglab.kept import KeptResults
from seglab.shown import Shown


def shown(side: int = 10, models: int = 1, *, disturbed: bool = False) -> Shown:
    image, mask = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8)
    results = tuple(
        ModelResult(f"model {n}", np.zeros((1, side, side), np.float32), mask.copy(), {}, {}, 0.0, 32, "")
        for n in range(models)
    )
    clean = Comparison(image, mask, 0.5, results)
    other = Comparison(image.copy(), mask, 0.5, results) if disturbed else clean
    return Shown(comparison=other, clean=clean)


@pytest.mark.parametrize(
    ("one", "count"),
    [
        (shown(), 300 + 100 + 400 + 100),  # picture, truth, probabilities, mask
        (shown(models=3), 300 + 100 + 3 * 500),
        (shown(disturbed=True), 2 * 300 + 100 + 400 + 100),  # what both share counts once
        (Shown(), 0),
    ],
)
def test_arrays_of_a_result_are_counted(one, count):
    kept = KeptResults()
    kept.used(one)
    assert kept.bytes == count


def test_the_result_used_longest_ago_goes_and_its_visitor_is_told():
    first, second, third = shown(), shown(), shown()
    kept = KeptResults(most=2 * 900)
    kept.used(first)
    kept.used(second)
    assert first.kept() is first.comparison
    kept.used(first)
    kept.used(third)
    assert second.comparison is None
    assert second.clean is None
    with pytest.raises(ImageError, match="no longer"):
        second.kept()
    assert first.kept().image.shape == (10, 10, 3)
    assert kept.bytes == 1800


def test_the_last_result_stays_whatever_its_size():
    small, large = shown(), shown(200)
    kept = KeptResults(most=1000)
    kept.used(small)
    kept.used(large)
    assert small.comparison is None
    assert large.comparison is not None


def test_a_visitor_who_has_gone_takes_no_room():
    kept = KeptResults(most=1000)
    gone = shown()
    kept.used(gone)
    del gone
    gc.collect()
    here = shown()
    kept.used(here)
    assert kept.bytes == 900
    assert here.comparison is not None
