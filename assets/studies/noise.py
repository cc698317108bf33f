"""Which model breaks first under noise: every run of an ablation on the same noisy pictures.

    python assets/studies/noise.py RUNS DATA NAME [FIRST_SETTING ...]

RUNS is the folder of `seglab ablate` (augmentation x CBAM, three seeds), DATA its pictures, the settings those of its
split. Writes `assets/results/NAME.json`. Noise is Gaussian, its standard deviation printed in grey levels of 255, added
to the picture at its own size; all models get the same noisy picture.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import seglab
from seglab import stats
from seglab.data._folds import Chosen
from seglab.files import atomic_text
from seglab.robustness import robustness

RESULTS = Path(__file__).parents[1] / "results"
CELLS = {
    "plain": "augment=false model.cbam=none",
    "augmentation": "augment=true model.cbam=none",
    "CBAM": "augment=false model.cbam=bottleneck,skip",
    "augmentation + CBAM": "augment=true model.cbam=bottleneck,skip",
}
SEEDS, SIGMAS, TESTED = (0, 1, 2), (5, 10, 20, 40, 80), 200


def compared(values: np.ndarray, what: str) -> list[dict[str, Any]]:
    """Every cell minus the plain one, over seeds and pictures: values (cells, seeds, pictures)."""
    rows = []
    for index, name in list(enumerate(CELLS))[1:]:
        found = stats.hierarchical_difference(values[0], values[index])
        facts = {key: getattr(found, key) for key in ("mean", "low", "high", "p", "detectable", "n")}
        rows.append({"name": name, "of": what, **facts})
    for row, adjusted in zip(rows, stats.holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = float(adjusted)
    return rows


def main(runs: str, folder: str, name: str, shares: str) -> None:
    """Disturb, predict, count, and write the file."""
    data = seglab.load_dataset("folder", folder, shares=tuple(json.loads(shares)))
    places = np.linspace(0, len(data.test) - 1, min(TESTED, len(data.test))).round().astype(int)
    test = Chosen((data.test,), tuple((0, int(index)) for index in places))
    predictors = {
        f"{cell}, seed {seed}": seglab.Predictor.load(Path(runs) / path / f"seed{seed}" / "best.safetensors")
        for cell, path in CELLS.items()
        for seed in SEEDS
    }
    done = robustness(predictors, test, corruptions=["noise"], severities={"noise": SIGMAS})
    shape = (len(CELLS), len(SEEDS))
    dice, areas = done.dice("noise"), done.areas("noise")  # (M, S, N), (M, N)
    dice, areas = dice.reshape(*shape, *dice.shape[1:]), areas.reshape(*shape, -1)
    means = np.nanmean(dice, axis=-1)  # cells, seeds, severities
    content = {
        "question": "Does augmentation or CBAM keep Dice up when the pictures get noisy?",
        "command": f"python assets/studies/noise.py RUNS DATA {name} '{shares}'",
        "sigmas": list(done.sweep("noise").severities),
        "unit": "standard deviation of Gaussian noise, grey levels of 255, at the picture's own size",
        "seeds": list(SEEDS),
        "pictures": list(done.names),
        "notes": done.notes,
        "cells": {cell: means[index].round(6).tolist() for index, cell in enumerate(CELLS)},
        "area": {cell: np.nanmean(areas[index], axis=-1).round(6).tolist() for index, cell in enumerate(CELLS)},
        "areas": compared(areas, "area under the curve of Dice over the noise levels, none included"),
        "cost": compared(dice[:, :, -1] - dice[:, :, 0], f"Dice at sigma {SIGMAS[-1]} minus Dice without noise"),
    }
    atomic_text(RESULTS / f"{name}.json", json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
