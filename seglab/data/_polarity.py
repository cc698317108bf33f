"""Inverted masks: found by asking which of a mask and its opposite looks more like the objects of this dataset.

Area alone does not tell: a large lesion fills a picture, a small inverted one does too. What the set itself shows does:
where its objects lie, how often they touch the border, and whether they are darker, redder or yellower than the rest.
A logistic model learns this from the masks and their opposites, and a mask whose opposite fits better is reported.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seglab.data._findings import Finding
from seglab.data._inspect import FULL, LOOK, Look

__all__ = ["find_inverted"]

Array = NDArray[np.float64]
# Border, middle, area, lightness, red-green, yellow-blue. Before any mask is seen: objects keep to the middle and away
# from the border; nothing is known about their colour.
PRIOR = np.array([-1.0, 1.0, -0.5, 0.0, 0.0, 0.0])
TRUST = 3.0  # how many masks the prior weighs
CLEAR = -1.0  # score below which a nearly full mask is reported as inverted, not only as full
LOW = 0.6  # score below which a mask along most of the border is reported
BLACK = 12.0  # lightness of the black surround of dermatoscopes, which is neither inside nor outside


def find_inverted(looks: Sequence[Look]) -> list[Finding]:
    """Masks that seem to mark the surroundings instead of the object.

    Args:
        looks: The pairs of a binary dataset; those without a readable mask or an object are left out.

    Returns:
        One warning a mask. If the whole set seems inverted, that is the first finding.
    """
    looks = [look for look in looks if look.inside is not None and look.pixels and look.share < 1]
    if not looks:
        return []
    features = np.array([_features(look) for look in looks])  # (N, 6), each changes sign with the mask
    scores = features @ _fit(features)
    findings = _whole_set(features)
    usual = np.sign(np.median(features[:, 3]))
    steady = np.mean(np.sign(features[:, 3]) == usual) > 0.9
    for look, row, score in zip(looks, features, scores, strict=True):
        against = bool(steady and usual * row[3] < -0.4)
        if _suspicious(look.share, (row[0] + 1) / 2, float(score), against):
            findings.append(_finding(look, row, usual if steady else 0.0))
    return findings


def _suspicious(share: float, border: float, score: float, against: bool) -> bool:
    """Whether to report a mask; the limits were set on four public datasets and on masks of them turned over."""
    if share >= FULL:
        return score < CLEAR
    return score < 0 or (border > 0.5 and score < LOW) or (border > 0.45 and against)


def _finding(look: Look, row: Array, usual: float) -> Finding:
    """The evidence in one line."""
    border, middle = (row[0] + 1) / 2, (row[1] + 1) / 2
    said = f"may be inverted: it covers {border:.0%} of the border and {middle:.0%} of the middle of the picture"
    if usual and usual * row[3] < 0:
        said += f", and is {'lighter' if usual < 0 else 'darker'} than the rest, other than most masks here"
    return Finding("inverted_mask", "warning", look.pair.mask.name, f"{said}.", "Look at it; invert it if so.")


def _whole_set(features: Array) -> list[Finding]:
    """A set in which most masks run along the border and cover most of the picture."""
    turned = int(((features[:, 0] > 0) & (features[:, 2] > 0)).sum())
    if turned <= len(features) / 2:
        return []
    message = f"{turned} of {len(features)} cover most of the picture and of its border: the set may be inverted."
    return [Finding("inverted_set", "warning", "masks", message, "See whether the object is 255 (or 1), not 0.")]


def _features(look: Look) -> list[float]:
    """Border, middle, area in [-1, 1], colour contrasts in [-4, 4]; all change sign with the mask."""
    import cv2

    assert look.inside is not None
    assert look.colour is not None
    inside = look.inside / 255
    edge = np.concatenate([inside[0], inside[-1], inside[1:-1, 0], inside[1:-1, -1]])
    lab = cv2.cvtColor(look.colour.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    seen = lab[..., 0] > BLACK
    first, second = lab[(inside > 0.9) & seen], lab[(inside < 0.1) & seen]
    contrast = np.zeros(3)
    if min(len(first), len(second)) >= 6:
        spread = (first.var(0) * len(first) + second.var(0) * len(second)) / (len(first) + len(second))
        contrast = np.clip((first.mean(0) - second.mean(0)) / (np.sqrt(spread) + 1), -4, 4)
    middle = float((inside * _middle()).sum())
    return [2 * edge.mean() - 1, 2 * middle - 1, 2 * look.share - 1, *map(float, contrast)]


def _middle() -> Array:
    """Weights (LOOK, LOOK) of sum 1 that fall off from the middle."""
    place = (np.arange(LOOK) - (LOOK - 1) / 2) / (LOOK / 2)
    weight = np.exp(-(place**2) / 0.25)
    product: Array = np.outer(weight, weight)
    product /= product.sum()
    return product


def _fit(features: Array) -> Array:
    """Weights of a logistic model without offset that tells masks (rows) from their opposites (minus the rows)."""
    weights = PRIOR.copy()
    for _ in range(30):  # Newton's method; the problem is convex and has six unknowns
        share = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        slope = features.T @ (1 - share) - TRUST * (weights - PRIOR)
        curve = (features * (share * (1 - share))[:, None]).T @ features + TRUST * np.eye(len(PRIOR))
        weights = weights + np.linalg.solve(curve, slope)
    return weights
