"""Fit a model: freeze then unfreeze, mixed precision, schedules, early stopping, checkpoints, exact resume."""

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from seglab import distributed, metrics
from seglab.batches import Cache
from seglab.checkpoint import BEST, Description, description_text, load_into
from seglab.compiling import compiler, prepared, require_own_norms
from seglab.config import TrainConfig
from seglab.contract import to_mask
from seglab.data import Dataset
from seglab.devices import autocast, sent
from seglab.files import atomic_text
from seglab.history import History, Record, log_tensorboard
from seglab.inference import Predictor
from seglab.models import Segmenter
from seglab.records import environment
from seglab.resume import SCORE, TrainState, resume_run, share
from seglab.runs import Loss, explained, facts_of, held
from seglab.saving import Saver, saves_apart
from seglab.schedules import learning_rate
from seglab.stepping import Tally, exact, feed, looks_at_once, start, step

__all__ = ["train"]


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
            two epochs), epoch_NNN.safetensors, history.csv, history.txt, curves.png (drawn every few seconds, and at
            the end) and tensorboard/.
        on_epoch: Called with each epoch's record, in the first process, when the epoch's files are whole and no newer
            ones have begun; on a GPU that is between the first steps of the next epoch. An exception in it stops the
            run, which can be resumed.
        resume: Go on where the run folder stopped, from the newest state that is whole; False refuses a folder that
            holds a run.
        card: Facts to keep in the checkpoints' description, as JSON can hold them; "title" becomes its title.

    Raises:
        ValueError: If the data, the model or the resumed run do not fit together, or a loss, gradient or weight is
            not finite: no step is skipped, training stops before the numbers reach a file (on a GPU at the end of the
            epoch, and `model` has met them by then). If config.compile finds no compiler, or one that cannot
            translate the model. If several processes have fewer pictures in a batch than they are, or were given
            different things.
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
    require_own_norms(config.compile, config.sync_bn)
    out, first = Path(out), distributed.is_first()
    with (
        distributed.joined(config.device) as device,
        compiler(config.compile, device),
        held(out) if first else nullcontext(),
        explained(config),
    ):
        state = start(model.to(device).to(memory_format=torch.channels_last), config, device)
        fit, val = (Cache(data, config.size, workers=config.workers) for data in (train_data, val_data))
        facts = facts_of(model, loss, config, fit, val, device)
        distributed.require_alike(facts | {"threads": None, "machine": None})
        description = _with_pictures(description, fit.pictures)
        if first:
            resume_run(out, state, facts, description, wanted=resume)
            told = {k: v for k, v in facts.items() if k != "digests"} | {"environment": environment(device.type)}
            atomic_text(out / "run.json", json.dumps(told, indent=1) + "\n")
        share(state)
        net, apart = prepared(state.model, config, len(fit), device), first and saves_apart(device)
        with (
            History(out, config.freeze_epochs) as history,
            Saver(out, facts, description, config, on_epoch=on_epoch, apart=apart) as saver,
        ):
            if first:
                history.write(state.history)  # a kill may have come between last.pt and these
            while state.epoch < config.epochs and not _out_of_patience(state, config):
                record = _run_epoch(state, net, loss, fit, val, config, between=saver.tell)
                if first:
                    log_tensorboard(out, record)
                    saver.save(state)
                    history.write(state.history)
                    saver.tell()
        return _best(out, model, description)


def _run_epoch(
    state: TrainState,
    net: nn.Module,
    loss: Loss,
    fit: Cache,
    val: Cache,
    config: TrainConfig,
    between: Callable[[], None],
) -> dict[str, float]:
    """One epoch of steps, the validation after it, and the state brought up to date; `between` is called at each step.

    Nothing in here makes a GPU wait but the reading of the losses, and then of the scores.
    """
    frozen = state.epoch < config.freeze_epochs
    state.model.freeze_encoder(frozen)
    state.model.train()
    shared = distributed.wrapped(net)  # anew, because what is frozen changes between epochs
    distributed.reseed(config.seed, state.epoch)
    device = next(state.model.parameters()).device
    tally, seen = Tally(state.epoch, fit.names, at_once=looks_at_once(device)), 0
    bar = {"desc": f"epoch {state.epoch + 1}/{config.epochs}", "disable": None if distributed.is_first() else True}
    total = math.ceil(len(fit) / config.batch_size)
    for batch in tqdm(feed(fit, config, state.epoch, device), total=total, leave=False, **bar):
        step(state, shared, loss, batch, config, progress=state.epoch + seen / len(fit), tally=tally)
        seen += len(batch.group)
        between()
    train_loss = tally.mean()
    distributed.level(state.model, state.average)
    scores = _validate(state.scored, loss, val, config)
    record = {
        "epoch": state.epoch + 1,
        "lr": learning_rate(config, state.epoch + 1, state.lr_scale),  # what the epoch came to
        "train_loss": train_loss,
        **scores,
        "encoder_frozen": float(frozen),
    }
    _end_epoch(state, record, config, val.has_objects)
    return record


def _validate(model: Segmenter, loss: Loss, val: Cache, config: TrainConfig) -> dict[str, float]:
    """Loss and scores on the validation set at the training size, padding left out; read when all is computed."""
    model.eval()
    device = next(model.parameters()).device
    source, losses, counts = val.on(device), [], []
    with torch.inference_mode():
        for begin in range(0, len(val), config.batch_size):
            group = tuple(range(begin, min(begin + config.batch_size, len(val))))
            batch = val.batch(distributed.mine(group), source=source)
            masks = distributed.pooled(sent(batch.masks, device), len(group))
            with autocast(device, config.amp):
                logits = distributed.pooled(model(sent(batch.images, device)), len(group))
            losses.append((loss(exact(logits), masks), len(group)))
            counts.append(metrics.counts(to_mask(logits), masks, model.num_classes))
        total = sum(float(value) * size for value, size in losses)
        table = metrics.aggregate(torch.cat(counts).cpu())
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
