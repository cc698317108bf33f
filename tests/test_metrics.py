"""Metrics against torchmetrics, brute force, scipy and numbers worked by hand."""

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as reference
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from torch import Tensor

from seglab import metrics, stats

NAN = math.nan


def close(actual: Tensor, expected: object, tolerance: float = 1e-9) -> bool:
    """Whether two arrays agree, NaN with NaN."""
    return np.allclose(np.asarray(actual), np.asarray(expected), rtol=0, atol=tolerance, equal_nan=True)


def masks(classes: int, images: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random predictions and targets (N, 9, 11), mostly alike; the first rows are unknown in places."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (images, 9, 11), generator=generator)
    wrong = torch.rand(target.shape, generator=generator) < 0.3
    pred = torch.where(wrong, torch.randint(classes, target.shape, generator=generator), target)
    target[torch.rand(target.shape, generator=generator) < 0.1] = 255
    return pred, target


def one(rows: list[str]) -> Tensor:
    """A bool mask (1, H, W) from rows of '.' and '#'."""
    return torch.tensor([[[letter == "#" for letter in row] for row in rows]])


# Two images of 2 x 4 pixels, three classes, one wrong pixel of sixteen; class 2 is nowhere, class 1 only in the first.
TARGET = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
PRED = torch.tensor([[[0, 0, 0, 1], [0, 0, 1, 1]], [[0, 0, 0, 0], [0, 0, 0, 0]]])


def test_public_names_are_sorted_and_complete() -> None:
    home = "seglab.metrics."
    public = {name for name, value in vars(metrics).items() if getattr(value, "__module__", "").startswith(home)}
    assert metrics.__all__ == sorted(name for name in public if not name.startswith("_"))


# Counts


@pytest.mark.parametrize("classes", [2, 3, 15, 16, 21])
def test_counts_agree_with_four_lines_and_with_torchmetrics(classes: int) -> None:
    pred, target = masks(classes)
    expected = torch.zeros(len(pred), classes, classes, dtype=torch.long)
    for n, row, column in np.ndindex(*pred.shape):
        if target[n, row, column] != 255:
            expected[n, target[n, row, column], pred[n, row, column]] += 1
    actual = metrics.counts(pred, target, classes)
    assert actual.dtype == torch.int64
    assert torch.equal(actual, expected)
    pooled = reference.multiclass_confusion_matrix(pred, target, classes, ignore_index=255)
    assert torch.equal(actual.sum(0), pooled)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.bool])
def test_counts_take_every_integer_dtype(dtype: torch.dtype) -> None:
    pred, target = masks(2)
    target[target == 255] = 0
    expected = metrics.counts(pred, target, 2)
    assert torch.equal(metrics.counts(pred.to(dtype), target.to(dtype), 2), expected)
    assert torch.equal(metrics.counts(pred, target.to(dtype), 1), expected)


@pytest.mark.parametrize("mask", ["empty", "full", "one pixel"])
def test_counts_of_extreme_masks(mask: str) -> None:
    target = torch.zeros(1, 4, 5, dtype=torch.long)
    target[0, 0, 0] = mask == "one pixel"
    target[:] = 1 if mask == "full" else target
    number = int(target.sum())
    assert metrics.counts(target, target, 1).tolist() == [[[20 - number, 0], [0, number]]]
    assert metrics.counts(1 - target, target, 1).tolist() == [[[0, 20 - number], [number, 0]]]


def test_counts_leave_unknown_pixels_out_whatever_is_predicted_there() -> None:
    target = torch.tensor([[[0, 1, 255, 255]]], dtype=torch.uint8)
    assert metrics.counts(torch.tensor([[[0, 1, 1, 77]]]), target, 1).tolist() == [[[1, 0], [0, 1]]]
    nothing = metrics.counts(torch.zeros(1, 1, 4, dtype=torch.long), torch.full((1, 1, 4), 255), 1)
    assert not nothing.any()
    assert metrics.accuracy(nothing).isnan().all()


