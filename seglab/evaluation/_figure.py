"""The bars of every class."""

import math
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from seglab.evaluation import Report

__all__ = ["class_bars"]

RATIOS = {"iou": "IoU", "precision": "Precision", "recall": "Recall", "dice": "Dice"}
COLOURS = ("#999999", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito; 0 in grey


def class_bars(report: "Report", *, pooled: bool = True) -> "Figure":
    """IoU, precision, recall and Dice of every class, a panel each, with the number at every bar.

    Args:
        report: From `seglab.evaluate`.
        pooled: True sums the pixels of all pictures first; False takes the mean over the pictures that have a value,
            and says how many they are.

    Example:
        >>> import torch
        >>> from seglab import Report
        >>> counts = torch.tensor([[[4, 1], [0, 3]]])
        >>> figure = class_bars(Report("m", ("p",), ("skin", "lesion"), counts, torch.tensor([0.0])))
        >>> [axes.get_title() for axes in figure.axes]
        ['IoU, mean 0.775', 'Precision, mean 0.875', 'Recall, mean 0.900', 'Dice, mean 0.873']
    """
    from matplotlib.figure import Figure

    size, way = len(report.classes), "pooled" if pooled else "image"
    words = [fill(word, 18) for word in report.classes]
    figure = Figure(figsize=(12, 1.5 + 0.42 * size), layout="constrained")
    for axes, (ratio, title) in zip(figure.subplots(1, 4, sharey=True), RATIOS.items(), strict=True):
        means = [report.values[f"{ratio}_class{k}_{way}"] for k in range(size)]
        lengths = [0.0 if math.isnan(value) else value for value, _ in means]
        axes.barh(range(size), lengths, color=[COLOURS[k % len(COLOURS)] for k in range(size)], height=0.7)
        for k, (value, n) in enumerate(means):
            number = "not defined" if math.isnan(value) else f"{value:.3f}" + f" (n = {n})" * (not pooled)
            axes.annotate(number, (lengths[k], k), (4, 0), textcoords="offset points", va="center", fontsize=9)
        over = f"{ratio}_macro" if pooled and ratio in ("precision", "recall") else f"m{ratio}_{size}class_{way}"
        average = report.values[over].value
        axes.set_title(f"{title}, mean " + ("not defined" if math.isnan(average) else f"{average:.3f}"), fontsize=10)
        axes.set_xlim(0, 1.3 if pooled else 1.55)  # room for the number of a full bar
        axes.set_xticks([0, 0.5, 1])
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_yticks(range(size), words)
    figure.axes[0].invert_yaxis()
    where = "all pixels together" if pooled else "mean over pictures"
    figure.suptitle(f"{report.model}: {len(report.names)} pictures, {where}", fontsize=11)
    return figure
