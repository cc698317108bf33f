"""What a run folder keeps so that no fault loses it: the states of two epochs, the best model twice, the way back.

`last.pt` is the newest state and `previous.pt` the one before it; `best.safetensors` has a copy. Whatever is damaged is
replaced by the newest of these that is whole, and the user is told. A damaged state is kept aside, never deleted.
"""

import copy
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch

from seglab import distributed
from seglab.checkpoint import (
    BEST,
    BEST_COPY,
    Description,
    copy_whole,
    load_state,
    not_finite,
    read_model,
    require_fit,
    save_model,
    save_state,
)
from seglab.models import Segmenter
from seglab.runs import require_same

__all__ = ["SCORE", "Snapshot", "TrainState", "intact", "resume_run", "share", "write"]

SCORE = "val_dice_fg_image"  # what "best" and "no improvement" mean: mean over pictures, at the training size
LAST, PREVIOUS, DAMAGED = "last.pt", "previous.pt", "last.damaged.pt"
PLAIN = ("epoch", "step", "lr_scale", "best", "stale", "history")  # fields of TrainState that are saved as they are


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
            "random_cuda": _random_cuda(),
            **{name: getattr(self, name) for name in PLAIN},
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take over a saved state."""
        self.model.load_state_dict(saved["model"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self._restore_optimizer(saved["optimizer"])
        if saved["scaler"]:  # empty from a device that needs no scaling
            self.scaler.load_state_dict(saved["scaler"])
        torch.set_rng_state(saved["random"])
        if saved["random_cuda"] and _random_cuda():
            torch.cuda.set_rng_state_all(saved["random_cuda"])
        for name in PLAIN:
            setattr(self, name, saved[name])

    def _restore_optimizer(self, saved: Mapping[str, Any]) -> None:
        """Take over the moments, but not the way to compute the step, which belongs to the device."""
        own = self.optimizer.param_groups
        groups = [group | {"fused": mine.get("fused")} for group, mine in zip(saved["param_groups"], own, strict=True)]
        self.optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})


@dataclass(frozen=True)
class Snapshot:
    """All that an epoch's checkpoints say."""

    state: dict[str, Any]  # `TrainState.to_dict`
    facts: Mapping[str, Any]
    description: Description
    save_every: int

    @classmethod
    def of(cls, state: TrainState, facts: Mapping[str, Any], description: Description, save_every: int) -> Self:
        """The state as it is now; its tensors are the model's own, which the next step changes.

        Raises:
            ValueError: If a weight is not finite.
        """
        bad = not_finite(state.model.state_dict()) or not_finite(state.scored.state_dict())
        if bad:
            raise ValueError(
                f"weights must be finite; got NaN or infinity in {bad} after epoch {state.epoch}. "
                f"{intact(state.epoch - 1)}"
            )
        return cls(state.to_dict(), facts, description, save_every)

    def copied(self) -> Self:
        """The same with tensors of its own in main memory; from a GPU all are under way at once, and waited for once.

        In memory that the system cannot swap out, which a GPU copies to by itself; PyTorch uses it again next time.
        """
        memo: dict[int, Any] = {}
        held = list(_tensors(self.state))
        for tensor in held:
            away = tensor.device.type == "cuda"
            twin = torch.empty_like(tensor, device="cpu", pin_memory=away)
            memo[id(tensor)] = twin.copy_(tensor.detach(), non_blocking=away)
        if any(tensor.device.type == "cuda" for tensor in held):
            torch.cuda.synchronize()
        return replace(self, state=copy.deepcopy(self.state, memo))


def share(state: TrainState) -> None:
    """Give every process the state of the first, which alone has read the run folder."""
    if distributed.world() > 1:
        state.restore(distributed.from_first(state.to_dict()))


def resume_run(
    out: Path, state: TrainState, facts: Mapping[str, Any], description: Description, *, wanted: bool
) -> None:
    """Take over the run in the folder, if there is one and it is the same run; mend what is damaged.

    Args:
        out: The run folder, held by this process.
        state: A state before the first epoch; it is filled.
        facts: `facts_of` the run that wants to go on.
        description: What the run's model files carry.
        wanted: False refuses a folder that holds a run.

    Raises:
        ValueError: If no whole state is left, or the run in the folder is another one.
        OSError: If what is damaged cannot be replaced.
    """
    if not (out / LAST).exists() and not (out / PREVIOUS).exists():
        return
    if not wanted:
        raise ValueError(f"run folder {out} must be new; it holds a run. Choose another, or resume it.")
    source, saved = _newest(out, {*state.to_dict(), "facts"})
    require_same(saved["facts"], facts, out)
    require_fit(state.model, saved["model"], f"run {out}")
    state.restore(saved)
    if source == out / PREVIOUS:
        _put_aside(out, state.epoch)
    _mend_best(out, state, description)


