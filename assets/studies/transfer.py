"""Trained on one collection, tested on another: what is lost, and does augmentation keep some of it?

    python assets/studies/transfer.py PH2 ISIC2018 RUNS

trains a small U-Net on PH2, with and without augmentation, and on as many pictures of ISIC 2018 as a control, three
seeds each, scores all of them on the same test pictures of both collections, and writes
`assets/results/transfer.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import seglab
from seglab import stats
from seglab.data._folds import Chosen
from seglab.files import atomic_text

RESULTS = Path(__file__).parents[1] / "results"
SEEDS, WIDTH, TESTED = (0, 1, 2), 16, 500
SHARES = {"PH2": (0.6, 0.1, 0.3), "ISIC 2018": (0.1, 0.05, 0.85)}
DEFINITIONS = ("dice_fg_image", "dice_fg_pooled", "iou_fg_image", "miou_2class_pooled")
SETTINGS: dict[str, Any] = {"epochs": 60, "size": 64, "lr": 2e-3, "min_lr": 1e-5, "schedule": "cosine", "batch_size": 8}
SETTINGS |= {"optimizer": "adamw", "weight_decay": 0.01, "warmup_epochs": 1, "ema": 0.99, "save_every": 60}


def load(folder: str, name: str) -> seglab.data.Splits:
    """One collection in three parts."""
    return seglab.load_dataset("folder", folder, shares=SHARES[name])


def spread(data: seglab.data.Dataset, count: int) -> Chosen:
    """So many pictures of a part, evenly spread over it."""
    places = np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int)
    return Chosen((data,), tuple((0, int(index)) for index in places))


def predictor(train: Chosen, val: Chosen, augment: bool, seed: int, out: Path) -> seglab.Predictor:
    """Train once, or go on."""
    torch.manual_seed(seed)
    model = seglab.build_model("unet", 1, width=WIDTH)
    config = seglab.TrainConfig(**SETTINGS, augment=augment, seed=seed, workers=1)
    return seglab.train(model, seglab.build_loss("bce_dice"), train, val, config, out=out)


def counted(best: seglab.Predictor, test: Chosen, kept: Path) -> list[Any]:
    """Counts on the test pictures, (N, 2, 2), at their own size; kept beside the run."""
    if not kept.is_file():
        report = seglab.evaluate(best, test, boundary=False, probabilities=False)
        atomic_text(kept, json.dumps(report.counts.tolist()))
    return list(json.loads(kept.read_text()))


def difference(name: str, one: np.ndarray, other: np.ndarray, definition: str) -> dict[str, Any]:
    """Second minus first over seeds and pictures, in words that can be read."""
    found = stats.hierarchical_difference(one, other, definition=definition)
    facts = {key: getattr(found, key) for key in ("mean", "low", "high", "p", "detectable", "n")}
    return {"name": name, "definition": definition, **facts}


def main(ph2: str, isic: str, runs: str) -> None:
    """Train what is not trained yet, score, and write the file."""
    data = {"PH2": load(ph2, "PH2"), "ISIC 2018": load(isic, "ISIC 2018")}
    count, few = len(data["PH2"].train), len(data["PH2"].val)
    tests = {name: spread(parts.test, TESTED) for name, parts in data.items()}
    counts: dict[tuple[str, bool, str], np.ndarray] = {}
    for name, parts in data.items():
        for augment in (False, True):
            found: dict[str, list[Any]] = {where: [] for where in tests}
            for seed in SEEDS:
                out = Path(runs) / name.replace(" ", "") / f"augment={augment}" / f"seed{seed}"
                best = predictor(spread(parts.train, count), spread(parts.val, few), augment, seed, out)
                for where, test in tests.items():
                    found[where].append(counted(best, test, out / f"test-{where.replace(' ', '')}.json"))
            for where, tables in found.items():
                counts[name, augment, where] = np.array(tables)
            print(name, augment, flush=True)
    rows = [
        {"trained_on": name, "tested_on": where, "augment": augment}
        | {key: [stats.score(run, key) for run in runs_] for key in DEFINITIONS}
        for (name, augment, where), runs_ in counts.items()
    ]
    asked = {
        "trained on PH2 instead of ISIC 2018, tested on ISIC 2018, without augmentation": (
            "ISIC 2018",
            False,
            "PH2",
            False,
        ),
        "trained on PH2 instead of ISIC 2018, tested on ISIC 2018, with augmentation": ("ISIC 2018", True, "PH2", True),
        "augmentation, trained on PH2, tested on ISIC 2018": ("PH2", False, "PH2", True),
        "augmentation, trained on ISIC 2018, tested on ISIC 2018": ("ISIC 2018", False, "ISIC 2018", True),
    }
    differences = [
        difference(words, counts[a, x, "ISIC 2018"], counts[b, y, "ISIC 2018"], definition)
        for definition in DEFINITIONS
        for words, (a, x, b, y) in asked.items()
    ]
    differences += [
        difference(
            "augmentation, trained on PH2, tested on PH2", counts["PH2", False, "PH2"], counts["PH2", True, "PH2"], one
        )
        for one in DEFINITIONS
    ]
    for definition in DEFINITIONS:  # Holm's correction over the questions, for each definition
        some = [row for row in differences if row["definition"] == definition]
        for row, adjusted in zip(some, stats.holm([row["p"] for row in some]), strict=True):
            row["p_holm"] = float(adjusted)
    content = {
        "question": "What is lost when a model trained on PH2 is tested on ISIC 2018, and does augmentation help?",
        "command": "python assets/studies/transfer.py PH2 ISIC2018 runs/transfer",
        "model": {"name": "unet", "width": WIDTH},
        "config": SETTINGS,
        "loss": "bce_dice",
        "seeds": list(SEEDS),
        "train": count,
        "val": few,
        "split": {name: parts.fingerprint() for name, parts in data.items()},
        "pictures": {name: [test.name(index) for index in range(len(test))] for name, test in tests.items()},
        "rows": rows,
        "differences": differences,
    }
    atomic_text(RESULTS / "transfer.json", json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