def test_counts_keep_labels_apart_that_wrap_in_a_byte() -> None:
    """156 is -100 and 300 is 44 in eight bits; neither label of a uint8 mask may be taken for the other."""
    target = torch.tensor([[[156]]], dtype=torch.uint8)
    assert metrics.counts(torch.tensor([[[0]]]), target, 200, ignore_index=-100).sum() == 1
    target = torch.tensor([[[44]]], dtype=torch.uint8)
    assert metrics.counts(torch.tensor([[[0]]]), target, 50, ignore_index=300).sum() == 1


def test_counts_of_no_image_are_empty() -> None:
    empty = torch.zeros(0, 4, 4, dtype=torch.long)
    assert metrics.counts(empty, empty, 3).shape == (0, 3, 3)


# Ratios


def test_one_prediction_and_its_scores() -> None:
    c = metrics.counts(PRED, TARGET, 3)
    assert close(metrics.iou(c.sum(0)), [12 / 13, 0.75, NAN])
    assert close(metrics.iou(c), [[0.8, 0.75, NAN], [1, NAN, NAN]])
    assert close(metrics.iou(c).nanmean(0), [0.9, 0.75, NAN])
    assert metrics.iou(c.sum(0))[0].item() == pytest.approx(0.9231, abs=5e-5)
    assert metrics.iou(c).nanmean().item() == pytest.approx(0.8500)  # torchmetrics' class: image-class pairs
    scores = metrics.aggregate(c)
    assert scores["miou_3class_image"] == (pytest.approx(0.8875), 2)  # MONAI: per image, then images
    assert scores["miou_3class_pooled"] == (pytest.approx((12 / 13 + 0.75) / 2), 2)
    assert scores["iou_fg_image"] == (pytest.approx(0.75), 1)
    assert scores["iou_fg_pooled"] == (pytest.approx(0.75), 1)


@pytest.mark.parametrize("classes", [2, 4])
def test_ratios_agree_with_torchmetrics(classes: int) -> None:
    pred, target = masks(classes, seed=1)
    c = metrics.counts(pred, target, classes)
    options = {"num_classes": classes, "average": None, "ignore_index": 255}
    for ours, theirs in (
        (metrics.iou, reference.multiclass_jaccard_index),
        (metrics.dice, reference.multiclass_f1_score),
        (metrics.precision, reference.multiclass_precision),
        (metrics.recall, reference.multiclass_recall),
        (metrics.specificity, reference.multiclass_specificity),
    ):
        assert close(ours(c.sum(0)), theirs(pred, target, **options), 1e-6), theirs.__name__
        each = torch.stack([theirs(pred[i], target[i], **options) for i in range(len(pred))])
        assert close(ours(c), each, 1e-6), theirs.__name__
    micro = reference.multiclass_accuracy(pred, target, classes, average="micro", ignore_index=255)
    assert metrics.accuracy(c.sum(0)).item() == pytest.approx(micro.item(), abs=1e-6)


@pytest.mark.parametrize(
    ("table", "expected"),
    [  # of the object: iou, dice, precision, recall, specificity
        ([[8, 0], [0, 0]], (NAN, NAN, NAN, NAN, 1)),  # no object, none predicted
        ([[6, 2], [0, 0]], (0, 0, 0, NAN, 0.75)),  # no object, two pixels predicted
        ([[6, 0], [2, 0]], (0, 0, NAN, 0, 1)),  # an object, missed
        ([[0, 0], [0, 8]], (1, 1, 1, 1, NAN)),  # object everywhere, found
        ([[0, 0], [0, 0]], (NAN, NAN, NAN, NAN, NAN)),  # nothing known
    ],
)
def test_absent_objects_are_nan_only_where_the_ratio_is_undefined(
    table: list[list[int]], expected: tuple[float, ...]
) -> None:
    c = torch.tensor(table)
    names = ("iou", "dice", "precision", "recall", "specificity")
    assert close(torch.stack([getattr(metrics, name)(c)[1] for name in names]), expected)


