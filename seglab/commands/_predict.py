"""`seglab predict`: one thread reads pictures ahead, the model answers, and one thread writes masks.

The results are those of one picture after the other, and so are the order of all messages and what an error leaves.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from seglab.images import ImageError, write_mask

if TYPE_CHECKING:
    import numpy as np

    from seglab import Predictor
    from seglab.images import Picture

__all__ = ["AHEAD", "write_masks"]

AHEAD = 2  # pictures that are read, and masks that wait to be written, while the model answers


def write_masks(
    predictor: "Predictor",
    jobs: Sequence[tuple[Path, Path]],
    threshold: float,
    on_picture: Callable[[ImageError | None], None],
) -> None:
    """Write the mask of every picture as PNG, 0/255 for two classes, at the picture's own size.

    However many pictures there are, no more than `AHEAD` and one are in memory, and as many small maps for masks that
    are written. Pictures are not put together in batches: a batch changes the last bits of what the model says of each.

    Args:
        predictor: The model.
        jobs: Pictures with their mask files; a folder is made when its first mask is there.
        threshold: Probability above which a pixel counts as object, for two-class models.
        on_picture: Called after each picture, in order, with what is wrong with it; None: nothing.

    Raises:
        OSError: If a mask cannot be written; the masks that were written are whole.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:  # at the end they wait for what has begun
        line = _Line(predictor, jobs, threshold, reader, writer)
        try:
            while line.read:
                on_picture(line.answer())
            line.wait(0)
        finally:
            line.stop()


class _Line:
    """Pictures on their way from a file to a mask."""

    def __init__(
        self,
        predictor: "Predictor",
        jobs: Sequence[tuple[Path, Path]],
        threshold: float,
        reader: Executor,
        writer: Executor,
    ) -> None:
        self.predictor, self.threshold, self.reader, self.writer = predictor, threshold, reader, writer
        self.upcoming = iter(jobs)
        self.read: deque[tuple[Path, Future[Picture]]] = deque()
        self.written: deque[Future[None]] = deque()
        for _ in range(AHEAD):
            self._read_on()

    def answer(self) -> ImageError | None:
        """Run the model on the next picture and let its mask be written; what is wrong with the picture."""
        target, picture = self.read.popleft()
        try:
            answer = self.predictor.answer(picture.result())
        except ImageError as error:  # one bad file must not cost the others their masks
            return error
        finally:
            del picture  # before the next one is read
            self._read_on()
        self.written.append(self.writer.submit(self._write, answer, target))
        self.wait(AHEAD)
        return None

    def wait(self, most: int) -> None:
        """Wait until no more masks than that are on their way; raise what went wrong with one."""
        while len(self.written) > most or (self.written and self.written[0].done()):
            self.written.popleft().result()

    def stop(self) -> None:
        """Begin nothing new; masks whose pictures have been answered are still written."""
        for _, picture in self.read:
            picture.cancel()

    def _read_on(self) -> None:
        source, target = next(self.upcoming, (None, None))
        if source is not None and target is not None:
            self.read.append((target, self.reader.submit(self.predictor.read, source)))

    def _write(self, answer: "Callable[[], np.ndarray]", target: Path) -> None:
        mask = self.predictor.decide(answer(), threshold=self.threshold).mask
        target.parent.mkdir(parents=True, exist_ok=True)
        write_mask(target, mask, binary=len(self.predictor.classes) == 2)
