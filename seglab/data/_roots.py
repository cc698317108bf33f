"""Pictures of one folder or of several, each in its own layout."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seglab.data import Splits, join, list_datasets, load_dataset


def load_roots(roots: Sequence[str], name: str, knobs: Mapping[str, Any]) -> Splits:
    """Splits of all folders together; a folder may name its own layout, as in "ph2:FOLDER".

    Args:
        roots: Folders; none for a layout that needs none.
        name: Layout of the folders that do not name their own.
        knobs: Settings of every layout, for example the seed of the split.

    Example:
        >>> [len(part) for part in load_roots([], "synthetic", {"count": (3, 1, 1), "size": (32, 32)})]
        [3, 1, 1]
    """
    if not roots:
        return load_dataset(name, None, **knobs)
    if name == "synthetic":
        raise ValueError(f"dataset synthetic takes no folder; got {roots[0]!r}. Settings are written NAME=VALUE.")
    splits = {}
    for root in roots:
        prefix, _, rest = root.partition(":")
        layout, path = (prefix, rest) if rest and prefix in list_datasets() else (name, root)
        label = Path(os.path.realpath(path)).name
        splits[label if label not in splits else path] = load_dataset(layout, path, **knobs)
    return join(splits)
