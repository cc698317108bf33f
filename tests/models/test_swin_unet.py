"""Swin-Unet: published parameter count, stage shapes, and windows that see what they should and nothing else."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import swin_transformer

from seglab.models import build_model
from seglab.models._swin import SwinBlock, WindowAttention
from seglab.models.swin_unet import PatchExpanding, build

SMALL = {"embed": 8, "heads": 1}
DEEP_BLOCK = 12 * 384**2 + 13 * 384 + 13**2 * 12  # parameters of a block of 384 channels and 12 heads


@pytest.mark.parametrize(
    ("num_classes", "knobs", "count"),
    [
        (2, {}, 27_168_228),
        (1, {}, 27_168_228 - 96),
        (2, {"depths": (2, 2, 6, 2)}, 27_168_228 + 8 * DEEP_BLOCK),  # four more on the way down, four on the way up
    ],
)
def test_parameters_are_the_published_number(num_classes: int, knobs: dict[str, object], count: int) -> None:
    with torch.device("meta"):  # counting needs no memory
        model = build_model("swin_unet", num_classes, **knobs)
    assert sum(p.numel() for p in model.parameters()) == count


def test_encoder_is_torchvisions_swin_without_its_classifier() -> None:
    with torch.device("meta"):
        ours = build_model("swin_unet", 2, depths=(2, 2, 6, 2)).encoder.state_dict()
        theirs = swin_transformer.swin_t().state_dict()
    index = {key for key in theirs if key.endswith("relative_position_index")}
    assert set(ours) == set(theirs) - index - {"head.weight", "head.bias"}
    assert all(ours[key].shape == theirs[key].shape for key in ours)


def test_maps_halve_and_channels_double_on_the_way_down_and_back_on_the_way_up() -> None:
    net = build(2, **SMALL).eval()
    shapes: list[tuple[int, ...]] = []
    for level in net.levels:
        level.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        down = [tuple(x.shape[1:]) for x in net.encoder(torch.rand(1, 3, 64, 96))]
        net(torch.rand(1, 3, 64, 96))
    assert down == [(16, 24, 8), (8, 12, 16), (4, 6, 32), (2, 3, 64)]
    assert shapes == down[-2::-1]


def test_heads_are_32_wide_and_every_second_block_is_shifted_by_half_a_window() -> None:
    with torch.device("meta"):
        net = build(2)
    blocks = [module for module in net.modules() if isinstance(module, SwinBlock)]
    assert len(blocks) == 14
    assert all(block.norm1.normalized_shape[0] == 32 * block.attn.heads for block in blocks)
    assert [block.attn.shift for block in blocks] == [0, 3] * 7


def brute_force(attention: WindowAttention, x: Tensor) -> Tensor:
    """Attention of every pixel to every pixel of a map (H, W, C), all but those of its own window struck out."""
    height, width, channels = x.shape
    window, heads = attention.window, attention.heads
    shift = [attention.shift if size > window else 0 for size in (height, width)]
    pixels = [(row, column) for row in range(height) for column in range(width)]
    q, k, v = attention.qkv(x.flatten(0, 1)).chunk(3, dim=-1)
    scores = torch.full((heads, len(pixels), len(pixels)), float("-inf"))
    for i, (row, column) in enumerate(pixels):
        for j, (r, c) in enumerate(pixels):
            same = (row - shift[0]) // window == (r - shift[0]) // window
            if same and (column - shift[1]) // window == (c - shift[1]) // window:
                offset = (row - r + window - 1) * (2 * window - 1) + column - c + window - 1
                for head in range(heads):
                    part = slice(head * channels // heads, (head + 1) * channels // heads)
                    similar = q[i, part] @ k[j, part] / (channels // heads) ** 0.5
                    scores[head, i, j] = similar + attention.relative_position_bias_table[offset, head]
    weights = scores.softmax(dim=-1)
    parts = [weights[head] @ part for head, part in enumerate(v.chunk(heads, dim=-1))]
    return attention.proj(torch.cat(parts, dim=-1)).unflatten(0, (height, width))


@pytest.mark.parametrize("shift", [0, 1, 2])
@pytest.mark.parametrize("size", [(6, 6), (5, 7), (2, 3), (2, 8), (7, 3), (1, 4)])
@torch.no_grad()
def test_a_pixel_attends_to_its_own_window_only(size: tuple[int, int], shift: int) -> None:
    torch.manual_seed(0)
    attention = WindowAttention(4, heads=2, window=3, shift=shift)
    torch.nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(2, *size, 4)
    torch.testing.assert_close(attention(x), torch.stack([brute_force(attention, each) for each in x]))


@torch.no_grad()
def test_shifted_windows_join_what_plain_windows_part() -> None:
    torch.manual_seed(0)
    plain, shifted = (WindowAttention(2, heads=1, window=4, shift=shift) for shift in (0, 2))
    x = torch.randn(1, 8, 8, 2)
    touched = x.clone()
    touched[0, 3, 3] += 1
    for attention, reach in ((plain, slice(0, 4)), (shifted, slice(2, 6))):
        changed = (attention(x) != attention(touched)).any(dim=-1)[0]
        inside = torch.zeros(8, 8, dtype=torch.bool)
        inside[reach, reach] = True
        assert torch.equal(changed, inside)


@pytest.mark.parametrize(("shift", "size"), [(0, 14), (3, 14), (3, 21), (0, 7)])
@torch.no_grad()
def test_block_computes_what_torchvisions_does(shift: int, size: int) -> None:
    torch.manual_seed(0)
    theirs = swin_transformer.SwinTransformerBlock(8, 2, window_size=[7, 7], shift_size=[shift, shift]).eval()
    ours = SwinBlock(8, heads=2, window=7, shift=shift)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if "index" not in key})
    x = torch.randn(2, size, size, 8)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@torch.no_grad()
def test_encoder_takes_torchvisions_weights_and_leaves_out_the_blocks_it_lacks(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    theirs = swin_transformer.SwinTransformer([4, 4], 8, [2, 2, 6, 2], [1, 2, 4, 8], [2, 2]).eval()
    path = tmp_path / f"swin{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(theirs.state_dict(), path)
    picture = torch.rand(1, 3, 64, 64)
    full = build(2, **SMALL, window=2, depths=(2, 2, 6, 2), weights=path).encoder
    torch.testing.assert_close(full(picture)[-1], theirs.norm(theirs.features(picture)), atol=1e-5, rtol=1e-5)
    theirs.features[5] = theirs.features[5][:2]
    short = build(2, **SMALL, window=2, weights=path).encoder
    torch.testing.assert_close(short(picture)[-1], theirs.norm(theirs.features(picture)), atol=1e-5, rtol=1e-5)


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "swin.pth"
    torch.save(build(2, embed=4, heads=1).encoder.state_dict(), path)
    with pytest.raises(ValueError, match=r"must hold features.0.0.weight as \(8, 3, 4, 4\); got \(4, 3, 4, 4\)"):
        build(2, **SMALL, weights=path)
    with pytest.raises(FileNotFoundError, match=r"must be an existing file or .* got .*no\.pth"):
        build(2, **SMALL, weights=tmp_path / "no.pth")


@torch.no_grad()
def test_expanding_puts_each_pixel_where_it_was() -> None:
    torch.manual_seed(0)
    expanding = PatchExpanding(4, 3, scale=2)
    x = torch.randn(1, 3, 5, 4)
    out = expanding(x)
    for row in range(6):
        for column in range(10):
            place = 2 * (row % 2) + column % 2
            vector = expanding.expand.weight[3 * place : 3 * place + 3] @ x[0, row // 2, column // 2]
            torch.testing.assert_close(out[0, row, column], expanding.norm(vector))


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"embed": 8}, "embed must be a multiple of heads and both at least 1; got 8 and 3"),
        ({"embed": 8.0, "heads": 1}, "embed must be a multiple .* got 8.0 and 1"),
        ({"heads": 0}, "embed must be a multiple .* got 96 and 0"),
        ({"depths": (2, 2, 2)}, r"depths must be four integers of at least 1; got \(2, 2, 2\)"),
        ({"depths": (2, 2, 0, 2)}, r"depths must be .* got \(2, 2, 0, 2\)"),
        ({"depths": 2}, "depths must be .* got 2"),
        ({"window": 1}, "window must be an integer of at least 2; got 1"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("swin_unet", 2, **knobs)
