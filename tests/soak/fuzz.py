"""Throw broken files at every reader, guided by which lines they reach, for as long as one likes.

    python tests/soak/fuzz.py [SECONDS] [TARGET ...]              an hour shared out among all targets unless told
    python tests/soak/fuzz.py 3600 --each --at-once 16            an hour of each target, 16 of them at a time

With atheris (`pip install atheris`, where it has a wheel) the bytes are bred by the code they reach; without it they
are the examples of the targets with random damage. A crash is anything but a result of the right kind or one line that
names the file, and so is a reading of more than 20 seconds (times the targets at a time) or 2 GB. Exit code 1 after a
crash; the bytes that caused it are kept in fuzz-finds/.
"""

import argparse
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

LONGEST, LARGEST = 20, 2  # seconds and GB of one reading
MAX_LENGTH = 20_000  # bytes of one input
GUIDED = ("seglab", "PIL", "json", "csv", "zipfile", "torch._weights_only_unpickler", "safetensors")


def has_atheris() -> bool:
    """Whether inputs can be guided by what they reach."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def breed(name: str, seconds: int, longest: int, folder: Path) -> None:
    """Fuzz one target with atheris; ends the process."""
    import atheris

    with atheris.instrument_imports(include=list(GUIDED)):
        from reader_targets import TARGETS, aim, emptied
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir()
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


def damage(name: str, seconds: int, longest: int) -> None:
    """Fuzz one target with examples that are damaged at random."""
    from reader_targets import TARGETS, aim, emptied

    target, chance, end, count = TARGETS[name], random.Random(0), time.monotonic() + seconds, 0
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


def one(name: str, seconds: int, at_once: int) -> bool:
    """Fuzz one target in a process of its own; whether it held."""
    command = [sys.executable, __file__, str(seconds), name, "--here", "--at-once", str(at_once)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    output = done.stdout + done.stderr
    runs = [line.rpartition(" ")[2] for line in output.splitlines() if "number_of_executed_units" in line]
    print(f"{name}: {runs[-1] if runs else '?'} readings in {seconds} s, {'held' if not done.returncode else 'CRASH'}")
    if done.returncode:
        print("\n".join(line[:300] for line in output.splitlines()[-40:]))
    sys.stdout.flush()
    return not done.returncode


def main() -> int:
    """All targets, or those named."""
    from reader_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=int, default=3600)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--each", action="store_true", help="SECONDS for each target, not for all together")
    parser.add_argument("--at-once", type=int, default=1, help="targets at a time, each in a process of its own")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.targets or list(TARGETS)
    if arguments.here:
        longest = LONGEST * arguments.at_once  # by the clock, and they share the cores
        if has_atheris():
            with tempfile.TemporaryDirectory() as folder:
                breed(names[0], arguments.seconds, longest, Path(folder))
        else:
            damage(names[0], arguments.seconds, longest)
        return 0
    print(f"{len(names)} targets, {'guided by atheris' if has_atheris() else 'at random (no atheris)'}", flush=True)
    share = arguments.seconds if arguments.each else max(1, arguments.seconds * arguments.at_once // len(names))
    with ThreadPoolExecutor(arguments.at_once) as pool:
        held = list(pool.map(lambda name: one(name, share, arguments.at_once), names))
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
