"""SegNet: published parameter count, unpooling by remembered indices, and encoder weights from torchvision."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import vgg

from seglab.models import build_model
from seglab.models.segnet import unpool

CONFIGURATION = [4, 4, "M", 8, 8, "M", 16, 16, 16, "M", 32, 32, 32, "M", 32, 32, 32, "M"]  # VGG16 at width 4


def test_parameters_are_the_published_number() -> None:
    with torch.device("meta"):  # counting needs no memory
        net = build_model("segnet", 2).net
    count = sum(p.numel() for p in net.parameters())
    assert count == 29_444_162
    assert count + 2 * net.num_classes == 29_444_166  # with a normalisation of K channels after the last convolution


def test_decoder_mirrors_the_encoder() -> None:
    net, shapes = build_model("segnet", 3, width=4).net.eval(), []
    for layer in net.encoder:
        if isinstance(layer, torch.nn.MaxPool2d):
            layer.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out[0].shape[1:])))
    for stage in net.decoder:
        stage.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape[1:])))
    net(torch.rand(1, 3, 64, 32))
    down = [(4, 32, 16), (8, 16, 8), (16, 8, 4), (32, 4, 2), (32, 2, 1)]
    assert shapes == [*down, *reversed(down[:4]), (3, 64, 32)]


def test_values_return_to_where_their_maxima_were() -> None:
    image = torch.tensor([[1.0, 2, 0, 9], [4, 3, 5, 6], [0, 7, 1, 0], [8, 0, 0, 2]])[None, None]
    pooled, indices = F.max_pool2d(image, 2, return_indices=True)
    large = unpool(pooled, indices)[0, 0]
    assert large.tolist() == [[0, 0, 0, 9], [4, 0, 0, 0], [0, 0, 0, 0], [8, 0, 0, 2]]


def test_unpooling_equals_that_of_torch_forwards_and_backwards() -> None:
    torch.manual_seed(0)
    pooled, indices = F.max_pool2d(torch.rand(2, 3, 6, 8), 2, return_indices=True)
    values = torch.rand_like(pooled).requires_grad_()
    ours, theirs = unpool(values, indices), F.max_unpool2d(values, indices, 2)
    assert torch.equal(ours, theirs)
    weight = torch.rand_like(ours)
    assert torch.equal(*(torch.autograd.grad((large * weight).sum(), values)[0] for large in (ours, theirs)))


def test_decoder_is_fed_nothing_but_remembered_pixels() -> None:
    torch.manual_seed(0)
    net, fed, remembered = build_model("segnet", 2, width=4).net.eval(), [], []
    for layer in net.encoder:
        if isinstance(layer, torch.nn.MaxPool2d):
            layer.register_forward_hook(lambda _module, _inputs, out: remembered.append(out[1]))
    for stage in net.decoder:
        stage.register_forward_pre_hook(lambda _module, inputs: fed.append(inputs[0]))
    net(torch.rand(1, 3, 64, 64))
    for large, indices in zip(fed, reversed(remembered), strict=True):
        elsewhere = torch.ones_like(large).flatten(2).scatter(2, indices.flatten(2), 0).view_as(large)
        assert elsewhere.mean() == 0.75
        assert (large * elsewhere == 0).all()
        assert (large != 0).any()


def state_of_torchvision() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {f"features.{key}": value for key, value in small_vgg16_bn().state_dict().items()}


def small_vgg16_bn() -> torch.nn.Module:
    return vgg.make_layers(CONFIGURATION, batch_norm=True)


def test_encoder_computes_what_torchvision_computes(tmp_path: Path) -> None:
    state = state_of_torchvision()
    torch.save(state, tmp_path / "vgg16_bn.pth")
    net = build_model("segnet", 2, width=4, weights=tmp_path / "vgg16_bn.pth").net.eval()
    features = small_vgg16_bn().eval()
    features.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    x = image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for layer in net.encoder:
            x = layer(x)[0] if isinstance(layer, torch.nn.MaxPool2d) else layer(x)
        torch.testing.assert_close(x, features(image))


def test_published_encoder_has_the_names_and_shapes_of_torchvision() -> None:
    with torch.device("meta"):
        ours = build_model("segnet", 2).net.encoder.state_dict()
        theirs = vgg.make_layers(vgg.cfgs["D"], batch_norm=True).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.parametrize("width", [3, 8.0, True, "8"])
def test_wrong_width_is_named(width: object) -> None:
    with pytest.raises(ValueError, match="width must be an integer of at least 4; got "):
        build_model("segnet", 2, width=width)
