"""The page's handlers and the server around it, without a server."""

import asyncio
import csv
import io
import json
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from colour_model import Colour
from PIL import Image

pytest.importorskip("gradio")
import gradio as gr

import app
from seglab import access, build_model, compare, packing, previews, serving
from seglab.checkpoint import Description, save_model
from seglab.cli import main as seglab_main
from seglab.corruptions import corrupt
from seglab.disturbed import breaking_points, cost, disturb
from seglab.handlers import EXAMPLES, PAINTED, Handlers, speaking
from seglab.images import ImageError, Picture, _picture
from seglab.inference import Predictor
from seglab.previews import Screen, screen_size
from seglab.series import ORDERS, pair_up, series_table
from seglab.shown import SLOT, Shown, plain
from seglab.texts import LANGUAGES


@pytest.fixture
def predictors() -> dict[str, Predictor]:
    return {"skin-plain": Predictor(Colour(0), size=96), "skin-cbam": Predictor(Colour(1), size=96)}


@pytest.fixture
def handlers(predictors: dict[str, Predictor]) -> Handlers:
    return Handlers(predictors)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Red square where the true mask is, green square eight pixels to its right."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[16:48, 16:48, 0] = 255
    pixels[16:48, 24:56, 1] = 255
    return save(tmp_path / "lesion.png", pixels)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48, 16:48] = 255
    return save(tmp_path / "lesion_mask.png", mask)


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


BOTH = ["skin-plain", "skin-cbam"]


def compared(handlers: Handlers, picture: Path | None, truth: Path | None, names: list[str] | None = None) -> list:
    return handlers.compare(Shown(), picture, truth, BOTH if names is None else names, 0.5)


def test_app_without_models_says_what_to_do() -> None:
    texts = [str(block.value) for block in app.build_app({}).blocks.values() if isinstance(block, gr.Markdown)]
    assert any("seglab train" in text and "--models" in text for text in texts)


def test_app_has_one_public_endpoint(predictors: dict[str, Predictor]) -> None:
    names = [one.api_name for one in app.build_app(predictors).fns.values() if one.api_visibility == "public"]
    assert names == ["compare"]


def test_compare_gives_the_numbers_counted_by_hand(handlers: Handlers, picture: Path, truth: Path) -> None:
    comparison = compared(handlers, picture, truth)[0].comparison
    assert [one.numbers["dice"] for one in comparison.results] == [1.0, 0.75]  # 2 * 24 * 32 / (2 * 32 * 32)
    assert "1.000" in comparison.to_markdown()
    assert "0.750" in comparison.to_markdown()


def test_compare_shows_the_error_map_first_with_a_mask_and_agreement_without(
    handlers: Handlers, picture: Path, truth: Path
) -> None:
    assert compared(handlers, picture, truth)[6].value == "error"
    without = compared(handlers, picture, None)[6]
    assert without.value == "agreement"
    assert "error" not in [key for _, key in without.choices]


def test_every_view_writes_one_picture_for_each_model(handlers: Handlers, picture: Path, truth: Path) -> None:
    shown = compared(handlers, picture, truth)[0]
    for view in ("outline", "error", "probability", "mask"):
        files = [slot.value["path"] for slot in handlers.look(shown, view, None, 0.6)[4:-3:SLOT] if slot.value]
        assert len(files) == 2, view
        first, second = (np.array(Image.open(file)) for file in files)
        assert first.shape == (64, 96, 3)
        assert (first != second).any(), view


def test_threshold_answers_from_stored_probabilities(handlers: Handlers, picture: Path, truth: Path) -> None:
    shown = compared(handlers, picture, truth)[0]
    handlers.predictors.clear()
    moved = handlers.move(shown, 0.9)
    assert shown.comparison.threshold == 0.9
    assert moved[:2] == shown.result()[2:4]  # verdict and table
    assert "no model was run" in moved[-1]


def test_large_pictures_are_drawn_at_the_size_of_a_screen(handlers: Handlers, tmp_path: Path) -> None:
    pixels = np.zeros((400, 2000, 3), np.uint8)
    pixels[100:300, :1000, 0] = 255
    file, mask = save(tmp_path / "wide.png", pixels), save(tmp_path / "wide_mask.png", pixels[..., 0])
    comparison = compared(handlers, file, mask)[0].comparison
    small = screen_size(comparison, 500)
    assert small.image.shape == (100, 500, 3)
    assert small.truth.shape == small.results[0].mask.shape == small.results[0].probs.shape[1:] == (100, 500)
    assert small.truth[25:75, :250].all()  # the corners of the square, a quarter as far out
    assert small.truth.sum() == 50 * 250
    assert small.results[0].numbers == comparison.results[0].numbers
    assert screen_size(comparison, 2000) is comparison
    with pytest.raises(ValueError, match="side must be at least 1; got 0"):
        screen_size(comparison, 0)


