"""One visitor's result, and the values of everything on the page that shows it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from seglab import serving
from seglab.comparison import VIEWS, Comparison, ModelResult
from seglab.images import ImageError
from seglab.previews import screen_size
from seglab.style import LEGENDS

__all__ = ["MAX_MODELS", "VIEW_NAMES", "Shown", "plain"]

MAX_MODELS = 4
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
    """What a visitor sees; kept on the server, changed in place, so that a slow ZIP can tell that it is out of date."""

    comparison: Comparison | None = None
    view: str | None = None
    stage: str | None = None
    opacity: float = 0.6

    def kept(self) -> Comparison:
        """The comparison, if it is still there."""
        if self.comparison is None:
            raise ImageError("The result is no longer kept. Press Compare again.")
        return self.comparison

    def result(self) -> list[Any]:
        """State, result column, verdict, table, download, view choice; then as `drawn`."""
        comparison = self.kept()
        if comparison.truth is not None and self.view == "agreement":
            self.view = None  # it was shown for want of a mask
        drawn = self.drawn()
        choice = gr.Radio([(VIEW_NAMES[one], one) for one in _views(comparison)], value=self.view)
        download = gr.DownloadButton(interactive=False)
        table = comparison.to_markdown().replace("|  |", "| Measure |", 1)  # an empty heading is read out as nothing
        return [self, gr.Column(visible=True), comparison.verdict(), table, download, choice, *drawn]

    def drawn(self) -> list[Any]:
        """Stage choice, legend, and column, caption and picture of every slot."""
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
        folder, small = serving.new_folder(), screen_size(comparison)
        slots = [part for one in results for part in self._slot(small, one, folder)]
        empty = [gr.Column(visible=False), "", gr.Image(value=None)]
        return [stage, LEGENDS[self.view], *slots, *empty * (MAX_MODELS - len(results))]

    def _slot(self, comparison: Comparison, result: ModelResult, folder: Path) -> list[Any]:
        """Column, caption and picture of one model."""
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
        alt = comparison.alt_text(view, result.name, **asked)
        return [gr.Column(visible=True), caption, gr.Image(value=str(path), alt_text=alt, visible=True)]


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
