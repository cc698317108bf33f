"""Fit a model: freeze then unfreeze, mixed precision, schedules, early stopping, checkpoints, exact resume."""

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from seglab import augmentation, distributed, metrics, norms
from seglab.batches import Batch, Cache, Draw, batches
from seglab.checkpoint import BEST, Description, description_text, load_into
from seglab.config import TrainConfig
from seglab.contract import to_mask
from seglab.data import Dataset
from seglab.devices import autocast, autocast_to_train, needs_scaling
from seglab.files import atomic_text
from seglab.history import Record, log_tensorboard, write_history
from seglab.inference import Predictor, to_batch
from seglab.models import Segmenter
from seglab.records import environment
from seglab.resume import SCORE, TrainState, intact, resume_run, save, share
from seglab.runs import Loss, explained, facts_of, held

__all__ = ["learning_rate", "train"]


def train(  # noqa: PLR0913 - five say what is trained, four how
    model: Segmenter,
    loss: Loss,
    train_data: Dataset,
    val_data: Dataset,
    config: TrainConfig,
    *,
    out: str | Path,
    on_epoch: Callable[[Record], None] | None = None,
    resume: bool = True,
    card: Mapping[str, Any] | None = None,
) -> Predictor:
    """Fit the model and return the predictor of its best epoch; all that a later resume needs is in `out`.

    "Best" is the highest mean per-image Dice on the validation set, at the training size; if no picture there shows an
    object, the lowest loss. On one machine, with the same
    versions and number of threads, a run on the CPU that was stopped and resumed ends with the same bits as one that
    was not.

    Several processes train together if torchrun starts them:
    `torchrun --nproc-per-node 2 -m seglab train unet ce_dice pictures --out runs/a batch_size=8 sync_bn=true`, or a
    script of one's own that calls this. The result is that of one process with the same batch_size, up to rounding;
    `seglab.distributed` says what differs without sync_bn, and with dropout. The first process writes.

    Args:
        model: From `build_model`, or `Segmenter(net)` for a network of one's own. It is trained in place, and ends
            with its last weights, which need not be its best.
        loss: `(logits (N, K, H, W), target (N, H, W)) -> scalar`, for example from `build_loss`.
        train_data: Pictures to fit.
        val_data: Pictures to choose the best epoch by; never report on them.
        config: How.
        out: Run folder: run.json, best.safetensors and its copy, last.pt and previous.pt (the states after the last
            two epochs), epoch_NNN.safetensors, history.csv, history.txt, curves.png and tensorboard/.
        on_epoch: Called with each epoch's record, in the first process; an exception in it stops the run, which can be
            resumed.
        resume: Go on where the run folder stopped, from the newest state that is whole; False refuses a folder that
            holds a run.
        card: Facts to keep in the checkpoints' description, as JSON can hold them; "title" becomes its title.

    Raises:
        ValueError: If the data, the model or the resumed run do not fit together, or a loss, gradient or weight is
            not finite: no step is skipped, training stops before the numbers reach a file. If several processes
            have fewer pictures in a batch than they are, or were given different things.
        MemoryError: If there is too little memory.
        OSError: If the run folder cannot be written, or another process trains in it; or one of several processes
            ended.

    Example:
        >>> import tempfile
        >>> from seglab import build_loss, build_model, load_dataset
        >>> data = load_dataset("synthetic", count=(4, 2, 2), size=(32, 32))
        >>> model, config = build_model("unet", 1, width=4), TrainConfig(epochs=1, size=32)
        >>> best = train(model, build_loss("bce_dice"), data.train, data.val, config, out=tempfile.mkdtemp())
        >>> best(data.test[0].image).mask.shape
        (32, 32)
    """
    if not isinstance(model, Segmenter):
        raise ValueError(f"model must be a Segmenter; got {type(model).__name__}. Wrap a bare network: Segmenter(net).")
    _require_classes(model, train_data, val_data)
    description = _describe(model, train_data, config, card)
    distributed.require_shares(config.batch_size)
    out, first = Path(out), distributed.is_first()
    with distributed.joined(config.device) as device, held(out) if first else nullcontext(), explained(config):
        state = _start(model.to(device).to(memory_format=torch.channels_last), config, device)
        fit = Cache(train_data, config.size, workers=config.workers)
        val = Cache(val_data, config.size, workers=config.workers)
        facts = facts_of(model, loss, config, fit, val, device)
        distributed.require_alike(facts | {"threads": None, "machine": None})
        description = _with_pictures(description, fit.pictures)
        if first:
            resume_run(out, state, facts, description, wanted=resume)
            told = {k: v for k, v in facts.items() if k != "digests"} | {"environment": environment(device.type)}
            atomic_text(out / "run.json", json.dumps(told, indent=1) + "\n")
            write_history(out, state.history, config.freeze_epochs)  # a kill may have come between last.pt and these
        share(state)
        while state.epoch < config.epochs and not _out_of_patience(state, config):
            record = _run_epoch(state, loss, fit, val, config)
            if first:
                log_tensorboard(out, record)
                save(out, state, facts, description, config)
                write_history(out, state.history, config.freeze_epochs)
            if first and on_epoch is not None:
                on_epoch(record)
        return _best(out, model, description)


