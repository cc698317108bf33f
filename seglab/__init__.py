"""Does this enhancement really make my U-Net better, and where?"""

from seglab.config import TrainConfig
from seglab.data import list_datasets, load_dataset
from seglab.evaluation import Report, evaluate
from seglab.inference import Prediction, Predictor
from seglab.losses import build_loss, list_losses
from seglab.models import Segmenter, build_model, list_models
from seglab.training import train

__all__ = [
    "Prediction",
    "Predictor",
    "Report",
    "Segmenter",
    "TrainConfig",
    "build_loss",
    "build_model",
    "evaluate",
    "list_datasets",
    "list_losses",
    "list_models",
    "load_dataset",
    "train",
]
