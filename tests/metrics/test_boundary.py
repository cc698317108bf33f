"""Boundary scores against MONAI, and against scipy's distance transform, on masks of every kind."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor

from seglab import metrics


def kinds() -> dict[str, Tensor]:
    """One mask (1, 24, 31) of every kind that has gone wrong somewhere."""
    generator = torch.Generator().manual_seed(0)
    empty = torch.zeros(1, 24, 31, dtype=torch.bool)
    corner, middle, half, block = (empty.clone() for _ in range(4))
    corner[0, 0, 0] = middle[0, 12, 15] = half[0, :, :15] = block[0, 5:14, 20:29] = True
    noise = {f"{share:.0%}": torch.rand(1, 24, 31, generator=generator) < share for share in (0.02, 0.4, 0.9)}
    return {"empty": empty, "full": ~empty, "corner": corner, "pixel": middle, "half": half, "block": block} | noise


PAIRS = list(itertools.product(kinds(), repeat=2))
FILLED = [pair for pair in PAIRS if "empty" not in pair]


def batch(pairs: list[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    masks = kinds()
    return torch.cat([masks[first] for first, _ in pairs]), torch.cat([masks[second] for _, second in pairs])


def of_monai(pred: Tensor, target: Tensor, side: float | None, tolerance: float) -> list[np.ndarray]:
    with warnings.catch_warnings():  # on import, on its own deprecated arguments, and on empty masks
        warnings.simplefilter("ignore")
        from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

        both = pred[:, None].float(), target[:, None].float()
        options = {"include_background": True, "spacing": None if side is None else (side, side)}
        return [
            compute_hausdorff_distance(*both, percentile=95, **options)[:, 0].numpy(),
            compute_average_surface_distance(*both, symmetric=True, **options)[:, 0].numpy(),
            compute_surface_dice(*both, [tolerance], **options)[:, 0].numpy(),
        ]


def by_distance_transform(pred: Tensor, target: Tensor, side: float, tolerance: float) -> tuple[float, float, float]:
    """One image: distance of every pixel to an outline, read off at the other outline."""
    edges = [mask.numpy() & ~binary_erosion(mask.numpy()) for mask in (pred, target)]
    there = distance_transform_edt(~edges[1], sampling=side)[edges[0]]
    back = distance_transform_edt(~edges[0], sampling=side)[edges[1]]
    both = np.concatenate((there, back))
    return max(np.percentile(there, 95), np.percentile(back, 95)), both.mean(), np.mean(both <= tolerance)


@pytest.mark.parametrize(("side", "tolerance"), [(None, 2.0), (0.35, 0.8)])
def test_every_pair_of_masks_scores_as_in_monai_and_scipy(side: float | None, tolerance: float) -> None:
    pred, target = batch(FILLED)
    ours = [score.numpy() for score in metrics.boundary(pred, target, pixel_size_mm=side, tolerance=tolerance)]
    for mine, theirs in zip(ours, of_monai(pred, target, side, tolerance), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    brute = [by_distance_transform(p, t, side or 1.0, tolerance) for p, t in zip(pred, target, strict=True)]
    np.testing.assert_allclose(np.stack(ours, axis=1), brute, atol=1e-9)


def test_empty_masks_differ_from_monai_only_where_its_mean_distance_is_infinite() -> None:
    pairs = [pair for pair in PAIRS if "empty" in pair]
    far, mean, share = metrics.boundary(*batch(pairs))
    theirs = of_monai(*batch(pairs), None, 2.0)
    both = [pair == ("empty", "empty") for pair in pairs]
    assert far.isnan().all()
    assert mean.isnan().all()
    np.testing.assert_array_equal(share, np.where(both, np.nan, 0.0))
    np.testing.assert_array_equal(theirs[0], far)
    np.testing.assert_array_equal(theirs[1], np.where(both, np.nan, np.inf))
    np.testing.assert_array_equal(theirs[2], share)


def test_millimetres_scale_both_distances_and_the_tolerance_with_them() -> None:
    pred, target = batch(FILLED)
    pixels = metrics.boundary(pred, target, tolerance=3)
    scaled = metrics.boundary(pred, target, pixel_size_mm=0.25, tolerance=0.75)
    for before, after in ((pixels.hausdorff95, scaled.hausdorff95), (pixels.assd, scaled.assd)):
        assert torch.allclose(before * 0.25, after)
    assert torch.equal(pixels.surface_dice, scaled.surface_dice)


def test_joining_both_directions_first_gives_another_number() -> None:
    """What MedPy calls HD95: the two far pixels are 2 of 22 in their own direction, and 2 of 42 in both."""
    target = torch.zeros(1, 1, 40, dtype=torch.bool)
    target[..., :20] = True
    pred = target.clone()
    pred[..., 30:32] = True
    assert metrics.hausdorff95(pred, target).item() == pytest.approx(0.95 * 11)
    assert np.percentile([0.0] * 40 + [11.0, 12.0], 95) == 0


def test_each_score_alone_is_that_of_all_three_together() -> None:
    pred, target = batch(PAIRS)
    together = metrics.boundary(pred, target, pixel_size_mm=0.5, tolerance=1)
    alone = (
        metrics.hausdorff95(pred, target, pixel_size_mm=0.5),
        metrics.assd(pred, target, pixel_size_mm=0.5),
        metrics.surface_dice(pred, target, pixel_size_mm=0.5, tolerance=1),
    )
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_image_has_no_score_and_a_negative_tolerance_is_refused() -> None:
    nothing = torch.zeros(0, 3, 3, dtype=torch.bool)
    assert [score.shape for score in metrics.boundary(nothing, nothing)] == [(0,)] * 3
    with pytest.raises(ValueError, match="tolerance must be at least 0; got -1"):
        metrics.boundary(nothing, nothing, tolerance=-1)
