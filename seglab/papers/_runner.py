"""Train the rows of a paper under one split, each row and seed in a run folder of its own, and score them."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from seglab.config import TrainConfig
from seglab.contract import require_name
from seglab.data import Splits, load_dataset
from seglab.evaluation import Report, evaluate
from seglab.files import atomic_text
from seglab.history import describe
from seglab.losses import build_loss
from seglab.models import Segmenter, build_model
from seglab.papers._outcome import Reproduction, Run
from seglab.papers._paper import Paper, Row
from seglab.papers._quick import CONFIG, PICTURES, shrink
from seglab.training import train

__all__ = ["Plan", "make_plan", "run_plan", "slug"]

NOT_FINITE = "must be finite"  # what `train` says of a loss, gradient or weight that is not
FREE = ("device", "workers", "save_every")  # settings that change no number
SPLIT_SEED = 0


@dataclass(frozen=True)
class Plan:
    """What will be trained, checked before the first step.

    Attributes:
        paper: The paper.
        dataset: Layout of the pictures.
        scored_on: Dataset whose test part is scored, the same unless the paper tests elsewhere.
        splits: The pictures, one split for all rows.
        config: Settings of all rows; `seed` and what a row says are put in for each run.
        rows: The rows.
        seeds: Seeds of every row.
        quick: Whether all is at the small scale.
        weights: File with encoder weights, or None.
    """

    paper: Paper
    dataset: str
    scored_on: str
    splits: Splits
    config: TrainConfig
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    quick: bool
    weights: Path | None

    @property
    def updates(self) -> int:
        """Updates of the weights that every run gets."""
        return self.config.epochs * math.ceil(len(self.splits.train) / self.config.batch_size)

    def model_of(self, row: Row) -> tuple[str, dict[str, Any]]:
        """Name and knobs of a row's model, the file of weights included."""
        name, knobs = shrink(row) if self.quick else (row.model, dict(row.knobs))
        return name, knobs | ({"weights": str(self.weights)} if self.pretrained(row) else {})

    def pretrained(self, row: Row) -> bool:
        """Whether the row starts from the file: it does if the paper's own network has the same encoder."""
        main = next((one.encoder for one in self.paper.rows if one.encoder), "")
        return self.weights is not None and bool(row.encoder) and row.encoder == main

    def task(self, row: Row, seed: int) -> dict[str, Any]:
        """Everything that a run's numbers depend on, as JSON holds it."""
        model, knobs = self.model_of(row)
        config = replace(self.config, seed=seed, **row.config).to_dict()
        task = {
            "paper": self.paper.name,
            "row": row.label,
            "model": model,
            "knobs": {key: value for key, value in knobs.items() if key != "weights"},
            "weights": _digest(self.weights) if self.weights is not None and self.pretrained(row) else "",
            "num_classes": self.paper.num_classes.value,
            "loss": row.loss,
            "loss_knobs": dict(row.loss_knobs),
            "config": {key: value for key, value in config.items() if key not in FREE},
            "split": self.splits.fingerprint(),
            "scored_on": self.scored_on,
        }
        return dict(json.loads(json.dumps(task)))


