"""The page that compares models on one picture: layout, wiring, and handlers of one seglab call each.

Start it with `python app.py` or `seglab app`. What a server needs around the page is in `seglab.serving`, how it looks
in `seglab.style`, what it computes in `seglab.comparison`.
"""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from seglab import serving
from seglab.access import LOCAL, WAITING, Access
from seglab.classroom import Classroom
from seglab.corruptions import find_corruption
from seglab.disturbed import KINDS
from seglab.handlers import EXAMPLES, Handlers, speaking
from seglab.inference import Predictor
from seglab.kept import KeptResults
from seglab.series import MAX_PICTURES, ORDERS
from seglab.shown import MAX_MODELS, PICTURE, SLOT, Shown
from seglab.style import CSS, head, theme
from seglab.texts import ENGLISH, LANGUAGES, Texts
from seglab.train_page import build_train_tab
from seglab.visitors import VisitorModels

__all__ = ["build_app", "launch", "main", "run"]

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
LATEST: dict[str, Any] = {"trigger_mode": "always_last"}  # while a slider moves, only its last place counts
QUIET: dict[str, Any] = {"show_progress": "hidden", **LATEST, **PRIVATE}
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}  # one heavy event at a time, whatever it is


def build_app(predictors: Mapping[str, Predictor], *, training: bool = True) -> gr.Blocks:
    """The page for these models; `launch` it with `serving.launch_options`.

    Args:
        predictors: Models by a short unique name. Names that begin with `skin` or `steel` belong to that task.
        training: Whether the page may start trainings; never where strangers come.
    """
    serving.prepare()
    models = VisitorModels(predictors)  # the one list of models, to which the Train tab adds for its visitor
    classroom = Classroom() if training else None
    results, hourly = KeptResults(), (60, serving.KEPT_SECONDS)
    with gr.Blocks(title=ENGLISH("page.title"), analytics_enabled=False, delete_cache=hourly) as blocks:
        if models:
            _endpoint(Handlers(models))  # first, so that no other event takes its name
        _page(blocks, Handlers(models, ENGLISH, results), classroom)
    for code, texts in LANGUAGES.items():
        if texts is not ENGLISH:
            with blocks.route(texts.name, code, show_in_navbar=False):
                _page(blocks, Handlers(models, texts, results), classroom)
    blocks.queue(max_size=WAITING, default_concurrency_limit=4, api_open=False)
    return serving.speak_of_requests(blocks)  # type: ignore[no-any-return]  # Gradio's __enter__ has no type


def _page(blocks: gr.Blocks, handlers: Handlers, classroom: Classroom | None) -> None:
    """The page in the handlers' language: its tabs."""
    texts = handlers.texts
    gr.Markdown(_languages(texts), elem_id="languages")
    gr.Markdown(texts("page.intro"), elem_id="intro")
    with gr.Tabs(elem_id="tabs") as tabs:
        ui = _compare_tab(blocks, handlers)
        if classroom is not None:
            with gr.Tab(texts("tab.train"), id="train"):
                build_train_tab(blocks, tabs, ui, handlers, classroom)
    gr.Markdown(texts("page.foot"), elem_id="foot")


def _languages(here: Texts) -> str:
    """The menu of languages, each in its own name; English asks to stay English whatever the browser speaks."""
    links = {code: f"[{one.name}]({'./?lang=en' if one is ENGLISH else code})" for code, one in LANGUAGES.items()}
    return " ".join(f"**{one.name}**" if one is here else links[code] for code, one in LANGUAGES.items())


def _compare_tab(blocks: gr.Blocks, handlers: Handlers) -> SimpleNamespace:
    """The tab that compares models; its components by name, none if there is no model."""
    texts = handlers.texts
    with gr.Tab(texts("tab.compare"), id="compare"):
        if not handlers.predictors:
            gr.Markdown(texts("page.no_models"))
            return SimpleNamespace()
        ui = _layout(handlers)
        _wire(blocks, ui, handlers)
        return ui


def _layout(handlers: Handlers) -> SimpleNamespace:
    """All components, by name."""
    texts = handlers.texts
    ui = SimpleNamespace(state=gr.State(Shown(), time_to_live=serving.KEPT_SECONDS))
    with gr.Row(elem_id="examples"):
        ui.examples = [(i, gr.Button(texts(f"example.{EXAMPLES[i].name}"), size="sm")) for i in handlers.examples]
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            _inputs(ui, handlers)
        with gr.Column(scale=2, min_width=320):
            _outputs(ui, texts)
    with gr.Accordion(texts("many.title"), open=False, elem_id="many"):
        _series(ui, texts)
    return ui


