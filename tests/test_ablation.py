"""An ablation trains every cell alike, goes on where it stopped, anywhere an executor works."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from seglab.ablation import FACTORS, Cell, make_plan, run_plan
from seglab.experiments import Recipe

SMALL = ["model.width=4", "epochs=1", "size=32", "batch_size=4", "workers=0", "data.count=[8,2,3]", "data.size=[32,32]"]
TWO = {"augment": ("false", "true")}


def small(*settings: str) -> Recipe:
    return Recipe(model="unet", loss="bce_dice", dataset="synthetic").override([*SMALL, *settings])


def test_default_is_augmentation_by_attention_for_every_seed(tmp_path):
    plan = make_plan(small(), tmp_path)
    cells = list(plan.cells())
    assert len(cells) == len(set(cells)) == 2 * 2 * 3
    assert plan.factors == FACTORS
    assert [cell.seed for cell in cells] == [0] * 4 + [1] * 4 + [2] * 4
    last = plan.recipe_of(cells[-1])
    assert (last.config.augment, last.knobs["cbam"], last.config.seed) == (True, ("bottleneck", "skip"), 2)
    first = plan.recipe_of(cells[0])
    assert (first.config.augment, first.knobs["cbam"], first.config.seed) == (False, (), 0)
    assert len({plan.folder_of(cell) for cell in cells}) == len(cells)


def test_all_cells_get_the_same_number_of_updates_and_the_same_pictures(tmp_path):
    plan = make_plan(small(), tmp_path, seeds=1)
    reports = run_plan(plan)
    tasks = [json.loads((plan.folder_of(cell) / "task.json").read_text()) for cell in plan.cells()]
    assert len({task["split"] for task in tasks}) == 1
    steps = {torch.load(plan.folder_of(cell) / "last.pt", weights_only=True)["step"] for cell in plan.cells()}
    assert len(steps) == 1
    assert len({report.names for report in reports.values()}) == 1
    assert len({json.dumps(task) for task in tasks}) == 4


def test_stopped_ablation_trains_only_what_is_missing(tmp_path, monkeypatch):
    plan = make_plan(small(), tmp_path, factors=TWO, seeds=2)

    class StoppedError(Exception):
        pass

    def stop(cell, report):
        raise StoppedError

    with pytest.raises(StoppedError):
        run_plan(plan, on_cell=stop)
    seen = []
    first = plan.folder_of(next(plan.cells())) / "last.pt"
    stamp = first.stat().st_mtime_ns
    reports = run_plan(
        make_plan(small(), tmp_path, factors=TWO, seeds=2), on_cell=lambda cell, report: seen.append(cell)
    )
    assert len(reports) == len(seen) == 4
    assert first.stat().st_mtime_ns == stamp


def test_any_executor_gives_the_same_numbers(tmp_path):
    here = run_plan(make_plan(small(), tmp_path / "here", factors=TWO, seeds=1))
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        there = run_plan(make_plan(small(), tmp_path / "there", factors=TWO, seeds=1), executor=pool)
    assert list(here) == list(there)
    assert all(torch.equal(here[cell].counts, there[cell].counts) for cell in here)


def test_a_cluster_gives_the_same_numbers(tmp_path):
    from distributed import Client, LocalCluster

    here = run_plan(make_plan(small(), tmp_path / "here", factors=TWO, seeds=1))
    plan = make_plan(small(), tmp_path / "there", factors=TWO, seeds=1)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster) as client,
    ):
        client.run(torch.set_num_threads, 1)
        there = run_plan(plan, executor=client.get_executor())
    assert all(torch.equal(here[cell].counts, there[cell].counts) for cell in here)


def test_one_failing_cell_costs_no_other(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    plan = make_plan(small(), tmp_path, factors={"lr": ("1e30", "1e-3")}, seeds=1)
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(ValueError, match=r"cell lr=1e30/seed0 must train; got: .*finite.*1 of 2"),
    ):
        run_plan(plan, executor=pool)
    assert (plan.folder_of(Cell(("1e-3",), 0, None)) / "test.json").is_file()


def test_folds_test_every_picture_once(tmp_path):
    plan = make_plan(small(), tmp_path, factors=TWO, seeds=1, folds=3)
    cells = list(plan.cells())
    assert len(cells) == 2 * 3
    tested = [sample for cell in cells[::2] for sample in _names(plan.recipe_of(cell).splits().test)]
    assert sorted(tested) == sorted(set(tested))
    assert len(tested) == 13
    with pytest.raises(ValueError, match=r"folds must be those of .*folds.json"):
        make_plan(small(), tmp_path, factors=TWO, seeds=1, folds=4)


def _names(data: object) -> list[str]:
    return [data[i].name for i in range(len(data))]


@pytest.mark.parametrize(
    ("settings", "factors", "words"),
    [
        ([], {}, "must have at least one factor; got none"),
        ([], {"augment": ("true",)}, "factor augment must have at least two different levels; got true"),
        ([], {"model.cbam": ("skip", '["skip"]')}, "at least two different levels"),
        ([], {"epochs": ("1", "2")}, "factor epochs must leave the number of updates alone"),
        ([], {"seed": ("1", "2")}, "factor seed must leave the pictures and seeds alone"),
        ([], {"data.seed": ("1", "2")}, "factor data.seed must leave the pictures"),
        ([], {"model.cbm": ("1", "2")}, "knob of unet must be one of"),
        (["patience=3"], TWO, "patience must be null in an ablation.*got 3"),
    ],
)
def test_unfair_or_empty_ablations_are_refused(settings, factors, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        make_plan(small(*settings), tmp_path, factors=factors)


def test_number_of_seeds_is_checked(tmp_path):
    with pytest.raises(ValueError, match="seeds must be an integer of at least 1; got 0"):
        make_plan(small(), tmp_path, seeds=0)
