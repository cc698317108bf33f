"""Imported by the kernel of a lesson under test: there is no network, and figures and controls are tried out.

What is tried leaves no trace in the outputs. What fails raises in the cell that showed it, so the strict run fails.
"""

import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer

from seglab import teach
from seglab.teach import _figures
from seglab.teach._explore import Explorer, known_controls

describe, store = _figures._axes, teach.explore


def refuse(*_: Any, **__: Any) -> None:
    raise OSError("a lesson must not use the network")


def connect_nearby(self: socket.socket, address: Any) -> None:
    """Sockets between processes of this machine only, which torch's loaders use."""
    if self.family != socket.AF_UNIX:
        refuse()
    connect(self, address)


connect = socket.socket.connect
socket.socket.connect = connect_nearby  # type: ignore[method-assign]
socket.create_connection = socket.getaddrinfo = refuse  # type: ignore[assignment]


def changes(axes: Axes) -> Iterator[str]:
    """Change what is drawn, one thing after the other, and put each back."""
    for line in axes.get_lines():
        places, values = line.get_data(orig=False)
        changed = np.asarray(values, dtype=float).copy()
        known = np.flatnonzero(np.isfinite(changed))
        if known.size:
            changed[known[-1]] += 0.02 * (np.abs(changed[known]).max() or 1)
            line.set_data(places, changed)
            yield f"the last value of line {line.get_label()!r}"
            line.set_data(places, values)
    for picture in axes.get_images():
        values = np.asarray(picture.get_array())
        changed, rows = values.copy(), slice(len(values) // 3, len(values) - len(values) // 3)
        low, high, mean = values.min(), values.max(), values[rows].mean()
        changed[rows] = (high if high - mean > mean - low else low) if low < high else int(low == 0)
        picture.set_data(changed)
        yield "the middle of a picture"
        picture.set_data(values)
    for group in (group for group in axes.containers if isinstance(group, BarContainer)):
        lying = group.orientation == "horizontal"
        lengths = [bar.get_width() if lying else bar.get_height() for bar in group]
        for bar, length in zip(group, lengths, strict=True):
            put = bar.set_width if lying else bar.set_height
            put(length + 0.02 * (np.abs(lengths).max() or 1))
            yield "the length of a bar"
            put(length)


def describe_and_change(axes: Axes) -> str:
    """The description of an axes, after making sure that it changes with what is drawn."""
    told = describe(axes)
    for what in changes(axes):
        if describe(axes) == told:
            raise AssertionError(f"the text twin does not tell {what} of axes {axes.get_title()!r}")
    return told


def store_and_move(function: Any, alt: str, **knobs: Any) -> None:
    """What is stored, after making sure that every control moves the live form."""
    controls = {name: knob for name, knob in knobs.items() if name not in ("at", "caption")}
    one = Explorer(function, alt, known_controls(function, controls))
    for name, widget in one.inputs.items():
        start, seen = widget.value, {drawn(one)}
        for value in widget.options if hasattr(widget, "options") else ends(widget):
            widget.value = value[1] if isinstance(value, tuple) else value
            if "cannot be drawn" in one.sentence.value:
                raise AssertionError(f"{name} = {value}: {one.sentence.value}")
            seen.add(drawn(one))
        widget.value = start
        if len(seen) == 1:
            raise AssertionError(f"control {name} does not change the figure")
    one.box.close_all()
    store(function, alt, **knobs)


def drawn(one: Explorer) -> str:
    """The figure without its alt text, which has the settings in it."""
    return str(one.picture.value.partition(" src=")[2])


def ends(widget: Any) -> tuple[Any, ...]:
    """Values to try: both ends of a slider, both states of a box."""
    return (True, False) if isinstance(widget.value, bool) else (widget.min, widget.max)


_figures._axes = describe_and_change
teach.explore = store_and_move
