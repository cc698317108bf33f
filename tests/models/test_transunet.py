"""TransUNet: parameter counts, stage shapes, positions, and encoder weights as their authors write them."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.blocks import CBAM
from seglab.models import build_model
from seglab.models._r50_vit import UNITS, MapTransformer, StandardizedConv2d, TransformerLayer

WIDTH, HIDDEN, HEADS, LAYERS = 32, 24, 3, 2
SMALL = {"width": WIDTH, "hidden": HIDDEN, "heads": HEADS, "layers": LAYERS}
Archive = dict[str, np.ndarray]


@pytest.mark.parametrize(
    ("num_classes", "knobs", "count"),
    [
        (2, {}, 105_276_066),
        (9, {}, 105_276_066 + 7 * (16 * 9 + 1)),
        (2, {"cbam": "skip"}, 105_276_066 + 680 + 8_564 + 33_412),
    ],
)
def test_parameters_are_the_published_number(num_classes: int, knobs: dict[str, object], count: int) -> None:
    with torch.device("meta"):  # counting needs no memory
        model = build_model("transunet", num_classes, **knobs)
    assert sum(p.numel() for p in model.parameters()) == count


def test_encoder_has_the_number_of_the_hybrid_without_its_class_token() -> None:
    import timm

    with torch.device("meta"):
        theirs = timm.create_model("vit_base_r50_s16_224", num_classes=0)
        ours = build_model("transunet", 2).net.encoder
    class_token_and_its_position = 2 * 768
    assert sum(p.numel() for p in ours.parameters()) == (
        sum(p.numel() for p in theirs.parameters()) - class_token_and_its_position
    )


def test_decoder_joins_maps_of_the_published_widths() -> None:
    with torch.device("meta"):
        net = build_model("transunet", 2).net
    blocks = [*(level.block for level in net.decoder.levels), net.last[-1]]
    assert [(b[0].in_channels, b[0].out_channels) for b in blocks] == [(1024, 256), (512, 128), (192, 64), (64, 16)]
    assert net.bottleneck[1].in_channels == 768
    assert net.bottleneck[1].out_channels == 512


def test_encoder_hands_over_three_skips_and_the_transformers_map() -> None:
    net = build_model("transunet", 2, width=8, hidden=16, layers=1, heads=2).net.eval()
    with torch.no_grad():
        maps = net.encoder(torch.rand(1, 3, 64, 96), net.attention)
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 32, 48), (32, 16, 24), (64, 8, 12), (16, 4, 6)]


def test_filters_are_standardised() -> None:
    """The scale of the filters and what is added to them make no difference."""
    torch.manual_seed(0)
    convolution, x = StandardizedConv2d(3, 4, kernel_size=3), torch.randn(1, 3, 6, 6)
    before = convolution(x)
    with torch.no_grad():
        convolution.weight.mul_(7).add_(2)
    torch.testing.assert_close(convolution(x), before, atol=1e-5, rtol=1e-4)
    weight = convolution.weight.detach().numpy()
    expected = (weight - weight.mean((1, 2, 3), keepdims=True)) / weight.std((1, 2, 3), keepdims=True)
    torch.testing.assert_close(convolution(x), F.conv2d(x, torch.from_numpy(expected), padding=1), atol=1e-5, rtol=1e-4)


def test_layer_equals_pytorchs_own() -> None:
    torch.manual_seed(0)
    ours = TransformerLayer(12, heads=3).eval()
    theirs = nn.TransformerEncoderLayer(12, 3, 48, 0, "gelu", 1e-6, batch_first=True, norm_first=True).eval()
    for mine, other in (
        (ours.qkv.weight, theirs.self_attn.in_proj_weight),
        (ours.qkv.bias, theirs.self_attn.in_proj_bias),
        *zip(ours.out.parameters(), theirs.self_attn.out_proj.parameters(), strict=True),
        *zip(ours.dense1.parameters(), theirs.linear1.parameters(), strict=True),
        *zip(ours.dense2.parameters(), theirs.linear2.parameters(), strict=True),
    ):
        other.data.copy_(mine.data.normal_())
    tokens = torch.randn(2, 7, 12)
    torch.testing.assert_close(ours(tokens), theirs(tokens))


def transformer() -> MapTransformer:
    torch.manual_seed(0)
    net = MapTransformer(4, hidden=12, layers=2, heads=3).eval()
    for parameter in net.parameters():
        parameter.data.normal_(std=0.3)
    return net


@torch.no_grad()
def test_positions_are_the_table_itself_at_the_native_size() -> None:
    assert torch.equal(transformer().positions(14, 14), transformer().position)


@torch.no_grad()
@pytest.mark.parametrize("size", [(2, 2), (7, 10), (20, 14), (32, 32)])
def test_positions_of_other_sizes_are_those_of_scipys_linear_zoom(size: tuple[int, int]) -> None:
    """The authors resize the table with scipy, once, for the size they train at."""
    net = transformer()
    table = net.position[0].numpy()
    zoomed = ndimage.zoom(table, (1, size[0] / 14, size[1] / 14), order=1)
    torch.testing.assert_close(net.positions(*size)[0], torch.from_numpy(zoomed), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_tokens_move_with_the_picture_but_for_their_positions() -> None:
    net, x = transformer(), torch.randn(1, 4, 14, 14)
    moved = x.roll((3, -5), dims=(2, 3))
    assert not torch.allclose(net(moved), net(x).roll((3, -5), dims=(2, 3)), atol=1e-2)
    net.position.zero_()
    torch.testing.assert_close(net(moved), net(x).roll((3, -5), dims=(2, 3)), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_every_token_sees_every_other() -> None:
    net, x = transformer(), torch.randn(1, 4, 5, 7)
    changed = x.clone()
    changed[..., 0, 0] += 1
    assert ((net(changed) - net(x)).abs().amax(dim=1) > 1e-6).all()


def published(width: int = WIDTH, hidden: int = HIDDEN, heads: int = HEADS, layers: int = LAYERS) -> Archive:
    """Random arrays with the names and shapes of R50+ViT-B_16.npz, at the sizes asked for."""
    draw = np.random.default_rng(0).normal
    shapes: dict[str, tuple[int, ...]] = {
        "conv_root/kernel": (7, 7, 3, width),
        "gn_root/scale": (1, 1, 1, width),
        "gn_root/bias": (1, 1, 1, width),
        "embedding/kernel": (1, 1, 16 * width, hidden),
        "embedding/bias": (hidden,),
        "cls": (1, 1, hidden),
        "Transformer/posembed_input/pos_embedding": (1, 197, hidden),
        "Transformer/encoder_norm/scale": (hidden,),
        "Transformer/encoder_norm/bias": (hidden,),
        "head/kernel": (hidden, 5),
        "head/bias": (5,),
    }
    before = width
    for block, units in enumerate(UNITS, start=1):
        middle = width * 2 ** (block - 1)
        for unit in range(1, units + 1):
            parts = {"1": (1, before, middle), "2": (3, middle, middle), "3": (1, middle, 4 * middle)}
            if unit == 1:
                parts["_proj"] = (1, before, 4 * middle)
            for part, (side, channels, out) in parts.items():
                shapes[f"block{block}/unit{unit}/conv{part}/kernel"] = (side, side, channels, out)
                shapes[f"block{block}/unit{unit}/gn{part}/scale"] = (1, 1, 1, out)
                shapes[f"block{block}/unit{unit}/gn{part}/bias"] = (1, 1, 1, out)
            before = 4 * middle
    for layer in range(layers):
        name, each = f"Transformer/encoderblock_{layer}", hidden // heads
        attention = f"{name}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes[f"{attention}/{part}/kernel"] = (hidden, heads, each)
            shapes[f"{attention}/{part}/bias"] = (heads, each)
        shapes[f"{attention}/out/kernel"] = (heads, each, hidden)
        shapes[f"{attention}/out/bias"] = (hidden,)
        for part, (inner, outer) in {"Dense_0": (hidden, 4 * hidden), "Dense_1": (4 * hidden, hidden)}.items():
            shapes[f"{name}/MlpBlock_3/{part}/kernel"] = (inner, outer)
            shapes[f"{name}/MlpBlock_3/{part}/bias"] = (outer,)
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes[f"{name}/{norm}/scale"] = shapes[f"{name}/{norm}/bias"] = (hidden,)
    return {name: (0.7 * draw(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def timms_encoder(path: Path) -> nn.Module:
    """The same encoder of another library, its weights read by that library's own reader of these archives."""
    from timm.layers import HybridEmbed, StdConv2dSame
    from timm.models.resnetv2 import ResNetV2
    from timm.models.vision_transformer import VisionTransformer

    backbone = ResNetV2(
        layers=UNITS,
        channels=(4 * WIDTH, 8 * WIDTH, 16 * WIDTH),
        stem_chs=WIDTH,
        num_classes=0,
        global_pool="",
        preact=False,
        stem_type="same",
        conv_layer=partial(StdConv2dSame, eps=1e-8),
    )
    theirs = VisionTransformer(
        embed_layer=partial(HybridEmbed, backbone=backbone),
        patch_size=1,
        embed_dim=HIDDEN,
        depth=LAYERS,
        num_heads=HEADS,
        num_classes=0,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
    )
    theirs.load_pretrained(str(path))
    return theirs.eval()


