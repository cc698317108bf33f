"""What every loss promises, over all names: a new loss is tested as soon as it has one."""

import math
from functools import partial
from inspect import signature

import pytest
import torch

from seglab import losses, stepping

from .batches import NAMES, batch, perfect

KNOBS = {name: signature(getattr(losses, name)).parameters for name in NAMES}
SUMS = {"bce_dice", "ce_dice", "compound", "dice_focal"}  # their pixel part is a mean over the batch
PER_IMAGE = [name for name in NAMES if "reduce" in KNOBS[name] and name not in SUMS]
FLOOR = {  # cost of a perfect prediction where every class is in the mask: number of weighted means, over e
    "adaptive_exponential": lambda channels: max(2, channels) / math.e,
    "exponential": lambda channels: 1 / math.e,
}


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_loss_is_a_positive_scalar_with_finite_gradient(name: str, channels: int) -> None:
    logits, target = batch(channels)
    logits.requires_grad_()
    value = getattr(losses, name)(logits, target)
    value.backward()
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value > 0
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_agrees_with_finite_differences(name: str, channels: int) -> None:
    logits, target = batch(channels, images=2)
    logits, target = logits[..., :3, :3].clone().requires_grad_(), target[..., :3, :3].clone()
    target[0, 0] = 255
    assert torch.autograd.gradcheck(lambda z: getattr(losses, name)(z, target), (logits,))


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_perfect_prediction_costs_the_least_with_or_without_unknown_pixels(name: str, channels: int) -> None:
    _, target = batch(channels)
    logits = perfect(target, channels)
    if channels > 1 and "bce" in name:
        logits = 2 * logits - 50  # one sigmoid per channel: the wrong classes have to be denied, too
    half = target.clone()
    half[:, :3] = 255
    least = FLOOR[name](channels) if name in FLOOR else 0
    assert getattr(losses, name)(logits, target) == pytest.approx(least, abs=1e-5)
    assert getattr(losses, name)(logits, half) == pytest.approx(least, abs=1e-5)


