"""Write `results/README.md` from the ablations in that folder: nothing in it is typed by hand.

Run it in the repository's root after copying an ablation's `ablation.json` and `ablation.md` to
`assets/results/NAME.json` and `NAME.md`: `python assets/results.py`.
"""

import json
from pathlib import Path
from typing import Any

from seglab.files import atomic_text

HERE = Path(__file__).parent / "results"
WORDS = {"augment": "augmentation", "model.cbam": "CBAM"}
HEAD = """# Does it help? Ablations over several seeds

Every table is the output of one `seglab ablate` command, which anybody with the pictures can repeat. All cells of an
ablation had the same pictures, the same number of updates and the same settings but for the factors. Dice is that of
the object; "image": mean over test pictures, each at its own size, threshold 0.5; "pooled": all pixels together. The
intervals hold test pictures and seeds. They speak of this network, this size and this number of updates, not of others.
"""


def answer(effect: dict[str, Any]) -> str:
    """One effect in words, as far as the numbers go.

    Example:
        >>> facts = {"value": 0.02, "low": 0.01, "high": 0.03, "p": 0.001, "p_holm": 0.003, "detectable": 0.01}
        >>> answer({"name": "augment", **facts})
        'augmentation raised Dice by 0.020 (95 % interval 0.010 to 0.030, p after Holm 0.003)'
    """
    name = " x ".join(WORDS.get(part, part) for part in effect["name"].split(" x "))
    value, low, high = effect["value"], effect["low"], effect["high"]
    numbers = f"(95 % interval {low:+.3f} to {high:+.3f}, p after Holm {effect['p_holm']:.3f})"
    if effect["p_holm"] < 0.05 and low * high > 0:
        word = "raised" if value > 0 else "lowered"
        ends = sorted((abs(low), abs(high)))
        numbers = f"(95 % interval {ends[0]:.3f} to {ends[1]:.3f}, p after Holm {effect['p_holm']:.3f})"
        return f"{name} {word} Dice by {abs(value):.3f} {numbers}"
    missed = f"less than {effect['detectable']:.3f} could be missed"
    return f"{name}: no effect was shown, {value:+.3f} {numbers}; {missed}"


def section(path: Path) -> str:
    """What one ablation showed: the answers, the command, the tables."""
    content = json.loads(path.read_text())
    answers = [f"- {answer(effect)}." for effect in content["effects"]["dice_fg_image"]["effects"]]
    task = content["task"]
    numbers = [f"{len(content[key])} {word}" for key, word in (("pictures", "test pictures"), ("seeds", "seeds"))]
    size = f"Pictures of {task['config']['size']} x {task['config']['size']} pixels, mean per-image Dice:"
    head = f"## {path.stem}: {', '.join(numbers)}, {content['updates']} updates"
    lines = [head, "", size, "", *answers, "", "```bash", content["command"], "```", ""]
    return "\n".join([*lines, path.with_suffix(".md").read_text()])


def main() -> None:
    """Write the page."""
    found = sorted(HERE.glob("*.json"))
    atomic_text(HERE / "README.md", "\n".join([HEAD, *map(section, found)]).rstrip() + "\n")


if __name__ == "__main__":
    main()
