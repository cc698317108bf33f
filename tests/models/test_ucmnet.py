"""UCM-Net: parameter count, block arithmetic, stage shapes and deep supervision."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seglab.models import build_model
from seglab.models.ucmnet import UCMBlock

PUBLISHED = 47_436
WIDTHS_OF_BLOCKS = (16, 24, 32, 48, 64, 48, 32, 24, 16, 8)


def test_parameters_are_the_published_number() -> None:
    counts = [sum(p.numel() for p in build_model("ucmnet", 1, affine=affine).parameters()) for affine in (True, False)]
    scale_and_offset = 2 * 2 * sum(WIDTHS_OF_BLOCKS)  # beside each of the two depthwise convolutions of a block
    assert counts == [PUBLISHED, PUBLISHED - scale_and_offset]
    assert scale_and_offset == 1248


def test_scale_and_offset_start_without_effect_and_are_applied() -> None:
    plain, scaled = UCMBlock(8, affine=False).double(), UCMBlock(8).double()
    scaled.load_state_dict(plain.state_dict(), strict=False)
    x = torch.rand(2, 8, 5, 7, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(scaled(x), plain(x))
        scaled.mix[1].weight.mul_(2)
        before = F.instance_norm(scaled.mix[0](scaled.norm(x)))
        torch.testing.assert_close(scaled.mix[1](scaled.mix[0](scaled.norm(x))), 2 * before)


def test_bias_of_a_linear_layer_is_cancelled_by_the_norm_after_it() -> None:
    block = UCMBlock(8).double().eval()
    x = torch.rand(2, 8, 5, 7, dtype=torch.float64)
    with torch.no_grad():
        expected = block(x)
        block.mix[0].bias.add_(torch.rand(8))
        torch.testing.assert_close(block(x), expected)


def test_block_is_two_linear_layers_each_before_a_depthwise_convolution() -> None:
    block = UCMBlock(8).double()
    first, _, first_depthwise, _, second, _, second_depthwise = block.mix
    x = torch.rand(2, 8, 5, 7, dtype=torch.float64)
    with torch.no_grad():
        tokens = F.layer_norm(x.permute(0, 2, 3, 1), [8], block.norm.weight, block.norm.bias)  # (N, H, W, C)
        out = tokens
        for linear, convolution in ((first, first_depthwise), (second, second_depthwise)):
            out = F.instance_norm((out @ linear.weight[:, :, 0, 0].T).permute(0, 3, 1, 2))
            out = F.conv2d(out, convolution.weight, convolution.bias, padding=1, groups=8).permute(0, 2, 3, 1)
            out = F.gelu(out) if linear is first else out
        torch.testing.assert_close(block(x), (tokens + out).permute(0, 3, 1, 2))


def test_stages_halve_the_picture_six_times() -> None:
    net, shapes = build_model("ucmnet", 2).net.eval(), []
    for part in [*net.encoder, *net.mixers]:
        part.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        net(torch.rand(1, 3, 128, 64))
    encoder = [(8, 64, 32), (16, 32, 16), (24, 16, 8), (32, 8, 4), (48, 4, 2), (64, 2, 1)]
    assert shapes == encoder + encoder[-2::-1]


def test_every_decoder_level_is_supervised_in_training_only() -> None:
    model, image = build_model("ucmnet", 3), torch.rand(2, 3, 65, 70)
    outputs = model.train()(image)
    assert [tuple(out.shape) for out in outputs] == [(2, 3, 65, 70)] * 6
    torch.testing.assert_close(model.eval()(image), outputs[0])  # nothing here depends on the batch


def test_supervised_maps_go_from_fine_to_coarse() -> None:
    net = build_model("ucmnet", 1).net.train()
    with torch.no_grad():
        for level, head in enumerate(net.side_heads):  # coarsest first
            head.weight.zero_()
            head.bias.fill_(level)
        _, *sides = net(torch.rand(1, 3, 64, 64))
    assert [side.mean().item() for side in sides] == [4, 3, 2, 1, 0]


def test_head_after_enlarging_gives_the_same_logits() -> None:
    head, x = nn.Conv2d(8, 2, 1).double(), torch.rand(1, 8, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        late, early = head(F.interpolate(x, (12, 16), mode="bilinear")), head(x)
        torch.testing.assert_close(F.interpolate(early, (12, 16), mode="bilinear"), late)


@pytest.mark.parametrize(("num_classes", "channels"), [(1, 3), (3, 3), (7, 7)])
def test_last_map_has_room_for_every_class(num_classes: int, channels: int) -> None:
    net = build_model("ucmnet", num_classes).net
    assert (net.last.out_channels, net.head.in_channels, net.head.out_channels) == (channels, channels, num_classes)


def test_picture_of_one_stride_gives_finite_logits() -> None:
    with torch.no_grad():  # the deepest map is a single pixel, which has no variance
        assert build_model("ucmnet", 1).eval()(torch.rand(1, 3, 64, 64)).isfinite().all()
