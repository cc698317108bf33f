"""Settings as they are typed: NAME=VALUE, PREFIX.NAME=VALUE, among folders."""

import json
import os
import re
import reprlib
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

__all__ = ["command_text", "sort_items", "values_of"]

SETTING = re.compile(r"^[a-z_]+(\.[a-z_0-9]+)?=")


def sort_items(items: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Folders, and settings by their prefix.

    Raises:
        ValueError: If something with an equals sign is neither.

    Example:
        >>> sort_items(["pictures", "epochs=3", "model.width=16"])
        (['pictures'], {'': ['epochs=3'], 'model': ['width=16']})
    """
    roots, settings = [], dict[str, list[str]]()
    for item in items:
        if not SETTING.match(item):
            if "=" in item and not os.path.lexists(item.rpartition(":")[2]):
                raise ValueError(f"settings must be written NAME=VALUE or PART.NAME=VALUE; got {reprlib.repr(item)}.")
            roots.append(item)
            continue
        key, _, _ = item.partition("=")
        prefix, dot, _ = key.partition(".")
        settings.setdefault(prefix if dot else "", []).append(item[len(prefix) + 1 :] if dot else item)
    return roots, settings


def values_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Values by name: JSON where it is JSON, several where there are commas, else the text; of two the last counts.

    Example:
        >>> values_of(["width=16", "cbam=skip,decoder", "style=compact"])
        {'width': 16, 'cbam': ('skip', 'decoder'), 'style': 'compact'}
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        try:
            values[key] = json.loads(text)
        except (ValueError, RecursionError):
            values[key] = text.split(",") if "," in text else text
        if isinstance(values[key], list):
            values[key] = tuple(values[key])
    return values


def command_text(words: Sequence[str], roots: Collection[str]) -> str:
    """The command line as typed, with folders and files by their own names only: a record must not tell whose disk.

    Example:
        >>> command_text(["train", "unet", "ce", "/home/ada/pictures", "--title", "my net"], ["/home/ada/pictures"])
        "seglab train unet ce pictures --title 'my net'"
    """
    return shlex.join(["seglab", *(Path(word).name if word in roots or os.sep in word else word for word in words)])
