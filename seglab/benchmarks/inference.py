"""One picture through a model: each engine against plain PyTorch, and what a busy machine costs."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from seglab import engines
from seglab.benchmarks._paired import Ratio, Row, paired
from seglab.data import Splits, load_dataset
from seglab.inference import Predictor
from seglab.models import build_model
from seglab.quantised import to_int8
from seglab.serving import find_models
from seglab.tiles import blended

__all__ = ["rows"]

GOALS = {"folded": 1.2, "bf16": 1.8, "openvino": 1.5, "openvino-bf16": 2.9}
EAGER = "PyTorch float32 as it comes, no_grad"
INT8_GOALS = {EAGER: 4.3, "ONNX Runtime, the same file": 1.0}
SETS = {"skin": "isic2018_task1", "steel": "sd_saliency_900"}
CHILD = """
import torch, time
from seglab.models import build_model
model = build_model("unet", 1, width=16).eval().to(memory_format=torch.channels_last)
picture = torch.rand(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
with torch.inference_mode():
    model(picture)
    times = []
    for _ in range({rounds}):
        start = time.perf_counter()
        model(picture)
        times.append(time.perf_counter() - start)
print(sorted(times)[len(times) // 2])
"""


def rows(*, quick: bool) -> Iterator[Row]:
    """Engines on every shipped model, int8, the share of the processor's peak, oversubscribed cores, large pictures."""
    models = find_models()[: 1 if quick else None]
    for engine, goal in GOALS.items():
        yield from _engine(engine, goal, [Predictor.load(path) for path in models], 3 if quick else 15)
    for engine in ("folded", "openvino"):
        yield _exactness(engine, [Predictor.load(path) for path in models])
    # Writing a file takes a quarter of a minute, so one model with attention and one without.
    yield from _int8([Predictor.load(path) for path in dict.fromkeys((models[0], models[-1]))], 3 if quick else 15)
    yield from _share_of_peak(3 if quick else 15)
    yield _oversubscribed(quick)
    yield from _large(512 if quick else 2048)


def eager(model: nn.Module) -> nn.Module:
    """The model as PyTorch runs it when nobody does anything about it."""
    return deepcopy(model).to(memory_format=torch.contiguous_format)


def _engine(engine: str, goal: float, predictors: list[Predictor], rounds: int) -> Iterator[Row]:
    """An engine on every shipped model, the slowest ratio judged."""
    wanted = f">= {goal:g} on every model"
    found, notes = {}, []
    for one in predictors:
        seen = engines.generated(one.size)
        try:
            fast = engines.with_engine(one, engine, pictures=seen).model
        except (ImportError, ValueError) as error:
            notes.append(f"{one.name}: {str(error).rstrip('.')}")
            continue
        slow, picture = eager(one.model), seen[:1]
        found[one.name] = paired(_ask(slow, picture), _ask(fast, picture), rounds=rounds)
    what = f"forward, engine {engine}, shipped models"
    if not found:
        yield Row(what, EAGER, wanted, "not measured", None, "; ".join(dict.fromkeys(notes)))
        return
    worst = min(found, key=lambda name: found[name].median)
    best = max(one.median for one in found.values())
    told = [f"up to {best:.2f} on others, {len(found)} models", *notes]
    yield Row(
        what, EAGER, wanted, f"{found[worst]} on {worst}", found[worst].median >= goal and not notes, "; ".join(told)
    )


def _exactness(engine: str, predictors: list[Predictor]) -> Row:
    """How far an exact engine is from plain PyTorch, and how far that is from itself in float64."""
    what, wanted = f"probability, engine {engine}, shipped models", "<= 2e-6, no pixel in another class"
    apart, rounding, flipped = {}, 0.0, 0
    for one in predictors:
        seen = engines.generated(one.size)
        try:
            fast = engines.with_engine(one, engine, pictures=seen).model
        except (ImportError, ValueError) as error:
            return Row(what, EAGER, wanted, "not measured", None, str(error).rstrip("."))
        with torch.no_grad():
            plain, ours = (torch.cat([net(p[None]).sigmoid() for p in seen]) for net in (eager(one.model), fast))
            double = deepcopy(one.model).double()
            truth = torch.cat([double(p[None].double()).sigmoid() for p in seen])
        apart[one.name] = float((plain - ours).abs().max())
        rounding = max(rounding, float((plain - truth).abs().max()))
        flipped += int(((plain > 0.5) != (ours > 0.5)).sum())
    worst = max(apart, key=lambda name: apart[name])
    note = f"{flipped} pixels in another class; plain PyTorch is up to {rounding:.1e} from itself in float64"
    got = f"{apart[worst]:.1e} on {worst}, median of the models {median(apart.values()):.1e}"
    return Row(what, EAGER, wanted, got, apart[worst] <= 2e-6 and not flipped, note)


def _ask(model: nn.Module, picture: Tensor) -> Callable[[], object]:
    """A forward pass without gradients."""

    def run() -> object:
        with torch.no_grad():
            return model(picture)

    return run


def _int8(predictors: list[Predictor], rounds: int) -> Iterator[Row]:
    """A file in int8 on OpenVINO, the slowest ratio judged; its Dice is compared before it is written."""
    found: dict[str, dict[str, Ratio]] = {against: {} for against in INT8_GOALS}
    notes = []
    with TemporaryDirectory() as folder:
        for one in predictors:
            try:
                data = _splits(one)
                made = to_int8(one, Path(folder) / "model.onnx", pictures=data.train, held_out=data.test)
                plain = Predictor.load(made.path)
                fast = engines.with_engine(plain, "openvino").model
            except (ImportError, ValueError) as error:
                notes.append(f"{one.name}: {str(error).rstrip('.')}")
                continue
            notes.append(f"{one.name}: Dice {made.before:.4f} in float, {made.after:.4f} in int8, n = {made.held_out}")
            picture = engines.generated(one.size)[:1]
            for against, slow in zip(INT8_GOALS, (eager(one.model), plain.model), strict=True):
                found[against][one.name] = paired(_ask(slow, picture), _ask(fast, picture), rounds=rounds)
    for against, goal in INT8_GOALS.items():
        what, ratios = "forward, int8 in OpenVINO, shipped models", found[against]
        if not ratios:
            yield Row(what, against, f">= {goal:g}", "not measured", None, "; ".join(dict.fromkeys(notes)))
            continue
        worst = min(ratios, key=lambda name: ratios[name].median)
        met = ratios[worst].median >= goal and len(ratios) == len(predictors)
        yield Row(what, against, f">= {goal:g}", f"{ratios[worst]} on {worst}", met, "; ".join(notes))


def _splits(predictor: Predictor) -> Splits:
    """Pictures of a shipped model's kind: real ones if SEGLAB_DATA names a folder that holds them, else generated."""
    kind = "steel" if "steel" in predictor.name else "skin"
    real = Path(os.environ.get("SEGLAB_DATA", "/nonexistent")) / SETS[kind]
    if real.is_dir():
        return load_dataset("folder", real, shares=(0.8, 0.1, 0.1))
    return load_dataset("synthetic", kind=kind, count=(32, 1, 32), size=(predictor.size, predictor.size))


def _share_of_peak(rounds: int) -> Iterator[Row]:
    """Operations a second of an exact forward pass as a share of what a 3 x 3 convolution reaches here."""
    size = 256
    model = build_model("unet", 1, width=32).eval()
    picture = torch.rand(1, 3, size, size)
    work = _operations(model, picture)
    layer = nn.Conv2d(128, 128, 3, padding=1).eval().to(memory_format=torch.channels_last)
    block = torch.rand(1, 128, 64, 64).contiguous(memory_format=torch.channels_last)
    layer_work = _operations(layer, block)
    predictor = Predictor(model, size=size)
    for engine, goal in (("folded", None), ("openvino", 0.8)):
        what, wanted = f"U-Net of width 32, {size} px, engine {engine}", f">= {goal:.0%}" if goal else ""
        try:
            fast = engines.with_engine(predictor, engine).model
        except (ImportError, ValueError) as error:
            yield Row(what, "peak of float32 convolution", wanted, "not measured", None, str(error))
            continue
        ratio = paired(_ask(layer, block), _ask(fast, picture), rounds=rounds).median * work / layer_work
        yield Row(what, "peak of float32 convolution", wanted, f"{ratio:.0%}", None if goal is None else ratio >= goal)


def _operations(model: nn.Module, picture: Tensor) -> int:
    """Multiplications and additions of one forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(picture)
    return int(counter.get_total_flops())


def _oversubscribed(quick: bool) -> Row:
    """Latency beside four busy processes a core: threads that wait and hold a core, and threads that give it away."""
    wanted = ">= 8"
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range((1 if quick else 4) * (os.cpu_count() or 1))
    ]
    times: dict[str, list[float]] = {"ACTIVE": [], "PASSIVE": []}
    try:
        for _ in range(1 if quick else 5):
            for policy, taken in times.items():
                taken.append(_latency(policy, 3 if quick else 9))
    finally:
        for one in busy:
            one.kill()
            one.wait()
    ratio = median(times["ACTIVE"]) / median(times["PASSIVE"])
    note = (
        f"wall time, {1000 * median(times['PASSIVE']):.0f} ms passive, {1000 * median(times['ACTIVE']):.0f} ms active"
    )
    against = "PyTorch's threads, which wait actively"
    return Row("latency, cores oversubscribed four times", against, wanted, f"{ratio:.1f}", ratio >= 8, note)


def _latency(policy: str, rounds: int) -> float:
    """Median seconds of a forward pass in a process of its own, with as many threads as there are cores."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_"))}
    extra = {} if policy == "ACTIVE" else {"OMP_WAIT_POLICY": policy}
    code = CHILD.format(rounds=rounds)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=keep | extra, check=True)
    return float(done.stdout)


