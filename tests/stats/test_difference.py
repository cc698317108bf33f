import itertools

import numpy as np
import pytest
import scipy.stats

from seglab.stats import detectable, holm, paired_difference
from seglab.stats._draws import student_quantile, student_tail


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


def test_with_few_pictures_p_is_the_exact_count_of_arrangements():
    # 16 sums of +-1 +-2 +-3 +-4: only +10 and -10 reach 10, and 8 is reached by flipping the 1.
    assert paired_difference(np.zeros(4), [1, 2, 3, 4]).p == 2 / 16
    assert paired_difference(np.zeros(4), [-1, 2, 3, 4]).p == 4 / 16


def test_p_is_that_of_scipy():
    rng = np.random.default_rng(3)
    first, second = rng.random(11), rng.random(11) + 0.2
    theirs = scipy.stats.permutation_test(
        (second - first,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert paired_difference(first, second).p == pytest.approx(theirs.pvalue)


def test_half_width_is_student_times_the_bootstrap_error_of_scipy():
    gaps = np.random.default_rng(4).beta(2, 5, 30)
    theirs = scipy.stats.bootstrap((gaps,), np.mean, n_resamples=20_000, rng=np.random.default_rng(5))
    ours = paired_difference(np.zeros(30), gaps, draws=20_000)
    expected = scipy.stats.t.ppf(0.975, 29) * theirs.standard_error * np.sqrt(30 / 29)
    assert ours.high - ours.mean == pytest.approx(expected, rel=0.03)
    assert ours.high - ours.mean == pytest.approx(ours.mean - ours.low)


@pytest.mark.parametrize("df", [1, 2.5, 4, 30, 206, 10_000])
def test_student_is_that_of_scipy(df):
    assert student_quantile(df) == pytest.approx(scipy.stats.t.ppf(0.975, df), rel=1e-5)
    for t in (0, 0.3, -2.1, 3.5):
        assert student_tail(t, df) == pytest.approx(2 * scipy.stats.t.sf(abs(t), df), abs=1e-6)


def test_holm_by_hand():
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and the last may not fall below .06
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    np.testing.assert_allclose(holm([0.02, np.nan, 0.03]), [0.04, np.nan, 0.04])
    assert holm([]).shape == (0,)
    with pytest.raises(ValueError, match="p values must be a list of numbers in"):
        holm([0.5, 1.5])


def test_the_table_of_detectable_differences():
    for n, three, six in [
        (40, 1.33, 2.66),
        (120, 0.77, 1.53),
        (379, 0.43, 0.86),
        (520, 0.37, 0.74),
        (1000, 0.27, 0.53),
    ]:
        assert (round(detectable(3, n), 2), round(detectable(6, n), 2)) == (three, six)
    with pytest.raises(ValueError, match="n must be at least 1 and sd at least 0; got 0"):
        detectable(3, 0)


def test_a_difference_of_the_detectable_size_is_found_80_times_in_100():
    rng, n = np.random.default_rng(6), 100
    gaps = rng.normal(detectable(1, n), 1, (2000, n))
    found = np.abs(gaps.mean(1)) > 1.984 * gaps.std(1, ddof=1) / np.sqrt(n)
    assert 0.77 < found.mean() < 0.83


def test_no_draw_is_refused():
    with pytest.raises(ValueError, match="draws must be at least 1; got 0"):
        paired_difference(np.zeros(30), np.ones(30), draws=0)
