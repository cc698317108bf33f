"""What a visitor of the page may train, and what is said of it meanwhile: plain values that travel as JSON."""

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from seglab.config import TrainConfig
from seglab.contract import require_name
from seglab.experiments import Recipe

__all__ = ["COUNT", "EPOCHS", "LOSSES", "MODELS", "SIZES", "WIDTHS", "Order", "Progress"]

MODELS = ("unet", "attention_unet", "resunet", "unetplusplus")  # all can be narrow, and have places for CBAM
LOSSES = ("bce_dice", "bce", "dice", "focal", "tversky", "focal_tversky")
WIDTHS, SIZES, EPOCHS = (4, 8, 16), (64, 96, 128, 192), 50
COUNT = (96, 24, 24)  # generated pictures to train, to choose by and to test
SIDE = 160  # of a generated picture, pixels
TASKS = ("skin", "steel", "own")
EVERY = 1_000_000  # epochs between numbered checkpoints, which nobody would read
SETTINGS = TrainConfig(lr=3e-3, min_lr=3e-4, schedule="cosine", optimizer="adamw", weight_decay=0.01, workers=1,
                       device="cpu", save_every=EVERY)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a visitor asks for; plain values, checked.

    Attributes:
        model: One of MODELS.
        loss: One of LOSSES.
        cbam: Whether CBAM sits at the bottleneck and in the skips.
        width: Channels of the first stage, one of WIDTHS.
        size: Side of the letterbox, one of SIZES.
        epochs: 1 to EPOCHS.
        augment: Whether training pictures are turned, zoomed, tinted.
        data: `skin` or `steel` for generated pictures; else empty.
        root: Folder with images and masks, if `data` is empty.
        task: Whose models it is compared with: skin, steel or own.
        title: What the page calls the model.
        seconds: How long it may train.
        count: Generated pictures to train, to choose by and to test.

    Raises:
        ValueError: If a value is not one of these.

    Example:
        >>> Order(model="unet", data="skin", epochs=3).recipe().data_knobs["kind"]
        'skin'
    """

    model: str = "unet"
    loss: str = "bce_dice"
    cbam: bool = False
    width: int = 8
    size: int = 96
    epochs: int = 8
    augment: bool = True
    data: str = "skin"
    root: str = ""
    task: str = "own"
    title: str = ""
    seconds: float = 900.0
    count: tuple[int, int, int] = COUNT

    def __post_init__(self) -> None:
        require_name("model", self.model, MODELS)
        require_name("loss", self.loss, LOSSES)
        require_name("task", self.task, TASKS)
        if self.data or not self.root:
            require_name("data", self.data, TASKS[:2])
        for name, allowed in (("width", WIDTHS), ("size", SIZES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}; got {getattr(self, name)}.")
        if not 1 <= self.epochs <= EPOCHS:
            raise ValueError(f"epochs must be in [1, {EPOCHS}]; got {self.epochs}.")

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read back what `text` wrote."""
        found: dict[str, Any] = json.loads(text)
        return cls(**found | {"count": tuple(found["count"])})

    def recipe(self) -> Recipe:
        """The same as a training that any program can run."""
        knobs = {"width": self.width, "cbam": ["bottleneck", "skip"] if self.cbam else []}
        own = {"dataset": "synthetic", "data_knobs": {"kind": self.data, "count": self.count, "size": SIDE}}
        where: dict[str, Any] = own if self.data else {"roots": (f"folder:{self.root}",)}
        config = replace(SETTINGS, epochs=self.epochs, size=self.size, augment=self.augment)
        return Recipe(model=self.model, loss=self.loss, knobs=knobs, config=config, **where)

    def command(self) -> str:
        """The command line that trains the same; a visitor's own pictures are called PICTURES there."""
        plain = TrainConfig().to_dict()
        changed = {key: value for key, value in self.recipe().config.to_dict().items() if plain[key] != value}
        changed = {key: value for key, value in changed.items() if key not in ("device", "save_every", "workers")}
        words = [f"model.width={self.width}", *(['\'model.cbam=["bottleneck","skip"]\''] if self.cbam else [])]
        if self.data:
            count = ",".join(map(str, self.count))
            words += [f"data.kind={self.data}", f"'data.count=[{count}]'", f"data.size={SIDE}"]
        words += [f"{key}={json.dumps(value).strip(chr(34))}" for key, value in changed.items()]
        where = "--dataset synthetic" if self.data else "PICTURES"
        return f"seglab train {self.model} {self.loss} {where} {' '.join(words)}"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is; what the file progress.json holds.

    Attributes:
        phase: starting, training, scoring, done or failed.
        epochs: Epochs that are asked for.
        records: One a finished epoch.
        seconds: Of training, until the last finished epoch.
        first: Until the first, which also reads the pictures.
        drawn: Epochs that the pictures of curves and example show.
        parts: Pictures to fit, to choose by and to test.
        parameters: Of the model.
        example: Name of the picture that is shown, and its Dice; empty without any.
        stopped: Why it ended before its last epoch: asked, time, numbers; or empty.
        failure: Why there is no model: asked, time, numbers, memory, words, crash, unexpected; or empty.
        words: What is wrong, if `failure` is words.
        scores: Of the best model on the test part: dice, low, high, iou, pictures.

    Example:
        >>> Progress.from_text(Progress(epochs=3).text()).epochs
        3
    """

    phase: str = "starting"
    epochs: int = 1
    records: tuple[dict[str, float], ...] = ()
    seconds: float = 0.0
    first: float = 0.0
    drawn: int = 0
    parts: tuple[int, int, int] = (0, 0, 0)
    parameters: int = 0
    example: dict[str, Any] = field(default_factory=dict)
    stopped: str = ""
    failure: str = ""
    words: str = ""
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in ("done", "failed")

    @property
    def best(self) -> dict[str, float]:
        """The epoch whose model is kept; the first if Dice is defined nowhere."""
        return max(self.records, key=lambda record: (_known(record["val_dice_fg_image"]), -record["epoch"]))

    @property
    def left(self) -> float:
        """Seconds that the epochs to come will take, at the pace so far; NaN before the first."""
        done = len(self.records)
        if done == 0:
            return math.nan
        pace = self.first if done == 1 else (self.seconds - self.first) / (done - 1)
        return (self.epochs - done) * pace

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read back what `text` wrote."""
        found = json.loads(text)
        values: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in found.items()}
        return cls(**values)


def _known(value: float) -> float:
    """The value, or less than any score if it is not defined."""
    return value if math.isfinite(value) else -1.0
