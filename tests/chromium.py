"""A headless Chromium for the browser tests, its pages watched, and a free port for what it looks at."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

__all__ = ["chromium", "free_port", "watched"]

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # as with the network unplugged
]  # fmt: skip


@contextmanager
def chromium(**options: Any) -> Iterator[Any]:
    """A browser with a fresh profile that is removed at the end; the test is skipped, or fails, where there is none."""
    path = os.environ.get("SEGLAB_CHROMIUM") or shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright must be installed; got none.")
    if not path:
        missing("Chromium must be installed; got none.")
    with sync_playwright() as play, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        context = play.chromium.launch_persistent_context(
            profile, executable_path=path, headless=True, reduced_motion="reduce", args=FLAGS, **options
        )
        yield context
        context.close()


@contextmanager
def watched(context: Any, address: str, *, width: int = 1280) -> Iterator[Any]:
    """A new page; afterwards, it may have asked nobody but the address, and no script may have failed.

    Requests are only listened to: a page whose requests are routed loads everything anew each time.
    """
    page, outside, errors = context.new_page(), [], []
    page.set_viewport_size({"width": width, "height": 900})

    def note(request: Any) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            outside.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    yield page
    if not page.is_closed():
        page.close()
    assert outside == []
    assert errors == []


def missing(reason: str) -> NoReturn:
    """Skip, or fail where the browser is required."""
    if os.environ.get("SEGLAB_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """A port of this computer that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
