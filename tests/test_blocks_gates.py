"""Gates against their definitions, worked out in numpy, and against published parameter counts."""

import numpy as np
import pytest
import torch
from torch import nn

from seglab.blocks import (
    AttentionGate,
    AttentionMap,
    BoundaryMap,
    BoundaryReverseAttention,
    ReverseAttention,
    ReverseMap,
    foreground,
)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gates_of(module: nn.Module) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    for part in module.modules():
        if isinstance(part, AttentionMap):
            part.register_forward_hook(lambda _module, _inputs, gate: seen.append(gate))
    return seen


def test_attention_gate_equals_its_definition() -> None:
    block = AttentionGate(6, 4, 3).double()
    x, gate = drawn(2, 6, 5, 7), drawn(2, 4, 5, 7, seed=1)
    weights = {key: value.numpy()[:, :, 0, 0] for key, value in block.state_dict().items() if value.ndim == 4}
    biases = {key: value.numpy() for key, value in block.state_dict().items() if value.ndim == 1}
    assert set(biases) == {"of_gate.0.bias", "psi.0.bias"}
    q = np.einsum("oc,nchw->nohw", weights["of_skip.0.weight"], x.numpy())
    q += np.einsum("oc,nchw->nohw", weights["of_gate.0.weight"], gate.numpy())
    q = np.maximum(q + biases["of_gate.0.bias"][:, None, None], 0)
    scores = np.einsum("oc,nchw->nohw", weights["psi.0.weight"], q) + biases["psi.0.bias"]
    np.testing.assert_allclose(block(x, gate).detach().numpy(), x.numpy() * sigmoid(scores), atol=1e-6)


def test_attention_gate_with_normalisation_has_the_parameters_of_its_formula() -> None:
    for c in (64, 128, 256, 512):
        assert parameters(AttentionGate(c, c, norm=True)) == c * c + 2 * c + c // 2 + 2
        assert parameters(AttentionGate(c, c)) == c * c + c // 2 + c // 2 + 1


def test_coarse_gate_is_enlarged_to_the_skip() -> None:
    block, x = AttentionGate(6, 4, stride=2), torch.rand(2, 6, 8, 12)
    seen = gates_of(block)
    out = block(x, torch.rand(2, 4, 4, 6))
    assert seen[0].shape == (2, 1, 8, 12)
    torch.testing.assert_close(out, x * seen[0])


@pytest.mark.parametrize("norm", [True, False])
def test_attention_gate_can_open_and_close(norm: bool) -> None:
    block, x = AttentionGate(6, 4, norm=norm).eval(), torch.rand(1, 6, 4, 4)
    bias = block.psi[-1].bias
    for value, factor in ((20.0, 1.0), (-20.0, 0.0)):
        nn.init.constant_(bias, value)
        torch.testing.assert_close(block(x, torch.zeros(1, 4, 4, 4)), factor * x, atol=1e-5, rtol=0)


def test_reverse_attention_has_the_parameters_of_pranets_three_branches() -> None:
    with torch.device("meta"):
        deepest = ReverseAttention(2048, 256, kernel_size=5, depth=3, out_kernel_size=1)
        others = [ReverseAttention(1024, 64), ReverseAttention(512, 64)]
    assert [parameters(branch) for branch in (deepest, *others)] == [5_441_794, 140_226, 107_458]


@pytest.mark.parametrize("classes", [1, 3])
def test_reverse_attention_equals_its_definition(classes: int) -> None:
    block = ReverseAttention(4, 3, kernel_size=1, depth=1, out_kernel_size=1, num_classes=classes).double().eval()
    features, coarse = drawn(2, 4, 5, 7), drawn(2, classes, 5, 7, seed=1)
    p = {key: value.numpy() for key, value in block.state_dict().items()}
    z = coarse.numpy()
    absent = 1 - sigmoid(z) if classes == 1 else (np.exp(z) / np.exp(z).sum(1, keepdims=True))[:, :1]
    x = features.numpy() * absent
    for layer, relu in (("convs.0", False), ("convs.2", True), ("convs.5", False)):
        x = np.einsum("oc,nchw->nohw", p[f"{layer}.weight"][:, :, 0, 0], x) / np.sqrt(1 + 1e-5)  # fresh normalisation
        x = np.maximum(x, 0) if relu else x
    np.testing.assert_allclose(block(features, coarse).detach().numpy(), z + x, atol=1e-6)


