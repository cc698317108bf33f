"""One step of training, and what is kept of an epoch's steps.

A look at a number on a GPU makes the processor wait until the GPU has computed it, and the GPU then waits for its next
work. So there nothing is looked at within an epoch: losses and gradient norms stay on the device, and `Tally` reads
them once, before anything of the epoch is saved. On the processor each is looked at as it comes, and a bad one stops
the training before it reaches the weights. The records are the same, bit for bit.
"""

import copy
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from seglab import augmentation, distributed, norms
from seglab.batches import Batch, Cache, batches
from seglab.config import TrainConfig
from seglab.devices import autocast_to_train, needs_scaling, sent
from seglab.models import Segmenter
from seglab.resume import TrainState, intact
from seglab.runs import Loss
from seglab.schedules import learning_rate

__all__ = ["Tally", "exact", "feed", "looks_at_once", "pooled", "start", "step", "total_loss", "update_average"]


def looks_at_once(device: torch.device) -> bool:
    """Whether a look at a number costs nothing there.

    Example:
        >>> looks_at_once(torch.device("cpu")), looks_at_once(torch.device("cuda"))
        (True, False)
    """
    return device.type != "cuda"


def start(model: Segmenter, config: TrainConfig, device: torch.device) -> TrainState:
    """A state before the first epoch.

    Args:
        model: On the device.
        config: Its seed, optimizer, lr, weight_decay, ema and amp count.
        device: Where the steps will be.
    """
    torch.manual_seed(config.seed)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    # One kernel for all weights. Not on a processor: there PyTorch 2.15 steps wrongly, and says nothing, where a
    # gradient lies otherwise in memory than its weight (channels last against not).
    fused = True if device.type == "cuda" else None
    optimizer = kinds[config.optimizer](model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=fused)
    average = copy.deepcopy(model).requires_grad_(False) if config.ema > 0 else None
    scaler = torch.amp.GradScaler(device.type, enabled=needs_scaling(device, config.amp))
    return TrainState(model, average, optimizer, scaler)


def feed(fit: Cache, config: TrainConfig, epoch: int, device: torch.device) -> Iterator[Batch]:
    """This process's part of the batches of an epoch, augmented.

    Args:
        fit: The pictures.
        config: Its batch_size, seed, workers and the settings of augmentation count.
        epoch: Epochs finished before.
        device: Where the steps are.
    """
    draw = partial(
        augmentation.draw, config.seed, epoch, rotation=config.augment_rotation, strength=config.augment_strength
    )
    return batches(
        fit,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=epoch,
        draw=draw if config.augment else None,
        workers=config.workers,
        mine=distributed.mine,
        device=device,
    )


class Tally:
    """Losses and gradient norms of one epoch's steps.

    Args:
        epoch: Epochs finished before, for messages.
        names: Names of the pictures, for messages.
        at_once: Look at each number as it comes; False keeps all on their device until `mean`.

    Example:
        >>> tally = Tally(0, ["a", "b", "c"], at_once=False)
        >>> for value, group in ((1.0, (0, 2)), (4.0, (1,))):
        ...     tally.loss(torch.tensor(value), group)
        ...     tally.gradient(torch.tensor(0.5))
        >>> tally.mean()
        2.0
    """

    def __init__(self, epoch: int, names: Sequence[str], *, at_once: bool) -> None:
        self._epoch, self._names, self._at_once = epoch, names, at_once
        self._groups: list[tuple[int, ...]] = []
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []

    def loss(self, value: Tensor, group: tuple[int, ...]) -> None:
        """Keep the loss of a batch.

        Raises:
            ValueError: If it is not finite, and looked at.
        """
        self._groups.append(group)
        self._losses.append(value.detach())
        if self._at_once and not torch.isfinite(value):
            raise self._bad_loss(float(value.detach()), group)

    def gradient(self, norm: Tensor) -> None:
        """Keep the norm of the gradient of the batch whose loss was kept last.

        Raises:
            ValueError: If it is not finite, and looked at.
        """
        self._norms.append(norm)
        if self._at_once and not torch.isfinite(norm):
            raise self._bad_gradient(float(norm), self._groups[-1])

    def mean(self) -> float:
        """Mean loss of a picture; the one time that a device is waited for.

        Raises:
            ValueError: If a loss or a gradient was not finite; it names the first.
        """
        losses, found = torch.stack(self._losses), torch.zeros(0)
        if self._norms and not self._at_once:
            found = torch.stack(self._norms)
        values, sizes = losses.tolist(), found.tolist()
        for index, (value, group) in enumerate(zip(values, self._groups, strict=True)):
            if not -torch.inf < value < torch.inf:
                raise self._bad_loss(value, group)
            if index < len(sizes) and not sizes[index] < torch.inf:
                raise self._bad_gradient(sizes[index], group)
        total, seen = 0.0, 0
        for value, group in zip(values, self._groups, strict=True):
            total += value * len(group)
            seen += len(group)
        return total / seen

    def _bad_loss(self, value: float, group: tuple[int, ...]) -> ValueError:
        return ValueError(f"loss must be finite; got {value} {self._where(group)}")

    def _bad_gradient(self, norm: float, group: tuple[int, ...]) -> ValueError:
        return ValueError(f"gradient must be finite; got norm {norm} {self._where(group)}")

    def _where(self, group: tuple[int, ...]) -> str:
        pictures = ", ".join(self._names[i] for i in group[:4])
        return f"in epoch {self._epoch + 1}, batch with {pictures}. {intact(self._epoch)}"


