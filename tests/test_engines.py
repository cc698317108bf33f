"""Another way to run a model gives the model's own answers, or is refused."""

import os
import subprocess
import sys
import threading
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from seglab import Predictor, build_model, engines
from seglab.checkpoint import Description, save_model
from seglab.cli import main
from seglab.devices import cpu_has_bf16
from seglab.engines import _runtimes
from seglab.engines._fold import fold
from seglab.export import check_pictures

PICTURES = check_pictures(64)
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs the openvino extra")


def lively(model: nn.Module) -> nn.Module:
    """The model in eval mode, its batch norms with statistics and scales of their own."""
    torch.manual_seed(1)
    for one in model.modules():
        if isinstance(one, nn.BatchNorm2d):
            for tensor in (one.running_mean, one.bias):
                assert tensor is not None
                tensor.data.normal_(0, 0.1)
            for tensor in (one.running_var, one.weight):
                assert tensor is not None
                tensor.data.uniform_(0.5, 1.5)
    return model.eval()


def predictor(name: str = "unet", classes: int = 1, **knobs: Any) -> Predictor:
    torch.manual_seed(0)
    return Predictor(lively(build_model(name, classes, **({"width": 4} | knobs))), size=64)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("unet", {"width": 4, "cbam": ["encoder", "bottleneck", "skip", "decoder"]}),
        ("unet", {"width": 4, "upsampling": "transposed"}),
        ("attention_unet", {"width": 4}),
        ("reverse_attention_unet", {"width": 4}),
        ("unetplusplus", {"width": 4}),
        ("segnet", {}),
        ("smp_unet", {"encoder": "mobilenet_v2"}),
    ],
)
def test_folding_takes_every_batch_norm_and_changes_nothing(name: str, knobs: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = lively(build_model(name, 1, **knobs)).double()
    norms = sum(isinstance(one, nn.BatchNorm2d) for one in model.modules())
    folded, number = fold(model, PICTURES[:1].double())
    left = sum(isinstance(one, nn.BatchNorm2d) for one in folded.modules())
    assert 0 < number == norms - left
    assert number >= 0.9 * norms, (number, norms)
    with torch.inference_mode():
        for size in (32, 80):
            seen = check_pictures(size)[3:4].double()  # noise: in a flat picture SegNet's maxima are ties
            assert torch.allclose(folded(seen), model(seen), rtol=1e-8, atol=1e-9)
    assert sum(isinstance(one, nn.BatchNorm2d) for one in model.modules()) == norms  # the model itself is as it was


class TakesTwice(nn.Module):
    """What a batch norm takes is added to what comes out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        y = self.convolution(x)
        return self.head(y + self.norm(y))


class RunsTwice(nn.Module):
    """One convolution, two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norms = nn.Conv2d(3, 3, 3, padding=1), nn.ModuleList([nn.BatchNorm2d(3) for _ in "ab"])

    def forward(self, x: Tensor) -> Tensor:
        """Features."""
        for norm in self.norms:
            x = norm(self.convolution(x))
        return x


@pytest.mark.parametrize("net", [TakesTwice(), RunsTwice(), nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1))])
def test_what_cannot_be_folded_is_left_as_it_is(net: nn.Module) -> None:
    model = lively(deepcopy(net))
    folded, number = fold(model, PICTURES[:1])
    assert number == 0
    assert torch.equal(folded(PICTURES), model(PICTURES))


@pytest.mark.parametrize(
    "engine",
    ["torch", "folded", pytest.param("openvino", marks=needs_openvino), "onnxruntime"],
)
def test_an_exact_engine_gives_the_same_masks(engine: str) -> None:
    plain = predictor(cbam=["skip"])
    fast = engines.with_engine(plain, engine)
    image = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    first, second = plain(image), fast(image)
    assert np.abs(first.probs - second.probs).max() < 1e-5
    assert (first.mask == second.mask).mean() > 0.9999
    assert (fast.name, fast.size, fast.classes, fast.num_classes) == (plain.name, 64, plain.classes, 1)


@pytest.mark.skipif(not cpu_has_bf16(), reason="needs a processor with bfloat16")
@pytest.mark.parametrize("engine", ["bf16", pytest.param("openvino-bf16", marks=needs_openvino)])
def test_bfloat16_rounds_and_is_compared_before_it_is_used(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = predictor()
    monkeypatch.setattr(engines, "MAX_FLIPPED", 1.0)
    difference = (engines.with_engine(plain, engine).forward(PICTURES) - plain.forward(PICTURES)).abs().max()
    assert 1e-5 < difference < 0.2
    monkeypatch.setattr(engines, "MAX_FLIPPED", -1.0)
    with pytest.raises(ValueError, match=f"engine {engine} must answer as unet does; -1e.00 of the pixels may change"):
        engines.with_engine(plain, engine)


@needs_openvino
def test_openvino_writes_and_reports_nothing_about_its_user(tmp_path: Path) -> None:
    code = "from seglab.engines._runtimes import _openvino; _openvino().Core()"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"HOME": str(tmp_path)})
    assert not list(tmp_path.iterdir())


