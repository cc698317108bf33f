"""Generated pictures: skin lesions under a dermatoscope, or defects on a steel strip. Needs no files.

The share of object pixels is known: it is drawn first, and the mask then has exactly that many pixels. Picture number
`index` of a part depends on the seed, the kind, the part and the index only, so a larger set begins with the smaller
one. The pictures are for teaching, tests and trying out; a model that does well on them is not thereby a good model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from seglab.contract import Sample, require_name
from seglab.data import SPLIT_NAMES, Splits, _skin, _steel

__all__ = ["Synthetic", "load"]

KINDS = {"skin": _skin.draw, "steel": _steel.draw}
CLASSES = {"skin": ("background", "lesion"), "steel": ("background", "defect")}
PREVALENCE = {"skin": 0.2, "steel": 0.12}  # about the means of ISIC 2018 and SD-saliency-900
EMPTY = {"skin": 0.0, "steel": 0.1}
MOST = 0.95  # largest share of a picture


@dataclass(frozen=True)
class Synthetic:
    """Generated pictures of one kind, drawn when asked for.

    Args:
        kind: `skin` or `steel`.
        part: `train`, `val` or `test`; the parts share no picture.
        count: Number of pictures, 0 or above.
        size: (H, W) in pixels, each 32 or more.
        seed: Seed of the whole set, 0 or above.
        prevalence: Mean share of object pixels in the pictures that show one, in (0, 0.95].
        empty: Share of pictures without an object, in [0, 1].

    Example:
        >>> data = Synthetic("steel", count=2, size=(32, 48))
        >>> data[0].image.shape, data.name(1)
        (torch.Size([3, 32, 48]), 'steel_train_00001')
        >>> data.share(0) == data[0].mask.double().mean().item()
        True
    """

    kind: str
    part: str = "train"
    count: int = 100
    size: tuple[int, int] = (128, 128)
    seed: int = 0
    prevalence: float = 0.2
    empty: float = 0.0
    classes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", CLASSES[self.kind])  # the way a frozen class sets a derived field

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng, pixels = self._begin(index)
        image, mask = KINDS[self.kind](rng, self.size, pixels)
        return Sample(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask), self.name(index))

    def name(self, index: int) -> str:
        """Name of a picture without drawing it."""
        return f"{self.kind}_{self.part}_{index:05d}"

    def share(self, index: int) -> float:
        """Share of object pixels of a picture, exactly, without drawing it; 0 if it shows none."""
        return self._begin(index)[1] / (self.size[0] * self.size[1])

    def _begin(self, index: int) -> tuple[np.random.Generator, int]:
        """The picture's random numbers, and its number of object pixels."""
        if not 0 <= index < self.count:
            raise IndexError(f"index must be in [0, {self.count}); got {index}.")
        key = [self.seed, sorted(KINDS).index(self.kind), SPLIT_NAMES.index(self.part), index]
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
        is_empty, draw = rng.random() < self.empty, rng.random()
        # 3u^2 - 1 has mean 0 and a long right tail: many small objects and a few large ones, as in real sets.
        spread = min(0.85, (MOST - self.prevalence) / (2 * self.prevalence))
        share = self.prevalence * (1 + spread * (3 * draw * draw - 1))
        return rng, 0 if is_empty else max(1, round(share * self.size[0] * self.size[1]))


def load(  # noqa: PLR0913 - every knob is one the user may want to set by name
    *,
    kind: str = "skin",
    count: int | Sequence[int] = 200,
    size: int | Sequence[int] = 128,
    seed: int = 0,
    prevalence: float | None = None,
    empty: float | None = None,
) -> Splits:
    """Make a generated dataset; pictures are drawn when they are read.

    Args:
        kind: `skin` (lesions under a dermatoscope) or `steel` (scratches, inclusions, patches on a strip).
        count: Pictures in all, split 70:15:15, or the three numbers of train, val and test.
        size: Side in pixels, or (H, W); 32 or more.
        seed: Seed of the set, 0 or above.
        prevalence: Mean share of object pixels in pictures that show one, in (0, 0.95]; None takes 0.2 for skin and
            0.12 for steel, about what ISIC 2018 and SD-saliency-900 have. Single pictures vary around it.
        empty: Share of pictures without an object, in [0, 1]; None takes 0 for skin and 0.1 for steel.

    Raises:
        ValueError: If a setting is not as said.

    Example:
        >>> splits = load(kind="skin", count=20, size=32)
        >>> [len(part) for part in splits], splits.train[0].mask.max().item()
        ([14, 3, 3], 1)
    """
    require_name("kind of synthetic pictures", kind, KINDS)
    counts = _counts(count)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or min(sides) < 32:
        raise ValueError(f"size must be 32 pixels or more, one number or two; got {size}.")
    prevalence = PREVALENCE[kind] if prevalence is None else prevalence
    empty = EMPTY[kind] if empty is None else empty
    if seed < 0:
        raise ValueError(f"seed must be 0 or above; got {seed}.")
    if not 0 < prevalence <= MOST:
        raise ValueError(f"prevalence must be above 0 and at most {MOST}; got {prevalence}.")
    if not 0 <= empty <= 1:
        raise ValueError(f"empty must be in [0, 1]; got {empty}.")
    return Splits(
        *(
            Synthetic(kind, part, n, (sides[0], sides[1]), seed, prevalence, empty)
            for part, n in zip(SPLIT_NAMES, counts, strict=True)
        )
    )


def _counts(count: int | Sequence[int]) -> tuple[int, ...]:
    """Pictures of train, val and test."""
    if isinstance(count, int):
        rest = round(0.15 * count)
        count = (count - 2 * rest, rest, rest)
    if len(count) != 3 or min(count) < 0 or sum(count) < 1:
        raise ValueError(f"count must be a number of 1 or above, or three of 0 or above; got {count}.")
    return tuple(count)