def test_ratios_keep_leading_dimensions_and_are_float64() -> None:
    c = metrics.counts(*masks(3), 3).view(2, 2, 3, 3)
    assert close(metrics.dice(c), 2 * metrics.iou(c) / (1 + metrics.iou(c)))
    for name in ("iou", "dice", "precision", "recall", "specificity"):
        assert getattr(metrics, name)(c).shape == (2, 2, 3)
        assert getattr(metrics, name)(c).dtype == torch.float64
    assert metrics.accuracy(c).shape == (2, 2)


# Means


def test_aggregate_of_two_images_worked_by_hand() -> None:
    c = torch.tensor([[[5, 1], [1, 3]], [[8, 2], [0, 0]]])  # the second has no object, but two pixels predicted
    scores = metrics.aggregate(c)
    assert scores["iou_fg_image"] == (pytest.approx((3 / 5 + 0) / 2), 2)
    assert scores["iou_fg_pooled"] == (pytest.approx(3 / 7), 1)
    assert scores["miou_2class_image"] == (pytest.approx(((5 / 7 + 3 / 5) / 2 + (8 / 10 + 0) / 2) / 2), 2)
    assert scores["miou_2class_pooled"] == (pytest.approx((13 / 17 + 3 / 7) / 2), 2)
    assert scores["dice_fg_image"] == (pytest.approx((6 / 8 + 0) / 2), 2)
    assert scores["dice_fg_pooled"] == (pytest.approx(6 / 10), 1)
    assert scores["mdice_2class_image"] == (pytest.approx(((10 / 12 + 6 / 8) / 2 + (16 / 18) / 2) / 2), 2)
    assert scores["mdice_2class_pooled"] == (pytest.approx((26 / 30 + 6 / 10) / 2), 2)
    assert scores["precision_image"] == (pytest.approx((3 / 4 + 0) / 2), 2)
    assert scores["precision_pooled"] == (pytest.approx(3 / 6), 1)
    assert scores["precision_macro"] == (pytest.approx((13 / 14 + 3 / 6) / 2), 2)
    assert scores["recall_image"] == (pytest.approx(3 / 4), 1)  # the second image has no object to find
    assert scores["recall_pooled"] == (pytest.approx(3 / 4), 1)
    assert scores["recall_macro"] == (pytest.approx((13 / 16 + 3 / 4) / 2), 2)
    assert scores["specificity_image"] == (pytest.approx((5 / 6 + 8 / 10) / 2), 2)
    assert scores["specificity_pooled"] == (pytest.approx(13 / 16), 1)
    assert scores["specificity_macro"] == (pytest.approx((3 / 4 + 13 / 16) / 2), 2)
    assert scores["accuracy_image"] == (pytest.approx((8 / 10 + 8 / 10) / 2), 2)
    assert scores["accuracy_pooled"] == (pytest.approx(16 / 20), 1)
    assert scores["accuracy_macro"] == scores["recall_macro"]
    assert scores["mprecision_2class_image"] == (pytest.approx(((5 / 6 + 3 / 4) / 2 + (1 + 0) / 2) / 2), 2)
    assert scores["mrecall_2class_image"] == (pytest.approx(((5 / 6 + 3 / 4) / 2 + 8 / 10) / 2), 2)
    assert scores["mspecificity_2class_image"] == (pytest.approx(((3 / 4 + 5 / 6) / 2 + 8 / 10) / 2), 2)
    assert len(scores) == 23


