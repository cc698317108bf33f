"""`--engine`: another way to run a model, compared with the model on the first pictures before it is used."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seglab import Predictor

__all__ = ["on_engine", "readable"]

COMPARED = 8  # pictures


def on_engine(predictor: "Predictor", engine: str, images: Iterable[Any]) -> "Predictor":
    """The predictor on an engine; says on the terminal which one it is if it was chosen by a race.

    Args:
        predictor: On the CPU.
        engine: A name of `seglab.engines.list_engines()`; "fastest" races those that compute in float32, and
            "fastest-bf16" all.
        images: Pictures to be answered, (H, W, 3) uint8 or Picture; the first eight are compared on.

    Raises:
        ImportError: If the engine needs an extra that is not installed.
        ValueError: If the name is unknown, or the engine cannot be used.
    """
    if engine == "torch":
        return predictor
    import torch

    from seglab import engines
    from seglab.contract import require_name

    require_name("engine", engine, [*engines.list_engines(), "fastest", "fastest-bf16"])
    seen = [predictor.prepare(image)[0] for image in islice(images, COMPARED)]
    pictures = torch.cat(seen) if seen else None
    if not engine.startswith("fastest"):
        return engines.with_engine(predictor, engine, pictures=pictures)
    found = engines.race(predictor, exact=engine == "fastest", pictures=pictures)
    print(f"engine {found}")
    return found.predictor


def readable(paths: Iterable[Path], size: int) -> Iterable[Any]:
    """The pictures of those files that can be read in that size; what is wrong with others is said at their turn."""
    from seglab.images import ImageError, Picture

    for path in paths:
        try:
            picture = Picture(path)
            picture.decode(size)  # it may be damaged
        except ImageError:
            continue
        yield picture
