"""PraNet: parameter counts of every part, reverse attention, deep supervision, and encoder weights of timm."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm import create_model
from torch import nn
from torch.nn import functional as F

from seglab.blocks import AttentionMap
from seglab.models import build_model
from seglab.models.pranet import PartialDecoder, PraNet, ReceptiveField

PUBLISHED = 32_547_319
CLASSIFIER = 2048 * 1000 + 1000  # of the encoder, which the published network carries along unused
SMALL = {"width": 8, "channels": 4}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_the_published_number_less_the_classifier() -> None:
    with torch.device("meta"):  # counting needs no memory
        net = build_model("pranet", 1).net
        whole = create_model("res2net50d", pretrained=False)
    assert count(net) == PUBLISHED - CLASSIFIER
    assert count(whole) - count(net.encoder) == CLASSIFIER
    assert [count(each) for each in net.reverse] == [5_441_794, 140_226, 107_458]


def test_every_class_has_its_own_logits_in_head_and_corrections() -> None:
    with torch.device("meta"):
        net = build_model("pranet", 3).net
    extra = (
        97 + (256 + 2) + 2 * (64 * 9 + 2)
    )  # head of the partial decoder; last convolution and norm of each correction
    assert count(net) == PUBLISHED - CLASSIFIER + 2 * extra


def test_encoder_gives_three_maps_and_reverse_attention_works_on_them() -> None:
    with torch.device("meta"):
        net, inputs = build_model("pranet", 1).net.eval(), []
        for module in net.reverse:
            module.register_forward_hook(lambda _module, given, _out: inputs.append([tuple(x.shape) for x in given]))
        net(torch.rand(1, 3, 352, 352))  # the size the paper trains at
    shapes = [(2048, 11, 44), (1024, 22, 11), (512, 44, 22)]
    assert inputs == [[(1, channels, side, side), (1, 1, before, before)] for channels, side, before in shapes]


def test_receptive_field_reaches_as_far_as_its_widest_branch() -> None:
    module, x = ReceptiveField(2, 2).double().eval(), torch.zeros(1, 2, 31, 31, dtype=torch.float64)
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.1)  # all positive, so that no path cancels another
    other = x.clone()
    other[..., 15, 15] = 1
    with torch.no_grad():
        rows, columns = ((module(other) - module(x)).abs().sum(1)[0] > 0).nonzero().T
    reach = 7 // 2 + 7 + 1  # 7x1, then dilation 7, then the 3x3 convolution that joins
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (15 - reach, 15 + reach) * 2


def test_partial_decoder_multiplies_by_what_is_deeper() -> None:
    decoder = PartialDecoder(1, num_classes=1).eval()
    for convolution in (each for each in decoder.modules() if isinstance(each, nn.Conv2d)):
        nn.init.zeros_(convolution.weight)
        middle = convolution.weight.shape[-1] // 2
        convolution.weight.data[:, :, middle, middle] = torch.eye(*convolution.weight.shape[:2])
    decoder.head[-1].weight.data[:] = torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1)
    decoder.head[-1].bias.data.zero_()
    fine, middle, deep = torch.full((1, 1, 8, 8), 2.0), torch.full((1, 1, 4, 4), 3.0), torch.full((1, 1, 2, 2), 5.0)
    with torch.no_grad():
        logits = decoder([fine, middle, deep])
    expected = 2 * 3 * 5 + 10 * (3 * 5) + 100 * 5  # every convolution passes its input on
    torch.testing.assert_close(logits, torch.full((1, 1, 8, 8), float(expected)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("num_classes", [1, 2, 4])
def test_every_map_adds_to_the_one_before_what_is_seen_outside_of_it(num_classes: int) -> None:
    torch.manual_seed(0)
    net, seen = build_model("pranet", num_classes, **SMALL).net.eval(), []
    for module in net.reverse:
        module.register_forward_hook(lambda module, given, out: seen.append((module, *given, out)))
    with torch.no_grad():
        logits = net(torch.rand(2, 3, 64, 96))
        for module, features, before, after in seen:
            crop = F.interpolate(before, features.shape[2:], mode="bilinear")
            found = crop.sigmoid() if num_classes == 1 else crop.softmax(1)[:, 1:].sum(1, keepdim=True)
            torch.testing.assert_close(after, crop + module.convs((1 - found) * features))
        torch.testing.assert_close(logits, F.interpolate(seen[-1][-1], (64, 96), mode="bilinear"))
    assert [features.shape[1] for _, features, _, _ in seen] == [256, 128, 64]
    assert all(this[-1] is following[2] for this, following in pairwise(seen))


def test_gates_are_found_by_type_and_lie_between_0_and_1() -> None:
    model, gates = build_model("pranet", 3, **SMALL).eval(), []
    for module in model.modules():
        if isinstance(module, AttentionMap):
            module.register_forward_hook(lambda _module, _inputs, gate: gates.append(gate))
    with torch.no_grad():
        model(torch.rand(2, 3, 64, 96))
    assert [tuple(gate.shape) for gate in gates] == [(2, 1, 2, 3), (2, 1, 4, 6), (2, 1, 8, 12)]
    assert all(0 < gate.min() <= gate.max() < 1 for gate in gates)


def silenced() -> PraNet:
    """A network whose partial decoder answers 1 everywhere and whose corrections are 10, 100 and 1000."""
    net = build_model("pranet", 1, **SMALL).net
    for parameter in [*net.reverse.parameters(), *net.decoder.head.parameters()]:
        nn.init.zeros_(parameter)
    nn.init.ones_(net.decoder.head[-1].bias)
    for module, number in zip(net.reverse, (10, 100, 1000), strict=True):
        nn.init.constant_(module.convs[-1].bias, number)
    return net


def test_four_maps_are_supervised_from_the_finest_to_the_global_one() -> None:
    net, image = silenced(), torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        maps, alone = net.train()(image), net.eval()(image)
    assert [tuple(each.shape) for each in maps] == [(2, 1, 64, 96)] * 4
    assert [each.unique().item() for each in maps] == [1111, 111, 11, 1]
    assert torch.equal(alone, maps[0])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_encoder_computes_what_timm_computes(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    small = {"channels": (8, 16, 32, 64), "stem_width": 4}
    whole = create_model("res2net50d", pretrained=False, num_classes=5, **small).eval()
    path = tmp_path / f"encoder{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(whole.state_dict(), path)
    encoder = build_model("pranet", 1, **SMALL, weights=path).net.eval().encoder
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image)[-1], whole.forward_features(image))
        assert F.adaptive_avg_pool2d(encoder(image)[-1], 1).std() > 0  # not all the same by chance


def test_fresh_weights_neither_fade_nor_explode() -> None:
    torch.manual_seed(0)
    model = build_model("pranet", 2, **SMALL).eval()
    with torch.no_grad():
        features = model.net.encoder(torch.rand(1, 3, 96, 96))
    assert all(0.01 < each.std() < 10 for each in features)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"width": 3}, "width must be an integer of at least 4; got 3"),
        ({"channels": 0}, "channels must be an integer of at least 1; got 0"),
        ({**SMALL, "weights": 7}, "weights must be a file; got 7"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("pranet", 2, **knobs)


def test_nothing_is_fetched() -> None:
    with pytest.raises(FileNotFoundError, match="weights must be an existing file; got torchvision"):
        build_model("pranet", 2, **SMALL, weights="torchvision")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv1.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="state dict of timm's res2net50d; got one without"):
        build_model("pranet", 2, **SMALL, weights=tmp_path / "other.pth")
