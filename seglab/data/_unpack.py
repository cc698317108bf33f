"""Unpacking a ZIP file from elsewhere: every name and size is checked before the first byte is written."""

import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

__all__ = ["unpack"]

MAX_BYTES = 2**36  # 64 GiB unpacked, far above any of the published archives
MAX_FILES = 200_000


def unpack(archive: Path, target: Path, inner: str = "") -> None:
    """Unpack a ZIP file; `target` appears whole or not at all.

    Args:
        archive: The ZIP file.
        target: Folder to make; it must not exist, and the folder it lies in must.
        inner: Folder in the archive that becomes `target`; the rest is not unpacked. If there is none of that name,
            the only folder at the top is taken, else everything.

    Raises:
        ValueError: If the file is no ZIP file or damaged, is encrypted, unpacks to too much, or holds a link, a
            special file, a name twice, or a name that leads out of the folder.
        OSError: If there is too little space.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with zipfile.ZipFile(folder / "a.zip", "w") as bundle:
        ...     bundle.writestr("outer/note.txt", "text")
        >>> unpack(folder / "a.zip", folder / "result", "outer")
        >>> [path.name for path in (folder / "result").iterdir()]
        ['note.txt']
    """
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = _under(bundle.infolist(), inner)
            _require_safe(members, archive)
            _require_space(members, target.parent, archive)
            for member in members:
                _extract(bundle, member, building)
        source = _wanted(building, inner)
        source.chmod(0o755)  # mkdtemp makes private folders
        os.replace(source, target)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        FileExistsError,
        NotADirectoryError,
    ) as error:
        raise ValueError(
            f"archive {archive} must be a whole ZIP file; got an error: {error}. Fetch it again."
        ) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _under(members: list[zipfile.ZipInfo], inner: str) -> list[zipfile.ZipInfo]:
    """The members in a folder, or all of them if there is no such folder."""
    return [member for member in members if inner and member.filename.startswith(f"{inner}/")] or members


def _require_safe(members: list[zipfile.ZipInfo], archive: Path) -> None:
    """Refuse names, kinds and sizes that no dataset needs."""
    if not members:
        raise ValueError(f"archive {archive} must hold files; got none.")
    if len(members) > MAX_FILES or sum(member.file_size for member in members) > MAX_BYTES:
        raise ValueError(f"archive {archive} must unpack to at most {MAX_FILES} files and {MAX_BYTES} bytes; got more.")
    seen: set[PurePosixPath] = set()
    for member in members:
        name = PurePosixPath(member.filename)
        if name.is_absolute() or ".." in name.parts or set(member.orig_filename) & set("\\:\0") or not name.parts:
            raise ValueError(f"archive {archive} must hold names inside its own folder; got {member.filename!r}.")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or member.flag_bits & 1:
            raise ValueError(f"archive {archive} must hold plain files and folders; got {member.filename!r}.")
        if name in seen:
            raise ValueError(f"archive {archive} must hold every name once; got {member.filename!r} twice.")
        seen.add(name)


def _require_space(members: list[zipfile.ZipInfo], folder: Path, archive: Path) -> None:
    """Refuse to begin what cannot end."""
    needed = sum(member.file_size for member in members)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"folder {folder} must have {needed} bytes free to unpack {archive}; got {free}.")


def _extract(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one file or folder; reading checks its size and check sum."""
    path = folder.joinpath(*PurePosixPath(member.filename).parts)
    if member.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with bundle.open(member) as source, path.open("xb") as file:
        shutil.copyfileobj(source, file, 2**20)


def _wanted(building: Path, inner: str) -> Path:
    """The folder of an unpacked archive that holds the dataset."""
    if inner and (building / inner).is_dir():
        return building / inner
    there = [path for path in building.iterdir() if path.name != "__MACOSX"]
    return there[0] if len(there) == 1 and there[0].is_dir() else building
