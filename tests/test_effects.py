"""What an ablation says follows from its cells: hand-made counts, known effects."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from seglab.ablation import Cell, Plan
from seglab.effects import Ablation, collect
from seglab.evaluation import Report
from seglab.experiments import Recipe

RECIPE = Recipe(model="unet", loss="bce_dice", dataset="synthetic").override(
    ["model.width=4", "epochs=3", "batch_size=4", "data.count=[8,2,60]", "data.size=[32,32]"]
)
CBAM = {"augment": ("false", "true"), "model.cbam": ("[]", "skip")}


def counts_of(dice: np.ndarray) -> torch.Tensor:
    """Confusion counts (N, 2, 2) whose Dice is `dice`: 1000 true pixels, as many predicted."""
    hit = np.round(1000 * dice).astype(np.int64)
    table = np.array([[9000 - (1000 - hit), 1000 - hit], [1000 - hit, hit]])
    return torch.from_numpy(table.transpose(2, 0, 1).copy())


def reports_of(plan: Plan) -> dict[Cell, Report]:
    """Reports with main effects .04 and .02 and an interaction of .01, pictures and seeds with noise of their own."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.05, 60)
    reports = {}
    for cell in plan.cells():
        on = [levels.index(level) for levels, level in zip(plan.factors.values(), cell.levels, strict=True)]
        signs = [2 * one - 1 for one in on]
        mean = 0.8 + sum(g * s / 2 for g, s in zip((0.04, 0.02), signs, strict=True)) + 0.01 * signs[0] * signs[1] / 2
        noise = np.random.default_rng(cell.seed + 1).normal(0, 0.001)
        names = tuple(f"{'ab'[i % 2]}/p{i}" for i in range(60))
        table = counts_of(np.clip(mean + hard + noise, 0, 1))
        reports[cell] = Report("m", names, ("background", "object"), table, torch.full((len(names),), torch.nan))
    return reports


def ablation(factors: dict = CBAM, seeds: int = 3) -> Ablation:
    plan = Plan(RECIPE, factors, tuple(range(seeds)), None, Path("unused"))
    return collect(plan, reports_of(plan))


def test_planted_effects_are_found_with_their_intervals():
    found = ablation().effects()
    for name, value in (("augment", 0.04), ("model.cbam", 0.02), ("augment x model.cbam", 0.01)):
        effect = found.effect(name)
        assert effect.value == pytest.approx(value, abs=0.001)
        assert effect.low < value < effect.high
    assert found.published.value == pytest.approx(0.06, abs=0.001)


def test_every_definition_is_reported():
    result = ablation()
    assert result.definitions == ("dice_fg_image", "dice_fg_pooled", "iou_fg_image", "miou_2class_pooled")
    text = result.to_markdown()
    for name in result.definitions:
        assert f"#### {name}" in text
    content = json.loads(result.to_json())
    assert set(content["effects"]) == set(result.definitions)
    assert len(content["cells"]) == 4
    assert all(len(cell["dice_fg_image"]) == 3 for cell in content["cells"])


def test_table_shows_mean_spread_and_every_seed_and_data_set():
    result = ablation()
    levels = ("true", "skip")
    scores = result.scores(levels, "dice_fg_image")
    row = next(line for line in result.to_markdown().splitlines() if line.startswith("| true | skip |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2] == f"{np.mean(scores):.4f}"
    assert cells[3] == f"{np.std(scores, ddof=1):.4f}"
    assert cells[4] == " ".join(f"{one:.4f}" for one in scores)
    assert len(cells) == 8
    assert np.mean([float(cell) for cell in cells[6:]]) == pytest.approx(float(cells[2]), abs=1e-3)  # 30 and 30
    assert "| false | none |" in result.to_markdown()


def test_held_equal_is_said():
    text = ablation().to_markdown()
    assert text.startswith("Held equal: 60 test pictures, 6 updates, seeds 0, 1, 2, split ")


def test_factor_with_three_levels_is_compared_pair_by_pair(tmp_path):
    factors = {"loss": ("bce", "dice", "ce")}
    plan = Plan(RECIPE, factors, (0, 1, 2), None, tmp_path)
    shift = {"bce": 0.0, "dice": 0.03, "ce": 0.0}
    hard = np.random.default_rng(0).normal(0, 0.05, 60)
    own = {name: np.random.default_rng(i).normal(0, 0.01, (3, 60)) for i, name in enumerate(shift)}
    reports = {}
    for cell in plan.cells():
        dice = np.clip(0.8 + hard + shift[cell.levels[0]] + own[cell.levels[0]][cell.seed], 0, 1)
        names = tuple(f"p{i}" for i in range(60))
        reports[cell] = Report("m", names, ("background", "object"), counts_of(dice), torch.full((60,), torch.nan))
    result = collect(plan, reports)
    assert result.effects() is None
    lines = [line for line in result.to_markdown().splitlines() if line.startswith("- loss=bce")]
    low, high = map(float, re.search(r"interval (\S+) to (\S+),", lines[0]).groups())
    assert "loss=dice (second): the second is better" in lines[0]
    assert low < 0.03 < high
    assert "loss=ce (second): no difference was shown" in lines[1]


def test_one_seed_says_that_its_spread_is_unknown():
    text = ablation(seeds=1).to_markdown()
    assert "| one seed |" in text
    assert "exclude seed noise" in text


def test_cells_of_other_pictures_are_refused(tmp_path):
    plan = Plan(RECIPE, CBAM, (0,), None, tmp_path)
    reports = reports_of(plan)
    last = list(reports)[-1]
    other = reports[last]
    reports[last] = Report(other.model, other.names[::-1], other.classes, other.counts, other.hausdorff95)
    with pytest.raises(ValueError, match="must be tested on the same pictures; augment=true model.cbam=skip was not"):
        collect(plan, reports)


def test_result_is_written_whole(tmp_path):
    result = ablation()
    result.save(tmp_path)
    assert (tmp_path / "ablation.md").read_text().strip() == result.to_markdown()
    assert json.loads((tmp_path / "ablation.json").read_text())["updates"] == 6