def make_plan(  # noqa: PLR0913 - the options of the command, each by its name
    paper: Paper,
    data: str | Path | None,
    *,
    dataset: str | None = None,
    epochs: int | None = None,
    size: int | None = None,
    seeds: int = 1,
    rows: Sequence[str] | None = None,
    quick: bool = False,
    weights: str | Path | None = None,
) -> Plan:
    """Load the pictures, settle the settings, and try to build every row's model and loss.

    Raises:
        ValueError: If an option is out of range, a row is unknown, or the pictures do not have two classes.
        FileNotFoundError: If the data or the weights are not there.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1; got {seeds}.")
    if data is None and dataset is None and not quick:
        wanted = " and ".join([paper.datasets.value[0], *([paper.test_dataset.value] if paper.test_dataset else [])])
        raise ValueError(
            f"reproduce needs the folder of the pictures; got none. Give --data DIR with {wanted}, or --quick."
        )
    if weights is not None and quick:
        raise ValueError(
            f"weights must be left out of a quick run, whose models are too small for them; got {weights}."
        )
    if weights is not None and not Path(weights).is_file():
        raise FileNotFoundError(f"weights must be an existing file; got {weights}.")
    chosen = tuple(paper.row(_label(paper, label)) for label in rows) if rows else paper.rows
    name = dataset or ("synthetic" if data is None else paper.datasets.value[0])
    splits, scored_on = _load(paper, name, data, cross=dataset is None, quick=quick)
    changes = {"patience": None, **(CONFIG if quick else {})}
    changes |= {key: value for key, value in (("epochs", epochs), ("size", size)) if value is not None}
    planned = paper.config(name)
    length = changes.get("epochs", planned.epochs)
    frozen = 0 if weights is None else min(changes.get("freeze_epochs", planned.freeze_epochs), length // 2)
    config = replace(planned, **changes | {"freeze_epochs": frozen, "save_every": max(1, length)})
    start = None if weights is None else Path(weights)
    plan = Plan(paper, name, scored_on, splits, config, chosen, tuple(range(seeds)), quick, start)
    for row in chosen:
        model, knobs = plan.model_of(row)
        with torch.device("meta"):
            build_model(model, paper.num_classes.value, **{k: v for k, v in knobs.items() if k != "weights"})
        build_loss(row.loss, **row.loss_knobs)
    return plan


def run_plan(plan: Plan, out: str | Path, *, on_line: Callable[[str], None] | None = None) -> Reproduction:
    """Train and score what is not done yet; a run that was stopped goes on, a finished one is read.

    Args:
        plan: From `make_plan`.
        out: Folder with one folder a row, one in it a seed; the results are written beside them.
        on_line: Called with each line of progress.

    Raises:
        ValueError: If a run folder holds a run with other settings.
        OSError: If something cannot be written.
    """
    say = on_line or (lambda line: None)
    out = Path(out)
    runs = []
    for row in plan.rows:
        for seed in plan.seeds:
            runs.append(_run(plan, row, seed, out / slug(row.label) / f"seed{seed}", say))
    result = Reproduction(
        paper=plan.paper,
        dataset=plan.dataset,
        scored_on=plan.scored_on,
        pictures=tuple(len(part) for part in plan.splits),
        split=plan.splits.fingerprint(),
        config=plan.config,
        updates=plan.updates,
        quick=plan.quick,
        weights=plan.weights.name if plan.weights else "",
        rows=plan.rows,
        runs=tuple(runs),
    )
    result.save(out)
    return result


def slug(label: str) -> str:
    """A row's label as the name of a folder.

    Example:
        >>> slug("+ RFE, Adapt Exp")
        'rfe-adapt-exp'
    """
    return "-".join("".join(c if c.isalnum() else " " for c in label.lower()).split())


def _run(plan: Plan, row: Row, seed: int, folder: Path, say: Callable[[str], None]) -> Run:
    """One row with one seed: read if it is finished, else trained from where it stopped, and scored."""
    task = plan.task(row, seed)
    folder.mkdir(parents=True, exist_ok=True)
    _require_same_task(folder, task)
    name = f"{row.label}, seed {seed}"
    if not (folder / "report.json").is_file() and not (folder / "failed.txt").is_file():
        say(f"{name}: training")
        _train(plan, row, seed, folder, lambda line: say(f"{name}: {line}"))
    else:
        say(f"{name}: finished before")
    failed = (folder / "failed.txt").read_text() if (folder / "failed.txt").is_file() else ""
    report = None if failed else Report.from_json((folder / "report.json").read_text())
    facts = json.loads((folder / "run.json").read_text())
    last = _last_row(folder / "history.csv")
    updates = int(last.get("epoch", 0)) * math.ceil(len(plan.splits.train) / plan.config.batch_size)
    losses = {str(key): last[key] for key in ("train_loss", "val_loss") if key in last}
    return Run(row.label, seed, task["model"], task["knobs"], facts["parameters"], bool(task["weights"]), updates,
               losses, report, failed)  # fmt: skip


def _train(plan: Plan, row: Row, seed: int, folder: Path, say: Callable[[str], None]) -> None:
    """Train one run and write its report, or why it could not be trained."""
    model_name, knobs = plan.model_of(row)
    torch.manual_seed(seed)
    model: Segmenter = build_model(model_name, plan.paper.num_classes.value, **knobs)
    loss = build_loss(row.loss, **row.loss_knobs)
    config = replace(plan.config, seed=seed, **row.config)
    card = {"title": f"{plan.paper.name}: {row.label}", "loss": row.loss, "seed": seed}
    try:
        predictor = train(
            model, loss, plan.splits.train, plan.splits.val, config, out=folder, card=card,
            on_epoch=lambda record: say(describe(record)),
        )  # fmt: skip
    except ValueError as error:
        if NOT_FINITE not in str(error):
            raise
        atomic_text(folder / "failed.txt", str(error))  # a result too: the paper's recipe does not train this row
        say(str(error))
        return
    evaluate(predictor, plan.splits.test, boundary=False).save(folder / "report.json")


def _load(paper: Paper, name: str, data: str | Path | None, *, cross: bool, quick: bool) -> tuple[Splits, str]:
    """The pictures, and the name of the set whose test part is scored."""
    if name == "synthetic":
        splits = load_dataset(name, kind=paper.kind, **(PICTURES if quick else {}))
        return splits, name
    splits = _load_split(paper, name, data)
    scored_on = name
    if cross and paper.test_dataset is not None:
        scored_on = paper.test_dataset.value
        splits = splits._replace(test=_load_split(paper, scored_on, data).test)
    for part, pictures in zip(splits._fields, splits, strict=True):
        if len(pictures.classes) != 2:
            raise ValueError(f"{part} data must have 2 classes; got {len(pictures.classes)}: {pictures.classes}.")
        if len(pictures) == 0:
            raise ValueError(f"{part} data must hold at least one picture; got none.")
    return splits, scored_on


def _load_split(paper: Paper, name: str, data: str | Path | None) -> Splits:
    """One dataset, split by the paper's shares where its layout leaves the split open."""
    from importlib import import_module

    from seglab.data import list_datasets

    require_name("dataset", name, list_datasets())
    takes = signature(import_module(f"seglab.data.{name}").load).parameters
    wanted = {"shares": paper.shares.value, "seed": SPLIT_SEED}
    return load_dataset(name, data, **{key: value for key, value in wanted.items() if key in takes})


def _label(paper: Paper, text: str) -> str:
    """A row's label from itself or from its folder's name."""
    by_slug = {slug(row.label): row.label for row in paper.rows}
    return by_slug.get(slug(text), text)


def _require_same_task(folder: Path, task: Mapping[str, Any]) -> None:
    """Note what a run folder is for, or refuse one that is for something else."""
    path = folder / "task.json"
    if not path.is_file():
        atomic_text(path, json.dumps(task, indent=1) + "\n")
        return
    before = json.loads(path.read_text())
    for key, value in task.items():
        if before.get(key) != value:
            raise ValueError(
                f"{key} must be {before.get(key)!r} as in the run {folder}; got {value!r}. Choose another --out."
            )


def _last_row(path: Path) -> dict[str, float]:
    """The last epoch of a history; empty if there is none."""
    import csv

    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: float(value) for key, value in rows[-1].items()} if rows else {}


def _digest(path: Path) -> str:
    """Name and SHA-256 of a file of weights."""
    with path.open("rb") as file:
        return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
