"""Write `results/README.md` and its figures from the files in that folder: nothing in it is typed by hand.

Run it in the repository's root, after copying an ablation's `ablation.json` and `ablation.md` to
`assets/results/NAME.json` and `NAME.md`, or after a script of `assets/studies`: `python assets/results.py`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seglab import charts
from seglab.files import atomic_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent / "results"
Facts = dict[str, Any]
WORDS = {"augment": "augmentation", "model.cbam": "CBAM"}
DEFINITIONS = {
    "dice_fg_image": "Dice, mean over pictures",
    "dice_fg_pooled": "Dice, all pixels",
    "iou_fg_image": "IoU, mean over pictures",
    "miou_2class_image": "IoU of two classes, mean over pictures",
    "miou_2class_pooled": "IoU of two classes, all pixels",
}
HEAD = """# Does it help? Answers with intervals

Every number here comes out of one command, which anybody with the pictures can repeat; this page and its figures are
written by `python assets/results.py` from the JSON files beside it. What is compared had the same pictures and the
same number of updates. Scores are those of the object at threshold 0.5, each picture at its own size. "Image" is a
mean over test pictures, "pooled" takes all pixels together. Intervals are 95 % and hold test pictures and seeds; p is
corrected by Holm's rule for the comparisons of one list. "No effect was shown" means that this many pictures and seeds
did not show it; the difference that four of five such experiments would have found is named as what could be missed.

The answers speak of these small networks, this size of picture and this number of updates. A bigger network, trained
longer or from other weights, may answer otherwise: the commands are there to be changed.
"""


class Picture(NamedTuple):
    """A figure of the page."""

    name: str
    figure: "Figure"
    alt: str


Block = str | Picture


def verdict(name: str, effect: Facts, what: str = "Dice") -> str:
    """One effect in words, as far as the numbers go.

    Example:
        >>> facts = {"value": 0.02, "low": 0.01, "high": 0.03, "p_holm": 0.003, "detectable": 0.01}
        >>> verdict("CBAM", facts)
        'CBAM raised Dice by 0.020 (0.010 to 0.030, p 0.003)'
        >>> verdict("CBAM", facts | {"low": -0.01, "p_holm": 0.2})
        'CBAM: no effect was shown, +0.020 (-0.010 to +0.030, p 0.200); less than 0.010 could be missed'
    """
    value = effect.get("value", effect.get("mean"))
    low, high, p = effect["low"], effect["high"], effect["p_holm"]
    if p < 0.05 and low * high > 0:
        ends = sorted((abs(low), abs(high)))
        raised = "raised" if value > 0 else "lowered"
        return f"{name} {raised} {what} by {abs(value):.3f} ({ends[0]:.3f} to {ends[1]:.3f}, p {p:.3f})"
    numbers = f"{value:+.3f} ({low:+.3f} to {high:+.3f}, p {p:.3f})"
    return f"{name}: no effect was shown, {numbers}; less than {effect['detectable']:.3f} could be missed"


def ablation(name: str, content: Facts) -> Iterator[Block]:
    """Augmentation x CBAM on one kind of picture."""
    task = content["task"]["config"]
    effects = {one["name"]: one for one in content["effects"]["dice_fg_image"]["effects"]}
    both = content["effects"]["dice_fg_image"]["published"]
    yield f"## Do augmentation and CBAM help on {name}, and do they need each other?"
    yield (
        f"A U-Net of width {content['task']['knobs']['width']}, {task['size']} x {task['size']} pixels, "
        f"{content['updates']} updates, {len(content['seeds'])} seeds, {len(content['pictures'])} test pictures."
    )
    yield "\n".join(f"- {verdict(told(one), effect)}." for one, effect in effects.items())
    yield Picture(
        name,
        charts.intervals(
            {told(one): (effect["value"], effect["low"], effect["high"]) for one, effect in effects.items()}
            | {"both instead of neither": (both["value"], both["low"], both["high"])},
            "change of Dice, mean over pictures",
            zero=True,
        ),
        f"Effects on {name} with their intervals: " + "; ".join(verdict(told(k), v) for k, v in effects.items()),
    )
    yield table(
        ["augmentation", "CBAM", "Dice, image", "each seed", "Dice, pooled"],
        [
            [
                "yes" if cell["levels"]["augment"] == "true" else "no",
                "no" if cell["levels"]["model.cbam"] == "[]" else cell["levels"]["model.cbam"].replace(",", ", "),
                f"{mean(cell['dice_fg_image']):.3f}",
                " ".join(f"{one:.3f}" for one in cell["dice_fg_image"]),
                f"{mean(cell['dice_fg_pooled']):.3f}",
            ]
            for cell in content["cells"]
        ],
    )
    yield "The same effects under the other definitions:"
    yield effect_table(
        {
            f"{told(effect['name'])}; {DEFINITIONS.get(definition, definition)}": effect
            for definition, found in content["effects"].items()
            if definition != "dice_fg_image"
            for effect in found["effects"]
        }
    )
    yield command(content["command"], f"All tables: [{name}.md]({name}.md).")


def told(effect: str) -> str:
    """An effect's name in words."""
    return " x ".join(WORDS.get(part, part) for part in effect.split(" x "))


