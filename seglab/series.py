"""Many pictures through several models: a row a picture, the worst first, and a ZIP with CSV and masks."""

import csv
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seglab.comparison import METRICS, Comparison, compare
from seglab.files import atomic
from seglab.images import ImageError, Picture, mask_png
from seglab.inference import Predictor
from seglab.shown import plain
from seglab.texts import ENGLISH, Texts

__all__ = ["MAX_PICTURES", "ORDERS", "Entry", "pair_up", "run_series", "series_table"]

MAX_PICTURES = 50
MASK_ENDINGS = ("_mask", "_segmentation")
ORDERS = ("worst", "difference", "name")


class Entry(NamedTuple):
    """One picture's numbers by model, or why there are none."""

    name: str
    numbers: dict[str, dict[str, float | None]]
    has_mask: bool
    problem: str = ""

    @property
    def dice(self) -> list[float]:
        """Dice of every model for which it is defined."""
        return [value for one in self.numbers.values() if (value := one["dice"]) is not None]


def pair_up(files: Sequence[Path], texts: Texts = ENGLISH) -> list[tuple[Path, Path | None]]:
    """Pictures with their masks: `NAME_mask.png`, `NAME_segmentation.png` or `NAME.json` belongs to `NAME`.

    Raises:
        ImageError: If there is no picture or more than MAX_PICTURES, two have one name, or a mask has no picture.
    """
    masks = {_stem(one): one for one in files if _is_mask(one)}
    pictures = sorted((one for one in files if not _is_mask(one)), key=lambda one: one.name)
    stems = [one.stem for one in pictures]
    if not 1 <= len(pictures) <= MAX_PICTURES:
        raise ImageError(texts("error.pictures", most=MAX_PICTURES, count=len(pictures)))
    double = next((stem for stem in stems if stems.count(stem) > 1), None)
    if double is not None:
        raise ImageError(texts("error.twice", name=double))
    lone = next((masks[stem].name for stem in masks if stem not in stems), None)
    if lone is not None:
        raise ImageError(texts("error.lone", name=lone))
    return [(one, masks.get(one.stem)) for one in pictures]


def run_series(
    files: Sequence[Path],
    models: Mapping[str, Predictor],
    threshold: float,
    path: Path,
    on_picture: Callable[[int, int, str], None] | None = None,
    texts: Texts = ENGLISH,
) -> list[Entry]:
    """Compare the models on every picture, and write the ZIP: `results.csv` and a mask a picture and model.

    A picture that cannot be read gets an entry that says why, and the others go on.

    Args:
        files: Pictures and masks, see `pair_up`.
        models: By name.
        threshold: Probability above which a pixel counts as object.
        path: The ZIP file.
        on_picture: Called before each picture with the number of those done, of all, and its name.
        texts: Of the language of the problems.

    Raises:
        ImageError: As `pair_up`.
        OSError: If the ZIP cannot be written.
    """
    pairs, entries = pair_up(files, texts), []
    with atomic(path) as file, zipfile.ZipFile(file, "w") as archive, ThreadPoolExecutor(1) as reader:
        coming = reader.submit(_read, pairs[0][0], models)
        for number, (picture, mask) in enumerate(pairs):
            if on_picture is not None:
                on_picture(number, len(pairs), picture.name)
            read = coming
            if number + 1 < len(pairs):  # while the models run
                coming = reader.submit(_read, pairs[number + 1][0], models)
            try:
                found = compare(read.result(), models, mask, threshold, attention=False)
            except ValueError as error:  # an ImageError is one too
                problem = texts.said(getattr(error, "message", str(error)))
                entries.append(Entry(picture.name, {}, mask is not None, problem))
                continue
            numbers = {one.name: dict(one.numbers) for one in found.results}
            entries.append(Entry(picture.name, numbers, mask is not None))
            _add_masks(archive, found, picture.stem)
        archive.writestr("results.csv", _as_csv(entries))
    return entries


def series_table(entries: Sequence[Entry], order: str = ORDERS[0], texts: Texts = ENGLISH) -> str:
    """The entries in Markdown: a row a picture, Dice (or the area, where no picture has a mask) a model.

    Args:
        entries: At least one.
        order: One of ORDERS. Pictures whose Dice is not defined come last.
        texts: Of the language to say it in.

    Raises:
        ValueError: If the order is unknown.
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}; got {order!r}.")
    keys: dict[str, Callable[[Entry], float]] = {
        ORDERS[0]: lambda one: min(one.dice, default=2.0),
        ORDERS[1]: lambda one: min(one.dice, default=0.0) - max(one.dice, default=-1.0),
        ORDERS[2]: lambda _: 0.0,
    }
    key = "dice" if any(one.has_mask for one in entries) else "area_percent"
    title, head, decimals = texts(f"metric.{key}"), texts("many.picture"), METRICS[key][0]
    names = next((list(one.numbers) for one in entries if one.numbers), [])
    lines = [f"| {head} | " + " | ".join(f"{title}: {plain(name)}" for name in names) + " |"]
    lines = [*lines, "|---" + "|---:" * len(names) + "|"] if names else _two(head, texts("many.result"))
    for one in sorted(entries, key=lambda one: (keys[order](one), one.name)):
        missing = texts("table.not_defined" if one.has_mask or key != "dice" else "table.no_mask")
        values = (one.numbers[name][key] for name in names) if one.numbers else ()
        cells = [missing if value is None else f"{value:.{decimals}f}" for value in values]
        lines.append(f"| {plain(one.name)} | " + " | ".join(cells or [plain(one.problem)]) + " |")
    return "\n".join(lines)


def _two(first: str, second: str) -> list[str]:
    """Heads of a table with two columns."""
    return [f"| {first} | {second} |", "|---|---|"]


def _is_mask(path: Path) -> bool:
    return path.suffix.lower() == ".json" or path.stem.lower().endswith(MASK_ENDINGS)


def _stem(mask: Path) -> str:
    """Name of the picture that a mask belongs to."""
    ending = next((one for one in MASK_ENDINGS if mask.stem.lower().endswith(one)), "")
    return mask.stem[: len(mask.stem) - len(ending)]


def _read(path: Path, models: Mapping[str, Predictor]) -> Picture:
    """A picture, decoded as the models and `compare` need it."""
    picture = Picture(path)
    for predictor in models.values():
        predictor.read(picture)
    picture.pixels  # noqa: B018 - decodes it here, in the thread that reads
    return picture


def _add_masks(archive: zipfile.ZipFile, found: Comparison, stem: str) -> None:
    """The masks of one picture, with the bytes that `seglab predict` writes."""
    for number, result in enumerate(found.results, 1):
        mask = result.mask * np.uint8(255) if len(result.probs) <= 2 else result.mask
        archive.writestr(f"model{number}/{stem}.png", mask_png(mask))


def _as_csv(entries: Sequence[Entry]) -> str:
    """A line a picture and model, all numbers; empty where one is not defined or there is no mask."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["picture", "folder", "model", "mask", *METRICS, "problem"])
    for one in entries:
        for number, (model, numbers) in enumerate(one.numbers.items(), 1):
            values = ["" if numbers[key] is None else numbers[key] for key in METRICS]
            writer.writerow([one.name, f"model{number}", model, "yes" if one.has_mask else "no", *values, ""])
        if one.problem:
            writer.writerow([one.name, "", "", "yes" if one.has_mask else "no", *[""] * len(METRICS), one.problem])
    return text.getvalue()
