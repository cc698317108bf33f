"""`seglab explain`: do a model's attention maps explain what it does?"""

import argparse
from pathlib import Path

from seglab.settings import sort_items, values_of

__all__ = ["explain"]


def explain(arguments: argparse.Namespace) -> int:
    """Put a model's attention to the test: gates replaced, pixels removed, weights randomised, mass inside."""
    from tqdm import tqdm

    from seglab.data._roots import load_roots
    from seglab.explain import faithfulness
    from seglab.inference import Predictor

    roots, settings = sort_items(arguments.data)
    knobs = values_of(settings.pop("data", []))
    if settings:
        raise ValueError(f"settings of explain must start with data.; got {next(iter(settings.values()))[0]}.")
    out = Path(arguments.out) if arguments.out else None
    if out is not None and out.suffix not in {".json", ".md"}:
        raise ValueError(f"file of explanations must end in .json or .md; got {out.name}.")
    predictor = Predictor.load(arguments.model)
    splits = load_roots(roots, arguments.dataset, knobs)
    data = getattr(splits, arguments.part)
    with tqdm(total=min(len(data), arguments.pictures or len(data)), disable=None, leave=False) as bar:
        result = faithfulness(
            predictor, data, pictures=arguments.pictures, seed=arguments.seed, on_image=lambda done: bar.update()
        )
    print(f"part: {arguments.part}, split {splits.fingerprint()}")
    print(result)
    if out is not None:
        result.save(out)
    return 0
