"""A file in int8 answers as the model does where it matters, says what it cost, or is not written."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from small_pictures import Pictures, discs
from torch import Tensor, nn

import seglab
from seglab import Predictor, build_model, engines, load_dataset, quantised
from seglab.checkpoint import Description, save_model
from seglab.cli import main
from seglab.contract import Sample
from seglab.models import Segmenter
from seglab.quantised import WAYS, Quantised, to_int8

ABOUT = Description(
    "custom",
    {},
    1,
    ("background", "object"),
    32,
    "A title",
    {"task": "discs", "scores": [{"data": "of the float model"}]},
)
TRAIN, TEST = discs(9, prefix="train"), discs(6, seed=1, prefix="test")
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs the openvino extra")


class Bright(nn.Module):
    """Says object where it is bright; `loud` makes one channel that nobody reads so many times as strong."""

    stride = 2

    def __init__(self, loud: float = 1.0) -> None:
        super().__init__()
        self.num_classes = 1
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.last = nn.Conv2d(2, 1, 1)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for one in (self.first, self.middle, self.up):
                one.weight.uniform_(0.5, 1.5, generator=generator).div_(one.weight[0].numel())
                one.bias.fill_(0.0)
            self.first.weight.mul_(torch.tensor([3.0, 0.0, 0.0])[None, :, None, None])  # discs are red
            self.middle.weight[0] *= loud
            self.up.weight.mul_(torch.tensor([1.0, 4.0])[None, :, None, None])  # channels of another size
            self.up.weight[0] = 0.0
            self.last.weight.copy_(torch.tensor([8.0, 2.0])[None, :, None, None])
            self.last.bias.fill_(-1.8)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        features = self.middle(self.first(x).relu()).relu()
        logits: Tensor = self.last(self.up(features).relu())
        return logits


def predictor(loud: float = 1.0) -> Predictor:
    return Predictor(Segmenter(Bright(loud)), size=32, classes=ABOUT.classes, description=ABOUT)


def images(data: Pictures) -> list[np.ndarray]:
    return [one.image.permute(1, 2, 0).numpy() for one in data.samples]


def weights_of(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Whole numbers, scales and axis of every kernel in int8, by the name that its tensor had."""
    graph = onnx.load(path).graph
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in values and values[node.input[0]].ndim == 4:
            axis = next(one.i for one in node.attribute if one.name == "axis")
            name = node.input[0].removesuffix("_quantized")
            found[name] = (values[node.input[0]], values[node.input[1]], axis)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Quantised]:
    path = tmp_path_factory.mktemp("made") / "new" / "bright.onnx"
    return path, to_int8(predictor(), path, pictures=TRAIN, held_out=TEST, count=5)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, made: tuple[Path, Quantised]) -> Any:
    """Exporting in float is the slow part: where a test is about something else, once is enough."""
    plain = made[0].parent / "float.onnx"
    if not plain.exists():
        quantised.to_onnx(predictor(), plain)
    monkeypatch.setattr(quantised, "to_onnx", lambda _source, target: target.write_bytes(plain.read_bytes()))


def test_its_dice_is_the_models_and_both_are_those_of_a_report(made: tuple[Path, Quantised]) -> None:
    path, result = made
    float_report, report = (seglab.evaluate(one, TEST) for one in (predictor(), Predictor.load(path)))
    assert result.before == pytest.approx(float_report.values["dice_fg_image"][0], abs=1e-4)
    assert result.after == pytest.approx(report.values["dice_fg_image"][0], abs=1e-12)
    assert result.before is not None
    assert result.before > 0.8  # it does find discs
    assert result.after is not None
    assert 0 < result.flipped < 0.01
    assert result.before - result.after <= 0.002
    assert (result.pictures, result.held_out, result.way) == (5, 6, "all convolutions")
    assert f"mean Dice {result.before:.4f} in float, {result.after:.4f} in int8" in str(result)


