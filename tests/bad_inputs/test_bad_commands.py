"""Settings and command lines as people mistype them: one line that names the setting, before anything is written."""

from pathlib import Path

import pytest
from bad_case import picture, require_refused, run, save_folder

BASE = {
    "epochs": "1", "size": "32", "batch_size": "4", "model.width": "4", "data.size": "32", "data.count": "8",
    "workers": "0", "device": "cpu",
}  # fmt: skip
HUGE = "9" * 400

SETTINGS: list[tuple[str, str]] = [
    ("epochs=0", "epochs must be at least 1"),
    ("epochs=-3", "epochs must be at least 1"),
    ("epochs=1.5", "epochs must be int"),
    ("epochs=ten", "epochs must be int"),
    ("epochs=", "epochs must be int"),
    ("epochs=null", "epochs must be int"),
    ("epochs=true", "epochs must be int"),
    ("epochs=NaN", "epochs must be int"),
    ("epochs=[1]", "epochs must be int"),
    ("epoch=3", "'epochs'"),
    ("learning_rate=1e-3", "setting"),
    ("LR=1e-3", "NAME=VALUE"),
    ("lr=0", "lr must be above 0"),
    ("lr=-1", "lr must be above 0"),
    ("lr=NaN", "lr must be above 0"),
    ("lr=nan", "lr must be float"),
    ("lr=Infinity", "lr must be above 0 and finite"),
    ("lr=1e999", "lr must be above 0 and finite"),
    ("lr=fast", "lr must be float"),
    ("lr=1,5", "lr must be float"),
    (f"lr={HUGE}", "lr"),
    ("min_lr=1", "min_lr must be in"),
    ("batch_size=0", "batch_size must be at least 1"),
    ("batch_size=-1", "batch_size must be at least 1"),
    (f"batch_size={HUGE}", "batch_size"),
    ("size=0", "size must be at least 32"),
    ("size=100000", "size must be in"),
    ("size=64x64", "size must be int"),
    ("seed=-1", "seed must be in"),
    (f"seed={2**63}", "seed must be in"),
    (f"seed={HUGE}", "seed"),
    ("seed=0.5", "seed must be int"),
    ("optimizer=sgdd", "optimizer"),
    ("optimizer=1", "optimizer"),
    ("schedule=linear", "schedule"),
    ("schedule=", "schedule"),
    ("ema=1", "ema must be in [0, 1)"),
    ("ema=NaN", "ema must be in [0, 1)"),
    ("weight_decay=-1", "weight_decay must be 0 or above"),
    ("weight_decay=Infinity", "weight_decay"),
    ("grad_clip=0", "grad_clip must be above 0"),
    ("patience=0", "patience must be above 0"),
    ("patience=soon", "patience must be int or null"),
    ("amp=maybe", "amp must be bool"),
    ("amp=1", "amp must be bool"),
    ("augment=yes", "augment must be bool"),
    ("augment_rotation=400", "augment_rotation must be in"),
    ("augment_strength=2", "augment_strength must be in"),
    ("freeze_epochs=5", "freeze_epochs must be in"),
    ("warmup_epochs=5", "warmup_epochs must be in"),
    ("save_every=0", "save_every must be at least 1"),
    ("workers=-1", "workers must be at least 0"),
    ("device=gpu", "device"),
    ("device=cuda:99", "device"),
    ("device=../cpu", "device"),
    ("model.width=0", "width"),
    ("model.width=-4", "width"),
    ("model.width=wide", "width"),
    ("model.width=4.5", "width"),
    ("model.widht=4", "widht"),
    ("model.cbam=everywhere", "everywhere"),
    ("model.=4", "NAME=VALUE"),
    ("model.weights=/etc/passwd", "weights"),
    ("loss.alpha=0.5", "alpha"),
    ("data.seed=x", "seed"),
    ("data.count=0", "count"),
    ("data.count=-5", "count"),
    ("data.size=0", "size"),
    ("data.nonsense=1", "nonsense"),
    ("data.kind=cat", "kind"),
    ("other.thing=1", "other"),
    ("epochs", "synthetic takes no folder"),
    ("=3", "NAME=VALUE"),
    ("EPOCHS=3", "NAME=VALUE"),
    ("workers=100000", "workers must be in"),
    ("epochs=1e9", "epochs must be int"),
    ("data.seed=-1", "seed"),
    ("data.seed=1.5", "seed"),
    ("data.count=x", "count"),
    ("data.count=1,2", "count"),
    ("data.count=1e3", "count"),
    ("data.size=x", "size"),
    ("data.size=32,x", "size"),
    ("data.kind=3", "kind"),
    ("data.prevalence=NaN", "prevalence"),
    ("data.prevalence=2", "prevalence"),
    ("data.empty=all", "empty"),
    ("epochs==3", "epochs must be int"),
]


