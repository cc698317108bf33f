"""`seglab compare --corrupt`: how the models' Dice falls under disturbances."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seglab.settings import sort_items, values_of

if TYPE_CHECKING:
    from seglab.inference import Predictor

__all__ = ["compare_disturbed"]

ENDINGS = (".json", ".csv", ".md", ".png")


def compare_disturbed(arguments: argparse.Namespace, predictors: "Mapping[str, Predictor]") -> int:
    """Print the curves, areas and paired differences of the models, and write them or their figure."""
    from tqdm import tqdm

    from seglab.corruptions import list_corruptions
    from seglab.data._roots import load_roots
    from seglab.files import atomic
    from seglab.plots import robustness_curves
    from seglab.robustness import robustness

    if not arguments.corrupt or arguments.image is not None:
        raise ValueError("--corrupt NAME,... goes with --data, and --severities with --corrupt; --image takes neither.")
    out = Path(arguments.out) if arguments.out else None
    if out is not None and out.suffix not in ENDINGS:
        raise ValueError(f"--out with --corrupt must end in {', '.join(ENDINGS)}; got {out.name}.")
    names = list_corruptions() if arguments.corrupt == "all" else arguments.corrupt.split(",")
    severities = _severities(arguments.severities, names)
    roots, settings = sort_items(arguments.data)
    splits = load_roots(roots, arguments.dataset, values_of(settings.get("data", [])))
    with tqdm(total=len(splits.test), disable=None, leave=False) as bar:
        result = robustness(
            predictors, splits.test, corruptions=names, severities=severities, on_image=lambda done: bar.update()
        )
    print(f"test part, split {splits.fingerprint()}")
    print(result)
    if out is not None and out.suffix == ".png":
        with atomic(out) as file:
            robustness_curves(result).savefig(file, format="png", dpi=150)
    elif out is not None:
        result.save(out)
    return 0


def _severities(texts: Sequence[str], names: Sequence[str]) -> dict[str, list[float]]:
    """["noise=10,20"] -> {"noise": [10, 20]}; the name may be left out if there is one disturbance."""
    severities: dict[str, list[float]] = {}
    for text in texts:
        before, _, numbers = text.rpartition("=")
        name = before or (names[0] if len(names) == 1 else "")
        try:
            levels = [float(number) for number in numbers.split(",")]
        except ValueError:
            levels = []
        if not name or not levels or name in severities:
            raise ValueError(f"--severities must be NAME=NUMBER,NUMBER, every name once; got {text!r}.")
        severities[name] = levels
    return severities
