"""Lines and bars of numbers, as lessons show them.

Each function returns a `matplotlib.figure.Figure` that belongs to nobody else; `seglab.teach.show` puts it into a
notebook. Pictures, masks and training curves are drawn by `seglab.plots`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bars", "intervals", "lines"]

TILE = 2.5  # inches
STYLES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", ":", "^"), ("#CC79A7", "-.", "v"))


def lines(
    named: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str, points: Collection[str] = ()
) -> "Figure":
    """One panel with a line for every name, told apart by colour and by style.

    Args:
        named: Name to the places and the values of the line, two sequences of one length.
        x: Label of the places.
        y: Label of the values.
        points: Names whose values are points that no line joins.

    Raises:
        ValueError: If there is no line, or `points` has another name.

    Example:
        >>> figure = lines({"square": ([0, 1, 2], [0, 1, 4]), "seen": ([1], [1])}, x="x", y="y", points=["seen"])
        >>> [line.get_linestyle() for line in figure.axes[0].get_lines()]
        ['-', 'None']
    """
    from matplotlib.figure import Figure

    if not named or not set(points) <= set(named):
        raise ValueError(f"named must hold a line, and all of points; got {list(named)} and {list(points)}.")
    figure = Figure(figsize=(2.2 * TILE, 1.5 * TILE), layout="constrained")
    axes = figure.subplots()
    for index, (name, (places, values)) in enumerate(named.items()):
        colour, line, marker = STYLES[index % len(STYLES)]
        many = {"linestyle": "none", "marker": marker, "markersize": 7 if len(places) < 30 else 3}
        axes.plot(places, values, color=colour, label=name, **(many if name in points else {"linestyle": line}))
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    _words_below(figure)
    return figure


def bars(
    panels: Mapping[str, Mapping[str, float]],
    label: str,
    *,
    marked: Mapping[str, Collection[str]] | None = None,
    words: tuple[str, str] = ("", ""),
    digits: int | None = None,
) -> "Figure":
    """Lying bars with their names, from top to bottom, one panel beside the other on the same scale.

    Args:
        panels: Title of the panel to its bars, name to length; at least one each.
        label: What the length is.
        marked: Title to the names of bars that are drawn orange with stripes.
        words: What the plain and the marked bars are, for the legend; needed with `marked`.
        digits: Behind the point of the length that is written beside each bar; None writes none.

    Raises:
        ValueError: If a panel has no bar, or `marked` names one that is not there.

    Example:
        >>> figure = bars({"one": {"IoU": 0.6, "Dice": 0.75}}, "share", marked={"one": ["Dice"]}, words=("", "b"))
        >>> [group.get_label() for group in figure.axes[0].containers]
        ['_bars', 'b']
    """
    from matplotlib.figure import Figure

    marked = marked or {}
    for title, names in marked.items():
        if not set(names) <= set(panels.get(title, ())):
            raise ValueError(f"marked must name bars of panel {title!r}; got {list(names)}.")
    if not panels or not all(panels.values()):
        raise ValueError(f"panels must have one bar or more each; got {[len(one) for one in panels.values()]}.")
    most = max(len(lengths) for lengths in panels.values())
    figure = Figure(figsize=(2.4 + 1.5 * TILE * len(panels) ** 0.7, 0.24 * most + 1.0), layout="constrained")
    for axes, (title, lengths) in zip(figure.subplots(1, len(panels), squeeze=False, sharex=True)[0], panels.items(),
                                      strict=True):  # fmt: skip
        axes.yaxis.update_units(list(lengths))  # the order of the names, whichever group they are in
        chosen = marked.get(title, ())
        for group, (colour, hatch), word in (
            ([name for name in lengths if name not in chosen], (STYLES[0][0], ""), words[0]),
            ([name for name in lengths if name in chosen], (STYLES[1][0], "////"), words[1]),
        ):
            if group:
                drawn = axes.barh(group, [lengths[name] for name in group], color=colour, hatch=hatch,
                                  edgecolor="white", label=word or "_bars")  # fmt: skip
                if digits is not None:
                    axes.bar_label(drawn, fmt=f"%.{digits}f", padding=3, fontsize=9)
                    axes.margins(x=0.12)
        axes.set(title=title, xlabel=label)
        axes.set_ylim(len(lengths) - 0.4, -0.6)
        axes.tick_params(labelsize=9)
        axes.grid(axis="x", alpha=0.3)
    if any(marked.values()):
        _words_below(figure)
    return figure


def intervals(named: Mapping[str, tuple[float, float, float]], label: str, *, zero: bool = False) -> "Figure":
    """Values with their intervals, one below the other: a point on a lying line, the numbers written beside it.

    Args:
        named: Name to value, low end and high end; from top to bottom.
        label: What the values are.
        zero: Whether a broken line marks 0, as for effects.

    Raises:
        ValueError: If there is no value, or one does not lie in its interval.

    Example:
        >>> figure = intervals({"CBAM": (0.01, -0.02, 0.04)}, "effect", zero=True)
        >>> figure.axes[0].texts[0].get_text()
        '0.010 (-0.020 to 0.040)'
    """
    from matplotlib.figure import Figure

    wrong = [name for name, (value, low, high) in named.items() if not low <= value <= high]
    if not named or wrong:
        raise ValueError(f"named must hold a value or more, each in its interval; got {len(named)}, wrong are {wrong}.")
    figure = Figure(figsize=(2.6 * TILE, 0.42 * len(named) + 0.9), layout="constrained")
    axes = figure.subplots()
    for row, (name, (value, low, high)) in enumerate(named.items()):
        axes.plot([low, high], [row, row], color=STYLES[0][0], linewidth=2, marker="|", markersize=9, label=name)
        axes.plot([value], [row], color=STYLES[1][0], marker="o", label=f"{name}, value")
        words = f"{value:.3f} ({low:.3f} to {high:.3f})"
        axes.annotate(words, (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    if zero:
        axes.axvline(0, color="black", linestyle="--", linewidth=0.8, label="0")
    axes.set_yticks(range(len(named)), list(named))
    axes.set_ylim(len(named) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.locator_params(axis="x", nbins=5)
    axes.tick_params(labelsize=9)
    axes.grid(axis="x", alpha=0.3)
    return figure


def _words_below(figure: "Figure") -> None:
    """A legend of the lines or bars of all panels, below them, where it covers nothing."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        found |= dict(zip(names, handles, strict=True))
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=2, frameon=False, fontsize=10)