def test_what_a_threshold_does_not_change_is_made_small_once(handlers: Handlers, tmp_path: Path) -> None:
    pixels = np.zeros((200, 400, 3), np.uint8)
    pixels[50:150, :200, 0] = 255
    file, mask = save(tmp_path / "wide.png", pixels), save(tmp_path / "wide_mask.png", pixels[..., 0])
    comparison, screen = compared(handlers, file, mask)[0].comparison, Screen()
    first, second = screen.fit(comparison, 100), screen.fit(comparison.at(0.9), 100)
    assert second.image is first.image
    assert second.truth is first.truth
    assert second.results[0].probs is first.results[0].probs
    fresh = screen_size(comparison.at(0.9), 100)
    assert (second.results[0].mask == fresh.results[0].mask).all()
    assert (second.image == fresh.image).all()


@pytest.mark.parametrize("shape", [(1, 1), (8, 5), (9, 300), (203, 301)])
def test_png_of_a_screen_has_every_pixel(shape: tuple[int, int]) -> None:
    rng, screen = np.random.default_rng(0), Screen()
    for pixels in (rng.integers(0, 256, (*shape, 3), np.uint8), np.zeros((*shape, 3), np.uint8)):
        for one in (pixels, pixels, pixels[::-1, ::-1]):
            content = screen.png(one)
            assert (np.array(Image.open(io.BytesIO(content))) == one).all()
            assert content == Screen().png(one)


def test_rows_that_stay_are_packed_once(handlers: Handlers, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, screen, packed = compared(handlers, picture, None)[0].comparison, Screen(), []
    pack = previews.packed
    monkeypatch.setattr(previews, "packed", lambda strip: packed.append(strip) or pack(strip))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 50, 3), np.uint8)
    moved = pixels.copy()
    moved[17, 3] ^= 255
    screen.fit(comparison)
    screen.png(pixels)
    assert len(packed) == 8  # of 8 rows each
    screen.fit(comparison)
    screen.png(moved)
    assert len(packed) == 9
    screen.png(pixels)  # what the last `fit` drew is still known
    assert len(packed) == 9
    screen.fit(comparison)
    screen.fit(comparison)
    screen.png(pixels)
    assert len(packed) == 17  # and no more than that is kept


def test_views_without_a_threshold_stay_as_they_are_while_it_moves(
    handlers: Handlers, picture: Path, truth: Path
) -> None:
    shown = compared(handlers, picture, truth)[0]
    handlers.look(shown, "probability", None, 0.6)
    moved = handlers.move(shown, 0.9)
    assert moved[5:-1] == [gr.skip()] * 5  # four pictures and those to slide between
    assert len(moved) == len(handlers.move(shown, 0.8))
    handlers.look(shown, "error", None, 0.6)
    *pictures, slide = handlers.move(shown, 0.7)[5:-1]
    assert [Path(one.value["path"]).name if one.value else None for one in pictures] == [
        "skin-plain_error.png",
        "skin-cbam_error.png",
        None,
        None,
    ]
    assert slide.value


def test_attention_view_has_the_channel_gates_of_every_module() -> None:
    attending = Predictor(build_model("unet", 1, width=4, cbam=("bottleneck",)), size=32)
    handlers = Handlers({"skin-plain": Predictor(Colour(0), size=32), "skin-cbam": attending})
    shown = Shown(comparison=compare(np.full((40, 60, 3), 90, np.uint8), {**handlers.predictors}))
    values = handlers.look(shown, "attention", "bottleneck", 0.6)
    plainly, cbam = values[2 : 2 + SLOT], values[2 + SLOT : 2 + 2 * SLOT]
    assert "has no attention module" in plainly[1]
    assert not plainly[4].visible
    gates = shown.comparison.results[1].attention["bottleneck"].channel
    assert f"{gates.size} channels from {gates.min():.2f} to {gates.max():.2f}" in cbam[3]
    assert "64 channel gates of skin-cbam, bottleneck" in cbam[4].alt_text
    bars = np.array(Image.open(cbam[4].value["path"]))
    tall = (bars != 244).all(axis=-1).sum(axis=0)  # the line at one half counts as one pixel where no bar is
    assert abs(int(tall[0]) - round(float(gates.max()) * 72)) <= 1
    assert abs(int(tall[-1]) - round(float(gates.min()) * 72)) <= 1
    assert not handlers.look(shown, "outline", None, 0.6)[2 + SLOT + 4].visible


