"""One file per paper: its experiment as data. The file's name is the paper's name.

A paper file says which model, loss, data and schedule the paper has, with the origin of every choice, holds its
printed tables, and names what it leaves open. `seglab reproduce NAME` trains its rows under one split and prints what
was reported beside what was measured.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from seglab.contract import require_name
from seglab.papers._paper import ORIGINS, Fact, Measure, Paper, Row
from seglab.papers._tables import COLUMNS, PrintedTable

if TYPE_CHECKING:
    from seglab.papers._outcome import Reproduction

__all__ = [
    "COLUMNS", "ORIGINS", "Fact", "Measure", "Paper", "PrintedTable", "Row", "list_papers", "load_paper", "reproduce",
]  # fmt: skip


def list_papers() -> list[str]:
    """Names that `load_paper` accepts: the public files of this folder.

    Example:
        >>> "liu2025" in list_papers()
        True
    """
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def load_paper(name: str) -> Paper:
    """The paper described in seglab/papers/<name>.py.

    Raises:
        ValueError: If there is no such file.

    Example:
        >>> load_paper("zhang2024").row("U-Net + CBAM").knobs["cbam"]
        ('encoder', 'bottleneck', 'decoder')
    """
    require_name("paper", name, list_papers())
    paper: Paper = import_module(f"{__name__}.{name}").PAPER
    return paper


def reproduce(  # noqa: PLR0913 - the options of the command, each by its name
    name: str,
    data: str | Path | None = None,
    *,
    dataset: str | None = None,
    epochs: int | None = None,
    size: int | None = None,
    seeds: int = 1,
    rows: Sequence[str] | None = None,
    out: str | Path,
    quick: bool = False,
    weights: str | Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> "Reproduction":
    """Train the rows of a paper's experiment under one split, and put the result beside what the paper printed.

    Every row gets the same pictures, the same number of updates and the same settings, except what the row itself
    changes. Each row and seed has a run folder in `out`: a stopped call goes on there, and what is finished is read.
    `reproduction.md` and `reproduction.json` in `out` hold the result.

    Args:
        name: One of `list_papers()`.
        data: Folder that holds the paper's pictures, in the layout of `dataset`.
        dataset: Layout of `data`; None takes the paper's own, with its own test set.
        epochs: Number of epochs; None takes the paper's.
        size: Side of the pictures in pixels; None takes the paper's.
        seeds: Number of seeds for every row, at least 1.
        rows: Labels of the rows to train; None trains all.
        out: Folder for runs and result.
        quick: Small models and few updates, on generated pictures if there is no `data`; to see that all of it runs.
        weights: File with ImageNet weights of the encoder of the paper's own network; None trains from scratch.
        on_line: Called with each line of progress.

    Returns:
        The result; `str()` of it is the page.

    Raises:
        ValueError: If a name or an option is wrong, or `out` holds runs with other settings.
        FileNotFoundError: If the data or the weights are not there.
        OSError: If something cannot be written.

    Example:
        >>> import tempfile
        >>> done = reproduce("zhang2024", rows=["U-Net"], epochs=1, size=32, quick=True, out=tempfile.mkdtemp())
        >>> done.table()[0].word, done.table()[0].printed
        ('Accuracy', 0.88)
    """
    from seglab.papers._runner import make_plan, run_plan

    plan = make_plan(
        load_paper(name),
        data,
        dataset=dataset,
        epochs=epochs,
        size=size,
        seeds=seeds,
        rows=rows,
        quick=quick,
        weights=weights,
    )
    return run_plan(plan, out, on_line=on_line)
