"""Check the page with axe-core in every language: light, dark and 360 pixels wide, at first and with all opened.

    python tests/soak/axe.py [AXE.MIN.JS]     without a file, `npm pack axe-core` fetches it into a temporary folder

Not among the tests, because it needs npm and a network. Prints every violation; ends with 1 if there is one.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
LOOKS = ((1280, "light"), (1280, "dark"), (360, "light"), (360, "dark"))


def axe_source(folder: Path) -> str:
    """The text of axe.min.js, from the file named on the command line or from the registry."""
    if len(sys.argv) > 1:
        return Path(sys.argv[1]).read_text()
    packed = subprocess.run(["npm", "pack", "axe-core"], cwd=folder, check=True, capture_output=True, text=True)
    shutil.unpack_archive(folder / packed.stdout.split()[-1], folder)
    return (folder / "package" / "axe.min.js").read_text()


def said(page: Any, words: str) -> None:
    """Wait for the status line."""
    page.locator("#live").filter(has_text=words).wait_for(timeout=60_000)


def violations(page: Any, source: str, name: str) -> int:
    """Number of rules that are broken, each printed."""
    page.evaluate(source)
    found = page.evaluate("axe.run()")["violations"]
    for one in found:
        print(f"{name}: {one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}")
    print(f"{name}: {len(found)} violations")
    return len(found)


def start(text: str) -> str:
    """What a text of the page begins with, before its first value."""
    return text.split("{")[0]


def visit(page: Any, source: str, name: str, texts: Any) -> int:
    """Violations at the start, with everything opened, and in the Train tab."""
    words = texts.entries
    said(page, start(words["say.example"]))
    count = violations(page, source, f"{name}, start")
    page.get_by_role("button", name=words["disturb.title"]).click()
    page.locator("#disturb input[type=range]").first.fill("30")
    said(page, start(words["say.disturbed"]))
    page.get_by_role("button", name=words["every.button"]).click()
    page.locator("#everyone table").wait_for()
    for opened in ("paint.title", "slide.title", "many.title"):
        page.get_by_role("button", name=words[opened]).click()
    page.locator("#slide img").nth(1).wait_for()
    page.wait_for_timeout(1000)
    count += violations(page, source, f"{name}, all opened")
    page.get_by_role("tab", name=words["tab.train"]).click()
    page.get_by_role("radio", name=words["train.data.zip"]).check()
    page.get_by_role("button", name=words["train.more"]).click()
    page.locator("#zip").wait_for()
    page.wait_for_timeout(1000)
    return count + violations(page, source, f"{name}, training")


def main() -> int:
    """Serve the shipped models for skin, and visit the page in every language and look."""
    from playwright.sync_api import sync_playwright

    from seglab import page as seglab_page
    from seglab import serving
    from seglab.texts import LANGUAGES

    models = {name: one for name, one in serving.load_models().items() if name.startswith("skin")}
    address = seglab_page.launch(seglab_page.build_app(models), None, wait=False)
    chromium, count = os.environ.get("SEGLAB_CHROMIUM") or shutil.which("chromium"), 0
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        source = axe_source(Path(folder))
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        for code, texts in LANGUAGES.items():
            for width, theme in LOOKS:
                page = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion="reduce")
                page.goto(f"{address}{'' if code == 'en' else code}?__theme={theme}")
                count += visit(page, source, f"{code} {width} {theme}", texts)
                page.close()
        browser.close()
    return int(count > 0)


if __name__ == "__main__":
    raise SystemExit(main())
