"""Pictures made in memory, whose masks are known: what tests train and predict on."""

from dataclasses import dataclass

import numpy as np
import torch

from seglab.contract import Sample


@dataclass(frozen=True)
class Pictures:
    """Dataset of pictures in memory."""

    samples: tuple[Sample, ...]
    classes: tuple[str, ...] = ("background", "object")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def discs(
    count: int, size: tuple[int, int] = (40, 56), seed: int = 0, prefix: str = "p", num_classes: int = 2
) -> Pictures:
    """Noise with a bright disc of each class above 0; the mask is the disc."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    samples = []
    for index in range(count):
        image = rng.integers(0, 90, (*size, 3), dtype=np.uint8)
        mask = np.zeros(size, np.uint8)
        for label in range(1, num_classes):
            centre = rng.uniform(0.25, 0.75, 2) * size
            disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (rng.uniform(0.15, 0.3) * min(size)) ** 2
            mask[disc] = label
            image[disc, (label - 1) % 3] += 150
        samples.append(Sample(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask), f"{prefix}{index}"))
    return Pictures(tuple(samples), ("background", *(f"object {i}" for i in range(1, num_classes))))
