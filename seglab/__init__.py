"""Does this enhancement really make my U-Net better, and where?

The public names, each fetched from its module when it is first used: `import seglab` costs nothing, and the command
line can set how threads wait before torch is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seglab.comparison import Comparison, compare
    from seglab.config import TrainConfig
    from seglab.contract import Sample
    from seglab.data import Splits, list_datasets, load_dataset
    from seglab.evaluation import Report, evaluate
    from seglab.inference import Prediction, Predictor
    from seglab.losses import build_loss, list_losses
    from seglab.models import Segmenter, build_model, list_models
    from seglab.training import train

__all__ = [
    "Comparison",
    "Prediction",
    "Predictor",
    "Report",
    "Sample",
    "Segmenter",
    "Splits",
    "TrainConfig",
    "build_loss",
    "build_model",
    "compare",
    "evaluate",
    "list_datasets",
    "list_losses",
    "list_models",
    "load_dataset",
    "train",
]

_HOMES = {
    "comparison": ("Comparison", "compare"),
    "config": ("TrainConfig",),
    "contract": ("Sample",),
    "data": ("Splits", "list_datasets", "load_dataset"),
    "evaluation": ("Report", "evaluate"),
    "inference": ("Prediction", "Predictor"),
    "losses": ("build_loss", "list_losses"),
    "models": ("Segmenter", "build_model", "list_models"),
    "training": ("train",),
}
_MODULES = (
    "augmentation",
    "blocks",
    "charts",
    "explain",
    "images",
    "metrics",
    "papers",
    "plots",
    "stats",
    "teach",
    *_HOMES,
)


def __getattr__(name: str) -> object:
    """A public name, or a module such as `seglab.losses`, imported on first use."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"seglab.{home}"), name)
    if name in _MODULES:
        return import_module(f"seglab.{name}")
    raise AttributeError(f"module 'seglab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
