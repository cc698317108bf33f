"""Numbers against a true mask that stays, held against `seglab.metrics`, which counts every time from the beginning."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from seglab import explain, metrics
from seglab.comparison import compare
from seglab.inference import Predictor
from seglab.scoring import RATIOS, Scorer


def blobs(rng, shape, *, share=0.5, unknown=False):
    """A mask of coarse squares, which touch the edges now and then."""
    small = rng.random((shape[0] // 4 + 1, shape[1] // 4 + 1)) < share
    mask = np.kron(small, np.ones((4, 4), bool))[: shape[0], : shape[1]].astype(np.uint8)
    if unknown:
        mask[rng.random(shape) < 0.1] = 255
    return mask


def by_definition(mask, truth, num_classes):
    """The same numbers from the library's own functions."""
    pred, target = (torch.from_numpy(one)[None] for one in (mask, truth))
    table = metrics.counts(pred, target, num_classes)[0]
    found = {name: float(getattr(metrics, name)(table)[1:].nanmean()) for name in RATIOS}
    known = target != 255
    found["hausdorff95_px"] = float(metrics.hausdorff95((pred > 0) & known, (target > 0) & known)[0])
    codes = explain.error_map(mask, truth)
    found |= {"extra_px": int((codes == explain.EXTRA).sum()), "missed_px": int((codes == explain.MISSED).sum())}
    return {name: None if math.isnan(value) else value for name, value in found.items()}


@pytest.mark.parametrize("num_classes", [1, 2, 3])
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_numbers_are_exactly_those_of_the_metrics(seed, unknown, num_classes):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    truth = blobs(rng, shape, share=rng.choice([0.0, 0.3, 1.0]), unknown=unknown)
    scorer = Scorer(truth)
    for share in (0.0, 0.2, 0.5, 1.0):
        mask = blobs(rng, shape, share=share)
        if num_classes == 3:
            mask[::2] *= 2
        assert scorer.numbers(mask, num_classes) == by_definition(mask, truth, num_classes)


def test_mask_is_taken_as_it_was_when_the_truth_is_empty_or_unknown():
    nothing = np.zeros((6, 8), np.uint8)
    assert Scorer(nothing).numbers(nothing, 1) == dict.fromkeys((*RATIOS, "hausdorff95_px")) | {
        "extra_px": 0,
        "missed_px": 0,
    }
    blind = Scorer(nothing + 255).numbers(nothing + 1, 1)
    assert (blind["dice"], blind["extra_px"], blind["missed_px"]) == (None, 0, 0)


def test_next_threshold_uses_what_is_known_of_the_truth():
    class Ramp(torch.nn.Module):
        num_classes, stride, name = 1, 1, "ramp"

        def forward(self, x):
            return x[:, :1] * 8 - 4

    truth = np.zeros((32, 32), np.uint8)
    truth[8:24, 8:24] = 255
    picture = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None, :, None], 32, axis=0).repeat(3, axis=2)
    first = compare(picture, [Predictor(Ramp(), size=32)], truth)
    second = first.at(0.7)
    assert second.scorer is first.scorer
    assert second.results[0].numbers["dice"] == by_definition(second.results[0].mask, first.truth, 1)["dice"]
    other = np.zeros((32, 32), np.uint8)
    moved = replace(first, truth=other).at(0.7)
    assert moved.results[0].numbers["missed_px"] == 0
    assert moved.scorer.truth is other


def test_outline_is_found_wherever_the_mask_lies():
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (5, 1), (9, 13), (40, 30)):
        mask = np.zeros((3 * height, 2 * width), bool)
        part = rng.random((height, width)) < 0.6
        assert len(metrics.Outline(mask).points) == 0
        for top, left in ((0, 0), (height, width), (2 * height, 0)):
            mask[:] = False
            mask[top : top + height, left : left + width] = part
            framed = np.pad(mask, 1)
            inner = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
            assert np.array_equal(metrics.Outline(mask).points, np.argwhere(mask & ~inner))
