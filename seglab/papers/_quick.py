"""The small scale of `--quick`: every row still runs through the real training, only nothing can be learned from it."""

from typing import Any

from seglab.papers._paper import Row

__all__ = ["CONFIG", "PICTURES", "shrink"]

# Without mixed precision, which gains nothing at this size: in bf16 on a CPU, EGE-UNet's gradient is not finite.
CONFIG: dict[str, Any] = {"epochs": 8, "size": 64, "batch_size": 8, "freeze_epochs": 0, "amp": False}
PICTURES: dict[str, Any] = {"count": (32, 8, 16), "size": 64}

# What makes a model small, where it has such knobs; they stand above the row's own.
SMALL: dict[str, dict[str, Any]] = {
    "attention_unet": {"width": 8},
    "deeplabv3plus": {"encoder": "mobilenet_v2"},
    "fcn8s": {"width": 4},
    "resnet50v2_unet": {"width": 8},
    "reverse_attention_unet": {"width": 8},
    "rfe_unet": {"width": 8},
    "segnet": {"width": 8},
    "swin_unet": {"embed": 8, "heads": 1},
    "transunet": {"width": 8, "hidden": 16, "layers": 2, "heads": 2},
    "unet": {"width": 8},
}
# Models that come in one large size: a small U-Net is trained in their place, with those of the knobs that it has.
STAND_IN = {"vgg16_unet": "unet"}
KEPT = ("cbam", "cbam_style", "cbam_residual")


def shrink(row: Row) -> tuple[str, dict[str, Any]]:
    """Model and knobs of a row at the small scale.

    Example:
        >>> shrink(Row("a", "vgg16_unet", "bce", "chosen: example", knobs={"cbam": ("skip",)}))
        ('unet', {'cbam': ('skip',), 'width': 8})
    """
    model = STAND_IN.get(row.model, row.model)
    knobs = {key: value for key, value in row.knobs.items() if model == row.model or key in KEPT}
    return model, knobs | SMALL.get(model, {})
