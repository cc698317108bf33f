"""Make what the README shows: `readme.png`, from a generated picture and two shipped models, and the table of scores.

Run it in the repository's root: `python assets/readme.py`. The scores are read from the models' own cards.
"""

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


def main() -> None:
    """Write the picture, and the table into the README between its marks."""
    draw()
    readme = HERE.parent / "README.md"
    marks = re.compile(r"(<!-- scores -->\n).*?(<!-- end of scores -->)", re.DOTALL)
    atomic_text(readme, marks.sub(lambda found: f"{found[1]}\n{table()}\n\n{found[2]}", readme.read_text()))


if __name__ == "__main__":
    main()
