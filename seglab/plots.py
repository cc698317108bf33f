"""The few figures that more than one lesson shows: models side by side, attention of every stage, curves.

Each function returns a `matplotlib.figure.Figure` that belongs to nobody else: no window is opened and no global state
of matplotlib is touched, so they also work on a server. `seglab.teach.show` puts one into a notebook.
"""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from seglab.comparison import Comparison
from seglab.contract import IGNORE_INDEX, require_name
from seglab.corruptions import find_corruption
from seglab.evaluation import class_bars
from seglab.explain import BLUE, NAVY, ORANGE, GateAblation, RemovalCurves, StageAttention
from seglab.history import Record
from seglab.robustness import Robustness

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "attention", "class_bars", "curves", "deletion_insertion", "gate_effects", "pictures", "robustness_curves",
    "side_by_side",
]  # fmt: skip

TILE = 2.5  # inches; one picture of a figure
WORDS = {"error": ("correct", "extra", "missed"), "agreement": ("both", "this model only", "the other only")}
SCORES = ("train_loss", "val_dice_fg_image")
GREYS = (":", "--", "-.", "-")
STYLES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", ":", "^"), ("#CC79A7", "-.", "v"))


def pictures(named: Mapping[str, np.ndarray], *, columns: int = 4) -> "Figure":
    """Pictures and masks beside each other, each under its name.

    Args:
        named: Title to picture (H, W, 3) uint8, or mask (H, W): 0 is drawn black, classes white, 255
            (unknown) grey.
        columns: Pictures in a row, at least 1.

    Raises:
        ValueError: If there is no picture, or `columns` is below 1.

    Example:
        >>> figure = pictures({"picture": np.zeros((4, 6, 3), np.uint8), "mask": np.eye(4, dtype=np.uint8)})
        >>> [axes.get_title() for axes in figure.axes]
        ['picture', 'mask']
    """
    if not named or columns < 1:
        raise ValueError(f"named must hold a picture, columns be at least 1; got {len(named)} and {columns}.")
    shape = next(iter(named.values())).shape
    figure, tiles = _tiles(len(named), min(columns, len(named)), shape[0] / shape[1])
    for axes, (title, picture) in zip(tiles, named.items(), strict=True):
        if picture.ndim == 2:
            grey = np.where(picture == IGNORE_INDEX, 0.5, picture > 0)
            axes.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        else:
            axes.imshow(picture, interpolation="nearest")
        axes.set_title(_wrapped(title), fontsize=10)
    return figure


def side_by_side(comparison: Comparison, kind: str = "error", *, columns: int = 4) -> "Figure":
    """The picture, its true mask if there is one, and one view of every model, with a legend of the colours.

    Args:
        comparison: From `seglab.compare`.
        kind: One of `seglab.comparison.VIEWS`; "error" needs the true mask.
        columns: Pictures in a row, at least 1.

    Raises:
        ValueError: If a model cannot be shown in this view; the message has the reason.

    Example:
        >>> from seglab import Predictor, build_model, compare
        >>> model = Predictor(build_model("unet", 1, width=4), size=32)
        >>> figure = side_by_side(compare(np.zeros((32, 48, 3), np.uint8), {"plain": model}), "mask")
        >>> [axes.get_title() for axes in figure.axes]
        ['picture', 'plain']
    """
    named = {"picture": comparison.image}
    if comparison.truth is not None:
        named["true mask"] = comparison.truth
    named |= {result.name: comparison.view(kind, result.name) for result in comparison.results}
    figure = pictures(named, columns=columns)
    if kind in WORDS:
        _legend(figure, WORDS[kind])
    return figure