@pytest.mark.parametrize("classes", [2, 4])
def test_single_classes_are_the_rows_of_the_ratios(classes: int) -> None:
    pred, target = masks(classes)
    pred[0], target[0] = pred[0].clamp(max=classes - 2), target[0].clamp(max=classes - 2)  # the last class is missing
    c = metrics.counts(pred, target, classes)
    scores = metrics.per_class(c)
    assert len(scores) == 5 * classes * 2
    for name in ("iou", "dice", "precision", "recall", "specificity"):
        each, pooled = getattr(metrics, name)(c), getattr(metrics, name)(c.sum(0))
        for k in range(classes):
            known = each[:, k][~each[:, k].isnan()]
            assert scores[f"{name}_class{k}_image"] == (pytest.approx(known.mean().item()), len(known))
            assert scores[f"{name}_class{k}_pooled"] == (pytest.approx(pooled[k].item()), 1)
    assert scores[f"iou_class{classes - 1}_image"].n == len(c) - 1


def test_a_class_that_is_nowhere_has_no_pooled_score() -> None:
    scores = metrics.per_class(torch.tensor([[[8, 0], [0, 0]]]))
    assert math.isnan(scores["dice_class1_pooled"].value)
    assert scores["dice_class1_pooled"].n == 0


@pytest.mark.parametrize("classes", [2, 3])
def test_every_definition_of_the_statistics_is_here_by_name(classes: int) -> None:
    c = metrics.counts(*masks(classes), classes)
    names = {*metrics.aggregate(c), *metrics.per_class(c)}
    twice = {f"m{ratio}_{classes}class_pooled" for ratio in ("precision", "recall", "specificity")}  # also `_macro`
    assert names | twice == set(stats.list_definitions(classes))


def test_aggregate_averages_the_foreground_classes() -> None:
    pred, target = masks(4)
    pred[0], target[0] = pred[0].clamp(max=1), target[0].clamp(max=1)  # the first image lacks two classes
    c = metrics.counts(pred, target, 4)
    scores = metrics.aggregate(c)
    each = metrics.iou(c)
    expected = (each[0, 1] + each[1:, 1:].mean(dim=1).sum()) / 4
    assert scores["iou_fg_image"] == (pytest.approx(expected.item()), 4)
    assert scores["dice_fg_pooled"].value == pytest.approx(metrics.dice(c.sum(0))[1:].mean().item())
    assert scores["miou_4class_pooled"].n == 4
    assert "miou_2class_pooled" not in scores


def test_aggregate_of_nothing_is_nan_over_none() -> None:
    scores = metrics.aggregate(torch.zeros(0, 2, 2, dtype=torch.long)).values()
    assert all(math.isnan(score.value) and score.n == 0 for score in scores)


# Outlines


def outline(mask: Tensor) -> np.ndarray:
    """Boundary pixels the way scipy erodes."""
    mask = mask.numpy()
    return np.argwhere(mask & ~binary_erosion(mask))


def brute(pred: Tensor, target: Tensor, tolerance: float) -> tuple[float, float, float]:
    """HD95, ASSD and surface Dice of one image from all pairs of boundary pixels."""
    distance = cdist(outline(pred), outline(target))
    there, back = distance.min(1), distance.min(0)
    both = np.concatenate((there, back))
    return max(np.percentile(there, 95), np.percentile(back, 95)), both.mean(), (both <= tolerance).mean()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_outline_distances_agree_with_brute_force(share: float) -> None:
    generator = torch.Generator().manual_seed(3)
    pred, target = torch.rand(2, 5, 24, 31, generator=generator) < share
    expected = np.array([brute(p, t, 1.5) for p, t in zip(pred, target, strict=True)])
    assert close(metrics.hausdorff95(pred, target), expected[:, 0])
    assert close(metrics.assd(pred, target), expected[:, 1])
    assert close(metrics.surface_dice(pred, target, tolerance=1.5), expected[:, 2])
    assert close(metrics.hausdorff95(target.to(torch.uint8), pred.long()), expected[:, 0])


