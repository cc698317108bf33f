"""Fit a model: freeze then unfreeze, mixed precision, schedules, early stopping, checkpoints, exact resume."""

import copy
import json
import math
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from seglab import metrics
from seglab.batches import Batch, Cache, batches
from seglab.checkpoint import Description, load_into, load_state, save_model, save_state
from seglab.config import TrainConfig
from seglab.contract import to_mask
from seglab.data import Dataset
from seglab.files import atomic_text
from seglab.history import Record, log_tensorboard, write_history
from seglab.inference import Predictor, to_batch
from seglab.models import Segmenter

__all__ = ["train"]

Loss = Callable[[Tensor, Tensor], Tensor]
SCORE = "val_dice_fg_image"  # what "best" and "no improvement" mean: mean over pictures, at the training size
FREE_TO_CHANGE = {"patience", "save_every", "workers", "device"}  # settings that do not change an epoch's result


@dataclass
class TrainState:
    """Everything a stopped run needs to go on as if it had not stopped."""

    model: Segmenter
    average: Segmenter | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps
    lr_scale: float = 1.0  # what the plateau schedule has come down to
    best: float = -math.inf
    stale: int = 0  # epochs since the best score
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def scored(self) -> Segmenter:
        """The model that is scored and saved: the moving average, if there is one."""
        return self.average or self.model

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors, which a reader can load without running anything."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            **{name: getattr(self, name) for name in ("epoch", "step", "lr_scale", "best", "stale", "history")},
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take over a saved state."""
        self.model.load_state_dict(saved["model"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        torch.set_rng_state(saved["random"])
        if saved["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(saved["random_cuda"])
        for name in ("epoch", "step", "lr_scale", "best", "stale", "history"):
            setattr(self, name, saved[name])


def train(
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

    "Best" is the highest mean per-image Dice on the validation set, at the training size. On one machine, with the same
    versions and number of threads, a run on the CPU that was stopped and resumed ends with the same bits as one that
    was not.

    Args:
        model: From `build_model`, or `Segmenter(net)` for a network of one's own.
        loss: `(logits (N, K, H, W), target (N, H, W)) -> scalar`, for example from `build_loss`.
        train_data: Pictures to fit.
        val_data: Pictures to choose the best epoch by; never report on them.
        config: How.
        out: Run folder: run.json, best.safetensors, last.pt, epoch_NNN.safetensors, history.csv, history.txt,
            curves.png and tensorboard/.
        on_epoch: Called with each epoch's record; an exception in it stops the run, which can be resumed.
        resume: Go on where the run folder stopped; False refuses a folder that holds a run.
        card: Facts to keep in the checkpoints' description.

    Raises:
        ValueError: If the data, the model or the resumed run do not fit together, or the loss is not finite.
        OSError: If the run folder cannot be written, or another process trains in it.
    """
    if not isinstance(model, Segmenter):
        raise ValueError(f"model must be a Segmenter; got {type(model).__name__}. Wrap a bare network: Segmenter(net).")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        device = _device(config.device)
        state = _start(model.to(device, memory_format=torch.channels_last), config, device)
        fit = Cache(train_data, config.size, workers=config.workers)
        val = Cache(val_data, config.size, workers=config.workers)
        facts = _facts(model, loss, config, fit, val)
        _resume(out, state, facts, resume)
        description = _describe(model, train_data, config, card)
        atomic_text(out / "run.json", json.dumps({k: v for k, v in facts.items() if k != "digests"}, indent=1) + "\n")
        while state.epoch < config.epochs and not _out_of_patience(state, config):
            record = _run_epoch(state, loss, fit, val, config)
            _save(out, state, facts, description, config)
            write_history(out, state.history, config.freeze_epochs)
            log_tensorboard(out, record)
            if on_epoch is not None:
                on_epoch(record)
        return _best(out, model, description)


def _run_epoch(state: TrainState, loss: Loss, fit: Cache, val: Cache, config: TrainConfig) -> dict[str, float]:
    """One epoch of steps, the validation after it, and the state brought up to date."""
    frozen = state.epoch < config.freeze_epochs
    state.model.freeze_encoder(frozen)
    state.model.train()
    steps = max(1, math.ceil(len(fit) / config.batch_size))
    feed = batches(
        fit,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=state.epoch,
        augment=config.augment,
        workers=config.workers,
    )
    total, seen = 0.0, 0
    for batch in tqdm(feed, total=steps, desc=f"epoch {state.epoch + 1}/{config.epochs}", leave=False, disable=None):
        value = _step(state, loss, batch, config, progress=state.epoch + seen / len(fit), names=fit.names)
        total += value * len(batch.indices)
        seen += len(batch.indices)
    scores = _validate(state.scored, loss, val, config)
    record = {
        "epoch": state.epoch + 1,
        "lr": _learning_rate(config, state.epoch + 1, state.lr_scale),
        "train_loss": total / seen,
        **scores,
        "encoder_frozen": float(frozen),
    }
    _end_epoch(state, record, config)
    return record


