"""A figure that follows sliders and menus; stored, a sheet of it at a few settings."""

import html
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seglab.teach._figures import draw as drawn
from seglab.teach._figures import show
from seglab.teach._publish import is_live, publish

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

__all__ = ["Control", "Explorer", "explore", "known_controls"]

Drawing = Callable[..., "tuple[Figure | np.ndarray, str]"]


def explore(
    function: Drawing, alt: str, *, at: Sequence[Mapping[str, Any]] = ({},), caption: str = "", **controls: Any
) -> None:
    """Show a figure with a control for each of its settings, and a sentence that follows them.

    In Jupyter the controls are live. Stored (see `seglab.teach`) or outside a notebook, the figure is shown at the
    settings of `at`, each with its sentence, and a line says what can be set. A number can also be typed, because the
    handles of sliders have no name that a screen reader could say.

    Args:
        function: Called with the settings by name; returns (figure, sentence), as `show` takes the figure. The same
            settings must give the same figure.
        alt: What there is to see at any setting; the settings and the sentence are added.
        at: Settings of the stored figures; what is not named has its first value.
        caption: The question that the reader is to answer, above the controls; empty for none.
        controls: By the name of the setting: (low, high) or (low, high, step) is a slider, of integers if all are;
            True or False a check box; a list a menu. The first value is the default that `function` has for it, else
            the low end, the value given, or the first of the list.

    Raises:
        ValueError: If there is no control, `alt` is empty, or a control, a default or `at` does not fit.

    Example:
        >>> import numpy as np
        >>> def square(side=2, white=False):
        ...     return np.full((side, side), float(white)), f"{side * side} pixels"
        >>> explore(square, "A square.", at=[{"side": 1}], side=(1, 4), white=False)
        [figure] A square. side = 1, white = no: 1 pixels
        picture: image 1 x 1, mean 0, from 0 to 0, quarters 0
        side = 1, white = no: 1 pixels
        Run this cell to set it yourself: side from 1 to 4, white yes or no.
    """
    if not controls:
        raise ValueError("controls must name at least one setting of the figure; got none.")
    if not alt.strip():
        raise ValueError("alt must say what there is to see; got an empty text.")
    known = known_controls(function, controls)
    sheet = [_settings(known, chosen) for chosen in at]
    if is_live():
        from IPython.display import display

        display(Explorer(function, alt, known, caption).box)  # type: ignore[no-untyped-call]
        return
    if caption:
        publish({"text/markdown": f"**{caption}**", "text/plain": caption})
    for settings in sheet:
        figure, sentence = function(**settings)
        told = f"{_told(settings)}: {sentence}"
        show(figure, f"{alt} {told}", caption=told)
    ranges = ", ".join(f"{name} {control.range}" for name, control in known.items())
    hint = f"Run this cell to set it yourself: {ranges}."
    publish({"text/markdown": hint, "text/plain": hint})


class Control:
    """One setting: what it may be, and what it is first.

    Args:
        name: Of the setting.
        rule: (low, high), (low, high, step), True, False, or a list.
        default: First value; None takes the rule's first.
    """

    def __init__(self, name: str, rule: Any, default: Any = None) -> None:
        self.name = name
        self.values = list(rule) if isinstance(rule, list) else [False, True] if isinstance(rule, bool) else []
        first = rule
        if isinstance(rule, tuple):
            self.low, self.high, self.step = _numbers(name, rule)
            first = self.low
        elif not self.values:
            raise ValueError(f"control {name} must be (low, high), (low, high, step), a list or a bool; got {rule!r}.")
        elif isinstance(rule, list):
            first = self.values[0]
        self.start = self.require(first if default is None else default)

    @property
    def range(self) -> str:
        """What can be set, in words."""
        if not self.values:
            return f"from {self.low:g} to {self.high:g}"
        return " or ".join(_word(value) for value in sorted(self.values, key=lambda value: value is False))

    def require(self, value: Any) -> Any:
        """The value, if it may be set.

        Raises:
            ValueError: If not.
        """
        inside = value in self.values if self.values else self.low <= value <= self.high
        if not inside:
            raise ValueError(f"{self.name} must be {self.range}; got {value!r}.")
        return value

    def widgets(self) -> list[Any]:
        """The widget whose value is the setting, and others that follow it."""
        import ipywidgets as w

        style = {"description_width": "initial"}
        if isinstance(self.start, bool):
            return [w.Checkbox(value=self.start, description=self.name, indent=False)]
        if self.values:
            options = [(_word(value), value) for value in self.values]
            return [w.Dropdown(options=options, value=self.start, description=self.name, style=style)]
        limits = {"min": self.low, "max": self.high, "step": self.step, "value": self.start}
        whole = all(isinstance(number, int) for number in limits.values())
        typed, slider = (w.BoundedIntText, w.IntSlider) if whole else (w.BoundedFloatText, w.FloatSlider)
        box = typed(**limits, description=self.name, style=style, layout=w.Layout(width="14em"))
        handle = slider(**limits, readout=False, continuous_update=False)
        w.link((box, "value"), (handle, "value"))
        return [box, handle]


