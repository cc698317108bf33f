"""Where the things of a lesson go: into the notebook, or printed where there is none."""

import os
from typing import Any

__all__ = ["is_live", "publish"]


def is_live() -> bool:
    """Whether controls can be moved: in a notebook, unless SEGLAB_WIDGETS=static asks for what can be stored."""
    from IPython.core.interactiveshell import InteractiveShell

    return InteractiveShell.initialized() and os.environ.get("SEGLAB_WIDGETS") != "static"


def publish(bundle: dict[str, str], metadata: dict[str, Any] | None = None) -> None:
    """Hand a bundle to the notebook, if there is one; else print its text."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.display import display

    if InteractiveShell.initialized():
        display(bundle, metadata=metadata or {}, raw=True)  # type: ignore[no-untyped-call]
    else:
        print(bundle["text/plain"])
