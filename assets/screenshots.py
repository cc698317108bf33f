"""Take the screenshots of the app: the page in Chromium, with the shipped models and generated pictures.

    python assets/screenshots.py [FOLDER]

Writes first.png, result.png, error.png, phone.png, dark.png, german.png and train.png, each below 250 kB, to
assets/screenshots or another folder. Needs playwright and Chromium (SEGLAB_CHROMIUM, or `chromium` on the path).
"""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
LIMIT = 250_000  # bytes


def said(page: Any, words: str) -> None:
    """Wait for the status line, and for the pictures."""
    page.locator("#live").filter(has_text=words).wait_for(timeout=120_000)
    page.wait_for_function("() => [...document.images].every(one => one.complete)")
    page.wait_for_timeout(1500)


def first(page: Any) -> None:
    """What a visitor sees without a click."""
    said(page, "Example shown")
    page.locator("#download:not([disabled])").wait_for(timeout=120_000)


def result(page: Any) -> None:
    """Where the attention model looks, and how much it lets through."""
    said(page, "Example shown")
    page.get_by_role("radio", name="Attention", exact=True).check()
    said(page, "View: Attention")


def error(page: Any) -> None:
    """What is said of a file that is cut short."""
    said(page, "Example shown")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.png"
        content = io.BytesIO()
        Image.effect_noise((64, 64), 40).save(content, format="PNG")
        file.write_bytes(content.getvalue()[:900])
        page.locator("#picture button[aria-label='Remove Image']").click()
        page.locator("#picture input[type=file]").set_input_files(file)
        page.locator("#live").filter(has_text="damaged or cut short").wait_for()
        page.wait_for_timeout(1000)


def german(page: Any) -> None:
    """The page in German."""
    said(page, "Beispiel:")


def train(page: Any) -> None:
    """The Train tab."""
    said(page, "Example shown")
    page.get_by_role("tab", name="Train").click()
    page.wait_for_timeout(1500)


# name: (what is done, address, width and height of the window, theme)
SHOTS: dict[str, tuple[Callable[[Any], None], str, tuple[int, int], str]] = {
    "first": (first, "", (1280, 1240), "light"),
    "result": (result, "", (1280, 1100), "light"),
    "error": (error, "", (1280, 620), "light"),
    "phone": (first, "", (360, 1500), "light"),
    "dark": (first, "", (1280, 1000), "dark"),
    "german": (german, "de", (1280, 1000), "light"),
    "train": (train, "", (1280, 1000), "light"),
}


def store(path: Path, content: bytes) -> None:
    """Write a screenshot with all its colours, or as many as the limit allows."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    for colours in (None, 256, 192, 128, 96, 64):
        small = io.BytesIO()
        # Without the clustering, rare colours go, such as the ends of a scale.
        fewer = picture if colours is None else picture.quantize(colours, kmeans=2, dither=Image.Dither.NONE)
        fewer.save(small, format="PNG", optimize=True)
        if small.tell() < LIMIT:
            path.write_bytes(small.getvalue())
            print(f"{path.name}: {picture.width} x {picture.height}, {small.tell() / 1000:.0f} kB, {colours} colours")
            return
    raise ValueError(f"{path.name} must be below {LIMIT} bytes; got {small.tell()}.")


def main() -> int:
    """Serve the page and take every screenshot."""
    from playwright.sync_api import sync_playwright

    from seglab import page as seglab_page
    from seglab import serving

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "assets" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    address = seglab_page.launch(seglab_page.build_app(serving.load_models()), None, wait=False)
    chromium = os.environ.get("SEGLAB_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        for name, (act, path, (width, height), theme) in SHOTS.items():
            page = browser.new_page(viewport={"width": width, "height": height}, reduced_motion="reduce")
            page.goto(f"{address}{path}?__theme={theme}")
            act(page)
            store(folder / f"{name}.png", page.screenshot(animations="disabled"))
            page.close()
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