def _draw(config: TrainConfig, epoch: int) -> Draw | None:
    """The augmentation of one epoch, by index of the picture."""
    if not config.augment:
        return None
    return partial(
        augmentation.draw, config.seed, epoch, rotation=config.augment_rotation, strength=config.augment_strength
    )


def _run_epoch(state: TrainState, loss: Loss, fit: Cache, val: Cache, config: TrainConfig) -> dict[str, float]:
    """One epoch of steps, the validation after it, and the state brought up to date."""
    frozen = state.epoch < config.freeze_epochs
    state.model.freeze_encoder(frozen)
    state.model.train()
    net = distributed.wrapped(state.model)  # anew, because what is frozen changes between epochs
    distributed.reseed(config.seed, state.epoch)
    steps = math.ceil(len(fit) / config.batch_size)
    feed = batches(
        fit,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=state.epoch,
        draw=_draw(config, state.epoch),
        workers=config.workers,
        mine=distributed.mine,
        device=next(state.model.parameters()).device,
    )
    total, seen = 0.0, 0
    quiet = None if distributed.is_first() else True
    for batch in tqdm(feed, total=steps, desc=f"epoch {state.epoch + 1}/{config.epochs}", leave=False, disable=quiet):
        value = _step(state, net, loss, batch, config, progress=state.epoch + seen / len(fit), names=fit.names)
        total += value * len(batch.group)
        seen += len(batch.group)
    distributed.level(state.model, state.average)
    scores = _validate(state.scored, loss, val, config)
    record = {
        "epoch": state.epoch + 1,
        "lr": learning_rate(config, state.epoch + 1, state.lr_scale),  # what the epoch came to
        "train_loss": total / seen,
        **scores,
        "encoder_frozen": float(frozen),
    }
    _end_epoch(state, record, config, val.has_objects)
    return record


