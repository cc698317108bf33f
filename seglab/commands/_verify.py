"""The subcommand `verify`."""

import argparse

from seglab.settings import sort_items, values_of


def verify(arguments: argparse.Namespace) -> int:
    """Score a run's best model again and say whether its recorded numbers still hold; exit code 1 if they do not."""
    from seglab.records import Source
    from seglab.verification import verify as run

    roots, settings = sort_items(arguments.data)
    knobs = values_of(settings.pop("data", []))
    if settings:
        raise ValueError(f"settings of verify must start with data.; got {next(iter(settings.values()))[0]}.")
    named = roots or arguments.dataset or knobs
    source = Source(arguments.dataset or "folder", tuple(roots), knobs) if named else None
    result = run(arguments.folder, source, tolerance=arguments.tolerance)
    print(result.to_text())
    return 0 if result.holds else 1