def test_outline_distances_of_discs_agree_with_brute_force() -> None:
    row, column = torch.meshgrid(torch.arange(80), torch.arange(90), indexing="ij")
    pred = ((row - 40) ** 2 + (column - 40) ** 2 < 30**2)[None]
    target = ((row - 44) ** 2 + (column - 43) ** 2 < 27**2)[None]
    actual = [score(pred, target).item() for score in (metrics.hausdorff95, metrics.assd, metrics.surface_dice)]
    assert actual == pytest.approx(brute(pred[0], target[0], 2.0))


def test_one_pixel_masks_worked_by_hand() -> None:
    pred, target = one(["#....", ".....", "....."]), one([".....", ".....", "...#."])
    assert metrics.hausdorff95(pred, target).item() == pytest.approx(math.sqrt(13))
    assert metrics.assd(pred, target, pixel_size_mm=0.2).item() == pytest.approx(0.2 * math.sqrt(13))
    assert metrics.surface_dice(pred, target, tolerance=3.6) == 0
    assert metrics.surface_dice(pred, target, tolerance=3.7) == 1
    assert metrics.surface_dice(pred, target, tolerance=1, pixel_size_mm=0.2) == 1


def test_the_edge_of_the_picture_is_an_outline() -> None:
    """A full picture against its middle: the outline is the frame, two pixels from the middle in the middle rows."""
    full, middle = one(["#####"] * 5), one([".....", ".....", "..#..", ".....", "....."])
    assert metrics.assd(middle, full).item() == pytest.approx((2 + 4 * (2 + 2 * math.sqrt(5) + math.sqrt(8))) / 17)


def test_diagonal_neighbours_do_not_make_an_outline() -> None:
    """The middle pixel of a block with one corner cut off has all four neighbours, so it is inside."""
    cut = one([".....", "..##.", ".###.", ".###.", "....."])
    middle = one([".....", ".....", "..#..", ".....", "....."])
    assert metrics.assd(cut, middle).item() == pytest.approx((4 * 1 + 3 * math.sqrt(2) + 1) / 8)


def test_percentile_is_taken_per_direction() -> None:
    """The far pixel is 1 of 21 in one direction; joined with the other direction it would be 1 of 41."""
    target = one(["#" * 20 + "." * 20])
    pred = one(["#" * 20 + "." * 10 + "#" + "." * 9])
    there = [0.0] * 20 + [11.0]
    assert metrics.hausdorff95(pred, target).item() == pytest.approx(np.percentile(there, 95))


def test_equal_masks_are_at_distance_zero() -> None:
    _, target = masks(2)
    target = target == 1
    assert close(metrics.hausdorff95(target, target), [0] * 4)
    assert close(metrics.assd(target, target), [0] * 4)
    assert close(metrics.surface_dice(target, target, tolerance=0), [1] * 4)


def test_empty_masks_have_no_distance() -> None:
    empty, full = torch.zeros(1, 3, 3, dtype=torch.bool), torch.ones(1, 3, 3, dtype=torch.bool)
    pred, target = torch.cat((empty, empty, full, full)), torch.cat((empty, full, empty, full))
    assert close(metrics.hausdorff95(pred, target), [NAN, NAN, NAN, 0])
    assert close(metrics.assd(pred, target), [NAN, NAN, NAN, 0])
    assert close(metrics.surface_dice(pred, target), [NAN, 0, 0, 1])
    assert metrics.hausdorff95(empty[:0], empty[:0]).shape == (0,)


# Calibration


