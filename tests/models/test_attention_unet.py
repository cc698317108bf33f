"""Attention U-Net: published parameter count, and gates that decide what of a skip passes."""

import pytest
import torch
from torch import nn

from seglab.blocks import AttentionGate, AttentionMap
from seglab.models import build_model


def test_parameters_are_the_published_number_with_the_biases_that_normalisation_cancels() -> None:
    with torch.device("meta"):  # counting needs no memory
        with_biases, without = (build_model("attention_unet", 1, biases=biases) for biases in (True, False))
    cancelled = sum(
        conv.out_channels for conv in without.modules() if isinstance(conv, nn.Conv2d) and conv.bias is None
    )
    counts = [sum(p.numel() for p in model.parameters()) for model in (with_biases, without)]
    assert counts == [34_878_573, 34_878_573 - cancelled]
    assert cancelled == 7812


def test_biases_change_nothing_but_the_number_of_parameters() -> None:
    torch.manual_seed(0)
    net, image = build_model("attention_unet", 1, width=4, biases=False).train(), torch.rand(2, 3, 32, 32)
    twin = build_model("attention_unet", 1, width=4).train()
    twin.load_state_dict(net.state_dict(), strict=False)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if name not in dict(net.named_parameters()):
                parameter.add_(torch.rand_like(parameter))
        torch.testing.assert_close(twin(image), net(image), atol=1e-4, rtol=1e-4)


def test_it_is_a_unet_with_four_gates() -> None:
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in build_model(name, 1, upsampling=up, **knobs).parameters())
            for up in ("convolution", "transposed")
            for name, knobs in (("unet", {}), ("attention_unet", {"biases": False}))
        ]
    gates = sum(c * c + 2 * c + c // 2 + 2 for c in (64, 128, 256, 512))
    assert counts[1] - counts[0] == counts[3] - counts[2] == gates


@pytest.mark.parametrize(("name", "billions"), [("unet", 65.35), ("attention_unet", 66.42)])
def test_multiplications_for_256_pixels_are_the_published_number(name: str, billions: float) -> None:
    total = 0

    def count(module: nn.Module, _inputs: object, out: torch.Tensor) -> None:
        nonlocal total
        total += out.numel() * module.weight[0].numel()

    with torch.device("meta"):
        net = build_model(name, 1, upsampling="convolution").net
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(count)
        net(torch.empty(1, 3, 256, 256))
    assert total / 1e9 == pytest.approx(billions, abs=0.006)


@pytest.mark.parametrize("upsampling", ["convolution", "transposed", "bilinear"])
def test_each_skip_has_a_gate_of_its_own_size(upsampling: str) -> None:
    net, shapes = build_model("attention_unet", 2, width=4, upsampling=upsampling).net.eval(), []
    for module in net.modules():
        if isinstance(module, AttentionMap):
            module.register_forward_hook(lambda _module, _inputs, gate: shapes.append(tuple(gate.shape)))
    net(torch.rand(2, 3, 64, 32))
    assert shapes == [(2, 1, 8, 4), (2, 1, 16, 8), (2, 1, 32, 16), (2, 1, 64, 32)]


def test_closed_gates_leave_nothing_of_the_skips() -> None:
    torch.manual_seed(0)
    net, joined = build_model("attention_unet", 1, width=4).net.eval(), []
    for level in net.decoder.levels:
        level.block.register_forward_hook(lambda _module, inputs, _out: joined.append(inputs[0]))
    open_logits = net(torch.rand(1, 3, 32, 32))
    for module in net.modules():
        if isinstance(module, AttentionGate):
            nn.init.constant_(module.psi[-1].bias, -1e4)
    joined.clear()
    assert open_logits.shape == net(torch.rand(1, 3, 32, 32)).shape
    assert all(each[:, : each.shape[1] // 2].abs().max() == 0 for each in joined)
    assert all(each[:, each.shape[1] // 2 :].abs().max() > 0 for each in joined)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"width": 3}, "width must be an integer of at least 4; got 3"),
        ({"upsampling": "nearest"}, "upsampling must be one of bilinear, convolution, transposed; got 'nearest'"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("attention_unet", 2, **knobs)
