"""The page in headless Chromium: what a visitor sees, clicks and downloads.

Screenshots go to the folder named by SEGLAB_SCREENSHOTS, if it is set; all pictures in them are generated.
"""

import io
import json
import os
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chromium import chromium, free_port, watched
from colour_model import Colour
from PIL import Image

pytest.importorskip("gradio")

from seglab import access
from seglab import page as seglab_page
from seglab.inference import Predictor
from seglab.models import build_model

pytestmark = pytest.mark.browser

APP = Path(__file__).parents[1] / "app.py"
OWN = pytest.mark.parametrize("page", [(1280, "light")], indirect=True, ids=["own"])  # a page that no other test has


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    names = ("skin-plain", "skin-cbam", "steel-plain", "steel-cbam")
    predictors = {name: Predictor(Colour(2 * (i % 2), beyond_green=True), size=96) for i, name in enumerate(names)}
    torch.manual_seed(0)
    predictors["mine"] = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
    blocks = seglab_page.build_app(predictors)
    yield seglab_page.launch(blocks, free_port(), wait=False)
    blocks.close()


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    with chromium(viewport={"width": 1280, "height": 900}) as context:
        context.set_default_timeout(90_000)  # for a machine that does something else too
        yield context


@pytest.fixture(scope="module")
def first(context: Any, address: str) -> Iterator[tuple[Any, str]]:
    """The page that most tests share, and how it looks with its first example."""
    with watched(context, address) as page:
        yield page, loaded(page, address)


@pytest.fixture
def page(request: pytest.FixtureRequest, context: Any, address: str) -> Iterator[Any]:
    """The shared page with its first example, or, where a test names width and theme, a page of its own.

    The shared one is loaded anew where it cannot be brought back. What is folded away may be left as it was: no two
    tests that share the page open the same, but for what a comparison resets.
    """
    if hasattr(request, "param"):
        width, theme = request.param
        with watched(context, address, width=width) as page:
            loaded(page, address, theme)
            yield page
        return
    page, look = request.getfixturevalue("first")
    page.set_viewport_size({"width": 1280, "height": 900})
    if look_of(page) != look and not back_at_first(page, look):
        loaded(page, address)
    yield page


def loaded(page: Any, address: str, theme: str = "light") -> str:
    """Load the page and wait until its first example is complete; how it looks then."""
    page.goto(f"{address}?__theme={theme}")
    pixels(page, "#out_0 img")
    settled(page)
    return look_of(page)


def look_of(page: Any) -> str:
    """What a visitor sees and may have changed: size, address, words, fields, buttons, pictures; times aside."""
    look = """() => {
        const seen = (tag, values) => [...document.querySelectorAll(tag)].filter(e => e.checkVisibility()).map(values);
        return JSON.stringify([innerWidth, location.href, seen('p, td, th, li, label', e => e.innerText),
            seen('input', e => [e.type, e.value, e.checked]),
            seen('button', e => [e.innerText, e.ariaLabel, e.disabled, e.ariaSelected, e.classList.contains('open')]),
            seen('img', e => [e.alt, e.naturalWidth])]);
    }"""
    return re.sub(r'(?<=Model time, ms)[",\d.]+', "", page.evaluate(look))


