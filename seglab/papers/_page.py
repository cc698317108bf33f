"""The result of a reproduction as a page of Markdown."""

import math
from collections.abc import Collection, Iterable, Sequence

from seglab.papers._outcome import Measured, Reproduction, Run
from seglab.stats import Difference, holm

__all__ = ["page"]

LAYOUTS = ("coco", "folder", "labelme", "voc")  # datasets that are a form only

QUICK = (
    "**Quick: not the paper's scale.** Small pictures, small models, a few updates. It shows that every row runs and "
    "what the comparison looks like; the measured numbers say nothing about the paper."
)


def page(result: Reproduction) -> str:
    """Reported beside measured, what was done to get there, and what stays open.

    Args:
        result: The reproduction.
    """
    paper = result.paper
    doi = f", doi {paper.doi}" if paper.doi else ""
    parts = [f"# {paper.name}: reported and measured", "", f"{paper}{doi}."]
    if result.quick:
        parts += ["", QUICK]
    parts += ["", *_reported(result), "", *_against_baseline(result), "", *_definitions(result)]
    parts += ["", *_data(result), "", *_recipe(result), "", *_rows(result)]
    for title, lines in (
        ("What the paper leaves open, and what we chose", paper.open_questions),
        ("What in the paper does not agree", paper.contradictions),
        ("Printed rows that are not run", [f"{name}: {why}." for name, why in paper.not_run.items()]),
    ):
        parts += ["", f"## {title}", "", *(f"- {line}" for line in lines)] if lines else []
    return "\n".join(parts)


def _reported(result: Reproduction) -> list[str]:
    """The main table."""
    n = result.pictures[-1]
    lines = ["## Reported beside measured", ""]
    why = "other pictures, so a gap between them is no finding about the paper"
    if result.scored_on in LAYOUTS:
        why = "a layout, which does not say whether these are the same pictures"
    if result.printed_for != result.scored_on:
        lines += [
            f"The printed numbers are for {result.printed_for}, the measured ones for {result.scored_on}: {why}.",
            "",
        ]
    heads = ["row", "number", "printed", "measured", f"95 % interval, {n} pictures", "seeds", "measured as"]
    copied = {row.label for row in result.rows if row.copied}
    trained = {run.label for run in result.runs if not run.failed}
    cells = []
    for one in result.table():
        printed = "not in the paper" if one.printed is None else f"{one.printed:.4g}"
        note = " (copied from another paper)" if one.label in copied else ""
        cells.append(
            [one.label, one.word, printed + note, _value(one, trained), _interval(one), _spread(one), f"`{one.name}`"]
        )
    return lines + _table(heads, cells) + _failures(result.runs)


def _failures(runs: Iterable[Run]) -> list[str]:
    """A sentence for every run that could not be trained."""
    failed = [f"{run.label}, seed {run.seed}, could not be trained: {run.failed}" for run in runs if run.failed]
    return ["", *failed] if failed else []


def _against_baseline(result: Reproduction) -> list[str]:
    """Every row against the baseline, paired by picture."""
    name = result.paper.baseline
    lines = [f"## Against the row {name!r}", ""]
    differences = result.differences()
    if not differences:
        return [*lines, "Nothing to compare: this row or all others were not run, or failed."]
    lines += [
        f"Dice of each picture (`dice_fg_image`), paired: row minus {name}. Holm's p allows for the number of rows.",
        "",
    ]
    adjusted = holm([one.p for one in differences.values()])
    rows = [
        [label, f"{one.mean:+.4f}", f"{one.low:+.4f} to {one.high:+.4f}", f"{one.p:.4f}", f"{p:.4f}",
         f"{one.detectable:.4f}", _words(one, float(p))]
        for (label, one), p in zip(differences.items(), adjusted, strict=True)
    ]  # fmt: skip
    heads = [
        "row",
        "difference",
        "95 % interval",
        "p",
        "p (Holm)",
        "smallest difference that would be found",
        "verdict",
    ]
    return [*lines, *_table(heads, rows)]


def _words(one: Difference, p: float) -> str:
    """The verdict on one row."""
    if one.n < 2:
        return "too few pictures"
    if p < 0.05 and (one.low > 0 or one.high < 0):
        return "better" if one.mean > 0 else "worse"
    return "no difference shown"


def _definitions(result: Reproduction) -> list[str]:
    """What each printed word is compared with."""
    rows = [[word, f"`{one.name}`", one.definition] for word, one in result.paper.measures.items()]
    return ["## What the printed words mean", "", *_table(["printed word", "measured as", "why"], rows)]


def _data(result: Reproduction) -> list[str]:
    """Pictures and split."""
    train, val, test = result.pictures
    scored = f", tested on {result.scored_on}" if result.scored_on != result.dataset else ""
    return [
        "## Pictures",
        "",
        f"{result.dataset}{scored}: {train} train, {val} val, {test} test; split {result.split}, the same for every "
        "row. The best epoch is chosen on val, scores are from test.",
        "",
        result.paper.split_note,
    ]


def _recipe(result: Reproduction) -> list[str]:
    """Settings of training, each with its origin."""
    facts, config = result.paper.facts(result.dataset), result.config.to_dict()
    rows = []
    for name, fact in facts.items():
        used = config[name]
        shown = "as the paper" if used == fact.value else str(used)
        rows.append([name, str(fact.value), fact.origin, shown])
    lines = [
        "## Recipe",
        "",
        f"Every run gets {result.updates} updates: early stopping is off, so that no row trains longer than another; "
        "the epoch that scores best on val is kept. A frozen phase is used only with a file of weights.",
        f"Augmentation in the paper: {result.paper.augmentation.value} ({result.paper.augmentation.origin}).",
        f"Encoder weights: {result.weights or 'none given, every row is trained from scratch'}.",
        "",
    ]
    return lines + _table(["setting", "paper", "origin", "used here"], rows)


def _rows(result: Reproduction) -> list[str]:
    """What was trained for each row."""
    rows = []
    for row in result.rows:
        run = result.of(row.label)[0]
        model = run.model if run.model == row.model else f"{run.model} in place of {row.model}"
        knobs = ", ".join(f"{key}={value}" for key, value in run.knobs.items())
        loss = ", ".join([row.loss, *(f"{key}={value}" for key, value in row.loss_knobs.items())])
        changes = ", ".join(f"{key}={value}" for key, value in row.config.items()) or "none"
        start = f"{row.encoder} from the file" if run.pretrained else "from scratch"
        if row.encoder and not run.pretrained:
            start += f" (paper: ImageNet {row.encoder})"
        model += f" ({knobs})" if knobs else ""
        rows.append([row.label, model, f"{run.parameters:,}", loss, changes, start, str(run.updates), row.origin])
    heads = ["row", "model", "parameters", "loss", "changed settings", "start", "updates", "origin"]
    return ["## Rows", "", *_table(heads, rows)]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return lines + ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]


def _value(one: Measured, trained: Collection[str]) -> str:
    """A measured number; why there is none, if there is none."""
    if one.label not in trained:
        return "failed"
    return "not defined" if math.isnan(one.value) else f"{one.value:.4f}"


def _interval(one: Measured) -> str:
    return "" if math.isnan(one.low) else f"{one.low:.4f} to {one.high:.4f}"


def _spread(one: Measured) -> str:
    """Range over seeds, if there are several."""
    return f"{min(one.seeds):.4f} to {max(one.seeds):.4f} ({len(one.seeds)})" if len(one.seeds) > 1 else "1"
