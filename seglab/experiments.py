"""A training as a value: model, loss, pictures and settings in, a scored run folder out, in this process or another."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch

from seglab.cards import installed_version
from seglab.config import TrainConfig
from seglab.contract import require_name
from seglab.data import Dataset, Splits
from seglab.data._folds import fold_of, read_folds
from seglab.data._roots import load_roots
from seglab.evaluation import Report, evaluate
from seglab.files import atomic_text
from seglab.history import Record
from seglab.losses import build_loss, list_losses
from seglab.models import Segmenter, build_model, list_models
from seglab.records import Noted, Source, write_record
from seglab.settings import sort_items, values_of
from seglab.training import train

__all__ = ["Recipe", "num_classes_of", "run"]

NOTHING: Mapping[str, Any] = MappingProxyType({})
FREE = ("device", "workers", "save_every")  # settings that change no number


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train, on which pictures and how; plain values, so that it can travel to another process.

    Attributes:
        model: A name of `list_models()`.
        loss: A name of `list_losses()`.
        knobs: Knobs of the model.
        loss_knobs: Knobs of the loss.
        config: Settings of training.
        roots: Folders of the pictures; a folder may name its own layout, as in "ph2:FOLDER".
        dataset: Layout of the folders that do not.
        data_knobs: Settings of the layout, for example the seed of the split.
        folds: File that `seglab.data._folds.write_folds` wrote; None takes the dataset's own split.
        fold: Which fold is the test part; the next one is for validation.

    Example:
        >>> recipe = Recipe(model="unet", loss="bce_dice", dataset="synthetic")
        >>> recipe.override(["model.width=8", "epochs=3"]).knobs
        {'width': 8}
    """

    model: str
    loss: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    loss_knobs: Mapping[str, Any] = field(default_factory=dict)
    config: TrainConfig = TrainConfig()
    roots: tuple[str, ...] = ()
    dataset: str = "folder"
    data_knobs: Mapping[str, Any] = field(default_factory=dict)
    folds: str | None = None
    fold: int = 0

    def override(self, settings: Iterable[str]) -> Self:
        """The recipe with settings applied: epochs=3, model.width=8, loss.alpha=0.5, data.seed=1, model=unet, loss=ce.

        Raises:
            ValueError: If a name or value is unknown or out of range.
        """
        roots, groups = sort_items(list(settings))
        if roots:
            raise ValueError(f"settings must be written NAME=VALUE; got {roots[0]!r}.")
        own = groups.pop("", [])
        names = values_of([text for text in own if text.partition("=")[0] in ("model", "loss")])
        config = self.config.override(text for text in own if text.partition("=")[0] not in names)
        knobs, loss_knobs, data_knobs = (values_of(groups.pop(key, [])) for key in ("model", "loss", "data"))
        if groups:
            raise ValueError(f"settings must start with model., loss., data. or nothing; got {sorted(groups)[0]}.")
        return replace(
            self,
            **names,
            config=config,
            knobs={**self.knobs, **knobs},
            loss_knobs={**self.loss_knobs, **loss_knobs},
            data_knobs={**self.data_knobs, **data_knobs},
        )

    def splits(self) -> Splits:
        """The pictures, read from disk or generated."""
        splits = load_roots(self.roots, self.dataset, self.data_knobs)
        return splits if self.folds is None else fold_of(splits, read_folds(Path(self.folds)), self.fold)

    def build(self, data: Dataset) -> Segmenter:
        """The untrained model for a dataset's classes; the same seed gives the same weights.

        Raises:
            ValueError: If the model, the loss or a knob is unknown.
        """
        require_name("model", self.model, list_models())
        require_name("loss", self.loss, list_losses())
        build_loss(self.loss, **self.loss_knobs)
        torch.manual_seed(self.config.seed)
        return build_model(self.model, num_classes_of(data, self.loss), **self.knobs)

    def updates(self, pictures: int) -> int:
        """Updates of the weights that so many training pictures give."""
        return self.config.epochs * math.ceil(pictures / self.config.batch_size)

    def task(self, splits: Splits) -> dict[str, Any]:
        """Everything that the run's numbers depend on, as JSON holds it."""
        config = {key: value for key, value in self.config.to_dict().items() if key not in FREE}
        facts = {
            "model": self.model,
            "knobs": dict(self.knobs),
            "loss": self.loss,
            "loss_knobs": dict(self.loss_knobs),
            "config": config,
            "split": splits.fingerprint(),
        }
        return dict(json.loads(json.dumps(facts)))