def test_result_stands_beside_the_scores_on_test_pictures(picture: Path, truth: Path) -> None:
    scores = {"data": "lab_7", "dice_fg_image": {"value": 0.8, "n": 42}, "dice_fg_image_interval_95": [0.75, 0.85]}
    card = {"scores": [scores, {"data": "odd"}, scores | {"dice_fg_image_interval_95": None}], "task": "skin"}
    one, two = Predictor(Colour(0), size=96), Predictor(Colour(1), size=96)
    one.description = Description("unet", {}, 1, ("background", "object"), 96, "Known", card=card)
    handlers = Handlers({"skin-plain": one, "skin-cbam": two})
    found = handlers.compare(Shown(), picture, truth, BOTH, 0.5)[4]
    assert r"| Known | lab\_7 | 42 | 0.800 (0.750 to 0.850) |" in found
    assert "| skin-cbam |  |  | not measured |" in found
    assert "seglab evaluate YOUR_PICTURES --model FILE" in found
    two.description = one.description
    assert (
        "Not measured"
        not in Handlers({"skin-plain": one, "skin-cbam": two}).compare(Shown(), picture, truth, BOTH, 0.5)[4]
    )


def test_page_speaks_the_language_of_its_handlers(
    predictors: dict[str, Predictor], picture: Path, truth: Path, tmp_path: Path
) -> None:
    german = Handlers(predictors, LANGUAGES["de"])
    *_, words = shown = german.compare(Shown(), picture, truth, BOTH, 0.5)
    assert words.startswith("Fertig: ")
    assert "liegt in diesem einen Bild um 0.250 Dice näher an der wahren Maske" in shown[2]
    assert "Randabstand HD95, px" in shown[3]
    assert [label for label, _ in german.tasks] == ["Hautläsion"]
    (tmp_path / "empty.png").touch()
    values = speaking(german.check_picture, [None, None], LANGUAGES["de"])(tmp_path / "empty.png")
    assert next(values)[-1] == r"⚠ Das Bild: Die Datei ist leer \(0 Byte\)."
    assert [code for code, _, _ in app.build_app(predictors).pages] == ["", "de", "zh"]


def test_painted_mask_goes_with_its_picture(handlers: Handlers, picture: Path, tmp_path: Path) -> None:
    painted = save(tmp_path / PAINTED, np.zeros((64, 96), np.uint8))
    assert handlers.keep_truth(painted, picture) is None
    assert PAINTED in (Path(app.__file__).parent / "seglab" / "page.js").read_text()


def test_added_model_is_on_offer_with_a_plain_one(predictors: dict[str, Predictor]) -> None:
    handlers = Handlers(predictors)
    task, models = handlers.add("mine", Predictor(Colour(2), size=96))
    assert task.value == "own"
    assert task.visible
    assert models.value == ["mine"]
    assert handlers.titles["mine"] == "mine"
    _, models = handlers.add("skin-third", Predictor(Colour(2), size=96))
    assert models.value == ["skin-plain", "skin-third"]


def test_maps_of_attention_are_drawn_at_the_size_of_a_screen() -> None:
    predictor = Predictor(build_model("unet", 1, width=4, cbam=("encoder",)), size=32)
    comparison = compare(np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8), {"cbam": predictor})
    for stage, gates in screen_size(comparison, 20).results[0].attention.items():
        whole = comparison.results[0].attention[stage].spatial
        assert gates.spatial.shape == (10, 20)
        assert np.allclose(gates.spatial, whole.reshape(10, 4, 20, 4).mean((1, 3)), atol=1e-5)


