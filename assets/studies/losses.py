"""Which loss wins, and when: the four losses of a paper, three seeds, one network, scored at five checkpoints.

    python assets/studies/losses.py ISIC2018 RUNS

trains in RUNS (what is finished there is kept) and writes `assets/results/losses.json`. The losses and their constants
are those of `seglab.papers` for Toptaş 2025. Nothing is chosen on test pictures: the rules that choose one checkpoint
are compared, and the one that looks at the test pictures is named as such.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import seglab
from seglab import papers, stats
from seglab.data._folds import Chosen
from seglab.files import atomic_text

RESULTS = Path(__file__).parents[1] / "results"
EPOCHS, CHECKPOINTS, SEEDS, WIDTH = 40, (8, 16, 24, 32, 40), (0, 1, 2), 16
SHARES = (0.1, 0.05, 0.85)
STEP = 3  # every third picture of the test part is scored: 60 models are to be scored
DEFINITIONS = ("dice_fg_image", "dice_fg_pooled", "miou_2class_image", "miou_2class_pooled")
SETTINGS: dict[str, Any] = {"epochs": EPOCHS, "size": 64, "lr": 1e-3, "schedule": "constant", "batch_size": 8}


def losses() -> dict[str, dict[str, float]]:
    """The paper's losses with their constants."""
    rows = papers.load_paper("toptas2025").rows
    return {row.loss: dict(row.loss_knobs) for row in rows if row.label.startswith("BA-RA")}


def fit(loss: str, knobs: dict[str, float], seed: int, data: seglab.data.Splits, out: Path) -> list[float]:
    """Train once; the validation score of every epoch."""
    torch.manual_seed(seed)
    model = seglab.build_model("unet", 1, width=WIDTH)
    config = seglab.TrainConfig(**SETTINGS, seed=seed, save_every=CHECKPOINTS[0], workers=1)
    seglab.train(model, seglab.build_loss(loss, **knobs), data.train, data.val, config, out=out)
    lines = (out / "history.csv").read_text().splitlines()
    column = lines[0].split(",").index("val_dice_fg_image")
    return [float(line.split(",")[column]) for line in lines[1:]]


def counted(out: Path, epoch: int, test: Chosen) -> torch.Tensor:
    """Counts of one checkpoint on the test pictures, (N, 2, 2), at their own size; kept beside the checkpoint."""
    path = out / f"epoch_{epoch:03d}.safetensors"
    kept = path.with_suffix(".json")
    if not kept.is_file():
        report = seglab.evaluate(seglab.Predictor.load(path), test, boundary=False, probabilities=False)
        atomic_text(kept, json.dumps(report.counts.tolist()))
    return torch.tensor(json.loads(kept.read_text()))


def differences(counts: np.ndarray, names: list[str], definition: str) -> list[dict[str, Any]]:
    """The last of the losses against every other, at the last checkpoint, over seeds and pictures."""
    first = names.index("compound")
    found = []
    for index, name in enumerate(names):
        if index != first:
            one = stats.hierarchical_difference(counts[index, :, -1], counts[first, :, -1], definition=definition)
            found.append(
                {"minus": name, "value": one.mean, "low": one.low, "high": one.high, "p": one.p}
                | {"detectable": one.detectable}
            )
    for row, adjusted in zip(found, stats.holm([row["p"] for row in found]), strict=True):
        row["p_holm"] = float(adjusted)
    return found


def main(folder: str, runs: str) -> None:
    """Train what is not trained yet, score, and write the file."""
    data = seglab.load_dataset("folder", folder, shares=SHARES)
    test = Chosen((data.test,), tuple((0, index) for index in range(0, len(data.test), STEP)))
    chosen, counts, val = losses(), [], {}
    for loss, knobs in chosen.items():
        outs = [Path(runs) / loss / f"seed{seed}" for seed in SEEDS]
        val[loss] = [fit(loss, knobs, seed, data, out) for seed, out in zip(SEEDS, outs, strict=True)]
        counts.append([[counted(out, epoch, test).numpy() for epoch in CHECKPOINTS] for out in outs])
        print(loss, flush=True)
    table = np.array(counts)  # (L, S, E, N, 2, 2)
    names = list(chosen)
    scores = {
        definition: {
            name: [
                [stats.score(table[i, s, e], definition) for e in range(len(CHECKPOINTS))] for s in range(len(SEEDS))
            ]
            for i, name in enumerate(names)
        }
        for definition in DEFINITIONS
    }
    content = {
        "question": "Which of four losses is best, and does the answer depend on the checkpoint?",
        "command": "python assets/studies/losses.py ISIC2018 runs/losses",
        "model": {"name": "unet", "width": WIDTH},
        "config": SETTINGS,
        "losses": names,
        "loss_knobs": chosen,
        "seeds": list(SEEDS),
        "epochs": list(CHECKPOINTS),
        "split": data.fingerprint(),
        "train": len(data.train),
        "val": len(data.val),
        "pictures": [test.name(index) for index in range(len(test))],
        **scores,
        "val_dice": val,
        "differences": {definition: differences(table, names, definition) for definition in DEFINITIONS},
    }
    atomic_text(RESULTS / "losses.json", json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
