"""Ship a trained model: half precision, scores inside, and a card that a person can read beside it."""

import json
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from seglab.checkpoint import Description, load_model, load_run, save_model
from seglab.evaluation import Report
from seglab.files import atomic_text

__all__ = ["installed_version", "publish", "scores_of", "write_card"]

LIMITS = (
    "It knows only pictures like those it was trained on; on others it may be wrong without a sign.",
    "One training run with one seed: another seed gives other scores.",
    "It is not a medical device and must not be used for diagnosis.",
)


def installed_version() -> str:
    """Version of the installed package, for records; a source tree that was never installed says so."""
    try:
        return version("seglab")
    except PackageNotFoundError:
        return "source tree"


def scores_of(report: Report, data: str) -> dict[str, Any]:
    """A report's main scores, each with its definition in its name, n and an interval, for a checkpoint's card."""
    low, high = report.interval()
    names = ("dice_fg_image", "iou_fg_image", "dice_fg_pooled", "iou_fg_pooled", "hausdorff95_image")
    values = {name: {"value": round(report.values[name][0], 4), "n": report.values[name][1]} for name in names}
    return {"data": data, **values, "dice_fg_image_interval_95": [round(low, 4), round(high, 4)]}


def publish(source: Path, target: Path, *, scores: list[dict[str, Any]] | None = None) -> Description:
    """Write a trained model in half precision with its scores, and its card as `.md` beside it.

    Args:
        source: Checkpoint, or run folder (its best checkpoint).
        target: `.safetensors` file to write.
        scores: From `scores_of`, one for each test set.

    Returns:
        The description that was written.

    Raises:
        ValueError: If `target` has another ending, or the source is no checkpoint.
    """
    if target.suffix != ".safetensors":
        raise ValueError(f"target must end in .safetensors; got {target.name}.")
    model, description = load_run(source) if source.is_dir() else load_model(source)
    description = replace(description, card=description.card | {"scores": scores or [], "limits": list(LIMITS)})
    target.parent.mkdir(parents=True, exist_ok=True)
    save_model(target, model, description, half=True)
    write_card(target)
    return description


def write_card(path: Path) -> None:
    """Write a checkpoint's card as Markdown beside it, from what the checkpoint says of itself."""
    model, description = load_model(path)
    card = description.card
    data = card.get("data", {})
    commands = card.get("commands", ["not recorded"])
    lines = [
        f"# {description.title}",
        "",
        f"File `{path.name}`, {path.stat().st_size / 2**20:.1f} MB, half precision. Read it with "
        f'`seglab.Predictor.load("{path.name}")`.',
        "",
        f"- Model: `{description.model}` with {json.dumps(description.knobs)}, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters, K = {description.num_classes}",
        f"- Input: letterboxed to {description.size} x {description.size} pixels; "
        f"classes {', '.join(description.classes)}",
        f"- Data: {', '.join(data.get('roots', ['not recorded']))}; {data.get('train', '?')} pictures to train, "
        f"{data.get('val', '?')} to choose the best epoch, {data.get('test', '?')} to test; "
        f"split `{data.get('split', '?')}`",
        *[f"- Trained by: `{c}`" if i == 0 else f"- then by: `{c}`" for i, c in enumerate(commands)],
        f"- Versions: {', '.join(f'{k} {v}' for k, v in card.get('versions', {}).items())}",
        f"- SHA-256 of the weights: `{description.sha256}`",
        "",
        "## Scores",
        "",
        *_score_lines(card.get("scores", [])),
        "",
        "## Limits",
        "",
        *[f"- {text}" for text in card.get("limits", LIMITS)],
    ]
    atomic_text(path.with_suffix(".md"), "\n".join(lines) + "\n")


def _score_lines(scores: list[dict[str, Any]]) -> list[str]:
    """A table of the scores; every row is one test set."""
    if not scores:
        return ["Not measured."]
    lines = [
        "Threshold 0.5, at each picture's own size, pictures that training never saw. Dice and IoU of the object; "
        "_image: mean over pictures, _pooled: all pixels together; HD95 in pixels.",
        "",
        "| test pictures | n | Dice, image (95 % interval) | Dice, pooled | IoU, image | HD95 |",
        "|---|---|---|---|---|---|",
    ]
    for one in scores:
        low, high = one["dice_fg_image_interval_95"]
        dice = one["dice_fg_image"]
        lines.append(
            f"| {one['data']} | {dice['n']} | {dice['value']:.4f} ({low:.4f} to {high:.4f}) "
            f"| {one['dice_fg_pooled']['value']:.4f} | {one['iou_fg_image']['value']:.4f} "
            f"| {one['hausdorff95_image']['value']:.1f} |"
        )
    return lines
