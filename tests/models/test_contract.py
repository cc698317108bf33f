"""What every model promises, tested on every name in list_models()."""

import json
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

from seglab import models
from seglab.blocks import AttentionMap
from seglab.models import Segmenter, build_model, knobs_of, list_models

from .sizes import IDLE, SMALL

NAMES = list_models()
PLACES = ["encoder", "bottleneck", "skip", "decoder"]


def small(name: str, num_classes: int = 3, **knobs: object) -> Segmenter:
    """The model as small as its knobs allow, always with the same weights."""
    torch.manual_seed(0)
    return build_model(name, num_classes, **SMALL.get(name, {}), **knobs)


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> Segmenter:
    """One model of each name, built once; a test that changes it builds its own."""
    return small(request.param).eval()


def outputs(out: Tensor | list[Tensor]) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else out


def rounding(logits: Tensor) -> float:
    """What float32 may differ by: it keeps seven digits of the largest number, whatever the smallest is."""
    return 1e-5 * max(1.0, logits.abs().max().item())


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 96)])
def test_output_is_as_large_as_the_input(model: Segmenter, size: tuple[int, int]) -> None:
    with torch.no_grad():
        logits = model(torch.rand(1, 3, *size))
    assert logits.shape == (1, 3, *size)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_batch_of_one_equals_row_of_a_batch(model: Segmenter) -> None:
    images = torch.rand(3, 3, 33, 47)
    with torch.no_grad():
        logits = model(images)
        torch.testing.assert_close(logits[1:2], model(images[1:2]), atol=rounding(logits), rtol=1e-5)


def test_logits_do_not_depend_on_what_surrounds_the_tensor_in_memory(model: Segmenter) -> None:
    images = torch.rand(1, 3, 48, 40)
    with torch.no_grad():
        channels_last = model(images.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(channels_last, model(images), atol=rounding(channels_last), rtol=1e-5)


def test_model_describes_itself(model: Segmenter) -> None:
    assert model.num_classes == 3
    assert model.name in NAMES
    assert set(model.knobs) == set(knobs_of(model.name)) - {"weights"}
    assert next(model.encoder.parameters(), None) is not None
    assert model.stride >= 1


@pytest.mark.parametrize("name", NAMES)
def test_docstring_has_a_reference_and_says_what_differs(name: str) -> None:
    text = import_module(f"seglab.models.{'_smp' if name.startswith('smp_') else name}").__doc__
    assert "Reference:" in text
    assert "Differs:" in text


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name: str) -> None:
    model = small(name).train()
    side = max(64, 2 * model.stride)  # so that the deepest map has more than one pixel
    sum(each.square().mean() for each in outputs(model(torch.rand(2, 3, side, side)))).backward()
    for key, parameter in model.named_parameters():
        if key.startswith(IDLE.get(name, ())):
            continue
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", [name for name in NAMES if "cbam" in knobs_of(name)])
def test_cbam_fits_everywhere_and_its_gates_are_found_by_type(name: str) -> None:
    model, gates = small(name, cbam=PLACES).eval(), []
    for module in model.modules():
        if isinstance(module, AttentionMap):
            module.register_forward_hook(lambda _module, _inputs, gate: gates.append(gate))
    with torch.no_grad():
        model(torch.rand(1, 3, 33, 47))
    assert len(gates) >= 2 * (3 + 1 + 3 + 3)  # the shallowest, ResU-Net, has three stages and a bridge
    assert all(gate.min() > 0 and gate.max() < 1 for gate in gates)
    assert all(gate.shape[1] == 1 or gate.shape[2:] == (1, 1) for gate in gates)


