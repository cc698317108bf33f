"""EGE-UNet: published parameter counts, stage shapes, and its two modules against their definitions."""

import pytest
import torch
from torch.nn import functional as F

from seglab.models import build_model
from seglab.models.egeunet import GAB, GHPA, AxisTemplate, PlaneTemplate, build


def test_parameters_are_the_published_number() -> None:
    with torch.device("meta"):  # counting needs no memory
        net = build(1)
    heads = sum(p.numel() for level in net.levels for p in level.mask.parameters())
    assert sum(p.numel() for p in net.parameters()) == 53_374
    assert sum(p.numel() for p in net.parameters()) - heads == 53_241  # published without supervision of the masks


def test_six_stages_of_the_published_widths() -> None:
    net, shapes = build(2).eval(), []
    for stage in [*net.encoder, *net.levels]:
        stage.register_forward_hook(lambda _module, _inputs, out: shapes.append(out))
    with torch.no_grad():
        net(torch.rand(1, 3, 64, 96))
    down = [(8, 32, 48), (16, 16, 24), (24, 8, 12), (32, 4, 6), (48, 2, 3), (64, 2, 3)]
    assert [tuple(x.shape[1:]) for x in shapes[:6]] == down
    for (x, bridged, mask), size in zip(shapes[6:], down[-2::-1], strict=True):
        assert x.shape[1:] == bridged.shape[1:] == size
        assert mask.shape[1:] == (2, *size[1:])


@pytest.mark.parametrize("num_classes", [1, 3])
def test_training_returns_the_main_map_and_five_masks_from_fine_to_coarse(num_classes: int) -> None:
    net = build(num_classes).train()
    masks: list[torch.Tensor] = []
    for level in net.levels:
        level.mask.register_forward_hook(lambda _module, _inputs, out: masks.append(out))
    picture = torch.rand(2, 3, 64, 96)
    out = net(picture)
    assert len(out) == 6
    assert all(each.shape == (2, num_classes, 64, 96) for each in out)
    for supervised, mask in zip(out[1:], reversed(masks), strict=True):
        assert torch.equal(supervised, F.interpolate(mask, (64, 96), mode="bilinear", align_corners=True))
    assert torch.equal(net.eval()(picture), out[0])  # nothing in it depends on the mode but the masks


def test_masks_guide_the_bridges_without_being_supervised() -> None:
    net = build(1, deep_supervision=False).train()
    out = net(torch.rand(1, 3, 64, 64))
    out.square().mean().backward()
    assert out.shape == (1, 1, 64, 64)
    assert all(level.mask.weight.grad.abs().sum() > 0 for level in net.levels)


@torch.no_grad()
def test_templates_multiply_along_their_own_axes() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 2, 8, 8)
    plane, height, width = PlaneTemplate(2), AxisTemplate(2, -2), AxisTemplate(2, -1)
    for part in (plane, height, width):
        torch.nn.init.normal_(part.template)
    # A map of the template's own size is not stretched, so each pixel is multiplied by one number of the template.
    torch.testing.assert_close(plane(x), torch.einsum("nchw,chw->nchw", x, plane.conv(plane.template)[0]))
    torch.testing.assert_close(height(x), torch.einsum("nchw,ch->nchw", x, height.conv(height.template)[0]))
    torch.testing.assert_close(width(x), torch.einsum("nchw,cw->nchw", x, width.conv(width.template)[0]))


@torch.no_grad()
def test_a_fresh_axis_template_is_the_same_at_every_size() -> None:
    template = AxisTemplate(2, -1)
    torch.nn.init.normal_(template.template)
    template.conv = torch.nn.Identity()
    line = template(torch.ones(1, 2, 1, 15))[0, :, 0]  # 15 pixels: the eight of the template and one between each two
    torch.testing.assert_close(line[:, ::2], template.template[0])
    torch.testing.assert_close(line[:, 1::2], (template.template[0, :, 1:] + template.template[0, :, :-1]) / 2)


@torch.no_grad()
def test_each_quarter_goes_its_own_way_before_all_are_mixed() -> None:
    torch.manual_seed(0)
    block, x = GHPA(8, 4), torch.randn(1, 8, 5, 6)
    seen: list[torch.Tensor] = []
    block.after.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    block(x)
    mean, variance = x.mean(dim=1, keepdim=True), x.var(dim=1, keepdim=True, unbiased=False)
    normal = (x - mean) / (variance + 1e-6).sqrt()
    for number, part in enumerate(block.parts):
        quarter = slice(2 * number, 2 * number + 2)
        torch.testing.assert_close(seen[0][:, quarter], part(normal[:, quarter]))


@torch.no_grad()
def test_each_group_of_a_bridge_joins_both_maps_and_the_mask_and_looks_further() -> None:
    torch.manual_seed(0)
    bridge = GAB(6, 8, 1)
    coarse, fine, mask = torch.randn(1, 6, 8, 8), torch.randn(1, 8, 16, 16), torch.randn(1, 1, 16, 16)
    high = F.interpolate(bridge.project(coarse), scale_factor=2, mode="bilinear", align_corners=True)
    seen: list[torch.Tensor] = []
    for look in bridge.looks:
        look.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    assert bridge(coarse, fine, mask).shape == (1, 8, 16, 16)
    for number, group in enumerate(seen):
        quarter = slice(2 * number, 2 * number + 2)
        torch.testing.assert_close(group, torch.cat([high[:, quarter], fine[:, quarter], mask], dim=1))
    assert [look[1].dilation for look in bridge.looks] == [(1, 1), (2, 2), (5, 5), (7, 7)]


@pytest.mark.parametrize("width", [4, 10, 8.0, True])
def test_wrong_widths_are_named(width: object) -> None:
    with pytest.raises(ValueError, match=f"width must be a multiple of 4 and at least 8; got {width}"):
        build_model("egeunet", 1, width=width)
