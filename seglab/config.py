"""Every knob of training, on one screen."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from types import UnionType
from typing import Any, Self, get_args, get_type_hints

from seglab.contract import require_name

__all__ = ["TrainConfig"]

SCHEDULES = ("constant", "cosine", "plateau", "poly")
OPTIMIZERS = ("adam", "adamw")
LOWEST = {"epochs": 1, "batch_size": 1, "size": 32, "save_every": 1, "workers": 0}
HIGHEST = {
    "epochs": 10**6,
    "batch_size": 2**16,
    "workers": 256,
    "size": 8192,
    "seed": 2**63 - 1,
    "augment_rotation": 180,
    "augment_strength": 1,
}
PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How to train; what is trained comes as objects.

    Every field is also a setting of the command line: `seglab train unet ce_dice DATA epochs=60 lr=3e-4`.

    Example:
        >>> TrainConfig(epochs=20).override(["lr=3e-4"]).lr
        0.0003

    Raises:
        ValueError: If a value is outside its range; the message names the field.
    """

    epochs: int = 100
    freeze_epochs: int = 0  # first epochs with the encoder frozen, its batch-norm statistics too
    batch_size: int = 8  # of all processes together
    size: int = 256  # pixels; pictures are letterboxed to size x size
    lr: float = 1e-4  # the highest learning rate
    min_lr: float = 1e-6  # where cosine, poly and plateau end
    optimizer: str = "adam"  # adam or adamw
    weight_decay: float = 0.0
    schedule: str = "plateau"  # constant, cosine, poly (power 0.9), plateau (x 0.2 after 5 epochs without improvement)
    warmup_epochs: int = 0  # the learning rate rises linearly, step by step
    patience: int | None = None  # epochs without improvement of the score before stopping; None: never
    ema: float = 0.0  # decay of the weights' moving average that is scored and saved; 0: the weights themselves
    grad_clip: float | None = None  # highest gradient norm; None: not clipped
    augment: bool = True
    augment_rotation: float = 180.0  # degrees, largest turn; below 180 flips go upside down too (for directed texture)
    augment_strength: float = 1.0  # share of the other ranges of augmentation (zoom, shear, shift, colour, blur, noise)
    amp: bool = True  # mixed precision where the hardware has it: bf16, on older GPUs fp16; elsewhere float32
    compile: bool = False  # the network by torch.compile: a minute or more before the first step, so for long runs
    sync_bn: bool = False  # batch norm over the whole batch when several processes share it, not over each one's part
    save_every: int = 5  # epochs between numbered checkpoints, besides best and last
    seed: int = 0
    device: str = "auto"  # auto, cpu, cuda, cuda:0, mps
    workers: int = 2  # threads that read and augment

    def __post_init__(self) -> None:
        self._check_types()
        require_name("schedule", self.schedule, SCHEDULES)
        require_name("optimizer", self.optimizer, OPTIMIZERS)
        for name, low in LOWEST.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}; got {getattr(self, name)}.")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be above 0 and finite; got {self.lr}.")
        ends = HIGHEST | {"freeze_epochs": self.epochs, "warmup_epochs": self.epochs, "min_lr": self.lr}
        for name, high in ends.items():
            low = LOWEST.get(name, 0)
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}]; got {getattr(self, name)}.")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1); got {self.ema}.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be 0 or above, and finite; got {self.weight_decay}.")
        for name in ("patience", "grad_clip"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, or null for none; got {getattr(self, name)}.")

    def override(self, pairs: Iterable[str]) -> Self:
        """A config with command-line settings applied.

        Args:
            pairs: Texts KEY=VALUE, the value as JSON; of two with the same key the last one counts.

        Raises:
            ValueError: For an unknown setting or a value of another kind.

        Example:
            >>> TrainConfig(patience=3).override(["patience=null", "epochs=20"]).patience is None
            True
        """
        hints = get_type_hints(type(self))
        changes: dict[str, Any] = {}
        for pair in pairs:
            key, equals, text = pair.partition("=")
            require_name("setting", key, (field.name for field in fields(self)))
            if not equals:
                raise ValueError(f"setting {key} must be written {key}=VALUE; got {_shown(pair)}.")
            changes[key] = _parse(key, text, hints[key])
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary that JSON can hold.

        Example:
            >>> TrainConfig(**TrainConfig(epochs=3).to_dict()) == TrainConfig(epochs=3)
            True
        """
        return asdict(self)

    def _check_types(self) -> None:
        """Refuse values of another kind, also for those who skip the type checker; the rest becomes plain Python.

        A number of NumPy's may be a `float` too, but a resume state cannot be read back with one inside.
        """
        hints = get_type_hints(type(self))
        for field in fields(self):
            value, kinds = getattr(self, field.name), _kinds(hints[field.name])
            if float in kinds and type(value) is int:
                value = _as_float(value)
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise ValueError(f"{field.name} must be {_spell(kinds)}; got {_shown(value)}.")
            plain = next(kind for kind in kinds if isinstance(value, kind))
            if type(value) is not plain:
                value = plain(value)
            object.__setattr__(self, field.name, value)  # the way a frozen class sets a field


def _kinds(hint: Any) -> tuple[type, ...]:
    """The plain types a hint stands for: `int | None` -> (int, NoneType)."""
    return get_args(hint) if isinstance(hint, UnionType) else (hint,)


def _spell(kinds: tuple[type, ...]) -> str:
    """Types in words for a message."""
    return " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)


def _parse(key: str, text: str, hint: Any) -> object:
    """Value of a setting given as text: JSON where it is JSON, else the text itself."""
    kinds = _kinds(hint)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        lowered = {"true": True, "false": False, "none": None, "null": None}
        value = lowered.get(text.lower(), text) if str not in kinds else text
    if str in kinds and not isinstance(value, str):
        value = text
    if float in kinds and isinstance(value, str) and PLAIN_NUMBER.fullmatch(value):
        value = float(value)  # what JSON does not take, but people write: .5 and +1
    if float in kinds and type(value) is int:
        value = _as_float(value)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{key} must be {_spell(kinds)}; got {_shown(text)}.")
    return value


def _as_float(value: int) -> float:
    """A whole number as a float; one beyond the floats is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _shown(value: object) -> str:
    """A value for a message, cut where it is longer than a line."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
