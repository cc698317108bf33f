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
from seglab.corruptions import find_corruption
from seglab.disturbed import KINDS
from seglab.handlers import EXAMPLES, Handlers, speaking
from seglab.inference import Predictor
from seglab.series import MAX_PICTURES, ORDERS, Entry, series_table
from seglab.shown import MAX_MODELS, Shown
from seglab.style import CSS, HEAD, theme
from seglab.texts import ENGLISH, Texts

__all__ = ["build_app", "launch", "main", "run"]

INTRO = """# Compare a baseline and an attention model
Both models get the same picture. Add the true mask and the app shows where each one is right, draws too much or misses.

Research demo, not a medical device. Files stay on this computer and are deleted after one hour."""
NO_MODELS = """## No model is installed yet
Train one: `seglab train unet bce_dice DATA --out runs/first`. Then start the app with it:
`python app.py --models runs/first/best.safetensors`. Trained models in `assets/models/` are found by themselves."""
FOOT = """Example pictures are generated, not photographs. One picture is no evidence: compare models on a test set with
`seglab compare`. For whole folders use `seglab predict`; it gives the same masks. Programs can call `/compare`."""
MANY = f"""Up to {MAX_PICTURES} pictures, 20 MB together; for more use `seglab predict`. The models and the threshold
chosen above hold. `NAME_mask.png` or a labelme `NAME.json` is taken as the true mask of `NAME`."""
FORMATS = "JPEG, PNG, WebP, BMP or TIFF, up to 20 MB and 40 megapixels, for example 8000 × 5000."
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
LATEST: dict[str, Any] = {"trigger_mode": "always_last"}  # while a slider moves, only its last place counts
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}  # one heavy event at a time, whatever it is


def build_app(predictors: Mapping[str, Predictor], *, training: bool = True) -> gr.Blocks:
    """The page for these models; `launch` it with `serving.launch_options`.

    Args:
        predictors: Models by a short unique name. Names that begin with `skin` or `steel` belong to that task.
        training: Whether the page may start trainings; never where strangers come.
    """
    serving.prepare()
    models = dict(predictors)  # the one list of models, to which the Train tab may add
    title = "seglab: compare models on one picture"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(60, serving.KEPT_SECONDS)) as blocks:
        if models:
            _endpoint(Handlers(models))  # first, so that no other event takes its name
        _page(blocks, Handlers(models), ENGLISH, training=training)
    blocks.queue(max_size=WAITING, default_concurrency_limit=4, api_open=False)
    return blocks  # type: ignore[no-any-return]  # Gradio's __enter__ has no type


def _page(blocks: gr.Blocks, handlers: Handlers, texts: Texts, *, training: bool) -> None:
    """The page in one language: its tabs."""
    gr.Markdown(INTRO, elem_id="intro")
    with gr.Tabs(elem_id="tabs"):
        ui = _compare_tab(blocks, handlers, texts)  # noqa: F841 - for the line below
        # if training:
        #     with gr.Tab(texts("tab.train"), id="train"): build_train_tab(ui, handlers, texts)
    gr.Markdown(FOOT, elem_id="foot")


def _compare_tab(blocks: gr.Blocks, handlers: Handlers, texts: Texts) -> SimpleNamespace:
    """The tab that compares models; its components by name, none if there is no model."""
    with gr.Tab(texts("tab.compare"), id="compare"):
        if not handlers.predictors:
            gr.Markdown(NO_MODELS)
            return SimpleNamespace()
        ui = _layout(handlers)
        _wire(blocks, ui, handlers)
        return ui


def _layout(handlers: Handlers) -> SimpleNamespace:
    """All components, by name."""
    ui = SimpleNamespace(state=gr.State(Shown(), time_to_live=serving.KEPT_SECONDS))
    with gr.Row(elem_id="examples"):
        ui.examples = [(i, gr.Button(EXAMPLES[i].label, size="sm")) for i in handlers.examples]
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            _inputs(ui, handlers)
        with gr.Column(scale=2, min_width=320):
            _outputs(ui)
    with gr.Accordion("Many pictures at once", open=False, elem_id="many"):
        _series(ui)
    return ui


