"""One visitor's result, and the values of everything on the page that shows it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from seglab import serving
from seglab.comparison import VIEWS, Comparison, ModelResult
from seglab.disturbed import cost, in_words
from seglab.explain import StageAttention
from seglab.images import ImageError
from seglab.previews import Screen, gate_bars
from seglab.style import legend
from seglab.texts import ENGLISH, Texts

__all__ = ["MAX_MODELS", "PICTURE", "SLOT", "Shown", "every_model", "plain"]

MAX_MODELS = 4
COLUMNS = ("dice", "iou", "precision", "recall", "hausdorff95_px", "area_percent", "time_ms")
FINEST = "skip 1"  # the attention stage that shows most
SLOT = 5  # values of one model's place: column, caption, picture, caption and picture of the channel gates
PICTURE = 2  # which of them is the picture
STEADY = ("probability", "attention")  # views that no threshold changes


@dataclass
class Shown:
    """What a visitor sees; kept on the server, changed in place, so that a slow ZIP can tell that it is out of date.

    Attributes:
        comparison: What is on the page.
        clean: The same of the undisturbed picture; the same object if nothing is disturbed.
        severities: What the picture is disturbed by, by kind.
        view: One of VIEWS.
        stage: Of the attention.
        opacity: Of colours over the picture.
        evidence: What is known of the models beyond this picture, in Markdown.
        turn: How often something else has been asked for; a ZIP of an earlier turn is no longer wanted.
        screen: Makes it small for drawing.
    """

    comparison: Comparison | None = None
    clean: Comparison | None = None
    severities: dict[str, float] = field(default_factory=dict)
    view: str | None = None
    stage: str | None = None
    opacity: float = 0.6
    evidence: str = ""
    turn: int = 0
    screen: Screen = field(default_factory=Screen, repr=False)

    def kept(self, texts: Texts = ENGLISH) -> Comparison:
        """The comparison, if it is still there."""
        if self.comparison is None:
            raise ImageError(texts("error.expired"))
        return self.comparison

    def result(self, texts: Texts = ENGLISH) -> list[Any]:
        """State, result column, verdict, table, evidence, download, view choice, two tables, emptied; then `drawn`."""
        comparison = self.kept(texts)
        if comparison.truth is not None and self.view == "agreement":
            self.view = None  # it was shown for want of a mask
        drawn = self.drawn(texts)
        choice = gr.Radio([(texts(f"view.{one}"), one) for one in _views(comparison)], value=self.view)
        download, shown = gr.DownloadButton(interactive=False), gr.Column(visible=True)
        return [self, shown, self._said(texts), self._table(texts), self.evidence, download, choice, "", "", *drawn]

    def moved(self, texts: Texts = ENGLISH) -> list[Any]:
        """Of `result`, what a threshold changes: verdict, table, download, two tables, emptied; pictures, slide's last.

        Gradio takes milliseconds for every value, even for one that says to leave a component as it is.
        """
        pictures = [gr.skip()] * (MAX_MODELS + 1)  # these views do not depend on the threshold
        if self.view not in STEADY:
            drawn = self.drawn(texts)
            pictures = [*drawn[2:-2][PICTURE::SLOT], drawn[-1]]
        return [self._said(texts), self._table(texts), gr.DownloadButton(interactive=False), "", "", *pictures]

    def _table(self, texts: Texts) -> str:
        """The numbers in Markdown; an empty heading would be read out as nothing."""
        return self.kept(texts).to_markdown(texts).replace("|  |", f"| {texts('table.measure')} |", 1)

    def _said(self, texts: Texts) -> str:
        """The verdict, and what a disturbance cost."""
        comparison = self.kept(texts)
        verdict = plain(comparison.verdict(texts))
        if self.clean is None or self.clean is comparison:
            return verdict
        lost = plain(cost(self.clean, comparison, texts))
        disturbance = plain(in_words(self.severities, texts))
        return f"{verdict}\n\n{texts('verdict.disturbed', disturbance=disturbance, cost=lost)}"

    def drawn(self, texts: Texts = ENGLISH) -> list[Any]:
        """Stage choice, legend; what every slot shows (see SLOT); caption and pictures to slide between."""
        comparison = self.kept(texts)
        views = _views(comparison)
        if self.view not in views:
            self.view = next(one for one in ("error", "agreement", "outline") if one in views)
        stages = list(dict.fromkeys(stage for one in comparison.results for stage in one.attention))
        if self.stage not in stages:
            self.stage = FINEST if FINEST in stages else next(reversed(stages), None)
        stage = gr.Radio(stages, value=self.stage, visible=self.view == "attention")
        # Agreement is of two models: the first has no picture of its own.
        results = comparison.results[1:] if self.view == "agreement" else comparison.results
        drawn: list[tuple[str, str]] = []
        folder, small = serving.new_folder(), self.screen.fit(comparison)
        slots = [part for one in results for part in self._slot(small, one, folder, drawn, texts)]
        empty = [gr.Column(visible=False), "", gr.Image(value=None), *_no_bars("")]
        slide = self._slide(small, drawn, folder, texts)
        return [stage, legend(self.view, texts), *slots, *empty * (MAX_MODELS - len(results)), *slide]

    def _written(self, path: Path, picture: np.ndarray) -> str:
        """A picture for the page as PNG file."""
        path.write_bytes(self.screen.png(picture))
        return str(path)

    def _slide(self, comparison: Comparison, drawn: list[tuple[str, str]], folder: Path, texts: Texts) -> list[Any]:
        """Caption and pictures of the image slider: the first two models, or the picture and the only map there is."""
        if len(drawn) < 2:
            original = (texts("slide.picture"), self._written(folder / "picture.png", comparison.image))
            drawn = [original, *(drawn or [original])]
        (left, first), (right, second) = drawn[:2]
        return [texts("slide.sides", left=left, right=right), gr.ImageSlider(value=(first, second))]

    def _slot(
        self, comparison: Comparison, result: ModelResult, folder: Path, drawn: list[tuple[str, str]], texts: Texts
    ) -> list[Any]:
        """The SLOT of one model; its picture is noted in `drawn` with its name."""
        view, name = str(self.view), f"**{plain(result.name)}**"
        if view == "attention" and self.stage not in result.attention:
            lacking = texts("caption.no_attention", model=name)
            return [gr.Column(visible=True), lacking, gr.Image(visible=False), *_no_bars("")]
        asked: dict[str, Any] = {"stage": self.stage} if view == "attention" else {}
        caption, bars = name, _no_bars("")
        if view == "agreement":
            asked["other"] = comparison.results[0].name
            caption = texts("caption.agreement", first=f"**{plain(asked['other'])}**", second=name)
        stem = re.sub(r"[^A-Za-z0-9]+", "-", result.name).strip("-").lower() or "model"
        if view == "attention":
            bars = _bars(result.name, result.attention[str(self.stage)], folder / f"{stem}_channels.png", texts)
        pixels = comparison.view(view, result.name, opacity=self.opacity, **asked)
        path = self._written(folder / f"{stem}_{view}.png", pixels)
        drawn.append((name, path))
        alt = comparison.alt_text(view, result.name, texts=texts, **asked)
        return [gr.Column(visible=True), caption, gr.Image(value=path, alt_text=alt, visible=True), *bars]


def _bars(model: str, stage: StageAttention, path: Path, texts: Texts) -> list[Any]:
    """Caption and picture of a module's channel gates."""
    gates = stage.channel
    if not gates.size:
        return _no_bars(texts("gates.none"))
    said = {"count": gates.size, "low": gates.min(), "high": gates.max(), "median": float(np.median(gates))}
    serving.write_preview(path, gate_bars(gates))
    alt = texts("gates.alt", model=model, stage=stage.name, **said)
    return [texts("gates.caption", **said), gr.Image(value=str(path), alt_text=alt, visible=True)]


def _no_bars(caption: str) -> list[Any]:
    """The same where there are none."""
    return [caption, gr.Image(visible=False)]


def every_model(comparison: Comparison, texts: Texts = ENGLISH) -> str:
    """The table of a comparison in Markdown with a row a model, best Dice first if there is a true mask."""
    rows = {row[""]: row for row in comparison.table(texts)}
    titles = [texts(f"metric.{name}") for name in COLUMNS]
    results = sorted(comparison.results, key=lambda one: -(one.numbers["dice"] or 0.0))
    lines = [f"| {texts('every.model')} | " + " | ".join(titles) + " |", "|---" + "|---:" * len(titles) + "|"]
    for result in results:
        cells = (rows[title][result.name] for title in titles)
        lines.append(f"| {plain(result.name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#|!~&$])", r"\\\1", text)


def _views(comparison: Comparison) -> list[str]:
    """The views that this comparison can give."""
    missing = set()
    if comparison.truth is None:
        missing.add("error")
    if len(comparison.results) < 2:
        missing.add("agreement")
    if not any(one.attention for one in comparison.results):
        missing.add("attention")
    return [view for view in VIEWS if view not in missing]
