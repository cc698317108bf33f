"""The Train tab: what a visitor chooses, the curves and the example while it learns, and the model among the others."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from seglab import serving
from seglab.classroom import Busy, Classroom, Training
from seglab.data._findings import CheckReport, Finding
from seglab.handlers import Handlers, speaking
from seglab.images import MAX_BYTES, ImageError
from seglab.orders import EPOCHS, LOSSES, MODELS, SIZES, WIDTHS, Order, Progress
from seglab.shown import plain
from seglab.style import legend
from seglab.texts import Texts
from seglab.visitors import VisitorModels, visitor
from seglab.zipped import FEWEST, MOST, MOST_BYTES, MOST_PIXELS

__all__ = ["TrainHandlers", "build_train_tab", "findings"]

MODEL_NAMES = dict(zip(MODELS, ("U-Net", "Attention U-Net", "ResUNet", "U-Net++"), strict=True))
LOSS_NAMES = dict(zip(LOSSES, ("BCE + Dice", "BCE", "Dice", "Focal", "Tversky", "Focal Tversky"), strict=True))
ZIP = "zip"
LISTED = 5  # findings of one kind that are shown
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
PROGRESS = gr.Progress()  # Gradio finds it among the defaults and hands in the one of the event
PICTURES = ("loss", "dice", "outline", "error")
GIVEN = 11 + len(PICTURES)  # outputs of a training


class TrainHandlers:
    """What the tab does when something is clicked.

    Args:
        handlers: Those of the Compare tab in the visitor's language; the finished model joins their models.
        classroom: The server's trainings.
        offers: Whether the Compare tab has a list of models that a new one can join.
    """

    def __init__(self, handlers: Handlers, classroom: Classroom, *, offers: bool) -> None:
        self.handlers, self.classroom, self.texts, self.offers = handlers, classroom, handlers.texts, offers

    def choose_data(self, data: str) -> list[Any]:
        """The upload's column, what the doctor says of it, and what to do next."""
        chosen = data == ZIP
        said = "train.say.zip" if chosen and self.classroom.pictures(visitor()) is None else "train.say.start"
        return [gr.Column(visible=chosen), gr.Markdown(visible=chosen), self.texts(said)]

    def take(self, archive: Path | None, progress: Any = PROGRESS) -> list[Any]:
        """The upload, emptied if the mask doctor refuses it; what the doctor says, and the status."""
        if archive is None:
            raise ImageError(self.texts("train.say.zip"))

        def on_picture(done: int, total: int) -> None:
            if progress is not None:
                progress((done, total), desc=self.texts("train.doctor.running", done=done, total=total))

        found = self.classroom.take(visitor(), archive, on_picture)
        said = findings(found.report, self.texts, found.parts)
        if not found.report.ok:
            return [None, said, self.texts("train.say.refused")]
        return [str(archive), said, self.texts("train.say.passed", pictures=sum(found.parts))]

    def drop(self) -> list[Any]:
        """The upload is taken back."""
        self.classroom.drop(visitor())
        return ["", self.texts("train.say.zip")]

    def train(  # noqa: PLR0913, PLR0917 - Gradio passes the inputs by position
        self, data: str, task: str, model: str, cbam: bool, loss: str, epochs: float, width: int, size: int,
        augment: bool,
    ) -> Iterator[list[Any]]:  # fmt: skip
        """Train, and give all outputs of the tab after every epoch; the last ones offer the model."""
        who = visitor()
        self._pictures(who, data, task)  # what is missing is said before anybody waits
        try:
            self.classroom.join(who)
        except Busy as busy:
            raise ImageError(self.texts("train.error.busy", left=self._time(busy.left))) from None
        try:
            yield from (self._waiting(ahead, left) for ahead, left in self.classroom.wait(who))
            if not self.classroom.waits(who):
                yield [*_blanks(GIVEN), self.texts("train.say.left")]
                return
            title = self.texts(
                "train.title", number=self.classroom.begun(who) + 1, model=MODEL_NAMES[model] + " + CBAM" * cbam
            )
            order = Order(model=model, loss=loss, cbam=cbam, width=width, size=size, epochs=int(epochs),
                          augment=augment, title=title, **self._pictures(who, data, task))  # fmt: skip
            training = self.classroom.start(who, order)
        finally:
            self.classroom.give_way(who)
        drawn, progress = 0, None
        for progress in training.follow():
            yield self._outputs(training, progress, draws=progress.drawn > drawn)
            drawn = progress.drawn
        assert progress is not None
        if progress.failure:
            raise ImageError(self._failure(progress))

    def stop(self) -> str:
        """Ask the visitor's training to end, or leave the line; the status."""
        if self.classroom.give_way(visitor()):
            return self.texts("train.say.left")
        return self.texts("train.say.stopping" if self.classroom.stop(visitor()) else "train.say.idle")

    def leave(self) -> None:
        """The visitor has closed or reloaded the page."""
        who = visitor()
        self.classroom.leave(who)
        if isinstance(self.handlers.predictors, VisitorModels):
            self.handlers.predictors.forget(who)

    def _pictures(self, who: str, data: str, task: str) -> dict[str, Any]:
        """What an order says of its pictures."""
        if data != ZIP:
            return {"data": data, "task": data}
        found = self.classroom.pictures(who)
        if found is None:
            raise ImageError(self.texts("train.error.zip"))
        return {"data": "", "task": task, "root": str(found.root)}

    def _waiting(self, ahead: int, left: float) -> list[Any]:
        """The outputs of a visitor in the line."""
        stop, said = self.texts("train.leave"), self.texts("train.say.waiting", ahead=ahead, left=self._time(left))
        return [gr.Button(interactive=False), gr.Button(stop, visible=True), *[gr.skip()] * (GIVEN - 3), said]

    def _outputs(self, training: Training, progress: Progress, *, draws: bool) -> list[Any]:
        """Buttons, pictures, result, lists of models, status."""
        pictures = self._drawn(training, progress) if draws else [gr.skip()] * (len(PICTURES) + 2)
        if progress.phase != "done":
            running = progress.phase != "failed"
            stop = gr.Button(self.texts("train.stop"), visible=running)  # in the line it had another name
            return [gr.Button(interactive=not running), stop, *pictures, gr.Column(visible=False), "", *[gr.skip()] * 4,
                    self._status(progress)]  # fmt: skip
        offered = self._offer(training) if self.offers else [gr.skip(), gr.skip()]
        files = [gr.DownloadButton(value=str(path)) for path in (training.model, training.model.with_suffix(".md"))]
        return [gr.Button(interactive=True), gr.Button(visible=False), *pictures, gr.Column(visible=True),
                self._result(training.order, progress), *files, *offered, self._end(training, progress)]  # fmt: skip

    def _drawn(self, training: Training, progress: Progress) -> list[Any]:
        """The board with curves and example, and the words under them."""
        record, first = progress.records[progress.drawn - 1], progress.records[0]
        dices = [self._number(one["val_dice_fg_image"]) for one in progress.records[: progress.drawn]]
        words = {"epoch": progress.drawn, "name": progress.example["name"],
                 "dice": self._number(progress.example["dice"])}  # fmt: skip
        losses = {"train": record["train_loss"], "val": record["val_loss"], "train_first": first["train_loss"],
                  "val_first": first["val_loss"]}  # fmt: skip
        words |= losses | {"values": self.texts("list.comma").join(dices[-12:])}
        images = []
        for name in PICTURES:
            path = training.folder / f"{name}_{progress.drawn:03d}.png"
            alt = self.texts(f"train.alt.{name}", **{key: words[key] for key in words})
            images.append(gr.Image(value=str(path), alt_text=alt))
        shown = {key: plain(str(words[key])) for key in ("epoch", "name", "dice")}
        return [gr.Column(visible=True), *images, self.texts("train.example", **shown)]

    def _status(self, progress: Progress) -> str:
        """The status line; it changes once an epoch."""
        if progress.phase == "failed":
            return self._failure(progress)
        if progress.phase == "starting":
            return self.texts("train.say.starting")
        if not progress.records:
            parameters = f"{progress.parameters:,}"
            return self.texts("train.say.training", train=progress.parts[0], parameters=parameters)
        at = int(progress.best["epoch"])
        if progress.phase == "scoring":
            return self.texts("train.say.scoring", at=at)
        last = progress.records[-1]
        scores = {"dice": self._number(last["val_dice_fg_image"]), "at": at,
                  "best": self._number(progress.best["val_dice_fg_image"])}  # fmt: skip
        return self.texts("train.say.epoch", epoch=len(progress.records), epochs=progress.epochs,
                          left=self._time(progress.left), **scores)  # fmt: skip

    def _offer(self, training: Training) -> list[Any]:
        """The lists of tasks and models of the Compare tab, with the new model in them, ticked."""
        name = f"mine-{self.classroom.begun(visitor())}"
        return self.handlers.add(name, self.classroom.finished(training))

    def _end(self, training: Training, progress: Progress) -> str:
        """The status line of a training that is done."""
        title, done = training.order.title, len(progress.records)
        offered = self.texts("train.say.offered" if self.offers else "train.say.kept", title=plain(title))
        if not progress.stopped:
            return self.texts("train.say.done", epochs=done, time=self._time(progress.seconds), offered=offered)
        words = {"epochs": done, "asked": progress.epochs, "at": int(progress.best["epoch"]), "offered": offered}
        return self.texts(f"train.say.stopped.{progress.stopped}", minutes=self._minutes(), **words)

    def _result(self, order: Order, progress: Progress) -> str:
        """Scores on the test part, what they are worth, and how to use the model elsewhere."""
        scores, known = progress.scores, math.isfinite(progress.scores["low"])
        interval = self.texts("train.result.interval", low=scores["low"], high=scores["high"])
        numbers = {name: self._number(scores[name]) for name in ("dice", "iou")}
        lines = [
            self.texts("train.result", title=plain(order.title), pictures=int(scores["pictures"]),
                       interval=interval if known else self.texts("table.not_defined"), **numbers),
            self.texts("train.result.evidence"),
            self.texts("train.result.use", where="" if order.data else self.texts("train.result.where")),
            f"```\n{order.command()}\n```",
        ]  # fmt: skip
        return "\n\n".join(lines)

    def _failure(self, progress: Progress) -> str:
        """Why there is no model."""
        if progress.failure == "words":
            return progress.words
        return self.texts(f"train.error.{progress.failure}", minutes=self._minutes())

    def _number(self, value: float) -> str:
        """A score with three digits, or that it is not defined."""
        return f"{value:.3f}" if math.isfinite(value) else self.texts("table.not_defined")

    def _minutes(self) -> int:
        return round(self.classroom.limit / 60)

    def _time(self, seconds: float) -> str:
        """A time in words."""
        whole = max(1, round(seconds))
        key = "train.time.minutes" if whole >= 60 else "train.time.seconds"
        return self.texts(key, minutes=whole // 60, seconds=whole % 60)


def findings(report: CheckReport, texts: Texts, parts: tuple[int, int, int]) -> str:
    """What the mask doctor says, as a list in Markdown, errors first, a few of each kind.

    Args:
        report: The doctor's.
        texts: Of the visitor's language; the findings themselves are in English.
        parts: Pictures to fit, to choose by and to test.
    """
    train, val, test = parts
    passed = {"pictures": sum(parts), "train": train, "val": val, "test": test}
    verdict = texts("train.doctor.passed", **passed) if report.ok else texts("train.doctor.refused")
    by_severity = {one: [f for f in report.findings if f.severity == one] for one in ("error", "warning", "note")}
    counts = {f"{name}s": len(found) for name, found in by_severity.items()}
    lines = []
    for found in by_severity.values():
        for kind in dict.fromkeys(one.kind for one in found):
            same = [one for one in found if one.kind == kind]
            lines += [f"- {_finding(one, texts)}" for one in same[:LISTED]]
            if len(same) > LISTED:
                lines.append(f"- {texts('train.doctor.more', count=len(same) - LISTED)}")
    said = [verdict, texts("train.doctor.counts", **counts), "\n".join(lines)]
    return "\n\n".join([*said, *([] if report.ok else [texts("train.doctor.fix")])])


def _finding(one: Finding, texts: Texts) -> str:
    """One finding in one line."""
    remedy = f" *{texts('train.doctor.remedy')}* {plain(texts.said(one.remedy))}" if one.remedy else ""
    name = "" if one.name == "." else f" {plain(one.name)}"
    return f"**{texts(f'train.doctor.{one.severity}')}:{name}** {plain(texts.said(one.message))}{remedy}"


def build_train_tab(  # noqa: PLR0917 - the page, what it is part of, and what it needs
    blocks: gr.Blocks, tabs: gr.Tabs, ui: SimpleNamespace, handlers: Handlers, classroom: Classroom
) -> SimpleNamespace:
    """Lay out and wire the tab, inside its `gr.Tab`.

    Args:
        blocks: The page.
        tabs: The row of tabs, one of which has the id compare.
        ui: Components of the Compare tab: `task` and `models`; none if it has no models.
        handlers: Of the Compare tab, in the visitor's language.
        classroom: The server's trainings.

    Returns:
        The tab's components by name.
    """
    offers = hasattr(ui, "models")
    own = TrainHandlers(handlers, classroom, offers=offers)
    part = _layout(own.texts, own)
    _wire(blocks, part, own)
    joins = [ui.task, ui.models] if offers else [gr.State(), gr.State()]
    _wire_training(part, own, joins)
    part.compare.click(lambda: gr.Tabs(selected="compare"), None, tabs, **QUIET)
    return part


def _layout(texts: Texts, own: TrainHandlers) -> SimpleNamespace:
    """All components, by name."""
    part = SimpleNamespace()
    gr.Markdown(texts("train.intro", minutes=round(own.classroom.limit / 60)), elem_classes="small")
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            _inputs(part, texts, own)
        with gr.Column(scale=2, min_width=320):
            _outputs(part, texts, own)
    return part


def _inputs(part: SimpleNamespace, texts: Texts, own: TrainHandlers) -> None:
    """The left column."""
    kinds = [(texts(f"train.data.{one}"), one) for one in ("skin", "steel", ZIP)]
    part.data = gr.Radio(kinds, value="skin", label=texts("train.data"))
    with gr.Column(visible=False) as part.upload:
        size, unpacked, pixels = MAX_BYTES // 2**20, MOST_BYTES // 2**20, MOST_PIXELS // 10**6
        limits = {"fewest": FEWEST, "most": MOST, "megapixels": pixels, "size": size, "unpacked": unpacked}
        gr.Markdown(texts("train.zip.help", **limits), elem_classes="small")
        file = gr.File(label=texts("train.zip"), file_types=[".zip"], elem_id="zip", height=140)
        part.zip = serving.guard(file, "ZIP file")
        tasks = [(texts(f"task.{one}"), one) for one in serving.TASKS]
        tasks.append((texts("train.task.own"), serving.OWN_TASK))
        part.task = gr.Radio(tasks, value=serving.OWN_TASK, label=texts("train.task"), info=texts("train.task.info"))
    part.model = gr.Radio([(name, key) for key, name in MODEL_NAMES.items()], value=MODELS[0],
                          label=texts("train.model"))  # fmt: skip
    part.cbam = gr.Checkbox(False, label=texts("train.cbam"))
    part.loss = gr.Radio([(name, key) for key, name in LOSS_NAMES.items()], value=LOSSES[0], label=texts("train.loss"))
    part.epochs = gr.Slider(1, EPOCHS, 8, step=1, label=texts("train.epochs"), info=texts("train.epochs.info"))
    with gr.Accordion(texts("train.more"), open=False):
        plain_order = Order()
        part.width = gr.Radio(list(WIDTHS), value=plain_order.width, label=texts("train.width"),
                              info=texts("train.width.info"))  # fmt: skip
        part.size = gr.Radio(list(SIZES), value=plain_order.size, label=texts("train.size"),
                             info=texts("train.size.info"))  # fmt: skip
        part.augment = gr.Checkbox(True, label=texts("train.augment"))
    part.start = gr.Button(texts("train.start"), variant="primary", elem_id="train-start")
    part.stop = gr.Button(texts("train.stop"), visible=False, elem_id="train-stop")


def _outputs(part: SimpleNamespace, texts: Texts, own: TrainHandlers) -> None:
    """The right column."""
    part.status = gr.Markdown(texts("train.say.start"), elem_id="train-live", elem_classes="live")
    part.findings = gr.Markdown("", elem_id="findings", visible=False)
    with gr.Column(visible=False) as part.result:
        part.scores = gr.Markdown("", elem_id="train-result")
        with gr.Row():
            part.compare = gr.Button(texts("train.compare"), variant="primary", visible=own.offers)
            part.file = gr.DownloadButton(texts("train.download"), elem_id="train-file")
            part.card = gr.DownloadButton(texts("train.card"), elem_id="train-card")
    with gr.Column(visible=False) as part.board:
        with gr.Row(elem_classes="board"):
            part.pictures = [_picture(name) for name in PICTURES[:2]]
        part.example = gr.Markdown("", elem_id="train-example")
        with gr.Row(elem_classes="board"):
            for name in PICTURES[2:]:
                with gr.Column(min_width=160):
                    part.pictures.append(_picture(name))
                    gr.Markdown(legend(name, texts), elem_classes="small")


def _picture(name: str) -> gr.Image:
    """The place of one live picture."""
    return gr.Image(show_label=False, buttons=["fullscreen"], interactive=False, format="png", container=False,
                    elem_id=f"train-{name}")  # fmt: skip


def _wire(blocks: gr.Blocks, part: SimpleNamespace, own: TrainHandlers) -> None:
    """Events before and beside the training."""
    chosen = [part.upload, part.findings, part.status]
    part.data.input(speaking(own.choose_data, [gr.skip(), gr.skip()], own.texts), part.data, chosen, **QUIET)
    # The upload is guarded: it gets a plain value, and is emptied after an error.
    part.zip.upload(
        speaking(own.take, [None, ""], own.texts), part.zip, [part.zip, part.findings, part.status],
        show_progress_on=part.status, concurrency_id="doctor", concurrency_limit=1, **PRIVATE,
    )  # fmt: skip
    part.zip.clear(speaking(own.drop, [""], own.texts), None, [part.findings, part.status], **QUIET)
    part.stop.click(speaking(own.stop, [], own.texts), None, part.status, **QUIET)
    blocks.unload(own.leave)


def _wire_training(part: SimpleNamespace, own: TrainHandlers, joins: list[Any]) -> None:
    """The event that trains: its outputs follow the training, and the finished model joins the Compare tab's."""
    asked = [part.data, part.task, part.model, part.cbam, part.loss, part.epochs, part.width, part.size, part.augment]
    given = [part.start, part.stop, part.board, *part.pictures, part.example, part.result, part.scores, part.file,
             part.card, *joins, part.status]  # fmt: skip
    # Several may wait here, in the classroom's line: it says how many are before them.
    run = _speaking_steps(own.train, partial(_blanks, len(given)), own.texts)
    part.start.click(run, asked, given, concurrency_id="train", concurrency_limit=8, **QUIET)


def _blanks(count: int) -> list[Any]:
    """Outputs after an error, all but the status: the buttons as at the start, everything else as it is."""
    return [gr.Button(interactive=True), gr.Button(visible=False), *[gr.skip()] * (count - 3)]


def _speaking_steps(
    handler: Callable[..., Iterator[list[Any]]], blanks: Callable[[], list[Any]], texts: Texts
) -> Callable[..., Iterator[Any]]:
    """As `seglab.handlers.speaking`, of a handler that gives outputs again and again."""

    def run(*inputs: Any) -> Iterator[Any]:
        try:
            yield from handler(*inputs)
            return
        except Exception as error:
            failed = error

        def again() -> None:
            raise failed

        yield from speaking(again, blanks(), texts)()

    return run
