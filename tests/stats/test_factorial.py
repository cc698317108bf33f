import json
from itertools import product

import numpy as np
import pytest

from seglab import stats
from seglab.stats import factorial, hierarchical_difference, paired_difference
from stats.two_models import two_models

TWO = {(0, 0): 0.70, (1, 0): 0.74, (0, 1): 0.72, (1, 1): 0.80}
THREE = {(*key, 0): score for key, score in TWO.items()} | {(*key, 1): score for key, score in TWO.items()}
THREE[1, 1, 1] = 0.84


def constant(cells, n=6):
    return {key: np.full((1, n), score) for key, score in cells.items()}


def random_cells(k, *, n=40, seeds=(1,), seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(0.7, 0.1, n)
    keys = list(product((False, True), repeat=k))
    return {
        key: base + 0.02 * sum(key) + rng.normal(0, 0.05, (seeds[index % len(seeds)], n))
        for index, key in enumerate(keys)
    }


def test_effects_of_two_factors_by_hand():
    result = factorial(constant(TWO), ["aug", "cbam"])
    assert {effect.name: round(effect.value, 6) for effect in result.effects} == {
        "aug": 0.06,
        "cbam": 0.04,
        "aug x cbam": 0.02,
    }
    assert result.published.value == pytest.approx(0.10)


def test_effects_of_three_factors_by_hand():
    result = factorial(constant(THREE))
    found = {effect.name: round(effect.value, 6) for effect in result.effects}
    assert found == {"A": 0.07, "B": 0.05, "C": 0.01, "A x B": 0.03, "A x C": 0.01, "B x C": 0.01, "A x B x C": 0.01}
    assert result.published.value == pytest.approx(0.14)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_effects_are_twice_the_coefficients_of_least_squares(k):
    cells = random_cells(k)
    result = factorial(cells, draws=10)
    signs = np.array([[1 if level else -1 for level in key] for key in cells], float)
    columns = {
        effect.name: signs[:, ["ABCD".index(c) for c in effect.name.split(" x ")]].prod(1) for effect in result.effects
    }
    design = np.column_stack([np.ones(len(cells)), *columns.values()])
    fit = np.linalg.lstsq(design, np.array([scores.mean() for scores in cells.values()]), rcond=None)[0]
    np.testing.assert_allclose([effect.value for effect in result.effects], 2 * fit[1:], atol=1e-12)
    assert len(result.effects) == 2**k - 1


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_published_comparison_is_the_sum_of_the_odd_effects(k):
    cells = random_cells(k, seed=1)
    result = factorial(cells, draws=10)
    gap = cells[(True,) * k].mean() - cells[(False,) * k].mean()
    assert result.published.value == pytest.approx(gap)
    assert sum(effect.value for effect in result.mixed) == pytest.approx(gap)


def test_one_factor_with_one_seed_is_the_paired_difference():
    cells = random_cells(1, n=60)
    (effect,) = factorial(cells, ["cbam"]).effects
    one = paired_difference(cells[False,][0], cells[True,][0])
    assert (effect.value, effect.low, effect.high) == (
        pytest.approx(one.mean),
        pytest.approx(one.low, abs=1e-3),
        pytest.approx(one.high, abs=1e-3),
    )
    assert effect.p == pytest.approx(one.p, abs=0.02)


def test_one_factor_with_seeds_is_the_hierarchical_difference():
    cells = random_cells(1, n=60, seeds=(3, 4))
    (effect,) = factorial(cells).effects
    one = hierarchical_difference(cells[False,], cells[True,])
    assert (effect.value, effect.low, effect.high, effect.p) == (one.mean, one.low, one.high, one.p)
    assert factorial(cells).note == "The intervals hold pictures and seeds (3, 4)."


def test_an_interval_of_a_main_effect_is_the_bootstrap_of_its_values_per_picture():
    cells = random_cells(2, n=50)
    aug = (cells[True, False] + cells[True, True] - cells[False, False] - cells[False, True])[0] / 2
    one, effect = paired_difference(np.zeros(50), aug), factorial(cells).effect("A")
    assert effect.high - effect.low == pytest.approx(one.high - one.low, rel=0.03)
    assert effect.p == pytest.approx(one.p, abs=0.02)


def test_pooled_scores_are_those_of_the_pooled_counts():
    cells = {key: two_models(30, seed=0, gain=0.3 * sum(key))[1][None] for key in product((0, 1), repeat=2)}
    result = factorial(cells, definition="iou_fg_pooled", draws=300)
    scores = {key: stats.score(counts[0], "iou_fg_pooled") for key, counts in cells.items()}
    assert result.cells == {key: (pytest.approx(score), 1) for key, score in scores.items()}
    assert result.effect("A x B").value == pytest.approx(
        (scores[1, 1] - scores[0, 1] - scores[1, 0] + scores[0, 0]) / 2
    )
    assert 0 <= result.effect("A").p <= 1


@pytest.mark.parametrize(
    "keys",
    [
        [(False, False), (True, False), (False, True), (True, True)],
        [("off", "off"), ("on", "off"), ("off", "on"), ("on", "on")],
        [("plain", None), ("strong", None), ("plain", "skip"), ("strong", "skip")],
        ["none", "aug", "cbam", "cbam+aug"],
        [frozenset(), frozenset({"aug"}), frozenset({"cbam"}), frozenset({"aug", "cbam"})],
    ],
)
def test_cells_may_be_named_in_several_ways_and_any_order(keys):
    cells = dict(zip(keys, constant(TWO).values(), strict=True))
    for order in (keys, [keys[0], *keys[:0:-1]]):
        result = factorial({key: cells[key] for key in order}, ["aug", "cbam"], draws=10)
        assert [round(effect.value, 6) for effect in result.effects] == [0.06, 0.04, 0.02]
        assert list(result.cells) == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    "keys",
    [["none", "a", "b"], [(0, 0), (0, 1), (1, 0), (1, 2)], [(0, 0), (0, 1), (1,), (1, 1)], [], [(0,), (1,), (2,)]],
)
def test_incomplete_factorials_are_refused(keys):
    with pytest.raises(ValueError, match="cells must be all combinations of two levels a factor, each once; got"):
        factorial({key: np.zeros((1, 3)) for key in keys})
    with pytest.raises(ValueError, match=r"\(1, 1\) is missing"):
        factorial({key: np.zeros((1, 3)) for key in ["none", "a", "b"]})


