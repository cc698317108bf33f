"""A lesson in JupyterLab in headless Chromium: figures before anything runs, live controls after Run All.

Screenshots go to the folder named by SEGLAB_SCREENSHOTS, if it is set.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, free_port
from lessons import LESSONS, copied, outputs_of, read

pytestmark = pytest.mark.browser

SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is on the page, also those far below
    "apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
}
SECONDS = 600  # of waiting at most, on a busy computer


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a JupyterLab over copies of the lessons, as from a fresh clone: it trusts none of them."""
    folder = tmp_path_factory.mktemp("lab")
    copied(LESSONS[0], folder)
    for path in LESSONS[1:]:
        shutil.copy(path, folder / "notebooks" / path.name)
    for name, settings in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    own = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    surroundings = {name: value for name, value in os.environ.items() if name != "SEGLAB_WIDGETS"} | own
    port = free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    surroundings["PYTHONPATH"] = str(Path(__file__).parents[1])
    with open(folder / "log.txt", "w") as log:
        server = subprocess.Popen(command, env=surroundings, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    for _ in range(SECONDS):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            break
        except OSError:
            assert server.poll() is None, (folder / "log.txt").read_text()
            time.sleep(1)
    yield address
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(viewport={"width": 1280, "height": 1000}) as context:
        context.set_default_timeout(1000 * SECONDS)
        yield context


def shot(locator: Any, name: str) -> None:
    """A screenshot for people to look at."""
    if folder := os.environ.get("SEGLAB_SCREENSHOTS"):
        locator.scroll_into_view_if_needed()
        locator.screenshot(path=Path(folder) / f"{name}.png")


# Running every lesson once more, in a browser, takes minutes: `python -m pytest -m long` does it.
CHECKED = [path if path.stem[:2] in ("01", "04") else pytest.param(path, marks=pytest.mark.long) for path in LESSONS]


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: path.stem)
def test_a_lesson_is_readable_before_and_live_after_it_runs(path: Path, lab: str, browser: Any) -> None:
    stored = sum("image/png" in output.get("data", {}) for output in outputs_of(read(path)))
    page = browser.new_page()
    page.goto(f"{lab}/lab/workspaces/{path.stem}/tree/notebooks/{path.name}")
    figures = page.locator(".jp-OutputArea-output img[src^='data:image/png']")
    figures.nth(stored - 1).wait_for()
    assert figures.count() == stored
    page.locator(".jp-OutputArea-output details").first.wait_for()  # the folded answer
    assert page.locator(".widget-slider").count() == 0
    page.set_viewport_size({"width": 1280, "height": 9000})
    shot(page.locator(".jp-Notebook").first, f"{path.stem}-before")
    page.set_viewport_size({"width": 1280, "height": 1000})

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    picture = page.locator(".jupyter-widgets img[alt]")
    picture.wait_for()
    assert picture.count() == 1
    before, alt = picture.get_attribute("src"), picture.get_attribute("alt")
    number = page.locator(".widget-text input[type=number]").first
    ends = [number.get_attribute("max") or "0.3", number.get_attribute("min") or "0"]
    number.fill(ends[number.input_value() == ends[0]])  # the end where it is not
    number.press("Enter")
    page.wait_for_function("src => document.querySelector('.jupyter-widgets img[alt]').src !== src", arg=before)
    assert picture.get_attribute("alt") != alt
    shot(page.locator(".jp-OutputArea-child:has(.widget-slider)").first, f"{path.stem}-live")

    commit = page.get_by_role("button", name="Commit")
    assert commit.is_disabled()
    page.locator(".widget-radio-box input").last.check()
    commit.click()
    said = page.locator(".widget-html [role=status]", has_text="predicted")
    said.wait_for()
    assert commit.is_disabled()
    shot(page.locator(".jp-OutputArea-child:has(.widget-radio-box)").first, f"{path.stem}-predicted")
    page.close()