@pytest.mark.parametrize("nonsense", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_unknown_pixels_change_nothing(name: str, channels: int, nonsense: float) -> None:
    """Cutting the known part out by hand gives the same loss, and what stands on unknown pixels has no say."""
    loss = getattr(losses, name)
    logits, target = batch(channels)
    cut = loss(logits[:, :, 2:], target[:, 2:])
    target[:, :2] = 255
    assert loss(logits, target) == pytest.approx(cut.item(), rel=1e-12)
    spoilt = logits.clone()
    spoilt[:, :, :2] = nonsense
    values = [loss(scores.requires_grad_(), target) for scores in (logits, spoilt)]
    for value in values:
        value.backward()
    assert values[0] == values[1]
    assert torch.equal(logits.grad, spoilt.grad)
    assert not spoilt.grad[:, :, :2].any()


@pytest.mark.parametrize("name", NAMES)
def test_ignore_index_can_be_another_label(name: str) -> None:
    loss = getattr(losses, name)
    logits, target = batch(3)
    ours = torch.where(target == 0, 255, target)
    assert loss(logits, target, ignore_index=0) == loss(logits, ours)
    assert loss(logits, torch.where(target == 0, -100, target), ignore_index=-100) == loss(logits, ours)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_known_costs_exactly_nothing(name: str, channels: int) -> None:
    logits, target = batch(channels)
    logits.requires_grad_()
    value = getattr(losses, name)(logits, torch.full_like(target, 255))
    value.backward()
    assert value == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("softening", [0.0, None])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_empty_and_full_masks_are_finite(name: str, channels: int, label: int, softening: float | None) -> None:
    """Also where nothing softens a division: smooth or eps of 0."""
    logits, target = batch(channels)
    target = torch.full_like(target, label)
    knobs = {} if softening is None else {knob: softening for knob in ("smooth", "eps") if knob in KNOBS[name]}
    for scores in (logits.clone(), 1000 * logits, perfect(target, channels, 1000.0).double()):
        scores.requires_grad_()
        value = getattr(losses, name)(scores, target, **knobs)
        value.backward()
        assert value.isfinite()
        assert scores.grad.isfinite().all()


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_empty_and_full_masks_cost_least_where_they_are_met(name: str, channels: int, label: int) -> None:
    target = torch.full((1, 6, 7), label)
    right, wrong = perfect(target, channels), perfect(1 - target, channels)
    if channels > 1 and "bce" in name:
        right, wrong = 2 * right - 50, 2 * wrong - 50
    least = 1 / math.e if name in FLOOR else 0
    assert getattr(losses, name)(right, target) == pytest.approx(least, abs=1e-5)
    assert getattr(losses, name)(wrong, target) > least + 0.3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_logits_are_computed_in_float32(name: str, channels: int, dtype: torch.dtype) -> None:
    loss = getattr(losses, name)
    logits, target = batch(channels)
    logits = logits.to(dtype)
    value = loss(logits, target)
    assert value.dtype == torch.float32
    assert value == loss(logits.float(), target)


@pytest.mark.parametrize(("dtype", "size"), [(torch.bfloat16, 1e4), (torch.float16, 1e3)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_autocast_gives_no_nan(name: str, channels: int, dtype: torch.dtype, size: float) -> None:
    _, target = batch(channels)
    net = torch.nn.Conv2d(3, channels, 1)
    images = torch.rand(3, 3, 6, 7, generator=torch.Generator().manual_seed(0)) * size
    with torch.autocast("cpu", dtype=dtype):
        logits = net(images)
        value = getattr(losses, name)(logits, target)
    value.backward()
    assert logits.dtype == dtype
    assert value.isfinite()
    assert net.weight.grad.isfinite().all()


def test_integer_dtypes_and_bool_masks_count_alike() -> None:
    logits, target = batch(1)
    expected = losses.dice(logits, target)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.bool):
        assert losses.dice(logits, target.to(dtype)) == expected


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_loss_of_equally_known_images_is_the_mean_over_them(name: str, channels: int) -> None:
    loss = getattr(losses, name)
    logits, target = batch(channels)
    target[:, 2:4] = 255
    rows = [loss(logits[i : i + 1], target[i : i + 1]).item() for i in range(3)]
    assert loss(logits, target) == pytest.approx(sum(rows) / 3, rel=1e-12)
    assert max(rows) - min(rows) > 1e-4


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PER_IMAGE)
def test_every_image_counts_alike_unless_the_batch_is_summed(name: str, channels: int) -> None:
    loss = partial(getattr(losses, name), **({"kernel": 1} if "kernel" in KNOBS[name] else {}))  # no neighbours
    logits, target = batch(channels)
    target[0, :3] = 255  # images with different numbers of known pixels
    target[1] = 255
    rows = [loss(logits[i : i + 1], target[i : i + 1]).item() for i in range(3)]
    assert rows[1] == 0
    assert loss(logits, target) == pytest.approx(sum(rows) / 3, rel=1e-12)
    pooled = loss(logits.movedim(0, 1).flatten(1, 2)[None], target.flatten(0, 1)[None]).item()  # one tall image
    assert loss(logits, target, reduce="batch") == pytest.approx(pooled, rel=1e-12)
    assert loss(logits, target) != pytest.approx(pooled, rel=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_deep_supervision_takes_the_mean_over_outputs(name: str, channels: int) -> None:
    loss = losses.build_loss(name)
    outputs, target = [batch(channels, seed=seed)[0].float().requires_grad_() for seed in (0, 1)], batch(channels)[1]
    total = stepping.total_loss(loss, outputs, target)
    total.backward()
    assert total.item() == pytest.approx(sum(loss(one, target).item() for one in outputs) / 2, rel=1e-6)
    for one in outputs:
        alone = one.detach().requires_grad_()
        loss(alone, target).backward()
        torch.testing.assert_close(one.grad, alone.grad / 2)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_descending_finds_the_mask(name: str, channels: int) -> None:
    """Sixty steps on the logits themselves, from 0: every loss must lead to the mask."""
    target = torch.zeros(2, 8, 8, dtype=torch.long)
    target[0, 2:6, 2:6] = 1
    target[1, 4, 4:6] = 1
    logits = torch.zeros(2, channels, 8, 8, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        getattr(losses, name)(logits, target).backward()
        optimizer.step()
    found = (logits[:, 0] > 0).long() if channels == 1 else logits.argmax(dim=1)
    assert torch.equal(found, target)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_agrees_with_the_cpu(name: str) -> None:
    logits, target = batch(3)
    target[0, 0] = 255
    loss = getattr(losses, name)
    assert loss(logits.cuda(), target.cuda()).item() == pytest.approx(loss(logits, target).item(), rel=1e-10)
