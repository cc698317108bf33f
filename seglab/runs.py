"""A run folder: who may write into it, and what must be the same for a stopped run to go on exactly."""

import errno
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seglab import distributed
from seglab.batches import Cache
from seglab.config import TrainConfig
from seglab.devices import out_of_memory
from seglab.files import remove_leftovers
from seglab.models import Segmenter

__all__ = ["Loss", "explained", "facts_of", "held", "require_same"]

Loss = Callable[[Tensor, Tensor], Tensor]
# Settings on which nothing of an epoch depends, or its last bits alone.
FREE_TO_CHANGE = {"patience", "save_every", "workers", "device", "compile"}
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # what a file system without locks answers


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Make the run folder and hold it, so that two processes cannot write into one run.

    Temporary files of a killed process are removed. The lock is the system's: it ends with the process. A folder that
    was not there before, and in which an error left nothing, is removed again.

    Raises:
        OSError: If `out` cannot be a folder, or another process holds it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "run"
        >>> with held(folder):
        ...     sorted(path.name for path in folder.iterdir())
        ['.lock']
    """
    made = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise OSError(f"run folder {out} must be a folder that can be written; got: {error.strerror}.") from None
    with lock:
        try:
            _lock(lock.fileno())
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise OSError(
                    f"run folder {out} must be free; another process trains in it. Choose another --out."
                ) from None
        remove_leftovers(out)
        try:
            yield
        except BaseException:
            if made:
                _unmake(out, made)
            raise


@contextmanager
def explained(config: TrainConfig) -> Iterator[None]:
    """Say in one line what to do when the machine cannot carry the training.

    Raises:
        MemoryError: For every spelling of too little memory.
        OSError: If no thread can be started.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        what = " ".join(str(error).split())[:160]
        if "can't start new thread" in what:
            raise OSError(
                f"the system must allow {config.workers} more threads; got: {what}. Go on with workers=0, which needs "
                "none and gives the same result."
            ) from error
        if not out_of_memory(error):
            raise
        raise MemoryError(
            f"not enough memory for batch_size={config.batch_size} at size={config.size}: {what or 'MemoryError'}. "
            "Close other programs and give the same command again, which goes on from the last checkpoint; or train "
            "in another --out with a lower batch_size or size, or a narrower model."
        ) from error


def facts_of(
    model: Segmenter, loss: Loss, config: TrainConfig, fit: Cache, val: Cache, device: torch.device
) -> dict[str, Any]:
    """What must be the same for a resume to be exact, and what a reader of the run wants to know."""
    return {
        "model": model.name,
        "knobs": model.knobs,
        "num_classes": model.num_classes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "batch_norm": any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) for m in model.modules()),
        "loss": _loss_text(loss),
        "config": config.to_dict(),
        "pictures": {"train": len(fit), "val": len(val)},
        "digests": {"train": fit.digests, "val": val.digests},
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "threads": torch.get_num_threads(),
        "device": device.type,
        "machine": platform.machine(),
        "processes": distributed.world(),
        "compiled": config.compile,
    }


def require_same(before: Mapping[str, Any], now: Mapping[str, Any], out: Path) -> None:
    """Refuse to go on with another model, loss, configuration or data; say what differs.

    Other versions, threads, device, machine or compiling are allowed with a warning: only the last bits depend on them.
    So is another number of processes (see `seglab.distributed`), unless batch norm takes its statistics over each
    process's part of a batch, which then would be another.

    Args:
        before: `facts_of` the run so far.
        now: `facts_of` the run that wants to go on.
        out: The run folder, for the message.

    Raises:
        ValueError: With the first difference.
    """
    before = {"processes": 1, "compiled": False} | dict(before)  # as before there was a choice
    _require_same_config(before, now["config"], out)
    for name in ("model", "knobs", "num_classes", "loss"):
        if before[name] != now[name]:
            raise ValueError(f"{name} must be {before[name]!r} as in the run {out}; got {now[name]!r}.")
    for part in ("train", "val"):
        _require_same_pictures(part, before["digests"][part], now["digests"][part], out)
    if before["processes"] != now["processes"] and now["batch_norm"] and not now["config"]["sync_bn"]:
        raise ValueError(
            f"processes must be {before['processes']} as in the run {out}; got {now['processes']}. Batch norm sees "
            "each one's part of a batch; with sync_bn=true, from the start, their number can change."
        )
    for name in ("versions", "threads", "device", "machine", "processes", "compiled"):
        if before.get(name, now[name]) != now[name]:
            was, is_ = ("were", "are") if name.endswith("s") else ("was", "is")
            text = f"{name} {was} {before[name]} in the run {out} and {is_} {now[name]} now"
            warnings.warn(f"{text}: the result will not be equal bit for bit.", stacklevel=5)


def _require_same_config(facts: Mapping[str, Any], now: Mapping[str, Any], out: Path) -> None:
    """Refuse another setting, unless no finished epoch would have been another with it."""
    before = TrainConfig().to_dict() | facts["config"]  # a setting that is newer than the run: its default is what was
    free = set(FREE_TO_CHANGE)
    if before["schedule"] in ("constant", "plateau"):
        free.add("epochs")  # these schedules do not look ahead
    if facts["processes"] == 1:
        free.add("sync_bn")  # one process has the whole batch
    for name, value in now.items():
        if name in free or before.get(name) == value:
            continue
        why = " The schedule was planned for it." if name == "epochs" else ""
        raise ValueError(
            f"{name} must be {before.get(name)!r} as in the run {out}; got {value!r}.{why} "
            "Use another --out for another run."
        )


def _require_same_pictures(part: str, before: Mapping[str, str], now: Mapping[str, str], out: Path) -> None:
    """Refuse other pictures, other masks or another order."""
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        raise ValueError(
            f"{part} data must be as in the run {out}; {len(changed)} pictures or masks differ, e.g. {changed[0]}."
        )
    if list(before) != list(now):
        raise ValueError(f"{part} data must be as in the run {out}; its pictures came in another order.")


def _loss_text(loss: Loss) -> str:
    """A loss as name and settings."""
    name = getattr(getattr(loss, "func", loss), "__name__", type(loss).__name__)
    return f"{name}({', '.join(f'{k}={v}' for k, v in sorted(getattr(loss, 'keywords', {}).items()))})"


def _unmake(out: Path, made: Sequence[Path]) -> None:
    """Remove folders that were made for a run, from the inside to the outside, unless something is in them."""
    with suppress(OSError):
        if [path.name for path in out.iterdir()] == [".lock"]:
            (out / ".lock").unlink()
        for path in made:
            path.rmdir()


def _lock(handle: int) -> None:
    """Lock an open file for this process, or raise an OSError."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
