"""What `seglab benchmark gpu` does, run on the processor: its numbers mean nothing here, that it runs does."""

from collections.abc import Iterator

import pytest
import torch

from seglab import compiling
from seglab.benchmarks import gpu
from seglab.benchmarks.gpu import FULL, Case, Work, needs

CPU = torch.device("cpu")
TINY = Work(side=64, batch=2, steps=2, rounds=3, matmul=32, copied=2**10)


@pytest.fixture
def small(monkeypatch) -> Iterator[Case]:
    """One narrow network, compiled to the same operations."""
    case = Case("unet", {"width": 4}, 1e-9, 1e-12)
    monkeypatch.setattr(gpu, "CASES", {"small U-Net": case})
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    yield case
    torch.compiler.reset()


def test_every_row_is_measured_where_there_is_a_device(small):
    rows = list(gpu.rows(quick=True, device=CPU, work=TINY))
    assert [row.what.split(",")[0] for row in rows] == [
        "training step on a GPU", "time that does not wait for data", "compiled step",
        "share of the GPU's roofline", "CUDA graphs",
    ]  # fmt: skip
    for row in (rows[0], rows[1], rows[2], rows[4]):
        assert float(row.got.split()[0]) > 0
        assert row.note == "at 64 px, batch 2"
    assert [row.met for row in rows][::3] == [True, True]
    assert [row.met for row in rows][2::2] == [None, None]
    assert rows[3].got.endswith("%")
    assert "TFLOP/s" in rows[3].note
    assert rows[3].wanted == ">= 0%"


def test_loop_is_what_train_does_and_learns(small):
    loop = gpu._Loop(small, TINY, CPU, compiled=False)
    first = [value.detach().clone() for value in loop.state.model.parameters()]
    loop.epoch()
    loop.fixed()
    assert loop.state.step == 2 * TINY.steps
    assert loop.number == 1
    assert any(not torch.equal(a, b) for a, b in zip(first, loop.state.model.parameters(), strict=True))


def test_graphs_can_be_left_out(small, monkeypatch):
    monkeypatch.setattr(compiling, "mode_of", lambda *_: "reduce-overhead")
    monkeypatch.setattr(torch, "compile", lambda way, **_: way)
    assert [gpu._Loop(small, TINY, CPU, graphs=each).net.mode for each in (True, False)] == ["reduce-overhead", None]


@pytest.mark.parametrize(
    ("encoder", "teraflops", "gigabytes"),
    [("vgg16", 9.48, 19.9), ("resnet34", 2.98, 9.3), ("mobilenet_v2", 2.16, 11.0)],
)
def test_needs_of_a_step_are_those_worked_out_from_the_shapes_by_another_program(encoder, teraflops, gigabytes):
    flops, traffic = needs(Case("smp_unet", {"encoder": encoder}, 1.0, 1.0), FULL)
    assert round(flops / 1e12, 2) == teraflops
    assert round(traffic / 1e9, 1) == gigabytes


def test_needs_of_one_convolution_worked_by_hand(monkeypatch):
    """8 x 8 pixels, 3 channels to 1, 3 x 3: forward, and backward to the weights, for pictures need no gradient."""
    monkeypatch.setattr(gpu, "build_model", lambda *_: torch.nn.Conv2d(3, 1, 3, padding=1, bias=False))
    flops, traffic = needs(Case("x", {}, 1.0, 1.0), TINY._replace(side=8, batch=1))
    assert flops == 2 * (2 * 8 * 8 * 3 * 9)
    pixels, weights = 8 * 8, 27
    forward = 3 * pixels + weights + pixels
    backward = pixels + 3 * pixels + weights + weights  # the slope, the picture and the weights in; their slope out
    assert traffic == 2 * (forward + backward)


def test_without_a_gpu_every_row_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = list(gpu.rows(quick=False))
    assert len(rows) == 10
    assert {(row.got, row.met, row.note) for row in rows} == {
        ("not measured", None, "no GPU here; `seglab benchmark gpu` measures it")
    }
    assert [row.wanted for row in rows if "roofline" in row.what] == [">= 50%", ">= 28%"]
