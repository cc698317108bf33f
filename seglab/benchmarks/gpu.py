"""A training step on a GPU, against the usual loop; rows without numbers where there is no GPU."""

import time
from collections.abc import Callable, Iterator, Mapping

import torch

from seglab.benchmarks._paired import Row, paired
from seglab.losses import build_loss
from seglab.models import build_model

__all__ = ["rows"]

CASES: dict[str, tuple[str, dict[str, object], float]] = {
    "VGG16 U-Net, 512 px, batch 16": ("vgg16_unet", {}, 3.0),
    "ResNet-34 U-Net, 512 px, batch 16": ("smp_unet", {"encoder": "resnet34"}, 2.5),
}
AGAINST = "the usual loop: float32, NCHW, two .item() a step"


def rows(*, quick: bool) -> Iterator[Row]:
    """A step of two networks, data left out on both sides."""
    for what, (name, knobs, goal) in CASES.items():
        title, wanted = f"training step on a GPU, {what}", f">= {goal:g}"
        if not torch.cuda.is_available():
            yield Row(title, AGAINST, wanted, "not measured", None, "no GPU here; `seglab benchmark gpu` measures it")
            continue
        side, rounds = (128, 3) if quick else (512, 15)
        ways = [_step(name, knobs, side, fast=fast) for fast in (False, True)]
        ratio = paired(*ways, rounds=rounds, clock=_clock)
        yield Row(title, AGAINST, wanted, str(ratio), ratio.median >= goal)


def _clock() -> float:
    """Seconds, when everything that was asked of the GPU is done."""
    torch.cuda.synchronize()
    return time.perf_counter()


def _step(name: str, knobs: Mapping[str, object], side: int, *, fast: bool) -> Callable[[], None]:
    """Four updates of the weights, the way `train` does it or the usual way."""
    torch.manual_seed(0)
    model = build_model(name, 1, **knobs).cuda().train()
    images, masks = torch.rand(16, 3, side, side).cuda(), (torch.rand(16, side, side) > 0.8).long().cuda()
    if fast:
        model, images = (
            model.to(memory_format=torch.channels_last),
            images.contiguous(memory_format=torch.channels_last),
        )
    loss, optimizer = build_loss("bce_dice"), torch.optim.AdamW(model.parameters(), fused=fast)

    def steps() -> None:
        for _ in range(4):
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16, enabled=fast):
                logits = model(images)
            value = loss(logits.float(), masks)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if not fast:
                value.item(), (logits.detach() > 0).float().mean().item()

    return steps