@needs_openvino
def test_openvino_answers_several_threads_each_with_its_own_picture() -> None:
    fast = engines.with_engine(predictor(), "openvino")
    wanted = [fast.forward(one[None]) for one in PICTURES]
    wrong: list[int] = []

    def ask(index: int) -> None:
        for _ in range(10):
            if not torch.equal(fast.forward(PICTURES[index][None]), wanted[index]):
                wrong.append(index)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(PICTURES))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong


def test_a_race_names_who_won_and_why_others_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(nn.Module):
        """Fast, and not the model."""

        def forward(self, image: Tensor) -> Tensor:
            """Zeros."""
            return torch.zeros(len(image), 1, *image.shape[2:])

    def broken(_model: nn.Module, _size: int) -> nn.Module:
        raise RuntimeError("no such operator.\nmore")

    monkeypatch.setitem(_runtimes.RUNTIMES, "openvino", lambda _model, _size: Wrong())
    monkeypatch.setitem(_runtimes.RUNTIMES, "onnxruntime", broken)
    monkeypatch.setattr(engines, "here", lambda _engine: "")
    found = engines.race(predictor(), engines=["folded", "openvino", "onnxruntime"], seconds=0.01, pictures=PICTURES)
    told = {one.engine: one for one in found.candidates}
    assert set(told) == {"torch", "folded", "openvino", "onnxruntime"}
    assert found.engine in ("torch", "folded")
    assert told["torch"].milliseconds > 0
    assert told["folded"].refused == ""
    assert "a probability may move by 1e-05 and no pixel" in told["openvino"].refused
    assert told["onnxruntime"].refused == "cannot run this model: no such operator"
    assert np.isnan(told["openvino"].milliseconds)
    assert str(found).startswith(f"{found.engine}: ")


def test_an_engine_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = predictor()
    with pytest.raises(ValueError, match="engine must be one of"):
        engines.with_engine(plain, "warp")
    with pytest.raises(ValueError, match="engine must be one of"):
        engines.race(plain, engines=["warp"])
    monkeypatch.setattr(_runtimes, "find_spec", lambda _name: None)
    with pytest.raises(ImportError, match=r'engine openvino needs the openvino extra; .*"seglab\[openvino\]"'):
        engines.with_engine(plain, "openvino")
    monkeypatch.setattr(_runtimes, "cpu_has_bf16", lambda: False)
    monkeypatch.setattr(_runtimes, "find_spec", lambda name: name)
    with pytest.raises(ValueError, match="engine bf16 needs a processor that multiplies bfloat16 itself"):
        engines.with_engine(plain, "bf16")
    monkeypatch.setitem(_runtimes.RUNTIMES, "onnxruntime", lambda _model, _size: (_ for _ in ()).throw(OSError("no.")))
    with pytest.raises(ValueError, match="engine onnxruntime cannot run unet: no. Use engine torch"):
        engines.with_engine(plain, "onnxruntime")
    elsewhere = predictor()
    elsewhere.model = elsewhere.model.to("meta")
    with pytest.raises(ValueError, match="engines are for models on the CPU; got one on meta"):
        engines.race(elsewhere)


def test_the_command_predicts_on_an_engine_and_says_which_one_won(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "c.png").write_bytes(b"no picture")
    torch.manual_seed(0)
    model = lively(build_model("unet", 1, width=4))
    file = tmp_path / "model.safetensors"
    save_model(file, model, Description("unet", model.knobs, 1, ("background", "object"), 64, "U-Net"))  # type: ignore[attr-defined,arg-type]
    for engine in ("torch", "folded", "fastest"):
        out = tmp_path / engine
        assert main(["predict", str(tmp_path / "in"), "--model", str(file), "--out", str(out), "--engine", engine]) == 2
        told = capsys.readouterr()
        assert "2 masks" in told.out
        assert "c.png" in told.err
        assert ("engine " in told.out) == (engine == "fastest")
        assert len(list(out.iterdir())) == 2
        for mask in out.iterdir():
            assert mask.read_bytes() == (tmp_path / "torch" / mask.name).read_bytes()
    assert (
        main(["predict", str(tmp_path / "in"), "--model", str(file), "--out", str(tmp_path / "x"), "--engine", "v8"])
        == 2
    )
    assert "engine must be one of" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    data = ["--dataset", "synthetic", "data.count=[1,1,2]", "data.size=[64,64]"]
    tables = []
    for engine in ("torch", "folded"):
        assert main(["evaluate", "--model", str(file), *data, "--engine", engine]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