def back_at_first(page: Any, look: str) -> bool:
    """Close what is open, press the first example; whether the page then looks as when it was loaded."""
    page.evaluate("document.querySelectorAll('button.open, [data-testid=toast-close]').forEach(e => e.click())")
    error_map, said = page.get_by_role("radio", name="Error map"), "Example shown: Skin lesion with mask"
    for _ in range(2):  # the second time with the view that it had, if that has changed
        if look_of(page) == look:
            return True
        if said in page.locator("#live").inner_text():
            return False  # there would be nothing to wait for
        page.get_by_role("button", name="Skin lesion with mask").click()
        status(page, said)
        settled(page)
        if not error_map.is_checked():
            error_map.check()
            status(page, "View: Error map")
    return look_of(page) == look


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Picture with a red square, a blue one eight pixels to its right, and the mask of the red one."""
    picture = np.full((64, 96, 3), 90, np.uint8)
    picture[16:48, 16:48, 0] = 230
    picture[16:48, 24:56, 2] = 230
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48, 16:48] = 255
    Image.fromarray(picture).save(tmp_path / "squares.png")
    Image.fromarray(mask).save(tmp_path / "squares_mask.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "squares.png").read_bytes()[:200])
    Image.fromarray(mask[:32]).save(tmp_path / "small_mask.png")
    return {path.stem: path for path in tmp_path.iterdir()}


def pixels(page: Any, selector: str) -> np.ndarray:
    """The picture at a place of the page, as the browser gets it."""
    image = page.locator(selector)
    image.wait_for(state="attached")
    image.evaluate("e => e.scrollIntoView({block: 'center'})")  # it is loaded only when it is near the window
    page.wait_for_function("e => e.complete && e.naturalWidth > 0", arg=image.element_handle())
    return np.array(Image.open(io.BytesIO(page.request.get(image.get_attribute("src")).body())).convert("RGB"))


def status(page: Any, words: str) -> None:
    """Wait until the status line holds the words."""
    page.locator("#live").filter(has_text=words).wait_for()


def settled(page: Any) -> None:
    """Wait until nothing runs any more, so that leaving the page breaks nothing off."""
    page.locator("#download:not([disabled])").wait_for()


def upload(page: Any, place: str, file: Path) -> None:
    """Put a file into an upload field, after clearing it."""
    clear = page.locator(f"#{place} button[aria-label='Clear']")
    if clear.count():
        clear.first.click()
    page.locator(f"#{place} input[type=file]").set_input_files(file)


def mask_is_gone(page: Any) -> None:
    """Wait until the field for the mask is empty: the example's mask goes when another picture comes."""
    page.locator("#truth input[type=file]").wait_for(state="attached")


def shoot(page: Any, name: str) -> None:
    """Store a screenshot for people to look at."""
    folder = os.environ.get("SEGLAB_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png", full_page=True, animations="disabled")


def compare(page: Any, files: dict[str, Path], mask: str = "squares_mask") -> None:
    upload(page, "picture", files["squares"])
    status(page, "Picture ready: 96 × 64 pixels")
    mask_is_gone(page)
    upload(page, "truth", files[mask])
    status(page, "Mask ready: 16.7 % object")
    page.get_by_role("button", name="Compare", exact=True).click()
    status(page, "Done")


@OWN
def test_finished_example_without_a_click(page: Any) -> None:
    status(page, "Example shown")
    assert pixels(page, "#out_0 img").std() > 5
    assert (pixels(page, "#out_0 img") != pixels(page, "#out_1 img")).any()
    assert page.locator("#picture img").get_attribute("alt")
    shoot(page, "first")


def test_upload_compare_and_download(page: Any, files: dict[str, Path]) -> None:
    compare(page, files)
    first, second = pixels(page, "#out_0 img"), pixels(page, "#out_1 img")
    assert first.shape == second.shape == (64, 96, 3)
    assert (first != second).any()
    assert (first != np.array(Image.open(files["squares"]))).any()
    row = page.locator("#numbers tr", has_text="Dice").first.inner_text()
    assert re.findall(r"\d\.\d{3}", row)[:2] == ["1.000", "0.750"]
    assert "on this one picture" in page.locator("#verdict").inner_text()
    assert all(page.locator(f"#out_{i} img").get_attribute("alt") for i in (0, 1))
    shoot(page, "result")
    button = page.locator("#download:not([disabled])")
    with page.expect_download() as caught:
        button.click()
    with zipfile.ZipFile(caught.value.path()) as archive:
        assert json.loads(archive.read("metrics.json"))
        masks = [name for name in archive.namelist() if name.endswith("mask.png")]
        values = [set(np.unique(np.array(Image.open(io.BytesIO(archive.read(name)))))) for name in masks]
    assert len(masks) >= 2
    assert all(found == {0, 255} for found in values)


def test_views_threshold_and_examples_follow_the_clicks(page: Any, files: dict[str, Path]) -> None:
    compare(page, files)
    page.get_by_role("radio", name="Mask only").check()
    status(page, "View: Mask only")
    assert set(np.unique(pixels(page, "#out_0 img"))) == {0, 255}
    page.get_by_role("slider", name="Threshold").focus()
    page.keyboard.press("ArrowRight")
    status(page, "Threshold 0.51; no model was run again.")
    page.get_by_role("button", name="Steel scratch with mask").click()
    status(page, "Example shown: Steel")
    assert page.get_by_role("radio", name="Steel defect").is_checked()


