"""A training step on the processor: bfloat16 and channels last, as `train` runs, against plain PyTorch."""

from collections.abc import Callable, Iterator, Mapping

import torch

from seglab.benchmarks._paired import Row, paired
from seglab.devices import autocast, cpu_has_bf16
from seglab.losses import build_loss
from seglab.models import build_model

__all__ = ["rows"]

CASES: dict[str, tuple[str, dict[str, object], int]] = {
    "U-Net of width 16, 128 px, batch 8": ("unet", {"width": 16}, 128),
    "ResNet-18 U-Net, 128 px, batch 8": ("smp_unet", {"encoder": "resnet18"}, 128),
    "ResNet-18 U-Net, 256 px, batch 8": ("smp_unet", {"encoder": "resnet18"}, 256),
    "MobileNetV2 U-Net, 256 px, batch 8": ("smp_unet", {"encoder": "mobilenet_v2"}, 256),
}


def rows(*, quick: bool) -> Iterator[Row]:
    """A step of some networks; below 256 px the update of many weights takes a larger share of it."""
    for what, (name, knobs, side) in list(CASES.items())[: 1 if quick else None]:
        against, wanted = "PyTorch float32 as it comes", ">= 2.2"
        if not cpu_has_bf16():
            yield Row(f"training step, {what}", against, wanted, "not measured", None, "no bfloat16 in this processor")
            continue
        side = 32 if quick else side
        ratio = paired(
            _step(name, knobs, side, fast=False), _step(name, knobs, side, fast=True), rounds=3 if quick else 9
        )
        yield Row(f"training step, {what}", against, wanted, str(ratio), ratio.median >= 2.2)


def _step(name: str, knobs: Mapping[str, object], side: int, *, fast: bool) -> Callable[[], None]:
    """One update of the weights, the way `train` does it or the plain way."""
    torch.manual_seed(0)
    model = build_model(name, 1, **knobs).train()
    images, masks = torch.rand(8, 3, side, side), (torch.rand(8, side, side) > 0.8).long()
    if fast:
        model, images = (
            model.to(memory_format=torch.channels_last),
            images.contiguous(memory_format=torch.channels_last),
        )
    loss, optimizer = build_loss("bce_dice"), torch.optim.AdamW(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        with autocast(torch.device("cpu"), fast):
            logits = model(images)
        loss(logits.float(), masks).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step