def _large(side: int) -> Iterator[Row]:
    """A large picture in tiles, against all at once: memory of the process, and time."""
    import numpy as np

    model = build_model("smp_unet", 1, encoder="resnet18").eval().to(memory_format=torch.channels_last)
    predictor = Predictor(model, size=512)
    image = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    whole = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255

    def full() -> object:
        with torch.inference_mode():
            return model(whole)

    def tiled() -> object:
        return blended(image, 512, predictor.probs)

    ratio = paired(full, tiled, rounds=3)
    yield Row(f"{side} px in tiles: time", "one full forward pass", ">= 0.83", str(ratio), ratio.median >= 1 / 1.2)
    first, second = _peak("full", side), _peak("tiled", side)
    note = f"{first:.0f} MB at once, {second:.0f} MB in tiles, above the loaded model"
    share = first / max(second, 1)
    yield Row(f"{side} px in tiles: memory", "one full forward pass", ">= 10", f"{share:.1f}", share >= 10, note)


MEMORY = """
import resource, sys, numpy as np, torch
from pathlib import Path
from seglab.inference import Predictor
from seglab.models import build_model
from seglab.tiles import blended
torch.set_num_threads(1)

def peak():  # in kB; what getrusage tells on Linux begins with the peak of the process that started this one
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))

model = build_model("smp_unet", 1, encoder="resnet18").eval().to(memory_format=torch.channels_last)
predictor = Predictor(model, size=512)
image = np.zeros(({side}, {side}, 3), np.uint8)
with torch.inference_mode():
    predictor.probs(image[:512, :512])
    before = peak()
    if "{way}" == "full":
        model(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    else:
        blended(image, 512, predictor.probs)
print((peak() - before) / 1024)
"""


def _peak(way: str, side: int) -> float:
    """Megabytes that a process of its own needs above the loaded model."""
    code = MEMORY.format(side=side, way=way)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)
