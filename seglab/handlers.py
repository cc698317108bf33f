"""What the page does when something is clicked: each handler is one seglab call and its formatting.

A handler's last value is the status line. Handlers raise ImageError or ValueError for what a visitor can mend;
`speaking` turns that into a message on the page, and anything else into a reference number that is logged.
"""

import re
import secrets
import traceback
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from seglab import compare, load_dataset, serving
from seglab.comparison import Comparison, read_truth
from seglab.contract import IGNORE_INDEX
from seglab.disturbed import KINDS, LOSS, breaking_points, disturb, in_words, is_none, note_in_zip, points_table
from seglab.evidence import evidence
from seglab.images import ImageError, Picture, mask_values, write_mask, write_png
from seglab.inference import Predictor
from seglab.kept import KeptResults
from seglab.packing import OutdatedError, wait_for_calm
from seglab.series import Entry, run_series, series_table
from seglab.shown import MAX_MODELS, Shown, every_model, plain
from seglab.texts import ENGLISH, Texts

__all__ = ["EXAMPLES", "Example", "Handlers", "speaking"]

BROWSER_FORMATS = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
PAINTED = "painted_mask.png"  # as page.js calls it: it belongs to the picture it was painted on
CHECKED = 256  # pixels: a large photo is decoded to that side to see that it is whole
PROGRESS = gr.Progress()  # Gradio finds it among the defaults and hands in the one of the event


class Example(NamedTuple):
    """A generated picture; `number` in the test part."""

    name: str  # its label is the text `example.NAME`
    task: str
    number: int
    size: tuple[int, int]
    has_mask: bool = True


EXAMPLES = (  # by the shipped models: attention is closer to the truth in the first, farther in the second and fourth
    Example("lesion", "skin", 4, (576, 768)),
    Example("corners", "skin", 12, (576, 768)),
    Example("hair", "skin", 3, (576, 768), has_mask=False),
    Example("scratch", "steel", 2, (400, 400)),
    Example("blotches", "steel", 3, (400, 400)),
)


def speaking(
    handler: Callable[..., Any], blanks: Sequence[Any] | None, texts: Texts = ENGLISH
) -> Callable[..., Iterator[Any]]:
    """The handler as Gradio wants it, with every error said in words.

    Args:
        handler: Returns all output values, the status line last.
        blanks: Values of the outputs before the status line when something goes wrong; None if there is no such line.
        texts: Of the visitor's language.
    """

    @wraps(handler)
    def run(*inputs: Any) -> Iterator[Any]:
        try:
            values = handler(*inputs)
        except Exception as error:
            message = _in_words(error, texts)
        else:
            yield values
            return
        if blanks is not None:
            yield [*blanks, f"⚠ {plain(message)}"]
        raise serving.spoken(message)

    return run


