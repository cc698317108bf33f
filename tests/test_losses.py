"""Losses against hand-worked arrays, identities, torch's own functions and gradcheck."""

import math

import pytest
import torch
from torch.nn import functional as F

from seglab import losses

NAMES = losses.list_losses()
OVERLAP = ["dice", "tversky", "focal_tversky"]


def batch(channels: int, images: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random float64 logits (N, K, 6, 7) and targets (N, 6, 7) without unknown pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, channels, 6, 7, generator=generator, dtype=torch.float64)
    return logits, torch.randint(max(2, channels), (images, 6, 7), generator=generator)


def perfect(target: torch.Tensor, channels: int, size: float = 50.0) -> torch.Tensor:
    """Logits that are sure of the target."""
    if channels == 1:
        return size * (2.0 * target[:, None] - 1)
    return size * F.one_hot(target, channels).movedim(-1, 1).float()


def test_public_names_are_sorted_and_complete() -> None:
    public = {
        name for name, value in vars(losses).items() if getattr(value, "__module__", "").startswith("seglab.losses")
    }
    assert losses.__all__ == sorted(name for name in public if not name.startswith("_"))
    assert set(NAMES) == set(losses.__all__) - {"build_loss", "list_losses"}
    assert sorted(NAMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_docstring_has_a_reference_and_an_example(name: str) -> None:
    text = getattr(losses, name).__doc__
    assert "Reference:" in text
    assert ">>>" in text


# What every loss promises


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
def test_perfect_prediction_costs_nothing_with_or_without_unknown_pixels(name: str, channels: int) -> None:
    _, target = batch(channels)
    logits = perfect(target, channels)
    if channels > 1 and "bce" in name:
        logits = 2 * logits - 50  # one sigmoid per channel: the wrong classes have to be denied, too
    half = target.clone()
    half[:, :3] = 255
    assert getattr(losses, name)(logits, target) == pytest.approx(0, abs=1e-6)
    assert getattr(losses, name)(logits, half) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_unknown_pixels_change_nothing(name: str, channels: int) -> None:
    """Cutting the known part out by hand gives the same loss, and what stands on unknown pixels has no say."""
    loss = getattr(losses, name)
    logits, target = batch(channels)
    cut = loss(logits[:, :, 2:], target[:, 2:])
    target[:, :2] = 255
    assert loss(logits, target) == pytest.approx(cut.item(), rel=1e-12)
    logits[:, :, :2] = math.inf
    logits.requires_grad_()
    value = loss(logits, target)
    value.backward()
    assert value.item() == pytest.approx(cut.item(), rel=1e-12)
    assert logits.grad.isfinite().all()
    assert not logits.grad[:, :, :2].any()


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


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("channels", [1, 2])
def test_empty_and_full_masks_are_finite(channels: int, label: int, smooth: float) -> None:
    logits, target = batch(channels)
    target = torch.full_like(target, label)
    for name in NAMES:
        knobs = {"smooth": smooth} if name in ("dice", "tversky", "ce_dice", "bce_dice", "dice_focal") else {}
        for scores in (logits.clone(), 1000 * logits, perfect(target, channels, 1000.0).double()):
            scores.requires_grad_()
            value = getattr(losses, name)(scores, target, **knobs)
            value.backward()
            assert value.isfinite(), name
            assert scores.grad.isfinite().all(), name


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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast_gives_no_nan(name: str, channels: int) -> None:
    _, target = batch(channels)
    net = torch.nn.Conv2d(3, channels, 1)
    images = torch.rand(3, 3, 6, 7, generator=torch.Generator().manual_seed(0)) * 1e4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(images)
        value = getattr(losses, name)(logits, target)
    value.backward()
    assert logits.dtype == torch.bfloat16
    assert value.isfinite()
    assert net.weight.grad.isfinite().all()


def test_integer_dtypes_and_bool_masks_count_alike() -> None:
    logits, target = batch(1)
    expected = losses.dice(logits, target)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.bool):
        assert losses.dice(logits, target.to(dtype)) == expected


