"""Two models, each trained with several seeds: a difference whose interval holds pictures and seeds."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from seglab.stats._cells import as_cells, contrast
from seglab.stats._difference import Difference, detectable, paired_difference
from seglab.stats._paired import compare_counts
from seglab.stats._scores import Floats

__all__ = ["SeedDifference", "hierarchical_difference"]


@dataclass(frozen=True)
class SeedDifference(Difference):
    """Second minus first, each a mean over seeds.

    Attributes:
        seeds: Seeds of the first and of the second.
        left_out: Pictures without a score in some run.
    """

    seeds: tuple[int, int]
    left_out: int

    @property
    def note(self) -> str:
        """What the interval holds, in words."""
        if min(self.seeds) > 1:
            return f"The interval holds pictures and seeds ({self.seeds[0]} and {self.seeds[1]})."
        lacking = "each" if self.seeds == (1, 1) else "the first" if self.seeds[0] == 1 else "the second"
        return f"The interval excludes seed noise: there is one seed of {lacking}."

    def verdict(self) -> str:
        """The result in words, and what the interval holds."""
        return f"{super().verdict()}. {self.note}"


def hierarchical_difference(
    a: ArrayLike, b: ArrayLike, *, definition: str | None = None, draws: int = 10_000, seed: int = 0
) -> SeedDifference:
    """Compare two recipes, not two trained models: would another training, scored on other pictures, say the same?

    Paired bootstrap over seeds and pictures: in every draw the pictures are resampled, the same for all runs, and the
    seeds of each recipe on their own, so that seeds need not be pairs and their numbers may differ. The interval is
    mean +- t * bootstrap standard error, with Satterthwaite's degrees of freedom, because percentiles are far too
    narrow: with three seeds and much seed noise they covered 81 times in 100, not 95. p is that of the same t.
    With one seed of each it is the bootstrap over pictures of `compare` and `paired_difference`, with their p.

    Args:
        a: (S, N) scores of the first recipe, seeds by pictures; or its counts (S, N, K, K).
        b: The same of the second, same pictures, same order.
        definition: For counts, a name of `list_definitions`.
        draws: Resamples, 1 or above.
        seed: Seed of the draws.

    Returns:
        Second minus first. Pictures without a score in some run are left out and counted.

    Raises:
        ValueError: If the pictures differ in number, or counts lack a definition.

    Example:
        >>> a = [[0.5, 0.7, 0.6, 0.8], [0.6, 0.8, 0.7, 0.9]]  # two seeds, four pictures
        >>> b = [[0.7, 0.9, 0.8, 1.0]]  # one seed
        >>> result = hierarchical_difference(a, b)
        >>> round(result.mean, 3), result.note
        (0.15, 'The interval excludes seed noise: there is one seed of the second.')

    Reference:
        A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application", 1997, sec. 3.8.
        Differs: seeds and pictures are crossed, not nested; the variance of few seeds is corrected by S / (S - 1).
    """
    cells = as_cells([a, b], definition)
    seeds = (cells.seeds[0], cells.seeds[1])
    if seeds == (1, 1):
        found = _over_pictures(np.asarray(a, float)[0], np.asarray(b, float)[0], definition, draws, seed)
        return SeedDifference(**asdict(found), seeds=seeds, left_out=cells.left_out)
    weights = np.array([[-1.0], [1.0]])  # second minus first
    mean, error, reach, p = (float(one[0]) for one in contrast(cells, weights, draws=draws, seed=seed))
    return SeedDifference(mean, mean - reach, mean + reach, p, detectable(error, 1), cells.n, seeds, cells.left_out)


def _over_pictures(a: Floats, b: Floats, definition: str | None, draws: int, seed: int) -> Difference:
    """The difference of two trained models."""
    if definition is None:
        return paired_difference(a, b, draws=draws, seed=seed)
    row = compare_counts(a, b, [definition], draws=draws, seed=seed)[0]
    return Difference(row.difference, row.low, row.high, row.p, row.detectable, row.n)
