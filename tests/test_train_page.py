"""The Train tab without a browser: what it says of a training, of a ZIP and of everything that goes wrong."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from colour_model import Colour
from PIL import Image

pytest.importorskip("gradio")
import gradio as gr
from gradio.context import LocalContext

from seglab import classroom, page, serving, train_page
from seglab.classroom import Busy
from seglab.data._findings import CheckReport, Finding
from seglab.handlers import Handlers
from seglab.images import ImageError
from seglab.inference import Predictor
from seglab.orders import Order, Progress
from seglab.texts import ENGLISH, LANGUAGES
from seglab.train_page import TrainHandlers, findings
from seglab.visitors import MOST_MODELS, MOST_VISITORS, VisitorModels, visitor
from seglab.zipped import Zipped

BUTTONS, PICTURES, STATUS = slice(0, 2), slice(3, 7), -1
ASKED = ("skin", "own", "unet", False, "bce_dice", 3, 8, 96, True)


def predictor() -> Predictor:
    return Predictor(Colour(), size=96)


@contextmanager
def event_of(who: str) -> Iterator[None]:
    """As Gradio sets it while it answers an event of a visitor."""
    token = LocalContext.request.set(SimpleNamespace(session_hash=who))
    try:
        yield
    finally:
        LocalContext.request.reset(token)


def epochs(*dices: float) -> tuple[dict[str, float], ...]:
    return tuple(
        {"epoch": float(i + 1), "val_dice_fg_image": dice, "train_loss": 1.0 - 0.1 * i, "val_loss": 1.2 - 0.1 * i}
        for i, dice in enumerate(dices)
    )


class Script:
    """A training that goes as it is written."""

    def __init__(self, folder: Path, order: Order, steps: list[Progress]) -> None:
        self.folder, self.order, self.steps = folder, order, steps
        self.model = folder / "best.safetensors"

    def follow(self) -> Iterator[Progress]:
        yield from self.steps


class Room:
    """A classroom whose trainings are scripts."""

    limit = 900.0

    def __init__(self, folder: Path, steps: list[Progress] | None = None, error: Exception | None = None) -> None:
        self.folder, self.steps, self.error = folder, steps or [], error
        self.orders: list[Order] = []
        self.zipped: Zipped | None = None
        self.left: list[str] = []
        self.before: list[tuple[int, float]] = []  # how many are before a visitor, and for how long
        self.in_line: list[str] = []

    def join(self, who: str) -> None:
        if isinstance(self.error, Busy):
            raise self.error
        self.in_line.append(who)

    def wait(self, who: str) -> Iterator[tuple[int, float]]:
        yield from self.before

    def waits(self, who: str) -> bool:
        return who in self.in_line

    def give_way(self, who: str) -> bool:
        stood = who in self.in_line
        self.in_line = []
        return stood

    def begun(self, who: str) -> int:
        return len(self.orders)

    def start(self, who: str, order: Order) -> Script:
        if self.error:
            raise self.error
        self.orders.append(order)
        return Script(self.folder, order, self.steps)

    def finished(self, training: Script) -> Predictor:
        return predictor()

    def pictures(self, who: str) -> Zipped | None:
        return self.zipped

    def take(self, who: str, archive: Path, on_picture: Any) -> Zipped:
        on_picture(1, 2)
        assert self.zipped is not None
        return self.zipped

    def drop(self, who: str) -> None:
        self.zipped = None

    def stop(self, who: str) -> bool:
        return bool(self.steps)

    def leave(self, who: str) -> None:
        self.left.append(who)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in train_page.PICTURES:
        for epoch in (1, 2, 3):
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / f"{name}_{epoch:03d}.png")
    return tmp_path


def handlers_of(room: Room, language: str = "en", *, offers: bool = True) -> TrainHandlers:
    models = VisitorModels({"skin-plain": predictor()})
    return TrainHandlers(Handlers(models, LANGUAGES[language]), room, offers=offers)  # type: ignore[arg-type]


def whole(epochs_asked: int = 3, stopped: str = "", dice: float = 0.75) -> list[Progress]:
    """A training of two epochs that ends well."""
    shown: dict[str, Any] = {"example": {"name": "lesion_1", "dice": 0.5}, "epochs": epochs_asked}
    scores = {"dice": dice, "low": 0.6, "high": 0.8, "iou": 0.65, "pictures": 24}
    two: dict[str, Any] = {"records": epochs(0.4, 0.3), "drawn": 2, "seconds": 12, "first": 10}
    return [
        Progress(epochs=epochs_asked),
        Progress(phase="training", parts=(96, 24, 24), parameters=122093, epochs=epochs_asked),
        Progress(phase="training", records=epochs(0.4), drawn=1, seconds=10, first=10, **shown),
        Progress(phase="training", **two, **shown),
        Progress(phase="scoring", **two, **shown),
        Progress(phase="done", stopped=stopped, scores=scores, **two, **shown),
    ]


def test_the_status_tells_every_step_and_the_time_that_is_left(folder: Path) -> None:
    outputs = list(handlers_of(Room(folder, whole())).train(*ASKED))
    assert [one[STATUS] for one in outputs] == [
        "Starting. It takes some seconds until the first epoch.",
        "Training on 96 pictures, 122,093 weights. The first epoch takes longest.",
        "Epoch 1 of 3. Dice on the validation pictures 0.400, the best 0.400 in epoch 1. About 20 s left.",
        "Epoch 2 of 3. Dice on the validation pictures 0.300, the best 0.400 in epoch 1. About 2 s left.",
        "Scoring the model of epoch 1 on the test pictures.",
        "Done: 2 epochs in 12 s. Mine 1: U-Net is now among the models of the Compare tab.",
    ]
    assert len({len(one) for one in outputs}) == 1


def test_pictures_come_once_for_every_drawing_and_say_in_words_what_they_show(folder: Path) -> None:
    outputs = list(handlers_of(Room(folder, whole())).train(*ASKED))
    assert [isinstance(one[3], gr.Image) for one in outputs] == [False, False, True, True, False, False]
    loss, dice, outline, error = (one.constructor_args["alt_text"] for one in outputs[3][PICTURES])
    assert "1.000 after the first epoch, 0.900 after epoch 2" in loss
    assert "0.400, 0.300" in dice
    assert "lesion_1" in outline
    assert "0.500" in outline
    assert "error map" in error
    assert [Path(one.constructor_args["value"]).name for one in outputs[3][PICTURES]] == [
        "loss_002.png", "dice_002.png", "outline_002.png", "error_002.png",
    ]  # fmt: skip


def test_the_buttons_follow_the_training(folder: Path) -> None:
    outputs = list(handlers_of(Room(folder, whole())).train(*ASKED))
    looks = [(one[0].constructor_args["interactive"], one[1].constructor_args["visible"]) for one in outputs]
    assert looks == [*[(False, True)] * 5, (True, False)]


def test_the_result_has_its_interval_and_says_that_one_run_is_no_evidence(folder: Path) -> None:
    *_, last = handlers_of(Room(folder, whole())).train(*ASKED)
    said = last[9]
    assert "mean Dice 0.750 on 24 test pictures that it never saw, 95 % interval 0.600 to 0.800, and IoU 0.650" in said
    assert "**One run is not evidence.**" in said
    assert "seglab train unet bce_dice --dataset synthetic" in said
    *_, last = handlers_of(Room(folder, whole(dice=float("nan")))).train(*ASKED)
    assert "mean Dice not defined" in last[9]


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("asked", "Stopped after 2 of 50 epochs; the best of them, epoch 1, is kept."),
        ("time", "Stopped after 2 of 50 epochs, because a training may last 15 minutes; the best of them, epoch 1"),
        ("numbers", "Stopped after 2 of 50 epochs, because the numbers became infinite; the best of them, epoch 1"),
    ],
)
def test_a_stopped_training_says_why_and_after_how_many_epochs(folder: Path, why: str, words: str) -> None:
    *_, last = handlers_of(Room(folder, whole(50, why))).train(*ASKED)
    assert last[STATUS].startswith(words)


def test_the_model_joins_those_of_its_visitor_only(folder: Path) -> None:
    own = handlers_of(Room(folder, whole()))
    with event_of("anna"):
        *_, last = own.train(*ASKED)
        assert last[13].constructor_args["value"][-1] == "mine-1"
        assert list(own.handlers.predictors) == ["skin-plain", "mine-1"]
        assert own.handlers.models_of("own")["choices"][-1][1] == "mine-1"
    with event_of("ben"):
        assert list(own.handlers.predictors) == ["skin-plain"]
    with event_of("anna"):
        own.leave()
        assert list(own.handlers.predictors) == ["skin-plain"]
    assert own.classroom.left == ["anna"]  # type: ignore[attr-defined]


def test_without_a_compare_tab_the_model_can_still_be_downloaded(folder: Path) -> None:
    *_, last = handlers_of(Room(folder, whole()), offers=False).train(*ASKED)
    assert last[STATUS].endswith("Mine 1: U-Net can be downloaded.")


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("asked", "Stopped before the first epoch had ended, so there is no model."),
        ("time", "The first epoch did not end within 15 minutes"),
        ("numbers", "The numbers became infinite in the first epoch"),
        ("memory", "Not enough memory for this training"),
        ("crash", "The training ended without a word"),
        ("unexpected", "Something went wrong in the training; the reason is in the server's log"),
        ("words", "picture a1 is odd."),
    ],
)
def test_a_failed_training_says_why_and_gives_the_button_back(folder: Path, failure: str, words: str) -> None:
    steps = [Progress(), Progress(phase="failed", failure=failure, words="picture a1 is odd.")]
    own = handlers_of(Room(folder, steps))
    run = train_page._speaking_steps(own.train, lambda: train_page._blanks(15), own.texts)(*ASKED)
    *_, last = take_until_error(run, words)
    assert last[0].constructor_args["interactive"]
    assert not last[1].constructor_args["visible"]
    assert last[STATUS].startswith(f"⚠ {words}"[:30])


def take_until_error(run: Iterator[Any], words: str) -> list[Any]:
    """All outputs before the error that carries the words."""
    outputs: list[Any] = []
    with pytest.raises(gr.Error) as error:
        outputs.extend(run)  # what came before the error stays in the list
    assert words.split("'")[0] in error.value.message
    return outputs


def test_a_visitor_is_told_that_the_line_is_full(folder: Path) -> None:
    own = handlers_of(Room(folder, error=Busy(75, 825)))
    with pytest.raises(ImageError) as error:
        list(own.train(*ASKED))
    assert error.value.message == (
        "A training is running on this server and others are waiting already. Try again in 13 min 45 s."
    )


def test_a_second_visitor_stands_in_a_line_and_is_trained_in_turn(folder: Path) -> None:
    room = Room(folder, whole())
    room.before = [(2, 1725.0), (1, 825.0)]
    first, second, third, *_, last = list(handlers_of(room).train(*ASKED))
    assert first[STATUS].startswith("In the line, 2 before you.")
    assert second[STATUS].endswith("after 13 min 45 s at the latest.")
    assert first[1].constructor_args == first[1].constructor_args | {"value": "Leave the line", "visible": True}
    assert third[1].constructor_args == third[1].constructor_args | {"value": "Stop, keep the best model"}
    assert len(first) == len(second) == len(last)
    assert len(room.orders) == 1


def test_a_visitor_leaves_the_line(folder: Path) -> None:
    room = Room(folder, whole())
    room.before = [(1, 825.0)]
    own = handlers_of(room)
    run = own.train(*ASKED)
    next(run)
    assert own.stop() == "You have left the line."
    (last,) = run
    assert last[STATUS] == "You have left the line."
    assert last[0].constructor_args["interactive"]
    assert room.orders == []
    assert own.stop() != "You have left the line."


def test_visitors_are_trained_one_after_the_other_in_the_order_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fake:
        def __init__(self, folder: Path, order: Order) -> None:
            self.began, self.order, self.running = time.monotonic(), order, True

        def end(self) -> None:
            self.running = False

    monkeypatch.setattr(classroom, "Training", Fake)
    room = classroom.Classroom(limit=300.0, new_folder=lambda: tmp_path)
    waiting = {}
    for who in ("anna", "ben", "cem", "dora"):
        room.join(who)
        waiting[who] = room.wait(who, 0.001)
        if who == "anna":
            assert list(waiting["anna"]) == []  # nobody is before her
            training = room.start("anna", Order())
    assert [next(waiting[who])[0] for who in ("ben", "cem", "dora")] == [1, 2, 3]
    for who in ("emil", "ben"):  # no place, and one that has a place
        with pytest.raises(Busy):
            room.join(who)
    with pytest.raises(Busy):
        room.start("ben", Order())  # one is running
    room.leave("cem")  # has closed the page
    assert list(waiting["cem"]) == []
    assert not room.waits("cem")
    ahead, left = next(waiting["dora"])
    assert ahead == 2
    assert 599 < left <= 600
    training.running = False
    with pytest.raises(Busy):
        room.start("dora", Order())  # it is not her turn
    assert list(waiting["ben"]) == []
    assert room.waits("ben")
    room.start("ben", Order())
    assert [room.waits(who) for who in ("ben", "dora")] == [False, True]
    assert next(waiting["dora"])[0] == 1
    assert room.give_way("dora")
    assert not room.give_way("dora")


def test_what_no_one_foresaw_becomes_a_reference(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = handlers_of(Room(folder, error=ZeroDivisionError("secret")))
    run = train_page._speaking_steps(own.train, lambda: train_page._blanks(15), own.texts)(*ASKED)
    *_, last = take_until_error(run, "Something went wrong on the server")
    assert "secret" not in last[STATUS]
    assert "secret" in capsys.readouterr().out


def test_the_order_is_what_was_chosen(folder: Path) -> None:
    room = Room(folder, whole())
    list(handlers_of(room).train("steel", "skin", "resunet", True, "focal", 7.0, 16, 128, False))
    expected = Order(data="steel", task="steel", model="resunet", cbam=True, loss="focal", epochs=7, width=16,
                     size=128, augment=False, title="Mine 1: ResUNet + CBAM")  # fmt: skip
    assert room.orders == [expected]


def test_own_pictures_must_have_passed_the_doctor(folder: Path) -> None:
    room = Room(folder, whole())
    own = handlers_of(room)
    asked = ("zip", "skin", *ASKED[2:])
    with pytest.raises(ImageError, match="Upload a ZIP of pictures and masks that the mask doctor passes"):
        list(own.train(*asked))
    room.zipped = Zipped(folder, CheckReport("", 12, ()), (8, 2, 2))
    *_, last = own.train(*asked)
    assert (room.orders[-1].root, room.orders[-1].data, room.orders[-1].task) == (str(folder), "", "skin")
    assert "with PICTURES for the folder of the ZIP" in last[9]


@pytest.mark.parametrize("code", ["de", "zh"])
def test_the_doctors_findings_are_in_the_visitors_language(folder: Path, code: str) -> None:
    found = (
        Finding("missing_mask", "error", "a_b.png", "has no mask of the same name.", "Add the picture, or delete it."),
        Finding("metadata", "warning", "metadata.csv", "has no row for 9 pictures: a_1, b and 7 more."),
    )
    said = findings(CheckReport("", 12, found), LANGUAGES[code], (0, 0, 0))
    assert [one for one in ("no mask", "Add the", "more", "has no") if one in said] == []
    assert all(one in said for one in (r"a\_b.png", r"a\_1, b", "9", "7", r"metadata.csv"))


def test_the_doctors_findings_are_a_list_with_remedies_and_counts(folder: Path) -> None:
    many = [Finding("size", "error", f"a_{n}.png", "is small.", "Draw it again.") for n in range(8)]
    report = CheckReport("", 9, (Finding("style", "note", "masks", "hold 0 and 255."), *many))
    said = findings(report, ENGLISH, (0, 0, 0))
    assert "Errors: 8. Warnings: 0. Notes: 1." in said
    assert "- **Error: a\\_0.png** is small. *What to do:* Draw it again." in said
    assert said.count("- **Error") == 5
    assert "- And 3 more of this kind." in said
    assert said.index("Error: a") < said.index("Note: masks")
    assert "--fix" in said
    passed = findings(CheckReport("", 12, ()), ENGLISH, (8, 2, 2))
    assert passed.startswith("**The mask doctor has passed 12 pictures:** 8 to learn from, 2 to choose")
    assert "--fix" not in passed


def test_a_zip_is_kept_or_emptied_by_the_doctors_word(folder: Path) -> None:
    room = Room(folder)
    own = handlers_of(room)
    seen: list[Any] = []

    def progress(now: tuple[int, int], desc: str) -> None:
        seen.append((now, desc))

    room.zipped = Zipped(folder, CheckReport("", 12, ()), (8, 2, 2))
    kept, _, status = own.take(folder / "a.zip", progress)
    assert (kept, status) == (str(folder / "a.zip"), "The mask doctor has passed 12 pictures. Press Train.")
    assert seen == [((1, 2), "Examining picture 1 of 2")]
    room.zipped = Zipped(folder, CheckReport("", 12, (Finding("x", "error", "a", "is bad."),)), (0, 0, 0))
    kept, said, status = own.take(folder / "a.zip", None)
    assert kept is None
    assert "is bad" in said
    assert status.startswith("The mask doctor refuses")
    with pytest.raises(ImageError, match="Upload a ZIP"):
        own.take(None)
    assert own.drop() == ["", "Upload a ZIP, or choose generated pictures."]


def test_the_upload_shows_for_own_pictures_only(folder: Path) -> None:
    own = handlers_of(Room(folder))
    for data, shown, said in (("zip", True, "Upload a ZIP"), ("skin", False, "Choose what to train")):
        upload, list_of_findings, status = own.choose_data(data)
        assert upload.constructor_args["visible"] == list_of_findings.constructor_args["visible"] == shown
        assert status.startswith(said)


def test_stop_says_whether_there_was_something_to_stop(folder: Path) -> None:
    assert handlers_of(Room(folder, whole())).stop().startswith("Stopping after this step")
    assert handlers_of(Room(folder)).stop() == "No training of yours is running."


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_a_training_goes_in_every_language(folder: Path, language: str) -> None:
    outputs = list(handlers_of(Room(folder, whole()), language).train(*ASKED))
    title = LANGUAGES[language]("train.title", number=1, model="U-Net")
    assert title in outputs[-1][STATUS]
    assert len({one[STATUS] for one in outputs}) == len(outputs)


def test_a_public_page_has_no_train_tab() -> None:
    assert "train-start" in elements_of(page.build_app({"skin-plain": predictor()}))
    assert "train-start" not in elements_of(page.build_app({"skin-plain": predictor()}, training=False))


def elements_of(blocks: gr.Blocks) -> list[str]:
    """Names of all elements of a page."""
    return [str(getattr(block, "elem_id", "")) for block in blocks.blocks.values()]


def test_the_tab_has_no_endpoint_of_its_own_and_its_upload_is_guarded() -> None:
    blocks = page.build_app({"skin-plain": predictor()})
    assert [one.api_name for one in blocks.fns.values() if one.api_visibility == "public"] == ["compare"]
    uploads = [block for block in blocks.blocks.values() if getattr(block, "elem_id", None) == "zip"]
    assert len(uploads) == len(LANGUAGES)
    for upload in uploads:
        with pytest.raises(gr.Error, match="must be uploaded as a file"):
            upload.preprocess(SimpleNamespace(path="/etc/passwd"))


def test_a_page_without_any_model_can_train_one() -> None:
    assert "train-start" in elements_of(page.build_app({}))


def test_outside_of_an_event_models_are_everybodys() -> None:
    models = VisitorModels({})
    models["all"] = predictor()
    with event_of("anna"):
        assert visitor() == "anna"
        assert "all" in models
        models["mine"] = predictor()
        assert len(models) == 2
        del models["mine"]
        assert list(models) == ["all"]
    with pytest.raises(KeyError):
        models["mine"]


def test_the_oldest_models_and_visitors_are_forgotten_first() -> None:
    models, one = VisitorModels({}), predictor()
    with event_of("anna"):
        for number in range(MOST_MODELS + 2):
            models[f"mine-{number}"] = one
        assert list(models) == [f"mine-{number}" for number in range(2, MOST_MODELS + 2)]
    for number in range(MOST_VISITORS):
        with event_of(f"visitor {number}"):
            models["mine-1"] = one
    with event_of("anna"):
        assert len(models) == 0
    with event_of("visitor 0"):
        assert len(models) == 1


def test_the_private_folder_is_where_trainings_lie() -> None:
    from seglab.classroom import Classroom

    assert Classroom()._new_folder().parent == serving.private_folder()