# Values


def test_bce_and_ce_agree_with_torch() -> None:
    logits, target = batch(1)
    assert losses.bce(logits, target) == F.binary_cross_entropy_with_logits(logits[:, 0], target.double())
    logits, target = batch(3)
    truth = F.one_hot(target, 3).movedim(-1, 1).double()
    assert losses.bce(logits, target) == pytest.approx(F.binary_cross_entropy_with_logits(logits, truth).item())
    target[0] = 255
    expected = F.cross_entropy(logits, target, ignore_index=255)
    assert losses.ce(logits, target) == pytest.approx(expected.item(), rel=1e-12)
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    expected = F.cross_entropy(logits, target, weights, ignore_index=255)
    assert losses.ce(logits, target, class_weights=[1, 2, 5]) == pytest.approx(expected.item(), rel=1e-12)


def test_ce_of_one_logit_is_bce_and_is_ce_of_zero_and_that_logit() -> None:
    logits, target = batch(1)
    two = torch.cat((torch.zeros_like(logits), logits), dim=1)
    assert losses.ce(logits, target) == losses.bce(logits, target)
    for name in ("ce", "focal"):
        loss = getattr(losses, name)
        assert loss(logits, target) == pytest.approx(loss(two, target).item(), rel=1e-12)
    assert losses.ce(logits, target, class_weights=[1, 3]) == pytest.approx(
        losses.ce(two, target, class_weights=[1, 3]).item(), rel=1e-12
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_focal_without_gamma_is_ce(channels: int) -> None:
    logits, target = batch(channels)
    assert losses.focal(logits, target, gamma=0) == losses.ce(logits, target)


def test_focal_alpha_balances_unless_it_is_uniform() -> None:
    """One true pixel with p_t = 3/4, one background pixel with p_t = 1/2, worked by hand."""
    logits = torch.tensor([[[[math.log(3.0), 0.0]]]], dtype=torch.float64)
    target = torch.tensor([[[1, 0]]])
    object_, ground = 0.25**2 * math.log(4 / 3), 0.5**2 * math.log(2)
    assert losses.focal(logits, target) == pytest.approx((object_ + ground) / 2, rel=1e-12)
    assert losses.focal(logits, target, alpha=0.8) == pytest.approx((0.8 * object_ + 0.2 * ground) / 2, rel=1e-12)
    uniform = losses.focal(logits, target, alpha=0.8, uniform_alpha=True)
    assert uniform == pytest.approx(0.8 * (object_ + ground) / 2, rel=1e-12)


def test_focal_with_small_gamma_has_a_finite_gradient_where_the_model_is_sure() -> None:
    logits = torch.full((1, 1, 1, 1), 1000.0, requires_grad=True)
    losses.focal(logits, torch.ones(1, 1, 1, dtype=torch.long), gamma=0.5).backward()
    assert logits.grad.item() == 0


@pytest.mark.parametrize("smooth", [0.0, 1.0, 1e-5])
def test_dice_is_its_formula(smooth: float) -> None:
    logits, target = batch(1)
    p, g = logits.sigmoid()[:, 0], target.double()
    each = 1 - (2 * (p * g).sum((1, 2)) + smooth) / (p.sum((1, 2)) + g.sum((1, 2)) + smooth)
    assert losses.dice(logits, target, smooth=smooth) == pytest.approx(each.mean().item(), rel=1e-9)
    whole = 1 - (2 * (p * g).sum() + smooth) / (p.sum() + g.sum() + smooth)
    assert losses.dice(logits, target, smooth=smooth, reduce="batch") == pytest.approx(whole.item(), rel=1e-9)


def test_dice_of_three_classes_worked_by_hand() -> None:
    """One row of three pixels, all probabilities 1/3: class 0 has two pixels, class 1 has one, class 2 none."""
    logits, target = torch.zeros(1, 3, 1, 3, dtype=torch.float64), torch.tensor([[[0, 0, 1]]])
    each = [1 - (2 * 2 / 3 + 1) / (1 + 2 + 1), 1 - (2 / 3 + 1) / (1 + 1 + 1), 1 - 1 / (1 + 0 + 1)]
    assert losses.dice(logits, target) == pytest.approx(sum(each) / 3)
    assert losses.dice(logits, target, include_background=False) == pytest.approx(sum(each[1:]) / 2)


def test_dice_keeps_the_only_channel_without_background() -> None:
    logits, target = batch(1)
    assert losses.dice(logits, target, include_background=False) == losses.dice(logits, target)


def test_absent_class_costs_what_is_predicted_of_it() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    nothing, one_pixel = torch.full((2, 1, 1, 2, 2), -100.0)
    one_pixel[0, 0, 0, 0] = 100.0
    assert losses.dice(nothing, target) == 0
    assert losses.dice(one_pixel, target) == 0.5  # 1 - 1 / (1 + 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_even_tversky_is_dice(channels: int) -> None:
    logits, target = batch(channels)
    expected = losses.dice(logits, target).item()
    assert losses.tversky(logits, target, alpha=0.5, beta=0.5) == pytest.approx(expected, rel=1e-12)
    without = losses.dice(logits, target, smooth=0).item()
    assert losses.tversky(logits, target, alpha=0.5, beta=0.5, smooth=0) == pytest.approx(without, rel=1e-12)


def test_tversky_prices_false_positives_by_alpha_and_misses_by_beta() -> None:
    """Two hits, one false positive, three misses, all sure."""
    target = torch.tensor([[[1, 1, 1, 1, 1, 0, 0]]])
    logits = 100.0 * torch.tensor([[[[1, 1, -1, -1, -1, 1, -1]]]])
    expected = 1 - (2 + 1) / (2 + 0.3 * 1 + 0.7 * 3 + 1)
    assert losses.tversky(logits, target, alpha=0.3, beta=0.7, smooth=1) == pytest.approx(expected)
    index = (2 + 0.5) / (2 + 0.3 * 1 + 0.7 * 3 + 0.5)
    assert losses.focal_tversky(logits, target) == pytest.approx((1 - index) ** 0.75)


def test_focal_tversky_with_gamma_one_is_tversky() -> None:
    logits, target = batch(3)
    expected = losses.tversky(logits, target, alpha=0.3, beta=0.7)
    assert losses.focal_tversky(logits, target, gamma=1) == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OVERLAP)
