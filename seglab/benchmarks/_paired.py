"""Two ways to do the same work, measured in turn in one process: the ratio survives a busy machine, seconds do not."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Ratio", "Row", "paired"]


class Ratio(NamedTuple):
    """How many times as fast the second way is, over rounds of interleaved pairs."""

    median: float
    low: float  # lower and upper quartile of the rounds
    high: float
    rounds: int

    def __str__(self) -> str:
        """As tables show it."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


class Row(NamedTuple):
    """One line of the benchmark."""

    what: str
    against: str
    wanted: str  # the goal, in words; empty if there is none
    got: str
    met: bool | None  # None: not measured, or there is no goal
    note: str = ""


def paired(
    slow: Callable[[], object],
    fast: Callable[[], object],
    *,
    rounds: int = 15,
    clock: Callable[[], float] = time.process_time,
) -> Ratio:
    """Ratio of the times of two ways, the first to the second, above 1 if the second is faster.

    Every round runs both, in changing order. Their time is the processor's by default, so that other work on the
    machine is not counted; then both should use one thread. A first round is thrown away.

    Args:
        slow: The peer.
        fast: Ours.
        rounds: Pairs, 3 or more.
        clock: Gives seconds.

    Example:
        >>> paired(lambda: sum(range(100_000)), lambda: None, rounds=3).median > 1
        True
    """
    if rounds < 3:
        raise ValueError(f"rounds must be at least 3; got {rounds}.")
    ratios = []
    for number in range(rounds + 1):
        times = {}
        for way in (slow, fast) if number % 2 else (fast, slow):
            start = clock()
            way()
            times[way] = max(clock() - start, 1e-9)
        ratios.append(times[slow] / times[fast])
    low, median, high = np.quantile(ratios[1:], [0.25, 0.5, 0.75])
    return Ratio(float(median), float(low), float(high), rounds)