@pytest.mark.parametrize(("setting", "said"), SETTINGS, ids=[setting[:40] for setting, _ in SETTINGS])
def test_bad_setting_is_one_line_and_no_run(setting, said, tmp_path):
    out = tmp_path / "new" / "run"
    given = [f"{name}={value}" for name, value in BASE.items() if not setting.startswith(f"{name}=")]
    require_refused(["train", "unet", "bce_dice", "--dataset", "synthetic", "--out", out, *given, setting], [said], out)


@pytest.mark.parametrize("setting", ["lr=1e-3", "lr=0.001", "lr=.001", "lr=1E-3", "lr=+1e-3", "lr=1.e-3"])
def test_every_spelling_of_a_number_is_the_number(setting):
    from seglab.config import TrainConfig

    assert TrainConfig().override([setting]).lr == 1e-3


COMMANDS: list[tuple[list[str], str]] = [
    (["frobnicate"], "frobnicate"),
    (["--nonsense"], "required"),
    (["train"], "model"),
    (["train", "unet"], "loss"),
    (["train", "unett", "bce_dice", "{data}"], "unet"),
    (["train", "unet", "bce_dices", "{data}"], "bce_dice"),
    (["train", "UNet", "bce_dice", "{data}"], "unet"),
    (["train", "../unet", "bce_dice", "{data}"], "model"),
    (["train", "unet", "bce_dice"], "folder"),
    (["train", "unet", "bce_dice", "nowhere"], "nowhere"),
    (["train", "unet", "bce_dice", "{data}", "--dataset", "imagenet"], "imagenet"),
    (["train", "unet", "bce_dice", "{data}", "--dataset", "_checks"], "_checks"),
    (["train", "unet", "bce_dice", "{data}", "--out"], "--out"),
    (["train", "unet", "bce_dice", "{data}", "--out", "{file}"], "a.txt"),
    (["train", "unet", "bce_dice", "{data}", "--init", "gone.safetensors"], "gone.safetensors"),
    (["train", "unet", "bce_dice", "{data}", "--nonsense"], "--nonsense"),
    (["evaluate", "{data}"], "--model"),
    (["evaluate", "{data}", "--model", "gone.safetensors"], "gone.safetensors"),
    (["evaluate", "{data}", "--model", "{tiny}", "--part", "all"], "all"),
    (["evaluate", "{data}", "--model", "{tiny}", "--out", "report.txt"], "report.txt"),
    (["evaluate", "{data}", "--model", "{tiny}", "epochs=3"], "data."),
    (["evaluate", "{data}", "--model", "{tiny}", "--pixel-size-mm", "-1"], "pixel"),
    (["evaluate", "{data}", "--model", "{tiny}", "--pixel-size-mm", "nan"], "pixel"),
    (["evaluate", "{data}", "--model", "{tiny}", "--tile", "-5"], "tile"),
    (["predict", "--model", "{tiny}", "--out", "{out}"], "input"),
    (["predict", "gone.png", "--model", "{tiny}", "--out", "{out}"], "gone.png"),
    (["predict", "{data}", "--model", "{tiny}", "--out", "{out}"], "must hold pictures"),
    (["predict", "{picture}", "--model", "{tiny}"], "--out"),
    (["predict", "{picture}", "--model", "{tiny}", "--out", "{out}", "--threshold", "2"], "threshold"),
    (["predict", "{picture}", "--model", "{tiny}", "--out", "{out}", "--threshold", "nan"], "threshold"),
    (["predict", "{picture}", "--model", "{tiny}", "--out", "{out}", "--threshold", "half"], "threshold"),
    (["predict", "{picture}", "--model", "{tiny}", "--out", "{out}", "--tile", "0.5"], "tile"),
    (["predict", "{picture}", "{picture}", "--model", "{tiny}", "--out", "{out}"], "differ in name"),
    (["predict", "{data}/images", "--model", "{tiny}", "--out", "{data}/images"], "--out must not be"),
    (["predict", "{picture}", "--model", "{tiny}", "--out", "{file}"], "a.txt"),
    (["compare", "{tiny}", "--image", "{picture}"], "two different models"),
    (["compare", "{tiny}", "{tiny}", "--image", "{picture}"], "two different models"),
    (["compare", "{tiny}", "{tiny2}"], "--data"),
    (["compare", "{tiny}", "{tiny2}", "--image", "gone.png"], "gone.png"),
    (["compare", "{tiny}", "{tiny2}", "--image", "{picture}", "--threshold", "0"], "threshold"),
    (["compare", "{tiny}", "{tiny2}", "--data", "{data}", "--corrupt", "rain"], "rain"),
    (["compare", "{tiny}", "{tiny2}", "--data", "{data}", "--corrupt", "noise", "--severities", "noise=x"], "noise"),
    (["check-data"], "data"),
    (["check-data", "nowhere"], "nowhere"),
    (["check-data", "{file}"], "a.txt"),
    (["check-data", "{data}", "--dataset", "x"], "x"),
    (["check-data", "{data}", "--fix", "{data}/inside"], "inside"),
    (["import", "voc", "{data}", "{out}"], "JPEGImages"),
    (["import", "folder", "{data}", "{data}"], "must not exist yet"),
    (["import", "nothing", "{data}", "{out}"], "nothing"),
    (["import", "folder", "nowhere", "{out}"], "nowhere"),
    (["export", "--model", "{tiny}", "--to", "model.h5"], "model.h5"),
    (["export", "--model", "gone", "--to", "{out}.safetensors"], "gone"),
    (["list", "cats"], "cats"),
    (["reproduce", "nobody2030"], "nobody2030"),
    (["reproduce", "zhang2024", "--seeds", "0", "--quick", "--out", "{out}"], "seeds"),
    (["ablate", "unet", "bce_dice", "{data}", "--factor", "augment", "--out", "{out}"], "augment"),
    (["ablate", "unet", "bce_dice", "{data}", "--seeds", "0", "--out", "{out}"], "seeds"),
    (["ablate", "unet", "bce_dice", "{data}", "--jobs", "-1", "--out", "{out}"], "jobs"),
    (["verify", "nowhere"], "nowhere"),
    (["verify", "{data}"], "report.json"),
    (["audit", "gone.csv"], "gone.csv"),
    (["audit", "{file}"], "a.txt"),
    (["explain", "{data}", "--model", "{tiny}", "--pictures", "0"], "attention"),
    (["download", "imagenet"], "imagenet"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), COMMANDS, ids=[" ".join(words)[:60] for words, _ in COMMANDS])
def test_bad_command_line_is_one_line_and_writes_nothing(words, said, tiny, tiny2, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    data = save_folder(tmp_path / "data", "abcdefgh")
    picture().save(tmp_path / "p.png")
    (tmp_path / "a.txt").write_text("some text")
    places = {"data": data, "tiny": tiny, "tiny2": tiny2, "picture": tmp_path / "p.png", "file": tmp_path / "a.txt"}
    places["out"] = tmp_path / "new"
    require_refused([word.format(**places) for word in words], [said], tmp_path / "here")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "a.txt").read_text() == "some text"
    assert len(list(Path(data).rglob("*.*"))) == 16


def test_help_is_no_error(capsys):
    assert run("list").code == 0
    assert run("--help").code == 0
