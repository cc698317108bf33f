"""The network of a training step as compiled code: fewer kernels, and on a GPU fewer launches.

`torch.compile` writes code for one shape. So it computes batches of one size, and any other (the last of an epoch) goes
through the network as it is: nothing is ever compiled twice for a shape. Freezing and unfreezing the encoder are two
networks to the compiler, and the second is compiled when it is first met.

It is off unless asked for, because the first step waits for the compiler. On one busy core that took 62 seconds for a
U-Net of width 4 at 32 pixels, and 4 when PyTorch's own cache on the disk had the code. On the processor it gains
nothing over bfloat16 and channels last; what it gains on a GPU has not been measured (`seglab benchmark gpu` does).

Below GRAPHS_BELOW pixels a GPU waits for the processor to launch kernels, so there the compiled network is replayed as
CUDA graphs. Not with several processes, where they have not been tried. No GPU has run any of this yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from seglab import distributed
from seglab.config import TrainConfig
from seglab.devices import out_of_memory

__all__ = ["GRAPHS_BELOW", "Compiled", "compiler", "mode_of", "prepared", "require_own_norms"]

GRAPHS_BELOW = 512  # pixels, the side of a training picture
BACKEND = "inductor"
REMEDY = "Train with compile=false, which gives the same result up to rounding"


class Compiled(nn.Module):
    """A model whose batches of one size are computed by compiled code.

    It holds the model itself: names, weights and modes are the model's.

    Args:
        model: What is compiled, at the first batch.
        rows: Pictures in the batches that are.
        mode: As `torch.compile` has it, see `mode_of`.

    Raises:
        ValueError: From a forward pass, if the compiler cannot translate this network.

    Example:
        >>> model = Compiled(nn.Conv2d(3, 1, 1), rows=4, mode=None)
        >>> model(torch.zeros(2, 3, 8, 8)).shape  # another size, so nothing is compiled
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, model: nn.Module, rows: int, mode: str | None) -> None:
        super().__init__()
        self.model, self.rows, self.mode = model, rows, mode
        # Of the method, not of the module: a second module would hold every parameter a second time.
        self._run: Any = torch.compile(model.forward, dynamic=False, mode=mode, backend=BACKEND)

    def forward(self, image: Tensor) -> Any:
        """As the model."""
        if len(image) != self.rows:
            return self.model(image)
        if self.mode is not None:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            return self._run(image)
        except RuntimeError as error:
            if out_of_memory(error) or not _of_the_compiler(error):
                raise
            raise ValueError(f"compile must be false for this model; got {_words(error)}. {REMEDY}.") from error


def mode_of(device: torch.device, size: int, processes: int) -> str | None:
    """How to compile: with CUDA graphs where launches are what a GPU waits for, else plainly.

    Example:
        >>> gpu = torch.device("cuda")
        >>> mode_of(gpu, 256, 1), mode_of(gpu, 512, 1), mode_of(gpu, 256, 2), mode_of(torch.device("cpu"), 256, 1)
        ('reduce-overhead', None, None, None)
    """
    return "reduce-overhead" if device.type == "cuda" and size < GRAPHS_BELOW and processes == 1 else None


def prepared(model: nn.Module, config: TrainConfig, pictures: int, device: torch.device) -> nn.Module:
    """What computes a model's logits in a step: itself, or compiled for the size that most batches have.

    Args:
        model: On the device.
        config: Its compile, batch_size and size count.
        pictures: Pictures in an epoch.
        device: Where the steps are.

    Example:
        >>> model = nn.Conv2d(3, 1, 1)
        >>> prepared(model, TrainConfig(), 10, torch.device("cpu")) is model
        True
        >>> prepared(model, TrainConfig(compile=True, batch_size=8), 5, torch.device("cpu")).rows
        5
    """
    if not config.compile:
        return model
    rows = len(distributed.mine(tuple(range(min(config.batch_size, pictures)))))
    return Compiled(model, rows, mode_of(device, config.size, distributed.world()))


@contextmanager
def compiler(wanted: bool, device: torch.device) -> Iterator[None]:
    """A compiler that has been tried, while the block lasts; afterwards what it made is forgotten.

    Without the end, code and CUDA graphs of each training in a process would keep its memory, and after eight of them
    PyTorch would stop compiling. What else the process has compiled is compiled anew when it is next used.

    Args:
        wanted: False does nothing.
        device: What to compile for.

    Raises:
        ValueError: If there is no working compiler.

    Example:
        >>> with compiler(False, torch.device("cpu")):
        ...     pass
    """
    if not wanted:
        yield
        return
    try:
        torch.compile(_probe, dynamic=False, backend=BACKEND)(torch.ones(8, device=device))
    except Exception as error:  # a compiler can fail in more ways than could be listed
        raise ValueError(
            f"compile must be false where PyTorch finds no working compiler; got {_words(error)}. "
            f"Install one (g++ or clang; for a GPU Triton too), or train with compile=false."
        ) from error
    try:
        yield
    finally:
        torch.compiler.reset()


def require_own_norms(wanted: bool, sync_bn: bool) -> None:
    """Refuse to compile a network whose batch norms talk to other processes in the middle of it.

    Raises:
        ValueError: Then.

    Example:
        >>> require_own_norms(True, sync_bn=True)  # one process: nobody to talk to
    """
    if wanted and sync_bn and distributed.world() > 1:
        raise ValueError(
            f"compile must be false with sync_bn=true in {distributed.world()} processes; got true. "
            "Batch norm then waits for the other processes in the middle of the network."
        )


def _probe(numbers: Tensor) -> Tensor:
    return (numbers + 1).relu()


def _of_the_compiler(error: BaseException) -> bool:
    """Whether an error comes from the compiler, not from the network."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor", "torch._functorch", "triton"))


def _words(error: BaseException) -> str:
    """An error in a few words; of one inside the compiler's own, the inner one's."""
    error = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:160]
