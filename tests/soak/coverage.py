"""How often the 95 % intervals of one model's scores hold the true score, by drawing samples from known populations.

    python tests/soak/coverage.py [SAMPLES] [REPORT.json ...]

The populations are generated: objects of very unequal size, found well but for 2 % ("mild") or 10 % ("tail") of the
pictures; or the pictures of reports that `seglab evaluate --out` wrote, drawn with replacement. Each number below comes
with a standard error of half a point at the 2000 samples that are the default.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from seglab.evaluation import Report  # noqa: E402
from seglab.evaluation._intervals import intervals  # noqa: E402
from seglab.stats import score  # noqa: E402

NAMES = ["dice_fg_image", "iou_fg_image", "dice_fg_pooled", "miou_2class_pooled", "accuracy_pooled"]
SIZES = (50, 100, 150)


def generated(failures: float, count: int = 200_000) -> NDArray[np.float64]:
    """Counts (N, 2, 2) of pictures of 10,000 pixels, of which a share fails."""
    rng = np.random.default_rng(3)
    area = np.exp(rng.normal(np.log(0.1), 1, count)).clip(0.002, 0.8)
    recall = np.where(rng.random(count) < failures, rng.beta(2, 4, count), rng.beta(18, 2, count))
    surplus = rng.beta(1.5, 20, count) * np.where(rng.random(count) < 0.05, 5, 1)
    hit, missed = 10_000 * area * recall, 10_000 * area * (1 - recall)
    false = np.minimum(10_000 * area * surplus, 10_000 * (1 - area))
    return np.stack([10_000 * (1 - area) - false, false, missed, hit], 1).reshape(-1, 2, 2)


def coverage(population: NDArray[np.float64], size: int, samples: int) -> list[float]:
    """Share of samples of a size whose intervals hold the score of the whole population, by name."""
    rng = np.random.default_rng(size)
    true = [score(population, name) for name in NAMES]
    held = np.zeros(len(NAMES))
    for number in range(samples):
        drawn = population[rng.integers(0, len(population), size)]
        ends = intervals(drawn, {}, NAMES, draws=1000, seed=number)
        held += [low <= value <= high for value, (low, high) in zip(true, ends.values(), strict=True)]
    return list(held / samples)


def main(samples: int, reports: list[str]) -> None:
    """One line for each population and size."""
    populations = {"mild": generated(0.02), "tail": generated(0.1)}
    for path in reports:
        report = Report.from_json(Path(path).read_text())
        populations[Path(path).stem] = report.counts.numpy().astype(float)
    print(f"{samples} samples; {', '.join(NAMES)}")
    for title, population in populations.items():
        for size in SIZES:
            shares = " ".join(f"{share:.3f}" for share in coverage(population, size, samples))
            print(f"{title}, n = {size}: {shares}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, sys.argv[2:])
