import subprocess
import sys

import numpy as np
import pytest
import torch

from seglab import metrics, stats

RATIOS = ("dice", "iou", "precision", "recall", "specificity")


def random_counts(classes, seed=0):
    """Counts of 40 pictures, of which some lack an object, a prediction, both, or any known pixel."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 200, (40, classes, classes))
    counts[:6, 1:, :] = 0  # no object
    counts[3:9, :, 1:] = 0  # nothing found
    counts[9] = 0
    counts[10:14, 1, :] = counts[10:14, :, 1] = 0  # class 1 alone is missing
    return counts


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_every_name_of_the_metrics_has_the_same_value_here(classes):
    counts = random_counts(classes)
    expected = metrics.aggregate(torch.from_numpy(counts))
    assert set(expected) <= set(stats.list_definitions(classes))
    for name, mean in expected.items():
        assert stats.score(counts, name) == pytest.approx(mean.value, abs=1e-12), name
        if name.endswith("_image"):
            assert np.isfinite(stats.per_image(counts, name)).sum() == mean.n, name


@pytest.mark.parametrize("name", RATIOS)
def test_scores_of_single_classes_are_those_of_the_metrics(name):
    counts = random_counts(3)
    ratio = getattr(metrics, name)
    each, pooled = ratio(torch.from_numpy(counts)).numpy(), ratio(torch.from_numpy(counts.sum(0))).numpy()
    for k in range(3):
        np.testing.assert_allclose(stats.per_image(counts, f"{name}_class{k}_image"), each[:, k])
        assert stats.score(counts, f"{name}_class{k}_pooled") == pytest.approx(pooled[k])


def test_an_object_nobody_sees_has_no_score_and_one_that_only_one_sees_has_zero():
    both_empty, missed, invented = [[9, 0], [0, 0]], [[5, 0], [4, 0]], [[5, 4], [0, 0]]
    for name in ("dice_fg_image", "iou_fg_image"):
        np.testing.assert_array_equal(stats.per_image([both_empty, missed, invented], name), [np.nan, 0, 0])
        assert stats.score([both_empty, missed, invented], name) == 0
    assert np.isnan(stats.score([both_empty], "dice_fg_pooled"))


def test_other_spellings_mean_the_same():
    counts = random_counts(2)
    for other, name in [
        ("precision_fg_image", "precision_image"),
        ("iou_2class_pooled", "miou_2class_pooled"),
        ("mrecall_2class_pooled", "recall_macro"),
    ]:
        assert stats.score(counts, other) == stats.score(counts, name)


def test_names_are_unique_and_unknown_ones_are_answered_with_the_closest():
    names = stats.list_definitions(3)
    assert len(set(names)) == len(names)
    assert {"miou_3class_pooled", "dice_class2_image", "accuracy_pooled"} <= set(names)
    with pytest.raises(ValueError, match="Did you mean 'dice_fg_image'"):
        stats.score(random_counts(2), "dice_fg_picture")
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        stats.list_definitions(1)


@pytest.mark.parametrize("shape", [(2, 2), (3, 2, 3), (3, 1, 1), (0, 2, 2)])
def test_what_is_no_table_of_counts_is_refused(shape):
    with pytest.raises(ValueError, match=r"counts must be \(N, K, K\)"):
        stats.score(np.zeros(shape), "dice_fg_image")


def test_statistics_load_neither_torch_nor_scipy():
    code = "import sys, seglab.stats; print(*sorted({'torch', 'scipy'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
