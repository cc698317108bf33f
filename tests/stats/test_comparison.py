import json
from itertools import product

import numpy as np
import pytest
import scipy.stats
import torch

from seglab import metrics, stats
from seglab.evaluation import Report
from seglab.stats import compare, paired_difference
from stats.two_models import report, two_models

AREAS = (20_000, 15_000, 1_500, 800)  # of the lesions in four pictures of 256 x 256; the prediction is as large
IOUS = {"A": (0.93, 0.92, 0.55, 0.50), "B": (0.86, 0.85, 0.80, 0.78)}
PRINTED = {  # definition: A, B
    "iou_fg_image": (0.7250, 0.8225),
    "iou_fg_pooled": (0.8957, 0.8517),
    "miou_2class_pooled": (0.9388, 0.9127),
    "miou_2class_image": (0.8528, 0.8963),
    "dice_fg_image": (0.8246, 0.9022),
    "dice_fg_pooled": (0.9450, 0.9199),
}


def overlap(iou, area):
    """Pixels shared by two masks of that area, a fraction where the printed IoU is no ratio of whole pixels."""
    return 2 * area * iou / (1 + iou)


def example(model):
    counts = []
    for iou, area in zip(IOUS[model], AREAS, strict=True):
        wrong = area - overlap(iou, area)
        counts.append([[256**2 - area - wrong, wrong], [wrong, area - wrong]])
    return report(model, counts)


def test_the_winner_flips_with_the_definition():
    table = compare(example("A"), example("B"), definitions=list(PRINTED))
    for row in table.rows:
        assert (round(row.first, 4), round(row.second, 4)) == PRINTED[row.definition]
        assert row.p >= 1 / 8  # four pictures show nothing: 2 of 16 arrangements are as far from 0, at least
    assert table.verdict() == (
        "no difference was shown under any of 6 definitions; which of them scores higher depends on the definition."
    )
    better = {"accuracy_pooled", "recall_pooled", "specificity_pooled"}
    assert all(row.difference < 0 for row in compare(example("A"), example("B"), definitions=sorted(better)).rows)


def test_the_winner_flips_for_masks_of_whole_pixels():
    both = {}
    for model, ious in IOUS.items():
        counts = []
        for iou, area in zip(ious, AREAS, strict=True):
            target, pred = torch.zeros(2, 1, 256 * 256, dtype=torch.uint8)
            shift = area - round(overlap(iou, area))
            target[0, :area] = pred[0, shift : area + shift] = 1
            counts.append(metrics.counts(pred.view(1, 256, 256), target.view(1, 256, 256), 1)[0])
        both[model] = Report(model, tuple("abcd"), ("background", "lesion"), torch.stack(counts), torch.zeros(4))
    for row in compare(both["A"], both["B"], definitions=list(PRINTED)).rows:
        assert (row.first, row.second) == pytest.approx(PRINTED[row.definition], abs=3e-4)
        assert row.first == pytest.approx(both["A"].values[row.definition].value)


def test_a_row_of_per_image_dice_is_the_paired_difference():
    first, second = two_models(60, gain=0.3)
    row = compare(report("a", first), report("b", second), definitions=["dice_fg_image"]).rows[0]
    one = paired_difference(stats.per_image(first, "dice_fg_image"), stats.per_image(second, "dice_fg_image"))
    assert (row.difference, row.p, row.n) == (pytest.approx(one.mean), one.p, one.n)
    assert (row.low, row.high) == pytest.approx((one.low, one.high))
    assert row.detectable == pytest.approx(one.detectable, rel=0.03)
    assert row.p == row.p_holm


@pytest.mark.parametrize("definition", ["dice_fg_pooled", "miou_2class_pooled", "accuracy_pooled"])
def test_pooled_p_is_the_count_of_all_swaps(definition):
    first, second = two_models(9, seed=1, gain=0.5)
    observed, beyond = stats.score(second, definition) - stats.score(first, definition), 0
    for swap in product([False, True], repeat=9):
        keep = ~np.array(swap)[:, None, None]
        a, b = np.where(keep, first, second), np.where(keep, second, first)
        beyond += abs(stats.score(b, definition) - stats.score(a, definition)) >= abs(observed) - 1e-12
    row = compare(report("a", first), report("b", second), definitions=[definition]).rows[0]
    assert row.difference == pytest.approx(observed)
    assert row.p == beyond / 2**9