@pytest.mark.parametrize("name", [name for name in NAMES if "cbam_residual" in knobs_of(name)])
def test_residual_cbam_leaves_a_network_as_it_was(name: str) -> None:
    plain, residual = small(name).eval(), small(name, cbam=PLACES, cbam_residual=True).eval()
    missing, unexpected = residual.load_state_dict(plain.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 64)
    assert missing
    assert not unexpected
    with torch.no_grad():
        torch.testing.assert_close(residual(images), plain(images), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_freezing_stills_the_encoder_and_its_statistics(name: str) -> None:
    model = small(name)
    model.freeze_encoder(True)
    model.train()
    before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    sum(each.square().mean() for each in outputs(model(torch.rand(2, 3, 32, 32)))).backward()
    optimiser.step()
    assert all(torch.equal(value, before[key]) for key, value in model.encoder.state_dict().items())
    assert not any(module.training for module in model.encoder.modules())
    assert model.training
    model.freeze_encoder(False)
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_and_knobs_rebuild_the_model(name: str) -> None:
    model = small(name).eval()
    torch.manual_seed(1)
    again = build_model(model.name, model.num_classes, **json.loads(json.dumps(model.knobs))).eval()
    again.load_state_dict(model.state_dict())
    images = torch.rand(1, 3, 40, 32)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    assert again.knobs == model.knobs
    assert not {"mean", "std"} & set(model.state_dict())


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(1, 1, 64, 64), r"RGB of shape \(N, 3, H, W\); got \(1, 1, 64, 64\)"),
        (torch.zeros(3, 64, 64), r"got \(3, 64, 64\)"),
        (torch.zeros(1, 3, 64, 31), r"at least 32 pixels high and wide; got \(1, 3, 64, 31\)"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), r"got torch.uint8. Divide it by 255."),
    ],
)
def test_wrong_images_are_described(image: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small("unet")(image)


@pytest.mark.parametrize(
    ("arguments", "knobs", "words"),
    [
        (("unte", 2), {}, "model must be one of .* got 'unte'. Did you mean 'unet'"),
        (("_weights", 2), {}, "model must be one of"),
        (("unet", 0), {}, "num_classes must be an integer from 1 to 255; got 0"),
        (("unet", True), {}, "num_classes must be .* got True"),
        (("unet", 256), {}, "num_classes must be .* got 256"),
        (("unet", 2.0), {}, "num_classes must be .* got 2.0"),
        (("unet", 2), {"widht": 8}, "knob of unet must be one of cbam, .* got 'widht'. Did you mean 'width'"),
        (("unet", 2), {"weights": "x.pth"}, "knob of unet must be one of"),
    ],
)
def test_wrong_requests_are_answered(arguments: tuple[str, int], knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model(*arguments, **knobs)


def test_list_models_names_public_files_only() -> None:
    assert sorted(NAMES) == NAMES
    assert {"unet", "vgg16_unet"} <= set(NAMES)
    assert not any(name.startswith("_") for name in NAMES)
    assert models.__doc__


class Halves(nn.Module):
    """A network with deep supervision that insists on its stride and remembers what it saw."""

    stride = 8
    num_classes = 2

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        assert x.shape[2] % 8 == 0 == x.shape[3] % 8
        self.seen = x
        return [x[:, :2], 2 * x[:, :2]] if self.training else x[:, :2]


def test_picture_is_normalised_padded_by_its_border_and_cropped() -> None:
    model, image = Segmenter(Halves()).eval(), torch.rand(1, 3, 33, 47)
    assert model(image).shape == (1, 2, 33, 47)
    seen = model.net.seen
    assert seen.shape == (1, 3, 40, 48)
    torch.testing.assert_close(seen[0, 1, :33, :47], (image[0, 1] - 0.456) / 0.224)
    assert torch.equal(seen[..., 33:, :47], seen[..., 32:33, :47].expand(-1, -1, 7, -1))


def test_deeply_supervised_logits_are_cropped_too() -> None:
    main, side = Segmenter(Halves()).train()(torch.rand(1, 3, 33, 47))
    assert main.shape == side.shape == (1, 2, 33, 47)


def test_a_network_of_ones_own_needs_nothing_but_a_forward() -> None:
    model = Segmenter(nn.Conv2d(3, 4, 3, padding=1))
    assert (model.num_classes, model.stride, model.name, model.knobs) == (4, 32, "custom", {})
    with pytest.raises(ValueError, match="attribute `encoder` to freeze; Conv2d has none"):
        model.freeze_encoder(True)
    model.freeze_encoder(False)