def test_disturbance_is_said_and_shown(page: Any, files: dict[str, Path]) -> None:
    compare(page, files)
    before = pixels(page, "#out_0 img")
    page.get_by_role("button", name="Disturb the picture").click()
    noise = page.locator("#disturb input[type=range]").first
    noise.wait_for()  # what is not yet open takes no focus, and no key
    noise.focus()
    page.keyboard.press("PageUp")
    status(page, "Disturbed: Gaussian noise")
    page.locator("#verdict").filter(has_text="Dice: skin-plain 1.000 →").wait_for()
    assert (pixels(page, "#out_0 img") != before).any()
    page.get_by_role("button", name="All models of this task in one table").click()
    status(page, "Done: 2 models in one table")
    assert page.locator("#everyone tbody tr").count() == 2
    assert page.get_by_role("region", name="All models").count() == 1
    shoot(page, "disturbed")


def test_image_slider_moves_by_keys(page: Any) -> None:
    page.get_by_role("button", name="Slide between two pictures").click()
    page.locator("#slide img").nth(1).wait_for()
    assert all(page.locator("#slide img").nth(i).get_attribute("alt") for i in (0, 1))
    cut = "document.querySelectorAll('#slide img')[1].style.clipPath.split(' ').pop()"  # of inset(0 0 0 60%)
    near = f"aim => Math.abs(parseFloat({cut}) - aim) < 5"
    page.wait_for_function(near, arg=50)
    page.get_by_role("slider", name="Divider").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(near, arg=70)


def test_many_pictures_at_once(page: Any, files: dict[str, Path]) -> None:
    page.get_by_role("button", name="Many pictures at once").click()
    chosen = [files[name] for name in ("squares", "squares_mask", "broken")]
    page.locator("#files input[type=file]").set_input_files(chosen)
    page.locator("#files").filter(has_text="broken").wait_for()
    page.get_by_role("button", name="Compare on all pictures").click()
    status(page, "Done: 2 pictures, 1 of them could not be read.")
    row = page.locator("#series tr", has_text="squares.png").inner_text()
    assert re.findall(r"\d\.\d{3}", row) == ["1.000", "0.750"]
    assert "damaged or cut short" in page.locator("#series").inner_text()
    shoot(page, "many")
    with page.expect_download() as caught:
        page.locator("#series-zip:not([disabled])").click()
    with zipfile.ZipFile(caught.value.path()) as archive:
        assert "results.csv" in archive.namelist()


def test_bad_files_are_named_at_upload(page: Any, files: dict[str, Path]) -> None:
    upload(page, "picture", files["broken"])
    status(page, "The picture file is damaged or cut short")
    assert "damaged or cut short" in page.get_by_test_id("toast-text").first.inner_text()
    page.locator("#picture input[type=file]").wait_for(state="attached")  # the field is empty again
    page.locator("#verdict").wait_for(state="hidden")  # nothing of another picture beside the message
    shoot(page, "error")
    upload(page, "picture", files["squares"])
    status(page, "Picture ready")
    mask_is_gone(page)
    upload(page, "truth", files["small_mask"])
    status(page, "96 × 32")


