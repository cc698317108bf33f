"""Trainings for the page's visitors: one at a time, each in a process of its own, followed, stopped, cleared away.

Whoever comes while one is running stands in a short line.
"""

import atexit
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from seglab import serving
from seglab.files import atomic_text
from seglab.inference import Predictor
from seglab.orders import COUNT, Order, Progress
from seglab.zipped import Zipped, take

__all__ = ["Busy", "Classroom", "Training"]

LIMIT = 900.0  # seconds that one training may last
MOST_WAITING = 3  # visitors in the line: the last waits three quarters of an hour at most, and uploads stay for an hour
LAST_WORDS = 2000  # characters of a process's log that the server prints when it failed


class Busy(Exception):  # noqa: N818 - a state, which is over after a while
    """Another training is running.

    Attributes:
        running: Seconds since it began.
        left: Seconds after which it is over at the latest.
    """

    def __init__(self, running: float, left: float) -> None:
        super().__init__(f"another training has run for {running:.0f} s and ends within {left:.0f} s. Try again then.")
        self.running, self.left = running, left


class Training:
    """One training in its process.

    Args:
        folder: Of its own; it is removed in the end.
        order: What to train.

    Attributes:
        folder: The same.
        order: The same.
        began: When, by `time.monotonic`.
    """

    def __init__(self, folder: Path, order: Order) -> None:
        self.folder, self.order, self.began = folder, order, time.monotonic()
        self._last, self._asked = Progress(epochs=order.epochs), False
        atomic_text(folder / "order.json", order.text(), durable=False)
        package = str(Path(__file__).parents[1])
        paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        with (folder / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "seglab.pupil", str(folder)], stdin=subprocess.PIPE, stderr=log,
                stdout=subprocess.DEVNULL, cwd=folder,
                env={**os.environ, "PYTHONPATH": paths, "SEGLAB_CACHE": "off"},  # uploads are gone after an hour
                start_new_session=True,  # Ctrl-C is the server's, which then clears away
            )  # fmt: skip

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process.poll() is None

    @property
    def model(self) -> Path:
        """The trained model; there when `look` says done."""
        return self.folder / "model" / "best.safetensors"

    def look(self) -> Progress:
        """How far it is; a process that died says so."""
        if self._last.over:
            return self._last
        ended = not self.running
        with suppress(FileNotFoundError):  # not begun
            self._last = Progress.from_text((self.folder / "progress.json").read_text())
        if ended and not self._last.over:
            early = self._asked and not self._last.records
            self._last = replace(self._last, phase="failed", failure="asked" if early else "crash")
        if self._last.failure in ("crash", "unexpected"):
            self._print_log()
        return self._last

    def follow(self, every: float = 0.25) -> Iterator[Progress]:
        """Its progress whenever that changes, until it is over and its process has ended."""
        before = None
        while True:
            now = self.look()
            if now.over:
                with suppress(subprocess.TimeoutExpired):  # so that whoever hears of it may start the next one
                    self._process.wait(timeout=20)
            if now != before:
                yield now
                before = now
            if now.over:
                return
            time.sleep(every)

    def stop(self) -> None:
        """End it with the best model so far; before the first epoch is finished, without one."""
        self._asked = True
        if self.look().records:
            with suppress(OSError):  # it has just ended
                assert self._process.stdin is not None
                self._process.stdin.write(b"stop\n")
                self._process.stdin.flush()
        else:
            self._process.kill()

    def end(self) -> None:
        """Kill the process and remove its files."""
        self._process.kill()
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _print_log(self) -> None:
        """What the process said, for whoever runs the server."""
        with suppress(OSError):
            words = (self.folder / "log.txt").read_text(errors="replace")[-LAST_WORDS:].strip()
            print(f"seglab: training ended with {self._process.poll()}. {words}", file=sys.stderr, flush=True)