def attention(stages: Mapping[str, StageAttention], image: np.ndarray, *, columns: int = 3) -> "Figure":
    """Spatial attention of every stage on one scale from 0 to 1, the picture first.

    Below each name stands the range of the stage's gates, because a fixed scale shows small differences faintly.

    Args:
        stages: From `seglab.explain.attention_maps`, at least one.
        image: The picture (H, W, 3) uint8 they belong to.
        columns: Pictures in a row, at least 1.

    Raises:
        ValueError: If there is no stage: the model has no attention module.

    Example:
        >>> from seglab import Predictor, build_model
        >>> from seglab.explain import attention_maps
        >>> picture = np.zeros((32, 48, 3), np.uint8)
        >>> model = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
        >>> figure = attention(attention_maps(model, picture), picture)
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes[:2]]
        ['picture', 'bottleneck']
    """
    if not stages:
        raise ValueError("stages must hold at least one; got none. A model without CBAM has no attention to show.")
    figure, tiles = _tiles(len(stages) + 1, min(columns, len(stages) + 1), image.shape[0] / image.shape[1])
    tiles[0].imshow(image, interpolation="nearest")
    tiles[0].set_title("picture", fontsize=9)
    for axes, (name, stage) in zip(tiles[1:], stages.items(), strict=True):
        spatial = stage.spatial
        drawn = axes.imshow(spatial, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"{name}\npixels {_range(spatial)}\nchannels {_range(stage.channel)}", fontsize=9)
    figure.colorbar(drawn, ax=tiles, label="gate: 0 blocks, 1 lets through", shrink=0.9, aspect=30)
    return figure


