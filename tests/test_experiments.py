"""A recipe is plain values; its run folder is read when finished, continued when stopped, refused when another's."""

import json
import pickle
from dataclasses import replace

import pytest
import torch

from seglab import TrainConfig, evaluation
from seglab.data._folds import assign_folds, write_folds
from seglab.evaluation import Report
from seglab.experiments import Recipe, num_classes_of, run

SMALL = ["model.width=4", "epochs=2", "size=32", "batch_size=4", "workers=0", "data.count=[8,2,3]", "data.size=[32,32]"]


def small(*settings: str) -> Recipe:
    return Recipe(model="unet", loss="bce_dice", dataset="synthetic").override([*SMALL, *settings])


def test_settings_reach_their_place_and_the_rest_stays():
    recipe = small("loss.smooth=0.5", "lr=0.01", "model.cbam=skip,decoder").override(["model.width=8", "loss=dice"])
    assert recipe.knobs == {"width": 8, "cbam": ("skip", "decoder")}
    assert (recipe.loss, recipe.loss_knobs) == ("dice", {"smooth": 0.5})
    assert recipe.config == TrainConfig(epochs=2, size=32, batch_size=4, workers=0, lr=0.01)
    assert recipe.data_knobs == {"count": (8, 2, 3), "size": (32, 32)}
    assert pickle.loads(pickle.dumps(recipe)) == recipe


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epoch=3", "setting must be one of .* got 'epoch'. Did you mean 'epochs'"),
        ("pictures", "settings must be written NAME=VALUE; got 'pictures'"),
        ("modle.width=3", "settings must start with model., loss., data. or nothing; got modle"),
    ],
)
def test_wrong_settings_are_answered(setting, words):
    with pytest.raises(ValueError, match=words):
        small(setting)


@pytest.mark.parametrize(
    ("setting", "words"),
    [("model=unte", "model must be one of .* got 'unte'"), ("loss=dize", "loss must be one of .* got 'dize'"),
     ("model.widht=4", "knob of unet must be one of")],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_before_training(setting, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        run(small(setting), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_same_seed_same_weights_another_seed_others():
    data = small().splits().train
    first, again, other = (small(f"seed={seed}").build(data).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_binary_losses_of_two_classes_have_one_channel():
    data = small().splits().train
    assert [num_classes_of(data, loss) for loss in ("bce", "bce_dice", "ce_dice", "dice")] == [1, 1, 2, 2]


def test_updates_count_the_last_smaller_batch():
    assert [small().updates(n) for n in (8, 9)] == [4, 6]


def test_finished_run_is_read_and_not_trained_again(tmp_path, monkeypatch):
    report = run(small(), tmp_path, title="mine")
    assert report.names == tuple(sample.name for sample in (small().splits().test[i] for i in range(3)))
    assert report.model == "mine"
    assert json.loads((tmp_path / "task.json").read_text())["knobs"] == {"width": 4}
    assert len((tmp_path / "test.csv").read_text().splitlines()) == 4
    stamp = (tmp_path / "last.pt").stat().st_mtime_ns
    monkeypatch.setattr("seglab.experiments.train", None)
    again = run(small(), tmp_path)
    assert torch.equal(again.counts, report.counts)
    assert (tmp_path / "last.pt").stat().st_mtime_ns == stamp


def test_stopped_run_goes_on_to_the_same_weights(tmp_path):
    class StoppedError(Exception):
        pass

    def stop(record):
        raise StoppedError

    with pytest.raises(StoppedError):
        run(small(), tmp_path / "stopped", on_epoch=stop)
    assert not (tmp_path / "stopped" / "test.json").exists()
    assert torch.equal(run(small(), tmp_path / "stopped").counts, run(small(), tmp_path / "whole").counts)
    saved = [torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("stopped", "whole")]
    tensors = [{k: v for k, v in _flat(each).items() if isinstance(v, torch.Tensor)} for each in saved]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])


def _flat(value: object, name: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        return {k: v for key, each in value.items() for k, v in _flat(each, f"{name}/{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for i, each in enumerate(value) for k, v in _flat(each, f"{name}/{i}").items()}
    return {name: value}


def test_folder_of_another_recipe_is_refused(tmp_path):
    run(small("epochs=1"), tmp_path)
    with pytest.raises(ValueError, match=r"knobs must be {'width': 4} as in the run .*; got {'width': 8}. Use another"):
        run(small("epochs=1", "model.width=8"), tmp_path)


def test_settings_that_change_no_number_may_change(tmp_path):
    run(small("epochs=1"), tmp_path)
    run(small("epochs=1", "workers=1", "save_every=9"), tmp_path)


def test_fold_of_a_recipe_is_tested_on_that_fold(tmp_path):
    folds = assign_folds(small().splits(), 3)
    write_folds(tmp_path / "folds.json", folds)
    recipe = replace(small(), folds=str(tmp_path / "folds.json"), fold=1)
    tested = recipe.splits().test
    assert sorted(tested[i].name for i in range(len(tested))) == sorted(n for n, fold in folds.items() if fold == 1)


def test_report_survives_its_json(tmp_path):
    report = run(small("epochs=1"), tmp_path)
    again = Report.from_json(report.to_json())
    assert again.to_json() == report.to_json()
    assert torch.equal(again.counts, report.counts)
    for text in ("{", "{}", '{"model": 1, "images": [{"counts": 3}]}'):
        with pytest.raises(ValueError, match="report must be JSON that a report wrote"):
            evaluation.Report.from_json(text)