@torch.no_grad()
def test_pretrained_encoder_computes_what_timm_computes(tmp_path: Path) -> None:
    arrays, position = published(), "Transformer/posembed_input/pos_embedding"
    np.savez(tmp_path / "ours.npz", **arrays)
    np.savez(tmp_path / "theirs.npz", **(arrays | {position: arrays[position][:, 1:]}))  # it has no class token either
    net = build_model("transunet", 2, weights=tmp_path / "ours.npz", **SMALL).net.eval()
    theirs, image = timms_encoder(tmp_path / "theirs.npz"), torch.randn(1, 3, 224, 224)
    tokens: Tensor = theirs.forward_features(image)
    expected = tokens.transpose(1, 2).unflatten(2, (14, 14))
    torch.testing.assert_close(net.encoder(image, net.attention)[-1], expected, atol=2e-4, rtol=1e-4)


def test_published_sizes_are_those_of_the_default_network() -> None:
    """Every array of the real archive, at its real shape, has its place: names and sizes, without the numbers."""
    from seglab.models._vit_weights import _entries

    with torch.device("meta"):
        encoder = build_model("transunet", 2).net.encoder
    entries = list(_entries(encoder))
    assert {id(p) for p in encoder.parameters()} == {id(tensor) for tensor, _, _ in entries}
    names = [name for _, names, _ in entries for name in names]
    assert len(set(names)) == len(names)
    assert set(published(layers=12)) - set(names) == {"cls", "head/kernel", "head/bias"}
    assert set(names) <= set(published(layers=12))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv_root/kernel": None}, "without 1 of its 193 arrays, the first conv_root/kernel"),
        (
            {"conv_root/kernel": np.zeros((7, 7, 1, 32), np.float32)},
            r"conv_root/kernel for \(32, 3, 7, 7\); got \(7, 7, 1",
        ),
        ({"conv_root/kernel": np.zeros(5, np.float32)}, r"conv_root/kernel for \(32, 3, 7, 7\); got \(5,\)"),
        (
            {"Transformer/posembed_input/pos_embedding": np.zeros((1, 577, 24), np.float32)},
            r"pos_embedding for \(1, 24, 14, 14\); got \(1, 577, 24\)",
        ),
        ({"embedding/bias": np.array([{}])}, r"must be a \.npz archive of arrays; got a ValueError"),
    ],
)
def test_wrong_archives_are_refused_in_one_line(tmp_path: Path, change: Archive, words: str) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, **{name: array for name, array in (published() | change).items() if array is not None})
    with pytest.raises(ValueError, match=words) as caught:
        build_model("transunet", 2, weights=path, **SMALL)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"must be a \.npz archive of arrays") as caught:
        build_model("transunet", 2, weights=path, **SMALL)
    assert "\n" not in str(caught.value)


