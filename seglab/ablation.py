"""Factors x seeds x folds: every cell trained alike, then which factor helped, by how much, and how sure that is."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from seglab.data._folds import assign_folds, read_folds, write_folds
from seglab.evaluation import Report
from seglab.experiments import Recipe, run
from seglab.history import Record

__all__ = ["FACTORS", "Cell", "Plan", "make_plan", "run_cell", "run_plan"]

FACTORS: dict[str, tuple[str, ...]] = {"augment": ("false", "true"), "model.cbam": ("[]", "bottleneck,skip")}
UNFAIR = ("epochs", "batch_size")  # as factors they would give the cells other numbers of updates


@dataclass(frozen=True)
class Cell:
    """One training of an ablation.

    Attributes:
        levels: Level of every factor, as typed, in the order of the plan's factors.
        seed: Seed of the run.
        fold: Which fold is the test part; None without folds.
    """

    levels: tuple[str, ...]
    seed: int
    fold: int | None

    def settings(self, factors: Sequence[str]) -> list[str]:
        """What the cell changes of the recipe, as typed.

        Example:
            >>> Cell(("true", "skip"), 2, None).settings(["augment", "model.cbam"])
            ['augment=true', 'model.cbam=skip', 'seed=2']
        """
        return [f"{name}={level}" for name, level in zip(factors, self.levels, strict=True)] + [f"seed={self.seed}"]

    def folder(self, factors: Sequence[str]) -> str:
        """Its run folder below the ablation's.

        Example:
            >>> Cell(("true", "[]"), 2, 0).folder(["augment", "model.cbam"])
            'augment=true model.cbam=none/seed2/fold0'
        """
        last = [] if self.fold is None else [f"fold{self.fold}"]
        return "/".join([label(factors, self.levels), f"seed{self.seed}", *last])


@dataclass(frozen=True)
class Plan:
    """An ablation, checked before the first step.

    Attributes:
        recipe: What every cell starts from.
        factors: Levels of every factor, as typed.
        seeds: Seeds of every cell.
        folds: Number of folds; None tests on the dataset's own test part.
        out: Folder with a run folder for each cell.
    """

    recipe: Recipe
    factors: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    folds: int | None
    out: Path

    def cells(self) -> Iterator[Cell]:
        """Every training; all cells of the first seed come first, so that a stopped ablation is balanced."""
        folds = [None] if self.folds is None else range(self.folds)
        for seed, fold in itertools.product(self.seeds, folds):
            for levels in itertools.product(*self.factors.values()):
                yield Cell(levels, seed, fold)

    def recipe_of(self, cell: Cell) -> Recipe:
        """What a cell trains."""
        recipe = self.recipe.override(cell.settings(list(self.factors)))
        if cell.fold is None:
            return recipe
        return replace(recipe, folds=str(self.out / "folds.json"), fold=cell.fold)

    def folder_of(self, cell: Cell) -> Path:
        """Its run folder."""
        return self.out / cell.folder(list(self.factors))


def make_plan(
    recipe: Recipe,
    out: str | Path,
    *,
    factors: Mapping[str, Sequence[str]] | None = None,
    seeds: int = 3,
    folds: int | None = None,
) -> Plan:
    """Settle an ablation, and try to build the model and the loss of every cell.

    Args:
        recipe: What every cell starts from.
        out: Folder for the run folders; one that holds this ablation is continued.
        factors: Settings with their levels, as typed: {"augment": ["false", "true"], "loss": ["dice", "ce_dice"]};
            None takes augmentation x CBAM. The first level is the one others are compared with.
        seeds: Number of seeds, 0 to seeds - 1, at least 1.
        folds: Number of folds, at least 3; None tests on the dataset's own test part.

    Raises:
        ValueError: If a factor has fewer than two levels, would give cells other numbers of updates or other data, or
            cannot be built.
    """
    chosen = {name: tuple(levels) for name, levels in (FACTORS if factors is None else factors).items()}
    _require_fair(recipe, chosen)
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds must be an integer of at least 1; got {seeds!r}.")
    plan = Plan(recipe, chosen, tuple(range(seeds)), folds, Path(out))
    data = recipe.splits()
    if folds is not None:
        path = plan.out / "folds.json"
        drawn = assign_folds(data, folds)
        if path.is_file() and read_folds(path) != drawn:
            raise ValueError(f"folds must be those of {path}; got other pictures, masks or number. Use another --out.")
        plan.out.mkdir(parents=True, exist_ok=True)
        write_folds(path, drawn)
    for levels in itertools.product(*chosen.values()):
        one = plan.recipe_of(Cell(levels, 0, None))
        with torch.device("meta"):
            one.build(data.train)
    return plan


def run_plan(
    plan: Plan,
    *,
    executor: Executor | None = None,
    on_cell: Callable[[Cell, Report], None] | None = None,
    on_epoch: Callable[[Record], None] | None = None,
) -> dict[Cell, Report]:
    """Train and score what is not done yet; a cell that was stopped goes on, a finished one is read.

    Args:
        plan: From `make_plan`.
        executor: Where to train: anything with the interface of `concurrent.futures`, such as a process pool or
            `dask.distributed.Client(...).get_executor()`. All its workers must see the same folders. None trains
            one cell after the other, here.
        on_cell: Called with each cell and its report, as they finish.
        on_epoch: Called with each epoch's record; only without an executor.

    Returns:
        Scores of every cell on its test part.

    Raises:
        ValueError: If a cell cannot be trained; the others are finished first, and are not trained again.
        OSError: If something cannot be read or written.
    """
    say = on_cell or (lambda cell, report: None)
    reports: dict[Cell, Report] = {}
    if executor is None:
        for cell in plan.cells():
            reports[cell] = run(plan.recipe_of(cell), plan.folder_of(cell), title=_title(plan, cell), on_epoch=on_epoch)
            say(cell, reports[cell])
        return reports
    waiting: dict[Future[str], Cell] = {
        executor.submit(run_cell, plan.recipe_of(cell), str(plan.folder_of(cell)), _title(plan, cell)): cell
        for cell in plan.cells()
    }
    failures: list[str] = []
    for done in as_completed(waiting):
        cell = waiting[done]
        error = done.exception()
        if error is not None:
            failures.append(f"cell {cell.folder(list(plan.factors))} must train; got: {error}")
            continue
        reports[cell] = Report.from_json(done.result())
        say(cell, reports[cell])
    if failures:
        raise ValueError(f"{failures[0]} ({len(failures)} of {len(waiting)} failed; the others are done.)")
    return {cell: reports[cell] for cell in plan.cells()}


def run_cell(recipe: Recipe, folder: str, title: str) -> str:
    """Train one cell, in whatever process this is called, and give its report as JSON, which travels anywhere."""
    return run(recipe, folder, title=title).to_json()


def label(factors: Sequence[str], levels: Sequence[str]) -> str:
    """A cell's levels in one line that is also the name of a folder.

    Example:
        >>> label(["augment", "model.cbam"], ["true", '["skip","decoder"]'])
        'augment=true model.cbam=skip,decoder'
    """
    return " ".join(f"{name}={_plain(level)}" for name, level in zip(factors, levels, strict=True))


def _plain(level: str) -> str:
    """A level without the marks of JSON, and without what a folder's name cannot hold."""
    kept = "".join(c for c in level if c not in "[]\"'{} ").replace("/", "-").replace(":", "-")
    return kept or "none"


def _title(plan: Plan, cell: Cell) -> str:
    """What tables call a cell's model."""
    return f"{plan.recipe.model}, {label(list(plan.factors), cell.levels)}, seed {cell.seed}"


def _require_fair(recipe: Recipe, factors: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse factors that have nothing to compare, or whose cells could not be compared."""
    if not factors:
        raise ValueError("an ablation must have at least one factor; got none.")
    for name, levels in factors.items():
        if len(levels) < 2 or len(set(map(_plain, levels))) < len(levels):
            raise ValueError(
                f"factor {name} must have at least two different levels; got {', '.join(levels) or 'none'}."
            )
        if name in UNFAIR:
            raise ValueError(f"factor {name} must leave the number of updates alone; {name} changes it.")
        if name == "seed" or name.startswith("data."):
            raise ValueError(f"factor {name} must leave the pictures and seeds alone, which cells are paired by.")
    if recipe.config.patience is not None:
        raise ValueError(
            f"patience must be null in an ablation, because stopping early gives cells other numbers of updates; "
            f"got {recipe.config.patience}."
        )
