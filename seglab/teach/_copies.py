"""Augmented copies of pictures, made once and kept: what some papers split afterwards."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a lesson without training starts without PyTorch
    from seglab.contract import Sample
    from seglab.data import Dataset

__all__ = ["Copies", "copies"]

JOIN = " copy "


class Copies:
    """Dataset of augmented copies, each named after its parent picture; see `copies`.

    Attributes:
        samples: The copies, in order.
        classes: Those of the parents.
    """

    def __init__(self, samples: "Iterable[Sample]", classes: tuple[str, ...]) -> None:
        self.samples, self.classes = tuple(samples), classes

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> "Sample":
        return self.samples[index]

    def name(self, index: int) -> str:
        """Name of a copy."""
        return self.samples[index].name


def copies(
    data: "Dataset", numbers: Iterable[int], *, seed: int = 0, rotation: float = 180.0, strength: float = 1.0
) -> Copies:
    """Augmented copies of every picture of a dataset, as `seglab.augmentation` draws them.

    Copy 3 of a picture is the same whichever other copies are made. Its name is the parent's name, " copy " and the
    number.

    Args:
        data: Dataset of square pictures.
        numbers: Which copies, numbers from 0.
        seed: Seed of the draws.
        rotation: Largest turn in degrees, as in `seglab.augmentation.draw`.
        strength: Share of the other ranges, as there.

    Raises:
        ValueError: If a picture is not square.

    Example:
        >>> from seglab import load_dataset
        >>> parents = load_dataset("synthetic", None, count=(2, 1, 1), size=(32, 32)).train
        >>> [one.name for one in copies(parents, [0, 3]).samples]
        ['skin_train_00000 copy 0', 'skin_train_00001 copy 0', 'skin_train_00000 copy 3', 'skin_train_00001 copy 3']
    """
    import numpy as np
    import torch

    from seglab.augmentation import apply, draw
    from seglab.contract import Sample

    made = []
    for number in numbers:
        for index in range(len(data)):
            parent = data[index]
            drawn = draw(seed, number, index, rotation=rotation, strength=strength)
            image, mask = apply(np.ascontiguousarray(parent.image.permute(1, 2, 0)), parent.mask.numpy(), drawn)
            pixels = torch.from_numpy(image).permute(2, 0, 1)
            made.append(Sample(pixels, torch.from_numpy(mask), f"{parent.name}{JOIN}{number}"))
    return Copies(made, data.classes)
