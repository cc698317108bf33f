"""A figure with its description: the text twin that a notebook test compares, because it skips pictures."""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from seglab.teach._publish import publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure
    from PIL import Image

__all__ = ["draw", "show"]

DOTS_PER_INCH = 90  # keeps a notebook with its figures small enough to read on the web


def show(figure: "Figure | np.ndarray", alt: str, *, caption: str | None = None) -> None:
    """Show a figure with its description, and its caption below.

    The PNG carries `alt` for a screen reader. Its text twin holds `alt` and a summary of the plotted values at three
    significant digits. Outside a notebook the twin and the caption are printed.

    Args:
        figure: A matplotlib Figure, or a picture (H, W, 3) or (H, W), uint8 in [0, 255] or float in [0, 1].
        alt: What there is to see, in a sentence; not empty.
        caption: The visible line below; None repeats `alt`.

    Raises:
        ValueError: If `alt` is empty, the picture has another shape, or the figure holds something that the summary
            would pass over in silence (points, areas).

    Example:
        >>> show(np.zeros((2, 2)), "A black square.")
        [figure] A black square.
        picture: image 2 x 2, mean 0, from 0 to 0, quarters 0 0 0 0
        A black square.
    """
    if not alt.strip():
        raise ValueError("alt must say what there is to see; got an empty text.")
    png, summary = draw(figure)
    caption = caption or alt
    publish({"image/png": png, "text/plain": f"[figure] {alt}\n{summary}"}, {"image/png": {"alt": alt}})
    publish({"text/markdown": f"*{caption}*", "text/plain": caption})


def draw(figure: "Figure | np.ndarray") -> tuple[str, str]:
    """The figure as PNG in base64, and the summary of what is in it."""
    if isinstance(figure, np.ndarray):
        return _png_of_picture(figure), f"picture: {_image(figure)}"
    return _png_of_figure(figure), "\n".join(_axes(axes) for axes in figure.axes)


def _png_of_figure(figure: "Figure") -> str:
    """The figure as base64 text."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    FigureCanvasAgg(figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", pad_inches=0.05)
    with Image.open(drawn) as image:
        # 256 colours halve the file, and the eye does not see it: a map has no more, and a legend has a few.
        return _base64(image.convert("RGB").quantize(256, dither=Image.Dither.NONE))


def _png_of_picture(picture: np.ndarray) -> str:
    """A picture as base64 text, pixel by pixel."""
    from PIL import Image

    if picture.size == 0 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)):
        raise ValueError(f"picture must be (H, W) or (H, W, 3), not empty; got {picture.shape}.")
    bytes_of = picture if picture.dtype == np.uint8 else (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
    return _base64(Image.fromarray(bytes_of))


def _base64(image: "Image.Image") -> str:
    """A picture as the text of a PNG without metadata, so that the same pixels give the same text."""
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _axes(axes: "Axes") -> str:
    """One axes of a figure in words and numbers: title, labels, lines, bars, pictures and written words."""
    from matplotlib.container import BarContainer

    if axes.get_label() == "<colorbar>":
        return f"colour bar {_quoted(axes.get_ylabel() or axes.get_xlabel())}"
    bars = [group for group in axes.containers if isinstance(group, BarContainer)]
    described = [patch for group in bars for patch in group]
    for artist in (*axes.collections, *axes.patches):
        if artist not in described:
            raise ValueError(f"figure must hold lines, bars and pictures, which can be described; got {artist}.")
    labels = [f"{name} {_quoted(text)}" for name, text in (("x", axes.get_xlabel()), ("y", axes.get_ylabel())) if text]
    parts = [f"axes {_quoted(axes.get_title())}", *labels]
    lines = [(str(line.get_label()), *line.get_data(orig=False)) for line in axes.get_lines()]
    parts += [f"line {_quoted(name)} {_series(places, values)}" for name, places, values in lines]
    parts += [_bars(group, axes) for group in bars]
    parts += [_image(np.asarray(image.get_array())) for image in axes.get_images()]
    parts += [f"text {_quoted(text.get_text())}" for text in axes.texts if text.get_text()]
    return "; ".join(parts)


def _bars(group: "BarContainer", axes: "Axes") -> str:
    """A group of bars: the lengths, each with its name if the bars stand over names."""
    from matplotlib.category import StrCategoryFormatter

    lying = group.orientation == "horizontal"
    axis = axes.yaxis if lying else axes.xaxis
    lengths = _numbers([bar.get_width() if lying else bar.get_height() for bar in group]).split()
    if isinstance(formatter := axis.get_major_formatter(), StrCategoryFormatter):
        places = [bar.get_y() + bar.get_height() / 2 if lying else bar.get_x() + bar.get_width() / 2 for bar in group]
        names = formatter.format_ticks([round(place) for place in places])  # type: ignore[no-untyped-call]
        lengths = [f"{_quoted(name)} {length}" for name, length in zip(names, lengths, strict=True)]
    label = str(group.get_label())
    title = "" if label.startswith("_") else f" {_quoted(label)}"
    return f"bars{title} {' '.join(lengths)}"


def _quoted(text: str) -> str:
    """A text in quotes, on one line."""
    return '"' + " ".join(text.split()) + '"'


def _series(places: Any, values: Any) -> str:
    """A plotted line: how many values, from where to where, and five numbers that a changed value moves."""
    array = np.asarray(values, dtype=np.float64)
    known = array[np.isfinite(array)]
    if known.size == 0:
        return f"n {array.size}, no finite value"
    picked = _numbers([array[0], array[-1], known.min(), known.max(), known.mean()]).split()
    words = ("first", "last", "min", "max", "mean")
    numbers = ", ".join(f"{word} {number}" for word, number in zip(words, picked, strict=True))
    return f"n {array.size}, x {_numbers([places[0], places[-1]]).replace(' ', ' to ')}, {numbers}"


def _image(values: np.ndarray) -> str:
    """A picture or map: shape, mean, range, and the means of its quarters, which tell where its bright parts are."""
    array = np.asarray(values, dtype=np.float64)
    shape = " x ".join(map(str, array.shape))
    top, left = (array.shape[0] + 1) // 2, (array.shape[1] + 1) // 2
    quarters = [part.mean() for rows in (array[:top], array[top:]) for part in (rows[:, :left], rows[:, left:])
                if part.size]  # fmt: skip
    mean, low, high, *rest = _numbers([array.mean(), array.min(), array.max(), *quarters]).split()
    return f"image {shape}, mean {mean}, from {low} to {high}, quarters {' '.join(rest)}"


def _numbers(values: Any) -> str:
    """Numbers at three significant digits; what is nothing beside the largest is 0, whatever its last bits are."""
    array = np.asarray(values, dtype=np.float64)
    largest = float(np.nanmax(np.abs(array), initial=0.0))
    return " ".join(f"{0.0 if abs(value) <= 1e-6 * largest else value:.3g}" for value in array)