def test_loss_of_a_batch_is_the_mean_of_its_images(name: str, channels: int) -> None:
    loss = getattr(losses, name)
    logits, target = batch(channels)
    target[0, :3] = 255  # images with different numbers of known pixels
    target[1] = 255
    rows = [loss(logits[i : i + 1], target[i : i + 1]).item() for i in range(3)]
    assert rows[1] == 0
    assert loss(logits, target) == pytest.approx(sum(rows) / 3, rel=1e-12)
    pooled = loss(logits.movedim(0, 1).flatten(1, 2)[None], target.flatten(0, 1)[None]).item()  # one tall image
    assert loss(logits, target, reduce="batch") == pytest.approx(pooled, rel=1e-12)
    assert loss(logits, target) != pytest.approx(pooled, rel=1e-6)


def test_combined_losses_are_their_sums() -> None:
    logits, target = batch(3)
    knobs = {"smooth": 1e-5, "reduce": "batch"}
    ce, bce, dice = losses.ce(logits, target), losses.bce(logits, target), losses.dice(logits, target, **knobs)
    focal = losses.focal(logits, target, alpha=0.5, gamma=3)
    assert losses.bce_dice(logits, target, **knobs) == bce + dice
    assert losses.ce_dice(logits, target, **knobs) == pytest.approx((0.7 * ce + 0.3 * dice).item())
    assert losses.ce_dice(logits, target, alpha=0.2, **knobs) == pytest.approx((0.2 * ce + 0.8 * dice).item())
    assert losses.dice_focal(logits, target, alpha=0.5, gamma=3, **knobs) == dice + focal


