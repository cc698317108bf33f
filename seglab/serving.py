"""What a server needs around Gradio: a private folder, a guard on uploads, limits on requests, and the models.

Gradio as it comes keeps uploads for ever in a folder that all Gradio programs of the machine share, reads whole
request bodies into memory and sends no security headers. This file closes that, and knows nothing about the page.
"""

import atexit
import html
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from seglab.checkpoint import Description
from seglab.images import MAX_BYTES, ImageError
from seglab.inference import Predictor

__all__ = [
    "KEPT_SECONDS",
    "Limits",
    "find_models",
    "guard",
    "launch_options",
    "load_models",
    "new_folder",
    "prepare",
    "private_folder",
    "sweep",
    "task_of",
    "titles",
    "uploaded",
    "write_preview",
]

KEPT_SECONDS = 3600  # how long uploads and results stay
PREVIEW_SIDE = 1600  # longest side of a picture sent to the page
UPLOAD_BODY, OTHER_BODY = MAX_BYTES + 4 * 2**20, 2**20  # bytes of one request; 4 MB for the form around the file
HOSTS = ["127.0.0.1", "localhost"]
TASKS = {"skin": "Skin lesion", "steel": "Steel defect"}
OWN_TASK = "own"

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_OPENING_UP = (  # Gradio reads these; each would open a door that the options below close
    "GRADIO_ALLOWED_PATHS", "GRADIO_SHARE", "GRADIO_MCP_SERVER", "GRADIO_VIBE_MODE", "GRADIO_WATCH_DIRS",
    "GRADIO_RUN_HISTORY", "GRADIO_ROOT_PATH", "GRADIO_SSR_MODE",
)  # fmt: skip

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def prepare() -> None:
    """Set what Gradio reads from the environment: no telemetry, no open doors, a private folder."""
    for name in _OPENING_UP:
        os.environ.pop(name, None)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(private_folder())
    for name in ("NO_PROXY", "no_proxy"):  # Gradio calls its own address when it starts; a proxy would make that fail
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), *HOSTS)))


@cache
def private_folder() -> Path:
    """The folder of this process for uploads and results, readable by its user only, removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="seglab-app-")).resolve()  # mkdtemp makes it 0700
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def new_folder(prefix: str = "run") -> Path:
    """A new folder for results; the page may show files in it, and `sweep` removes them."""
    return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=private_folder()))


def sweep(age: float = KEPT_SECONDS) -> None:
    """Remove everything in the private folder that is older than `age` seconds.

    Gradio forgets uploads that were broken off, and results that are not its own.
    """
    limit = time.time() - age
    for path in sorted(private_folder().rglob("*"), reverse=True):  # files come before their folder
        try:
            if path.lstat().st_ctime > limit:
                continue
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError:
            continue  # a folder that is not empty, or a file somebody else just removed


def sweep_forever(every: float = 60.0) -> None:
    """Start a thread that sweeps as long as the process lives."""

    def work() -> None:
        while True:
            time.sleep(every)
            sweep()

    threading.Thread(target=work, daemon=True, name="seglab-sweep").start()


def guard(component: Any, what: str) -> Any:
    """Let a Gradio component pass on only files that were uploaded to this server, undecoded, as a Path.

    The methods are replaced on the instance: a subclass would need a front end of its own. Gradio rebuilds a
    component whose handler returns an update (`gr.update`, `gr.skip`, a dictionary) and the guard is then lost for
    that visitor, so handlers give guarded components plain values only.

    Args:
        component: A `gr.Image`, or a `gr.File` for one file or many.
        what: The word for it in messages.

    Returns:
        The same component.
    """
    move = component.async_move_resource_to_block_cache

    def preprocess(payload: Any) -> Path | list[Path | None] | None:
        if payload is None:
            return None
        if isinstance(getattr(payload, "root", None), list):
            return [one for file in payload.root if isinstance(one := preprocess(file), Path)]
        try:
            return uploaded(getattr(payload, "path", None), what)
        except ImageError as error:
            raise spoken(error.message) from None

    async def local_only(path: Any) -> Any:
        if str(path).lower().startswith(("http:", "https:")):
            raise spoken(f"The {what} must be uploaded as a file; links are not fetched.")
        return await move(path)

    component.preprocess = preprocess
    component.async_move_resource_to_block_cache = local_only
    return component


def uploaded(path: str | Path | None, what: str) -> Path:
    """The path, if it is a file that the upload route (or an example) put into the private folder.

    Raises:
        ImageError: If it is anything else.
    """
    folder = private_folder()
    real = Path(path).resolve() if path else Path()
    inside = real.parent.parent == folder and re.fullmatch(r"[0-9a-f]{64}|examples-\w+", real.parent.name)
    if not inside or not real.is_file():
        raise ImageError(f"The {what} must be uploaded as a file. Choose the file again.")
    return real


def spoken(message: str) -> Exception:
    """The message as an error that the visitor sees until closing it; nothing is logged."""
    import gradio  # a heavy module

    return gradio.Error(html.escape(message), duration=None, print_exception=False)


def write_preview(path: Path, picture: Any) -> Path:
    """Write a picture (H, W, 3) uint8 as PNG, its long side at most PREVIEW_SIDE pixels."""
    import cv2  # a heavy module

    scale = PREVIEW_SIDE / max(picture.shape[:2])
    if scale < 1:
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    # A preview lives for an hour on this computer, so time matters more than bytes: these take half of level 1's time.
    quick = (
        (cv2.IMWRITE_PNG_COMPRESSION, 1),
        (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB),
    )
    done, content = cv2.imencode(".png", picture[..., ::-1], [value for pair in quick for value in pair])
    if not done:
        raise ImageError("The result could not be written as PNG.")
    path.write_bytes(content.tobytes())
    return path


def launch_options(port: int | None, *, browser: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Arguments for `Blocks.launch`: this computer only, bounded requests, no telemetry, no error details."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(Limits)]
    return {
        "server_name": "127.0.0.1", "server_port": port, "inbrowser": browser, "share": False, "quiet": quiet,
        "show_error": False, "max_file_size": MAX_BYTES, "enable_monitoring": False, "run_history": False,
        "mcp_server": False, "ssr_mode": False, "pwa": False, "footer_links": [], "allowed_paths": [],
        "state_session_capacity": 16,
        "app_kwargs": {"openapi_url": None, "docs_url": None, "redoc_url": None, "middleware": middleware},
    }  # fmt: skip


class Limits:
    """ASGI middleware: bounded bodies, no writes from other sites, security headers on every answer."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = _refusal(scope["method"], headers, _body_limit(scope["path"]))
        if refusal:
            await _answer(send, *refusal)
            return
        await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and break it off when its body grows above the limit."""
        limit, seen, started = _body_limit(scope["path"]), 0, False

        async def count() -> MutableMapping[str, Any]:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return message if seen <= limit else {"type": "http.disconnect"}

        async def dress(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if seen > limit and not started:
                return  # what the app makes of the broken-off body; the answer below is the right one
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), *_raw_headers()]
            await send(message)

        try:
            await self.app(scope, count, dress)
        except Exception:
            if seen <= limit:
                raise
        if seen > limit and not started:
            await _answer(send, 413, "The request is too large.")


def _body_limit(path: str) -> int:
    """Bytes that a request to this path may have."""
    return UPLOAD_BODY if path.rstrip("/").endswith("/upload") else OTHER_BODY


def _refusal(method: str, headers: Mapping[str, str], limit: int) -> tuple[int, str] | None:
    """Status and words if a request is refused before its body is read."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return None
    # Browsers send this header with every request and a page cannot change it; other programs leave it out.
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return 403, "Requests from other sites are refused."
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limit:
        return 413, f"The request must have at most {limit // 2**20} MB."
    return None


