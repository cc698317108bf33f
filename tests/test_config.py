"""Every knob: its range, its kind, its spelling on the command line, and every sentence of refusal."""

import json
import math
from dataclasses import fields

import numpy as np
import pytest

from seglab.config import TrainConfig

NAMES = [field.name for field in fields(TrainConfig)]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0."),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0."),
        ({"size": 31}, "size must be at least 32; got 31."),
        ({"size": 8193}, "size must be in [32, 8192]; got 8193."),
        ({"save_every": 0}, "save_every must be at least 1; got 0."),
        ({"workers": -1}, "workers must be at least 0; got -1."),
        ({"seed": -1}, "seed must be in [0, 9223372036854775807]; got -1."),
        ({"seed": 2**63}, "seed must be in [0, 9223372036854775807]; got 9223372036854775808."),
        ({"freeze_epochs": 101}, "freeze_epochs must be in [0, 100]; got 101."),
        ({"freeze_epochs": -1}, "freeze_epochs must be in [0, 100]; got -1."),
        ({"warmup_epochs": 6, "epochs": 5}, "warmup_epochs must be in [0, 5]; got 6."),
        ({"min_lr": 0.2, "lr": 0.1}, "min_lr must be in [0, 0.1]; got 0.2."),
        ({"min_lr": math.nan}, "min_lr must be in [0, 0.0001]; got nan."),
        ({"lr": 0}, "lr must be above 0 and finite; got 0.0."),
        ({"lr": -1.0}, "lr must be above 0 and finite; got -1.0."),
        ({"lr": math.inf}, "lr must be above 0 and finite; got inf."),
        ({"lr": math.nan}, "lr must be above 0 and finite; got nan."),
        ({"ema": 1.0}, "ema must be in [0, 1); got 1.0."),
        ({"ema": -0.1}, "ema must be in [0, 1); got -0.1."),
        ({"ema": math.nan}, "ema must be in [0, 1); got nan."),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or above, and finite; got -1.0."),
        ({"weight_decay": math.inf}, "weight_decay must be 0 or above, and finite; got inf."),
        ({"patience": 0}, "patience must be above 0 and finite, or null for none; got 0."),
        ({"grad_clip": 0.0}, "grad_clip must be above 0 and finite, or null for none; got 0.0."),
        ({"grad_clip": math.inf}, "grad_clip must be above 0 and finite, or null for none; got inf."),
        ({"schedule": "cosin"}, "schedule must be one of constant, cosine, plateau, poly; got 'cosin'. "
                                "Did you mean 'cosine'?"),
        ({"optimizer": "sgd"}, "optimizer must be one of adam, adamw; got 'sgd'."),
        ({"epochs": 3.0}, "epochs must be int; got 3.0."),
        ({"epochs": True}, "epochs must be int; got True."),
        ({"lr": True}, "lr must be float; got True."),
        ({"lr": "1e-3"}, "lr must be float; got '1e-3'."),
        ({"amp": 1}, "amp must be bool; got 1."),
        ({"augment": "no"}, "augment must be bool; got 'no'."),
        ({"patience": 2.5}, "patience must be int or null; got 2.5."),
        ({"grad_clip": "x"}, "grad_clip must be float or null; got 'x'."),
        ({"device": None}, "device must be str; got None."),
    ],
)  # fmt: skip
def test_value_out_of_range_or_kind_is_refused_in_one_sentence(setting, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        TrainConfig(**setting)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 1, "freeze_epochs": 1, "warmup_epochs": 1}, {"size": 32}, {"size": 8192}, {"workers": 0},
        {"min_lr": 1e-4}, {"min_lr": 0}, {"ema": 0}, {"ema": 0.9999}, {"patience": 1}, {"seed": 2**63 - 1},
    ],
)  # fmt: skip
def test_ends_of_the_ranges_are_allowed(setting):
    config = TrainConfig(**setting)
    assert {name: getattr(config, name) for name in setting} == setting


