"""Do the numbers of a run hold: exactly here, nearly on another machine, not with other pictures or weights."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.checkpoint import load_model, save_model
from seglab.cli import main
from seglab.data import voc
from seglab.evaluation import Report
from seglab.experiments import Recipe
from seglab.experiments import run as run_experiment
from seglab.records import Source
from seglab.verification import verify

SMALL = ["epochs=2", "size=32", "batch_size=4", "model.width=4", "workers=0", "device=cpu", "lr=0.01"]
SYNTHETIC = ["--dataset", "synthetic", "data.size=32", "data.count=[6,4,2]"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with pictures in VOC layout and a run of `seglab train` on them."""
    folder = tmp_path_factory.mktemp("made")
    voc.write(Source("synthetic", knobs={"size": (32, 32), "count": (6, 4, 2)}).splits(), folder / "pictures")
    words = ["train", "unet", "bce_dice", str(folder / "pictures"), "--dataset", "voc", "--out", str(folder / "run")]
    assert main([*words, *SMALL]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy of both to change."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def edit_json(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def shifted(report: Path, by: int) -> None:
    """Let the first picture have had so many pixels more right."""
    before = Report.from_json(report.read_text())
    counts = before.counts.clone()
    counts[0, 0, 0] += by
    replace(before, counts=counts).save(report)


def test_run_of_the_command_holds_exactly_where_it_was_made(folder):
    result = verify(folder / "run")
    assert (result.holds, result.exact, result.changed, result.missing) == (True, True, (), ())
    assert result.part == "val, 4 pictures"
    assert "counts of 4 pictures are equal" in result.to_text()
    assert result.to_text().startswith(f"{folder / 'run'}, val, 4 pictures: the recorded numbers hold exactly\n")


def test_run_of_an_experiment_holds_exactly_on_its_test_part(tmp_path):
    recipe = Recipe(model="unet", loss="bce_dice", dataset="synthetic").override(
        [word for word in SMALL if word != "device=cpu"] + ["data.size=32", "data.count=[6,4,2]"]
    )
    run_experiment(recipe, tmp_path / "run")
    result = verify(tmp_path / "run")
    assert (result.holds, result.exact, result.part) == (True, True, "test, 2 pictures")


def test_other_weights_do_not_hold_on_the_same_machine(folder):
    model, description = load_model(folder / "run" / "best.safetensors")
    model.net.head.weight.data.zero_()
    recorded = Report.from_json((folder / "run" / "report.json").read_text())
    # All object or nothing at all, whichever it was not.
    model.net.head.bias.data.fill_(-9.0 if recorded.counts[:, :, 1].sum() else 9.0)
    save_model(folder / "run" / "best.safetensors", model, description)
    result = verify(folder / "run")
    assert not result.holds
    assert "the recorded numbers do not hold" in result.to_text()
    assert any(" was " in line and " and is " in line for line in result.numbers)


def test_difference_of_one_pixel_fails_here_and_holds_within_the_tolerance_where_versions_are_others(folder):
    shifted(folder / "run" / "report.json", 1)
    assert not verify(folder / "run").holds
    edit_json(folder / "run" / "record.json", lambda record: record["environment"]["versions"].update(torch="1.0"))
    result = verify(folder / "run", tolerance=0.01)
    assert (result.holds, result.exact) == (True, False)
    assert result.changed[0].startswith("torch 1.0 -> ")
    assert "hold within the tolerance" in result.to_text()
    assert not verify(folder / "run", tolerance=1e-9).holds


@pytest.mark.parametrize("name", ["hardware", "threads", "system", "commit"])
def test_other_machine_is_said(folder, name):
    edit_json(folder / "run" / "record.json", lambda record: record["environment"].update({name: "another"}))
    result = verify(folder / "run")
    assert result.exact
    assert [line.partition(" -> ")[0] for line in result.changed] == [f"{name} another"]


def test_changed_pixel_of_a_picture_is_named(folder):
    name = verify(folder / "run").run  # the run's own list says which pictures were scored
    record = json.loads((Path(name) / "record.json").read_text())
    first = next(iter(record["pictures"]))
    path = folder / "pictures" / "JPEGImages" / f"{first}.png"
    pixels = np.array(Image.open(path))
    pixels[:16] = 255 - pixels[:16]
    Image.fromarray(pixels).save(path)
    result = verify(folder / "run")
    assert f"1 pictures or masks have other pixels: {first}" in result.changed
    assert result.holds == result.exact


def test_missing_picture_is_a_change_of_split_and_pictures(folder):
    listing = folder / "pictures" / "ImageSets" / "Segmentation" / "val.txt"
    names = listing.read_text().split()
    listing.write_text("\n".join(names[1:]))
    result = verify(folder / "run")
    assert not result.holds
    assert result.changed[0].startswith("the split was ")
    assert result.changed[1] == f"the pictures are others: 1 gone, 0 new, e.g. {names[0]}"


def test_pictures_that_moved_are_found_when_they_are_named(folder):
    (folder / "pictures").rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match="dataset folder .*pictures must exist"):
        verify(folder / "run")
    assert verify(folder / "run", Source("voc", (str(folder / "elsewhere"),))).exact


def test_run_from_before_there_were_records_needs_its_pictures_named_and_is_held_to_the_tolerance(folder):
    (folder / "run" / "record.json").unlink()
    with pytest.raises(
        ValueError, match=r"run folder .*run must say where its pictures are; got no record\.json\. Name"
    ):
        verify(folder / "run")
    result = verify(folder / "run", Source("voc", (str(folder / "pictures"),)))
    assert result.exact
    assert "not recorded: pictures, versions and machine; the tolerance is applied" in result.to_text()
    shifted(folder / "run" / "report.json", 1)
    assert verify(folder / "run", Source("voc", (str(folder / "pictures"),)), tolerance=0.01).holds


def test_unfinished_run_and_no_run_are_refused(folder):
    (folder / "run" / "report.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"run folder .*run must hold report\.json; got none\. Finish the run"):
        verify(folder / "run")
    (folder / "run" / "record.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold test\.json or report\.json; got none"):
        verify(folder / "run")
    with pytest.raises(FileNotFoundError, match="run folder .*none must exist"):
        verify(folder / "none")


def test_damaged_report_and_odd_tolerance_are_refused(folder):
    with pytest.raises(ValueError, match="tolerance must be 0 or above, and finite; got nan"):
        verify(folder / "run", tolerance=float("nan"))
    report = folder / "run" / "report.json"
    report.write_text(report.read_text()[:-20])
    with pytest.raises(
        ValueError, match=r"report .*report\.json must be whole to be compared with; report must be JSON"
    ):
        verify(folder / "run")


def test_command_ends_with_0_1_or_2(folder, capsys):
    assert main(["verify", str(folder / "run")]) == 0
    assert "the recorded numbers hold exactly" in capsys.readouterr().out
    assert main(["verify", str(folder / "run"), "--data", str(folder / "pictures"), "--dataset", "voc"]) == 0
    shifted(folder / "run" / "report.json", 1)
    assert main(["verify", str(folder / "run")]) == 1
    assert "do not hold" in capsys.readouterr().out
    assert main(["verify", str(folder / "none")]) == 2
    assert main(["verify", str(folder / "run"), "--data", "epochs=3"]) == 2
    assert "settings of verify must start with data.; got epochs=3" in capsys.readouterr().err