def _inputs(ui: SimpleNamespace, handlers: Handlers) -> None:
    """The left column."""
    task, texts = handlers.tasks[0][1], handlers.texts
    ui.picture = _picture(texts, elem_id="picture", height=240)
    ui.truth = _truth(texts, elem_id="truth", height=140)
    with gr.Accordion(texts("paint.title"), open=False):
        gr.Column(elem_id="paint")  # page.js puts the painting here: Gradio's editor needs 'unsafe-eval'
    choice: dict[str, Any] = {"label": texts("task.label"), "visible": len(handlers.tasks) > 1}
    ui.task = gr.Radio(handlers.tasks, value=task, **choice)
    said: dict[str, Any] = {"label": texts("models.label"), "info": texts("models.info", most=MAX_MODELS)}
    ui.models = gr.CheckboxGroup(**handlers.models_of(task), **said)
    ui.threshold = _threshold(texts)
    with gr.Accordion(texts("disturb.title"), open=False, elem_id="disturb"):
        gr.Markdown(texts("disturb.help"), elem_classes="small")
        ui.severities = [_severity(kind, texts) for kind in KINDS]
        ui.breaking = gr.Button(texts("disturb.break"), size="sm")
    ui.compare = gr.Button(texts("compare.button"), variant="primary", elem_id="compare")


def _outputs(ui: SimpleNamespace, texts: Texts) -> None:
    """The right column."""
    ui.status = gr.Markdown("", elem_id="live")
    with gr.Column(visible=False) as ui.result:
        ui.verdict = gr.Markdown("", elem_id="verdict")
        ui.view = gr.Radio([], label=texts("view.label"), elem_id="view")
        ui.stage = gr.Radio([], label=texts("stage.label"), visible=False)
        ui.legend = gr.Markdown("", elem_id="legend")
        with gr.Row(elem_id="pictures"):
            ui.slots = [part for i in range(MAX_MODELS) for part in _slot(i)]
        ui.opacity = gr.Slider(0, 1, 0.6, step=0.05, label=texts("opacity.label"))
        with gr.Accordion(texts("slide.title"), open=False, elem_id="slide"):
            ui.divider = gr.Slider(0, 100, 50, step=1, label=texts("slide.divider"))
            ui.slide = [gr.Markdown(""), gr.ImageSlider(show_label=False, buttons=[], interactive=False, format="png")]
        ui.table = gr.Markdown("", elem_id="numbers", elem_classes="scroll")
        ui.evidence = gr.Markdown("", elem_id="evidence", elem_classes=["scroll", "small"])
        ui.points = gr.Markdown("", elem_id="points", elem_classes="scroll")
        ui.every = gr.Button(texts("every.button"), size="sm")
        ui.everyone = gr.Markdown("", elem_id="everyone", elem_classes="scroll")
        ui.download = gr.DownloadButton(texts("download.label"), elem_id="download", interactive=False)


def _series(ui: SimpleNamespace, texts: Texts) -> None:
    """Many pictures: files, order, table, ZIP. Models and threshold are those of the left column."""
    gr.Markdown(texts("many.help", most=MAX_PICTURES), elem_classes="small")
    files = gr.File(label=texts("many.files"), file_count="multiple", elem_id="files", height=160)
    ui.files = _guarded(files, "picture", texts)
    orders = [(texts(f"order.{one}"), one) for one in ORDERS]
    ui.order = gr.Radio(orders, value=ORDERS[0], label=texts("order.label"))
    ui.run_series = gr.Button(texts("many.button"), variant="primary")
    ui.entries = gr.State([], time_to_live=serving.KEPT_SECONDS)
    ui.series = gr.Markdown("", elem_id="series", elem_classes="scroll")
    ui.series_zip = gr.DownloadButton(texts("many.download"), interactive=False, elem_id="series-zip")


def _slot(number: int) -> list[Any]:
    """Place for one model: column, caption, picture; caption and picture of its channel gates. See `shown.SLOT`."""
    looks: dict[str, Any] = {"show_label": False, "interactive": False, "format": "png", "container": False}
    with gr.Column(visible=False, min_width=160) as column:
        caption = gr.Markdown("")
        picture = gr.Image(buttons=["download", "fullscreen"], elem_id=f"out_{number}", **looks)
        said = gr.Markdown("", elem_classes="small")
        gates = gr.Image(buttons=[], visible=False, elem_id=f"gates_{number}", elem_classes="gates", **looks)
    return [column, caption, picture, said, gates]