def tab_to(page: Any, is_there: str) -> None:
    """Press Tab until a condition holds for the focused element `e`."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(f"(e => Boolean({is_there}))(document.activeElement)"):
            page.wait_for_timeout(300)  # a person takes longer to press the next key than the page to be ready for it
            if page.evaluate(f"(e => Boolean({is_there}))(document.activeElement)"):
                return
    pytest.fail(f"Tab does not reach: {is_there}")


def choose_by_enter(page: Any, file: Path) -> None:
    """Press Enter on the focused upload button until the system asks for a file; a field just emptied may miss one."""
    choosers: list[Any] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(20):
        page.keyboard.press("Enter")
        for _ in range(20):
            page.wait_for_timeout(50)
            if choosers:
                choosers[0].set_files(file)
                return
    pytest.fail("Enter on the upload button opens no file chooser.")


@OWN
def test_keyboard_alone_does_everything(page: Any, files: dict[str, Path]) -> None:
    """From the first Tab to the download, with Tab, Enter, the space bar and arrow keys only."""
    tab_to(page, "e.textContent.trim() === 'Steel scratch with mask'")
    page.keyboard.press("Enter")
    status(page, "Example shown: Steel scratch")
    settled(page)
    tab_to(page, "e.closest('#picture') && e.ariaLabel === 'Remove Image'")
    page.keyboard.press("Enter")
    page.locator("#picture input[type=file]").wait_for(state="attached")
    page.keyboard.press("Shift+Tab")
    tab_to(page, "e.closest('#picture') && (e.ariaLabel || '').startsWith('Picture: ')")
    choose_by_enter(page, files["squares"])
    status(page, "Picture ready: 96 × 64 pixels")
    tab_to(page, "e.id === 'compare'")
    page.keyboard.press("Enter")
    status(page, "Done: ")
    assert page.locator("#spoken").inner_text().startswith("Done: ")  # what a screen reader is told
    tab_to(page, "e.type === 'radio' && e.closest('label').textContent.trim() === 'Probability'")
    page.keyboard.press("Space")
    status(page, "View: Probability")
    tab_to(page, "(e.ariaLabel || '') === 'range slider for Opacity of the colours'")
    page.keyboard.press("ArrowRight")
    tab_to(page, "e.closest('#download') && !e.disabled")
    with page.expect_download() as caught:
        page.keyboard.press("Enter")
    assert zipfile.is_zipfile(caught.value.path())


def test_attention_view_shows_the_channel_gates(page: Any) -> None:
    page.get_by_role("radio", name="Own models").check()
    page.get_by_role("checkbox", name="mine").wait_for()
    page.get_by_role("button", name="Compare", exact=True).click()
    status(page, "Done: ")
    page.get_by_role("radio", name="Attention", exact=True).check()
    status(page, "View: Attention")
    assert pixels(page, "#gates_0 img").shape == (72, 600, 3)
    assert "64 channel gates of mine, bottleneck" in page.locator("#gates_0 img").get_attribute("alt")
    assert "not measured" in page.get_by_role("region", name="Scores on test pictures").inner_text()
    shoot(page, "attention")


def test_mask_is_painted_with_the_mouse(page: Any, files: dict[str, Path]) -> None:
    upload(page, "picture", files["squares"])
    status(page, "Picture ready")
    mask_is_gone(page)
    page.get_by_role("button", name="Paint the true mask").click()
    page.get_by_role("button", name="Use as true mask").click()
    page.locator("#paint").filter(has_text="Nothing is painted, so there is no mask").wait_for()
    assert page.locator("#truth input[type=file]").count() == 1  # still no mask: none is never an empty one
    page.get_by_role("button", name="Brush", exact=True).click()
    page.get_by_role("slider", name="Brush width").fill("20")
    box = page.locator("#paint canvas").bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in ((0.25, 0.5), (0.45, 0.5))]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=5)
    page.mouse.up()
    page.locator("#paint").filter(has_text="Painted: ").wait_for()
    shoot(page, "painting")
    page.get_by_role("button", name="Use as true mask").click()
    status(page, "Mask ready: ")
    # A line of 19.2 pixels from x = 24 to x = 43.2, with round ends.
    area = (19.2 * 19.2 + np.pi * 9.6**2) / (64 * 96)
    said = re.search(r"(\d+\.\d) %", page.locator("#live").inner_text())
    assert abs(float(said[1]) - 100 * area) < 0.7
    page.get_by_role("button", name="Compare", exact=True).click()
    status(page, "Done")
    assert "no mask" not in page.locator("#numbers").inner_text()


def test_mask_is_painted_and_erased_with_keys(page: Any) -> None:
    page.get_by_role("button", name="Paint the true mask").click()
    page.get_by_role("button", name="Brush", exact=True).press("Enter")
    page.locator("#paint canvas").focus()
    keys = page.keyboard
    keys.press("Space")
    for _ in range(5):
        keys.press("ArrowRight")
    keys.press("Space")
    said = page.locator("#paint .paint-said")
    said.filter(has_text="Painted: ").wait_for()
    page.get_by_role("button", name="Eraser").press("Enter")
    page.locator("#paint canvas").focus()
    keys.press("Space")
    for _ in range(5):
        keys.press("ArrowLeft")
    keys.press("Space")
    page.wait_for_function("() => !document.querySelector('#paint .paint-said').textContent")
    page.get_by_role("button", name="Use as true mask").press("Enter")
    said.filter(has_text="Nothing is painted").wait_for()


def test_languages_are_chosen_by_link_by_address_and_by_the_browser(context: Any, address: str) -> None:
    with watched(context, address) as page:
        page.goto(f"{address}?lang=de")
        status(page, "Beispiel: Hautläsion mit Maske")
        assert page.url == f"{address}de"
        assert page.evaluate("[document.documentElement.lang, document.title.split(':')[1]]") == [
            "de",
            " Modelle an einem Bild vergleichen",
        ]
        assert page.get_by_role("button", name="Vergleichen", exact=True).is_visible()
        assert "In diesem einen Bild" in page.locator("#verdict").inner_text().replace("in diesem", "In diesem")
        settled(page)
        page.add_init_script("Object.defineProperty(navigator, 'languages', {get: () => ['zh-CN', 'en']})")
        page.goto(address)
        status(page, "已显示示例")
        assert page.evaluate("document.documentElement.lang") == "zh-Hans"
        assert page.get_by_role("link", name="Deutsch").get_attribute("href") == "de"
        settled(page)
        page.get_by_role("link", name="English").click()
        status(page, "Example shown")
        settled(page)


def test_targets_are_large_and_pictures_have_words(page: Any) -> None:
    page.get_by_role("button", name="Paint the true mask").click()
    page.locator("#paint canvas").wait_for()
    targets = """[...document.querySelectorAll('button, a[href], input[type=range], canvas')]
        .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.closest('.visually-hidden'))
        .map(e => [e.textContent.trim() || e.ariaLabel || e.id || e.className, e.getBoundingClientRect()])
        .filter(([, box]) => box.width > 0 && (box.width < 24 || box.height < 24)).map(([name]) => name)"""
    small = [name for name in page.evaluate(targets) if "range slider" not in name]  # a number field is beside each
    assert small == []
    silent = "[...document.images].filter(e => e.checkVisibility() && !e.alt && !e.closest('#paint')).map(e => e.src)"
    assert page.evaluate(silent) == []


def is_within(page: Any, width: int) -> bool:
    """Whether the page in a window of that width scrolls up and down only."""
    page.set_viewport_size({"width": width, "height": 900})
    shoot(page, f"width-{width}")
    return bool(page.evaluate("document.documentElement.scrollWidth") <= width)


def test_no_sideways_scroll(page: Any) -> None:
    assert is_within(page, 360)


@pytest.mark.parametrize("page", [(320, "dark")], indirect=True)
def test_no_sideways_scroll_in_the_dark(page: Any) -> None:
    assert is_within(page, 320)
    assert is_within(page, 1280)


def call(address: str, data: list[Any]) -> str:
    """What /compare answers to a hand-made request."""
    body = json.dumps({"data": data}).encode()
    base = f"{address}gradio_api/call/compare"
    request = urllib.request.Request(base, body, {"Content-Type": "application/json"})
    event = json.load(urllib.request.urlopen(request))["event_id"]
    return urllib.request.urlopen(f"{base}/{event}").read().decode()


def test_endpoint_refuses_files_that_were_not_uploaded(address: str, files: dict[str, Path]) -> None:
    for path in (str(files["squares"]), str(APP.parent / "assets"), "http://127.0.0.1:9/a.png"):
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        answer = call(address, [picture, None, ["skin-plain"], 0.5])
        assert "event: error" in answer
        assert "event: complete" not in answer


def test_endpoint_answers_the_client(address: str, files: dict[str, Path]) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False)
    asked = {"image": handle_file(files["squares"]), "mask": handle_file(files["squares_mask"]), "threshold": 0.5}
    numbers, archive = client.predict(**asked, models=["skin-plain", "skin-cbam"], api_name="/compare")
    assert "0.75" in json.dumps(numbers)
    assert zipfile.is_zipfile(archive)


def test_readme_shows_how_programs_ask(address: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of the README as they stand, but for the address."""
    (code,) = re.findall(r"```python\n(from gradio_client.*?)```", (APP.parent / "README.md").read_text(), re.DOTALL)
    assert len(code.strip().splitlines()[2:]) == 3
    monkeypatch.chdir(files["squares"].parent)
    files["squares"].rename("a.png")
    found: dict[str, Any] = {}
    exec(code.replace("http://127.0.0.1:7860/", address), found)
    assert found["numbers"]["true_mask"] is False
    assert [one["name"] for one in found["numbers"]["models"]] == ["skin-plain", "skin-cbam"]
    with zipfile.ZipFile(found["archive"]) as archive:
        assert {"skin-plain_mask.png", "skin-cbam_mask.png", "metrics.json"} <= set(archive.namelist())


def test_gradio_has_words_for_what_it_tells_screen_readers(address: str) -> None:
    """Without them it says `common.complete`."""
    words = json.load(urllib.request.urlopen(f"{address}config"))["i18n_translations"]
    assert {code: one["common.complete"] for code, one in words.items()} == {
        "en": "Complete.",
        "de": "Fertig.",
        "zh-CN": "完成。",
    }


def test_only_this_computer_is_served(address: str) -> None:
    request = urllib.request.Request(address, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)
    assert access.HOSTS == ("127.0.0.1", "localhost")