@pytest.mark.parametrize("channels", [1, 3])
def test_calibration_agrees_with_torchmetrics(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    classes = max(2, channels)
    logits = torch.randn(3, classes, 10, 12, generator=generator)
    target = torch.randint(classes, (3, 10, 12), generator=generator)
    target[:, 0] = 255
    probs = logits.softmax(1)
    flat, truth = probs.movedim(1, -1).reshape(-1, classes), target.flatten()
    known = truth != 255
    expected = reference.multiclass_calibration_error(flat[known], truth[known], classes, n_bins=10, norm="l1")
    ece, table = metrics.calibration(probs[:, 1:] if channels == 1 else probs, target, bins=10)
    assert ece.item() == pytest.approx(expected.item(), abs=1e-6)
    assert table.shape == (10, 3)
    assert table[:, 2].sum() == known.sum()


def test_calibration_table_worked_by_hand() -> None:
    """Two bins: confidence .75 twice, right once; confidence 1 twice, right twice; none below one half."""
    probs = torch.tensor([[[[0.75, 0.25, 1.0, 0.0]]]])
    ece, table = metrics.calibration(probs, torch.tensor([[[1, 1, 1, 0]]]), bins=4)
    assert close(table, [[NAN, NAN, 0], [NAN, NAN, 0], [NAN, NAN, 0], [0.875, 0.75, 4]])
    assert ece.item() == pytest.approx(0.125)
    ece, table = metrics.calibration(probs, torch.tensor([[[1, 1, 1, 0]]]), bins=8)
    assert close(table[6:], [[0.75, 0.5, 2], [1, 1, 2]])
    assert ece.item() == pytest.approx(0.5 * 0.25)


@pytest.mark.parametrize(("band", "pixels"), [(0, 2), (1, 4), (2.5, 6), (100, 8), (None, 8)])
def test_band_keeps_pixels_near_the_true_border(band: float | None, pixels: int) -> None:
    target = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1]]])
    _, table = metrics.calibration(torch.full((1, 1, 1, 8), 0.9), target, band=band)
    assert table[:, 2].sum() == pixels


@pytest.mark.parametrize("band", [0, 1, 2])
def test_band_agrees_with_brute_force(band: int) -> None:
    target = torch.zeros(2, 9, 11, dtype=torch.long)
    target[0, 4:, 3:6], target[1, :3, 8:], target[:, 6:8, :4], target[0, :, 9] = 1, 2, 255, 255
    border = np.zeros(target.shape, bool)
    for n, r, c in np.ndindex(*target.shape):
        for r2, c2 in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            if 0 <= r2 < 9 and 0 <= c2 < 11 and 255 not in (target[n, r, c], target[n, r2, c2]):
                border[n, r, c] |= bool(target[n, r, c] != target[n, r2, c2])
    points = np.argwhere(np.ones((9, 11), bool))
    near = np.stack([cdist(points, np.argwhere(b)).min(1).reshape(9, 11) <= band for b in border])
    _, table = metrics.calibration(torch.full((2, 3, 9, 11), 1 / 3), target, band=band)
    assert table[:, 2].sum() == (near & (target.numpy() != 255)).sum()


def test_calibration_without_a_pixel_is_nan() -> None:
    probs, target = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 2, 2), 255)
    assert metrics.calibration(probs, target).ece.isnan()
    assert metrics.calibration(probs, torch.zeros(1, 2, 2, dtype=torch.long), band=3).ece.isnan()  # no border


# Messages


def test_wrong_masks_are_named() -> None:
    mask = torch.zeros(2, 4, 4, dtype=torch.long)
    for call in (lambda p, t: metrics.counts(p, t, 2), metrics.hausdorff95, metrics.assd, metrics.surface_dice):
        with pytest.raises(ValueError, match=r"share a shape \(N, H, W\); got \(2, 4, 4\) and \(2, 4, 3\)"):
            call(mask, mask[..., :3])
        with pytest.raises(ValueError, match="share a shape"):
            call(mask[0], mask[0])
        with pytest.raises(ValueError, match="pred must hold integers or bools; got torch.float32"):
            call(mask.float(), mask)
        with pytest.raises(ValueError, match="target must hold class indices 0 to 1; got values from 0 to 7"):
            call(mask, mask.index_fill(1, torch.tensor([0]), 7))
        with pytest.raises(ValueError, match="pred must hold class indices 0 to 1; got values from -1 to 0"):
            call(mask.index_fill(1, torch.tensor([0]), -1), mask)


