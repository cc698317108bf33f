"""k folds of a dataset: groups stay whole, and every fold has small and large objects alike."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seglab.contract import IGNORE_INDEX, Sample
from seglab.data import Dataset, Joined, PairedFolder, Splits, _line, _name_at
from seglab.files import atomic_text

__all__ = ["assign_folds", "fold_of", "read_folds", "write_folds"]


@dataclass(frozen=True)
class Chosen:
    """Some pictures of the three parts of a dataset, by part and index.

    Example:
        >>> len(Chosen((), ()))
        0
    """

    parts: tuple[Dataset, ...]
    places: tuple[tuple[int, int], ...]  # (part, index in it)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, the background first."""
        return self.parts[0].classes

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        part, within = self.places[index]
        return self.parts[part][within]

    def name(self, index: int) -> str:
        """Name of a picture without reading it, where the part can tell."""
        part, within = self.places[index]
        return _name_at(self.parts[part], within)


def assign_folds(splits: Splits, k: int, *, seed: int = 0) -> dict[str, int]:
    """Fold of every picture of all three parts, by name.

    Groups are ordered by the share of object pixels, cut into blocks of k neighbours, and each block is dealt one
    group a fold, the largest group to the fold with the fewest pictures; equal cases are decided by `seed`. So
    folds are alike in size and in lesion share, and no group is in two folds.

    Args:
        splits: The dataset; its own split is not used.
        k: Number of folds, at least 3: one to test, one to validate, the others to train.
        seed: Seed of what is left to chance.

    Raises:
        ValueError: If k is below 3, there are fewer groups than folds, or two pictures share a name.

    Example:
        >>> from seglab import load_dataset
        >>> folds = assign_folds(load_dataset("synthetic", count=(4, 1, 1), size=(32, 32)), 3)
        >>> sorted(folds.values())
        [0, 0, 1, 1, 2, 2]
    """
    if not isinstance(k, int) or k < 3:
        raise ValueError(f"folds must be an integer of at least 3: one to test, one to validate; got {k!r}.")
    groups: dict[str, list[str]] = {}
    shares: dict[str, float] = {}
    for number, part in enumerate(splits):
        for index in range(len(part)):
            name = _name_at(part, index)
            if name in shares:
                raise ValueError(f"pictures must differ in name to be dealt to folds; got {name!r} twice.")
            shares[name] = _object_share(part[index])
            groups.setdefault(_group_of(part, index, number), []).append(name)
    if len(groups) < k:
        raise ValueError(f"the data must have at least as many groups as folds, {k}; got {len(groups)}.")
    rng = np.random.default_rng(seed)
    order = sorted(groups.values(), key=lambda names: (np.mean([shares[name] for name in names]), names))
    sizes, folds = np.zeros(k, int), dict[str, int]()
    for start in range(0, len(order), k):
        block = sorted(order[start : start + k], key=len, reverse=True)
        emptiest_first = np.lexsort((rng.random(k), sizes))
        for names, fold in zip(block, emptiest_first, strict=False):
            folds |= dict.fromkeys(names, int(fold))
            sizes[fold] += len(names)
    return folds


def fold_of(splits: Splits, folds: Mapping[str, int], fold: int) -> Splits:
    """The split whose test part is this fold, whose validation part is the next, and that trains on the others.

    Args:
        splits: The dataset the folds were made from.
        folds: From `assign_folds`.
        fold: From 0.

    Raises:
        ValueError: If the folds are of other pictures, or there is no such fold.
    """
    count = max(folds.values(), default=-1) + 1
    if not 0 <= fold < count:
        raise ValueError(f"fold must be in [0, {count}); got {fold}.")
    chosen: tuple[list[tuple[int, int]], ...] = ([], [], [])
    named = 0
    for number, part in enumerate(splits):
        for index in range(len(part)):
            mine = folds.get(_name_at(part, index))
            if mine is None:
                raise ValueError(f"folds must name every picture; got none for {_name_at(part, index)!r}.")
            named += 1
            chosen[_part_of(mine, fold, count)].append((number, index))
    if named != len(folds):
        raise ValueError(f"folds must be of these {named} pictures; got {len(folds)} names.")
    return Splits(*(Chosen(tuple(splits), tuple(places)) for places in chosen))


def write_folds(path: Path, folds: Mapping[str, int]) -> None:
    """Write folds as JSON, name to fold."""
    atomic_text(path, json.dumps(dict(folds), indent=1) + "\n")


def read_folds(path: Path) -> dict[str, int]:
    """Read what `write_folds` wrote.

    Raises:
        ValueError: If the file is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"folds file {path} must be JSON; got an error: {_line(error)}.") from None
    if not isinstance(content, dict) or not all(type(fold) is int and fold >= 0 for fold in content.values()):
        raise ValueError(f"folds file {path} must map names to folds from 0.")
    return content


def _part_of(mine: int, fold: int, count: int) -> int:
    """0 to train, 1 to validate, 2 to test."""
    return {fold: 2, (fold + 1) % count: 1}.get(mine, 0)


def _object_share(sample: Sample) -> float:
    """Share of known pixels that are of a class above 0."""
    known = sample.mask != IGNORE_INDEX
    return float(((sample.mask > 0) & known).sum() / max(1, int(known.sum())))


def _group_of(data: Dataset, index: int, number: int) -> str:
    """What a picture belongs to: pictures of one group are never in two folds."""
    labels: Sequence[str] = ()
    while isinstance(data, Joined):
        data, label, index = data.locate(index)
        labels = (*labels, label)
    if isinstance(data, PairedFolder):
        return "/".join([*labels, data.pairs[index].group])
    return "/".join([*labels, str(number), _name_at(data, index)])