def _step(
    state: TrainState, loss: Loss, batch: Batch, config: TrainConfig, *, progress: float, names: list[str]
) -> float:
    """One update of the weights; returns the loss."""
    device = next(state.model.parameters()).device
    for group in state.optimizer.param_groups:
        group["lr"] = _learning_rate(config, progress, state.lr_scale)
    images = batch.images.to(device, memory_format=torch.channels_last)
    with _autocast(device, config.amp):
        outputs = state.model(images)
    value = _total_loss(loss, outputs, batch.masks.to(device))
    if not torch.isfinite(value):
        pictures = ", ".join(names[i] for i in batch.indices[:4])
        raise ValueError(
            f"loss must be finite; got {float(value)} in epoch {state.epoch + 1}, batch with {pictures}. "
            "The last checkpoint is intact; lower lr, or set amp=false."
        )
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(value).backward()
    if config.grad_clip is not None:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), config.grad_clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.step += 1
    if state.average is not None:
        _update_average(state.average, state.model, min(config.ema, (1 + state.step) / (10 + state.step)))
    return float(value.detach())


def _total_loss(loss: Loss, outputs: Tensor | list[Tensor], target: Tensor) -> Tensor:
    """The loss in float32; over several supervised outputs, their mean."""
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    return torch.stack([loss(one.float(), target) for one in outputs]).mean()


def _validate(model: Segmenter, loss: Loss, val: Cache, config: TrainConfig) -> dict[str, float]:
    """Loss and scores on the validation set at the training size, padding left out."""
    model.eval()
    device = next(model.parameters()).device
    total, counts = 0.0, []
    with torch.inference_mode():
        for start in range(0, len(val), config.batch_size):
            images = to_batch(val.images[start : start + config.batch_size]).to(device)
            masks = torch.from_numpy(val.masks[start : start + config.batch_size]).long().to(device)
            with _autocast(device, config.amp):
                logits = model(images)
            total += float(loss(logits.float(), masks)) * len(masks)
            counts.append(metrics.counts(to_mask(logits), masks, model.num_classes).cpu())
    table = metrics.aggregate(torch.cat(counts))
    names = ("dice_fg_image", "iou_fg_image", "iou_fg_pooled", "miou_2class_pooled")
    return {"val_loss": total / len(val), **{f"val_{name}": table[name][0] for name in names if name in table}}


def _end_epoch(state: TrainState, record: dict[str, float], config: TrainConfig) -> None:
    """Count the epoch, note whether it is the best, and let the plateau schedule step down."""
    state.epoch += 1
    state.history.append(record)
    score = record[SCORE] if math.isfinite(record[SCORE]) else -record["val_loss"]
    if score > state.best:
        state.best, state.stale = score, 0
    else:
        state.stale += 1
    if config.schedule == "plateau" and state.stale > 0 and state.stale % 5 == 0:
        state.lr_scale *= 0.2


def _learning_rate(config: TrainConfig, progress: float, scale: float) -> float:
    """Learning rate after `progress` epochs (with fractions)."""
    if progress < config.warmup_epochs:
        return config.lr * (progress + 0.05) / (config.warmup_epochs + 0.05)
    share = (progress - config.warmup_epochs) / max(1e-9, config.epochs - config.warmup_epochs)
    share = min(1.0, share)
    if config.schedule == "cosine":
        return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * share)) / 2
    if config.schedule == "poly":
        return max(config.min_lr, config.lr * (1 - share) ** 0.9)
    return max(config.min_lr, config.lr * scale)


