"""A training step on the processor as `train` does it (bfloat16, channels last), against plain PyTorch."""

from collections.abc import Callable, Iterator, Mapping

import torch

from seglab.batches import Batch
from seglab.benchmarks._paired import Row, paired
from seglab.config import TrainConfig
from seglab.devices import cpu_has_bf16
from seglab.losses import build_loss
from seglab.models import Segmenter, build_model
from seglab.stepping import Tally, start, step

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
        work = side, name, knobs
        ratio = paired(_plain(*work), _ours(*work), rounds=3 if quick else 9)
        yield Row(f"training step, {what}", against, wanted, str(ratio), ratio.median >= 2.2)


def _model(name: str, knobs: Mapping[str, object]) -> Segmenter:
    """A fresh model in train mode, the same each time."""
    torch.manual_seed(0)
    return build_model(name, 1, **knobs).train()


def _batch(side: int) -> Batch:
    """Eight random pictures and masks."""
    images = torch.rand(8, 3, side, side)
    return Batch(images, (images[:, 0] > 0.8).long(), tuple(range(8)), tuple(range(8)))


def _plain(side: int, name: str, knobs: Mapping[str, object]) -> Callable[[], None]:
    """One update of the weights, as most training scripts do it."""
    model, batch, loss = _model(name, knobs), _batch(side), build_loss("bce_dice")
    optimizer = torch.optim.AdamW(model.parameters())

    def update() -> None:
        optimizer.zero_grad()
        loss(model(batch.images), batch.masks).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return update


def _ours(side: int, name: str, knobs: Mapping[str, object]) -> Callable[[], None]:
    """One update of the weights, by the function that `train` calls."""
    device, config = torch.device("cpu"), TrainConfig(size=side, batch_size=8, optimizer="adamw")
    model, batch, loss = _model(name, knobs).to(memory_format=torch.channels_last), _batch(side), build_loss("bce_dice")
    state, names = start(model, config, device), [str(index) for index in batch.indices]

    def update() -> None:
        step(state, model, loss, batch, config, progress=0.0, tally=Tally(0, names, at_once=True))

    return update