def step(  # noqa: PLR0913 - what learns, from what, how, and who keeps count
    state: TrainState, net: nn.Module, loss: Loss, batch: Batch, config: TrainConfig, *, progress: float, tally: Tally
) -> None:
    """One update of the weights.

    Args:
        state: What learns.
        net: What computes `state.model`: itself, compiled, or shared by several processes.
        loss: As `train` takes it.
        batch: This process's part of the pictures.
        config: How.
        progress: Epochs done, with fractions, for the learning rate.
        tally: Keeps the loss and the gradient's norm.

    Raises:
        ValueError: If one of these is not finite, and the tally looks at it.
    """
    count = len(batch.group)
    device = next(state.model.parameters()).device
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, progress, state.lr_scale)
    state.optimizer.zero_grad(set_to_none=True)  # before the forward pass: CUDA graphs write over these gradients
    images, masks = sent(batch.images, device, torch.channels_last), sent(batch.masks, device)
    with autocast_to_train(state.model, device, config.amp), norms.together(config.sync_bn, count):
        outputs = net(images)
    value = total_loss(loss, pooled(outputs, count), distributed.pooled(masks, count))
    tally.loss(value, batch.group)
    shared = value * distributed.world()  # the mean of all processes' gradients is then that of `value`
    state.scaler.scale(shared).backward()  # type: ignore[no-untyped-call]
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.get_total_norm([p.grad for p in state.model.parameters() if p.grad is not None])
    if not state.scaler.is_enabled():  # a scaler skips steps with a bad gradient by itself
        tally.gradient(norm)
    if config.grad_clip is not None:
        nn.utils.clip_grads_with_norm_(state.model.parameters(), config.grad_clip, norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.step += 1
    if state.average is not None:
        update_average(state.average, state.model, min(config.ema, (1 + state.step) / (10 + state.step)))


def pooled(outputs: Tensor | list[Tensor], count: int) -> list[Tensor]:
    """The logits of the whole batch, of all processes."""
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    return [distributed.pooled(one, count) for one in outputs]


def total_loss(loss: Loss, outputs: Tensor | list[Tensor], target: Tensor) -> Tensor:
    """The loss, in float32 at least; over several supervised outputs, their mean."""
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    return torch.stack([loss(exact(one), target) for one in outputs]).mean()


def exact(logits: Tensor) -> Tensor:
    """Logits in float32 at least: half precision is for the network, not for the loss.

    Example:
        >>> exact(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the average towards the model; whole numbers (batch counters) are copied."""
    source = model.state_dict()
    pairs = [(mean, source[name]) for name, mean in average.state_dict().items()]
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    whole = [pair for pair in pairs if not pair[0].is_floating_point()]
    torch._foreach_lerp_([mean for mean, _ in floats], [value for _, value in floats], 1 - decay)
    if whole:
        torch._foreach_copy_([mean for mean, _ in whole], [value for _, value in whole])
