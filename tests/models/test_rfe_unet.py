"""RFE-U-Net: the paper's computing cost, torchvision's encoder, and the switch of its ablation."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from seglab.blocks import SPPF, C2f
from seglab.models import build_model
from seglab.models._resnet import ResNetEncoder
from seglab.models.rfe_unet import RFE


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def billions(net: nn.Module) -> float:
    """Cost of a 256 x 256 picture by the rule of a counter that charges a transposed convolution fourfold."""
    total = 0

    def count(module: nn.Module, _inputs: object, out: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += out.numel() * module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d):
            total += out.numel() * module.in_channels * module.weight[0, 0].numel()
        elif isinstance(module, nn.BatchNorm2d):
            total += 4 * out.numel()

    for module in net.modules():
        module.register_forward_hook(count)
    net(torch.empty(1, 3, 256, 256))
    return total / 1e9


@pytest.mark.parametrize(("encoder", "printed"), [("resnet34", 9.046), ("resnet50", 39.701), ("resnet101", 44.576)])
def test_computing_cost_is_near_the_printed_one(encoder: str, printed: float) -> None:
    with torch.device("meta"):  # counting needs no memory
        assert billions(build_model("rfe_unet", 1, encoder=encoder).net) == pytest.approx(printed, rel=0.01)


@pytest.mark.parametrize(
    ("encoder", "channels"),
    [("resnet34", (64, 64, 128, 256, 512)), ("resnet101", (64, 256, 512, 1024, 2048))],
)
def test_ablation_adds_two_sppf_and_one_c2f_per_skip(encoder: str, channels: tuple[int, ...]) -> None:
    with torch.device("meta"):
        models = [build_model("rfe_unet", 2, encoder=encoder, rfe=rfe) for rfe in (True, False)]
        blocks = [
            parameters(SPPF(fine)) + parameters(SPPF(deeper, fine)) + parameters(C2f(2 * fine, fine))
            for fine, deeper in zip(channels, channels[1:], strict=False)
        ]
    assert parameters(models[0]) - parameters(models[1]) == sum(blocks)
    assert [sum(isinstance(module, RFE) for module in model.modules()) for model in models] == [4, 0]


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_encoder_has_the_names_and_shapes_of_torchvision(encoder: str) -> None:
    with torch.device("meta"):
        ours = ResNetEncoder(encoder).state_dict()
        theirs = getattr(torchvision.models, encoder)(weights=None).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in theirs.items() if not key.startswith("fc.")
    }


@pytest.mark.parametrize("counted", [True, False])
def test_encoder_computes_what_torchvision_computes(tmp_path: Path, counted: bool) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None).eval()
    state = {key: value for key, value in theirs.state_dict().items() if counted or "num_batches" not in key}
    torch.save(state, tmp_path / "resnet18.pth")
    model = build_model("rfe_unet", 1, encoder="resnet18", weights=tmp_path / "resnet18.pth").eval()
    image, outputs = torch.rand(1, 3, 64, 64), []
    for part in (theirs.relu, theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        part.register_forward_hook(lambda _module, _inputs, out: outputs.append(out.clone()))
    with torch.no_grad():
        theirs(image)
        features = model.encoder(image, model.net.attention)
    assert len(outputs) == len(features) == 5
    for out, feature in zip(outputs, features, strict=True):
        torch.testing.assert_close(feature, out)


def test_stages_halve_the_picture_and_skips_keep_their_shape() -> None:
    net, shapes = build_model("rfe_unet", 3, encoder="resnet18", width=8).net.eval(), []
    for level in net.decoder.levels:
        for part in (level.skip, level.up, level.block):
            part.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape[1:])))
    assert net(torch.rand(1, 3, 64, 96)).shape == (1, 3, 64, 96)
    sizes = [(32, 4, 6), (16, 8, 12), (8, 16, 24), (8, 32, 48)]
    assert shapes == [size for size in sizes for _ in range(3)]


def test_skip_sees_the_next_deeper_map() -> None:
    block = RFE(4, 8, nn.Identity()).eval()
    skip, deeper = torch.rand(1, 4, 8, 8), torch.rand(1, 8, 4, 4)
    with torch.no_grad():
        assert not torch.equal(block(skip, deeper, skip), block(skip, 2 * deeper, skip))
        assert not torch.equal(block(skip, deeper, skip), block(2 * skip, deeper, skip))


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"encoder": "resnet43"}, "encoder must be one of resnet101, resnet18, resnet34, resnet50; got 'resnet43'"),
        ({"width": 2, "encoder": "resnet18"}, "width must be an integer of at least 4; got 2"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("rfe_unet", 2, **knobs)


def test_weights_of_the_published_width_do_not_fit_a_narrower_one(tmp_path: Path) -> None:
    torch.save(ResNetEncoder("resnet18", 16).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"must hold conv1.weight as \(8, 3, 7, 7\); got \(16, 3, 7, 7\)"):
        build_model("rfe_unet", 2, encoder="resnet18", width=8, weights=tmp_path / "weights.pth")
