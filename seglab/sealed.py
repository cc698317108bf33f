"""A torch.save file that carries its own SHA-256, so that any flipped bit is found before anything is read from it.

The hash stands in the comment that every zip archive may end with: other readers of such files do not notice it.
"""

import hashlib
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch

__all__ = ["read_sealed", "write_sealed"]

MARK = b"seglab-sha256:"
SEAL = len(MARK) + 64  # bytes of the comment
END, END_SIZE = b"PK\x05\x06", 22  # how an archive without a comment ends: this, 16 bytes, and the comment's length


class _Hashing:
    """Passes bytes on and hashes them; the last two, the length of the comment, are held back and replaced."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.held = b""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        count = len(view)
        if count < 2:
            together = self.held + bytes(view)
            self._pass_on(together[:-2])
            self.held = together[-2:]
            return count
        self._pass_on(self.held)
        self._pass_on(view[:-2])
        self.held = bytes(view[-2:])
        return count

    def flush(self) -> None:
        self.file.flush()

    def seal(self) -> None:
        """Write the comment's length and the comment."""
        self._pass_on(struct.pack("<H", SEAL))
        self._pass_on(MARK)
        self.file.write(self.digest.hexdigest().encode())

    def _pass_on(self, data: bytes | memoryview) -> None:
        self.digest.update(data)
        self.file.write(data)


def write_sealed(file: IO[bytes], content: Mapping[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dictionaries of them, and the hash of all of it.

    Args:
        file: Open for writing bytes; it is written from front to back.
        content: What `torch.load(weights_only=True)` can read back.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> write_sealed(file, {"epoch": 3})
        >>> file.getvalue()[-78:-64]
        b'seglab-sha256:'
    """
    sink = _Hashing(file)
    torch.save(dict(content), cast(IO[bytes], sink))  # it needs no more than write and flush
    sink.seal()


def read_sealed(path: Path) -> Any:
    """What `write_sealed` wrote, on the CPU; nothing in the file can run.

    A file that torch.save wrote alone, without a hash, is read if the checksums in it are right.

    Raises:
        ValueError: If a bit is not as it was written, or the file is packed in another way.
        zipfile.BadZipFile: If it is no such archive, or a cut one.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "state.pt"
        >>> with path.open("wb") as file:
        ...     write_sealed(file, {"epoch": 3})
        >>> read_sealed(path)
        {'epoch': 3}
    """
    _require_seal(path)
    _require_plain_zip(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _require_seal(path: Path) -> None:
    """Compare the hash at the end with the bytes before it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - SEAL))
        seal = file.read()
        if not seal.startswith(MARK):
            end = seal[-END_SIZE:]
            if end.startswith(END) and end.endswith(b"\0\0"):
                return  # as torch.save alone writes it
            raise ValueError("it is cut, or its end is damaged")
        file.seek(0)
        digest, left = hashlib.sha256(), size - 64
        while left:
            chunk = file.read(min(left, 2**20))
            if not chunk:
                raise ValueError("it is cut")
            digest.update(chunk)
            left -= len(chunk)
    if digest.hexdigest().encode() != seal[len(MARK) :]:
        raise ValueError("its bytes do not match the SHA-256 at its end")


def _require_plain_zip(path: Path) -> None:
    """Find what torch.load does not look for: flipped bits, and entries that unpack to more than the file holds."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which seglab never writes")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries claim more bytes than the file has")
        broken = archive.testzip()
        if broken:
            raise ValueError(f"the checksum of {broken} does not match")