@pytest.mark.parametrize(
    ("pair", "name", "value"),
    [
        ("epochs=20", "epochs", 20),
        ("lr=1e-3", "lr", 1e-3),
        ("lr=1", "lr", 1.0),
        ("patience=null", "patience", None),
        ("patience=None", "patience", None),
        ("patience=7", "patience", 7),
        ("grad_clip=1", "grad_clip", 1.0),
        ("amp=false", "amp", False),
        ("amp=False", "amp", False),
        ("augment=true", "augment", True),
        ("schedule=poly", "schedule", "poly"),
        ('schedule="poly"', "schedule", "poly"),
        ("device=cuda:0", "device", "cuda:0"),
        ("device=null", "device", "null"),
    ],
)
def test_settings_are_read_from_text(pair, name, value):
    got = getattr(TrainConfig(patience=3, grad_clip=2.0).override([pair]), name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("epochs=3.5", "epochs must be int; got '3.5'."),
        ("epochs=1e2", "epochs must be int; got '1e2'."),
        ("epochs=many", "epochs must be int; got 'many'."),
        ("epochs=null", "epochs must be int; got 'null'."),
        ("epochs=true", "epochs must be int; got 'true'."),
        ("epochs=", "epochs must be int; got ''."),
        ("epochs=[1]", "epochs must be int; got '[1]'."),
        ("epochs=" + "9" * 5000, "epochs must be int; got '" + "9" * 198 + "…."),
        ("lr=fast", "lr must be float; got 'fast'."),
        ("lr=null", "lr must be float; got 'null'."),
        ("lr=true", "lr must be float; got 'true'."),
        ("amp=0", "amp must be bool; got '0'."),
        ("amp=yes", "amp must be bool; got 'yes'."),
        ("patience=2.5", "patience must be int or null; got '2.5'."),
        ("epochs", "setting epochs must be written epochs=VALUE; got 'epochs'."),
        ("lr=NaN", "lr must be above 0 and finite; got nan."),
        ("schedule=3", "schedule must be one of constant, cosine, plateau, poly; got '3'."),
    ],
)
def test_text_of_another_kind_is_refused(pair, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        TrainConfig().override([pair])
    assert str(caught.value) == message


def test_unknown_setting_lists_all_and_suggests_the_closest():
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        TrainConfig().override(["epoch=3"])
    assert str(caught.value) == (
        f"setting must be one of {', '.join(sorted(NAMES))}; got 'epoch'. Did you mean 'epochs'?"
    )


def test_later_settings_win_and_the_original_stays():
    config = TrainConfig()
    assert config.override(["epochs=3", "epochs=4"]).epochs == 4
    assert config.epochs == 100


def test_settings_are_checked_together():
    assert TrainConfig().override(["epochs=200", "freeze_epochs=150"]).freeze_epochs == 150
    with pytest.raises(ValueError, match=r"freeze_epochs must be in \[0, 100\]; got 150"):
        TrainConfig().override(["freeze_epochs=150"])


def test_config_cannot_be_changed():
    with pytest.raises(AttributeError):
        TrainConfig().epochs = 3


def test_dictionary_survives_json_and_builds_the_same_config():
    config = TrainConfig(epochs=3, patience=2, grad_clip=0.5, amp=False)
    assert TrainConfig(**json.loads(json.dumps(config.to_dict()))) == config
    assert list(config.to_dict()) == NAMES


@pytest.mark.parametrize("value", [np.float64(0.25), 1])
def test_numbers_become_plain_python_so_that_a_state_can_be_read_back(value):
    config = TrainConfig(lr=value, min_lr=0)
    assert type(config.lr) is float
    assert type(config.min_lr) is float
    assert config.lr == value


@pytest.mark.parametrize(
    "pair", ["epochs=" + "x" * 5000, "epochs" + "y" * 5000, "epochs=" + "[" * 100_000, "size=" + "9" * 5000]
)
def test_endless_text_gives_a_short_line(pair):
    with pytest.raises(ValueError, match=r"(epochs|size) must be int; got '|setting must be one of") as caught:
        TrainConfig().override([pair])
    assert len(str(caught.value)) < 500