def test_names_of_factors_must_be_those_of_the_cells():
    with pytest.raises(ValueError, match="cells must be all combinations"):
        factorial(constant({"none": 0.1, "aug": 0.2}), ["cbam"])
    with pytest.raises(ValueError, match="effect must be one of aug; got 'cbam'"):
        factorial(constant({"none": 0.1, "aug": 0.2})).effect("cbam")


def test_the_text_sets_the_published_comparison_beside_what_it_mixes():
    result = factorial(constant(TWO), ["aug", "cbam"], draws=10)
    text = result.to_markdown()
    assert "As published, all on minus all off: +0.1000 = +0.0600 (aug) +0.0400 (cbam)." in text
    assert "| on | off | 0.7400 | 1 |" in text
    assert "| aug x cbam | +0.0200 |" in text
    assert "The intervals exclude seed noise: some cells have one seed." in text
    content = json.loads(result.to_json())
    assert content["cells"][3] == {"levels": {"aug": 1, "cbam": 1}, "score": pytest.approx(0.8), "seeds": 1}
    assert content["published"]["p_holm"] is None
    assert str(result) == text


def test_holm_is_over_the_effects():
    result = factorial(random_cells(2, seeds=(2, 3), seed=3), draws=500)
    np.testing.assert_allclose([e.p_holm for e in result.effects], stats.holm([e.p for e in result.effects]))
