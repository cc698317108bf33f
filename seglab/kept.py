"""The results of all visitors, as far as memory allows: those used last stay."""

import threading
import weakref

import numpy as np

from seglab.comparison import Comparison
from seglab.shown import Shown

__all__ = ["KeptResults"]

MOST_BYTES = 2**30  # of all pictures and probabilities together; of 12 megapixels with two models 0.16 GB


class KeptResults:
    """Lets go of the results that were used longest ago when all together need too much memory.

    A visitor whose result is gone is told so, and compares again. The result used last stays, whatever its size.

    Args:
        most: Bytes that the results may have together.

    Example:
        >>> kept = KeptResults()
        >>> kept.used(Shown())
        >>> kept.bytes
        0
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self._all: dict[int, weakref.ref[Shown]] = {}  # the one used last is the last
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Of all results that are still there."""
        with self._lock:
            return sum(map(_bytes, self._living()))

    def used(self, shown: Shown) -> None:
        """A visitor has a new result, or has looked at the one there is."""
        with self._lock:
            self._all.pop(id(shown), None)
            self._all[id(shown)] = weakref.ref(shown)
            living = self._living()
            total = sum(map(_bytes, living))
            for oldest in living[:-1]:
                if total <= self.most:
                    return
                total -= _bytes(oldest)
                oldest.comparison = oldest.clean = None

    def _living(self) -> list[Shown]:
        """All that visitors still have; the others are forgotten."""
        found = {number: shown for number, one in self._all.items() if (shown := one()) is not None}
        self._all = {number: self._all[number] for number in found}
        return list(found.values())


def _bytes(shown: Shown) -> int:
    """Of the arrays of a result; one that two comparisons share counts once."""
    arrays: dict[int, int] = {}
    for comparison in (shown.comparison, shown.clean):
        arrays |= {id(one): one.nbytes for one in _arrays(comparison)} if comparison is not None else {}
    return sum(arrays.values())


def _arrays(comparison: Comparison) -> list[np.ndarray]:
    """What takes memory."""
    maps = [array for one in comparison.results for array in (one.probs, one.mask)]
    return [comparison.image, *maps, *([] if comparison.truth is None else [comparison.truth])]
