"""Fetching the published datasets from their official addresses: resumed, checked, unpacked whole or not at all.

What is checked: the number of bytes the server announced, the check sums inside the ZIP file, and a SHA-256 wherever
the caller gives one. The publishers name no hashes, so none are built in: the size and SHA-256 that were received are
written to `downloads.json` in the target folder, and a later download of the same archive must match them.

A download that was cut goes on where it stopped, if the server can tell that the file is still the same (an ETag or a
date); otherwise it starts again. Only https is used, and http to this machine itself, for tests and local mirrors.

PH2 is given out on request, as a RAR archive; `download` says where. Read the terms on the publishers' pages: none of
the archives is part of seglab.
"""

import hashlib
import http.client
import json
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from email.message import Message
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from tqdm import tqdm

from seglab.contract import require_name
from seglab.data import SPLIT_NAMES, isic2016, isic2017, isic2018
from seglab.data._annotations import read_object
from seglab.data._unpack import unpack
from seglab.files import atomic_text

__all__ = ["ARCHIVES", "download"]

ATTEMPTS = 4
WAIT_SECONDS = 2.0  # before going on after a cut
TIMEOUT_SECONDS = 30.0  # without a byte
CHUNK = 2**20
LOOPBACK = ("127.0.0.1", "localhost", "::1")
STEEL_COMMIT = "776c590eb90e1eef1c5cf0ea351bb66be5690dc3"
PH2_PAGE = "https://www.fc.up.pt/addi/ph2%20database.html"


class Archive(NamedTuple):
    """One ZIP file of a dataset."""

    host: str
    path: str
    part: str  # train, val, test, or all
    inner: str  # the folder in the ZIP that is wanted
    file: str  # the name the ZIP file gets here
    folder: str  # the name the folder gets here


class _CutError(Exception):
    """The connection ended early; trying again may help."""


def _isic(year: str, parts: Mapping[str, tuple[str, str]]) -> tuple[Archive, ...]:
    """The archives of one ISIC challenge: each is called like the folder inside."""
    host = "https://isic-challenge-data.s3.amazonaws.com"
    return tuple(
        Archive(host, f"/{year}/{folder}.zip", part, folder, f"{folder}.zip", folder)
        for part, folders in parts.items()
        for folder in folders
    )


ARCHIVES: Mapping[str, tuple[Archive, ...]] = {
    "isic2016": _isic("2016", isic2016.PARTS),
    "isic2017": _isic("2017", isic2017.PARTS),
    "isic2018": _isic("2018", isic2018.PARTS),
    "sd900": (
        Archive(
            "https://github.com",
            f"/SongGuorong/MCITF/archive/{STEEL_COMMIT}.zip",
            "all",
            f"MCITF-{STEEL_COMMIT}/SD-saliency-900",
            "MCITF.zip",
            "SD-saliency-900",
        ),
    ),
}


