"""A question that is answered before the result is shown."""

import html
from collections.abc import Sequence
from typing import Any

from seglab.teach._publish import is_live, publish

__all__ = ["Prediction", "predict"]


def predict(question: str, choices: Sequence[str], answer: str, *, because: str = "") -> None:
    """Ask what will come out, before it does.

    In Jupyter the reader chooses and commits; only then is the choice compared with the answer. Nothing is sent
    anywhere. Stored (see `seglab.teach`) the choices are listed, and the answer is folded.

    Args:
        question: One sentence.
        choices: Two or more different ones.
        answer: The right one.
        because: Why, in a sentence or two; shown with the answer.

    Raises:
        ValueError: If there are too few choices, two are the same, or the answer is none of them.

    Example:
        >>> predict("How many corners has a square?", ["three", "four"], "four")
        Predict: How many corners has a square?
          1. three
          2. four
    """
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise ValueError(f"choices must be two or more different ones; got {list(choices)}.")
    if answer not in choices:
        raise ValueError(f"answer must be one of the choices {list(choices)}; got {answer!r}.")
    if is_live():
        from IPython.display import display

        display(Prediction(question, choices, answer, because).box)  # type: ignore[no-untyped-call]
        return
    listed = "\n".join(f"{number}. {choice}" for number, choice in enumerate(choices, 1))
    folded = f"<details><summary>Answer: open it when you have chosen</summary>\n\n**{answer}** {because}\n\n</details>"
    lines = [f"Predict: {question}", *(f"  {line}" for line in listed.splitlines())]
    publish({
        "text/markdown": f"**Predict.** {question}\n\n{listed}\n\n{folded}",
        "text/plain": "\n".join(lines),
    })  # fmt: skip


class Prediction:
    """The live form.

    Attributes:
        choice: Radio buttons, none chosen at first.
        commit: Button; can be pressed once something is chosen, and then ends the choosing.
        result: Widget with the comparison, empty until then.
        box: All of it, to be displayed.
    """

    def __init__(self, question: str, choices: Sequence[str], answer: str, because: str = "") -> None:
        import ipywidgets as w

        self.answer, self.because = answer, because
        wide = w.Layout(width="auto")
        self.choice = w.RadioButtons(options=list(choices), value=None, layout=wide)
        self.commit = w.Button(description="Commit", disabled=True)
        self.result = w.HTML()
        self.choice.observe(self._chosen, names="value")
        self.commit.on_click(self._committed)
        asked = w.HTML(f"<b>Predict.</b> {html.escape(question)}")
        self.box = w.VBox([asked, self.choice, self.commit, self.result])

    def _chosen(self, _: Any) -> None:
        self.commit.disabled = False

    def _committed(self, _: Any) -> None:
        """Compare, and leave the choice as it is: it was made before the answer was known."""
        self.choice.disabled = self.commit.disabled = True
        told = f"You predicted: {self.choice.value}. The answer is: {self.answer}."
        if self.choice.value == self.answer:
            told = f"As you predicted: {self.answer}."
        self.result.value = f'<p role="status">{html.escape(f"{told} {self.because}".strip())}</p>'