# build_loss and messages


@pytest.mark.parametrize("name", NAMES)
def test_build_loss_gives_every_loss(name: str) -> None:
    logits, target = batch(3)
    built = losses.build_loss(name, ignore_index=0)
    assert built(logits, target) == getattr(losses, name)(logits, target, ignore_index=0)


def test_build_loss_takes_knobs() -> None:
    logits, target = batch(3)
    built = losses.build_loss("ce", class_weights=[1, 2, 3])
    assert built(logits, target) == losses.ce(logits, target, class_weights=[1, 2, 3])


@pytest.mark.parametrize(
    ("name", "knobs", "words"),
    [
        ("dise", {}, r"loss must be one of bce, .*; got 'dise'\. Did you mean 'dice'\?"),
        ("build_loss", {}, "loss must be one of"),
        ("dice", {"smoth": 1}, r"knob of loss dice must be one of .*; got 'smoth'\. Did you mean 'smooth'\?"),
        ("ce", {"logits": 1}, "knob of loss ce must be one of class_weights, ignore_index; got 'logits'"),
        ("dice", {"reduce": "mean"}, "reduce must be one of batch, image; got 'mean'"),
        ("dice", {"smooth": -1}, "smooth must be a number at least 0; got -1"),
        ("tversky", {"beta": "big"}, "beta must be a number at least 0; got 'big'"),
        ("tversky", {"alpha": math.nan}, "alpha must be a number at least 0; got nan"),
        ("focal", {"gamma": -2}, "gamma must be a number at least 0; got -2"),
        ("focal", {"gamma": math.inf}, "gamma must be a number at least 0; got inf"),
        ("focal", {"alpha": 2}, r"alpha must be a number in \[0, 1\]; got 2"),
        ("ce_dice", {"alpha": 1.5}, r"alpha must be a number in \[0, 1\]; got 1.5"),
        ("focal_tversky", {"gamma": 0}, "gamma must be a number at least 0.001; got 0"),
    ],
)
def test_build_loss_refuses_with_a_clear_word(name: str, knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        losses.build_loss(name, **knobs)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_and_labels_are_named(name: str) -> None:
    loss = getattr(losses, name)
    logits, target = batch(2)
    with pytest.raises(ValueError, match=r"target must have shape \(3, 6, 7\), that of the logits; got \(3, 6, 6\)"):
        loss(logits, target[:, :, :6])
    with pytest.raises(ValueError, match=r"target must have shape"):
        loss(logits, target[:, None])
    with pytest.raises(ValueError, match=r"logits must be float \(N, K, H, W\).*\(3, 6, 7\)"):
        loss(logits[:, 0], target)
    with pytest.raises(ValueError, match="logits must be float .*int64"):
        loss(logits.long(), target)
    with pytest.raises(ValueError, match="not empty"):
        loss(logits[:0], target[:0])
    with pytest.raises(ValueError, match="target must hold integer class indices; got torch.float32"):
        loss(logits, target.float())
    with pytest.raises(ValueError, match="target must hold classes 0 to 1, or 255; got 0 to 200"):
        loss(logits, torch.where(target == 1, 200, target))
    with pytest.raises(ValueError, match="got -1 to 1"):
        loss(logits, torch.where(target == 0, -1, target))


def test_class_weights_need_one_number_per_class() -> None:
    logits, target = batch(3)
    with pytest.raises(ValueError, match=r"class_weights must hold max\(2, K\) = 3 numbers; got \[1, 2\]"):
        losses.ce(logits, target, class_weights=[1, 2])
    assert losses.ce(logits, target, class_weights=[0, 0, 0]) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_agrees_with_the_cpu(name: str) -> None:
    logits, target = batch(3)
    target[0, 0] = 255
    loss = getattr(losses, name)
    assert loss(logits.cuda(), target.cuda()).item() == pytest.approx(loss(logits, target).item(), rel=1e-10)