def download(
    name: str,
    out: str | Path,
    *,
    base: str | None = None,
    parts: Iterable[str] = SPLIT_NAMES,
    sha256: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Path:
    """Fetch a dataset, so that `load_dataset(name, out)` reads it.

    Folders that are there already are left alone: they appear only when they are whole. The ZIP files are deleted
    once they are unpacked. ISIC 2018 needs tens of gigabytes while it is unpacked.

    Args:
        name: `isic2016`, `isic2017`, `isic2018` or `sd900`. `ph2` raises the instructions.
        out: Folder to put the dataset's folders in; made if it is not there.
        base: Another server with the same paths, such as "http://127.0.0.1:8000".
        parts: Parts to fetch, of train, val and test, where a dataset is published in parts.
        sha256: Hash that a ZIP file must have, in hexadecimal, by the file's name.
        progress: Whether to draw a bar on standard error.

    Returns:
        `out`.

    Raises:
        ValueError: For an unknown name or part, `ph2`, an address that is not safe, or an archive with wrong size,
            hash, check sum or contents; a wrong archive is deleted.
        ConnectionError: If the server cannot be reached or ends early; says which address to open by hand.
        OSError: If there is too little space.

    Example:
        >>> download("ph2", "datasets")
        Traceback (most recent call last):
        ValueError: ph2 must be asked for at https://www.fc.up.pt/addi/ph2%20database.html...
    """
    require_name("dataset to download", name, [*ARCHIVES, "ph2"])
    if name == "ph2":
        raise ValueError(
            f"ph2 must be asked for at {PH2_PAGE}, it has no address for programs. Unpack its RAR archive to {out}, so "
            f"that {out}/PH2Dataset/PH2 Dataset images/IMD002 and so on are there."
        )
    wanted = set(parts)
    for part in wanted:
        require_name("part", part, SPLIT_NAMES)
    archives = [archive for archive in ARCHIVES[name] if archive.part in wanted | {"all"}]
    hashes = dict(sha256 or {})
    for file in hashes:
        require_name(f"archive of {name}", file, [archive.file for archive in archives])
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        if not (out / archive.folder).is_dir():
            url = (base or archive.host).rstrip("/") + archive.path
            _install(archive, url, out, hashes.get(archive.file), progress)
    return out


def _install(archive: Archive, url: str, out: Path, expected: str | None, progress: bool) -> None:
    """Fetch, check and unpack one archive."""
    part = out / f"{archive.file}.part"
    _fetch(url, part, progress)
    try:
        found = {"url": url, "bytes": part.stat().st_size, "sha256": _digest(part)}
        if expected is not None and found["sha256"] != expected.lower():
            raise ValueError(
                f"archive {url} must have the SHA-256 {expected.lower()}; got {found['sha256']}. It was deleted."
            )
        _require_same(archive.file, found, out)
        unpack(part, out / archive.folder, archive.inner)
    except ValueError:  # the bytes are wrong, and going on from them would keep them wrong
        _forget(part)
        raise
    _record(archive.file, found, out)
    _forget(part)


def _fetch(url: str, part: Path, progress: bool) -> None:
    """Receive a file into `part`, going on after cuts as long as every attempt brings something."""
    _require_safe(url)
    for attempt in range(ATTEMPTS):
        before = _size(part)
        try:
            _receive(url, part, progress)
            return
        except _CutError as error:
            if attempt + 1 == ATTEMPTS or _size(part) <= before:
                again = "Run the command again to go on from there" if _state(part, url) else "Try again later"
                raise ConnectionError(
                    f"{url} must arrive whole; {error}. {again}, or open the address by hand."
                ) from None
        time.sleep(WAIT_SECONDS)


def _receive(url: str, part: Path, progress: bool) -> None:
    """One attempt: ask for what is missing and append it."""
    state = _state(part, url)
    start = _size(part) if state else 0
    if state and start == state["total"]:
        return
    with _ask(url, start, state.get("validator", "")) as response:
        start, total = _place(response, start)
        if start == 0:
            part.unlink(missing_ok=True)  # before the new state: old bytes must never pass for the new file's
            _remember(part, url, total, response.headers)
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - start > free:
            raise OSError(f"folder {part.parent} must have {total - start} bytes free for {url}; got {free}.")
        _copy(response, part, start, total, progress)
    if total is not None and _size(part) != total:
        raise _CutError(f"got {_size(part)} of {total} bytes")


def _ask(url: str, start: int, validator: str) -> http.client.HTTPResponse:
    """Open the address; from byte `start` if the file is still the one that `validator` names."""
    headers = {"User-Agent": "seglab", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    handlers: list[urllib.request.BaseHandler] = [_SafeRedirects()]
    if urlsplit(url).hostname in LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy would look for the server on its own machine
    opener = urllib.request.build_opener(*handlers)
    try:
        answer: http.client.HTTPResponse = opener.open(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS
        )
        return answer
    except urllib.error.HTTPError as error:
        error.close()
        got = f"HTTP {error.code} {error.reason}"
    except urllib.error.URLError as error:
        got = str(error.reason)
    except (OSError, http.client.HTTPException) as error:
        got = str(error) or type(error).__name__
    raise ConnectionError(f"{url} must be reachable; got: {got}. Check the network, or open the address by hand.")


def _place(response: http.client.HTTPResponse, start: int) -> tuple[int, int | None]:
    """Where the answer's bytes belong, and the size of the whole file in bytes if the server says it."""
    length = response.headers.get("Content-Length", "")
    if response.status != 206:  # the server sends the whole file: it cannot resume, or the file is a new one
        return 0, int(length) if length.isdecimal() else None
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != start:
        raise ConnectionError(f"{response.url} must answer with the bytes from {start} on; got other ones. Try again.")
    return start, int(found[2])


def _copy(response: http.client.HTTPResponse, part: Path, start: int, total: int | None, progress: bool) -> None:
    """Append the answer to the file."""
    bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=not progress)
    with part.open("ab") as file, bar:
        while True:
            try:
                chunk = response.read(CHUNK)
            except http.client.IncompleteRead as error:
                file.write(error.partial)
                raise _CutError(f"got {file.tell()} bytes") from None
            except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException):
                raise _CutError(f"got {file.tell()} of {total or 'an unknown number of'} bytes") from None
            if not chunk:
                return
            file.write(chunk)
            bar.update(len(chunk))


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but only to safe addresses."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """The next request."""
        if urlsplit(req.full_url).hostname not in LOOPBACK and urlsplit(newurl).scheme != "https":
            raise ValueError(f"address {req.full_url} must lead to https addresses only; got {newurl}.")
        _require_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _require_safe(url: str) -> None:
    """Refuse everything but https, and http to this machine."""
    address = urlsplit(url)
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in LOOPBACK):
        raise ValueError(f"address {url} must begin with https://; got {address.scheme or 'no scheme'}.")


def _state(part: Path, url: str) -> dict[str, Any]:
    """What is known of a file begun earlier; empty if it cannot be gone on with."""
    note = _note(part)
    if not part.is_file() or not note.is_file():
        return {}
    try:
        state = read_object(note, "download note")
    except ValueError:
        return {}
    total = state.get("total")
    fits = state.get("url") == url and isinstance(state.get("validator"), str)
    return state if fits and isinstance(total, int) and 0 < _size(part) <= total else {}


def _remember(part: Path, url: str, total: int | None, headers: Message) -> None:
    """Note how to recognise the file at the server; without that it cannot be gone on with."""
    tag = headers.get("ETag", "")
    validator = tag if tag.startswith('"') else headers.get("Last-Modified", "")  # weak tags may not be used here
    _note(part).unlink(missing_ok=True)
    if validator and total is not None:
        atomic_text(_note(part), json.dumps({"url": url, "validator": validator, "total": total}))


def _require_same(file: str, found: Mapping[str, object], out: Path) -> None:
    """Compare with what was received the last time."""
    listing = out / "downloads.json"
    if not listing.exists():
        return
    old = read_object(listing, "list of downloads").get(file)
    if isinstance(old, dict) and old.get("sha256") != found["sha256"]:
        raise ValueError(
            f"archive {found['url']} must be the one of the last time, SHA-256 {old.get('sha256')}; got "
            f"{found['sha256']}. If its publisher replaced it, delete its entry in {listing} and try again."
        )


def _record(file: str, found: Mapping[str, object], out: Path) -> None:
    """Write down what was received."""
    listing = out / "downloads.json"
    known = read_object(listing, "list of downloads") if listing.exists() else {}
    atomic_text(listing, json.dumps({**known, file: found}, indent=2, sort_keys=True) + "\n")


def _digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note(part: Path) -> Path:
    """The file beside `part` that says where it comes from."""
    return part.with_name(f"{part.name}.json")


def _forget(part: Path) -> None:
    """Delete a received file and its note."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Bytes of a file, 0 if it is not there."""
    return path.stat().st_size if path.is_file() else 0
