"""The Train tab in headless Chromium: a training that is watched, one that is stopped, one that is left alone.

Screenshots go to the folder named by SEGLAB_SCREENSHOTS, if it is set; all pictures in them are generated.
"""

import io
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium, free_port, watched
from colour_model import Colour
from PIL import Image

pytest.importorskip("gradio")

from seglab import Predictor, classroom, load_dataset
from seglab import page as seglab_page

pytestmark = pytest.mark.browser

ROOMS: list[classroom.Classroom] = []


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    def small_room() -> classroom.Classroom:
        ROOMS.append(classroom.Classroom(count=(8, 3, 3)))
        return ROOMS[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seglab_page, "Classroom", small_room)
        blocks = seglab_page.build_app({"skin-plain": Predictor(Colour(beyond_green=True), size=96)})
    yield seglab_page.launch(blocks, free_port(), wait=False)
    ROOMS[-1].close()
    blocks.close()


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    with chromium(locale="en-GB") as context:
        yield context


@pytest.fixture
def page(context: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The Train tab; afterwards, no outside request and no script error may have happened."""
    with watched(context, address, width=getattr(request, "param", 1280)) as page:
        page.set_default_timeout(120_000)
        page.goto(address)
        page.get_by_role("tab", name="Train").click()
        page.locator("#train-start").wait_for()
        yield page


def said(page: Any, words: str) -> str:
    """Wait for the status line; what it says."""
    line = page.locator("#train-live").filter(has_text=words)
    line.wait_for()
    return str(line.inner_text())


def begin(page: Any, epochs: int) -> None:
    """Train the smallest model, by keys and labels as they are read out."""
    page.get_by_role("button", name="Width, picture side").click()
    page.get_by_role("radio", name="4", exact=True).check()
    page.get_by_role("radio", name="64", exact=True).check()
    page.get_by_role("spinbutton", name="Epochs").fill(str(epochs))
    page.get_by_role("button", name="Train", exact=True).focus()
    page.keyboard.press("Enter")


def pixels(page: Any, selector: str) -> np.ndarray:
    """The picture at a place of the page, as the browser gets it."""
    image = page.locator(selector)
    image.wait_for()
    page.wait_for_function("e => e.complete && e.naturalWidth > 0", arg=image.element_handle())
    return np.array(Image.open(io.BytesIO(page.request.get(image.get_attribute("src")).body())).convert("RGB"))


def shot(page: Any, name: str) -> None:
    folder = os.environ.get("SEGLAB_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/train-{name}.png", full_page=True, animations="disabled")


def test_a_model_is_trained_watched_and_compared(page: Any, tmp_path: Path) -> None:
    begin(page, 2)
    page.get_by_role("button", name="Stop, keep the best model").wait_for()
    assert "2 epochs" in said(page, "Done:")
    for name in ("loss", "dice", "outline", "error"):
        assert pixels(page, f"#train-{name} img").std() > 5
    assert "after epoch 2" in page.locator("#train-outline img").get_attribute("alt")
    assert page.locator("#spoken").inner_text().startswith("Done: 2 epochs")
    assert "One run is not evidence." in page.locator("#train-result").inner_text()
    shot(page, "done")
    with page.expect_download() as download:
        page.locator("#train-file").click()
    download.value.save_as(tmp_path / "best.safetensors")
    assert Predictor.load(tmp_path / "best.safetensors").name == "Mine 1: U-Net"
    with page.expect_download() as download:
        page.locator("#train-card").click()
    assert "# Mine 1: U-Net" in Path(download.value.path()).read_text()
    page.get_by_role("button", name="Compare it now").click()
    assert page.get_by_role("checkbox", name="Mine 1: U-Net").is_checked()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.locator("#numbers").filter(has_text="Mine 1: U-Net").wait_for()
    assert page.locator("#numbers th", has_text="Difference").count() == 1
    shot(page, "compared")


@pytest.mark.parametrize("page", [360], indirect=True)
def test_a_long_training_is_stopped_and_leaving_the_page_ends_one(context: Any, page: Any, address: str) -> None:
    begin(page, 50)
    said(page, "Starting")
    other = context.new_page()  # a second visitor
    other.goto(address)
    other.get_by_role("tab", name="Train").click()
    other.get_by_role("button", name="Train", exact=True).click()
    assert "In the line, 1 before you." in said(other, "starts by itself")
    shot(other, "line")
    other.get_by_role("button", name="Leave the line").click()
    said(other, "You have left the line.")
    other.get_by_role("button", name="Train", exact=True).wait_for()
    other.close()
    said(page, " of 50. Dice")
    page.get_by_role("button", name="Stop, keep the best model").click()
    assert "of 50 epochs; the best of them" in said(page, "Stopped after")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    shot(page, "phone")
    page.get_by_role("button", name="Train", exact=True).click()
    said(page, "Starting")
    running = [one for trainings in ROOMS[-1]._trainings.values() for one in trainings if one.running]
    assert len(running) == 1
    page.close()
    deadline = time.monotonic() + 60
    while running[0].folder.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not running[0].running
    assert not running[0].folder.exists()


def test_a_zip_is_examined_before_it_may_be_trained_on(page: Any, tmp_path: Path) -> None:
    data = load_dataset("synthetic", count=(12, 1, 1), size=48).train
    for name, rows in (("bad", 20), ("good", 48)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as bundle:
            for number in range(12):
                sample = data[number]
                mask = sample.mask.numpy()[: rows if number == 3 else 48] * 255
                for folder, content in (("images", sample.image.permute(1, 2, 0).numpy()), ("masks", mask)):
                    file = io.BytesIO()
                    Image.fromarray(content).save(file, "PNG")
                    bundle.writestr(f"mine/{folder}/{number:02d}.png", file.getvalue())
    page.get_by_role("radio", name="My own, as ZIP").check()
    page.locator("#zip input[type=file]").set_input_files(tmp_path / "bad.zip")
    said(page, "The mask doctor refuses the pictures")
    listed = page.locator("#findings li", has_text="03.png").inner_text()
    assert "Error: 03.png is 48 x 20 pixels but the picture is 48 x 48. What to do:" in listed
    shot(page, "refused")
    page.get_by_role("button", name="Train", exact=True).click()
    said(page, "⚠ Upload a ZIP")
    page.locator("[data-testid=toast-close]").click()
    page.locator("#zip input[type=file]").set_input_files(tmp_path / "good.zip")
    said(page, "The mask doctor has passed 12 pictures")
