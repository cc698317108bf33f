"""Reverse-attention U-Net: the printed size, five outputs in training, and switches that switch."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seglab.blocks import AttentionMap, BoundaryMap, ReverseMap
from seglab.models import Segmenter, build_model

OFF: dict[str, object] = {"reverse": False, "boundary": "none", "deep_supervision": False}


def small(num_classes: int = 1, **knobs: object) -> Segmenter:
    torch.manual_seed(0)
    return build_model("reverse_attention_unet", num_classes, width=4, **knobs)


def parameters(**knobs: object) -> int:
    with torch.device("meta"):  # counting needs no memory
        return sum(p.numel() for p in build_model("reverse_attention_unet", 1, **knobs).parameters())


def test_size_is_the_printed_48_million() -> None:
    skips = sum(2 * 25 * c * c + 4 * c for c in (64, 128, 256, 512))  # two 5x5 convolutions with normalisation
    masks = sum(c + 1 for c in (64, 128, 256, 512))
    assert parameters() == 31_037_633 + skips + masks == 48_450_437
    assert round(parameters() / 1e6) == 48


def test_smaller_convolutions_and_missing_masks_change_the_size_as_computed() -> None:
    assert parameters() - parameters(kernel_size=3) == sum(2 * 16 * c * c for c in (64, 128, 256, 512))
    assert parameters() - parameters(**OFF) == sum(c + 1 for c in (64, 128, 256, 512))


@pytest.mark.parametrize("classes", [1, 3])
def test_training_returns_five_logits_of_the_pictures_size_main_first(classes: int) -> None:
    model, images = small(classes), torch.rand(2, 3, 48, 33)
    heads: list[Tensor] = []
    model.net.head.register_forward_hook(lambda _module, _inputs, out: heads.append(out))
    outputs = model.train()(images)
    assert [tuple(each.shape) for each in outputs] == [(2, classes, 48, 33)] * 5
    assert torch.equal(outputs[0], heads[0][..., :33])
    assert small(classes).eval()(images).shape == (2, classes, 48, 33)
    assert small(classes, deep_supervision=False).train()(images).shape == (2, classes, 48, 33)


def test_side_logits_are_the_masks_that_guide_the_skips_finest_first() -> None:
    net, masks = small().net.train(), []
    for level in net.decoder.levels:  # from the deepest
        level.skip.block.coarse.register_forward_hook(lambda _module, _inputs, out: masks.append(out))
    sides = net(torch.rand(2, 3, 64, 64))[1:]
    assert [mask.shape[-1] for mask in masks] == [8, 16, 32, 64]
    assert torch.equal(sides[0], masks[3])
    for side, mask in zip(sides, masks[::-1], strict=True):
        torch.testing.assert_close(side, F.interpolate(mask, (64, 64), mode="bilinear", align_corners=False))


def test_every_setting_of_the_maps_gives_logits_of_its_own() -> None:
    images = torch.rand(1, 3, 32, 32)
    settings = [
        {},
        {"reverse": False},
        {"boundary": "pool"},
        {"boundary": "none"},
        {"reverse": False, "boundary": "none"},
        {"reverse": False, "boundary": "pool"},
    ]
    with torch.no_grad():
        logits = [small(**knobs).eval()(images) for knobs in settings]
    for number, one in enumerate(logits):
        for other in logits[:number]:
            assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("knobs", "reverse", "boundary"),
    [({}, 4, 4), ({"reverse": False}, 0, 4), ({"boundary": "none"}, 4, 0), ({"boundary": None}, 4, 0), (OFF, 0, 0)],
)
def test_switches_remove_their_maps(knobs: dict[str, object], reverse: int, boundary: int) -> None:
    modules = list(small(**knobs).modules())
    assert sum(isinstance(module, ReverseMap) for module in modules) == reverse
    assert sum(isinstance(module, BoundaryMap) for module in modules) == boundary
    assert sum(isinstance(module, AttentionMap) for module in modules) == reverse + boundary


def test_supervision_alone_does_not_change_what_is_predicted() -> None:
    images, bare = torch.rand(1, 3, 32, 32), small(**OFF)
    taught = small(**(OFF | {"deep_supervision": True}))
    state = {key.replace(".skip.block.convs.", ".skip.block.1."): value for key, value in taught.state_dict().items()}
    bare.load_state_dict({key: value for key, value in state.items() if ".coarse." not in key})
    with torch.no_grad():
        torch.testing.assert_close(bare.eval()(images), taught.eval()(images))


@pytest.mark.parametrize("knobs", [OFF, {"boundary": "pool"}, {"reverse": False, "boundary": "none"}])
def test_every_setting_teaches_every_parameter(knobs: dict[str, object]) -> None:
    model = small(2, **knobs).train()
    out = model(torch.rand(2, 3, 64, 64))
    sum(each.square().mean() for each in ([out] if isinstance(out, Tensor) else out)).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"width": 2}, "width must be an integer of at least 4; got 2"),
        ({"kernel_size": 4}, "kernel_size must be odd; got 4"),
        ({"kernel_size": 0}, "kernel_size must be an integer of at least 1; got 0"),
        ({"boundary": "edge"}, "boundary must be one of none, pool, sigmoid; got 'edge'"),
        ({"upsampling": "nearest"}, "upsampling must be one of"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("reverse_attention_unet", 2, **knobs)
