import itertools

import numpy as np
import pytest

from seglab.stats import paired_difference


def test_p_equals_the_exact_permutation_test():
    first, second = np.zeros(8), np.array([0.3, 0.1, -0.1, 0.4, 0.2, -0.05, 0.25, 0.15])
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    exact = np.mean(np.abs((signs * second).mean(axis=1)) >= abs(second.mean()) - 1e-12)
    assert paired_difference(first, second, draws=40_000).p == pytest.approx(exact, abs=0.01)


def test_equal_scores_show_no_difference():
    scores = np.random.default_rng(0).random(50)
    result = paired_difference(scores, scores)
    assert (result.mean, result.low, result.high, result.p) == (0, 0, 0, 1)
    assert "no difference was shown" in result.verdict()


def test_pictures_without_a_score_are_left_out():
    result = paired_difference([0.1, np.nan, 0.3, 0.4], [0.2, 0.9, np.nan, 0.5])
    assert result.n == 2
    assert result.mean == pytest.approx(0.1)


def test_swapping_the_models_turns_the_sign_and_the_verdict():
    rng = np.random.default_rng(1)
    first = rng.random(60)
    second = first + rng.normal(0.05, 0.02, 60)
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there.mean == pytest.approx(-back.mean)
    assert there.verdict().startswith("the second is better")
    assert back.verdict().startswith("the first is better")
    assert back.verdict().removeprefix("the first") == there.verdict().removeprefix("the second")


def test_detectable_difference_is_its_formula():
    gaps = np.array([0.1, -0.1, 0.2, 0.0])
    expected = 2.8 * np.sqrt(np.sum((gaps - gaps.mean()) ** 2) / 3) / 2
    assert paired_difference(np.zeros(4), gaps).detectable == pytest.approx(expected)


def test_too_few_pictures_are_not_judged():
    assert "too few" in paired_difference([0.5], [0.6]).verdict()
    assert "too few" in paired_difference([], []).verdict()


def test_other_pictures_are_refused():
    with pytest.raises(ValueError, match="same pictures; got shapes"):
        paired_difference([0.1, 0.2], [0.1])


@pytest.mark.parametrize("n", [50, 120])
def test_a_true_null_is_rejected_about_one_time_in_twenty(n):
    rng = np.random.default_rng(n)
    trials = [paired_difference(rng.random(n), rng.random(n), draws=500, seed=i) for i in range(400)]
    rejected = np.mean([trial.p < 0.05 for trial in trials])
    covered = np.mean([trial.low <= 0 <= trial.high for trial in trials])
    assert 0.02 <= rejected <= 0.08  # two standard errors of 400 trials are 0.022
    assert 0.91 <= covered <= 0.98
