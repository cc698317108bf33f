"""One file per paper: its experiment as data. The file's name is the paper's name.

A paper file says which model, loss, data and schedule the paper has, with the origin of every choice, holds its
printed tables, and names what it leaves open. `seglab reproduce NAME` trains its rows under one split and prints what
was reported beside what was measured.
"""

from importlib import import_module
from pkgutil import iter_modules

from seglab.contract import require_name
from seglab.papers._paper import ORIGINS, Fact, Measure, Paper, Row
from seglab.papers._tables import COLUMNS, PrintedTable

__all__ = ["COLUMNS", "ORIGINS", "Fact", "Measure", "Paper", "PrintedTable", "Row", "list_papers", "load_paper"]


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