def losses(name: str, content: Facts) -> Iterator[Block]:
    """Four losses at five checkpoints."""
    epochs, chosen = content["epochs"], content["losses"]
    dice = {
        loss: [mean(run[at] for run in content["dice_fg_image"][loss]) for at in range(len(epochs))] for loss in chosen
    }
    winners = {epoch: max(chosen, key=lambda loss: dice[loss][at]) for at, epoch in enumerate(epochs)}
    yield "## Which loss is best, and does the answer depend on the checkpoint?"
    yield (
        "Toptaş 2025 compares four losses at five numbers of epochs and calls the compound one the best. Here a U-Net "
        f"of width {content['model']['width']} is trained with each of them on {content['train']} skin pictures of "
        f"ISIC 2018 ({content['config']['size']} x {content['config']['size']} pixels, constant learning rate, "
        f"{len(content['seeds'])} seeds) and scored on {len(content['pictures'])} others. The paper's network and its "
        "settings are not known well enough to repeat it; the question is the same."
    )
    spread = max(max(dice[loss]) - min(dice[loss]) for loss in chosen)
    last = [dice[loss][-1] for loss in chosen]
    best = ", ".join(f"{winner} ({epoch})" for epoch, winner in winners.items())
    answers = [
        f"Best mean Dice at each number of epochs: {best}.",
        f"At the last checkpoint the four lie within {max(last) - min(last):.3f}; one loss moves by up to {spread:.3f} "
        "between its own checkpoints.",
    ]
    for row in content["differences"]["dice_fg_image"]:
        answers.append(verdict(f"Compound instead of {row['minus']}, last checkpoint", row) + ".")
    yield "\n".join(f"- {one}" for one in answers)
    yield Picture(
        name,
        charts.lines(
            {loss: (epochs, dice[loss]) for loss in chosen}, x="epochs", y="Dice, mean over pictures and seeds"
        ),
        "Test Dice of the four losses against the number of epochs: "
        + "; ".join(f"{loss} " + ", ".join(f"{one:.3f}" for one in dice[loss]) for loss in chosen),
    )
    yield table(
        ["loss", *(f"{epoch} epochs" for epoch in epochs)],
        [
            [
                loss,
                *(
                    f"{dice[loss][at]:.3f} ({min(runs):.3f} to {max(runs):.3f})"
                    for at, runs in enumerate(zip(*content["dice_fg_image"][loss], strict=True))
                ),
            ]
            for loss in chosen
        ],
    )
    yield "Mean over seeds, in brackets the lowest and the highest seed."
    yield "**What the rule that chooses a checkpoint does.** Dice of the chosen checkpoint, mean over seeds:"
    yield table(
        ["loss", "the last", "best on validation pictures", "best on test pictures (a leak)"], list(rules(content))
    )
    yield command(content["command"])


def rules(content: Facts) -> Iterator[list[str]]:
    """Test Dice that three rules of choosing a checkpoint give, a row for each loss."""
    for loss in content["losses"]:
        test = content["dice_fg_image"][loss]
        val = [[run[epoch - 1] for epoch in content["epochs"]] for run in content["val_dice"][loss]]
        honest = [run[max(range(len(run)), key=seen.__getitem__)] for run, seen in zip(test, val, strict=True)]
        picked = (mean(run[-1] for run in test), mean(honest), mean(map(max, test)))
        yield [loss, *(f"{one:.3f}" for one in picked)]


def noise(name: str, content: Facts) -> Iterator[Block]:
    """Dice against the strength of noise, by cell of an ablation."""
    kind = "steel" if "steel" in name else "skin"
    sigmas = content["sigmas"]
    means = {cell: [mean(column) for column in zip(*runs, strict=True)] for cell, runs in content["cells"].items()}
    yield f"## Does augmentation or CBAM help against noise on {kind}?"
    yield (
        "Zarrin and Nikkhah 2025 add noise of a strength they do not name, to their own models only. Here the twelve "
        f"models of the ablation on {kind} (four kinds, {len(content['seeds'])} seeds) get the same "
        f"{len(content['pictures'])} noisy test pictures. Strength is the {content['unit']} "
        f"({content['notes']['size']}). "
        "A model that shrinks a picture averages its noise away, the more the larger the picture was."
    )
    of = {"areas": "the area under the curve", "cost": f"Dice at sigma {sigmas[-1]:g} minus Dice without noise"}
    answers = [verdict(f"{row['name']} instead of neither, {of[key]}", row, "it") for key in of for row in content[key]]
    yield "\n".join(f"- {one[0].upper()}{one[1:]}." for one in answers)
    yield Picture(
        name,
        charts.lines(
            {cell: (sigmas, line) for cell, line in means.items()}, x="noise, sigma", y="Dice, mean over pictures"
        ),
        f"Dice on {kind} against noise: "
        + "; ".join(f"{cell} " + ", ".join(f"{one:.3f}" for one in line) for cell, line in means.items()),
    )
    yield table(
        ["model", *(f"sigma {sigma:g}" for sigma in sigmas), "area", "area, each seed"],
        [
            [
                cell,
                *(f"{one:.3f}" for one in means[cell]),
                f"{mean(content['area'][cell]):.3f}",
                " ".join(f"{one:.3f}" for one in content["area"][cell]),
            ]
            for cell in means
        ],
    )
    yield (
        "Area: under the curve over these strengths, none included, each step as wide as the next. The model without "
        "augmentation and CBAM is what the others are compared with."
    )
    yield command(content["command"])


