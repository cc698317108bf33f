"""Kill trainings at random moments, in the middle of saves too, resume them, and compare with undisturbed ones.

    python tests/soak/kill.py [KILLS] [--spawn] [--seed N]     200 kills unless told

Every training is a second process: forked, or with --spawn the command `seglab train` started from nothing. Half of the
forked ones are killed by the clock, half by themselves at a random call of the writing of a file: in the middle of the
bytes, before or after a sync, a link or a rename. After every kill each file with a final name must be whole, and no
finished epoch may be gone. In the end everything a run leaves must equal that of a run nobody disturbed, bit for bit.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from run_folders import fingerprint  # noqa: E402
from training_process import hurry, run  # noqa: E402

from seglab import sealed  # noqa: E402
from seglab.checkpoint import load_state, read_model  # noqa: E402

EPOCHS = 30
SETTINGS: list[dict[str, Any]] = [
    {"schedule": "cosine", "optimizer": "adamw", "ema": 0.9, "freeze_epochs": 5, "workers": 2, "save_every": 1},
    {"schedule": "plateau", "workers": 0, "save_every": 7},
    {"schedule": "poly", "warmup_epochs": 4, "grad_clip": 0.5, "workers": 2, "save_every": 3},
]
CALLS = {"write": 340, "fsync": 8, "replace": 6, "link": 1}  # about so many in an epoch's saves
COMMAND = [
    "train", "unet", "bce_dice", "--dataset", "synthetic", "epochs=12", "size=32", "batch_size=2", "model.width=4",
    "data.size=32", "data.count=8", "device=cpu", "amp=false", "save_every=1",
]  # fmt: skip


def settings_of(number: int) -> dict[str, Any]:
    """The configuration of one run."""
    return {"epochs": EPOCHS, "seed": number} | SETTINGS[number % len(SETTINGS)]


def kill_in_a_save(kind: str, call: int, after: bool) -> None:
    """Let this process kill itself at a certain call of what writes files, before or after it."""
    left = call

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **keywords: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **keywords)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    owner = sealed._Hashing if kind == "write" else os
    setattr(owner, kind, deadly(getattr(owner, kind)))


def child(out: Path, number: int, chance: random.Random) -> tuple[int, str]:
    """Fork a training; returns its number and how it will be killed."""
    in_save = chance.random() < 0.5
    kind, after = chance.choice(sorted(CALLS)), chance.random() < 0.5
    call = chance.randrange(1, 3 * CALLS[kind])
    process = os.fork()
    if process == 0:
        try:
            if in_save:
                kill_in_a_save(kind, call, after)
            run(out, settings_of(number))
        finally:
            os._exit(0)
    return process, "inside a save" if in_save else "by the clock"


def kill_by_the_clock(process: int, delay: float) -> bool:
    """Kill a process after a while; whether it was still there."""
    end = time.monotonic() + delay
    while time.monotonic() < end:
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def faults(out: Path, before: int) -> tuple[int, list[str]]:
    """Finished epochs of a run folder after a kill, and what is wrong with it."""
    wrong = []
    for path in sorted(out.iterdir()) if out.is_dir() else []:
        try:
            if path.suffix == ".pt":
                load_state(path)
            elif path.suffix in (".safetensors", ".copy"):
                read_model(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
        except ValueError as error:
            wrong.append(f"corrupt: {error}")
    done = int(load_state(out / "last.pt")["epoch"]) if (out / "last.pt").exists() and not wrong else 0
    if done < before:
        wrong.append(f"lost: {before} epochs were finished, {done} are left")
    return done, wrong


def finished(out: Path, epochs: int) -> bool:
    """Whether all epochs are done."""
    return (out / "last.pt").exists() and load_state(out / "last.pt")["epoch"] == epochs


def leftovers(out: Path) -> dict[str, bytes]:
    """What must be equal beside the fingerprint: the numbered models, and no temporary file."""
    names = [path for path in out.iterdir() if path.name.startswith("epoch_") or path.suffix in (".part", ".copy")]
    return {path.name: path.read_bytes() for path in names}


def soak(kills: int, seed: int, folder: Path) -> list[str]:
    """Forked trainings; what went wrong."""
    chance, tally, wrong, number = random.Random(seed), Counter[str](), [], 0
    while sum(tally.values()) < kills:
        out, done = folder / f"killed{number}", 0
        while sum(tally.values()) < kills and not finished(out, EPOCHS):
            process, how = child(out, number, chance)
            delay = chance.uniform(0, 0.8) if how == "by the clock" else 600
            if how == "by the clock":
                tally[how] += kill_by_the_clock(process, delay)
            else:
                _, status = os.waitpid(process, 0)
                tally[how] += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            done, found = faults(out, done)
            wrong += found
        run(out, settings_of(number))  # what is left
        run(folder / f"whole{number}", settings_of(number))
        pair = [(fingerprint(path), leftovers(path)) for path in (out, folder / f"whole{number}")]
        if pair[0] != pair[1]:
            wrong.append(f"run {number} differs from the undisturbed one")
        number += 1
        print(f"{number} runs of {EPOCHS} epochs, kills {dict(tally)}, faults {len(wrong)}", flush=True)
    return wrong


def spawn(out: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    start = "import sys; from seglab.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", start, *COMMAND, "--out", str(out)], stdout=subprocess.DEVNULL, cwd=ROOT
    )


def soak_command(kills: int, seed: int, folder: Path) -> list[str]:
    """`seglab train`, killed and given again until it is done; what went wrong."""
    chance, killed, wrong, number = random.Random(seed), 0, [], 0
    began = time.monotonic()
    whole = folder / "whole" / "run"  # the same last name for all, for the checkpoints hold the command
    if spawn(whole).wait() != 0:
        return ["the undisturbed command failed"]
    length = time.monotonic() - began
    while killed < kills:
        out, done = folder / f"killed{number}" / "run", 0
        while killed < kills and not finished(out, 12):
            process = spawn(out)
            try:
                process.wait(chance.uniform(0.3, 0.95) * length)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
            done, found = faults(out, done)
            wrong += found
        if spawn(out).wait() != 0 or (fingerprint(out), leftovers(out)) != (fingerprint(whole), leftovers(whole)):
            wrong.append(f"run {number} differs from the undisturbed one")
        number += 1
        print(f"{number} runs of the command, {killed} kills, faults {len(wrong)}", flush=True)
    return wrong


def main(kills: int, seed: int = 0, *, spawned: bool = False) -> list[str]:
    """Kill that often; returns what went wrong, nothing if all is well."""
    hurry()
    for heavy in ("cv2", "torch._dynamo"):  # once here, not once in every child
        import_module(heavy)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a sync is then quick; kills do not mind where
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        wrong = (soak_command if spawned else soak)(kills, seed, Path(folder))
    print("\n".join(wrong) or f"{kills} kills: no run lost, no file corrupt, every end equal bit for bit")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=200)
    parser.add_argument("--spawn", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(1 if main(arguments.kills, arguments.seed, spawned=arguments.spawn) else 0)