class Classroom:
    """The trainings and pictures of all visitors of one server.

    Args:
        limit: Seconds that one training may last.
        count: Generated pictures to train, to choose by and to test.
        new_folder: Makes a new folder for a visitor's files.

    Example:
        >>> room = Classroom()
        >>> room.training("somebody") is None
        True
    """

    def __init__(
        self,
        limit: float = LIMIT,
        count: tuple[int, int, int] = COUNT,
        new_folder: Callable[[], Path] = lambda: serving.new_folder("training"),
    ) -> None:
        self.limit, self.count, self._new_folder = limit, count, new_folder
        self._lock = threading.Lock()
        self._line: list[str] = []  # visitors who wait, the next one first
        self._trainings: dict[str, list[Training]] = {}
        self._pictures: dict[str, Zipped] = {}
        self._folders: dict[str, list[Path]] = {}  # all that hold, or held, a visitor's pictures
        atexit.register(self.close)  # runs before the private folder is removed, which is registered earlier

    def take(self, visitor: str, archive: Path, on_picture: Callable[[int, int], None] | None = None) -> Zipped:
        """Unpack and examine a visitor's ZIP file, in place of an earlier one.

        Raises:
            ValueError: If it is above a limit or no ZIP file; nothing is kept then.
            OSError: If there is too little space.
        """
        self.drop(visitor)
        folder = self._new_folder()
        self._folders.setdefault(visitor, []).append(folder)
        try:
            found = take(archive, folder / "pictures", on_picture)
            if found.report.ok:
                self._pictures[visitor] = found
            return found
        finally:
            if visitor not in self._pictures:
                self.drop(visitor)

    def pictures(self, visitor: str) -> Zipped | None:
        """A visitor's pictures, if there are some that may be trained on and are still kept."""
        found = self._pictures.get(visitor)
        return found if found is not None and (found.root / "images").is_dir() else None

    def drop(self, visitor: str) -> None:
        """Forget a visitor's pictures, and remove them unless a training still needs them."""
        self._pictures.pop(visitor, None)
        training = self.training(visitor)
        needed = training.order.root if training is not None and training.running else ""
        for folder in self._folders.get(visitor, []):
            if not (needed and Path(needed).is_relative_to(folder)):
                shutil.rmtree(folder, ignore_errors=True)

    def join(self, visitor: str) -> None:
        """Stand in the line for the next training.

        Raises:
            Busy: If MOST_WAITING stand there, or this visitor does.
        """
        with self._lock:
            if len(self._line) >= MOST_WAITING or visitor in self._line:
                raise self._busy()
            self._line.append(visitor)

    def wait(self, visitor: str, every: float = 0.25) -> Iterator[tuple[int, float]]:
        """Wait in the line until it is the visitor's turn, or until `give_way`.

        Yields:
            How many are before the visitor, whenever that changes, and the seconds after which they are done at most.
        """
        before = -1
        while True:
            with self._lock:
                if visitor not in self._line:
                    return
                place, busy = self._line.index(visitor), self._busy()
                ahead = place + (busy.left > 0)
            if not ahead:
                return
            if ahead != before:
                yield ahead, busy.left + place * self.limit
                before = ahead
            time.sleep(every)

    def waits(self, visitor: str) -> bool:
        """Whether a visitor stands in the line; after `wait`, whether it is that visitor's turn."""
        return visitor in self._line

    def give_way(self, visitor: str) -> bool:
        """Leave the line; whether the visitor stood there."""
        with self._lock:
            stood = visitor in self._line
            self._line = [one for one in self._line if one != visitor]
        return stood

    def start(self, visitor: str, order: Order) -> Training:
        """Begin a training, and leave the line.

        Raises:
            Busy: If one is running, whoever's it is, or if it is somebody else's turn.
            OSError: If no process can be started.
        """
        with self._lock:
            busy = self._busy()
            if busy.left > 0 or self._line[:1] not in ([], [visitor]):
                raise busy
            self._line = self._line[1:]
            training = Training(self._new_folder(), replace(order, seconds=self.limit, count=self.count))
            self._trainings.setdefault(visitor, []).append(training)
            return training

    def _busy(self) -> Busy:
        """How long the training that is running has run and may run; none if there is none."""
        for one in (one for trainings in self._trainings.values() for one in trainings):
            if one.running:
                running = time.monotonic() - one.began
                return Busy(running, max(1.0, self.limit - running))
        return Busy(0.0, 0.0)

    def begun(self, visitor: str) -> int:
        """How many trainings a visitor has begun."""
        return len(self._trainings.get(visitor, []))

    def training(self, visitor: str) -> Training | None:
        """A visitor's latest training."""
        return next(reversed(self._trainings.get(visitor, [])), None)

    def stop(self, visitor: str) -> bool:
        """Stop a visitor's training, see `Training.stop`; whether there was one."""
        training = self.training(visitor)
        if training is None or not training.running:
            return False
        training.stop()
        return True

    def finished(self, training: Training) -> Predictor:
        """The model of a training that is done.

        Raises:
            FileNotFoundError, ValueError: If it is gone.
        """
        return Predictor.load(training.model)

    def leave(self, visitor: str) -> None:
        """A visitor has gone: leave the line, end the process, remove all files."""
        self.give_way(visitor)
        with self._lock:
            trainings = self._trainings.pop(visitor, [])
        for training in trainings:
            training.end()
        self.drop(visitor)
        self._folders.pop(visitor, None)

    def close(self) -> None:
        """The server ends: everybody leaves."""
        for visitor in {*self._trainings, *self._folders}:
            self.leave(visitor)
