"""`seglab reproduce`: every paper runs at the small scale, a stopped one goes on, and the page says what was done."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seglab import build_loss, build_model
from seglab.cli import main
from seglab.evaluation import Report
from seglab.papers import _runner, list_papers, load_paper, reproduce
from seglab.papers._outcome import Reproduction, Run, interval
from seglab.papers._page import page
from seglab.papers._quick import PICTURES, SMALL, STAND_IN, shrink
from seglab.papers._runner import make_plan, slug
from seglab.stats import list_definitions

TINY = {"epochs": 1, "size": 32, "quick": True}
ROWS = [(name, row.label) for name in list_papers() for row in load_paper(name).rows]


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch):
    """One update a run, and no drawing of curves: these tests are about the order of things."""
    monkeypatch.setitem(PICTURES, "count", (8, 3, 4))
    monkeypatch.setitem(PICTURES, "size", 32)
    monkeypatch.setattr("seglab.history._curves", lambda *_: b"")


def complaint(capsys, *arguments):
    """What a failing command prints; checks that it is one line and exit code 2."""
    try:
        code = main([str(word) for word in arguments])
    except SystemExit as stop:
        code = stop.code
    text = capsys.readouterr().err
    assert code == 2
    assert text.count("\n") == 1
    return text


def report_of(*counts, model="a"):
    """A report of 2 x 2 tables."""
    table = torch.tensor(counts)
    names = tuple(f"p{i}" for i in range(len(counts)))
    return Report(model, names, ("background", "object"), table, torch.full((len(counts),), torch.nan), {})


@pytest.mark.parametrize(("name", "label"), ROWS)
def test_every_row_can_be_built_in_full(name, label):
    paper = load_paper(name)
    row = paper.row(label)
    with torch.device("meta"):
        model = build_model(row.model, paper.num_classes.value, **row.knobs)
    assert model.num_classes == paper.num_classes.value
    loss = build_loss(row.loss, **row.loss_knobs)
    logits, target = torch.zeros(1, paper.num_classes.value, 2, 2), torch.tensor([[[0, 1], [1, 0]]])
    assert math.isfinite(loss(logits, target))
    replace(paper.config(), **row.config)


@pytest.mark.parametrize(("name", "label"), ROWS)
def test_every_row_has_a_small_form(name, label):
    row = load_paper(name).row(label)
    model, knobs = shrink(row)
    with torch.device("meta"):
        small = build_model(model, 1, **knobs)
    assert sum(p.numel() for p in small.parameters()) < 5e6


def test_the_sizes_of_the_papers_networks_are_those_of_their_definitions():
    sizes = {
        ("zhang2024", "U-Net + CBAM"): 31_037_698 + 177_200 + 44_940,  # five encoder and four decoder modules
        ("liu2025", "U-Net + augmentation + CBAM"): 24_891_202 + 87_432,  # four compact modules on the skips
        ("zhang2024", "FCN-8s"): 134_271_430,
        ("zarrin2025", "UNeXt-S"): 253_561,
    }
    for (name, label), size in sizes.items():
        paper = load_paper(name)
        with torch.device("meta"):
            model = build_model(paper.row(label).model, paper.num_classes.value, **paper.row(label).knobs)
        assert sum(p.numel() for p in model.parameters()) == size


@pytest.mark.parametrize("name", list_papers())
def test_the_command_runs_every_row_at_the_small_scale(name, tmp_path, capsys):
    out = tmp_path / "runs"
    assert main(["reproduce", name, "--quick", "--epochs", "1", "--size", "32", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    paper = load_paper(name)
    assert "Quick: not the paper's scale" in captured.out
    assert captured.out.startswith(f"# {name}: reported and measured")
    content = json.loads((out / "reproduction.json").read_text())
    assert [run["label"] for run in content["runs"]] == [row.label for row in paper.rows]
    assert {run["updates"] for run in content["runs"]} == {content["updates"]} == {1}
    assert all(line["value"] >= 0 for line in content["table"])
    assert set(content["differences"]) == {row.label for row in paper.rows} - {paper.baseline}
    text = (out / "reproduction.md").read_text()
    for line in (*paper.open_questions, *paper.contradictions, paper.split_note):
        assert line in text
    for measure in paper.measures.values():
        assert f"`{measure.name}`" in text
    for row in paper.rows:
        assert (out / slug(row.label) / "seed0" / "report.json").is_file()
    assert "from scratch" in text


def test_printed_and_measured_stand_in_one_line(tmp_path):
    result = reproduce("zhang2024", rows=["U-Net", "u-net-cbam"], out=tmp_path, **TINY)
    first = result.table()[0]
    assert (first.label, first.word, first.printed, first.name) == ("U-Net", "Accuracy", 0.88, "accuracy_pooled")
    measured = result.reports("U-Net")[0].values["accuracy_pooled"].value
    assert first.value == pytest.approx(measured)
    assert f"| U-Net | Accuracy | 0.88 | {measured:.4f} |" in str(result)
    assert "The printed numbers are for sd900, the measured ones for synthetic" in str(result)


def test_a_layout_is_not_taken_for_a_data_set(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for i in range(10):
            picture = np.zeros((40, 40, 3) if kind == "images" else (40, 40), np.uint8)
            picture[5:20, 5 : 10 + i] = 1
            Image.fromarray(picture).save(tmp_path / kind / f"{i}.png")
    result = reproduce("toptas2025", tmp_path, dataset="folder", rows=["U-Net"], out=tmp_path / "out", **TINY)
    assert "for isic2018, the measured ones for folder: a layout, which does not say" in str(result)
    assert "folder: 7 train, 1 val, 2 test" in str(result)


def test_a_finished_run_is_read_and_a_new_one_trained(tmp_path, monkeypatch):
    trained, honest = [], _runner.train

    def counted(*a, **k):
        trained.append(k["card"]["title"])
        return honest(*a, **k)

    monkeypatch.setattr(_runner, "train", counted)
    rows = ["U-Net", "U-Net + CBAM"]

    def stop_at_the_second(line):
        if line.startswith("U-Net + CBAM"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce("liu2025", rows=rows, out=tmp_path, on_line=stop_at_the_second, **TINY)
    assert trained == ["liu2025: U-Net"]
    assert not (tmp_path / "reproduction.md").exists()
    before = (tmp_path / "u-net" / "seed0" / "last.pt").stat().st_mtime_ns
    lines = []
    result = reproduce("liu2025", rows=rows, out=tmp_path, on_line=lines.append, **TINY)
    assert trained == ["liu2025: U-Net", "liu2025: U-Net + CBAM"]
    assert lines[0] == "U-Net, seed 0: finished before"
    assert (tmp_path / "u-net" / "seed0" / "last.pt").stat().st_mtime_ns == before
    again = reproduce("liu2025", rows=rows, out=tmp_path, **TINY)
    assert len(trained) == 2
    assert again.to_json() == result.to_json()


def test_a_run_that_was_stopped_inside_goes_on(tmp_path):
    def stop(line):
        if "epoch 1 " in line:
            raise KeyboardInterrupt

    settings = {"rows": ["U-Net"], "size": 32, "quick": True}
    with pytest.raises(KeyboardInterrupt):
        reproduce("zhang2024", epochs=2, out=tmp_path / "a", on_line=stop, **settings)
    lines = []
    stopped = reproduce("zhang2024", epochs=2, out=tmp_path / "a", on_line=lines.append, **settings)
    assert sum("epoch 1 " in line for line in lines) == 0
    assert sum("epoch 2 " in line for line in lines) == 1
    whole = reproduce("zhang2024", epochs=2, out=tmp_path / "b", **settings)
    assert torch.equal(stopped.reports("U-Net")[0].counts, whole.reports("U-Net")[0].counts)
    assert stopped.runs[0].updates == whole.updates == 2


def test_a_folder_with_other_settings_is_refused(tmp_path):
    reproduce("zhang2024", rows=["U-Net"], out=tmp_path, **TINY)
    with pytest.raises(ValueError, match=r"config must be .* as in the run .*; got .*Choose another --out"):
        reproduce("zhang2024", rows=["U-Net"], out=tmp_path, epochs=2, size=32, quick=True)


def test_seeds_differ_and_their_spread_is_shown(tmp_path):
    result = reproduce("zhang2024", rows=["U-Net", "SegNet"], seeds=2, out=tmp_path, **TINY)
    first, second = result.reports("U-Net")
    assert first.names == second.names
    assert len({run.losses["val_loss"] for run in result.of("U-Net")}) == 2
    line = result.table()[0]
    assert line.value == pytest.approx(np.mean(line.seeds))
    assert f"{min(line.seeds):.4f} to {max(line.seeds):.4f} (2)" in str(result)
    mean = (first.per_image_dice + second.per_image_dice) / 2
    other = torch.stack([one.per_image_dice for one in result.reports("SegNet")]).nanmean(0)
    assert result.differences()["SegNet"].mean == pytest.approx(float((other - mean).nanmean()), nan_ok=True)


def test_a_row_that_cannot_be_trained_is_said_and_the_others_go_on(tmp_path, monkeypatch):
    honest = _runner.train

    def fail_once(*a, **k):
        predictor = honest(*a, **k)
        if "CBAM" in k["card"]["title"]:
            raise ValueError("loss must be finite; got nan in epoch 1.")
        return predictor

    monkeypatch.setattr(_runner, "train", fail_once)
    result = reproduce("zhang2024", rows=["U-Net", "U-Net + CBAM"], out=tmp_path, **TINY)
    assert [bool(run.failed) for run in result.runs] == [False, True]
    text = str(result)
    assert "U-Net + CBAM, seed 0, could not be trained: loss must be finite; got nan in epoch 1." in text
    assert "| U-Net + CBAM | Accuracy | 0.92 | failed |" in text
    assert "Nothing to compare" in text
    assert json.loads(result.to_json())["table"][-1]["value"] is None
    names = ["reproduce", "zhang2024", "--rows", "U-Net", "U-Net + CBAM", "--quick", "--epochs", "1", "--size", "32"]
    assert main([*names, "--out", str(tmp_path)]) == 1  # a fault was found, and is not tried again


def test_other_errors_of_training_are_not_taken_for_results(tmp_path, monkeypatch):
    def broken(*a, **k):
        raise ValueError("train data must be as in the run")

    monkeypatch.setattr(_runner, "train", broken)
    with pytest.raises(ValueError, match="train data must be as in the run"):
        reproduce("zhang2024", rows=["U-Net"], out=tmp_path, **TINY)


def test_every_row_gets_the_same_recipe_but_for_what_it_says():
    paper = load_paper("boudaieb2025")
    plan = make_plan(paper, None, dataset="synthetic")
    assert (plan.config.epochs, plan.config.size, plan.config.batch_size) == (50, 224, 16)
    assert plan.config.patience is None  # early stopping would give rows different numbers of updates
    tasks = {row.label: plan.task(row, 0) for row in paper.rows}
    first = tasks[paper.baseline]["config"]
    for label, task in tasks.items():
        changed = {key for key, value in task["config"].items() if value != first[key]}
        assert changed == ({"augment"} if label == "ResNet50V2-U-Net, focal" else set())
        assert task["split"] == tasks[paper.baseline]["split"]
    assert plan.updates == 50 * math.ceil(140 / 16)


def test_the_frozen_phase_needs_weights(tmp_path):
    paper = load_paper("liu2025")
    assert paper.config().freeze_epochs == 50
    assert make_plan(paper, None, dataset="synthetic").config.freeze_epochs == 0
    weights = tmp_path / "vgg16.pth"
    weights.write_bytes(b"weights")
    plan = make_plan(paper, None, dataset="synthetic", weights=weights, epochs=20)
    assert plan.config.freeze_epochs == 10
    assert all(plan.model_of(row)[1]["weights"] == str(weights) for row in paper.rows)
    assert plan.task(paper.rows[0], 0)["weights"].startswith("vgg16.pth ")
    assert "weights" not in plan.task(paper.rows[0], 0)["knobs"]


def test_weights_go_to_rows_with_the_papers_own_encoder_only(tmp_path):
    weights = tmp_path / "resnet101.pth"
    weights.write_bytes(b"weights")
    plan = make_plan(load_paper("zarrin2025"), None, dataset="synthetic", weights=weights)
    started = [row.label for row in plan.rows if plan.pretrained(row)]
    assert started[0] == "Baseline, BCE"
    assert "+ RFE, Adapt Exp, ResNet34" not in started
    assert "U-Net, BCE" not in started


def folder_of_pictures(root: Path, layout: str, count: int) -> None:
    """Pictures in the folders of PH2 or ISIC 2016."""
    rng = np.random.default_rng(0)
    for i in range(count):
        image = Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8))
        mask = np.zeros((40, 40), np.uint8)
        mask[10:20, 10 : 20 + i] = 255
        if layout == "ph2":
            name = f"IMD{i:03d}"
            case = root / "PH2Dataset" / "PH2 Dataset images" / name
            for kind, picture in (("Dermoscopic_Image", image), ("lesion", Image.fromarray(mask))):
                (case / f"{name}_{kind}").mkdir(parents=True)
                stem = name if kind == "Dermoscopic_Image" else f"{name}_lesion"
                picture.save(case / f"{name}_{kind}" / f"{stem}.bmp")
            continue
        for part in ("Training", "Test"):
            name = f"ISIC_{part}{i:03d}"
            for kind, end, picture in (
                ("Data", ".jpg", image),
                ("GroundTruth", "_Segmentation.png", Image.fromarray(mask)),
            ):
                folder = root / f"ISBI2016_ISIC_Part1_{part}_{kind}"
                folder.mkdir(parents=True, exist_ok=True)
                picture.save(folder / f"{name}{end}")


def test_a_paper_that_tests_on_another_set_is_tested_there(tmp_path):
    folder_of_pictures(tmp_path / "data", "ph2", 20)
    folder_of_pictures(tmp_path / "data", "isic2016", 4)
    paper = load_paper("boudaieb2025")
    plan = make_plan(paper, tmp_path / "data", quick=True)
    assert [len(part) for part in plan.splits] == [16, 2, 4]
    assert plan.splits.test.name(0).startswith("ISIC_Test")
    assert (plan.dataset, plan.scored_on) == ("ph2", "isic2016")
    alone = make_plan(paper, tmp_path / "data", dataset="ph2", quick=True)
    assert [len(part) for part in alone.splits] == [16, 2, 2]
    assert alone.scored_on == "ph2"
    result = reproduce("boudaieb2025", tmp_path / "data", rows=[paper.baseline], out=tmp_path / "out", **TINY)
    assert "ph2, tested on isic2016: 16 train, 2 val, 4 test" in str(result)
    assert "The printed numbers are for" not in str(result)


def test_intervals_enclose_the_score_under_every_definition():
    rng = np.random.default_rng(1)
    report = report_of(*rng.integers(5, 50, (12, 2, 2)).tolist())
    for name, (value, _) in report.values.items():
        if name in list_definitions():
            low, high = interval([report], name)
            assert low < value < high, name


def test_intervals_are_those_of_resampled_counts():
    """Brute force: draw the pictures, aggregate the drawn counts."""
    rng = np.random.default_rng(2)
    report = report_of(*rng.integers(5, 50, (6, 2, 2)).tolist())
    picks = np.random.default_rng(0).integers(0, 6, (50, 6))
    for name in ("iou_fg_pooled", "miou_2class_image", "precision_macro", "accuracy_pooled", "accuracy_macro"):
        drawn = [report_of(*report.counts[list(pick)].tolist()).values[name].value for pick in picks]
        assert interval([report], name, draws=50) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_an_interval_of_nothing_is_not_a_number():
    empty = report_of([[8, 0], [0, 0]], [[8, 0], [0, 0]])
    assert all(math.isnan(end) for end in interval([empty], "dice_fg_image"))


def test_a_better_row_is_called_better_and_a_worse_one_worse():
    poor, good = report_of(*[[[70, 10], [10, 10]]] * 12), report_of(*[[[75, 5], [5, 15]]] * 12)
    paper = load_paper("zhang2024")
    for first, second, word in ((poor, good, "better"), (good, poor, "worse"), (poor, poor, "no difference shown")):
        runs = [
            Run(label, 0, "unet", {}, 1, False, 1, {}, one)
            for label, one in zip(("U-Net", "SegNet"), (first, second), strict=True)
        ]
        result = Reproduction(
            paper=paper, dataset="sd900", scored_on="sd900", pictures=(1, 1, 12), split="0", config=paper.config(),
            updates=1, quick=False, weights="", rows=(paper.row("U-Net"), paper.row("SegNet")), runs=tuple(runs),
        )  # fmt: skip
        assert page(result).count(f"| {word} |") == 1
        assert "Quick" not in page(result)


def test_bad_options_are_one_line(capsys, tmp_path):
    quick = ["--quick", "--out", tmp_path / "r"]
    assert "Did you mean 'zhang2024'" in complaint(capsys, "reproduce", "zhang2023", *quick)
    assert "row must be one of" in complaint(capsys, "reproduce", "zhang2024", *quick, "--rows", "nothing")
    assert "seeds must be at least 1; got 0" in complaint(capsys, "reproduce", "zhang2024", *quick, "--seeds", "0")
    assert "epochs must be at least 1; got 0" in complaint(capsys, "reproduce", "zhang2024", *quick, "--epochs", "0")
    assert "size must be at least 32" in complaint(capsys, "reproduce", "zhang2024", *quick, "--size", "8")
    assert "nowhere" in complaint(capsys, "reproduce", "zhang2024", "--data", tmp_path / "nowhere", *quick)
    assert "dataset must be one of" in complaint(
        capsys, "reproduce", "zhang2024", "--data", tmp_path, "--dataset", "sd9000", *quick
    )
    assert "Give --data DIR with ph2 and isic2016, or --quick" in complaint(capsys, "reproduce", "boudaieb2025")
    assert "weights must be an existing file" in complaint(
        capsys, "reproduce", "liu2025", "--dataset", "synthetic", "--weights", tmp_path / "none.pth"
    )
    weights = tmp_path / "some.pth"
    weights.touch()
    assert "weights must be left out of a quick run" in complaint(
        capsys, "reproduce", "liu2025", *quick, "--weights", weights
    )
    assert not (tmp_path / "r").exists()


def test_pictures_of_more_than_two_classes_are_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for i in range(6):
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "masks" / f"{i}.png")
    (tmp_path / "classes.txt").write_text("background\na\nb")
    with pytest.raises(ValueError, match=r"train data must have 2 classes; got 3: \('background', 'a', 'b'\)"):
        reproduce("zhang2024", tmp_path, dataset="folder", out=tmp_path / "out", quick=True)
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["0"], "val": ["1"], "test": []}))
    with pytest.raises(ValueError, match="test data must hold at least one picture; got none"):
        reproduce("zhang2024", tmp_path, dataset="folder", out=tmp_path / "out", quick=True)


def test_the_command_explains_itself(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["reproduce", "--help"])
    text = capsys.readouterr().out
    for option in ("--data", "--dataset", "--rows", "--seeds", "--epochs", "--size", "--weights", "--quick", "--out"):
        assert option in text


def test_the_command_lists_papers(capsys):
    assert main(["list", "papers"]) == 0
    assert capsys.readouterr().out == f"papers: {', '.join(list_papers())}\n"


def test_stand_ins_have_no_small_form_of_their_own():
    assert not set(STAND_IN) & set(SMALL)


def test_a_number_that_is_not_defined_is_not_a_failed_run():
    from seglab.papers import _page
    from seglab.papers._outcome import Measured

    one = Measured("U-Net", "Precision", "precision_pooled", 0.85, float("nan"), float("nan"), float("nan"), (1.0,))
    assert _page._value(one, {"U-Net"}) == "not defined"
    assert _page._value(one, set()) == "failed"