async def _answer(send: Send, status: int, text: str) -> None:
    """Send a short answer in JSON, as Gradio's own refusals are."""
    headers = [(b"content-type", b"application/json"), (b"connection", b"close"), *_raw_headers()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f'{{"detail": "{text}"}}'.encode()})


def _raw_headers() -> list[tuple[bytes, bytes]]:
    """HEADERS as ASGI wants them."""
    return [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def find_models() -> list[Path]:
    """The shipped models by task, those without attention first."""
    inside, beside = Path(__file__).parent / "_assets", Path(__file__).parents[1] / "assets" / "models"
    files = (inside if inside.is_dir() else beside).glob("*.safetensors")  # inside in a wheel, beside in a repository
    return sorted(
        files, key=lambda file: (file.stem.split("-")[0], "cbam" in file.stem, "plain" not in file.stem, file.stem)
    )


def load_models(own: Sequence[str | Path] = ()) -> dict[str, Predictor]:
    """Predictors of your own models and the shipped ones, by a short unique name.

    A shipped model that cannot be read is left out with a line on stderr; one of your own is an error.

    Raises:
        FileNotFoundError: If one of `own` does not exist.
        ValueError: If one of `own` is not a whole seglab checkpoint.
    """
    predictors: dict[str, Predictor] = {}
    for path in map(Path, own):
        stem = path.resolve().parent.name if path.name == "best.safetensors" else path.stem
        name = stem if stem not in predictors else f"{stem} {len(predictors) + 1}"
        predictors[name] = Predictor.load(path)
    for path in find_models():
        try:
            predictors.setdefault(path.stem, Predictor.load(path))
        except (OSError, ValueError) as error:
            print(f"seglab: left out: {error}", file=sys.stderr)
    return predictors


def titles(predictors: Mapping[str, Predictor]) -> dict[str, str]:
    """What the page calls each model: its checkpoint's title, with the short name where two have the same."""
    given = {name: _title(name, getattr(one, "description", None)) for name, one in predictors.items()}
    every = list(given.values())
    return {name: title if every.count(title) == 1 else f"{title} [{name}]" for name, title in given.items()}


def task_of(name: str, predictor: Predictor) -> str:
    """`skin`, `steel` or `own`: by the model's card, else by the beginning of its name."""
    description: Description | None = getattr(predictor, "description", None)
    card = description.card.get("task") if description else None
    prefix = re.split(r"[-_ ]", name, maxsplit=1)[0]
    return next((task for task in (card, prefix) if task in TASKS), OWN_TASK)


def _title(name: str, description: Description | None) -> str:
    """Title of one model."""
    return (description.title if description else "") or name