class Handlers:
    """The handlers, bound to the models.

    Args:
        predictors: Models by short name, kept as they are: what is added later is on offer too.
        texts: Of the visitor's language.
        kept: The results of the visitors of every language; None: these handlers' own.

    Attributes:
        predictors: The same.
        texts: The same.
        kept: The same.
    """

    def __init__(
        self, predictors: MutableMapping[str, Predictor], texts: Texts = ENGLISH, kept: KeptResults | None = None
    ) -> None:
        self.predictors, self.texts, self.kept = predictors, texts, kept or KeptResults()
        self._files: dict[int, tuple[str, str | None]] = {}

    @property
    def titles(self) -> dict[str, str]:
        """What the page calls each model, by its short name."""
        return serving.titles(self.predictors)

    @property
    def tasks(self) -> list[tuple[str, str]]:
        """(label, key) of every task that has a model."""
        present = set(self._task_of.values())
        return [(self.texts(f"task.{one}"), one) for one in (*serving.TASKS, serving.OWN_TASK) if one in present]

    @property
    def examples(self) -> list[int]:
        """Numbers of the EXAMPLES that fit those tasks."""
        known = set(self._task_of.values())
        return [i for i, one in enumerate(EXAMPLES) if one.task in known or serving.OWN_TASK in known]

    @property
    def _task_of(self) -> dict[str, str]:
        return {name: serving.task_of(name, one) for name, one in self.predictors.items()}

    def add(self, name: str, predictor: Predictor) -> list[Any]:
        """Offer one more model, in every language; values for `ui.task` and `ui.models`, the model chosen."""
        self.predictors[name] = predictor
        task = self._task_of[name]
        models = self.models_of(task)
        models["value"] = [*[one for one in models["value"] if one != name][:1], name]
        return [gr.Radio(self.tasks, value=task, visible=len(self.tasks) > 1), gr.CheckboxGroup(**models)]

    def models_of(self, task: str) -> dict[str, Any]:
        """Choices and the first choice of models for a task: a pair with and without attention, if there is one."""
        names = [name for name, its in self._task_of.items() if its == task]
        pairs = [
            (plain, name) for name in names for plain in (name.replace("-cbam", ""), name.replace("cbam", "plain"))
        ]
        pair = next((pair for pair in pairs if pair[0] != pair[1] and pair[0] in names), None)
        return {"choices": [(self.titles[name], name) for name in names], "value": list(pair or names[:2])}

    def choose_task(self, task: str | None) -> Any:
        """The models of another task."""
        return gr.CheckboxGroup(**self.models_of(task or self.tasks[0][1]))

    def check_picture(self, picture: Path | None) -> tuple[str | None, Any, str]:
        """Refuse a bad picture when it is uploaded; say the size of a good one and hide the last one's result."""
        if picture is None:
            return None, gr.skip(), self.texts("say.choose")
        read = Picture(picture)
        read.decode(CHECKED)
        if picture.suffix.lower() not in BROWSER_FORMATS:  # browsers cannot show TIFF; PNG keeps every pixel
            picture = picture.with_suffix(".png")
            write_png(picture, read.pixels)
        ready = self.texts("say.picture", width=read.shape[1], height=read.shape[0])
        return str(picture), gr.Column(visible=False), ready

    def keep_truth(self, truth: Path | None, picture: Path | None) -> str | None:
        """The mask, unless it belongs to an example, was painted, or does not fit the picture just uploaded."""
        if truth is None or picture is None or truth.name == PAINTED or truth.parent.name.startswith("examples-"):
            return None
        try:
            read_truth(truth, Picture(picture).shape[:2], next(iter(self.predictors.values())))
        except ValueError:
            return None
        return str(truth)

    def check_truth(
        self, truth: Path | None, picture: Path | None, names: Sequence[str] | None
    ) -> tuple[str | None, str]:
        """Refuse a bad mask when it is uploaded, and say what was read."""
        if truth is None:
            return None, self.texts("say.no_truth")
        if picture is None:
            return str(truth), self.texts("say.truth_alone")
        predictor = self.predictors[self._chosen(names)[0]]
        mask = read_truth(truth, Picture(picture).shape[:2], predictor)
        known = mask != IGNORE_INDEX
        share = 100 * float((mask[known] > 0).mean()) if known.any() else 0.0
        note = _note(truth, predictor)
        return str(truth), self.texts("say.truth", share=share, note=self.texts(note) if note else "")

    def compare(  # noqa: PLR0913, PLR0917 - Gradio passes the inputs by position
        self,
        shown: Shown,
        picture: Path | None,
        truth: Path | None,
        names: Sequence[str] | None,
        threshold: float,
        noise: float = 0,
        blur: float = 0,
        brightness: float = 0,
        jpeg: float = 100,
        progress: Any = PROGRESS,
    ) -> list[Any]:
        """Run the models, on the disturbed picture too if one is asked for, and show the result."""
        clean = self._run(picture, truth, names, threshold, progress)
        self._disturb(shown, clean, (noise, blur, brightness, jpeg))
        comparison = shown.kept()
        sizes = self.texts.listed([f"{one} × {one}" for one in sorted({one.size for one in comparison.results})])
        seconds = sum(one.seconds for one in comparison.results)
        height, width = comparison.image.shape[:2]
        done = self.texts("say.done", seconds=seconds, sizes=sizes, width=width, height=height)
        return [*shown.result(self.texts), done]

    def move(self, shown: Shown, threshold: float) -> list[Any]:
        """Another threshold, from the stored probabilities."""
        shown.turn += 1  # a ZIP that is being packed stops here, and leaves the processor to this
        same = shown.clean in (None, shown.kept())
        shown.comparison = shown.kept().at(threshold)
        shown.clean = shown.comparison if same or shown.clean is None else shown.clean.at(threshold)
        self.kept.used(shown)
        return [*shown.moved(self.texts), self.texts("say.threshold", threshold=threshold)]

    def disturb(  # noqa: PLR0917 - Gradio passes the inputs by position
        self, shown: Shown, noise: float, blur: float, brightness: float, jpeg: float
    ) -> list[Any]:
        """The same models on the picture, disturbed; with no disturbance the kept result."""
        self._disturb(shown, shown.clean or shown.kept(self.texts), (noise, blur, brightness, jpeg))
        said = in_words(shown.severities, self.texts)
        words = self.texts("say.disturbed", disturbance=said) if said else self.texts("say.undisturbed")
        return [*shown.result(self.texts), words]

    def breaking(self, shown: Shown, progress: Any = PROGRESS) -> tuple[str, str]:
        """A table of the severity at which each model breaks."""
        clean = shown.clean or shown.kept(self.texts)

        def on_step(done: int, total: int, kind: str, severity: float) -> None:
            if progress is not None:
                progress((done, total), desc=in_words({kind: severity}, self.texts))

        points = breaking_points(clean, self._models_of(clean), on_step=on_step)
        table = points_table(points, {one.name: plain(one.name) for one in clean.results}, self.texts)
        return f"{table}\n\n{self.texts('points.note', loss=LOSS)}", self.texts("say.breaking")

    def every_model(self, shown: Shown, progress: Any = PROGRESS) -> tuple[str, str]:
        """All models of this task in one table, for the picture on the page."""
        comparison = shown.kept(self.texts)
        tasks = {self._task_of[name] for name in self.predictors if self._is_in(name, comparison)}
        classes = {len(one.classes) for one in self._models_of(comparison).values()}
        names = [
            name
            for name, one in self.predictors.items()
            if self._task_of[name] in tasks and len(one.classes) in classes and not self._is_in(name, comparison)
        ]
        results = comparison.results
        if names:
            others = {self.titles[name]: self.predictors[name] for name in names}
            picture = comparison.source or comparison.image
            found = compare(picture, others, attention=False, on_model=self._reporter(progress, len(others)))
            results += replace(found, truth=comparison.truth).at(comparison.threshold).results
        table = every_model(replace(comparison, results=results), self.texts)
        return table, self.texts("say.every", count=len(results))

    def series(
        self,
        files: list[Path] | None,
        names: Sequence[str] | None,
        threshold: float,
        order: str,
        progress: Any = PROGRESS,
    ) -> list[Any]:
        """Many pictures: their entries, the table, the ZIP."""
        models = {self.titles[name]: self.predictors[name] for name in self._chosen(names)}
        path = serving.new_folder() / "seglab-pictures.zip"

        def on_picture(done: int, total: int, name: str) -> None:
            if progress is not None:
                progress((done, total), desc=self.texts("say.series", name=name, number=done + 1, total=total))

        entries = run_series(files or [], models, threshold, path, on_picture, self.texts)
        bad = sum(bool(one.problem) for one in entries)
        said = self.texts("say.series_bad" if bad else "say.series_done", count=len(entries), bad=bad)
        return [entries, self.ordered(entries, order), gr.DownloadButton(value=str(path), interactive=True), said]

    def ordered(self, entries: list[Entry], order: str) -> str:
        """The table of many pictures in an order; nothing before there is one."""
        return series_table(entries, order, self.texts) if entries else ""

    def look(self, shown: Shown, view: str | None, stage: str | None, opacity: float) -> list[Any]:
        """Another view of the same result."""
        shown.view, shown.stage, shown.opacity = view, stage, opacity
        return [*shown.drawn(self.texts), self.texts("say.view", view=self.texts(f"view.{shown.view}"))]

    def show_example(self, index: int, shown: Shown) -> list[Any]:
        """A generated picture, its mask and the result."""
        example = EXAMPLES[index]
        known = [task for _, task in self.tasks]
        task = example.task if example.task in known else known[0]
        picture, truth = self._example_files(index)
        models = self.models_of(task)
        result = self.compare(shown, Path(picture), Path(truth) if truth else None, models["value"], 0.5)[:-1]
        status = self.texts("say.example", label=self.texts(f"example.{example.name}"))
        return [picture, truth, gr.Radio(value=task), gr.CheckboxGroup(**models), 0.5, 0, 0, 0, 100, *result, status]

    def pack(self, shown: Shown) -> Any:
        """The ZIP of the result on screen; nothing if another result has come meanwhile, which gets its own."""
        comparison, severities, turn = shown.kept(self.texts), shown.severities, shown.turn

        def wanted() -> bool:
            return shown.comparison is comparison and shown.turn == turn

        path = serving.new_folder() / "seglab-results.zip"
        wait_for_calm(comparison, wanted)
        try:
            comparison.to_zip(path, wanted)
        except OutdatedError:
            return gr.skip()
        if severities:
            note_in_zip(path, comparison.image, severities)
        return gr.DownloadButton(value=str(path), interactive=True) if wanted() else gr.skip()

    def answer(self, image: Path | None, mask: Path | None, models: Sequence[str], threshold: float) -> tuple[Any, str]:
        """The endpoint /compare: numbers as JSON, and the ZIP."""
        comparison = self._run(image, mask, models, threshold, None)
        return comparison.to_dict(), str(comparison.to_zip(serving.new_folder() / "seglab-results.zip"))

    def _run(
        self, picture: Path | None, truth: Path | None, names: Sequence[str] | None, threshold: float, progress: Any
    ) -> Comparison:
        """Compare, after the request is checked."""
        if picture is None:
            raise ImageError(self.texts("error.first"))
        models = {self.titles[name]: self.predictors[name] for name in self._chosen(names)}
        return compare(picture, models, truth, threshold, on_model=self._reporter(progress, len(models)))

    def _disturb(self, shown: Shown, clean: Comparison, values: Sequence[float]) -> None:
        """Put a comparison and its disturbed copy on the page."""
        severities = dict(zip(KINDS, values, strict=True))
        models = self._models_of(clean)
        found = disturb(clean, models, severities)
        shown.evidence = evidence(models, self.texts)
        shown.clean, shown.comparison, shown.severities = clean, found, {} if is_none(severities) else severities
        self.kept.used(shown)

    def _models_of(self, comparison: Comparison) -> dict[str, Predictor]:
        """The models of a comparison, by the names it has for them."""
        titles = self.titles
        return {titles[name]: one for name, one in self.predictors.items() if self._is_in(name, comparison)}

    def _is_in(self, name: str, comparison: Comparison) -> bool:
        """Whether a comparison has that model."""
        title = self.titles[name]
        return any(title == one.name for one in comparison.results)

    def _reporter(self, progress: Any, total: int) -> Callable[[int, str], None]:
        """What `compare` calls before each model, to move a progress bar."""

        def on_model(number: int, name: str) -> None:
            if progress is not None:
                desc = self.texts("say.running", name=name, number=number + 1, total=total)
                progress((number, total), desc=desc)

        return on_model

    def _chosen(self, names: Sequence[str] | None) -> list[str]:
        """The chosen models, in the order of the page; at least one, and all of one kind."""
        chosen = [name for name in self.predictors if name in (names or ())]
        if not 1 <= len(chosen) <= MAX_MODELS:
            raise ImageError(self.texts("error.models", most=MAX_MODELS, count=len(chosen)))
        if len({len(self.predictors[name].classes) for name in chosen}) > 1:
            raise ImageError(self.texts("error.classes"))
        return chosen

    def _example_files(self, index: int) -> tuple[str, str | None]:
        """Picture and mask of an example, drawn when first asked for and again after they were swept away."""
        files = self._files.get(index)
        if files is None or not all(Path(one).is_file() for one in files if one):
            example = EXAMPLES[index]
            data = load_dataset("synthetic", None, kind=example.task, size=example.size).test
            sample, folder = data[example.number], serving.new_folder("examples")
            picture, truth = folder / f"{example.task}_example.png", folder / f"{example.task}_example_mask.png"
            write_png(picture, np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy()))
            write_mask(truth, sample.mask)
            files = self._files[index] = (str(picture), str(truth) if example.has_mask else None)
        return files


def _note(truth: Path, predictor: Predictor) -> str:
    """Key of the text that says how a mask file was read, where that is not plain."""
    if truth.suffix.lower() == ".json":
        return "say.labelme"
    if len(predictor.classes) == 2 and not {0, 1, 255}.issuperset(mask_values(truth).tolist()):
        return "say.grey"
    return ""


def _in_words(error: Exception, texts: Texts) -> str:
    """What a visitor is told about an error: cause and remedy, never a path of the server."""
    if isinstance(error, ImageError):
        return texts.said(error.message)
    if isinstance(error, ValueError):
        return re.sub(rf"{re.escape(str(serving.private_folder()))}\S*/", "", str(error))
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return texts("error.memory")
    reference = secrets.token_hex(2)
    print(f"seglab: reference {reference}\n{''.join(traceback.format_exception(error))}", flush=True)
    return texts("error.unexpected", reference=reference)
