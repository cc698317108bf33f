"""How the page looks and reads aloud: theme, style sheet, one small script (`page.js`), legends."""

import json
from pathlib import Path
from typing import Any

from seglab.texts import LANGUAGES, Texts

__all__ = ["CSS", "head", "legend", "theme"]

CSS = """
.gradio-container { width: 100%; max-width: 1320px !important; margin: 0 auto !important; }
#intro h1 { margin: 0 0 .2em; font-size: 1.7em; }
#intro p, #foot p { margin: .2em 0; }
#foot, .small { font-size: .9em; }
:is(#live, #train-live) { min-height: 1.6em; }
:is(#live, #train-live) .prose { font-weight: 600; }
:is(#live, #train-live) .wrap:has(.error) { display: none !important; }
#verdict .prose { font-size: 1.15em; }
#examples { flex-wrap: wrap; gap: 8px; }
#examples button { flex: 0 1 auto; min-width: 0; }
#pictures, .board { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr));
                    gap: 12px; align-items: end; }
#pictures > :not(:has(img)) { align-self: start; }
:is(#pictures, .board) > .column, :is(#pictures, .board) > div { min-width: 0 !important; }
.board { align-items: start !important; }
#train-result :is(pre, code) { white-space: pre-wrap; overflow-wrap: anywhere; }
:is(#pictures, .board) img { object-fit: contain; }
:is(#numbers, #points, #everyone, #series, #evidence) { overflow-x: auto; }
.scroll table { width: 100%; font-variant-numeric: tabular-nums; border-color: var(--border-color-primary); }
.scroll th, .scroll td { padding: 5px 10px; border-color: var(--border-color-primary); word-break: normal;
                           overflow-wrap: normal; hyphens: none; }
.scroll td { white-space: nowrap; }
.scroll td:not(:first-child), .scroll th:not(:first-child) { text-align: right; }
#numbers td:not(:first-child), #numbers th:not(:first-child) { width: 24%; }
.key { display: inline-block; width: 1.2em; height: 1.2em; margin: 0 .35em 0 .9em; vertical-align: -.2em;
       border: 1px solid #767676; border-radius: 3px; }
.key:first-child { margin-left: 0; }
.correct { background: #80C0FF; } .extra { background: #FF8000; } .white { background: #fff; }
.missed { background: repeating-linear-gradient(135deg, #000040 0 4px, #fff 4px 6px); }
.scale { width: 9em; background: linear-gradient(90deg, #00224e, #35456c, #666970, #948e77, #c8b866, #fee838); }
.gradio-container button:focus-visible, .gradio-container input:focus-visible, .gradio-container a:focus-visible,
.gradio-container [tabindex]:focus-visible { outline: 3px solid #1d5fbf !important; outline-offset: 2px; }
.dark .gradio-container button:focus-visible,
.dark .gradio-container input:focus-visible { outline-color: #80C0FF !important; }
.nav-holder { display: none; }  /* the languages are links of our own */
#languages { text-align: right; }
#languages p { margin: 0; }
#languages a, #languages strong { display: inline-block; min-width: 24px; padding: 4px 6px; }
.gates img { width: 100%; height: 48px; object-fit: fill; }
.paint-tool { display: grid; gap: 8px; }
.paint-tool p { margin: 0; font-size: .9em; }
.paint-row { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; }
.paint-row label { display: flex; flex-wrap: wrap; gap: 6px; font-size: .9em; }
.paint-row input { accent-color: #1d5fbf; min-height: 24px; }
.paint-tool button { min-height: 32px; padding: 2px 12px; border: 1px solid #767676; border-radius: 6px; }
.paint-tool button[aria-pressed=true] { background: #1d4ed8; color: #fff; }
.paint-board { position: relative; line-height: 0; overflow: hidden; }
.paint-board[hidden] { display: none; }
.paint-board img { width: 100%; }
.paint-board canvas { position: absolute; inset: 0; width: 100%; height: 100%; opacity: .65; touch-action: none;
                      cursor: crosshair; }
.paint-board canvas:focus-visible { outline: 3px solid #1d5fbf; outline-offset: -3px; opacity: .75; }
.paint-ring { position: absolute; pointer-events: none; border: 2px solid #fff; border-radius: 50%;
              box-shadow: 0 0 0 2px #000040; display: none; }
.paint-board:has(canvas:focus) .paint-ring { display: block; }
.gr-accordion > button { min-height: 28px; align-items: center; }
.file .download a { display: inline-flex; align-items: center; min-height: 24px; }
.tab-like-container button { min-height: 26px; }
[role=tab][aria-selected=true] { color: #1d4ed8 !important; }  /* Gradio's own blue is too light for text */
.dark [role=tab][aria-selected=true] { color: #80C0FF !important; }
.icon-button { min-width: 28px; min-height: 28px; }
#spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 640px) { #numbers th, #numbers td { padding: 5px 6px; font-size: .86em; }
                            #numbers td:first-child { white-space: normal; } }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
"""


def head() -> str:
    """The page's script, with what it says in every language."""
    said = {code: _spoken_by_script(texts) for code, texts in LANGUAGES.items()}
    content = json.dumps(said, ensure_ascii=False).replace("</", "<\\/")  # nothing in a text may end the script
    script = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
    return f"<script>\n(() => {{\nconst TEXTS = {content};\n{script}}})();\n</script>\n"


def _spoken_by_script(texts: Texts) -> dict[str, str]:
    """The texts of the script by their names without the prefix."""
    found = {key.removeprefix("script."): text for key, text in texts.entries.items() if key.startswith("script.")}
    return found | {"title": texts("page.title")}


SCALE = '0 <span class="key scale" style="margin:0 .35em"></span> 1.'
KEYS = {  # by view: colours and the ends of their texts
    "outline": (("extra", "model"), ("white", "truth")),
    "error": (("correct", "correct"), ("extra", "extra"), ("missed", "missed")),
    "agreement": (("correct", "both"), ("extra", "second"), ("missed", "first")),
}


def _key(*entries: tuple[str, str]) -> str:
    """Legend entries: a coloured field, then its word."""
    return " ".join(f'<span class="key {name}"></span>{words}' for name, words in entries)


def legend(view: str, texts: Texts) -> str:
    """What the colours of a view mean, with the colours themselves; Markdown with harmless HTML.

    Args:
        view: One of `seglab.comparison.VIEWS`.
        texts: Of the visitor's language.
    """
    if view in KEYS:
        return _key(*((colour, texts(f"legend.{view}.{word}")) for colour, word in KEYS[view]))
    said = texts(f"legend.{view}")
    return said if view == "mask" else f"{said} {texts('legend.scale')} {SCALE}"


def theme() -> Any:
    """Gradio's plain theme with system fonts and colours dark enough to read."""
    import gradio as gr  # a heavy module

    fonts = ["system-ui", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "monospace"]
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
    )
