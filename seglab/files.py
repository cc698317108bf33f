"""Writing files so that a fault never leaves a half-written one: temporary file, fsync, rename."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["atomic", "atomic_text", "disk_error", "keep", "remove_leftovers"]


FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def atomic(path: str | Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Binary file that takes the place of `path` when the block ends well, and vanishes when it does not.

    The temporary file lies in the folder of `path`, so the rename cannot become a copy. Readers see the old file or
    the new one, never a part. A symbolic link stays one: the file it names is replaced.

    Args:
        path: The file to write, in a folder that exists.
        durable: Wait until the disk has it, so that it survives a loss of power; without, only the end of a process.

    Raises:
        OSError: If the file system refuses; `path` is then as it was before, and the message says what to do.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic(target) as file:
        ...     _ = file.write(b"whole")
        >>> target.read_bytes()
        b'whole'
    """
    path = Path(os.path.realpath(path))
    part = path.with_name(f".{secrets.token_hex(8)}.part")  # not from the name, which may be as long as names can be
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):  # the folder itself may be a file, or gone
            part.unlink(missing_ok=True)
        cause = disk_error(error) if isinstance(error, OSError | RuntimeError) else None
        if cause is None:
            raise
        raise OSError(_explanation(path, cause)) from error
    if durable:
        _sync_folder(path.parent)


def atomic_text(path: str | Path, text: str, *, durable: bool = True) -> None:
    """Write a UTF-8 text file whole or not at all.

    Args:
        path: The file to write, in a folder that exists.
        text: Its content; line ends are written as they are.
        durable: As `atomic`.

    Raises:
        OSError: As `atomic`.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> atomic_text(target, "whole")
        >>> target.read_text()
        'whole'
    """
    content = text.encode()
    with atomic(path, durable=durable) as file:
        file.write(content)


def disk_error(error: BaseException) -> OSError | None:
    """The OSError behind an exception, or None: torch reports a full disk as a RuntimeError.

    Example:
        >>> disk_error(OSError(28, "No space left on device")).errno
        28
        >>> disk_error(RuntimeError("something else")) is None
        True
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def keep(path: Path, name: Path) -> None:
    """Give a file a second name in its folder, in place of what had it; later writes to either leave the other alone.

    Args:
        path: A file that is only ever replaced, never written into.
        name: The second name, in the same folder.

    Raises:
        OSError: If the file system refuses.

    Example:
        >>> import tempfile
        >>> first = Path(tempfile.mkdtemp()) / "a"
        >>> _ = first.write_text("old")
        >>> keep(first, first.with_name("b"))
        >>> atomic_text(first, "new")
        >>> first.with_name("b").read_text()
        'old'
    """
    part = name.with_name(f".{secrets.token_hex(8)}.part")
    try:
        try:
            os.link(path, part)
        except OSError:  # a file system without links
            shutil.copyfile(path, part)
        os.replace(part, name)
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed writer left in a folder; call it only where nobody writes.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".0123456789abcdef.part").touch()
        >>> remove_leftovers(folder)
        >>> list(folder.iterdir())
        []
    """
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)


def _explanation(path: Path, error: OSError) -> str:
    """Why a file could not be written, what can be done, and that the older one is still there."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.ENOSPC:
        reason += f" ({shutil.disk_usage(path.parent).free / 2**20:.1f} MB free)"
    remedy = "Get the right to write there" if error.errno in FORBIDDEN else "Free some space"
    kept = " The older file of that name is intact." if path.is_file() else ""
    return f"{path} could not be written: {reason}. {remedy} or choose another folder.{kept}"


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