def _inputs(ui: SimpleNamespace, handlers: Handlers) -> None:
    """The left column."""
    task = handlers.tasks[0][1]
    ui.picture = _picture(elem_id="picture", height=240)
    ui.truth = _truth(elem_id="truth", height=140)
    ui.task = gr.Radio(handlers.tasks, value=task, label="Task", visible=len(handlers.tasks) > 1)
    ui.models = gr.CheckboxGroup(**handlers.models_of(task), label="Models", info=f"One to {MAX_MODELS}.")
    ui.threshold = _threshold()
    with gr.Accordion("Disturb the picture", open=False, elem_id="disturb"):
        gr.Markdown(
            "Both models get the picture disturbed by so much. The true mask stays as it is.", elem_classes="small"
        )
        ui.severities = [_severity(kind) for kind in KINDS]
        ui.breaking = gr.Button("Find what breaks each model", size="sm")
    ui.compare = gr.Button("Compare", variant="primary", elem_id="compare")


def _outputs(ui: SimpleNamespace) -> None:
    """The right column."""
    ui.status = gr.Markdown("", elem_id="live")
    with gr.Column(visible=False) as ui.result:
        ui.verdict = gr.Markdown("", elem_id="verdict")
        ui.view = gr.Radio([], label="View", elem_id="view")
        ui.stage = gr.Radio([], label="Attention stage", visible=False)
        ui.legend = gr.Markdown("", elem_id="legend")
        with gr.Row(elem_id="pictures"):
            ui.slots = [part for i in range(MAX_MODELS) for part in _slot(i)]
        ui.opacity = gr.Slider(0, 1, 0.6, step=0.05, label="Opacity of the colours")
        with gr.Accordion("Slide between two pictures", open=False, elem_id="slide"):
            ui.divider = gr.Slider(0, 100, 50, step=1, label="Divider, % from the left")
            ui.slide = [gr.Markdown(""), gr.ImageSlider(show_label=False, buttons=[], interactive=False, format="png")]
        ui.table = gr.Markdown("", elem_id="numbers", elem_classes="scroll")
        ui.points = gr.Markdown("", elem_id="points", elem_classes="scroll")
        ui.every = gr.Button("All models of this task in one table", size="sm")
        ui.everyone = gr.Markdown("", elem_id="everyone", elem_classes="scroll")
        ui.download = gr.DownloadButton("Download all (ZIP)", elem_id="download", interactive=False)


def _series(ui: SimpleNamespace) -> None:
    """Many pictures: files, order, table, ZIP. Models and threshold are those of the left column."""
    gr.Markdown(MANY, elem_classes="small")
    files = gr.File(label="Pictures and their masks", file_count="multiple", elem_id="files", height=160)
    ui.files = serving.guard(files, "picture")
    ui.order = gr.Radio(list(ORDERS), value=ORDERS[0], label="Order")
    ui.run_series = gr.Button("Compare on all pictures", variant="primary")
    ui.entries = gr.State([], time_to_live=serving.KEPT_SECONDS)
    ui.series = gr.Markdown("", elem_id="series", elem_classes="scroll")
    ui.series_zip = gr.DownloadButton("Download table (CSV) and masks (ZIP)", interactive=False, elem_id="series-zip")


def _slot(number: int) -> list[Any]:
    """Place for one model's picture: column, caption, picture."""
    with gr.Column(visible=False, min_width=160) as column:
        caption = gr.Markdown("")
        picture = gr.Image(show_label=False, buttons=["download", "fullscreen"], interactive=False,
                           format="png", elem_id=f"out_{number}", container=False)  # fmt: skip
    return [column, caption, picture]


def _picture(**looks: Any) -> Any:
    """The guarded input for the picture."""
    image = gr.Image(type="filepath", image_mode=None, sources=["upload"], label="Picture", buttons=[],
                     placeholder=f"Drop a picture here, or click to choose one\n{FORMATS}",
                     alt_text="The picture that the models get", **looks)  # fmt: skip
    return serving.guard(image, "picture")


def _truth(**looks: Any) -> Any:
    """The guarded input for the true mask."""
    types = [".png", ".bmp", ".tif", ".tiff", ".json"]
    file = gr.File(label="True mask, optional: PNG, BMP, TIFF or labelme JSON", file_types=types, **looks)
    return serving.guard(file, "mask")


def _threshold() -> gr.Slider:
    """The threshold input."""
    return gr.Slider(
        0.05, 0.95, 0.5, step=0.01, label="Threshold", info="Probability from which a pixel counts as object."
    )


def _severity(kind: str) -> gr.Slider:
    """The slider of one disturbance; it starts at none."""
    one = find_corruption(kind)
    step = 1 if one.whole or one.high > 10 else 0.05
    return gr.Slider(
        one.low, one.high, one.none, step=step, label=f"{one.title}: {one.unit}", info=f"None: {one.none:g}"
    )


