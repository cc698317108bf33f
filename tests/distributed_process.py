"""What each of two processes does: `torchrun --nproc-per-node 2 tests/distributed_process.py FOLDER [command ...]`.

Without a command it leaves in FOLDER the runs of `JOBS`, and what its own rank computed as RANK.pt. The command
`gradients` leaves the errors of every model's gradients there. Any other runs the command line, where process 1 fails
in the second epoch.
"""

import contextlib
import copy
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from small_pictures import discs
from torch import Tensor, nn
from torch.nn import functional as F
from training_process import StopError, hurry

from seglab import cli, compiling, distributed, norms, stepping, training
from seglab.config import TrainConfig
from seglab.losses import build_loss
from seglab.models import Segmenter, build_model, list_models

sys.path.append(str(Path(__file__).parent / "models"))
from sizes import SMALL  # noqa: E402

QUICK = {"size": 32, "lr": 0.1, "amp": False, "device": "cpu", "workers": 1, "schedule": "cosine", "batch_size": 4}
JOBS = {  # the last batch of eleven pictures has three, the last validation batch one
    "sync": {"sync_bn": True, "epochs": 3, "freeze_epochs": 1, "ema": 0.5, "grad_clip": 0.5},
    "group": {"epochs": 2, "warmup_epochs": 1},
    "one": {"sync_bn": True, "epochs": 2},
    "own": {"epochs": 3, "ema": 0.5, "optimizer": "adamw"},
    "compiled": {"epochs": 3, "ema": 0.5, "optimizer": "adamw", "freeze_epochs": 1, "compile": True},
    "not compiled": {"epochs": 3, "ema": 0.5, "optimizer": "adamw", "freeze_epochs": 1},
    "later": {"epochs": 3, "ema": 0.5, "optimizer": "adamw", "freeze_epochs": 1},
}
SHAPE = (5, 3, 4, 6)


class Net(nn.Module):
    """Two supervised outputs, a norm of choice, and a parameter that nothing uses."""

    stride = 4
    num_classes = 1

    def __init__(self, norm: Callable[[int], nn.Module], dropout: float) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), norm(8), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, bias=False), norm(8), nn.ReLU(), nn.Dropout(dropout))
        self.heads = nn.ModuleList(nn.Conv2d(8, 1, 1) for _ in range(2))
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        first = self.encoder(x)
        both = [head(part) for head, part in zip(self.heads, (self.middle(first), first), strict=True)]
        both = [F.interpolate(one, size=x.shape[-2:], mode="bilinear") for one in both]
        return both if self.training else both[0]


def net_of(job: str) -> Segmenter:
    """The network of a job, with the same weights each time."""
    torch.manual_seed(7)
    norm = partial(nn.GroupNorm, 2) if job == "group" else nn.BatchNorm2d
    return Segmenter(Net(norm, 0.3 if job == "own" else 0.0))


def run(job: str, out: Path, stop: int | None = None) -> None:
    """Train what a job says, by plain gradient descent unless it says how; stop after an epoch, if asked to."""
    settings = TrainConfig(**QUICK | JOBS[job])
    loss = build_loss("dice", reduce="batch")  # a ratio of sums over the batch: no mean of the parts' losses

    def on_epoch(record: dict[str, float]) -> None:
        if record["epoch"] == stop:
            raise StopError

    compiling.BACKEND = "aot_eager"  # gradients as compiled code gives them, without the wait for a compiler
    training.looks_at_once, training.saves_apart = (lambda device: job != "later"), (lambda device: job == "later")
    adam, torch.optim.Adam = torch.optim.Adam, torch.optim.SGD
    try:
        fit, val = discs(1 if job == "one" else 11), discs(5, seed=1, prefix="v")
        training.train(net_of(job), loss, fit, val, settings, out=out, on_epoch=on_epoch)
    finally:
        torch.optim.Adam = adam


def numbers() -> dict[str, Tensor]:
    """A batch, the slope of the loss, and the parameters of a batch norm; the same in all processes."""
    random = torch.Generator().manual_seed(3)
    draw = partial(torch.randn, generator=random)
    return {"x": draw(SHAPE) * 3 + 50, "slope": draw(SHAPE), "weight": draw(3), "bias": draw(3)}


