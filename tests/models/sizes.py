"""Knobs that make each model as small as it goes, so that the contract tests take seconds."""

SMALL: dict[str, dict[str, object]] = {
    "resunet": {"width": 8},
    "transunet": {"width": 8, "hidden": 16, "layers": 2, "heads": 2},
    "unet": {"width": 8},
    "unetplusplus": {"width": 4},
    "unext": {"size": "small"},
}
