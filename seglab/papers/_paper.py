"""What a paper file holds: the paper's experiment as data, every choice with its origin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seglab.config import TrainConfig
from seglab.contract import require_name
from seglab.papers._tables import PrintedTable

__all__ = ["ORIGINS", "Fact", "Measure", "Paper", "Row"]

ORIGINS = ("paper", "code", "inferred", "chosen")  # how an origin begins: printed, in its code base, likely, ours


@dataclass(frozen=True)
class Fact:
    """A value and where it comes from.

    Attributes:
        value: The value.
        origin: "paper: where", "code: which file", "inferred: from what" or "chosen: why".

    Example:
        >>> Fact(8, "paper: section 4.2").stated
        True
    """

    value: Any
    origin: str

    @property
    def stated(self) -> bool:
        """Whether the paper itself says so."""
        return self.origin.startswith("paper")


@dataclass(frozen=True)
class Measure:
    """What a printed number is compared with.

    Attributes:
        name: A score of `Report.values`, or `train_loss` / `val_loss` of the last epoch.
        definition: What the paper says or leaves open about it, in a sentence.
    """

    name: str
    definition: str


@dataclass(frozen=True)
class Row:
    """One row of the experiment: what is trained, and what the paper printed for it.

    Attributes:
        label: Its name in our tables.
        model: A name of `seglab.list_models()`.
        loss: A name of `seglab.list_losses()`.
        origin: Where model and loss come from.
        knobs: Of the model.
        loss_knobs: Of the loss.
        config: Training settings that differ from the paper's schedule.
        printed: Printed numbers as shares, by dataset and by the paper's own word; empty for a row that the paper
            lacks.
        copied: Whether the paper took the numbers from another paper.
        encoder: torchvision's or timm's name of the encoder whose ImageNet weights the row started from; empty: none.
    """

    label: str
    model: str
    loss: str
    origin: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    loss_knobs: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    printed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    copied: bool = False
    encoder: str = ""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper's experiment, its printed tables, and what is wrong or missing.

    Attributes:
        name: Name of its file.
        title: As printed.
        authors: As printed.
        venue: Journal, volume, pages.
        year: Of publication.
        doi: Empty if the text at hand names none.
        datasets: Names of `seglab.list_datasets()`, the main one first.
        test_dataset: Dataset whose test part is scored instead, if the paper tests on another one.
        kind: Which generated pictures stand in for the data: `skin` or `steel`.
        shares: Shares of train, val and test.
        split_note: How the paper split its pictures, and how we do.
        num_classes: Channels of the output, 1 or 2.
        schedule: Fields of TrainConfig.
        schedule_of: Fields that differ for one dataset.
        augmentation: What the paper does to its pictures.
        measures: What each printed word is compared with.
        rows: What is trained.
        baseline: Label of the row that all others are compared with.
        tables: The printed tables.
        not_run: Printed rivals for which there is no row, with the reason.
        open_questions: What the paper leaves open and what we chose.
        contradictions: Where the printed numbers or sentences disagree with each other.
    """

    name: str
    title: str
    authors: tuple[str, ...]
    venue: str
    year: int
    doi: str
    datasets: Fact
    test_dataset: Fact | None = None
    kind: str
    shares: Fact
    split_note: str
    num_classes: Fact
    schedule: Mapping[str, Fact]
    schedule_of: Mapping[str, Mapping[str, Fact]] = field(default_factory=dict)
    augmentation: Fact
    measures: Mapping[str, Measure]
    rows: tuple[Row, ...]
    baseline: str
    tables: tuple[PrintedTable, ...]
    not_run: Mapping[str, str] = field(default_factory=dict)
    open_questions: tuple[str, ...]
    contradictions: tuple[str, ...]

    def facts(self, dataset: str = "") -> dict[str, Fact]:
        """The schedule for one dataset, every field with its origin."""
        return {**self.schedule, **self.schedule_of.get(dataset, {})}

    def config(self, dataset: str = "") -> TrainConfig:
        """The training settings of the paper for one dataset."""
        return TrainConfig(**{name: fact.value for name, fact in self.facts(dataset).items()})

    def row(self, label: str) -> Row:
        """The row of that label.

        Raises:
            ValueError: If there is none.
        """
        require_name("row", label, (row.label for row in self.rows))
        return next(row for row in self.rows if row.label == label)

    def __str__(self) -> str:
        return f"{', '.join(self.authors)}, {self.title!r}, {self.venue}, {self.year}"
