"""Lesson 3: the way up of a U-Net, and how many numbers it learns."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from seglab.blocks import DecoderLevel
from seglab.contract import to_mask
from seglab.data import load_dataset
from seglab.losses import build_loss
from seglab.models.unet import UNet, build
from seglab.teach._check import expect

__all__ = ["expectations"]

Modules = Sequence[nn.Module]
Decode = Callable[[Sequence[Tensor], Modules, Modules], Tensor]
STEPS, ALIKE = 30, 0.9  # what a U-Net with all its parts does with four pictures; Dice


def expectations(decode: Decode, parameters: Callable[[int, int], int]) -> None:
    """Shapes first, then values, who is heard, learning; then the count at four widths and three depths.

    Args:
        decode: Takes encoder maps, finest first, and the modules that enlarge and join at each level, finest first;
            returns the finest map of the decoder.
        parameters: Takes width and depth; returns the number of learned numbers.
    """
    torch.manual_seed(0)
    net = build(1, width=4).eval()
    _expect_decoder(net, decode)
    expect(
        _learns(build(1, width=8), decode),
        f"a U-Net with your decoder did not learn four pictures by heart in {STEPS} steps.",
    )
    expect(
        parameters(4, 0) == 9 * 3 * 4 + 9 * 4 * 4 + 16 + 5,
        "width 4 and depth 0 is one block 3 -> 4 and the head: 108 + 144 + 16 + 5 = 273.",
        "A block a -> b has 9ab + 9bb weights and two normalisations with 2b numbers each. The head has width + 1.",
    )
    expect(
        parameters(4, 1) == 273 + (288 + 576 + 32) + (8 * 4 * 4 + 4) + (288 + 144 + 16),
        "width 4 and depth 1 has 1,749: the 273 before, a block 4 -> 8, an up-sampling 8 -> 4, and a block 8 -> 4.",
        "A 2x2 up-sampling a -> b has 4ab weights and b biases.",
    )
    for width in (4, 8, 16, 64):
        expect(
            parameters(width, 4) == sum(p.numel() for p in build(1, width=width).parameters()),
            f"width {width} at depth 4 has another number.",
            "At each level the finer map has half of the channels of the deeper one: start with fine = width.",
        )


def _expect_decoder(net: UNet, decode: Decode) -> None:
    """One step up, then all four, then that every map is heard."""
    levels = cast(list[DecoderLevel], list(net.decoder.levels)[::-1])  # finest first
    ups, joins = [level.up for level in levels], [level.block for level in levels]
    maps = net.encode(torch.rand(2, 3, 48, 32))
    one = decode(maps[:2], ups[:1], joins[:1])
    expect(tuple(one.shape) == (2, 4, 48, 32), "the finest map has the size and the channels of the finest skip.")
    expect(
        _near(one, joins[0](torch.cat([maps[0], ups[0](maps[1])], dim=1))),
        "one step up gives other values: enlarge the deeper map, put the skip before it, join.",
        "`torch.cat([skip, up(x)], dim=1)` puts the skip first; `join` takes that.",
    )
    whole = decode(maps, ups, joins)
    expect(
        _near(whole, net.decoder(maps)[-1]),
        "four steps up give other values: begin with the deepest map, and go from the coarsest level to the finest.",
        "`reversed(range(len(ups)))` counts the levels from the coarsest. The skip of level i is `maps[i]`.",
    )
    heard = torch.autograd.grad(whole.sum(), maps, allow_unused=True)
    expect(
        all(one is not None and bool(one.abs().sum() > 0) for one in heard),
        "a map of the encoder does not learn from the result: leave out `.detach()` and `torch.no_grad()`.",
    )


def _learns(net: UNet, decode: Decode) -> bool:
    """Whether the network, with this decoder, draws four pictures' masks after a few steps on them."""
    data = load_dataset("synthetic", None, kind="skin", count=(4, 0, 0), size=(32, 32)).train
    images = torch.stack([data[i].image for i in range(4)]).to(torch.get_default_dtype()) / 255
    masks = torch.stack([data[i].mask for i in range(4)]).long()
    levels = cast(list[DecoderLevel], list(net.decoder.levels)[::-1])
    optimizer, loss = torch.optim.Adam(net.parameters(), lr=1e-2), build_loss("bce_dice")
    for _ in range(STEPS):
        maps = net.encode(images)
        logits = net.head(decode(maps, [level.up for level in levels], [level.block for level in levels]))
        optimizer.zero_grad()
        loss(logits, masks).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    drawn = to_mask(logits)
    return bool(2 * (drawn * masks).sum() > ALIKE * (drawn.sum() + masks.sum()))


def _near(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-5)
