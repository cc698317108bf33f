"""Make what the README shows: `readme.png`, from a generated picture and two shipped models, and its two tables.

Run it in the repository's root: `python assets/readme.py`. The scores are read from the models' own cards, the effects
from `results`.
"""

import json
import re
from pathlib import Path

import seglab
from seglab import explain, plots
from seglab.checkpoint import load_model
from seglab.files import atomic_text

HERE = Path(__file__).parent
PICTURE, SEED, STAGE = 2, 3, "skip 2"


def draw() -> None:
    """Write the picture beside this file."""
    sample = seglab.load_dataset("synthetic", kind="skin", count=(0, 0, 12), size=(240, 320), seed=SEED).test[PICTURE]
    models = {
        "U-Net": seglab.Predictor.load(HERE / "models/skin-aug.safetensors"),
        "U-Net + CBAM": seglab.Predictor.load(HERE / "models/skin-aug-cbam.safetensors"),
    }
    result = seglab.compare(sample.image, models, sample.mask.numpy())
    panels = {"generated picture": result.image, "true mask": result.truth}
    for one in result.results:
        panels[f"{one.name}: Dice {one.numbers['dice']:.3f}"] = result.view("error", one.name)
    panels[f"attention, {STAGE}"] = explain.heat(result.results[1].attention[STAGE].spatial)
    figure = plots.pictures(panels, columns=5)
    figure.savefig(HERE / "readme.png", dpi=110, bbox_inches="tight", metadata={"Software": None})


def table() -> str:
    """Scores of every shipped model in Markdown, a row for each test set."""
    lines = ["| model | test pictures | n | mean per-image Dice (95 % interval) |", "|---|---|---|---|"]
    for path in sorted((HERE / "models").glob("*.safetensors")):
        for scores in load_model(path)[1].card["scores"]:
            dice, (low, high) = scores["dice_fg_image"], scores["dice_fg_image_interval_95"]
            name = f"[{path.stem}](assets/models/{path.stem}.md)"
            lines.append(f"| {name} | {scores['data']} | {dice['n']} | {dice['value']:.3f} ({low:.3f} to {high:.3f}) |")
    return "\n".join(lines)


def effects() -> str:
    """What augmentation and CBAM did over several seeds, a row for each kind of pictures."""
    lines = ["| pictures | n | augmentation | CBAM | both together, more than their sum |", "|---|---|---|---|---|"]
    for kind in ("skin", "steel"):
        content = json.loads((HERE / f"results/{kind}.json").read_text())
        found = {one["name"]: one for one in content["effects"]["dice_fg_image"]["effects"]}
        cells = [
            f"{one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f}), p {one['p_holm']:.3f}"
            for one in (found[name] for name in ("augment", "model.cbam", "augment x model.cbam"))
        ]
        lines.append(f"| {kind} | {len(content['pictures'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """The README with its tables made anew, each between its marks."""
    for name, made in {"scores": table, "effects": effects}.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text = marks.sub(lambda found, made=made: f"{found[1]}\n{made()}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


def main() -> None:
    """Write the picture, and the tables into the README."""
    draw()
    readme = HERE.parent / "README.md"
    atomic_text(readme, with_tables(readme.read_text()))


if __name__ == "__main__":
    main()
