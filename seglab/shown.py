"""One visitor's result, and the values of everything on the page that shows it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from seglab import serving
from seglab.comparison import METRICS, VIEWS, Comparison, ModelResult
from seglab.disturbed import cost, in_words
from seglab.images import ImageError
from seglab.previews import screen_size
from seglab.style import LEGENDS

__all__ = ["MAX_MODELS", "VIEW_NAMES", "Shown", "every_model", "plain"]

MAX_MODELS = 4
COLUMNS = ("dice", "iou", "precision", "recall", "hausdorff95_px", "area_percent", "time_ms")
FINEST = "skip 1"  # the attention stage that shows most
VIEW_NAMES = {
    "outline": "Outlines",
    "error": "Error map",
    "agreement": "Agreement",
    "probability": "Probability",
    "attention": "Attention",
    "mask": "Mask only",
}


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
    """

    comparison: Comparison | None = None
    clean: Comparison | None = None
    severities: dict[str, float] = field(default_factory=dict)
    view: str | None = None
    stage: str | None = None
    opacity: float = 0.6

    def kept(self) -> Comparison:
        """The comparison, if it is still there."""
        if self.comparison is None:
            raise ImageError("The result is no longer kept. Press Compare again.")
        return self.comparison

    def result(self) -> list[Any]:
        """State, result column, verdict, table, download, view choice, two more tables, emptied; then as `drawn`."""
        comparison = self.kept()
        if comparison.truth is not None and self.view == "agreement":
            self.view = None  # it was shown for want of a mask
        drawn = self.drawn()
        choice = gr.Radio([(VIEW_NAMES[one], one) for one in _views(comparison)], value=self.view)
        download = gr.DownloadButton(interactive=False)
        table = comparison.to_markdown().replace("|  |", "| Measure |", 1)  # an empty heading is read out as nothing
        return [self, gr.Column(visible=True), self._said(), table, download, choice, "", "", *drawn]

    def _said(self) -> str:
        """The verdict, and what a disturbance cost."""
        comparison = self.kept()
        if self.clean is None or self.clean is comparison:
            return comparison.verdict()
        lost = plain(cost(self.clean, comparison))
        return f"{comparison.verdict()}\n\n**Disturbed picture:** {in_words(self.severities)}. {lost}"

    def drawn(self) -> list[Any]:
        """Stage choice, legend; column, caption and picture of every slot; caption and pictures to slide between."""
        comparison = self.kept()
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
        folder, small = serving.new_folder(), screen_size(comparison)
        slots = [part for one in results for part in self._slot(small, one, folder, drawn)]
        empty = [gr.Column(visible=False), "", gr.Image(value=None)]
        slide = self._slide(small, drawn, folder)
        return [stage, LEGENDS[self.view], *slots, *empty * (MAX_MODELS - len(results)), *slide]

    @staticmethod
    def _slide(comparison: Comparison, drawn: list[tuple[str, str]], folder: Path) -> list[Any]:
        """Caption and pictures of the image slider: the first two models, or the picture and the only map there is."""
        if len(drawn) < 2:
            original = serving.write_preview(folder / "picture.png", comparison.image)
            drawn = [("the picture", str(original)), *(drawn or [("the picture", str(original))])]
        (left, first), (right, second) = drawn[:2]
        return [f"Left: {left}. Right: {right}.", gr.ImageSlider(value=(first, second))]

    def _slot(
        self, comparison: Comparison, result: ModelResult, folder: Path, drawn: list[tuple[str, str]]
    ) -> list[Any]:
        """Column, caption and picture of one model; a picture is noted in `drawn` with its model's name."""
        view, caption = str(self.view), f"**{plain(result.name)}**"
        if view == "attention" and self.stage not in result.attention:
            return [gr.Column(visible=True), f"{caption} has no attention module.", gr.Image(visible=False)]
        asked: dict[str, Any] = {"stage": self.stage} if view == "attention" else {}
        if view == "agreement":
            asked["other"] = comparison.results[0].name
            caption = f"First: **{plain(asked['other'])}**, second: {caption}"
        pixels = comparison.view(view, result.name, opacity=self.opacity, **asked)
        name = re.sub(r"[^A-Za-z0-9]+", "-", result.name).strip("-").lower() or "model"
        path = serving.write_preview(folder / f"{name}_{view}.png", pixels)
        drawn.append((f"**{plain(result.name)}**", str(path)))
        alt = comparison.alt_text(view, result.name, **asked)
        return [gr.Column(visible=True), caption, gr.Image(value=str(path), alt_text=alt, visible=True)]


def every_model(comparison: Comparison) -> str:
    """The table of a comparison in Markdown with a row a model, best Dice first if there is a true mask."""
    rows = {row[""]: row for row in comparison.table()}
    titles = [METRICS[name][0] for name in COLUMNS]
    results = sorted(comparison.results, key=lambda one: -(one.numbers["dice"] or 0.0))
    lines = ["| Model | " + " | ".join(titles) + " |", "|---" + "|---:" * len(titles) + "|"]
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