class Explorer:
    """The live form: widgets, and a figure that follows them.

    Attributes:
        inputs: Widget of every setting; set its `value` as a reader would.
        sentence: Widget with the sentence.
        picture: Widget with the figure, an HTML picture with alt text.
        box: All of it, to be displayed.
    """

    def __init__(self, function: Drawing, alt: str, controls: Mapping[str, Control], caption: str = "") -> None:
        import ipywidgets as w

        self.function, self.alt = function, alt
        widgets = {name: control.widgets() for name, control in controls.items()}
        self.inputs: dict[str, Any] = {name: row[0] for name, row in widgets.items()}
        self.sentence, self.picture = w.HTML(), w.HTML()
        asked = [w.HTML(f"<b>{html.escape(caption)}</b>")] if caption else []
        self.box = w.VBox([*asked, *(w.HBox(row) for row in widgets.values()), self.sentence, self.picture])
        for widget in self.inputs.values():
            widget.observe(self._follow, names="value")
        self._follow()

    def _follow(self, _: object = None) -> None:
        """Draw the figure at the present settings; a setting that cannot be drawn says so where the sentence stands."""
        settings = {name: widget.value for name, widget in self.inputs.items()}
        try:
            figure, sentence = self.function(**settings)
            png, _summary = drawn(figure)
        except Exception as error:  # a traceback of a widget's call would end in a log that nobody reads
            self.sentence.value = html.escape(f"This setting cannot be drawn: {error}")
            return
        text = html.escape(f"{self.alt} {_told(settings)}: {sentence}", quote=True)
        self.sentence.value = f'<p role="status">{html.escape(sentence)}</p>'
        self.picture.value = f'<img alt="{text}" src="data:image/png;base64,{png}" style="max-width: 100%">'


def known_controls(function: Drawing, rules: Mapping[str, Any]) -> dict[str, Control]:
    """A control for every rule, first at the default that the function has for it."""
    return {name: Control(name, rule, _default(function, name)) for name, rule in rules.items()}


def _default(function: Drawing, name: str) -> Any:
    """Default of a parameter, None if it has none.

    Raises:
        ValueError: If the function does not take it.
    """
    parameters = inspect.signature(function).parameters
    if name not in parameters:
        raise ValueError(f"control must be a parameter of the function ({', '.join(parameters)}); got {name!r}.")
    default = parameters[name].default
    return None if default is inspect.Parameter.empty else default


def _settings(controls: Mapping[str, Control], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """All settings, the chosen ones as chosen and the others at their start.

    Raises:
        ValueError: If a chosen one is unknown or out of its range.
    """
    for name in chosen:
        if name not in controls:
            raise ValueError(f"at must name settings ({', '.join(controls)}); got {name!r}.")
    return {name: one.require(chosen[name]) if name in chosen else one.start for name, one in controls.items()}


def _numbers(name: str, rule: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Low end, high end and step of a slider.

    Raises:
        ValueError: If it is not two or three finite numbers in order.
    """
    numbers = all(isinstance(one, int | float) and math.isfinite(one) for one in rule)
    if len(rule) not in (2, 3) or not numbers or rule[0] >= rule[1] or (len(rule) == 3 and rule[2] <= 0):
        raise ValueError(f"control {name} must be (low, high) or (low, high, step) with low < high; got {rule!r}.")
    whole = all(isinstance(one, int) for one in rule)
    step = rule[2] if len(rule) == 3 else 1 if whole else (rule[1] - rule[0]) / 20
    return (*rule[:2], step) if whole else (float(rule[0]), float(rule[1]), float(step))


def _word(value: Any) -> str:
    """A value as it is told."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _told(settings: Mapping[str, Any]) -> str:
    """Settings in words."""
    return ", ".join(f"{name} = {_word(value)}" for name, value in settings.items())
