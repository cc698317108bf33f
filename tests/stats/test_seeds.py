from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from seglab import stats
from seglab.stats import compare, hierarchical_difference, paired_difference
from stats.two_models import report, two_models


def runs(seeds, n, *, rng, shift=0.0, seed_sd=0.02, gap=None):
    """Scores (S, n) that share hard and easy pictures."""
    gap = np.zeros(n) if gap is None else gap
    return 0.8 + shift + gap + rng.normal(0, seed_sd, (seeds, 1)) + rng.normal(0, 0.03, (seeds, n))


def test_with_one_seed_it_is_the_bootstrap_over_pictures():
    rng = np.random.default_rng(0)
    a, b = rng.random((1, 40)), rng.random((1, 40))
    result, pictures = hierarchical_difference(a, b), paired_difference(a[0], b[0])
    for field in ("mean", "low", "high", "p", "detectable", "n"):
        assert getattr(result, field) == getattr(pictures, field)
    assert result.verdict().endswith("The interval excludes seed noise: there is one seed of each.")


@pytest.mark.parametrize("definition", ["dice_fg_image", "iou_fg_pooled"])
def test_with_one_seed_counts_give_the_row_of_compare(definition):
    first, second = two_models(40, gain=0.3)
    result = hierarchical_difference(first[None], second[None], definition=definition)
    row = compare(report("a", first), report("b", second), definitions=[definition]).rows[0]
    assert (result.mean, result.low, result.high, result.p) == (row.difference, row.low, row.high, row.p)


def test_without_seed_noise_many_runs_are_as_good_as_one():
    rng = np.random.default_rng(1)
    a, b = rng.random(60), rng.random(60)
    result = hierarchical_difference(np.tile(a, (3, 1)), np.tile(b, (4, 1)))
    one = paired_difference(a, b)
    assert (result.mean, result.low, result.high) == pytest.approx((one.mean, one.low, one.high), abs=0.004)
    assert result.p == pytest.approx(one.p, abs=0.02)


def test_if_only_seeds_vary_it_is_welchs_test_over_seeds():
    rng = np.random.default_rng(2)
    a, b = (rng.normal(0.8, 0.02, (seeds, 1)) for seeds in (4, 6))
    result = hierarchical_difference(np.tile(a, (1, 30)), np.tile(b, (1, 30)), draws=20_000)
    theirs = scipy.stats.ttest_ind(b[:, 0], a[:, 0], equal_var=False)
    interval = theirs.confidence_interval()
    scale = np.sqrt(30 / 29)  # the correction for 30 pictures is applied to the whole variance
    assert result.mean == pytest.approx(b.mean() - a.mean())
    assert result.high - result.low == pytest.approx((interval.high - interval.low) * scale, rel=0.03)
    assert result.p == pytest.approx(theirs.pvalue, abs=0.03)


def test_the_mean_over_seeds_is_taken_of_pooled_scores_too():
    rng = np.random.default_rng(3)
    a, b = (
        np.stack([two_models(20, seed=0, gain=gain + rng.normal(0, 0.2))[1] for _ in range(3)]) for gain in (0, 0.5)
    )
    result = hierarchical_difference(a, b[:2], definition="dice_fg_pooled", draws=500)
    scores = [[stats.score(one, "dice_fg_pooled") for one in run] for run in (a, b[:2])]
    assert result.mean == pytest.approx(np.mean(scores[1]) - np.mean(scores[0]))
    assert result.low < result.mean < result.high
    assert result.seeds == (3, 2)
    assert result.note == "The interval holds pictures and seeds (3 and 2)."


def test_more_seed_noise_makes_the_interval_wider():
    rng = np.random.default_rng(4)
    widths = []
    for seed_sd in (0, 0.02, 0.1):
        result = hierarchical_difference(runs(4, 50, rng=rng, seed_sd=seed_sd), runs(4, 50, rng=rng, seed_sd=seed_sd))
        widths.append(result.high - result.low)
    assert widths == sorted(widths)


def test_pictures_without_a_score_in_some_run_are_left_out():
    rng = np.random.default_rng(5)
    a, b = runs(2, 30, rng=rng), runs(3, 30, rng=rng)
    a[1, 4] = b[0, 7] = np.nan
    result = hierarchical_difference(a, b)
    assert (result.n, result.left_out) == (28, 2)
    keep = np.delete(np.arange(30), [4, 7])
    assert replace(result, left_out=0) == hierarchical_difference(a[:, keep], b[:, keep])


def test_equal_recipes_show_no_difference():
    same = np.full((3, 10), 0.5)
    result = hierarchical_difference(same, same[:2])
    assert (result.mean, result.low, result.high, result.p) == (0, 0, 0, 1)
    assert hierarchical_difference(same, same + 0.1).p == 0


def test_too_few_pictures_are_not_judged():
    assert "too few pictures" in hierarchical_difference(np.ones((2, 1)), np.zeros((2, 1))).verdict()
    lost = np.full((2, 3), np.nan)
    assert np.isnan(hierarchical_difference(lost, lost).mean)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"of the same N pictures; got shapes \(2, 3\), \(2, 4\)"):
        hierarchical_difference(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"got shapes \(3,\), \(3,\)"):
        hierarchical_difference(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="counts must come with a definition"):
        hierarchical_difference(np.ones((2, 3, 2, 2)), np.ones((2, 3, 2, 2)))
    with pytest.raises(ValueError, match="definition must be left out where scores"):
        hierarchical_difference(np.zeros((2, 3)), np.zeros((2, 3)), definition="dice_fg_image")
