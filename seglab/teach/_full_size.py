"""One cell for two machines: the real pictures where there is a GPU, a small stand-in on a CPU."""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # a lesson without training starts without PyTorch
    import torch

    from seglab.config import TrainConfig
    from seglab.data import Dataset, Splits

__all__ = ["Scale", "full_size"]

FULL = {"size": 256, "epochs": 60, "batch_size": 16, "width": 32}
SMALL = {"size": 32, "epochs": 4, "batch_size": 8, "width": 8}
COUNTS = {True: (480, 60, 60), False: (48, 16, 16)}  # pictures drawn, or at most taken on a CPU; train, val, test


class Scale(NamedTuple):
    """What a lesson trains at full size, or in its place.

    Attributes:
        data: Pictures in three parts.
        config: Settings of training, its device included.
        width: Channels of the first level of a U-Net.
        dtype: Precision of the model: float32 on a GPU, on a CPU the one that `setup` chose.
        full: Whether this is the full size.
        words: What it is, and what the other one would be.
    """

    data: "Splits"
    config: "TrainConfig"
    width: int
    dtype: "torch.dtype"
    full: bool
    words: str


def full_size(data: str = "", *, dataset: str = "folder", kind: str = "skin", **settings: Any) -> Scale:
    """Choose what to train: on a GPU the full size, on a CPU a version of it that takes seconds.

    Full size is every picture of the folder at 256 x 256, 60 epochs, 32 channels at the first level. Without a GPU it
    is the first 48 training, 16 validation and 16 test pictures at 32 x 32, 4 epochs, 8 channels: enough to see that
    the code runs, too little to judge a model.

    Args:
        data: Folder of the pictures; empty to draw them (480, 60 and 60 on a GPU).
        dataset: Layout of the folder, a name of `seglab.list_datasets()`.
        kind: What is drawn, "skin" or "steel".
        **settings: More settings of `seglab.TrainConfig`, at either size; they come before those named above.

    Raises:
        ValueError: If a setting is unknown, or the folder is not of that layout.
        FileNotFoundError: If the folder is not there.

    Example:
        >>> scale = full_size(kind="steel", lr=3e-3)
        >>> len(scale.data.train) in (48, 480), scale.config.lr
        (True, 0.003)
    """
    import torch

    from seglab.config import TrainConfig
    from seglab.contract import require_name
    from seglab.data import Splits, load_dataset

    for name in settings:
        require_name("setting", name, TrainConfig.__dataclass_fields__)
    full = torch.cuda.is_available()
    chosen: dict[str, Any] = {
        **(FULL if full else SMALL),
        "augment": False,
        "device": "cuda" if full else "cpu",
        "workers": 0,
    }
    width = chosen.pop("width")
    config = TrainConfig(**chosen | settings)
    if data:
        parts = load_dataset(dataset, data)
        splits = parts if full else Splits(*map(_first, parts, COUNTS[False]))
    else:
        splits = load_dataset("synthetic", None, kind=kind, count=COUNTS[full], size=(config.size, config.size))
    dtype = torch.float32 if full else torch.get_default_dtype()
    counts = ", ".join(
        f"{len(part)} {name}" for part, name in zip(splits, ("training", "validation", "test"), strict=True)
    )
    source = f"pictures of {data}" if data else "drawn pictures"
    words = (
        f"{'Full size' if full else 'Reduced, because there is no GPU'}: {counts}, {source}, "
        f"{config.size} x {config.size} pixels, {config.epochs} epochs, {width} channels at the first level."
    )
    return Scale(splits, config, width, dtype, full, words)


def _first(part: "Dataset", count: int) -> "Dataset":
    """The first pictures of a part, its classes kept."""
    from seglab.data._folds import Chosen

    return part if len(part) <= count else Chosen((part,), tuple((0, index) for index in range(count)))