def normalised(count: int, wanted: bool = True) -> dict[str, Tensor]:
    """This process's part of a batch norm in training, with its gradients."""
    given = numbers()
    own = list(distributed.mine(tuple(range(count))))
    rows = distributed.shares(count)[distributed.rank()]
    norm = nn.BatchNorm2d(3, momentum=0.3)
    norm.load_state_dict(given | norm.state_dict() | {name: given[name] for name in ("weight", "bias")}, strict=False)
    x = given["x"][own].requires_grad_()
    with norms.together(wanted, count):
        y = norm(x)
    (y * given["slope"][own])[:rows].sum().backward()
    state = {name: value for name, value in norm.state_dict().items() if "running" in name or "tracked" in name}
    return {"y": y[:rows].detach(), "dx": x.grad, "dw": norm.weight.grad, "db": norm.bias.grad} | state


def pooled(count: int) -> dict[str, Tensor]:
    """The whole batch from its parts, and the gradient of a loss that is no mean, in this process's part."""
    own = list(distributed.mine(tuple(range(count))))
    part = numbers()["x"][own].to(torch.bfloat16).requires_grad_()
    whole = distributed.pooled(part, count)
    (whole.float().sum().square() / whole.float().square().sum()).backward()
    return {"whole": whole.detach(), "grad": part.grad}


def refused() -> str:
    """What processes are told that were given different things."""
    try:
        distributed.require_alike({"loss": "dice" if distributed.is_first() else "bce"})
    except ValueError as error:
        return str(error)
    return ""


def everything(folder: Path) -> None:
    """Compute what the tests compare."""
    with distributed.joined("cpu"):
        rank = distributed.rank()
        found = {f"norm {count}": normalised(count) for count in (5, 1)} | {"alone": normalised(5, wanted=False)}
        found |= {f"pooled {count}": pooled(count) for count in (5, 1)} | {"refused": refused()}
        found["first"] = distributed.from_first({"rank": torch.tensor(rank), "text": f"of {rank}"})
        torch.save(found, folder / f"{rank}.pt")
    for job in JOBS:
        run(job, folder / job)
    with contextlib.suppress(StopError, ConnectionError):  # the first stops, the other loses it
        run("own", folder / "stopped", stop=2)
    run("own", folder / "stopped")


def gradients(name: str) -> tuple[float, float]:
    """Largest error of any gradient or statistic of a model of that name, and the largest gradient, in float64."""
    torch.manual_seed(0)
    model = build_model(name, 1, **SMALL.get(name, {})).double().train()
    for layer in model.modules():
        if type(layer).__name__ in ("Dropout", "Dropout2d", "DropPath", "StochasticDepth"):
            layer.p = layer.drop_prob = 0.0
    alone = copy.deepcopy(model)
    images, target = torch.rand(3, 3, 64, 64).double(), (torch.rand(3, 64, 64) > 0.5).long()
    loss, own = build_loss("dice", reduce="batch"), list(distributed.mine((0, 1, 2)))
    stepping.total_loss(loss, alone(images), target).backward()
    net = distributed.wrapped(model)
    with norms.together(True, 3):
        outputs = net(images[own])
    value = stepping.total_loss(loss, stepping.pooled(outputs, 3), distributed.pooled(target[own], 3))
    (value * distributed.world()).backward()
    pairs = list(zip(alone.parameters(), model.parameters(), strict=True))
    assert all((a.grad is None) == (b.grad is None) for a, b in pairs)
    slopes = [(a.grad, b.grad) for a, b in pairs if a.grad is not None]
    both = slopes + list(zip(alone.buffers(), model.buffers(), strict=True))
    return max(float((a - b).abs().max()) for a, b in both), max(float(a.abs().max()) for a, _ in slopes)


def fail_in_second_epoch() -> None:
    """Let this process meet an error that the others do not."""
    step = training.step

    def failing(state: training.TrainState, *others: object, **named: object) -> None:
        if state.epoch == 1:
            raise ValueError("picture p3 must be whole; got half of it.")
        step(state, *others, **named)

    training.step = failing


if __name__ == "__main__":
    hurry()
    (Path(sys.argv[1]) / f"{distributed.rank()}.pid").write_text(str(os.getpid()))
    if sys.argv[2:] == ["gradients"]:
        with distributed.joined("cpu"):
            found = {name: gradients(name) for name in list_models()}
            torch.save(found, Path(sys.argv[1]) / f"{distributed.rank()}.pt")
    elif sys.argv[2:]:
        if distributed.rank() == 1:
            fail_in_second_epoch()
        sys.exit(cli.main(sys.argv[2:]))
    else:
        everything(Path(sys.argv[1]))