def num_classes_of(data: Dataset, loss: str) -> int:
    """K for a dataset and a loss: 1 for two classes under a binary loss, else the number of classes.

    Example:
        >>> from seglab import load_dataset
        >>> num_classes_of(load_dataset("synthetic", count=(1, 1, 1), size=(32, 32)).train, "bce_dice")
        1
    """
    classes = len(data.classes)
    return 1 if classes == 2 and loss.startswith("bce") else classes


def run(
    recipe: Recipe,
    out: str | Path,
    *,
    title: str = "",
    card: Mapping[str, Any] = NOTHING,
    on_epoch: Callable[[Record], None] | None = None,
) -> Report:
    """Train a recipe in its run folder and score it on its test part; what is finished is read, what stopped goes on.

    Args:
        recipe: What to train.
        out: Run folder; besides what `train` writes, task.json says what it is for and test.json holds the scores.
        title: Name that tables show; the model's if empty.
        card: More facts for the checkpoint's description.
        on_epoch: Called with each epoch's record.

    Returns:
        Scores on the test part, boundary distances left out.

    Raises:
        ValueError: If the folder holds a run of another recipe, or the recipe cannot be trained.
        OSError: If something cannot be read or written.

    Example:
        >>> import tempfile
        >>> recipe = Recipe(model="unet", loss="bce_dice", dataset="synthetic").override(
        ...     ["model.width=4", "epochs=1", "size=32", "data.count=[4,2,2]", "data.size=[32,32]"])
        >>> len(run(recipe, tempfile.mkdtemp()).names)
        2
    """
    out = Path(out)
    splits = recipe.splits()
    task = recipe.task(splits)
    _require_same_task(out, task)
    done = out / "test.json"
    if done.is_file():
        return Report.from_json(done.read_text())
    model = recipe.build(splits.train)
    out.mkdir(parents=True, exist_ok=True)
    atomic_text(out / "task.json", json.dumps(task, indent=1) + "\n")
    facts = {
        "title": title or recipe.model,
        "data": {"roots": [Path(r.rpartition(":")[2]).name for r in recipe.roots] or [recipe.dataset]}
        | {"split": task["split"], "train": len(splits.train), "val": len(splits.val), "test": len(splits.test)},
        "config": recipe.config.to_dict(),
        "loss": recipe.loss,
        "versions": {"seglab": installed_version(), "torch": str(torch.__version__)},
    }
    loss = build_loss(recipe.loss, **recipe.loss_knobs)
    best = train(
        model, loss, splits.train, splits.val, recipe.config, out=out, card={**facts, **card}, on_epoch=on_epoch
    )
    scored = Noted(splits.test)
    report = evaluate(best, scored, boundary=False, probabilities=False)
    report.save(out / "test.csv")
    source = Source(recipe.dataset, tuple(recipe.roots), recipe.data_knobs, recipe.folds, recipe.fold)
    write_record(out, source, splits, "test.json", scored)
    report.save(done)  # last: its presence says that the run is finished
    return report


def _require_same_task(out: Path, task: Mapping[str, Any]) -> None:
    """Refuse a run folder that is for something else."""
    path = out / "task.json"
    if not path.is_file():
        return
    before = json.loads(path.read_text())
    for key, value in task.items():
        if before.get(key) != value:
            raise ValueError(
                f"{key} must be {before.get(key)!r} as in the run {out}; got {value!r}. Use another --out."
            )
