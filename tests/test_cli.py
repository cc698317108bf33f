import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.cli import main

SMALL = ["epochs=1", "size=32", "batch_size=4", "model.width=4", "data.size=32", "data.count=12", "workers=0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder, trained for one epoch on generated pictures."""
    out = tmp_path_factory.mktemp("run") / "tiny"
    assert main(["train", "unet", "bce_dice", "--dataset", "synthetic", "--out", str(out), *SMALL]) == 0
    return out


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(path)
    return path


def complaint(capsys, *arguments):
    """What a failing command prints; checks that it is one line, without a traceback, and exit code 2."""
    try:
        code = main([str(word) for word in arguments])
    except SystemExit as stop:
        code = stop.code
    text = capsys.readouterr().err
    assert code == 2
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text


def test_list_names_models_losses_and_datasets(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert {"unet", "vgg16_unet"} <= set(text.replace(",", " ").split())
    assert "smp_unet" in text.partition("model.encoder=resnet50")[2]
    assert "bce_dice" in text
    assert "synthetic" in text


@pytest.mark.parametrize(
    "command",
    ["train", "evaluate", "predict", "compare", "check-data", "import", "download", "list", "export", "app", "audit"]
    + ["explain"],
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert len(capsys.readouterr().out) > 100


def test_unknown_names_are_answered_with_the_closest(capsys):
    assert "Did you mean 'unet'" in complaint(capsys, "train", "unett", "bce", "--dataset", "synthetic")
    assert "Did you mean 'bce'" in complaint(capsys, "train", "unet", "bcee", "--dataset", "synthetic")
    assert "Did you mean 'epochs'" in complaint(capsys, "train", "unet", "bce", "--dataset", "synthetic", "epoch=3")
    assert "Did you mean 'width'" in complaint(
        capsys, "train", "unet", "bce", "--dataset", "synthetic", "data.size=32", "model.widht=3"
    )
    assert "Did you mean 'synthetic'" in complaint(capsys, "train", "unet", "bce", "--dataset", "syntetic")
    assert "invalid choice" in complaint(capsys, "trian")


def test_missing_files_are_named(capsys, tmp_path, run):
    assert "nowhere" in complaint(capsys, "train", "unet", "bce", tmp_path / "nowhere")
    assert "nowhere" in complaint(capsys, "evaluate", tmp_path / "nowhere", "--model", run)
    assert "nowhere" in complaint(capsys, "evaluate", tmp_path, "--model", tmp_path / "nowhere")
    assert "nowhere" in complaint(capsys, "predict", tmp_path / "nowhere.png", "--model", run, "--out", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_settings_are_checked_before_training(capsys, tmp_path):
    base = ["train", "unet", "bce", "--dataset", "synthetic", "--out", tmp_path / "r"]
    assert "epochs must be at least 1; got 0" in complaint(capsys, *base, "epochs=0")
    assert "lr must be" in complaint(capsys, *base, "lr=fast")
    assert "width" in complaint(capsys, *base, "data.size=32", "model.width=1")
    assert not (tmp_path / "r" / "last.pt").exists()


def test_training_writes_the_run_folder(run):
    names = {path.name for path in run.iterdir()}
    assert {"run.json", "best.safetensors", "last.pt", "history.csv", "history.txt", "curves.png"} <= names
    assert {"report.json", "tensorboard"} <= names
    assert (run / "history.csv").read_text().count("\n") == 2


def test_the_same_command_again_goes_on_and_another_one_is_refused(run, capsys):
    base = ["train", "unet", "bce_dice", "--dataset", "synthetic", "--out", str(run)]
    assert main([*base, *SMALL[1:], "epochs=2"]) == 0
    assert (run / "history.csv").read_text().count("\n") == 3
    assert "lr must be" in complaint(capsys, *base, *SMALL[1:], "epochs=2", "lr=0.5")


def test_evaluate_prints_and_saves_every_definition(run, tmp_path, capsys):
    out = tmp_path / "report.json"
    arguments = ["evaluate", "--dataset", "synthetic", "--model", str(run), "--out", str(out), *SMALL[4:6]]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    for name in ("dice_fg_image", "iou_fg_pooled", "miou_2class_pooled", "hausdorff95_image"):
        assert name in text
        assert name in out.read_text()


@pytest.mark.parametrize("ending", ["csv", "md", "png"])
def test_evaluate_measures_in_mm_and_saves_what_the_ending_names(run, tmp_path, capsys, ending):
    out = tmp_path / f"report.{ending}"
    arguments = ["evaluate", "--dataset", "synthetic", "--model", str(run), "--out", str(out), *SMALL[4:6]]
    assert main([*arguments, "--pixel-size-mm", "0.5"]) == 0
    text = capsys.readouterr().out
    pixels, mm = (
        next(line.split(" | ")[1] for line in text.splitlines() if line.startswith(f"| {name} |"))
        for name in ("hausdorff95_image", "hausdorff95_mm_image")
    )
    assert float(mm) == pytest.approx(float(pixels) / 2, abs=1e-4)
    start = {"csv": b"name,dice,iou,true0_pred0", "md": b"### unet: 2 pictures", "png": b"\x89PNG"}[ending]
    assert out.read_bytes().startswith(start)
    assert "pixel_size_mm must be above 0; got -1" in complaint(capsys, *arguments, "--pixel-size-mm", "-1")
    assert "must end in .json, .csv, .md or .png; got r.txt" in complaint(capsys, *arguments, "--out", "r.txt")


def test_compare_scores_models_side_by_side_and_notes_pictures_trained_on(run, tmp_path, capsys):
    half = tmp_path / "half.safetensors"
    main(["export", "--model", str(run), "--to", str(half)])
    capsys.readouterr()
    models = ["compare", str(run), str(half), "--dataset", "synthetic", "--data", "data.size=32"]
    assert main([*models, "data.count=12"]) == 0
    text = capsys.readouterr().out
    assert "| score | tiny | half |" in text
    assert "| definition | tiny | half | difference | 95 % interval | p | p (Holm) | detectable | n |" in text
    for definition in ("dice_fg_image", "dice_fg_pooled", "iou_fg_image", "miou_2class_pooled"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {definition} |") and line.count("|") == 10]
        assert " to " in line
    assert "pictures, paired; difference = half minus tiny." in text
    assert "Holm is over" not in text
    assert "training set" not in text
    assert main([*models, "data.count=[2,2,12]"]) == 0
    assert "training set" not in capsys.readouterr().out  # the parts share no picture, whatever their size


def test_compare_sets_every_further_model_beside_the_first(run, tmp_path, capsys):
    paths = [tmp_path / f"{name}.safetensors" for name in ("b", "c")]
    for path in paths:
        main(["export", "--model", str(run), "--to", str(path)])
    capsys.readouterr()
    words = ["compare", run, *paths, "--dataset", "synthetic", "--data", "data.size=32", "data.count=12"]
    assert main([str(word) for word in words]) == 0
    text = capsys.readouterr().out
    assert "| definition | tiny | b |" in text
    assert "| definition | tiny | c |" in text
    assert "Holm is over the definitions of one table; 2 tables ask more than one question." in text


def test_audit_prints_findings_and_a_bad_table_is_one_line(tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("name,dice,iou\nA,.8417,.8269\nB,.8345,.8999\n")
    assert main(["audit", str(table)]) == 0
    text = capsys.readouterr().out
    assert "2 rows, 6 checks" in text
    assert "| B | one definition of both, per image or pooled | IoU 0.8999 > Dice 0.8345" in text
    table.write_text("name,colour\nA,red\n")
    assert "table must have a column such as dice" in complaint(capsys, "audit", table)
    assert "must exist" in complaint(capsys, "audit", tmp_path / "nowhere.csv")
    assert "audit" in complaint(capsys, "audit", tmp_path)


def test_explain_tests_the_attention_of_a_model(run, tmp_path, capsys):
    import seglab
    from seglab.checkpoint import Description, save_model

    gated, out = tmp_path / "gated.safetensors", tmp_path / "explained.md"
    model = seglab.build_model("unet", 1, width=4, cbam="bottleneck")
    save_model(gated, model, Description("unet", model.knobs, 1, ("background", "object"), 32, "Gated"))
    words = ["--dataset", "synthetic", "data.size=32", "data.count=20", "--pictures", "2"]
    assert main(["explain", "--model", str(gated), *words, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "### Gated: 2 pictures" in text
    assert "- bottleneck: Replacing its map by its mean changes Dice by" in text
    assert out.read_text().strip() in text
    assert "must have an attention gate to test" in complaint(capsys, "explain", "--model", run, *words)
    assert "must end in .json or .md; got a.png" in complaint(capsys, "explain", "--model", gated, "--out", "a.png")
    assert "must start with data.; got size=3" in complaint(capsys, "explain", "--model", gated, "size=3")


def test_compare_shows_one_picture_and_packs_its_views(run, photo, tmp_path, capsys):
    half = tmp_path / "half.safetensors"
    main(["export", "--model", str(run), "--to", str(half)])
    capsys.readouterr()
    arguments = ["compare", str(run), str(half), "--image", str(photo), "--out", str(tmp_path / "all.zip")]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "agree on" in text
    assert "| Dice | no mask | no mask |" in text
    assert (tmp_path / "all.zip").stat().st_size > 1000
    assert "needs --data FOLDER" in complaint(capsys, "compare", run, half)


def test_predict_writes_masks_at_the_pictures_own_size(run, photo, tmp_path, capsys):
    out = tmp_path / "masks"
    assert main(["predict", str(photo), "--model", str(run), "--out", str(out)]) == 0
    mask = np.asarray(Image.open(out / "photo.png"))
    assert mask.shape == (40, 60)
    assert set(np.unique(mask)) <= {0, 255}
    assert "1 masks" in capsys.readouterr().out


def test_predict_goes_on_after_a_bad_picture_and_says_so(run, photo, tmp_path, capsys):
    (photo.parent / "zero.png").write_bytes(b"")
    assert main(["predict", str(photo.parent), "--model", str(run), "--out", str(tmp_path / "masks")]) == 2
    captured = capsys.readouterr()
    assert "zero.png" in captured.err
    assert captured.err.count("\n") == 1
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["photo.png"]


def test_predict_refuses_to_overwrite_pictures_and_to_mix_names(run, photo, capsys, tmp_path):
    assert "overwritten" in complaint(capsys, "predict", photo, "--model", run, "--out", photo.parent)
    twin = photo.with_suffix(".bmp")
    Image.open(photo).save(twin)
    assert "differ in name" in complaint(capsys, "predict", photo, twin, "--model", run, "--out", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_export_writes_half_precision_and_a_card(run, tmp_path, capsys):
    target = tmp_path / "small.safetensors"
    assert main(["export", "--model", str(run), "--to", str(target)]) == 0
    assert target.stat().st_size < (run / "best.safetensors").stat().st_size * 0.6
    card = target.with_suffix(".md").read_text()
    assert "not a medical device" in card
    assert "seglab train unet bce_dice" in card
    assert "must end in .safetensors" in complaint(capsys, "export", "--model", run, "--to", tmp_path / "small.pt")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_said_in_one_line(error, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("seglab.data._roots.load_dataset", fail)
    assert "not enough memory" in complaint(capsys, "train", "unet", "bce", "--dataset", "synthetic")


def test_the_command_runs_as_its_own_process_and_sets_passive_waiting(tmp_path):
    script = "import os, sys; from seglab.cli import main; code = main(['list', 'models']); "
    script += "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules); sys.exit(code)"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "PASSIVE" in done.stdout
