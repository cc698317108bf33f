"""Throw broken files at every reader, guided by which lines they reach, for as long as one likes.

    python tests/soak/fuzz.py [SECONDS] [TARGET ...]              an hour shared out among all targets unless told
    python tests/soak/fuzz.py 3600 --each --at-once 2             an hour of each target, two of them at a time
    python tests/soak/fuzz.py 3600 --each --keep FOLDER           an hour for each, collected over many runs

With atheris (`pip install atheris`, where it has a wheel) the bytes are bred by the code they reach; without it they
are the examples of the targets with random damage. A crash is anything but a result of the right kind or one line that
names the file, and so is a reading of more than 20 seconds (times the targets at a time) or 2 GB. Exit code 1 after a
crash; the bytes that caused it are kept in fuzz-finds/.

With `--keep FOLDER` the work is done in slices of five minutes. FOLDER keeps the inputs found so far, and fuzzed.json
there the seconds of processor time and the readings of each target, so that a run can be stopped at any moment and
started again another day. A target is done when it has its SECONDS of processor time.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

LONGEST, LARGEST = 20, 2  # seconds and GB of one reading
SLICE = 300  # seconds by the clock between two entries in fuzzed.json
MAX_LENGTH = 20_000  # bytes of one input
GUIDED = ("seglab", "PIL", "json", "csv", "zipfile", "torch._weights_only_unpickler", "safetensors")


def has_atheris() -> bool:
    """Whether inputs can be guided by what they reach."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def breed(name: str, seconds: int, longest: int, corpus: Path) -> None:
    """Fuzz one target with atheris, beginning with the inputs in `corpus`; ends the process."""
    import atheris

    with atheris.instrument_imports(include=list(GUIDED)):
        from reader_targets import TARGETS, aim, emptied
    target = TARGETS[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(seed)

    def once(data: bytes) -> None:
        with emptied() as place:
            aim(target, data, place)

    options = [f"-max_total_time={seconds}", f"-timeout={longest}", f"-rss_limit_mb={LARGEST * 1024}"]
    options += [
        f"-max_len={MAX_LENGTH}",
        f"-artifact_prefix={finds()}/{name.replace(' ', '_')}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *options], once)
    atheris.Fuzz()


def damage(name: str, seconds: int, longest: int, before: int) -> None:
    """Fuzz one target with examples that are damaged at random, other ones after other numbers of readings before."""
    from reader_targets import TARGETS, aim, emptied

    target, chance, end, count = TARGETS[name], random.Random(before), time.monotonic() + seconds, 0
    # Address space, not memory: torch alone maps some of it.
    resource.setrlimit(resource.RLIMIT_AS, ((LARGEST + 30) * 2**30,) * 2)
    signal.signal(signal.SIGALRM, too_long)
    while time.monotonic() < end:
        data = broken(chance.choice(target.seeds()), chance)
        signal.alarm(longest)
        try:
            with emptied() as place:
                aim(target, data, place)
        except BaseException:
            path = finds() / f"{name.replace(' ', '_')}-crash-{hashlib.sha256(data).hexdigest()[:16]}"
            path.write_bytes(data)
            print(f"{path}: {name} crashed", flush=True)
            raise
        finally:
            signal.alarm(0)
        count += 1
    print(f"stat::number_of_executed_units: {count}", flush=True)


def broken(seed: bytes, chance: random.Random) -> bytes:
    """A right file with one to eight faults."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 8)):
        at, length = chance.randint(0, len(data)), chance.randint(1, 30)
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = chance.randbytes(length)
            case 3:
                data[at:at] = data[at : at + length] * chance.randint(1, 50)
            case 4:
                data[at : at + 4] = chance.choice(
                    (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"9999", b"NaN")
                )
            case 5:
                del data[at:]
    return bytes(data[:MAX_LENGTH])


def too_long(number: int, frame: object) -> None:
    """What the alarm does to a reading that does not end."""
    raise TimeoutError("one reading took too long")


def finds() -> Path:
    """Where the bytes of crashes are kept."""
    folder = Path.cwd() / "fuzz-finds"
    folder.mkdir(exist_ok=True)
    return folder


class Done(NamedTuple):
    """What one process did."""

    held: bool
    readings: int
    seconds: float  # of the processor


def one(name: str, seconds: int, at_once: int, corpus: Path, before: int = 0) -> Done:
    """Fuzz one target in a process of its own."""
    command = [sys.executable, __file__, str(seconds), name, "--here", str(corpus), "--at-once", str(at_once)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            [*command, "--before", str(before)], stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        lines = output.read().splitlines()
    readings = [int(line.rpartition(" ")[2]) for line in lines if "number_of_executed_units" in line]
    done = Done(not process.returncode, readings[-1] if readings else 0, used.ru_utime + used.ru_stime)
    print(f"{name}: {done.readings} readings in {done.seconds:.0f} s of processor, {'held' if done.held else 'CRASH'}")
    if not done.held:
        print("\n".join(line[:300] for line in lines[-40:]))
    sys.stdout.flush()
    return done


def collect(name: str, seconds: int, at_once: int, keep: Path, lock: threading.Lock) -> bool:
    """Fuzz one target in slices until fuzzed.json says it had its seconds; whether it held."""
    ledger = keep / "fuzzed.json"
    while True:
        with lock:
            entries = json.loads(ledger.read_text()) if ledger.exists() else {}
        entry = entries.get(name, {"processor_seconds": 0.0, "readings": 0})
        left = seconds - entry["processor_seconds"]
        if left <= 0:
            return True
        done = one(name, min(SLICE, max(30, int(left))), at_once, keep / name.replace(" ", "_"), entry["readings"])
        if not done.held:
            return False
        with lock:
            entries = json.loads(ledger.read_text()) if ledger.exists() else {}
            entries[name] = {
                "processor_seconds": round(entry["processor_seconds"] + done.seconds, 1),
                "readings": entry["readings"] + done.readings,
            }
            fresh = ledger.with_suffix(".new")
            fresh.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n")
            fresh.replace(ledger)


def options() -> argparse.Namespace:
    """What the command line asks for."""
    from reader_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=int, default=3600)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--each", action="store_true", help="SECONDS for each target, not for all together")
    parser.add_argument("--at-once", type=int, default=1, help="targets at a time, each in a process of its own")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="collect SECONDS of the processor over many runs")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--before", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_intermixed_args()
    chosen.targets = chosen.targets or list(TARGETS)
    return chosen


def main() -> int:
    """All targets, or those named."""
    chosen = options()
    names, at_once = chosen.targets, chosen.at_once
    if chosen.here:
        longest = LONGEST * at_once  # by the clock, and they share the cores
        if has_atheris():
            breed(names[0], chosen.seconds, longest, chosen.here)
        else:
            damage(names[0], chosen.seconds, longest, chosen.before)
        return 0
    print(f"{len(names)} targets, {'guided by atheris' if has_atheris() else 'at random (no atheris)'}", flush=True)
    share = chosen.seconds if chosen.each else max(1, chosen.seconds * at_once // len(names))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as pool:
        if chosen.keep:
            chosen.keep.mkdir(parents=True, exist_ok=True)
            lock = threading.Lock()
            held = pool.map(lambda name: collect(name, share, at_once, chosen.keep, lock), names)
        else:
            held = pool.map(lambda name: one(name, share, at_once, Path(folder) / name.replace(" ", "_")).held, names)
        return 0 if all(list(held)) else 1


if __name__ == "__main__":
    sys.exit(main())