def _wire(blocks: gr.Blocks, ui: SimpleNamespace, handlers: Handlers) -> None:
    """Which event calls which handler."""
    drawn = [ui.stage, ui.legend, *ui.slots, *ui.slide, ui.status]
    result = [ui.state, ui.result, ui.verdict, ui.table, ui.download, ui.view, ui.points, ui.everyone, *drawn]
    shelf = [ui.picture, ui.truth, ui.task, ui.models, ui.threshold, *ui.severities, *result]

    def on(event: Any, handler: Any, inputs: Any, outputs: list[Any], guarded: int = 0, **more: Any) -> Any:
        # After an error, guarded inputs are emptied (with a plain value, see serving.guard); the rest stays as it is.
        blanks = [None] * guarded + [gr.skip()] * (len(outputs) - guarded - 1)
        place = {"show_progress_on": ui.status, **PRIVATE, **more}
        return event(speaking(handler, blanks), inputs, outputs, **place)

    def pack(done: Any) -> None:
        # Apart from the models' queue: the next comparison does not wait for the last one's ZIP.
        quiet = {"concurrency_id": "zip", "show_progress": "hidden", **LATEST, **PRIVATE}
        done.success(handlers.pack, ui.state, ui.download, **quiet)

    checked = on(ui.picture.upload, handlers.check_picture, ui.picture, [ui.picture, ui.result, ui.status], 1)
    checked.success(handlers.keep_truth, [ui.truth, ui.picture], ui.truth, show_progress="hidden", **PRIVATE)
    on(ui.truth.upload, handlers.check_truth, [ui.truth, ui.picture, ui.models], [ui.truth, ui.status], 1)
    ui.task.input(handlers.choose_task, ui.task, ui.models, show_progress="hidden", **PRIVATE)
    asked = [ui.state, ui.picture, ui.truth, ui.models, ui.threshold, *ui.severities]
    pack(on(ui.compare.click, handlers.compare, asked, result, **MODEL))
    pack(on(ui.threshold.input, handlers.move, [ui.state, ui.threshold], result, **MODEL, **LATEST))
    for event in (ui.view.input, ui.stage.input, ui.opacity.input):
        on(event, handlers.look, [ui.state, ui.view, ui.stage, ui.opacity], drawn, **LATEST)
    for slider in ui.severities:
        pack(on(slider.input, handlers.disturb, [ui.state, *ui.severities], result, **MODEL, **LATEST))
    on(ui.breaking.click, handlers.breaking, ui.state, [ui.points, ui.status], **MODEL)
    on(ui.every.click, handlers.every_model, ui.state, [ui.everyone, ui.status], **MODEL)
    many = [ui.files, ui.models, ui.threshold, ui.order]
    on(ui.run_series.click, handlers.series, many, [ui.entries, ui.series, ui.series_zip, ui.status], **MODEL,
       show_progress_on=[ui.status, ui.series])  # fmt: skip
    quiet = {"show_progress": "hidden", **LATEST, **PRIVATE}
    ui.order.input(_in_order, [ui.entries, ui.order], ui.series, **quiet)
    ui.divider.input(_move_divider, ui.divider, ui.slide[1], **quiet)
    starts = [(index, button.click) for index, button in ui.examples]
    for index, event in [*starts, *[(index, blocks.load) for index, _ in starts[:1]]]:
        pack(on(event, partial(handlers.show_example, index), ui.state, shelf, 2, **MODEL))


def _move_divider(percent: float) -> Any:
    """The divider, where a key or a finger has put it."""
    return gr.ImageSlider(slider_position=percent)


def _in_order(entries: list[Entry], order: str) -> str:
    """The table of many pictures in another order; nothing before there is one."""
    return series_table(entries, order) if entries else ""


def _endpoint(handlers: Handlers) -> None:
    """`/compare` for programs: picture, mask, models, threshold in; numbers and ZIP out."""
    with gr.Column(visible=False):
        names = list(handlers.predictors)
        inputs = [_picture(), _truth(), gr.CheckboxGroup(names, value=names[:2], label="Models"), _threshold()]
        outputs = [gr.JSON(), gr.File()]
        gr.Button("compare").click(speaking(handlers.answer, None), inputs, outputs, api_name="compare", **MODEL)


def launch(
    blocks: gr.Blocks, port: int | None, *, browser: bool = False, wait: bool = True, access: Access = LOCAL
) -> str:
    """Serve the page and give its address; without `wait` in the background (for tests)."""
    options = serving.launch_options(port, browser=browser, quiet=not wait, access=access)
    _, address, _ = blocks.launch(**options, theme=theme(), css=CSS, head=HEAD, prevent_thread_lock=not wait)
    return str(address)


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
