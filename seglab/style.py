"""How the page looks and reads aloud: theme, style sheet, one small script, legends."""

from typing import Any

__all__ = ["CSS", "HEAD", "LEGENDS", "theme"]

CSS = """
.gradio-container { width: 100%; max-width: 1320px !important; margin: 0 auto !important; }
#intro h1 { margin: 0 0 .2em; font-size: 1.7em; }
#intro p, #foot p { margin: .2em 0; }
#foot, .small { font-size: .9em; }
#live { min-height: 1.6em; }
#live .prose { font-weight: 600; }
#live .wrap:has(.error) { display: none !important; }
#verdict .prose { font-size: 1.15em; }
#examples { flex-wrap: wrap; gap: 8px; }
#examples button { flex: 0 1 auto; min-width: 0; }
#pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr));
            gap: 12px; align-items: end; }
#pictures > :not(:has(img)) { align-self: start; }
#pictures > .column, #pictures > div { min-width: 0 !important; }
#pictures img { object-fit: contain; }
:is(#numbers, #points, #everyone, #series) { overflow-x: auto; }
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
.icon-button { min-width: 28px; min-height: 28px; }
#spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 640px) { #numbers th, #numbers td { padding: 5px 6px; font-size: .86em; }
                            #numbers td:first-child { white-space: normal; } }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
"""

# The status line is spoken once per change through an element of our own: Gradio's holds a running clock while a
# model works. Upload buttons all carry the same name, so they are renamed; the wide table can be scrolled by keys.
HEAD = """
<script>
const start = () => {
  const spoken = Object.assign(document.createElement('div'), {id: 'spoken'});
  spoken.setAttribute('role', 'status');
  document.body.append(spoken);
  const names = {picture: 'Picture', truth: 'True mask', files: 'Pictures and masks'};
  const tidy = () => {
    const live = document.querySelector('#live .prose');
    const text = live ? live.textContent.trim() : '';
    if (text && spoken.textContent !== text) spoken.textContent = text;
    for (const [id, name] of Object.entries(names)) {
      const button = document.querySelector(`#${id} button[aria-dropeffect]`);
      const label = button && `${name}: ${button.innerText.replace(/\\s+/g, ' ').trim()}`;
      if (button && button.getAttribute('aria-label') !== label) button.setAttribute('aria-label', label);
    }
    const tables = {numbers: 'Numbers', points: 'What breaks each model', everyone: 'All models'};
    for (const [id, name] of Object.entries({...tables, series: 'All pictures'})) {
      const table = document.querySelector(`#${id}`);
      if (!table || table.hasAttribute('tabindex')) continue;
      table.tabIndex = 0;
      table.setAttribute('role', 'region');
      table.setAttribute('aria-label', name);
    }
    document.querySelectorAll('#slide img:not([data-named])').forEach((image, number) => {
      image.dataset.named = 1;
      image.alt = number ? 'The right picture of the two named above' : 'The left picture of the two named above';
    });
  };
  new MutationObserver(tidy).observe(document.body, {childList: true, subtree: true, characterData: true});
  tidy();
};
document.readyState === 'loading' ? addEventListener('DOMContentLoaded', start) : start();
</script>
"""


def _key(*entries: tuple[str, str]) -> str:
    """Legend entries: a coloured field, then its word."""
    return " ".join(f'<span class="key {name}"></span>{words}' for name, words in entries)


SCALE = 'The same scale for every model: 0 <span class="key scale" style="margin:0 .35em"></span> 1.'
LEGENDS = {
    "outline": _key(("extra", "the model's mask"), ("white", "the true mask, if there is one")),
    "error": _key(
        ("correct", "correct"),
        ("extra", "extra: drawn, but not in the true mask"),
        ("missed", "missed: in the true mask only"),
    ),
    "agreement": _key(("correct", "both models"), ("extra", "only the second"), ("missed", "only the first")),
    "probability": f"How sure the model is of the object. {SCALE}",
    "attention": f"Shows where the model looks, not how sure it is. {SCALE}",
    "mask": "White: object. The ZIP holds these masks as 0 and 255, at the picture's own size.",
}


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
