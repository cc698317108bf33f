"""Writing files so that a fault never leaves a half-written one: temporary file, fsync, rename."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["atomic", "atomic_text", "disk_error"]


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Binary file that takes the place of `path` when the block ends well, and vanishes when it does not.

    The temporary file lies in the folder of `path`, so the rename cannot become a copy. Readers see the old file or
    the new one, never a part.

    Raises:
        OSError: As the file system says it; `path` is then as it was before.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic(target) as file:
        ...     _ = file.write(b"whole")
        >>> target.read_bytes()
        b'whole'
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes private files; a result should follow the user's umask
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def atomic_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with atomic(path) as file:
        file.write(text.encode())


def disk_error(error: BaseException) -> OSError | None:
    """The OSError behind an exception, if there is one: torch reports a full disk as a RuntimeError."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _umask() -> int:
    """The process's umask; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; not every system can open a folder."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
