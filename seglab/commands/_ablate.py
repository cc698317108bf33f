"""`seglab ablate`: factors x seeds x folds in one command."""

import argparse
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from seglab.settings import command_text, sort_items

if TYPE_CHECKING:
    from seglab.ablation import Cell
    from seglab.evaluation import Report

__all__ = ["ablate"]


def ablate(arguments: argparse.Namespace) -> int:
    """Train every combination of factors with every seed, and say which factor helped, by how much, how sure."""
    from tqdm import tqdm

    from seglab.ablation import make_plan, run_plan
    from seglab.effects import collect
    from seglab.experiments import Recipe

    roots, _ = sort_items(arguments.data)
    settings = [item for item in arguments.data if item not in roots]
    recipe = Recipe(model=arguments.model, loss=arguments.loss, roots=tuple(roots), dataset=arguments.dataset)
    out = Path(arguments.out or f"runs/ablation-{arguments.model}")
    plan = make_plan(
        recipe.override(settings), out, factors=_factors(arguments.factor), seeds=arguments.seeds, folds=arguments.folds
    )
    total = len(list(plan.cells()))
    with _pool(arguments.jobs) as executor, tqdm(total=total, disable=None, leave=False, unit="run") as bar:

        def say(cell: "Cell", report: "Report") -> None:
            bar.update()
            print(f"{plan.folder_of(cell)}: dice_fg_image {report.values['dice_fg_image'][0]:.4f}", flush=True)

        reports = run_plan(plan, executor=executor, on_cell=say)
    result = replace(collect(plan, reports), command=command_text(arguments.words, roots))
    result.save(out)
    print(result)
    print(f"{out / 'ablation.md'}, {out / 'ablation.json'}")
    return 0


def _factors(texts: list[str]) -> dict[str, list[str]] | None:
    """["augment=false/true"] -> {"augment": ["false", "true"]}; None if there are none."""
    if not texts:
        return None
    factors: dict[str, list[str]] = {}
    for text in texts:
        name, equals, levels = text.partition("=")
        if not equals or not name or name in factors:
            raise ValueError(f"--factor must be NAME=LEVEL/LEVEL, every name once; got {text!r}.")
        factors[name] = levels.split("/")
    return factors


def _pool(jobs: int) -> AbstractContextManager[Executor | None]:
    """A pool of processes that share the cores, or nothing for one job."""
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1; got {jobs}.")
    if jobs == 1:
        return nullcontext()
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_share_cores, initargs=(jobs,))


def _share_cores(jobs: int) -> None:
    """Give a process its part of the cores."""
    import os

    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