def curves(
    runs: Mapping[str, Sequence[Record]], scores: Sequence[str] = ("train_loss", "val_dice_fg_image")
) -> "Figure":
    """Scores of several runs against the epoch, one panel a score, one line a run.

    Args:
        runs: Name of the run to its records, as `on_epoch` of `seglab.train` receives them; at least one each.
        scores: Keys of the records.

    Raises:
        ValueError: If there is no run, or one has no record.

    Example:
        >>> figure = curves({"plain": [{"epoch": 1, "train_loss": 0.9}]}, scores=["train_loss"])
        >>> figure.axes[0].get_title()
        'train loss'
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not runs or not all(runs.values()):
        counts = [len(records) for records in runs.values()]
        raise ValueError(f"runs must hold records of one epoch or more each; got {counts}.")
    figure = Figure(figsize=(1.6 * TILE * len(scores), 1.15 * TILE), layout="constrained")
    for axes, score in zip(figure.subplots(1, len(scores), squeeze=False)[0], scores, strict=True):
        for index, (name, records) in enumerate(runs.items()):
            colour, line, marker = STYLES[index % len(STYLES)]
            values = [record.get(score, math.nan) for record in records]
            epochs = [record["epoch"] for record in records]
            axes.plot(epochs, values, color=colour, linestyle=line, marker=marker, markersize=4, label=name)
        axes.set_title(score.replace("val_dice_fg_image", "validation Dice").replace("_", " "), fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    return figure


def robustness_curves(result: Robustness, *, columns: int = 4) -> "Figure":
    """Mean Dice against severity, one panel a disturbance, one line a model with its 95 % band over pictures.

    The severities stand at equal distances, as in the area; the area under each line is in the legend of its panel.

    Args:
        result: From `seglab.robustness.robustness`.
        columns: Panels in a row, at least 1.

    Raises:
        ValueError: If `columns` is below 1.

    Example:
        >>> import torch
        >>> from seglab.robustness import Sweep
        >>> counts = torch.tensor([[5, 1], [2, 4]]).expand(1, 3, 2, 2, 2)  # one model, 3 severities, 2 pictures
        >>> result = Robustness(("plain",), ("a", "b"), ("skin", "lesion"), (Sweep("noise", (0, 10, 20), counts),))
        >>> robustness_curves(result).axes[0].get_xlabel()
        'sigma in grey levels'
    """
    from matplotlib.figure import Figure

    if columns < 1:
        raise ValueError(f"columns must be at least 1; got {columns}.")
    columns = min(columns, len(result.sweeps))
    rows = math.ceil(len(result.sweeps) / columns)
    figure = Figure(figsize=(1.4 * TILE * columns, 1.3 * TILE * rows + 0.4), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for axes in panels[len(result.sweeps) :]:
        axes.remove()
    table = result.table()
    for axes, sweep in zip(panels, result.sweeps, strict=False):
        _robustness_panel(axes, result, sweep.corruption, [row.area for row in table if row[0] == sweep.corruption])
    for axes in panels[: len(result.sweeps) : columns]:
        axes.set_ylabel("Dice, mean over pictures")
    facts = f"{len(result.names)} pictures, seed {result.seed}. Bands: 95 % intervals over pictures."
    figure.supxlabel(f"{facts} Numbers: area under the curve, severities equally spaced.", fontsize=9)
    return figure


def _robustness_panel(axes: "Axes", result: Robustness, corruption: str, areas: Sequence[float]) -> None:
    """Curves, bands and areas of all models under one disturbance."""
    found = find_corruption(corruption)
    levels = result.sweep(corruption).severities
    places = range(len(levels))
    mean, low, high = result.bands(corruption)
    for index, name in enumerate(result.models):
        colour, line, marker = STYLES[index % len(STYLES)]
        label = _wrapped(f"{name}: {areas[index]:.3f}")
        axes.plot(places, mean[index], color=colour, linestyle=line, marker=marker, markersize=4, label=label)
        axes.fill_between(places, low[index], high[index], color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(places, ["none" if level == found.none else f"{level:g}" for level in levels])
    axes.set_ylim(0, 1)
    axes.set_title(found.title, fontsize=10)
    axes.set_xlabel(found.unit)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left")


def gate_effects(result: GateAblation) -> "Figure":
    """Change of Dice with every gate replaced: a bar with its 95 % interval per stage and replacement, a panel a kind.

    Left of 0 the prediction got worse without the gate. An interval that crosses 0 shows no effect. All panels have one
    scale.

    Args:
        result: From `seglab.explain.gate_ablation`, or `gates` of `seglab.explain.faithfulness`.

    Example:
        >>> from seglab import Predictor, build_model, load_dataset
        >>> from seglab.explain import gate_ablation
        >>> model = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
        >>> data = load_dataset("synthetic", None, count=(1, 1, 3), size=(32, 32)).test
        >>> [axes.get_title() for axes in gate_effects(gate_ablation(model, data)).axes]
        ['channel gate', 'spatial gate', 'both gates']
    """
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(one.kind for one in result.changes))
    names = list(dict.fromkeys(one.replacement for one in result.changes))
    figure = Figure(
        figsize=(1.1 * TILE * len(kinds) + 1.2, 0.36 * TILE * len(result.stages) / 2 + 1.5), layout="constrained"
    )
    panels = figure.subplots(1, len(kinds), squeeze=False, sharex=True, sharey=True)[0]
    thick = 0.8 / len(names)
    for axes, kind in zip(panels, kinds, strict=True):
        for index, name in enumerate(names):
            rows = [one for one in result.changes if (one.kind, one.replacement) == (kind, name)]
            places = [result.stages.index(one.stage) + (index - (len(names) - 1) / 2) * thick for one in rows]
            means = np.array([one.difference.mean for one in rows])
            reach = np.array([one.difference.high - one.difference.mean for one in rows])
            bars = {"color": STYLES[index][0], "error_kw": {"elinewidth": 1, "capsize": 1.5}, "label": name}
            axes.barh(places, means, 0.9 * thick, xerr=np.nan_to_num(reach), **bars)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title("both gates" if kind == "both" else f"{kind} gate", fontsize=10)
        axes.set_xlabel("change of Dice")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(result.stages)), result.stages)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, [f"replaced: {one}" for one in labels], loc="outside lower center", ncols=3, fontsize=9)
    return figure


def deletion_insertion(result: RemovalCurves, stages: Sequence[str] | None = None) -> "Figure":
    """Mean deletion and insertion curves: attention maps in colour, other orders in grey, areas in the legend.

    Args:
        result: From `seglab.explain.removal_curves`, or `curves` of `seglab.explain.faithfulness`.
        stages: Attention maps to draw; None draws all.

    Raises:
        ValueError: If a stage is unknown.

    Example:
        >>> from seglab import Predictor, build_model, load_dataset
        >>> from seglab.explain import removal_curves
        >>> model = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
        >>> data = load_dataset("synthetic", None, count=(1, 1, 2), size=(32, 32)).test
        >>> [axes.get_title() for axes in deletion_insertion(removal_curves(model, data, step_percent=50)).axes]
        ['deletion: low is good', 'insertion: high is good']
    """
    from matplotlib.figure import Figure

    for stage in stages or ():
        require_name("stage", stage, result.stages)
    chosen = result.stages if stages is None else tuple(stages)
    others = [name for name in result.maps if name not in result.stages]
    looks = {name: {"color": "0.45", "linestyle": GREYS[index]} for index, name in enumerate(others)}
    for index, name in enumerate(chosen):
        colour, _, marker = STYLES[index % len(STYLES)]
        line = STYLES[index // len(STYLES) % len(STYLES)][1]
        looks[name] = {"color": colour, "linestyle": line, "marker": marker, "markersize": "3.5"}
    figure = Figure(figsize=(3.8 * TILE, 1.9 * TILE), layout="constrained")
    words = ("deletion: low is good", "insertion: high is good")
    for axes, direction, title in zip(
        figure.subplots(1, 2, sharey=True), ("deletion", "insertion"), words, strict=True
    ):
        for name in (*chosen, *others):
            rows = result.scores[direction, name]
            known = rows[np.isfinite(rows).all(axis=1)]
            mean = known.mean(axis=0) if len(known) else np.full(len(result.percent), math.nan)
            area = np.trapezoid(mean, result.percent / 100)
            axes.plot(result.percent, mean, label=f"{name}: {area:.3f}", **looks[name])
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(f"pixels {'removed' if direction == 'deletion' else 'present'}, percent")
        axes.grid(alpha=0.3)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "ncols": 3, "frameon": False}
        axes.legend(title="order of pixels: area under the curve", fontsize=7.5, title_fontsize=8, **below)
    figure.axes[0].set_ylabel("soft Dice to the whole picture's")
    return figure


def _tiles(count: int, columns: int, ratio: float) -> "tuple[Figure, list[Axes]]":
    """A figure with `count` empty tiles for pictures whose height is `ratio` times their width."""
    from matplotlib.figure import Figure

    rows = math.ceil(count / columns)
    figure = Figure(figsize=(TILE * columns, (TILE * ratio + 0.6) * rows + 0.3), layout="compressed")
    tiles = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in tiles:
        axes.set_axis_off()
    for axes in tiles[count:]:
        axes.remove()
    return figure, tiles[:count]


def _legend(figure: "Figure", words: Sequence[str]) -> None:
    """Name the colours of an error or agreement map below the pictures, the stripes included."""
    from matplotlib.patches import Patch

    handles = []
    for (red, green, blue), word in zip((BLUE, ORANGE, NAVY), words, strict=True):
        colour = f"#{red:02x}{green:02x}{blue:02x}"
        handles.append(Patch(facecolor=colour, edgecolor="white" if (red, green, blue) == NAVY else colour, label=word))
    handles[-1].set_hatch("////")
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=10)


def _wrapped(title: str) -> str:
    """A title broken into lines that fit over a tile."""
    return fill(title, 24)


def _range(values: np.ndarray) -> str:
    """Smallest and largest gate of a stage; nothing to say of a module without this kind of gate."""
    return f"{values.min():.2f}-{values.max():.2f}" if values.size else "none"
