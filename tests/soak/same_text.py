"""Run the lessons with other threads and another instruction set; the stored text must come out every time.

    python tests/soak/same_text.py [LESSON ...] [--ways WAY ...]      such as 07 10 --ways "two threads"

The lessons are stored from runs with one thread. A way of running that prints anything else fails its lesson, and the
first difference is shown. Exit code 1 if there is one.
"""

import argparse
import os
import re
import resource
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from lessons import NOTEBOOKS, code_of, copied, read, strict_run  # noqa: E402

OLD_CPU = {  # every library that chooses its code by the processor is told to take the oldest
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Nehalem",
}
TWO_THREADS = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
WAYS = {
    "one thread": {},
    "two threads": TWO_THREADS,
    "old instructions": OLD_CPU,
    "old instructions, two threads": OLD_CPU | TWO_THREADS,
}


def numpy_extras() -> str:
    """Instruction sets beyond the oldest that NumPy would choose here: names for NPY_DISABLE_CPU_FEATURES."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))


def run(path: Path, way: str) -> tuple[list[str], float]:
    """What differed in one lesson, one text a cell; and the CPU seconds."""
    other = dict(WAYS[way])
    if "ATEN_CPU_CAPABILITY" in other:
        other["NPY_DISABLE_CPU_FEATURES"] = numpy_extras()
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    with tempfile.TemporaryDirectory() as folder:
        failures, said = strict_run(copied(path, Path(folder)), other, seconds=1800)
    if len(failures) != len(code_of(read(path))):
        failures = [said]
    return [failure for failure in failures if failure], sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before


def main() -> int:
    """Every lesson in every way; a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="such as 07; all if none is named")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    chosen = parser.parse_args()
    paths = [path for path in NOTEBOOKS if not chosen.lessons or path.stem.startswith(tuple(chosen.lessons))]
    wrong = 0
    for path in paths:
        for way in chosen.ways:
            failures, seconds = run(path, way)
            wrong += bool(failures)
            print(f"{path.stem:28} {way:30} {seconds:5.0f} s CPU  {'DIFFERS' if failures else 'same'}", flush=True)
            if failures:
                print(re.sub(r"\x1b\[[0-9;]*m|#x1B\[[0-9;]*m", "", failures[0])[:3000])
    print(f"{len(paths)} lessons, {len(chosen.ways)} ways, {os.cpu_count()} cores: {wrong} of them differ.")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