def _start(model: Segmenter, config: TrainConfig, device: torch.device) -> TrainState:
    """A state before the first epoch."""
    torch.manual_seed(config.seed)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kinds[config.optimizer](model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    average = copy.deepcopy(model).requires_grad_(False) if config.ema > 0 else None
    half = config.amp and device.type == "cuda" and not torch.cuda.is_bf16_supported()
    return TrainState(model, average, optimizer, torch.amp.GradScaler(device.type, enabled=half))


def _resume(out: Path, state: TrainState, facts: Mapping[str, Any], resume: bool) -> None:
    """Take over the run in the folder, if there is one and it is the same run."""
    path = out / "last.pt"
    if not path.exists():
        return
    if not resume:
        raise ValueError(f"run folder {out} must be new; it holds a run. Choose another, or resume it.")
    saved = load_state(path)
    _require_same(saved["facts"], facts, out)
    state.restore(saved)


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any], out: Path) -> None:
    """Refuse to go on with another model, loss, configuration or data; say what differs."""
    free = set(FREE_TO_CHANGE)
    if before["config"]["schedule"] in ("constant", "plateau"):
        free.add("epochs")  # these schedules do not look ahead
    for name, value in now["config"].items():
        if name not in free and before["config"].get(name) != value:
            why = " The schedule was planned for it." if name == "epochs" else ""
            raise ValueError(
                f"{name} must be {before['config'].get(name)!r} as in the run {out}; got {value!r}.{why} "
                "Use another --out for another run."
            )
    for name in ("model", "knobs", "num_classes", "loss"):
        if before[name] != now[name]:
            raise ValueError(f"{name} must be {before[name]!r} as in the run {out}; got {now[name]!r}.")
    for part, digests in now["digests"].items():
        changed = sorted(k for k in before["digests"][part].keys() | digests.keys()
                         if before["digests"][part].get(k) != digests.get(k))  # fmt: skip
        if changed:
            raise ValueError(f"{part} data must be as in the run {out}; {len(changed)} pictures differ, e.g. {changed[0]}.")
    for name in ("versions", "threads"):
        if before[name] != now[name]:
            warnings.warn(f"{name} were {before[name]} in the run {out} and are {now[name]} now: "
                          "the result will not be equal bit for bit.", stacklevel=4)  # fmt: skip


def _facts(model: Segmenter, loss: Loss, config: TrainConfig, fit: Cache, val: Cache) -> dict[str, Any]:
    """What must be the same for a resume to be exact, and what a reader of the run wants to know."""
    return {
        "model": model.name,
        "knobs": model.knobs,
        "num_classes": model.num_classes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss": _loss_text(loss),
        "config": config.to_dict(),
        "pictures": {"train": len(fit), "val": len(val)},
        "digests": {"train": fit.digests, "val": val.digests},
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }


def _loss_text(loss: Loss) -> str:
    """A loss as name and settings."""
    name = getattr(getattr(loss, "func", loss), "__name__", type(loss).__name__)
    return f"{name}({', '.join(f'{k}={v}' for k, v in sorted(getattr(loss, 'keywords', {}).items()))})"


def _describe(model: Segmenter, data: Dataset, config: TrainConfig, card: Mapping[str, Any] | None) -> Description:
    """The description that every checkpoint of the run carries."""
    facts = dict(card or {})
    title = str(facts.pop("title", model.name))
    return Description(model.name, dict(model.knobs), model.num_classes, tuple(data.classes), config.size, title, facts)


def _save(
    out: Path, state: TrainState, facts: Mapping[str, Any], description: Description, config: TrainConfig
) -> None:
    """Write the epoch's checkpoints; last.pt comes last, so a kill before it repeats the epoch and its files."""
    if state.stale == 0:
        save_model(out / "best.safetensors", state.scored, description)
    if state.epoch % config.save_every == 0:
        save_model(out / f"epoch_{state.epoch:03d}.safetensors", state.scored, description)
    save_state(out / "last.pt", state.to_dict() | {"facts": facts})


def _best(out: Path, model: Segmenter, description: Description) -> Predictor:
    """Predictor of best.safetensors; a network of one's own is filled rather than rebuilt."""
    best = copy.deepcopy(model).cpu()
    load_into(out / "best.safetensors", best)
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


def _device(name: str) -> torch.device:
    """The device of that name; "auto" takes a GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device must be auto, cpu, or one this machine has; got {name!r} ({str(error)[:60]}).") from None
    return device


def _autocast(device: torch.device, amp: bool) -> torch.autocast:
    """Mixed precision where the hardware computes it, else none: emulated bf16 is slower than float32."""
    if device.type == "cuda":
        kind = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.autocast("cuda", dtype=kind, enabled=amp)
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp and device.type == "cpu" and cpu_has_bf16())


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the run folder, so that two processes cannot write into one run."""
    if sys.platform == "win32":
        import msvcrt

        def lock(file: Any) -> None:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        def lock(file: Any) -> None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    with (out / ".lock").open("w") as file:
        try:
            lock(file)
        except OSError:
            raise OSError(f"run folder {out} must be free; another process trains in it. Choose another --out.") from None
        yield