def test_weights_are_within_half_a_step_of_the_models_own_channel_by_channel(made: tuple[Path, Quantised]) -> None:
    net = predictor().model.net
    found = weights_of(made[0])
    assert {name.rpartition("net.")[2] for name in found} == {
        "first.weight",
        "middle.weight",
        "up.weight",
        "last.weight",
    }
    for name, (whole, scales, axis) in found.items():
        own = net.get_parameter(name.rpartition("net.")[2]).numpy()
        assert whole.dtype == np.int8
        assert axis == (1 if "up" in name else 0)  # the axis of the output channels
        largest = np.abs(np.moveaxis(own, axis, 0).reshape(own.shape[axis], -1)).max(axis=1)
        np.testing.assert_allclose(scales, largest / 127, rtol=1e-2)
        step = np.moveaxis(np.broadcast_to(scales, (*own.shape[:axis], *own.shape[axis + 1 :], len(scales))), -1, axis)
        assert (np.abs(whole * step - own) <= step / 2 * 1.001).all()


def test_the_file_says_what_it_is_and_is_read_as_any_exported_file(made: tuple[Path, Quantised]) -> None:
    path, result = made
    again = Predictor.load(path)
    assert (again.name, again.size, again.classes) == ("A title int8", 32, ABOUT.classes)
    assert again.description is not None
    card = again.description.card
    assert card["task"] == "discs"
    assert "scores" not in card  # another model's
    assert (card["int8"]["pictures"], card["int8"]["held_out"], card["int8"]["way"]) == (5, 6, result.way)
    assert card["int8"]["dice_fg_image"] == round(result.after or 0, 4)
    assert again.model.int8
    for shape in ((1, 3, 32, 32), (2, 3, 64, 34)):  # as free as the float file
        assert again.model(torch.rand(shape)).shape == (shape[0], 1, *shape[2:])
    last = onnx.load(path).graph.node[-1]
    assert (last.op_type, last.output[0]) == ("Conv", "logits")  # sums are given out as they are
    assert b".py" not in path.read_bytes()
    assert [one.name for one in path.parent.iterdir() if one.name != "float.onnx"] == ["bright.onnx"]


@pytest.mark.parametrize("where", [0.1, 0.5, 0.97])
def test_damage_is_noticed(made: tuple[Path, Quantised], tmp_path: Path, where: float) -> None:
    content = bytearray(made[0].read_bytes())
    content[int(where * len(content))] ^= 4
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.onnx must be one that `seglab export` wrote; [^\n]+$"):
        Predictor.load(tmp_path / "bad.onnx")


def test_a_model_that_256_steps_cannot_hold_is_refused_and_the_older_file_stays(tmp_path: Path) -> None:
    target = tmp_path / "loud.onnx"
    target.write_bytes(b"older")
    with pytest.raises(
        ValueError, match=r"must fall by at most 0\.002 in mean Dice; got mean Dice 0\.\d+ in float, 0\."
    ) as told:
        to_int8(predictor(loud=1000), target, pictures=TRAIN, held_out=TEST, count=5)
    assert f"the best of {len(WAYS)} ways. {target} was not written. Calibrate on more pictures" in str(told.value)
    assert "\n" not in str(told.value)
    assert [one.name for one in tmp_path.iterdir()] == ["loud.onnx"]
    assert target.read_bytes() == b"older"


