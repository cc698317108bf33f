"""`seglab benchmark`: how fast, against what, on this machine."""

import argparse
from pathlib import Path

from seglab.files import atomic_text

__all__ = ["benchmark"]

HEADING = """\
# How fast, against what

Written by `seglab benchmark --out FILE`. Both ways of a row did the same work in turn, on one thread, in one run; the
number is the median of their ratios, with its quartiles. What needs a GPU is measured where there is one.

"""


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure ratios to other libraries side by side and print one table."""
    from seglab import benchmarks

    out = Path(arguments.out) if arguments.out else None
    if out is not None and out.suffix != ".md":
        raise ValueError(f"benchmark file must end in .md; got {out.name}.")

    def tell(row: benchmarks.Row) -> None:
        print(f"{row.what}, against {row.against}: {row.got}", flush=True)

    rows = benchmarks.measure(arguments.group, quick=arguments.quick, on_row=tell)
    text = benchmarks.to_markdown(rows)
    print(f"\n{text}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic_text(out, f"{HEADING}{text}\n")
    return 0
