"""`seglab app` in a process of its own, with two small models, watched from within; and a client that is no browser.

Run as a script it starts the app with the options it is given, and writes down every look at another computer, every
program started and every opening of a file with `decoy` in its name.
"""

import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LOG = "SEGLAB_TEST_LOG"
OWN = ("127.", "localhost", "::1", "0.0.0.0")


class RefusedError(Exception):
    """The app answered with an error; its words are the text."""


class BusyError(RefusedError):
    """The app said that it is busy."""


class Client:
    """Programs that talk to the app; they keep no connection open."""

    def __init__(self, port: int, host: str = "") -> None:
        self.port, self.host = port, host or f"127.0.0.1:{port}"

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, wait: float = 300
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request; dictionaries go as JSON."""
        headers = {"Host": self.host, **(headers or {})}
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=wait)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if isinstance(body, bytes) and "Content-Length" not in headers:
                headers["Content-Length"] = str(len(body))
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body, encode_chunked=headers.get("Transfer-Encoding") == "chunked")
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def upload(self, name: str, content: bytes) -> str:
        """The path that the server gives an uploaded file."""
        body, kind = form(("files", name, content))
        status, _, answer = self.ask("POST", "/gradio_api/upload", body, kind)
        if status != 200:
            raise (BusyError if status == 503 else RefusedError)(answer.decode())
        return str(json.loads(answer)[0])

    def compare(
        self, picture: str | None, mask: str | None = None, models: Any = ("plain", "cbam"), threshold: Any = 0.5
    ) -> list[Any]:
        """The answer of `/compare`: numbers and a ZIP."""
        data = [file(picture), file(mask), list(models) if isinstance(models, tuple) else models, threshold]
        status, _, answer = self.ask("POST", "/gradio_api/call/compare", {"data": data})
        if status != 200:
            raise (BusyError if status == 503 else RefusedError)(answer.decode())
        event = json.loads(answer)["event_id"]
        status, _, answer = self.ask("GET", f"/gradio_api/call/compare/{event}", wait=300)
        for kind, text in said(answer):
            if kind == "complete":
                return list(json.loads(text))
            if kind == "error":
                raise RefusedError(text)
        raise RefusedError(f"status {status}, no answer: {answer[:300]!r}")

    def event(self, index: int, data: list[Any], session: str = "") -> dict[str, Any]:
        """What the page itself would get for one of its events, by number."""
        session = session or secrets.token_hex(6)
        body = {"data": data, "fn_index": index, "session_hash": session, "event_data": None, "trigger_id": None}
        status, _, answer = self.ask("POST", "/gradio_api/queue/join", body)
        if status != 200:
            raise (BusyError if status == 503 else RefusedError)(answer.decode())
        _, _, answer = self.ask("GET", f"/gradio_api/queue/data?session_hash={session}", wait=300)
        messages = [json.loads(text) for _, text in said(answer)]
        return next(one for one in messages if one["msg"] == "process_completed")

    def fetch(self, path: str) -> bytes:
        """A file that an answer named."""
        status, _, content = self.ask("GET", f"/gradio_api/file={path}")
        if status != 200:
            raise RefusedError(f"{status}")
        return content


def form(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a form: name, file name, content."""
    mark = secrets.token_hex(12)
    body = b""
    for name, filename, content in parts:
        quoted = "" if filename is None else f'; filename="{filename}"'
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{quoted}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + f"--{mark}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={mark}"}


def file(path: str | None) -> dict[str, Any] | None:
    """A file as Gradio names it in a request."""
    return None if path is None else {"path": path, "meta": {"_type": "gradio.FileData"}}


def said(answer: bytes) -> Iterator[tuple[str, str]]:
    """Kind and text of every message of an event stream."""
    for block in answer.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in lines:
            yield lines.get("event", ""), lines["data"]


class Server(NamedTuple):
    """A running app."""

    port: int
    process: subprocess.Popen[bytes]
    folder: Path  # where its private folder is
    log: Path

    def watched(self) -> str:
        """What the watch has written."""
        return self.log.read_text()

    def kept(self) -> list[Path]:
        """Files in the private folder."""
        return [path for path in self.folder.glob("seglab-app-*/**/*") if path.is_file()]

    def printed(self) -> str:
        """What the app has printed."""
        return (self.folder / "printed").read_text()


@contextlib.contextmanager
def served(folder: Path, port: int, *options: str, shipped: bool = False) -> Iterator[Server]:
    """The app on a port of this computer, ended with SIGTERM."""
    log = folder / "watched.log"
    log.touch()
    environment = {**os.environ, "TMPDIR": str(folder), LOG: str(log), "OMP_NUM_THREADS": "1"}
    models = ["shipped"] if shipped else [str(path) for path in small_models(folder)]
    command = [sys.executable, __file__, *models, "--", "--port", str(port), *options]
    with (folder / "printed").open("wb") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, env=environment, cwd=folder)
    server = Server(port, process, folder, log)
    try:
        _wait(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()


def _wait(server: Server) -> None:
    """Until the page answers."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise AssertionError(server.printed())
        with contextlib.suppress(OSError):
            if Client(server.port).ask("GET", "/")[0] == 200:
                server.log.write_text("")  # what importing did is not a visitor's doing
                return
        time.sleep(0.1)
    raise AssertionError("the app did not start")


def small_models(folder: Path) -> list[Path]:
    """Two small models with names that end in what they are."""
    import torch

    from seglab.checkpoint import Description, save_model
    from seglab.models import build_model

    torch.manual_seed(0)
    paths = []
    for name, knobs in (("plain", {"width": 4}), ("cbam", {"width": 4, "cbam": ["bottleneck"]})):
        paths.append(folder / f"{name}.safetensors")
        model = build_model("unet", 1, **knobs)
        save_model(paths[-1], model, Description("unet", knobs, 1, ("background", "object"), 64, name))
    return paths


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Write down what no visitor may bring about."""
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        place = arguments[0] if event == "socket.getaddrinfo" else arguments[-1]
        host = place[0] if isinstance(place, tuple) else place
        if not str(host).startswith(OWN) and host not in (None, "", b"localhost", b"127.0.0.1"):
            _note(f"outside {event} {place!r}")
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
        _note(f"program {event} {arguments!r:.200}")
    elif event == "open" and "decoy" in str(arguments[0]):
        _note(f"opened {arguments[0]!r}")


def _note(line: str) -> None:
    with os.fdopen(os.open(os.environ[LOG], os.O_APPEND | os.O_WRONLY), "w") as log:
        log.write(line + "\n")


def main(words: list[str]) -> int:
    """Start the app; the words before `--` are models."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal: behind `&` in a script it is ignored
    sys.path.insert(0, str(ROOT))
    sys.addaudithook(watch)
    from seglab import serving
    from seglab.cli import main as seglab

    at = words.index("--")
    models = words[:at]
    if models != ["shipped"]:
        serving.find_models = list
    return seglab(["app", *words[at + 1 :], *(["--models", *models] if models != ["shipped"] else [])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