def test_weights_are_a_file_that_exists(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must be an existing \.npz file; got .*no\.npz"):
        build_model("transunet", 2, weights=tmp_path / "no.npz", **SMALL)
    with pytest.raises(ValueError, match=r"weights must be a \.npz file; got True"):
        build_model("transunet", 2, weights=True, **SMALL)


@pytest.mark.parametrize(("place", "count"), [("encoder", 4), ("bottleneck", 1), ("skip", 3), ("decoder", 4)])
def test_cbam_sits_where_it_is_asked_for(place: str, count: int) -> None:
    model = build_model("transunet", 1, width=8, hidden=16, layers=1, heads=2, cbam=place)
    assert sum(isinstance(module, CBAM) for module in model.modules()) == count


def test_dropout_acts_in_training_only() -> None:
    model, image = build_model("transunet", 1, width=8, hidden=16, layers=1, heads=2), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        maps = [model.net.train(mode).encoder(image, model.net.attention)[-1] for mode in (True, True, False, False)]
    assert not torch.equal(maps[0], maps[1])
    assert torch.equal(maps[2], maps[3])


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"width": 7}, "width must be an integer of at least 8; got 7"),
        ({"layers": 0}, "layers must be an integer of at least 1; got 0"),
        ({"heads": 0}, "heads must be an integer of at least 1; got 0"),
        ({"hidden": 8}, "hidden must be an integer of at least 12; got 8"),
        ({"hidden": 50}, "hidden must be a multiple of heads; got 50 and 12"),
        ({"dropout": 1}, "dropout must be a number from 0 to below 1; got 1"),
        ({"dropout": "much"}, "dropout must be a number from 0 to below 1; got 'much'"),
        ({"cbam": "head"}, "cbam must be one of bottleneck, decoder, encoder, skip; got 'head'"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("transunet", 2, **knobs)
