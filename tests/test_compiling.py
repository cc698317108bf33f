"""A compiled training: which batches are compiled, the same result, and what is said where it cannot be done."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import fingerprint, rows_of
from small_pictures import discs
from torch import Tensor, nn
from training_process import toy

from seglab import compiling, distributed, history, training
from seglab.checkpoint import load_state, read_model
from seglab.compiling import Compiled, compiler, mode_of, require_own_norms
from seglab.config import TrainConfig
from seglab.losses import build_loss
from seglab.models import Segmenter, build_model
from seglab.training import train

HERE = Path(__file__).parent
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(training, "log_tensorboard", lambda out, record: None)
    monkeypatch.setattr(history, "_curves", lambda records, freeze_epochs: b"")


@pytest.fixture(autouse=True)
def graphs(monkeypatch) -> Iterator[list[tuple[int, ...]]]:
    """Compile to the same operations, which takes no time; the shapes of the pictures in what was compiled."""
    shapes: list[tuple[int, ...]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        shapes.extend(tuple(each.shape) for each in inputs if isinstance(each, Tensor) and each.ndim == 4
                      and each.shape[1:] == (3, 32, 32))  # fmt: skip
        return graph.forward

    monkeypatch.setattr(compiling, "BACKEND", backend)
    yield shapes
    torch.compiler.reset()


def fit(out: Path, model: Segmenter | None = None, *, stop: int = 0, count: int = 8, **settings: object) -> None:
    """Train on batches of 3, 3 and 2 pictures unless told otherwise."""

    def on_epoch(record: Any) -> None:
        if record["epoch"] == stop:
            raise KeyError("stopped")

    base = {"epochs": 3, "batch_size": 3, "size": 32, "lr": 1e-2, "amp": False, "device": "cpu", "workers": 0}
    config = TrainConfig(**base | {"compile": True, "save_every": 1} | settings)
    train(model or toy(), build_loss("bce_dice"), discs(count), discs(3, seed=1), config, out=out, on_epoch=on_epoch)


def deep() -> Segmenter:
    torch.manual_seed(0)
    return build_model("unetplusplus", 1, width=4, deep_supervision=True)


WAYS: dict[str, tuple[Callable[[], Segmenter], dict[str, object]]] = {
    "plain": (toy, {}),
    "frozen, then not": (toy, {"freeze_epochs": 2}),
    "average, clipped, mixed precision": (toy, {"ema": 0.9, "grad_clip": 0.5, "amp": True, "workers": 2}),
    "several outputs": (deep, {"epochs": 1}),
}


@pytest.mark.parametrize("way", WAYS)
def test_compiled_run_has_the_checkpoints_of_the_plain_one(way, tmp_path, graphs):
    build, settings = WAYS[way]
    fit(tmp_path / "compiled", build(), **settings)
    assert graphs
    fit(tmp_path / "plain", build(), compile=False, **settings)
    assert fingerprint(tmp_path / "compiled") == fingerprint(tmp_path / "plain")
    names = read_model(tmp_path / "compiled" / "best.safetensors")[0]
    assert names.keys() == build().state_dict().keys()


@pytest.mark.parametrize(("count", "rows"), [(8, 3), (2, 2)])
def test_only_batches_of_the_usual_size_are_compiled_and_once(count, rows, tmp_path, graphs):
    fit(tmp_path / "run", count=count)
    assert graphs == [(rows, 3, 32, 32)]


def test_unfrozen_encoder_is_compiled_once_more(tmp_path, graphs):
    fit(tmp_path / "run", epochs=4, freeze_epochs=2)
    assert graphs == [(3, 3, 32, 32)] * 2


def test_every_training_of_a_process_is_compiled(tmp_path, graphs):
    for number in range(10):  # PyTorch gives up on a function after eight
        fit(tmp_path / str(number), epochs=1)
    assert len(graphs) == 10


def test_compiled_run_stops_and_goes_on_with_the_same_bits(tmp_path):
    fit(tmp_path / "whole")
    with pytest.raises(KeyError):
        fit(tmp_path / "stopped", stop=2)
    fit(tmp_path / "stopped")
    assert fingerprint(tmp_path / "stopped") == fingerprint(tmp_path / "whole")


def test_run_may_go_on_without_compiling_but_is_told(tmp_path):
    with pytest.raises(KeyError):
        fit(tmp_path / "run", stop=1)
    with pytest.warns(
        UserWarning, match=r"compiled was True in the run .* and is False now: .*not be equal bit for bit"
    ):
        fit(tmp_path / "run", compile=False)
    assert load_state(tmp_path / "run" / "last.pt")["epoch"] == 3
    assert json.loads((tmp_path / "run" / "run.json").read_text())["compiled"] is False


def test_compiled_model_is_the_model_with_its_modes_and_nothing_more():
    model = toy()
    both = Compiled(model, 2, None)
    assert [name.removeprefix("model.") for name in both.state_dict()] == list(model.state_dict())
    assert len(list(both.parameters())) == len(list(model.parameters()))
    both.eval()
    assert not model.training


# --- what cannot be compiled


def test_without_a_compiler_nothing_is_written_and_the_remedy_is_named(tmp_path, monkeypatch):
    def broken(graph: object, inputs: object) -> None:
        raise FileNotFoundError("g++\nlong story")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    words = (
        r"^compile must be false where PyTorch finds no working compiler; got .*g\+\+\. Install one \(g\+\+ or clang"
    )
    with pytest.raises(ValueError, match=words) as caught:
        fit(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_model_that_the_compiler_cannot_translate_is_one_line(tmp_path, monkeypatch):
    def choosy(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        if any(isinstance(each, Tensor) and each.ndim == 4 for each in inputs):
            raise RuntimeError("no convolutions today\nlong story")
        return graph.forward

    monkeypatch.setattr(compiling, "BACKEND", choosy)
    words = (
        r"^compile must be false for this model; got .*no convolutions today\. Train with compile=false, which gives"
    )
    with pytest.raises(ValueError, match=words) as caught:
        fit(tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_too_little_memory_in_compiled_code_is_too_little_memory(monkeypatch):
    class Full(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            raise RuntimeError("CUDA out of memory. Tried to allocate")

    compiled = Compiled(Full(), 1, None)
    with pytest.raises(RuntimeError, match="out of memory"):
        compiled(torch.zeros(1, 3, 32, 32))


def test_error_of_the_network_itself_comes_through(graphs):
    compiled = Compiled(toy(), 1, None)
    with pytest.raises(ValueError, match="image must be floating point"):
        compiled(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="^shapes differ$"):
        Compiled(Odd(), 1, None)(torch.zeros(1, 3, 32, 32))


class Odd(nn.Module):
    """A network with an error of its own."""

    @torch.compiler.disable
    def fail(self) -> None:
        raise RuntimeError("shapes differ")

    def forward(self, image: Tensor) -> Tensor:
        self.fail()
        return image


def test_batch_norm_over_processes_is_not_compiled(monkeypatch):
    require_own_norms(True, sync_bn=True)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert distributed.world() == 2
    require_own_norms(True, sync_bn=False)
    require_own_norms(False, sync_bn=True)
    with pytest.raises(ValueError, match="compile must be false with sync_bn=true in 2 processes; got true"):
        require_own_norms(True, sync_bn=True)


def test_graphs_are_replayed_where_launches_are_waited_for():
    gpu = torch.device("cuda", 0)
    assert mode_of(gpu, 511, 1) == "reduce-overhead"
    assert [mode_of(*each) for each in ((gpu, 512, 1), (gpu, 256, 2), (CPU, 64, 1))] == [None] * 3


def test_step_of_replayed_graphs_is_marked(monkeypatch):
    marks: list[int] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    model = Compiled(nn.Conv2d(3, 1, 1), 2, None)
    model.mode = "reduce-overhead"
    for rows in (2, 3, 2):
        model(torch.zeros(rows, 3, 4, 4))
    assert len(marks) == 2


def test_nothing_is_compiled_that_was_not_asked_for(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    with compiler(False, CPU):
        pass


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("size", [64, 512])
def test_on_a_gpu_compiled_code_and_graphs_learn_what_plain_code_learns(size, tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", "inductor")
    for compiled in (False, True):
        settings = {"compile": compiled, "size": size, "device": "cuda", "freeze_epochs": 1, "lr": 1e-3, "ema": 0.5}
        fit(tmp_path / str(compiled), unet(), augment=False, **settings)
    plain, compiled = (rows_of(tmp_path / str(each)) for each in (False, True))
    for one, other in zip(plain, compiled, strict=True):
        for name in ("train_loss", "val_loss"):
            assert other[name] == pytest.approx(one[name], abs=1e-3)
    assert load_state(tmp_path / "True" / "last.pt")["epoch"] == 3


@pytest.mark.long
def test_code_of_the_real_compiler_learns_the_same_up_to_rounding(tmp_path):
    """In a process of its own: compiling takes a minute or two, and its threads stay."""
    code = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import test_compiling as tests
from training_process import hurry
hurry()
for compile in (False, True):
    tests.fit(Path(sys.argv[1]) / str(compile), tests.unet(), compile=compile, freeze_epochs=1, lr=1e-3)
"""
    call = [sys.executable, "-c", code, str(tmp_path), str(HERE)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain, compiled = (rows_of(tmp_path / str(each)) for each in (False, True))
    assert plain != compiled  # other code has run
    for one, other in zip(plain, compiled, strict=True):
        assert other == pytest.approx(one, abs=2e-4)
    assert read_model(tmp_path / "True" / "best.safetensors")[0].keys() == unet().state_dict().keys()


def unet() -> Segmenter:
    torch.manual_seed(0)
    return build_model("unet", 1, width=4)