def _step(
    state: TrainState,
    net: nn.Module,
    loss: Loss,
    batch: Batch,
    config: TrainConfig,
    *,
    progress: float,
    names: list[str],
) -> float:
    """One update of the weights; returns the loss of the whole batch."""
    count = len(batch.group)
    device = next(state.model.parameters()).device
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, progress, state.lr_scale)
    images = batch.images.to(device, memory_format=torch.channels_last)
    with autocast_to_train(state.model, device, config.amp), norms.together(config.sync_bn, count):
        outputs = net(images)
    value = _total_loss(loss, _pooled(outputs, count), distributed.pooled(batch.masks.to(device), count))
    pictures = ", ".join(names[i] for i in batch.group[:4])
    where = f"in epoch {state.epoch + 1}, batch with {pictures}. {intact(state.epoch)}"
    if not torch.isfinite(value):
        raise ValueError(f"loss must be finite; got {float(value.detach())} {where}")
    state.optimizer.zero_grad(set_to_none=True)
    shared = value * distributed.world()  # the mean of all processes' gradients is then that of `value`
    state.scaler.scale(shared).backward()  # type: ignore[no-untyped-call]
    state.scaler.unscale_(state.optimizer)
    gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if not state.scaler.is_enabled() and not torch.isfinite(norm):  # a scaler skips such steps by itself
        raise ValueError(f"gradient must be finite; got norm {float(norm)} {where}")
    if config.grad_clip is not None:
        nn.utils.clip_grads_with_norm_(state.model.parameters(), config.grad_clip, norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.step += 1
    if state.average is not None:
        _update_average(state.average, state.model, min(config.ema, (1 + state.step) / (10 + state.step)))
    return float(value.detach())


def _pooled(outputs: Tensor | list[Tensor], count: int) -> list[Tensor]:
    """The logits of the whole batch."""
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    return [distributed.pooled(one, count) for one in outputs]


def _total_loss(loss: Loss, outputs: Tensor | list[Tensor], target: Tensor) -> Tensor:
    """The loss, in float32 at least; over several supervised outputs, their mean."""
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    return torch.stack([loss(_exact(one), target) for one in outputs]).mean()


def _exact(logits: Tensor) -> Tensor:
    """Logits in float32 at least: half precision is for the network, not for the loss."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _validate(model: Segmenter, loss: Loss, val: Cache, config: TrainConfig) -> dict[str, float]:
    """Loss and scores on the validation set at the training size, padding left out."""
    model.eval()
    device = next(model.parameters()).device
    total, counts = 0.0, []
    with torch.inference_mode():
        for start in range(0, len(val), config.batch_size):
            group = tuple(range(start, min(start + config.batch_size, len(val))))
            own = distributed.mine(group)
            images = to_batch(val.images[own[0] : own[-1] + 1]).to(device)
            masks = torch.from_numpy(val.masks[group[0] : group[-1] + 1]).long().to(device)
            with autocast(device, config.amp):
                logits = distributed.pooled(model(images), len(group))
            total += float(loss(_exact(logits), masks)) * len(masks)
            counts.append(metrics.counts(to_mask(logits), masks, model.num_classes).cpu())
    table = metrics.aggregate(torch.cat(counts))
    names = ("dice_fg_image", "iou_fg_image", "iou_fg_pooled", f"miou_{max(2, model.num_classes)}class_pooled")
    return {"val_loss": total / len(val), **{f"val_{name}": table[name].value for name in names}}


def _end_epoch(state: TrainState, record: dict[str, float], config: TrainConfig, has_objects: bool) -> None:
    """Count the epoch, note whether it is the best, and let the plateau schedule step down.

    Without any object to find, Dice is either not defined (nothing found: right) or 0, and says nothing.
    """
    state.epoch += 1
    state.history.append(record)
    score = record[SCORE] if has_objects else -record["val_loss"]
    if state.epoch == 1 or score > state.best:  # never true for NaN, but there is always a best epoch
        score = score if math.isfinite(score) else -math.inf
        state.best, state.stale = score, 0
    else:
        state.stale += 1
    if config.schedule == "plateau" and state.stale > 0 and state.stale % 5 == 0:
        state.lr_scale *= 0.2


def learning_rate(config: TrainConfig, progress: float, scale: float) -> float:
    """Learning rate after `progress` epochs (with fractions).

    Args:
        config: Its lr, min_lr, schedule, warmup_epochs and epochs count.
        progress: Epochs done, 0 upwards.
        scale: What the plateau schedule has come down to, in (0, 1].

    Example:
        >>> config = TrainConfig(epochs=10, lr=1.0, min_lr=0.0, schedule="cosine")
        >>> [round(learning_rate(config, epochs, 1.0), 6) for epochs in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """
    if progress < config.warmup_epochs:
        return config.lr * (progress + 0.05) / (config.warmup_epochs + 0.05)
    share = (progress - config.warmup_epochs) / max(1e-9, config.epochs - config.warmup_epochs)
    share = min(1.0, share)
    if config.schedule == "cosine":
        return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * share)) / 2
    if config.schedule == "poly":
        return max(config.min_lr, config.lr * math.pow(1 - share, 0.9))
    return max(config.min_lr, config.lr * scale)


def _start(model: Segmenter, config: TrainConfig, device: torch.device) -> TrainState:
    """A state before the first epoch."""
    torch.manual_seed(config.seed)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kinds[config.optimizer](model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    average = copy.deepcopy(model).requires_grad_(False) if config.ema > 0 else None
    scaler = torch.amp.GradScaler(device.type, enabled=needs_scaling(device, config.amp))
    return TrainState(model, average, optimizer, scaler)


def _require_classes(model: Segmenter, train_data: Dataset, val_data: Dataset) -> None:
    """Refuse data that has other classes than the model, before a label crashes the first step."""
    classes = max(2, model.num_classes)
    for part, data in (("train", train_data), ("val", val_data)):
        if len(data.classes) != classes:
            got = f"{len(data.classes)}: {', '.join(data.classes)}"
            raise ValueError(f"{part} data must have the model's {classes} classes; got {got}.")


def _describe(model: Segmenter, data: Dataset, config: TrainConfig, card: Mapping[str, Any] | None) -> Description:
    """The description that every checkpoint of the run carries."""
    facts = dict(card or {})
    title = str(facts.pop("title", model.name))
    classes = tuple(data.classes)
    description = Description(model.name, dict(model.knobs), model.num_classes, classes, config.size, title, facts)
    description_text(description)  # a card that JSON cannot hold is refused now, not after the first epoch
    return description


def _with_pictures(description: Description, pictures: Sequence[str]) -> Description:
    """The description with the digests of all pictures fitted to, so that a later evaluation can notice them."""
    earlier = description.card.get("trained_on", [])
    return replace(description, card=description.card | {"trained_on": sorted({*earlier, *pictures})})


def _best(out: Path, model: Segmenter, description: Description) -> Predictor:
    """Predictor of best.safetensors; a network of one's own is filled rather than rebuilt."""
    best = copy.deepcopy(model).cpu()
    if distributed.is_first():
        load_into(out / BEST, best)
    if distributed.world() > 1:
        best.load_state_dict(distributed.from_first(best.state_dict()))
    return Predictor(best, size=description.size, classes=description.classes, description=description)


def _out_of_patience(state: TrainState, config: TrainConfig) -> bool:
    return config.patience is not None and state.stale >= config.patience


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the average towards the model; whole numbers (batch counters) are copied."""
    source = model.state_dict()
    pairs = [(mean, source[name]) for name, mean in average.state_dict().items()]
    floats = [(mean, value) for mean, value in pairs if mean.is_floating_point()]
    torch._foreach_lerp_([mean for mean, _ in floats], [value for _, value in floats], 1 - decay)
    for mean, value in pairs:
        if not mean.is_floating_point():
            mean.copy_(value)
