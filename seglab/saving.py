"""When an epoch's checkpoints are written: at once, or by a thread while the next epoch trains.

Training a GPU's epoch can be as short as hashing, writing and syncing its checkpoints. So there the state is copied
from the GPU, and one thread writes it, in the same order and by the same functions, each file whole or not at all. The
next epoch's files begin when the earlier ones are whole.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from seglab.checkpoint import Description
from seglab.config import TrainConfig
from seglab.history import Record
from seglab.resume import Snapshot, TrainState, write

__all__ = ["Saver", "saves_apart"]


def saves_apart(device: torch.device) -> bool:
    """Whether checkpoints are written by a thread: where it is not the processor that trains.

    Example:
        >>> saves_apart(torch.device("cpu")), saves_apart(torch.device("cuda"))
        (False, True)
    """
    return device.type == "cuda"


class Saver:
    """Writes checkpoints, and tells of each epoch when its files are whole.

    A context: its end waits for the thread. Whatever goes wrong in the thread is raised by the next call of any method
    after it, or by the end.

    Args:
        out: The run folder.
        facts: What the state carries for a later resume.
        description: What the model files carry.
        config: Its save_every counts.
        on_epoch: Called with the record of each epoch, by the thread that calls the Saver's methods.
        apart: Write in a thread.
    """

    def __init__(  # noqa: PLR0913 - four say what is written, two how
        self,
        out: Path,
        facts: Mapping[str, Any],
        description: Description,
        config: TrainConfig,
        *,
        on_epoch: Callable[[Record], None] | None,
        apart: bool,
    ) -> None:
        self._out, self._facts, self._description, self._config = out, facts, description, config
        self._on_epoch = on_epoch
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="seglab checkpoints") if apart else None
        self._written: Future[None] | None = None  # None: by this thread, so it is whole
        self._untold: Record | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self.finish()
            else:
                with suppress(Exception):  # the first error is the one to tell
                    self.finish()
        finally:
            if self._pool is not None:
                self._pool.shutdown()

    def save(self, state: TrainState) -> None:
        """Write the state's checkpoints, or begin to.

        Raises:
            ValueError: If a weight is not finite; nothing of this epoch is written then.
            OSError: If the files of this epoch, or in a thread those of the epoch before, cannot be written.
        """
        self.finish()
        snapshot = Snapshot.of(state, self._facts, self._description, self._config.save_every)
        if self._pool is not None:
            snapshot = snapshot.copied()
            try:
                self._written = self._pool.submit(write, self._out, snapshot)
            except RuntimeError:  # the system has no thread left; then this one writes, now and later
                self._pool = None
        if self._written is None:
            write(self._out, snapshot)
        self._untold = state.history[-1]

    def tell(self) -> None:
        """Call `on_epoch` with the last saved epoch, if its files are whole and it has not been told; never waits.

        Raises:
            OSError: If the files could not be written.
        """
        if self._written is None or self._written.done():
            self.finish()

    def finish(self) -> None:
        """Wait until the files are whole, and tell.

        Raises:
            OSError: As `tell`.
        """
        written, self._written = self._written, None
        record, self._untold = self._untold, None
        if written is not None:
            written.result()
        if record is not None and self._on_epoch is not None:
            self._on_epoch(record)