def transfer(_name: str, content: Facts) -> Iterator[Block]:
    """Trained on one collection, tested on another."""
    yield "## What is lost on pictures from elsewhere?"
    yield (
        "Boudaieb et al. 2025 train on PH2 and report a test on ISIC. Here a U-Net of width "
        f"{content['model']['width']} is trained on {content['train']} pictures of PH2, or on as many of ISIC 2018, "
        f"with and without augmentation, {len(content['seeds'])} seeds each; all are scored on the same pictures: "
        + " and ".join(f"{len(names)} of {where}" for where, names in content["pictures"].items())
        + ", of which none was trained on."
    )
    shown = [row for row in content["differences"] if row["definition"] == "dice_fg_image"]
    yield "\n".join(f"- {verdict(row['name'][0].upper() + row['name'][1:], row)}." for row in shown)
    yield Picture(
        "transfer",
        charts.bars(
            {
                f"tested on {where}": {
                    f"{row['trained_on']}, {'augmented' if row['augment'] else 'plain'}": mean(row["dice_fg_image"])
                    for row in content["rows"]
                    if row["tested_on"] == where
                }
                for where in content["pictures"]
            },
            "Dice, mean over pictures and seeds",
            digits=3,
        ),
        "Dice by what was trained on and what was tested on: "
        + "; ".join(f"{told_row(row)} {mean(row['dice_fg_image']):.3f}" for row in content["rows"]),
    )
    yield table(
        ["trained on", "augmentation", "tested on", "Dice, image", "each seed", "Dice, pooled"],
        [
            [
                row["trained_on"],
                "yes" if row["augment"] else "no",
                row["tested_on"],
                f"{mean(row['dice_fg_image']):.3f}",
                " ".join(f"{one:.3f}" for one in row["dice_fg_image"]),
                f"{mean(row['dice_fg_pooled']):.3f}",
            ]
            for row in content["rows"]
        ],
    )
    yield command(content["command"])


def told_row(row: Facts) -> str:
    """A row of the transfer in words."""
    return f"{row['trained_on']}{' augmented' if row['augment'] else ''} on {row['tested_on']}"


def mean(values: Any) -> float:
    """Of some numbers."""
    numbers = list(values)
    return sum(numbers) / len(numbers)


def effect_table(effects: dict[str, Facts]) -> str:
    """Effects with intervals."""
    rows = [
        [
            name,
            f"{one['value']:+.3f}",
            f"{one['low']:+.3f} to {one['high']:+.3f}",
            f"{one['p_holm']:.3f}",
            f"{one['detectable']:.3f}",
        ]
        for name, one in effects.items()
    ]
    return table(["effect", "value", "95 % interval", "p (Holm)", "detectable"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Example:
        >>> print(table(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    return "\n".join(f"| {' | '.join(row)} |" if row else "|" + "---|" * len(head) for row in [head, [], *rows])


def command(text: str, more: str = "") -> str:
    """The command that made it."""
    return f"```bash\n{text}\n```" + (f"\n\n{more}" if more else "")


SECTIONS: dict[str, Callable[[str, Facts], Iterator[Block]]] = {
    "skin": ablation,
    "steel": ablation,
    "losses": losses,
    "noise": noise,
    "noise_steel": noise,
    "transfer": transfer,
}


def blocks() -> Iterator[Block]:
    """The page, piece by piece."""
    yield HEAD.rstrip()
    for name, section in SECTIONS.items():
        path = HERE / f"{name}.json"
        if path.is_file():
            yield from section(name, json.loads(path.read_text()))


def page(pieces: Iterable[Block]) -> str:
    """The page as Markdown."""
    shown = [f"![{one.alt}]({one.name}.png)" if isinstance(one, Picture) else one for one in pieces]
    return "\n\n".join(shown) + "\n"


def main() -> None:
    """Write the page and its figures."""
    pieces = list(blocks())
    for one in pieces:
        if isinstance(one, Picture):
            one.figure.savefig(HERE / f"{one.name}.png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    atomic_text(HERE / "README.md", page(pieces))


if __name__ == "__main__":
    main()
