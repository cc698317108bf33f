"""What a server needs around Gradio: a private folder, a guard on uploads, limits on requests, and the models.

Gradio as it comes keeps uploads for ever in a folder that all Gradio programs of the machine share, and opens files
and addresses that it is told to. This file closes that, and knows nothing about the page; `seglab.access` looks at
every request before Gradio does.
"""

import atexit
import html
import os
import re
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from seglab.access import HOSTS, LOCAL, Access, Limits
from seglab.checkpoint import Description
from seglab.images import MAX_BYTES, ImageError
from seglab.inference import Predictor

__all__ = [
    "KEPT_BYTES",
    "KEPT_SECONDS",
    "find_models",
    "guard",
    "launch_options",
    "load_models",
    "new_folder",
    "prepare",
    "private_folder",
    "speak_of_requests",
    "sweep",
    "task_of",
    "titles",
    "uploaded",
    "write_preview",
]

KEPT_SECONDS = 3600  # how long uploads and results stay
PREVIEW_SIDE = 1600  # longest side of a picture sent to the page
KEPT_BYTES = 4 * 2**30  # how much of them, whatever their age
TASKS = {"skin": "Skin lesion", "steel": "Steel defect"}
OWN_TASK = "own"

_OPENING_UP = (  # Gradio reads these; each would open a door that the options below close
    "GRADIO_ALLOWED_PATHS", "GRADIO_SHARE", "GRADIO_MCP_SERVER", "GRADIO_VIBE_MODE", "GRADIO_WATCH_DIRS",
    "GRADIO_RUN_HISTORY", "GRADIO_ROOT_PATH", "GRADIO_SSR_MODE",
)  # fmt: skip


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


def sweep(age: float = KEPT_SECONDS, most: int = KEPT_BYTES) -> None:
    """Remove what in the private folder is older than `age` seconds, and of the rest the oldest above `most` bytes.

    Gradio forgets uploads that were broken off, and results that are not its own.
    """
    limit, total = time.time() - age, 0
    for path, status in sorted(_found(private_folder()), key=lambda pair: pair[1].st_ctime, reverse=True):
        is_folder = stat.S_ISDIR(status.st_mode)
        total += 0 if is_folder else status.st_size
        if status.st_ctime <= limit or (total > most and not is_folder):
            with suppress(OSError):  # a folder that is not empty, or a file somebody else just removed
                path.rmdir() if is_folder else path.unlink()


def _found(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything below a folder, files before their folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        with suppress(OSError):
            yield path, path.lstat()


def sweep_forever(every: float = 20.0) -> None:
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


def speak_of_requests(blocks: Any) -> Any:
    """Let a page's every event say in words what is wrong with a request; Gradio says `null` and logs the inputs.

    Args:
        blocks: The `gr.Blocks`, complete.

    Returns:
        The same page.
    """
    import gradio  # a heavy module
    from gradio.exceptions import ComponentProcessingError, InvalidPathError

    process = blocks.process_api

    async def process_api(*inputs: Any, **named: Any) -> Any:
        try:
            return await process(*inputs, **named)
        except gradio.Error as error:
            error.print_exception = False  # it holds what the visitor sent
            raise
        except InvalidPathError:
            raise spoken("Files must be uploaded first. Choose the file again.") from None
        except ImageError as error:
            raise spoken(error.message) from None
        except (ComponentProcessingError, TypeError, ValueError) as error:
            place = re.match(r"Could not preprocess input component at index (\d+) \(a `(\w+)`", str(error))
            which = f"Input {int(place[1]) + 1} (a {place[2]})" if place else "An input"
            raise spoken(f"{which} has a value of another kind than the page sends.") from None

    blocks.process_api = process_api
    return blocks


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


def launch_options(
    port: int | None, *, browser: bool = False, quiet: bool = False, access: Access = LOCAL
) -> dict[str, Any]:
    """Arguments for `Blocks.launch`: few doors, bounded requests, no telemetry, no error details."""
    from starlette.middleware import Middleware

    return {
        "server_name": access.host, "server_port": port, "inbrowser": browser, "share": False, "quiet": quiet,
        "show_error": False, "max_file_size": MAX_BYTES, "enable_monitoring": False, "run_history": False,
        "mcp_server": False, "ssr_mode": False, "pwa": False, "footer_links": [], "allowed_paths": [],
        "state_session_capacity": 16, "root_path": access.root_path or None,
        "_frontend": False,  # else a start on a busy computer fails when its own page takes more than three seconds
        "app_kwargs": {
            "openapi_url": None, "docs_url": None, "redoc_url": None,
            "middleware": [Middleware(Limits, access=access)],
        },
    }  # fmt: skip


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