def _picture(texts: Texts, **looks: Any) -> Any:
    """The guarded input for the picture."""
    image = gr.Image(type="filepath", image_mode=None, sources=["upload"], label=texts("picture.label"), buttons=[],
                     placeholder=texts("picture.drop"), alt_text=texts("picture.alt"), **looks)  # fmt: skip
    return _guarded(image, "picture", texts)


def _truth(texts: Texts, **looks: Any) -> Any:
    """The guarded input for the true mask."""
    types = [".png", ".bmp", ".tif", ".tiff", ".json"]
    return _guarded(gr.File(label=texts("truth.label"), file_types=types, **looks), "mask", texts)


def _guarded(component: Any, what: str, texts: Texts) -> Any:
    """`serving.guard`, its refusals in the visitor's language."""
    read = serving.guard(component, what).preprocess

    def preprocess(payload: Any) -> Any:
        try:
            return read(payload)
        except gr.Error as error:
            raise serving.spoken(texts.said(str(error.message))) from None

    component.preprocess = preprocess
    return component


def _threshold(texts: Texts) -> gr.Slider:
    """The threshold input."""
    said: dict[str, Any] = {"label": texts("threshold.label"), "info": texts("threshold.info")}
    return gr.Slider(0.05, 0.95, 0.5, step=0.01, **said)


def _severity(kind: str, texts: Texts) -> gr.Slider:
    """The slider of one disturbance; it starts at none."""
    one = find_corruption(kind)
    step = 1 if one.whole or one.high > 10 else 0.05
    label = texts("disturb.slider", title=texts(f"corruption.{kind}"), unit=texts(f"corruption.{kind}.unit"))
    return gr.Slider(one.low, one.high, one.none, step=step, label=label, info=texts("disturb.none", value=one.none))


def _wire(blocks: gr.Blocks, ui: SimpleNamespace, handlers: Handlers) -> None:
    """Which event calls which handler."""
    drawn = [ui.stage, ui.legend, *ui.slots, *ui.slide, ui.status]
    said = [ui.verdict, ui.table, ui.evidence]
    result = [ui.state, ui.result, *said, ui.download, ui.view, ui.points, ui.everyone, *drawn]
    shelf = [ui.picture, ui.truth, ui.task, ui.models, ui.threshold, *ui.severities, *result]

    def on(event: Any, handler: Any, inputs: Any, outputs: list[Any], guarded: int = 0, **more: Any) -> Any:
        # After an error, guarded inputs are emptied (with a plain value, see serving.guard); the rest stays as it is,
        # but a result that is of another picture than the one refused must not stand beside the message.
        hidden = gr.Column(visible=False) if handler == handlers.check_picture else gr.skip()
        blanks = [None] * guarded + [hidden] * (len(outputs) - guarded - 1)
        place = {"show_progress_on": ui.status, **PRIVATE, **more}
        return event(speaking(handler, blanks, handlers.texts), inputs, outputs, **place)

    def pack(done: Any) -> None:
        # Apart from the models' queue: the next comparison does not wait for the last one's ZIP.
        done.success(handlers.pack, ui.state, ui.download, concurrency_id="zip", **QUIET)

    checked = on(ui.picture.upload, handlers.check_picture, ui.picture, [ui.picture, ui.result, ui.status], 1)
    checked.success(handlers.keep_truth, [ui.truth, ui.picture], ui.truth, show_progress="hidden", **PRIVATE)
    on(ui.truth.upload, handlers.check_truth, [ui.truth, ui.picture, ui.models], [ui.truth, ui.status], 1)
    ui.task.input(handlers.choose_task, ui.task, ui.models, show_progress="hidden", **PRIVATE)
    asked = [ui.state, ui.picture, ui.truth, ui.models, ui.threshold, *ui.severities]
    pack(on(ui.compare.click, handlers.compare, asked, result, **MODEL))
    new = [ui.verdict, ui.table, ui.download, ui.points, ui.everyone, *ui.slots[PICTURE::SLOT], ui.slide[1], ui.status]
    pack(on(ui.threshold.input, handlers.move, [ui.state, ui.threshold], new, **MODEL, **LATEST))
    for event in (ui.view.input, ui.stage.input, ui.opacity.input):
        on(event, handlers.look, [ui.state, ui.view, ui.stage, ui.opacity], drawn, **LATEST)
    for slider in ui.severities:
        pack(on(slider.input, handlers.disturb, [ui.state, *ui.severities], result, **MODEL, **LATEST))
    on(ui.breaking.click, handlers.breaking, ui.state, [ui.points, ui.status], **MODEL)
    on(ui.every.click, handlers.every_model, ui.state, [ui.everyone, ui.status], **MODEL)
    many = [ui.files, ui.models, ui.threshold, ui.order]
    on(ui.run_series.click, handlers.series, many, [ui.entries, ui.series, ui.series_zip, ui.status], **MODEL,
       show_progress_on=[ui.status, ui.series])  # fmt: skip
    ui.order.input(handlers.ordered, [ui.entries, ui.order], ui.series, **QUIET)
    ui.divider.input(_move_divider, ui.divider, ui.slide[1], **QUIET)
    starts = [(index, button.click) for index, button in ui.examples]
    for index, event in [*starts, *[(index, blocks.load) for index, _ in starts[:1]]]:
        pack(on(event, partial(handlers.show_example, index), ui.state, shelf, 2, **MODEL))


