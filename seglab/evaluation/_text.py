"""A report as Markdown, JSON and CSV, and back from JSON."""

import csv
import io
import json
import math
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from seglab.evaluation import Report

__all__ = ["read_json", "to_csv", "to_json", "to_markdown"]

RATIOS = ("dice", "iou", "precision", "recall", "specificity")


def to_markdown(report: "Report") -> str:
    """Tables under plain headings, with n and an interval behind each score, then the notes."""
    intervals, lines = report.intervals(), [f"### {report.model}: {len(report.names)} pictures"]
    for title, names in _groups(list(report.values)):
        if title == "Calibration":
            lines += _classes(report)
        lines += ["", f"#### {title}", "", "| score | value | 95 % interval | n |", "|---|---:|---:|---:|"]
        for name in names:
            value, n = report.values[name]
            low, high = intervals.get(name, (math.nan, math.nan))
            between = "" if math.isnan(low) else f"{_show(low)} to {_show(high)}"
            lines.append(f"| {name} | {_show(value)} | {between} | {n} |")
    lines += _reliability(report) if report.calibration else _classes(report)
    lines += [
        "",
        "Intervals: bootstrap over pictures. n: pictures that have a value (_image), classes averaged (_pooled,",
    ]
    lines += ["_macro), or pixels (ece). A score that is 0 / 0 is not defined and left out of means.", ""]
    return "\n".join([*lines, *(f"- {key}: {text}" for key, text in report.notes.items())])


def _groups(names: list[str]) -> list[tuple[str, list[str]]]:
    """Headings and the scores below each, single classes left out."""
    names = [name for name in names if "_class" not in name]
    average = [name for name in names if name.startswith("m") or name.endswith("_macro")]
    plain = [name for name in names if name.startswith("accuracy") and name not in average]
    edge = [name for name in names if name.startswith(("hausdorff95", "assd", "surface_dice"))]
    sure = [name for name in names if name.startswith("ece")]
    thing = [name for name in names if name not in {*average, *plain, *edge, *sure}]
    titles = ("Object", "Mean over classes", "All pixels", "Boundary of the object", "Calibration")
    return [(title, found) for title, found in zip(titles, (thing, average, plain, edge, sure), strict=True) if found]


def _classes(report: "Report") -> list[str]:
    """A table of the single classes, n in brackets where it is a number of pictures."""
    lines = ["", "#### Single classes", "", "Names: `dice_class0_image` and so on; in brackets, n.", ""]
    lines += ["| class | | " + " | ".join(RATIOS) + " |", "|---|---" + "|---:" * len(RATIOS) + "|"]
    for k, word in enumerate(report.classes):
        for way in ("image", "pooled"):
            found = [report.values[f"{ratio}_class{k}_{way}"] for ratio in RATIOS]
            cells = [f"{_show(value)} ({n})" if way == "image" else _show(value) for value, n in found]
            lines.append(f"| {k} {_cell(word)} | {way} | {' | '.join(cells)} |")
    return lines


def _reliability(report: "Report") -> list[str]:
    """What share of pixels was right where the model was how sure, in the bins that hold pixels."""
    lines = ["", "| region | confidence | mean | share right | pixels |"]
    lines.append("|---|---|---:|---:|---:|")
    regions = {"all": "all pixels", "band": f"within {report.band:g} px of a true border"}
    for region, (_, table) in report.calibration.items():
        for i, (mean, right, pixels) in enumerate(table.tolist()):
            if pixels:
                ends = f"{i / len(table):.2f} to {(i + 1) / len(table):.2f}"
                lines.append(f"| {regions[region]} | {ends} | {mean:.4f} | {right:.4f} | {int(pixels)} |")
    return lines


def to_json(report: "Report") -> str:
    """Everything, with one line for each row of numbers."""
    low, high = report.interval()
    per_image = {name: scores.tolist() for name, scores in report.distances.items()}
    images = []
    for i, name in enumerate(report.names):
        one: dict[str, Any] = {"name": name, "counts": report.counts[i].tolist()}
        one.update({key: _null(scores[i]) for key, scores in per_image.items()})
        if report.histogram is not None:
            one["histogram"] = report.histogram[i].tolist()
        images.append(one)
    content = {
        "model": report.model,
        "pictures": len(report.names),
        "classes": report.classes,
        "values": {name: {"value": _null(value), "n": n} for name, (value, n) in report.values.items()},
        "dice_fg_image_interval_95": [_null(low), _null(high)],
        "intervals_95": {name: [_null(end) for end in ends] for name, ends in report.intervals().items()},
        "notes": report.notes,
        "pixel_size_mm": report.pixel_size_mm,
        "tolerance": report.tolerance,
        "band": report.band,
        "confidence": None if report.confidence is None else report.confidence.tolist(),
        "images": images,
    }
    # A raw line break is in no JSON string, so this touches lists of numbers only.
    return re.sub(r'\[\n[^\[\]{}"]*\]', lambda found: " ".join(found[0].split()), json.dumps(content, indent=1))


def read_json(text: str) -> dict[str, Any]:
    """Arguments of the report that wrote this, an older one included.

    Raises:
        ValueError: If the text is not such a report.
    """
    try:
        content = json.loads(text)
        images = content["images"]
        return {
            "model": content["model"],
            "names": tuple(one["name"] for one in images),
            "classes": tuple(content["classes"]),
            "counts": torch.tensor([one["counts"] for one in images], dtype=torch.int64),
            "hausdorff95": _column(images, "hausdorff95"),
            "notes": content["notes"],
            "assd": _column(images, "assd"),
            "surface_dice": _column(images, "surface_dice"),
            "histogram": _stack([one.get("histogram") for one in images], torch.int64),
            "confidence": _stack(content.get("confidence"), torch.float64),
            **{key: content[key] for key in ("pixel_size_mm", "tolerance", "band") if key in content},
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"report must be JSON that a report wrote; got an error: {what}.") from error


def _column(images: list[dict[str, Any]], name: str) -> Tensor | None:
    """A score of every picture, null as NaN; None for an optional one that was not measured."""
    if name != "hausdorff95" and not all(name in one for one in images):
        return None
    return torch.tensor([math.nan if one[name] is None else one[name] for one in images], dtype=torch.float64)


def _stack(rows: list[Any] | None, dtype: torch.dtype) -> Tensor | None:
    """Lists of numbers as a tensor; None if there are none."""
    return None if rows is None or any(row is None for row in rows) else torch.tensor(rows, dtype=dtype)


def to_csv(report: "Report") -> str:
    """One row a picture: name, Dice, IoU, the K x K counts and the boundary scores."""
    size = report.counts.shape[1]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    cells = [f"true{i}_pred{j}" for i in range(size) for j in range(size)]
    rows.writerow(["name", "dice", "iou", *cells, *report.distances])
    overlaps = zip(report.per_image_dice.tolist(), report.per_image_iou.tolist(), strict=True)
    far = list(zip(*(scores.tolist() for scores in report.distances.values()), strict=True))
    for name, both, counts, scores in zip(report.names, overlaps, report.counts, far, strict=True):
        shown = [f"{score:.6f}" for score in both], [f"{score:.6f}" for score in scores]
        rows.writerow([name, *shown[0], *counts.reshape(-1).tolist(), *shown[1]])
    return text.getvalue()


def _show(value: float) -> str:
    """A number for a table; a missing one in words."""
    return "not defined" if math.isnan(value) else f"{value:.4f}"


def _cell(text: str) -> str:
    """A name that cannot end a table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def _null(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
