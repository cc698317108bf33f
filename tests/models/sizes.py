"""Knobs that make each model as small as it goes, so that the contract tests take seconds."""

SMALL: dict[str, dict[str, object]] = {
    "unet": {"width": 8},
}