def _move_divider(percent: float) -> Any:
    """The divider, where a key or a finger has put it."""
    return gr.ImageSlider(slider_position=percent)


def _endpoint(handlers: Handlers) -> None:
    """`/compare` for programs: picture, mask, models, threshold in; numbers and ZIP out."""
    with gr.Column(visible=False):
        names = list(handlers.predictors)
        models = gr.CheckboxGroup(names, value=names[:2], label=ENGLISH("models.label"))
        inputs = [_picture(ENGLISH), _truth(ENGLISH), models, _threshold(ENGLISH)]
        outputs = [gr.JSON(), gr.File()]
        gr.Button("compare").click(speaking(handlers.answer, None), inputs, outputs, api_name="compare", **MODEL)


def launch(
    blocks: gr.Blocks, port: int | None, *, browser: bool = False, wait: bool = True, access: Access = LOCAL
) -> str:
    """Serve the page and give its address; without `wait` in the background (for tests)."""
    options = serving.launch_options(port, browser=browser, quiet=not wait, access=access)
    options |= {"theme": theme(), "css": CSS, "head": head(), "i18n": _spoken_by_gradio()}
    _, address, _ = blocks.launch(**options, prevent_thread_lock=not wait)
    return str(address)


def _spoken_by_gradio() -> gr.I18n:
    """What Gradio tells screen readers and has no word for: it would read out the key."""
    codes = {"zh": "zh-CN"}
    return gr.I18n(
        **{codes.get(code, code): {"common.complete": one("gradio.complete")} for code, one in LANGUAGES.items()}
    )


def run(
    models: Sequence[str | Path] = (),
    port: int | None = 7860,
    *,
    browser: bool | None = None,
    access: Access = LOCAL,
) -> int:
    """Load the models and serve the page until Ctrl-C or SIGTERM.

    Args:
        models: Your own checkpoints or run folders, beside the shipped ones.
        port: Port on this computer; None takes the first free one from 7860 on.
        browser: Open a browser window; None does so if a person sits at the terminal.
        access: Who may come; a public page has no training and opens no window.

    Returns:
        The exit code.

    Raises:
        FileNotFoundError, ValueError: If one of `models` cannot be read.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, so that the files are removed
    blocks = build_app(serving.load_models(models), training=not access.public)
    serving.sweep_forever()
    browser = sys.stdout.isatty() if browser is None else browser
    if access.public:
        print(f"seglab: warning: {access.warning}", file=sys.stderr)
    launch(blocks, port, browser=browser and not access.public, access=access)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`python app.py`: read the command line and run."""
    parser = argparse.ArgumentParser(prog="app.py", description="Compare models on your own pictures, in the browser.")
    parser.add_argument("--models", nargs="+", metavar="FILE", default=[], help="your own checkpoints or run folders")
    parser.add_argument("--port", type=int, default=7860, help="on this computer only (default: 7860)")
    parser.add_argument("--no-browser", action="store_true", help="open no browser window")
    arguments = parser.parse_args(argv)
    try:
        return run(arguments.models, arguments.port, browser=False if arguments.no_browser else None)
    except (ValueError, OSError) as error:
        print(f"app.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
