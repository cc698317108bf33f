"""What the intervals and tests promise, held against many simulated experiments of which the truth is known.

Scores have the long lower tail of real Dice scores. With 1,500 experiments the standard error of a share near 0.95 or
0.05 is 0.006; the draws are seeded, so a share that is inside stays inside.
"""

import numpy as np
import pytest

from seglab.stats import compare, factorial, hierarchical_difference, per_image, score
from seglab.stats._draws import flip_p
from stats.two_models import of_dice, report

EXPERIMENTS = 1500
NAMES = ["dice_fg_image", "dice_fg_pooled", "miou_2class_pooled"]


def pictures(rng, n):
    """Areas and difficulties of n pictures."""
    return rng.integers(300, 3000, n), rng.normal(0, 1, n)


def model(rng, area, hard, shift=0.0):
    """Counts of a model on those pictures: most Dice near .9, some far below."""
    dice = 1 / (1 + np.exp(-(2.6 + shift - 0.8 * hard + rng.normal(0, 0.5, len(hard)))))
    return of_dice(rng, dice, area)


def test_the_scores_are_as_skewed_as_real_ones():
    rng = np.random.default_rng(0)
    dice = per_image(model(rng, *pictures(rng, 5000)), "dice_fg_image")
    skew = ((dice - dice.mean()) ** 3).mean() / dice.std() ** 3
    assert 0.85 < dice.mean() < 0.93
    assert skew < -1.5


@pytest.mark.parametrize("n", [50, 150])
def test_intervals_cover_the_truth_95_times_in_100(n):
    rng = np.random.default_rng(n)
    area, hard = pictures(rng, 200_000)
    truth = [model(rng, area, hard, shift) for shift in (0, 0.2)]
    true = {name: score(truth[1], name) - score(truth[0], name) for name in NAMES}
    covered = dict.fromkeys(NAMES, 0)
    for seed in range(EXPERIMENTS):
        area, hard = pictures(rng, n)
        first, second = (report(name, model(rng, area, hard, shift)) for name, shift in (("a", 0), ("b", 0.2)))
        for row in compare(first, second, definitions=NAMES, draws=300, seed=seed).rows:
            covered[row.definition] += row.low <= true[row.definition] <= row.high
    for name in NAMES:
        assert 0.93 <= covered[name] / EXPERIMENTS <= 0.97, name


def test_a_true_null_is_rejected_5_times_in_100():
    rng = np.random.default_rng(1)
    rejected = dict.fromkeys(NAMES, 0)
    for seed in range(EXPERIMENTS):
        area, hard = pictures(rng, 50)
        first, second = (report(name, model(rng, area, hard)) for name in "ab")
        for row in compare(first, second, definitions=NAMES, draws=300, seed=seed).rows:
            rejected[row.definition] += row.p < 0.05
    for name in NAMES:
        assert 0.04 <= rejected[name] / EXPERIMENTS <= 0.06, name


@pytest.mark.parametrize("n", [8, 25, 100])  # 8: every arrangement is counted
def test_the_sign_flip_test_rejects_a_true_null_at_the_rate_it_says(n):
    rng = np.random.default_rng(n)
    gaps = rng.standard_t(3, (n, 20_000))  # symmetric, with tails far longer than normal
    p = flip_p(lambda signs: signs @ gaps / n, gaps.mean(0), n, 500, rng)
    for level in (0.05, 0.2):
        assert (p <= level).mean() == pytest.approx(level, abs=0.006 if n > 8 else 0.01)


def seeds_of(rng, seeds, truth, seed_sd, gap):
    """Scores (S, n) of one recipe on pictures that all recipes share."""
    noise = rng.normal(0, seed_sd, (seeds, 1)) + rng.normal(0, 0.02, (seeds, len(gap)))
    return truth + gap + noise


@pytest.mark.parametrize(("seeds", "seed_sd"), [((3, 3), 0.01), ((3, 3), 0.04), ((3, 5), 0.02), ((2, 2), 0.01)])
def test_the_hierarchical_interval_covers_with_seed_noise(seeds, seed_sd):
    rng, covered, narrow = np.random.default_rng(2), 0, 0
    experiments = 800
    for seed in range(experiments):
        hard, gap = rng.normal(0, 0.1, 60), 0.05 * rng.standard_t(5, 60)
        a, b = (seeds_of(rng, s, t, seed_sd, hard + g) for s, t, g in zip(seeds, (0.8, 0.82), (0, gap), strict=True))
        result = hierarchical_difference(a, b, draws=200, seed=seed)
        covered += result.low <= 0.02 <= result.high
        pictures_only = hierarchical_difference(a[:1], b[:1], draws=200, seed=seed)
        narrow += pictures_only.low <= 0.02 <= pictures_only.high
    assert 0.93 <= covered / experiments <= 0.98
    assert narrow < covered  # one seed says nothing of the next


def test_intervals_of_a_factorial_cover_every_effect():
    rng, experiments = np.random.default_rng(3), 600
    true = {"A": 0.03, "B": 0.01, "A x B": 0.02}
    means = {(0, 0): 0.80, (1, 0): 0.81, (0, 1): 0.79, (1, 1): 0.84}
    covered = dict.fromkeys([*true, "as published"], 0)
    for seed in range(experiments):
        hard = rng.normal(0, 0.1, 60)
        cells = {key: seeds_of(rng, 3, mean, 0.01, hard + 0.03 * rng.standard_t(5, 60)) for key, mean in means.items()}
        result = factorial(cells, draws=200, seed=seed)
        for effect in (*result.effects, result.published):
            covered[effect.name] += effect.low <= true.get(effect.name, 0.04) <= effect.high
    for name, number in covered.items():
        assert 0.93 <= number / experiments <= 0.98, name