def test_previews_keep_every_pixel_value(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    assert (np.array(Image.open(serving.write_preview(tmp_path / "a.png", pixels))) == pixels).all()


def test_disturbance_reaches_the_picture_and_not_the_truth(handlers: Handlers, picture: Path, truth: Path) -> None:
    shown = compared(handlers, picture, truth)[0]
    clean = shown.comparison
    *_, words = handlers.disturb(shown, 0, 0, -130, 100)  # 255 becomes 125, just below a half
    assert words == "Disturbed: Brightness -130 (grey levels added)."
    assert shown.comparison.image.max() == 125
    assert (shown.comparison.truth == clean.truth).all()
    assert [one.numbers["dice"] for one in shown.comparison.results] == [0.0, 0.0]
    said = shown.result()[2]
    assert "skin-plain 1.000 → 0.000; skin-cbam 0.750 → 0.000" in said.replace("\\", "")
    assert "skin-plain lost most" in said.replace("\\", "")
    *_, words = handlers.disturb(shown, 0, 0, 0, 100)
    assert shown.comparison is clean
    assert "no model was run" in words
    assert "Disturbed" not in shown.result()[2]


def test_disturbed_compare_equals_a_compare_of_the_disturbed_picture(
    handlers: Handlers, picture: Path, truth: Path, tmp_path: Path
) -> None:
    shown = handlers.compare(Shown(), picture, truth, BOTH, 0.5, 20, 1, 10, 40)[0]
    pixels = np.array(Image.open(picture))
    for kind, severity in (("noise", 20), ("blur", 1), ("brightness", 10), ("jpeg", 40)):
        pixels = corrupt(pixels, kind, severity)
    other = compared(handlers, save(tmp_path / "disturbed.png", pixels), truth)[0].comparison
    for mine, its in zip(shown.comparison.results, other.results, strict=True):
        assert (mine.mask == its.mask).all()
        assert mine.numbers["dice"] == its.numbers["dice"]


def test_threshold_moves_both_the_disturbed_and_the_undisturbed_result(
    handlers: Handlers, picture: Path, truth: Path
) -> None:
    shown = handlers.compare(Shown(), picture, truth, BOTH, 0.5, 0, 0, -100, 100)[0]
    handlers.predictors.clear()
    handlers.move(shown, 0.9)
    assert shown.clean is not shown.comparison
    assert (shown.clean.threshold, shown.comparison.threshold) == (0.9, 0.9)
    assert shown.clean.results[0].numbers["dice"] == 1.0
    assert shown.comparison.results[0].numbers["dice"] == 0.0  # sigmoid(12 * (155 / 255 - 0.5)) is 0.78


def test_breaking_point_is_the_weakest_severity_tried(handlers: Handlers, picture: Path, truth: Path) -> None:
    shown = compared(handlers, picture, truth)[0]
    clean = shown.comparison
    found = breaking_points(clean, {one.name: handlers.predictors[one.name] for one in clean.results}, ("brightness",))
    assert found == {"brightness": {"skin-plain": None, "skin-cbam": None}}  # 255 - 100 is still above a half
    brighter = disturb(clean, handlers.predictors, {"brightness": 140})
    assert [one.mask.all() for one in brighter.results] == [True, True]
    table, _ = handlers.breaking(shown)
    assert "at none tried" in table
    assert [line.split(" (")[0] for line in table.splitlines()[2:6]] == [
        "| Gaussian noise", "| Blur", "| Brightness", "| JPEG",
    ]  # fmt: skip


def test_model_that_breaks_is_entered_at_its_severity() -> None:
    """Red is 160: 100, 60 and 30 grey levels less fall below a half from 60 on, at 40 to lose."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[16:48, 16:48, 0] = 160
    models = {"red": Predictor(Colour(0), size=64)}
    clean = compare(pixels, models, (pixels[..., 0] > 0).astype(np.uint8) * 255)
    assert breaking_points(clean, models, ("brightness",)) == {"brightness": {"red": -60}}
    without = compare(pixels, models)
    assert breaking_points(without, models, ("brightness",)) == {"brightness": {"red": -60}}
    lost = cost(without, disturb(without, models, {"brightness": -60}))
    assert lost.startswith("Dice with its own undisturbed mask: red 1.000 → 0.000.")


def test_cost_without_a_defined_dice_is_said_in_words() -> None:
    models = {"red": Predictor(Colour(0), size=64)}
    clean = compare(np.zeros((64, 64, 3), np.uint8), models)
    assert "not defined" in cost(clean, disturb(clean, models, {"brightness": 10}))


def test_zip_of_a_disturbed_picture_says_so(handlers: Handlers, picture: Path, truth: Path) -> None:
    shown = handlers.compare(Shown(), picture, truth, BOTH, 0.5, 20, 0, 0, 100)[0]
    with zipfile.ZipFile(handlers.pack(shown).value["path"]) as archive:
        assert json.loads(archive.read("disturbed.json"))["severities"]["noise"] == 20
        with archive.open("disturbed.png") as file:
            assert (np.array(Image.open(file)) == shown.comparison.image).all()


def test_all_models_of_the_task_stand_in_one_table(picture: Path, truth: Path) -> None:
    names = ["skin-blue", "skin-plain", "skin-cbam", "steel-plain"]
    channels = [2, 0, 1, 0]
    handlers = Handlers({n: Predictor(Colour(c), size=96) for n, c in zip(names, channels, strict=True)})
    shown = compared(handlers, picture, truth, ["skin-cbam", "skin-blue"])[0]
    table, words = handlers.every_model(shown)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert [row[0] for row in rows[2:]] == ["skin-plain", "skin-cbam", "skin-blue"]  # best first; steel is another task
    assert [row[1] for row in rows[2:]] == ["1.000", "0.750", "0.000"]
    assert rows[4][5] == "not defined"  # the blue model found nothing, so there is no border distance
    assert rows[0][1:6] == ["Dice", "IoU", "Precision", "Recall", "Border distance HD95, px"]
    assert words == "Done: 3 models in one table."
    without, _ = handlers.every_model(compared(handlers, picture, None)[0])
    assert without.count("no mask") == 3 * 5


def test_image_slider_has_two_pictures_whatever_the_view(handlers: Handlers, picture: Path, truth: Path) -> None:
    shown = compared(handlers, picture, truth)[0]
    for view, names in (("error", ["skin-plain", "skin-cbam"]), ("agreement", ["the picture", "skin-cbam"])):
        *_, caption, slide, _ = handlers.look(shown, view, None, 0.6)
        assert all(plain(name) in caption for name in names)
        assert len(slide.value) == 2


def test_many_pictures_worst_first(handlers: Handlers, picture: Path, truth: Path, tmp_path: Path) -> None:
    off = save(tmp_path / "b_off.png", np.roll(np.array(Image.open(picture)), 16, axis=1))
    off_mask = save(tmp_path / "b_off_mask.png", np.array(Image.open(truth)))
    bad = tmp_path / "a_bad.png"
    bad.write_bytes(picture.read_bytes()[:100])
    entries, table, button, words = handlers.series([picture, truth, off, off_mask, bad], BOTH, 0.5, ORDERS[0])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.replace("\\", "").splitlines()]
    assert rows[0] == ["Picture", "Dice: skin-plain", "Dice: skin-cbam"]
    assert rows[2:4] == [
        ["b_off.png", "0.500", "0.250"],
        ["lesion.png", "1.000", "0.750"],
    ]  # 16 and 24 of 32 columns off
    assert rows[4][0] == "a_bad.png"
    assert "damaged or cut short" in rows[4][1]
    assert words == "Done: 3 pictures, 1 of them could not be read."
    by_name = [line.split(" |")[0] for line in series_table(entries, ORDERS[2]).splitlines()[2:]]
    assert by_name == ["| a\\_bad.png", "| b\\_off.png", "| lesion.png"]
    with zipfile.ZipFile(button.value["path"]) as archive:
        lines = list(csv.DictReader(archive.read("results.csv").decode().splitlines()))
        assert [line["dice"] for line in lines] == ["", "0.5", "0.25", "1.0", "0.75"]
        mask = np.array(Image.open(io.BytesIO(archive.read("model1/lesion.png"))))
    assert (mask == np.array(Image.open(truth))).all()


def test_many_pictures_without_masks_show_areas(handlers: Handlers, picture: Path) -> None:
    _, table, *_ = handlers.series([picture], BOTH, 0.5, ORDERS[1])
    assert "Area, %: skin-plain" in table
    assert "16.67" in table  # 32 * 32 of 64 * 96 pixels


def test_odd_series_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="Choose 1 to 50 pictures; 0 are chosen"):
        pair_up([])
    with pytest.raises(ImageError, match="Two pictures are named a"):
        pair_up([tmp_path / "a.png", tmp_path / "a.jpg"])
    with pytest.raises(ImageError, match="b_mask.png is a mask without its picture"):
        pair_up([tmp_path / "a.png", tmp_path / "b_mask.png"])
    with pytest.raises(ValueError, match="order must be one of worst"):
        series_table([], "best")
    pairs = pair_up([tmp_path / "a.png", tmp_path / "b.png", tmp_path / "b.json"])
    assert pairs == [(tmp_path / "a.png", None), (tmp_path / "b.png", tmp_path / "b.json")]


def test_guard_passes_on_many_uploads(picture: Path) -> None:
    serving.prepare()
    guarded = serving.guard(gr.File(file_count="multiple"), "picture")
    folder = serving.private_folder() / ("1" * 64)
    folder.mkdir(exist_ok=True)
    mine = save(folder / "a.png", np.zeros((20, 20), np.uint8))
    assert guarded.preprocess(SimpleNamespace(root=[payload(mine), payload(mine)])) == [mine, mine]
    with pytest.raises(gr.Error, match="must be uploaded"):
        guarded.preprocess(SimpleNamespace(root=[payload(mine), payload(picture)]))


def test_expired_result_is_said_in_words(handlers: Handlers) -> None:
    with pytest.raises(ImageError, match="no longer kept"):
        handlers.pack(Shown())


def test_zip_of_an_older_result_is_given_up(
    handlers: Handlers, picture: Path, truth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = compared(handlers, picture, truth)[0]
    real, drawn = packing.picture_png, []

    def moved(*inputs: object) -> bytes:  # while the first picture is packed, the threshold moves
        drawn.append(1)
        shown.comparison = shown.kept().at(0.9)
        return real(*inputs)

    monkeypatch.setattr(packing, "picture_png", moved)
    assert handlers.pack(shown) == gr.skip()
    assert len(drawn) == 1


def test_zip_of_a_large_picture_waits_until_the_threshold_rests(
    handlers: Handlers, picture: Path, truth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = compared(handlers, picture, truth)[0]
    waited = []

    def sleep(seconds: float) -> None:  # and meanwhile the threshold moves on
        waited.append(seconds)
        handlers.move(shown, 0.8)

    monkeypatch.setattr(packing, "PIXELS_A_SECOND", 0.001)
    monkeypatch.setattr(packing.time, "sleep", sleep)
    assert handlers.pack(shown) == gr.skip()
    assert len(waited) == 1
    monkeypatch.setattr(packing, "PIXELS_A_SECOND", 1e12)
    with zipfile.ZipFile(handlers.pack(shown).value["path"]) as archive:
        assert json.loads(archive.read("metrics.json"))["threshold"] == 0.8


def test_zip_of_an_older_result_is_not_offered(handlers: Handlers, picture: Path, truth: Path) -> None:
    shown = compared(handlers, picture, truth)[0]

    class Slow:
        image = np.zeros((1, 1, 3), np.uint8)

        def to_zip(self, path: Path, wanted: Callable[[], bool]) -> Path:
            shown.comparison = None  # another result comes while this one is packed
            return path

    shown.comparison = Slow()
    assert handlers.pack(shown) == gr.skip()


@pytest.mark.parametrize(("names", "words"), [([], "0 are chosen"), (["skin-plain"] * 1, "")])
def test_compare_asks_for_one_to_four_models(handlers: Handlers, picture: Path, names: list[str], words: str) -> None:
    if words:
        with pytest.raises(ImageError, match=words):
            compared(handlers, picture, None, names)
    else:
        assert len(compared(handlers, picture, None, names)[0].comparison.results) == 1


def test_compare_without_a_picture_says_so(handlers: Handlers) -> None:
    with pytest.raises(ImageError, match="Choose a picture first"):
        compared(handlers, None, None)


def test_picture_is_checked_at_upload(handlers: Handlers, picture: Path, tmp_path: Path) -> None:
    shown, result, words = handlers.check_picture(picture)
    assert (shown, words) == (str(picture), "Picture ready: 96 × 64 pixels. Press Compare.")
    assert not result.visible  # it is of the picture before
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(ImageError, match="empty"):
        handlers.check_picture(empty)


def test_tiff_becomes_a_png_with_the_same_pixels(handlers: Handlers, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    shown, *_ = handlers.check_picture(save(tmp_path / "a.tif", pixels))
    assert shown.endswith("a.png")
    assert (np.array(Image.open(shown)) == pixels).all()


def test_mask_is_checked_at_upload(handlers: Handlers, picture: Path, truth: Path, tmp_path: Path) -> None:
    assert handlers.check_truth(truth, picture, BOTH)[1] == "Mask ready: 16.7 % object."
    small = save(tmp_path / "small.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(ImageError, match="32 × 32"):
        handlers.check_truth(small, picture, BOTH)
    grey = save(tmp_path / "grey.png", np.tile(np.arange(96, dtype=np.uint8) * 2, (64, 1)))
    assert "128 and above count as object" in handlers.check_truth(grey, picture, BOTH)[1]


def test_mask_goes_when_another_picture_comes(handlers: Handlers, picture: Path, truth: Path, tmp_path: Path) -> None:
    assert handlers.keep_truth(truth, picture) == str(truth)
    assert handlers.keep_truth(save(tmp_path / "s.png", np.zeros((32, 32), np.uint8)), picture) is None
    example = Path(handlers.show_example(0, Shown())[1])
    assert handlers.keep_truth(example, picture) is None


def test_labelme_is_read_as_mask(handlers: Handlers, picture: Path, tmp_path: Path) -> None:
    shape = {"label": "lesion", "points": [[16, 16], [47, 16], [47, 47], [16, 47]], "shape_type": "polygon"}
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"shapes": [shape], "imageHeight": 64, "imageWidth": 96}))
    assert handlers.check_truth(file, picture, BOTH)[1] == "Mask ready: 16.7 % object. Read from labelme."
    assert compared(handlers, picture, file)[0].comparison.results[0].numbers["dice"] == 1.0


def test_errors_reach_the_status_line_and_the_visitor() -> None:
    def fail() -> None:
        raise ImageError("The picture <b> is odd.")

    values = speaking(fail, [None])()
    assert next(values) == [None, r"⚠ The picture \<b\> is odd."]
    with pytest.raises(gr.Error) as caught:
        next(values)
    assert caught.value.message == "The picture &lt;b&gt; is odd."


def test_unexpected_errors_show_a_reference_and_no_path(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise KeyError("/secret/place")

    *_, status = next(speaking(fail, [None])())
    assert "reference" in status
    assert "secret" not in status
    assert "/secret/place" in capsys.readouterr().out


def test_examples_are_drawn_and_compared(handlers: Handlers) -> None:
    shown = handlers.show_example(0, Shown())
    picture, truth = shown[:2]
    assert isinstance(picture, str)  # plain values: an update would take the guard away
    assert isinstance(truth, str)
    assert serving.uploaded(picture, "picture").is_file()
    assert "Example shown" in shown[-1]


def test_pair_with_and_without_attention_is_chosen_first() -> None:
    names = ["skin-plain", "skin-aug", "skin-cbam", "skin-aug-cbam", "steel-plain", "mine"]
    handlers = Handlers({name: Predictor(Colour(0), size=96) for name in names})
    assert handlers.models_of("skin")["value"] == ["skin-plain", "skin-cbam"]
    assert [task for _, task in handlers.tasks] == ["skin", "steel", "own"]


def payload(path: object) -> SimpleNamespace:
    return SimpleNamespace(path=str(path), url=None)


def test_guard_passes_on_uploads_only(picture: Path) -> None:
    serving.prepare()
    guarded = serving.guard(gr.File(), "picture")
    folder = serving.private_folder() / ("0" * 64)
    folder.mkdir(exist_ok=True)
    mine = save(folder / "a.png", np.zeros((20, 20), np.uint8))
    assert guarded.preprocess(payload(mine)) == mine
    assert guarded.preprocess(None) is None
    (folder / "link.png").unlink(missing_ok=True)
    (folder / "link.png").symlink_to(picture)
    for path in (picture, folder / "link.png", folder / ".." / ".." / "x.png", folder, "", "data:image/png;base64,AA"):
        with pytest.raises(gr.Error, match="must be uploaded"):
            guarded.preprocess(payload(path))
    with pytest.raises(gr.Error, match="links are not fetched"):
        asyncio.run(guarded.async_move_resource_to_block_cache("http://127.0.0.1/a.png"))


def test_private_folder_is_private_and_swept() -> None:
    folder = serving.private_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    run = serving.new_folder()
    (run / "a.txt").write_text("a")
    serving.sweep(age=60)
    assert (run / "a.txt").exists()
    time.sleep(0.02)
    serving.sweep(age=0.01)
    serving.sweep(age=-1)  # removing a file makes its folder young again
    assert not run.exists()


def test_private_folder_goes_with_the_process() -> None:
    code = "from seglab import serving; print(serving.private_folder())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "seglab-app-" in done.stdout
    assert not Path(done.stdout.strip()).exists()


def ask(
    headers: dict[str, str], chunks: list[bytes], path: str = "/gradio_api/queue/join"
) -> tuple[int, dict[str, str]]:
    """Status and headers of a POST through Limits to an app that reads the body."""
    answers: list = []
    queue = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks] + [
        {"type": "http.request", "body": b"", "more_body": False}
    ]

    async def inner(scope: dict, receive: object, send: object) -> None:
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        status = 200 if message["type"] == "http.request" else 500
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async def receive() -> dict:
        return queue.pop(0)

    async def send(message: dict) -> None:
        answers.append(message)

    raw = [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in headers.items())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": raw}
    asyncio.run(access.Limits(inner)(scope, receive, send))
    assert [one["type"] for one in answers] == ["http.response.start", "http.response.body"]
    return answers[0]["status"], {name.decode(): value.decode() for name, value in answers[0]["headers"]}


@pytest.mark.parametrize(
    ("headers", "chunks", "status"),
    [
        ({}, [b"x"], 200),
        ({"sec-fetch-site": "same-origin"}, [b"x"], 200),
        ({"sec-fetch-site": "cross-site"}, [b"x"], 403),
        ({"sec-fetch-site": "same-site"}, [b"x"], 403),
        ({"content-length": str(80 * 2**20)}, [], 413),
        ({"content-length": "-1"}, [], 413),
        ({}, [bytes(2**19)] * 4, 413),
    ],
)
def test_limits(headers: dict[str, str], chunks: list[bytes], status: int) -> None:
    got, sent = ask(headers, chunks)
    assert got == status
    assert "unsafe-eval" not in sent["content-security-policy"]
    assert sent["x-content-type-options"] == "nosniff"


def test_uploads_may_be_larger_than_other_requests() -> None:
    assert ask({}, [bytes(2**20)] * 3, "/gradio_api/upload")[0] == 200
    assert ask({}, [bytes(2**20)] * 25, "/gradio_api/upload")[0] == 413


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = build_model("unet", 1, width=4)
    path = tmp_path / "tiny.safetensors"
    save_model(path, model, Description("unet", {"width": 4}, 1, ("background", "object"), 32, "Tiny"))
    return path


def test_app_mask_equals_command_line_mask(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(_picture, "LARGE", 200 * 300)  # from here on photos are decoded in part
    files = [
        save(tmp_path / f"p{i}.png", rng.integers(0, 256, (*size, 3), np.uint8))
        for i, size in enumerate([(32, 32), (50, 81), (120, 40)])
    ]
    files.append(save(tmp_path / "photo.jpg", rng.integers(0, 256, (201, 301, 3), np.uint8)))
    assert Picture(files[-1]).within(32) is not None
    assert seglab_main(["predict", "--model", str(model_file), "--out", str(tmp_path / "out"), *map(str, files)]) == 0
    handlers = Handlers(serving.load_models([model_file]))
    for file in files:
        packed = handlers.pack(compared(handlers, file, None, ["tiny"])[0]).value["path"]
        with zipfile.ZipFile(packed) as archive:
            (name,) = [one for one in archive.namelist() if one.endswith("mask.png")]
            assert archive.read(name) == (tmp_path / "out" / f"{file.stem}.png").read_bytes()
    packed = handlers.series(files, ["tiny"], 0.5, ORDERS[0])[2].value["path"]
    with zipfile.ZipFile(packed) as archive:
        for file in files:
            assert archive.read(f"model1/{file.stem}.png") == (tmp_path / "out" / f"{file.stem}.png").read_bytes()


def test_all_models_get_the_photo_as_the_chosen_ones_did(
    handlers: Handlers, predictors: dict[str, Predictor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_picture, "LARGE", 200 * 300)
    file = save(tmp_path / "photo.jpg", np.random.default_rng(0).integers(0, 256, (201, 301, 3), np.uint8))
    predictors["skin-twin"] = Predictor(Colour(0), size=64)
    predictors["skin-plain"] = Predictor(Colour(0), size=64)
    shown = compared(handlers, file, None, ["skin-plain"])[0]
    seen = []
    forward = Predictor.forward
    monkeypatch.setattr(Predictor, "forward", lambda self, batch: seen.append(batch) or forward(self, batch))
    compare(file, {"skin-plain": predictors["skin-plain"]})
    handlers.every_model(shown)
    assert any(torch.equal(one, seen[0]) for one in seen[1:] if one.shape == seen[0].shape)
    compare(shown.comparison.image, {"skin-plain": predictors["skin-plain"]})
    assert not torch.equal(seen[-1], seen[0])  # every pixel gives a slightly other picture


@pytest.mark.parametrize("cut", [False, True])
def test_large_photo_is_checked_at_upload_to_its_end(
    handlers: Handlers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: bool
) -> None:
    monkeypatch.setattr(_picture, "LARGE", 1000 * 1500)
    file = save(tmp_path / "photo.jpg", np.random.default_rng(0).integers(0, 256, (1000, 1500, 3), np.uint8))
    if not cut:
        assert handlers.check_picture(file)[-1] == "Picture ready: 1500 × 1000 pixels. Press Compare."
        return
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ImageError, match="damaged or cut short"):
        handlers.check_picture(file)


def test_own_models_get_short_unique_names(model_file: Path) -> None:
    predictors = serving.load_models([model_file, model_file])
    assert list(predictors)[:2] == ["tiny", "tiny 2"]
    assert list(serving.titles(predictors).values())[:2] == ["Tiny [tiny]", "Tiny [tiny 2]"]


def test_missing_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--models", "nowhere.safetensors"]) == 2
    assert capsys.readouterr().err.startswith("app.py: checkpoint nowhere.safetensors must exist")


def test_examples_show_attention_winning_and_losing():
    """The first pair of models on the page, on the examples with a mask: nobody may choose only those that please."""
    handlers = Handlers(serving.load_models())
    gains = []
    for index in handlers.examples:
        if EXAMPLES[index].has_mask:
            picture, truth = handlers._example_files(index)
            names = handlers.models_of(EXAMPLES[index].task)["value"]
            result = compare(picture, {name: handlers.predictors[name] for name in names}, truth, attention=False)
            gains.append(result.results[1].numbers["dice"] - result.results[0].numbers["dice"])
    assert len(gains) == 4
    assert gains[0] > 0.01
    assert gains[1] < -0.01
    assert gains[2] < -0.01
