"""All four tests of a model's attention on one dataset, and what they say in words."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seglab.data import Dataset
from seglab.explain._ablation import REPLACEMENTS, AblationPart, GateAblation
from seglab.explain._curves import CurvesPart, RemovalCurves
from seglab.explain._gates import find_gates
from seglab.explain._mass import Mass, MassPart
from seglab.explain._pictures import Part, walk
from seglab.explain._randomisation import Randomisation, RandomisationPart
from seglab.explain._removal import Removing
from seglab.files import atomic_text
from seglab.inference import Predictor

__all__ = ["Faithfulness", "faithfulness"]


@dataclass(frozen=True)
class Faithfulness:
    """Whether a model's attention maps explain what it does.

    Attributes:
        model: Title of the model.
        names: Names of the pictures.
        gates: Change of Dice with gates replaced.
        curves: Deletion and insertion curves.
        randomisation: Likeness to networks with random weights.
        mass: Mass inside the object.
    """

    model: str
    names: tuple[str, ...]
    gates: GateAblation
    curves: RemovalCurves
    randomisation: Randomisation
    mass: Mass

    @property
    def verdicts(self) -> dict[str, str]:
        """What the numbers say of every stage, in plain sentences, and of all stages together."""
        said = {}
        for stage in self.gates.stages:
            still = [one for one in self.randomisation.gates if one.stage == stage and one.flagged]
            parts = [self.gates.verdict(stage)]
            parts += [
                f"With random weights its {one.kind} gate keeps its order (absolute rank correlation "
                f"{one.strength.mean:.2f}): it shows little of what was learned."
                for one in still
            ]
            said[stage] = " ".join(parts)
        return said

    def to_markdown(self) -> str:
        """Verdicts first, then the four tables."""
        lines = [f"### {self.model}: {len(self.names)} pictures", ""]
        lines += [f"- {stage}: {sentence}" for stage, sentence in self.verdicts.items()]
        parts: dict[str, GateAblation | RemovalCurves | Randomisation | Mass] = {
            "Gates replaced": self.gates,
            "Pixels removed in the order of a map": self.curves,
            "Weights randomised": self.randomisation,
            "Mass inside the object": self.mass,
        }
        for title, part in parts.items():
            lines += ["", f"#### {title}", "", part.to_markdown()]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Verdicts and every number of every picture as JSON; NaN becomes null."""
        content = {
            "model": self.model,
            "pictures": len(self.names),
            "verdicts": self.verdicts,
            "gates": self.gates.content(),
            "curves": self.curves.content(),
            "randomisation": self.randomisation.content(),
            "mass": self.mass.content(),
        }
        return json.dumps(content, indent=1)

    def save(self, path: str | Path) -> None:
        """Write the result as .json or .md, by the ending of `path`.

        Raises:
            ValueError: For another ending.
            OSError: If the file cannot be written; an older one is then intact.
        """
        path = Path(path)
        forms = {".json": self.to_json, ".md": self.to_markdown}
        if path.suffix not in forms:
            raise ValueError(f"file of explanations must end in .json or .md; got {path.name}.")
        atomic_text(path, forms[path.suffix]().rstrip("\n") + "\n")

    def __str__(self) -> str:
        return self.to_markdown()


def faithfulness(
    predictor: Predictor,
    data: Dataset,
    *,
    seed: int = 0,
    step_percent: float = 10,
    fill: str = "mean",
    pictures: int | None = None,
    on_image: Callable[[int], None] | None = None,
) -> Faithfulness:
    """Test a model's attention on a dataset in four ways; a map that looks convincing has passed none of them.

    1. `gate_ablation`: does Dice change when a gate no longer says where to look? This is the test that counts.
    2. `removal_curves`: does the prediction go with the pixels that the map marks, faster than in other orders?
    3. `weight_randomisation`: does the map change when what was learned is taken away?
    4. `mass_inside`: is more of the map on the object than its area would give by chance?

    Holm's adjustment is made within each test, in the first one within each replacement. Take pictures that training
    never saw.

    Args:
        predictor: A model with at least one attention gate.
        data: Pictures with their masks.
        seed: Seed of everything random.
        step_percent: Step of the curves, as for `deletion_curve`.
        fill: What takes the place of removed pixels, "mean" or "blur".
        pictures: Take that many pictures of the dataset, at even steps; None takes all.
        on_image: Called with the number of pictures done, for progress bars.

    Raises:
        ValueError: If the model has no gate, an option is out of range, or the data set does not fit the model.

    Example:
        >>> from seglab import build_model, load_dataset
        >>> model = Predictor(build_model("unet", 1, width=4, cbam="bottleneck"), size=32)
        >>> data = load_dataset("synthetic", None, count=(1, 1, 2), size=(32, 32)).test
        >>> list(faithfulness(model, data, step_percent=50).verdicts)
        ['bottleneck']
    """
    found = find_gates(predictor)
    gates = AblationPart(predictor, found, None, REPLACEMENTS, seed)
    curves = CurvesPart(predictor, found, Removing(step_percent, fill, seed))
    randomisation = RandomisationPart(predictor, found, steps=8, draws=3, seed=seed)
    mass = MassPart(predictor, found, seed)
    parts: list[Part] = [gates, curves, randomisation, mass]
    names = walk(predictor, data, parts, pictures, on_image)
    results = gates.result(names), curves.result(names), randomisation.result(names), mass.result(names)
    return Faithfulness(predictor.name, names, *results)
