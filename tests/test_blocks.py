"""Blocks against their definitions, worked out in numpy, and against published parameter counts."""

import numpy as np
import pytest
import torch
from torch import nn

from seglab.blocks import (
    CBAM,
    AttentionMap,
    CBAMPlacement,
    ChannelAttention,
    ConvBlock,
    LoneSkip,
    SpatialAttention,
    UNetDecoder,
)

STYLES = ("original", "compact")


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def fresh(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in double precision with every parameter and statistic drawn anew, none of them special."""
    rng = torch.Generator().manual_seed(seed)
    for name, value in module.double().state_dict().items():
        if value.is_floating_point():
            value.copy_(
                torch.rand(value.shape, generator=rng) + 0.5
                if "var" in name
                else torch.randn(value.shape, generator=rng)
            )
    return module.eval()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cbam_by_hand(x: np.ndarray, p: dict[str, np.ndarray], style: str, kernel_size: int) -> np.ndarray:
    """Equations 1 to 3 of Woo et al. with the normalisation and the biases of their code, or without them."""
    original = style == "original"

    def mlp(v: np.ndarray) -> np.ndarray:
        hidden = v @ p["channel.mlp.0.weight"].T + (p["channel.mlp.0.bias"] if original else 0)
        return np.maximum(hidden, 0) @ p["channel.mlp.2.weight"].T + (p["channel.mlp.2.bias"] if original else 0)

    x = x * sigmoid(mlp(x.mean((2, 3))) + mlp(x.max((2, 3))))[:, :, None, None]
    pools = [x.max(1), x.mean(1)] if original else [x.mean(1), x.max(1)]
    pooled = np.stack(pools, 1)
    half = kernel_size // 2
    padded = np.pad(pooled, ((0, 0), (0, 0), (half, half), (half, half)))
    scores = np.zeros_like(pooled[:, 0])
    for row in range(scores.shape[1]):
        for column in range(scores.shape[2]):
            window = padded[:, :, row : row + kernel_size, column : column + kernel_size]
            scores[:, row, column] = (window * p["spatial.conv.weight"][0]).sum((1, 2, 3))
    if original:
        mean, var = p["spatial.norm.running_mean"], p["spatial.norm.running_var"]
        scores = (scores - mean) / np.sqrt(var + 1e-5) * p["spatial.norm.weight"] + p["spatial.norm.bias"]
    return x * sigmoid(scores)[:, None]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_cbam_equals_its_definition(style: str, kernel_size: int) -> None:
    block = fresh(CBAM(32, kernel_size=kernel_size, style=style))
    x = torch.randn(3, 32, 9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    by_hand = cbam_by_hand(x.numpy(), {k: v.numpy() for k, v in block.state_dict().items()}, style, kernel_size)
    np.testing.assert_allclose(block(x).detach().numpy(), by_hand, atol=1e-6)


def test_cbam_does_not_depend_on_memory_format() -> None:
    block, x = fresh(CBAM(32)), torch.randn(2, 32, 8, 5, dtype=torch.float64)
    torch.testing.assert_close(block(x.contiguous(memory_format=torch.channels_last)), block(x))


@pytest.mark.parametrize(("channels", "count"), [(64, 680), (128, 2284), (256, 8564), (512, 33412), (1024, 132260)])
def test_original_cbam_has_the_published_parameters(channels: int, count: int) -> None:
    assert parameters(CBAM(channels)) == parameters(CBAM(channels, 16, 7)) == count


@pytest.mark.parametrize(("channels", "count"), [(64, 1122), (128, 4194), (256, 16482), (512, 65634)])
def test_compact_cbam_has_ratio_8_and_no_biases(channels: int, count: int) -> None:
    assert parameters(CBAM(channels, style="compact")) == parameters(CBAM(channels, 8, style="compact")) == count


@pytest.mark.parametrize("style", STYLES)
def test_cbam_keeps_a_hidden_channel_on_narrow_maps(style: str) -> None:
    assert CBAM(4, style=style)(torch.rand(2, 4, 8, 8)).shape == (2, 4, 8, 8)


@pytest.mark.parametrize("style", STYLES)
def test_fresh_cbam_shrinks_its_input_and_residual_cbam_does_not(style: str) -> None:
    x = torch.rand(2, 64, 16, 16)
    assert CBAM(64, style=style)(x).mean() < 0.5 * x.mean()
    assert torch.equal(CBAM(64, style=style, residual=True)(x), x)


def test_residual_cbam_adds_alpha_times_the_attended_map() -> None:
    plain, residual, x = CBAM(16).eval(), CBAM(16, residual=True).eval(), torch.rand(1, 16, 8, 8)
    residual.load_state_dict(plain.state_dict() | {"alpha": torch.tensor(0.5)})
    torch.testing.assert_close(residual(x), x + 0.5 * plain(x))


def test_residual_cbam_learns_everywhere_once_alpha_has_left_0() -> None:
    torch.manual_seed(0)
    block, x, goal = CBAM(32, residual=True), torch.randn(4, 32, 8, 8), torch.randn(4, 32, 8, 8)
    optimiser = torch.optim.SGD(block.parameters(), lr=1.0)
    for _ in range(2):  # the first step moves alpha only
        optimiser.zero_grad()
        ((block(x) - goal) ** 2).mean().backward()
        first_alpha_grad = block.alpha.grad.clone()
        optimiser.step()
        assert first_alpha_grad != 0
    assert all(p.grad.abs().sum() > 0 for p in block.parameters())


@pytest.mark.parametrize("style", STYLES)
def test_gates_pass_through_attention_maps_of_the_promised_shapes(style: str) -> None:
    block, seen = CBAM(16, style=style), []
    for module in block.modules():
        if isinstance(module, AttentionMap):
            module.register_forward_hook(lambda _module, _inputs, gate: seen.append(gate))
    block(torch.randn(2, 16, 6, 5))
    assert [tuple(gate.shape) for gate in seen] == [(2, 16, 1, 1), (2, 1, 6, 5)]
    assert all(gate.min() > 0 and gate.max() < 1 for gate in seen)


def test_attention_gradients_are_right() -> None:
    block = fresh(CBAM(8, 4, 3))
    x = torch.randn(2, 8, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, x)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: CBAM(8, style="orignal"), "Did you mean 'original'"),
        (lambda: ChannelAttention(8, 0), "must be at least 1; got 8 and 0"),
        (lambda: ChannelAttention(0), "must be at least 1; got 0"),
        (lambda: SpatialAttention(4), "kernel_size must be odd and at least 1; got 4"),
        (lambda: SpatialAttention(7, "big"), "style must be one of compact, original; got 'big'"),
        (lambda: CBAMPlacement("skips"), "cbam must be one of .* Did you mean 'skip'"),
        (lambda: CBAMPlacement(["skip", 3]), "cbam must be one of .* got 3"),
        (lambda: CBAMPlacement(None), "cbam must be a place or several of .*; got None"),
        (lambda: CBAMPlacement((), "big"), "cbam_style must be one of"),
        (lambda: decoder("nearest"), "upsampling must be one of bilinear, convolution, transposed; got 'nearest'"),
    ],
)
def test_wrong_values_are_named(build: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


def test_conv_block_parameters_are_those_of_its_formula() -> None:
    assert parameters(ConvBlock(3, 8)) == 9 * 3 * 8 + 9 * 8 * 8 + 4 * 8
    assert parameters(ConvBlock(6, 8, 4)) == 9 * 6 * 4 + 9 * 4 * 8 + 2 * 4 + 2 * 8


def decoder(upsampling: str, skip: object = None) -> UNetDecoder:
    plain = CBAMPlacement()
    return UNetDecoder((4, 8, 16), (4, 8), upsampling=upsampling, skip=skip or plain.skip, attend=plain.decoder)


def features() -> list[torch.Tensor]:
    return [torch.rand(2, 4, 24, 16), torch.rand(2, 8, 12, 8), torch.rand(2, 16, 6, 4)]


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear", "convolution"])
def test_decoder_returns_one_map_per_level_coarsest_first(upsampling: str) -> None:
    maps = decoder(upsampling)(features())
    assert [tuple(m.shape) for m in maps] == [(2, 8, 12, 8), (2, 4, 24, 16)]


def test_decoder_shows_each_skip_its_neighbours() -> None:
    built, seen = [], []

    class Spy(LoneSkip):
        def forward(self, skip: torch.Tensor, deeper: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
            seen.append((skip.shape[1], deeper.shape[1], up.shape[1], skip.shape[2:] == up.shape[2:]))
            return super().forward(skip, deeper, up)

    def skip(*channels: int) -> nn.Module:
        built.append((*channels, True))
        return Spy(nn.Identity())

    decoder("transposed", skip)(features())
    assert built == seen == [(8, 16, 8, True), (4, 8, 4, True)]


def test_enlarged_maps_take_the_asked_channels() -> None:
    seen, plain = [], CBAMPlacement()

    def skip(*channels: int) -> nn.Module:
        seen.append(channels[-1])
        return LoneSkip(nn.Identity())

    wide = UNetDecoder((4, 8, 16), (4, 8), upsampling="transposed", skip=skip, attend=plain.decoder, up_channels=(4, 8))
    assert [tuple(m.shape) for m in wide(features())] == [(2, 8, 12, 8), (2, 4, 24, 16)]
    assert seen == [8, 4]
    assert parameters(wide.levels[0].up) == 4 * 16 * 8 + 8


def test_up_convolution_halves_the_channels_and_keeps_constants_constant() -> None:
    level = decoder("convolution").levels[0].eval()
    assert parameters(level.up) == 9 * 16 * 8 + 2 * 8
    doubled = level.up(torch.ones(1, 16, 6, 6))
    assert doubled.shape == (1, 8, 12, 12)
    torch.testing.assert_close(doubled[..., 1:-1, 1:-1], doubled[..., 5:6, 5:6].expand(1, 8, 10, 10))


def test_decoder_needs_one_width_per_level() -> None:
    plain = CBAMPlacement()
    with pytest.raises(ValueError, match="zip"):
        UNetDecoder((4, 8, 16), (4,), upsampling="bilinear", skip=plain.skip, attend=plain.decoder)