def test_reverse_attention_leaves_a_mask_that_sees_everything() -> None:
    block = ReverseAttention(4, 3).eval()
    full = torch.full((1, 1, 3, 3), 100.0)
    torch.testing.assert_close(block(torch.rand(1, 4, 6, 6), full), torch.full((1, 1, 6, 6), 100.0))


def test_reverse_attention_enlarges_the_coarse_mask() -> None:
    block = ReverseAttention(4, 3).eval()
    nn.init.zeros_(block.convs[-1].weight)  # nothing to correct
    coarse = torch.tensor([[[[0.0, 4.0]]]])
    enlarged = torch.tensor([0.0, 1.0, 3.0, 4.0]).expand(1, 1, 2, 4)  # bilinear, corners not aligned
    torch.testing.assert_close(block(torch.rand(1, 4, 2, 4), coarse), enlarged)


def test_reverse_and_boundary_maps_on_five_pixels() -> None:
    p = torch.tensor([0.0001, 0.25, 0.5, 0.75, 0.9999], dtype=torch.float64)[None, None, None]
    logits = p.logit()
    torch.testing.assert_close(ReverseMap()(logits), 1 - p)
    hat = torch.tensor([0.0002, 0.5, 1.0, 0.5, 0.0002], dtype=torch.float64)[None, None, None]
    torch.testing.assert_close(BoundaryMap("sigmoid")(logits), hat)
    means = torch.tensor([0.12505, 0.25003333, 0.5, 0.74996667, 0.87495], dtype=torch.float64)[None, None, None]
    torch.testing.assert_close(BoundaryMap("pool", 3)(logits), (p - means).abs(), atol=1e-6, rtol=0)


def test_pooled_boundary_of_a_flat_map_is_nowhere_even_at_the_border() -> None:
    assert BoundaryMap("pool", 5)(torch.full((1, 1, 6, 9), 2.0)).abs().max() < 1e-6


def test_foreground_of_two_classes_is_the_sigmoid_of_their_difference() -> None:
    logits = drawn(2, 2, 3, 4)
    torch.testing.assert_close(foreground(logits), (logits[:, 1:] - logits[:, :1]).sigmoid())


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("boundary", ["sigmoid", "pool", "none"])
def test_boundary_reverse_attention_equals_its_definition(reverse: bool, boundary: str) -> None:
    block = BoundaryReverseAttention(4, 3, reverse=reverse, boundary=boundary, pool_size=3).double().eval()
    skip, up = drawn(2, 4, 6, 5), drawn(2, 3, 6, 5, seed=1)
    attended, coarse = block(skip, up)
    weight, bias = (value.detach().numpy() for value in block.coarse.parameters())
    z = np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], up.numpy()) + bias
    np.testing.assert_allclose(coarse.detach().numpy(), z, atol=1e-6)
    p, gain = sigmoid(z), np.ones_like(z)
    if reverse:
        gain += 1 - p
    if boundary == "sigmoid":
        gain += 1 - np.abs(2 * p - 1)
    if boundary == "pool":
        around = np.zeros_like(p)
        for row in range(6):
            for column in range(5):
                rows, columns = slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2)
                around[..., row, column] = p[..., rows, columns].mean((-2, -1))
        gain += np.abs(p - around)
    expected = block.convs(torch.from_numpy(skip.numpy() * gain))
    torch.testing.assert_close(attended, expected, atol=1e-6, rtol=0)


def test_maps_are_marked_and_lie_between_0_and_1() -> None:
    block = BoundaryReverseAttention(4, 3, 2)
    seen = gates_of(block)
    block(torch.randn(2, 4, 6, 5), 100 * torch.randn(2, 3, 6, 5))
    assert [gate.shape for gate in seen] == [(2, 1, 6, 5)] * 2
    assert all(gate.min() >= 0 and gate.max() <= 1 for gate in seen)


def test_maps_that_are_switched_off_are_not_there() -> None:
    block = BoundaryReverseAttention(4, 3, reverse=False, boundary=None)
    assert not any(isinstance(module, AttentionMap) for module in block.modules())


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: BoundaryMap("pool", 4), "pool_size must be odd and at least 1; got 4"),
        (lambda: BoundaryMap("edge"), "kind must be one of pool, sigmoid; got 'edge'"),
        (lambda: BoundaryReverseAttention(4, 4, boundary="sigmiod"), "boundary must be one of .* Did you mean 'sigm"),
        (lambda: BoundaryReverseAttention(4, 4, boundary="pool", pool_size=0), "pool_size must be odd"),
    ],
)
def test_wrong_values_are_named(build: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()
