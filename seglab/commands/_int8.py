"""`seglab export --int8`: calibrate on the train part, compare on the test part, write or refuse."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seglab.settings import sort_items, values_of

if TYPE_CHECKING:
    from seglab.data import Splits

__all__ = ["export_int8"]


def export_int8(arguments: argparse.Namespace) -> int:
    """Write the file and say what it costs in Dice.

    Raises:
        ValueError: If an option is missing or in the way, a part is empty, or the answers move too far.
    """
    from seglab.quantised import to_int8

    if not arguments.int8 or not arguments.calibrate:
        raise ValueError(
            "--int8 must come with --calibrate FOLDER, whose train part gives the ranges; got one of them."
        )
    target = Path(arguments.to)
    if target.suffix != ".onnx":
        raise ValueError(f"target must end in .onnx for --int8; got {target.name}.")
    splits = _splits(arguments.calibrate, arguments.dataset)
    test = _splits(arguments.test, arguments.dataset).test if arguments.test else splits.test
    print(to_int8(arguments.model, target, pictures=splits.train, held_out=test))
    return 0


def _splits(items: Sequence[str], dataset: str) -> "Splits":
    """The three parts of folders and settings."""
    from seglab.data._roots import load_roots

    roots, settings = sort_items(items)
    knobs = values_of(settings.pop("data", []))
    if settings:
        raise ValueError(f"settings of export must start with data.; got {next(iter(settings.values()))[0]}.")
    return load_roots(roots, dataset, knobs)
