"""Counting and measuring masks, against torchmetrics, MONAI and MedPy: equal values, less time."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch

from seglab import metrics
from seglab.benchmarks._paired import Row, paired
from seglab.data import load_dataset

__all__ = ["rows"]

SIDE = 512


def rows(*, quick: bool) -> Iterator[Row]:
    """Confusion counts, all thresholds, HD95."""
    count, rounds = (4, 3) if quick else (40, 15)
    probs, truth = _pictures(count)
    masks = (probs > 0.5).to(torch.uint8)
    yield _counts(masks, truth, rounds)
    yield _thresholds(probs, truth, rounds)
    yield from _hausdorff(masks[:count] > 0, truth > 0, 3 if quick else 7)


def _pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and true masks (N, S, S): generated objects, and the same blurred and moved by a few pixels."""
    import cv2

    data = load_dataset("synthetic", kind="skin", count=(0, 0, count), size=(SIDE, SIDE)).test
    truth = np.stack([data[index].mask.numpy() for index in range(count)])
    rng = np.random.default_rng(0)
    moved = [np.roll(one.astype(np.float32), rng.integers(-9, 10, 2), (0, 1)) for one in truth]
    probs = np.stack([cv2.GaussianBlur(one, (0, 0), 6).clip(0, 1) for one in moved])
    return torch.from_numpy(probs), torch.from_numpy(truth)


def _counts(masks: torch.Tensor, truth: torch.Tensor, rounds: int) -> Row:
    """True and false positives and negatives of every picture."""
    what, against, wanted = f"confusion counts, {SIDE} px", "torchmetrics BinaryConfusionMatrix", ">= 100"
    try:
        from torchmetrics.classification import BinaryConfusionMatrix
    except ImportError:
        return Row(what, against, wanted, "torchmetrics is not installed", None)
    judge = BinaryConfusionMatrix()

    def theirs() -> torch.Tensor:
        return torch.stack([judge(one, other) for one, other in zip(masks, truth, strict=True)])

    found = paired(theirs, lambda: metrics.counts(masks, truth, 1), rounds=rounds)
    equal = torch.equal(theirs(), metrics.counts(masks, truth, 1))
    return Row(
        what, against, wanted, str(found), found.median >= 100 and equal, "equal counts" if equal else "COUNTS DIFFER"
    )


def _thresholds(probs: torch.Tensor, truth: torch.Tensor, rounds: int) -> Row:
    """Counts at every threshold."""
    what, against, wanted = f"256 thresholds, {SIDE} px", "torchmetrics binned precision-recall curve", ">= 100"
    try:
        from torchmetrics.functional.classification import binary_precision_recall_curve as curve
    except ImportError:
        return Row(what, against, wanted, "torchmetrics is not installed", None)
    levels = torch.arange(256) / 255
    rounded = (probs * 255).round() / 255

    def theirs() -> object:
        return [curve(one, other, thresholds=levels) for one, other in zip(rounded, truth, strict=True)]

    def ours() -> torch.Tensor:
        return metrics.probability_counts(probs[:, None], truth)

    found = paired(theirs, ours, rounds=rounds)
    return Row(what, against, wanted, str(found), found.median >= 100)


def _hausdorff(masks: torch.Tensor, truth: torch.Tensor, rounds: int) -> Iterator[Row]:
    """The distance between borders."""
    found = metrics.hausdorff95(masks, truth)
    try:
        from monai.metrics import compute_hausdorff_distance  # type: ignore[attr-defined]

        def monai() -> torch.Tensor:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value: torch.Tensor = compute_hausdorff_distance(masks[:, None], truth[:, None], percentile=95)
            return value[:, 0]

        ratio = paired(monai, lambda: metrics.hausdorff95(masks, truth), rounds=rounds)
        apart = float((monai() - found).abs().max())
        yield Row(
            "HD95",
            "MONAI",
            ">= 3",
            str(ratio),
            ratio.median >= 3 and apart < 1e-3,
            f"largest difference {apart:.1e} px",
        )
    except ImportError:
        yield Row("HD95", "MONAI", ">= 3", "MONAI is not installed", None)
    try:
        from medpy.metric.binary import hd95

        def medpy() -> list[float]:
            return [hd95(one, other) for one, other in zip(masks.numpy(), truth.numpy(), strict=True)]

        ratio = paired(medpy, lambda: metrics.hausdorff95(masks, truth), rounds=rounds)
        yield Row("HD95", "MedPy", ">= 8", str(ratio), ratio.median >= 8, "MedPy pools both directions: another value")
    except ImportError:
        yield Row("HD95", "MedPy", ">= 8", "MedPy is not installed", None)