def test_wrong_options_are_named() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="num_classes must be at least 1; got 0"):
        metrics.counts(mask, mask, 0)
    with pytest.raises(ValueError, match="pixel_size_mm must be above 0; got 0"):
        metrics.hausdorff95(mask, mask, pixel_size_mm=0)
    with pytest.raises(ValueError, match="tolerance must be at least 0; got -1"):
        metrics.surface_dice(mask, mask, tolerance=-1)
    with pytest.raises(ValueError, match=r"counts must be \(\.\.\., K, K\); got \(2, 3\)"):
        metrics.iou(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"counts must be \(N, K, K\).*got \(2, 2\)"):
        metrics.aggregate(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"counts must be \(N, K, K\).*got \(2, 1, 1\)"):
        metrics.per_class(torch.zeros(2, 1, 1))


def test_wrong_probabilities_are_named() -> None:
    mask, probs = torch.zeros(1, 4, 4, dtype=torch.long), torch.full((1, 1, 4, 4), 0.5)
    with pytest.raises(ValueError, match=r"probs must be in \[0, 1\].*Logits need a sigmoid or softmax first"):
        metrics.calibration(probs + 1, mask)
    with pytest.raises(ValueError, match=r"probs must be in \[0, 1\]"):
        metrics.calibration(probs * NAN, mask)
    with pytest.raises(ValueError, match=r"probs must be float \(N, K, H, W\); got torch.float32 \(1, 4, 4\)"):
        metrics.calibration(probs[0], mask)
    with pytest.raises(ValueError, match="bins must be at least 1 and band at least 0; got 0 and -1"):
        metrics.calibration(probs, mask, bins=0, band=-1)
    with pytest.raises(ValueError, match="target must hold class indices 0 to 1; got values from 2 to 2"):
        metrics.calibration(probs, mask + 2)


@pytest.mark.parametrize("ignore", [2, 7, 255])
def test_counting_bytes_is_counting_pixels_one_by_one(ignore: int) -> None:
    rng = np.random.default_rng(ignore)
    for shape in ((1, 1, 1), (3, 5, 7), (2, 300, 300), (2, 0, 4)):
        pred = rng.integers(0, 2, shape, dtype=np.uint8)
        target = rng.choice(np.array([0, 1, ignore], np.uint8), shape)
        cells = [(target == i) & (pred == j) for i in range(2) for j in range(2)]
        want = np.stack([one.sum(axis=(1, 2)) for one in cells], axis=-1).reshape(-1, 2, 2)
        for kind in (torch.uint8, torch.int16, torch.int64):
            masks = torch.from_numpy(pred).to(kind), torch.from_numpy(target).to(kind)
            assert np.array_equal(metrics.counts(*masks, 1, ignore_index=ignore), want)
        probs = torch.from_numpy(rng.random((shape[0], 1, *shape[1:]), dtype=np.float32))
        histogram = metrics.probability_counts(probs, torch.from_numpy(target), bins=64, ignore_index=ignore)
        finer = metrics.probability_counts(probs, torch.from_numpy(target), bins=1024, ignore_index=ignore)
        assert torch.equal(histogram, finer.view(len(probs), 2, 64, 16).sum(dim=3))


def test_a_label_that_no_byte_holds_is_no_smaller_one() -> None:
    zeros = torch.zeros(1, 2, 2, dtype=torch.int64)
    for wrong in (256, 257, -255, 2):
        with pytest.raises(ValueError, match=f"target must hold class indices 0 to 1; got values from .*{wrong}"):
            metrics.counts(zeros, torch.full_like(zeros, wrong), 1)
        with pytest.raises(ValueError, match="pred must hold class indices 0 to 1"):
            metrics.counts(torch.full_like(zeros, wrong), zeros, 1)
        with pytest.raises(ValueError, match="target must hold class indices 0 to 1"):
            metrics.probability_counts(zeros[None].float(), torch.full_like(zeros, wrong))