@pytest.mark.usefixtures("quick")
def test_ways_are_tried_in_turn_and_the_last_leaves_both_ends_in_float(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(quantised, "_passes", lambda one: tried.append(one.way) or len(tried) == len(WAYS))
    handlers, level = list(logging.getLogger().handlers), logging.root.manager.disable
    result = to_int8(predictor(), tmp_path / "a.onnx", pictures=TRAIN, held_out=TEST, count=5)
    assert tried == [way.name for way in WAYS]
    assert result.way == WAYS[-1].name
    found = {name.rpartition("net.")[2] for name in weights_of(tmp_path / "a.onnx")}
    assert found == {"middle.weight", "up.weight"}
    assert (logging.getLogger().handlers, logging.root.manager.disable) == (handlers, level)
    assert capfd.readouterr() == ("", "")


def test_convolutions_that_make_gates_stay_in_float() -> None:
    nodes = [
        onnx.helper.make_node("Concat", ["a", "b"], ["both"], name="joined", axis=1),
        onnx.helper.make_node("Conv", ["both", "w"], ["sums"], name="gate"),
        onnx.helper.make_node("Sigmoid", ["sums"], ["opened"], name="sigmoid"),
        onnx.helper.make_node("Concat", ["a", "c"], ["skip"], name="other", axis=1),
        onnx.helper.make_node("Conv", ["skip", "w"], ["logits"], name="plain"),
    ]
    proto = onnx.helper.make_model(onnx.helper.make_graph(nodes, "graph", [], []))
    assert quantised._gates(proto) == ["gate", "joined"]
    assert quantised._ends(proto) == ["gate", "plain"]


@pytest.mark.usefixtures("quick")
def test_without_masks_the_share_of_changed_pixels_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.onnx"
    monkeypatch.setattr(quantised, "MAX_FLIPPED", 0.01)
    result = to_int8(predictor(), target, pictures=images(TRAIN), held_out=images(TEST), count=100)
    first, second = predictor(), Predictor.load(target)
    changed = np.mean([first(one).mask != second(one).mask for one in images(TEST)])
    assert result.flipped == pytest.approx(changed, abs=1e-6)
    assert (result.before, result.after, result.pictures) == (None, None, 9)
    assert "Dice" not in str(result)
    target.unlink()
    monkeypatch.setattr(quantised, "MAX_FLIPPED", result.flipped * 1e-3)
    with pytest.raises(
        ValueError, match=r"answers in int8 must flip at most .*; got .* of the pixels change class with"
    ):
        to_int8(predictor(), target, pictures=images(TRAIN), held_out=images(TEST))
    assert not target.exists()


def test_the_rules_are_those_of_the_docstring() -> None:
    some = Quantised(Path("a.onnx"), "", 1, 1, before=0.9, after=0.8981, flipped=0.5)
    assert quantised._passes(some)
    assert not quantised._passes(Quantised(Path("a.onnx"), "", 1, 1, before=0.9, after=0.8979, flipped=0.0))
    assert quantised._passes(Quantised(Path("a.onnx"), "", 1, 1, flipped=1e-3))
    assert not quantised._passes(Quantised(Path("a.onnx"), "", 1, 1, flipped=1.1e-3))


def empty(data: Pictures) -> Pictures:
    return Pictures(tuple(Sample(one.image // 8, torch.zeros_like(one.mask), one.name) for one in data.samples))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"target": "a.safetensors"}, r"target must end in \.onnx; got a\.safetensors\."),
        ({"count": 0}, r"count must be at least 1; got 0\."),
        ({"pictures": []}, r"must have pictures to calibrate on and others to compare on; got 0 and 6\. Give both\."),
        ({"held_out": []}, r"got 9 and 0\. Give both\."),
        ({"held_out": [*images(TEST), *images(TRAIN)[:2]]}, r"not be those of the calibration; got 2 of 8 that are\."),
        ({"held_out": empty(TEST)}, r"masks of held-out pictures must show an object; got none\."),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, more: dict[str, Any], sentence: str) -> None:
    asked = {"target": "a.onnx", "pictures": TRAIN, "held_out": TEST} | more
    with pytest.raises(ValueError, match=sentence):
        to_int8(predictor(), tmp_path / asked.pop("target"), **asked)
    assert not list(tmp_path.iterdir())


def kinds(net: Any) -> dict[str, list[str]]:
    """How OpenVINO computes each kind of layer."""
    found: dict[str, list[str]] = {}
    for one in net.compiled.get_runtime_model().get_ops():
        facts = one.get_rt_info()
        found.setdefault(facts["layerType"].astype(str), []).append(facts["primitiveType"].astype(str))
    return found


@needs_openvino
def test_openvino_computes_convolutions_in_int8_and_answers_as_the_file(made: tuple[Path, Quantised]) -> None:
    plain = Predictor.load(made[0])
    fast = engines.with_engine(plain, "openvino", pictures=torch.cat([plain.prepare(one)[0] for one in images(TEST)]))
    found = kinds(fast.model)
    layers = [*found["Convolution"], *found.get("Deconvolution", found.get("ConvolutionBackpropData", []))]
    assert len(layers) == 4
    assert all(one.endswith("_I8") for one in layers), layers
    assert "_I8" not in "".join(kinds(engines.with_engine(predictor(), "openvino").model)["Convolution"])
    for image in images(TEST):
        assert (plain(image).mask != fast(image).mask).mean() <= 1e-3
    assert (fast.name, fast.size) == ("A title int8", 32)


@needs_openvino
def test_on_every_engine_few_pixels_of_such_a_file_may_change(
    made: tuple[Path, Quantised], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Predictor.load(made[0])

    def moved(share: float) -> Any:
        return lambda _model, _net, _pictures: (0.2, share)

    monkeypatch.setattr(engines, "_compared", moved(4e-4))
    engines.with_engine(plain, "openvino")
    found = engines.race(plain, engines=["openvino", "onnxruntime"], seconds=0.01)
    assert [one.refused for one in found.candidates] == ["", "", ""]
    with pytest.raises(ValueError, match="a probability may move by 1e-05 and no pixel"):
        engines.with_engine(predictor(), "openvino")
    monkeypatch.setattr(engines, "_compared", moved(6e-4))
    with pytest.raises(
        ValueError, match="5e-04 of the pixels may change class, got a difference of 2.0e-01 and 6.0e-04"
    ):
        engines.with_engine(plain, "openvino")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small U-Net that has learned to find generated spots."""
    torch.manual_seed(0)
    data = load_dataset("synthetic", count=(24, 1, 1), size=(32, 32)).train
    pictures = torch.stack([data[index].image for index in range(24)]).float() / 255
    masks = torch.stack([data[index].mask for index in range(24)]).long()
    model, loss = build_model("unet", 1, width=4), seglab.build_loss("bce_dice")
    steps = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        steps.zero_grad()
        loss(model.train()(pictures), masks).backward()
        steps.step()
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_model(path, model.eval(), Description("unet", model.knobs, 1, ("background", "object"), 32, "Small"))
    return path


SYNTHETIC = ["--dataset", "synthetic", "--calibrate", "data.size=32", "data.count=[20,1,20]"]


def test_the_command_writes_a_file_that_others_take(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "small.onnx"
    assert main(["export", "--model", str(checkpoint), "--to", str(target), "--int8", *SYNTHETIC]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{target}: int8, ")
    assert "calibrated on 20 pictures; on 20 others mean Dice 0." in told
    assert told.count("\n") == 1
    data = ["--dataset", "synthetic", "data.size=32", "data.count=[20,1,20]"]
    for engine in ["onnxruntime", *(["openvino"] if find_spec("openvino") else [])]:
        assert main(["evaluate", "--model", str(target), *data, "--engine", engine]) == 0
        assert "### Small int8:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--int8"], "--int8 must come with --calibrate FOLDER"),
        (SYNTHETIC, "--int8 must come with --calibrate FOLDER"),
        (["--int8", *SYNTHETIC, "--to", "a.safetensors"], "target must end in .onnx for --int8; got a.safetensors."),
        (["--int8", *SYNTHETIC, "epochs=3"], "settings of export must start with data.; got epochs=3."),
        (["--int8", "--calibrate", "/gone"], "/gone"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    words: Sequence[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], checkpoint: Path
) -> None:
    assert main(["export", "--model", str(checkpoint), "--to", str(tmp_path / "a.onnx"), *words]) == 2
    text = capsys.readouterr().err
    assert sentence in text
    assert text.count("\n") == 1
    assert not list(tmp_path.iterdir())