def test_pooled_interval_has_the_error_of_scipys_bootstrap():
    first, second = two_models(50, seed=2, gain=0.3)

    def difference(index):
        return stats.score(second[index], "dice_fg_pooled") - stats.score(first[index], "dice_fg_pooled")

    theirs = scipy.stats.bootstrap(
        (np.arange(50),),
        difference,
        vectorized=False,
        n_resamples=3000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    row = compare(report("a", first), report("b", second), definitions=["dice_fg_pooled"]).rows[0]
    reach = scipy.stats.t.ppf(0.975, 49) * theirs.standard_error * np.sqrt(50 / 49)
    assert row.high - row.difference == pytest.approx(reach, rel=0.06)
    assert row.detectable == pytest.approx(2.8 * theirs.standard_error * np.sqrt(50 / 49), rel=0.06)


def test_pictures_without_a_score_are_left_out_and_counted():
    first, second = two_models(20, seed=3)
    empty = np.array([[100, 0], [0, 0]])
    first[:3] = second[:3] = empty  # no object, and neither model finds one
    first[3], second[3] = empty, [[90, 10], [0, 0]]  # only the second invents one
    table = compare(report("a", first), report("b", second), definitions=["dice_fg_image", "dice_fg_pooled"])
    image, pooled = table.rows
    assert (image.n, image.left_out, image.one_sided) == (16, 4, 1)
    assert (pooled.n, pooled.left_out, pooled.one_sided) == (20, 0, 0)
    assert image.first == pytest.approx(stats.score(first[4:], "dice_fg_image"))
    text = table.to_markdown()
    assert "dice_fg_image: 4 pictures left out, without a score of both models; in 1 of them one model has" in text
    assert "dice_fg_pooled:" not in text


def test_swapping_the_models_turns_every_sign():
    first, second = two_models(40, seed=4, gain=0.4)
    there, back = compare(report("a", first), report("b", second)), compare(report("b", second), report("a", first))
    for one, other in zip(there.rows, back.rows, strict=True):
        assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
        assert one.p == other.p
    assert there.verdict() == back.verdict() == "b is better under all 6 definitions."


def test_a_model_is_no_better_than_itself():
    counts, _ = two_models(30)
    for row in compare(report("a", counts), report("b", counts)).rows:
        assert (row.difference, row.low, row.high, row.p, row.p_holm, row.winner) == (0, 0, 0, 1, 1, 0)


def test_holm_is_over_the_definitions_of_the_table():
    first, second = two_models(60, seed=5, gain=0.25)
    rows = compare(report("a", first), report("b", second)).rows
    np.testing.assert_allclose([row.p_holm for row in rows], stats.holm([row.p for row in rows]))


def test_a_winner_needs_both_interval_and_adjusted_p():
    first, second = two_models(60, seed=5, gain=0.25)
    row = compare(report("a", first), report("b", second)).rows[0]
    assert row._replace(p_holm=0.01, low=0.1, high=0.2, difference=0.15).winner == 2
    assert row._replace(p_holm=0.01, low=-0.2, high=-0.1, difference=-0.15).winner == 1
    assert row._replace(p_holm=0.06, low=0.1, high=0.2).winner == 0
    assert row._replace(p_holm=0.01, low=-0.1, high=0.2).winner == 0


def test_pictures_in_another_order_are_matched_by_name():
    first, second = two_models(30, seed=6, gain=0.3)
    straight = compare(report("a", first), report("b", second))
    names = [f"{i}.png" for i in range(30)]
    assert compare(report("a", first), report("b", second[::-1], names[::-1])) == straight


def test_other_pictures_masks_and_classes_are_refused():
    first, second = two_models(3)
    with pytest.raises(
        ValueError, match=r"^reports must be of the same pictures; got 2 only in the first \(0.png, ...\)"
    ):
        compare(report("a", first), report("b", second[:1], ["2.png"]))
    with pytest.raises(ValueError, match=r"got 1 only in the first \(2.png\) and 1 only in the second \(x.png\).$"):
        compare(report("a", first), report("b", second, ["0.png", "1.png", "x.png"]))
    with pytest.raises(ValueError, match="some of the same name"):
        compare(report("a", first, ["x", "x", "y"]), report("b", second, ["x", "y", "y"]))
    with pytest.raises(ValueError, match="same masks; got other numbers of true pixels in 1 pictures"):
        compare(report("a", first), report("b", np.concatenate([second[:2], second[:1] + 1])))
    with pytest.raises(ValueError, match="same classes; got 2 and 3"):
        compare(report("a", first), report("b", np.ones((3, 3, 3))))
    with pytest.raises(ValueError, match="definition must be one of"):
        compare(report("a", first), report("b", second), definitions=["dice"])
    with pytest.raises(ValueError, match="definitions must name at least one score"):
        compare(report("a", first), report("b", second), definitions=[])
    with pytest.raises(ValueError, match="definition must be one of dice_fg_image; got 'iou'"):
        compare(report("a", first), report("b", second), definitions=["dice_fg_image"]).row("iou")


def test_three_classes_are_compared_by_their_own_names():
    rng = np.random.default_rng(8)
    first = rng.integers(1, 50, (20, 3, 3))
    second = np.stack([[np.roll(row, 1) for row in table] for table in first])  # same masks, other predictions
    table = compare(report("a", first), report("b", second))
    assert [row.definition for row in table.rows][-1] == "miou_3class_pooled"
    assert table.row("miou_3class_pooled").second == pytest.approx(stats.score(second, "miou_3class_pooled"))


def test_the_texts_hold_what_the_rows_hold():
    first, second = two_models(30, seed=9, gain=0.6)
    table = compare(report("plain|x", first), report("cbam", second))
    lines = table.to_markdown().splitlines()
    assert lines[0].startswith(r"| definition | plain\|x | cbam | difference | 95 % interval | p | p (Holm) |")
    row = table.row("miou_2class_pooled")
    assert f"| miou_2class_pooled | {row.first:.4f} | {row.second:.4f} | {row.difference:+.4f} |" in table.to_markdown()
    content = json.loads(table.to_json())
    assert content["rows"][0]["difference"] == table.rows[0].difference
    assert content["verdict"] == table.verdict()
    assert str(table) == table.to_markdown()


def test_one_picture_gives_a_difference_and_nothing_more():
    first, second = two_models(1)
    table = compare(report("a", first), report("b", second))
    assert all(np.isnan([row.low, row.p, row.p_holm, row.detectable]).all() for row in table.rows)
    assert "not defined" in table.to_markdown()
    assert json.loads(table.to_json())["rows"][0]["p"] is None
    assert "no difference was shown" in table.verdict()