def write(out: Path, snapshot: Snapshot) -> None:
    """Write an epoch's checkpoints; last.pt comes last, so a kill before it repeats the epoch and its files.

    Raises:
        OSError: If the disk is full or the folder cannot be written; the run can be resumed from the epoch before.
    """
    state, description = snapshot.state, snapshot.description
    scored = state["average"] if state["average"] is not None else state["model"]
    if state["stale"] == 0:
        save_model(out / BEST, scored, description)
        copy_whole(out / BEST, out / BEST_COPY)
    if state["epoch"] % snapshot.save_every == 0:
        save_model(out / f"epoch_{state['epoch']:03d}.safetensors", scored, description)
    save_state(out / LAST, state | {"facts": snapshot.facts}, previous=out / PREVIOUS)


def intact(epochs: int) -> str:
    """What is left of a run whose numbers went wrong after so many epochs, and what to do.

    Example:
        >>> intact(0)
        'Nothing was saved yet. Train again with a lower lr, or with amp=false.'
    """
    if epochs == 0:
        return "Nothing was saved yet. Train again with a lower lr, or with amp=false."
    return (
        f"The last checkpoint is intact, of epoch {epochs}; the same command would meet this again. "
        "Train in another --out with a lower lr or amp=false; --init can start from this run's best."
    )


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in nested dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)


def _random_cuda() -> list[torch.Tensor]:
    """The states of all GPUs' generators; several processes seed theirs anew in every epoch, and need none."""
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() and distributed.world() == 1 else []


def _newest(out: Path, needed: set[str]) -> tuple[Path, dict[str, Any]]:
    """The newest whole state and its file."""
    first: Exception | None = None
    for path in (out / LAST, out / PREVIOUS):
        try:
            saved = load_state(path)
            missing = sorted(needed - saved.keys())
            if missing:
                raise ValueError(f"training state {path} must be seglab's; it lacks {missing[0]}.")
            return path, saved
        except (FileNotFoundError, ValueError) as error:
            first = first or error
    assert first is not None
    raise first


def _put_aside(out: Path, epoch: int) -> None:
    """Give a damaged last.pt another name, so that it can never take the place of a whole one, and say so."""
    last = out / LAST
    kept = ""
    if last.exists():
        os.replace(last, out / DAMAGED)
        kept = f" The damaged file is now {DAMAGED}."
    state = "damaged" if kept else "gone"
    warnings.warn(
        f"training state {last} is {state}; going on from {PREVIOUS}, after epoch {epoch}.{kept}", stacklevel=4
    )


def _mend_best(out: Path, state: TrainState, description: Description) -> None:
    """Make both files of the best model whole again, from the nearest copy of its weights that is left."""
    best, copy = out / BEST, out / BEST_COPY
    digest, twin = _digest_of(best), _digest_of(copy)
    if digest and digest == twin:
        return
    if digest:
        copy_whole(best, copy)  # gone, damaged, or of an earlier best: a kill came between the two
        return
    numbered = out / f"epoch_{state.epoch - state.stale:03d}.safetensors"
    source = next((path for path in (copy, numbered) if _digest_of(path)), None)
    what = f"checkpoint {best} is {'damaged' if best.exists() else 'gone'}"
    if source is not None:
        copy_whole(source, best)
        warnings.warn(f"{what}; it was written anew from {source.name}, which has the same weights.", stacklevel=4)
    else:
        save_model(best, state.scored, description)
        if state.stale:
            what += f", and so are the weights of epoch {state.epoch - state.stale}"
            row = state.history[-1]
            score = row[SCORE] if state.best > 0 else -row["val_loss"]  # as training chose; Dice is above 0
            state.best, state.stale = (score if math.isfinite(score) else -math.inf), 0
        warnings.warn(f"{what}; epoch {state.epoch} takes its place.", stacklevel=4)
    copy_whole(best, copy)


def _digest_of(path: Path) -> str:
    """SHA-256 of the tensors of a whole model file, or nothing."""
    try:
        return read_model(path)[1].sha256
    except (ValueError, OSError):
        return ""
