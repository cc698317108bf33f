"""Copies are what the augmentation makes of their parents, and say whose they are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seglab import TrainConfig, build_loss, build_model, load_dataset, train
from seglab.augmentation import apply, draw
from seglab.data import Dataset
from seglab.teach import copies

PARENTS = load_dataset("synthetic", None, kind="steel", count=(3, 1, 1), size=(32, 32)).train


def test_a_copy_is_what_the_augmentation_makes_of_its_parent() -> None:
    made = copies(PARENTS, [2], seed=5, rotation=10, strength=0.5)
    parent = PARENTS[1]
    image, mask = apply(
        parent.image.permute(1, 2, 0).numpy().copy(),
        parent.mask.numpy(),
        draw(5, 2, 1, rotation=10, strength=0.5),
    )
    assert np.array_equal(made[1].image.permute(1, 2, 0), image)
    assert np.array_equal(made[1].mask, mask)
    assert made[1].name == made.name(1) == f"{parent.name} copy 2"


def test_a_copy_does_not_depend_on_the_other_copies() -> None:
    alone, among = copies(PARENTS, [3]), copies(PARENTS, range(4))
    assert len(among) == 12
    assert all(torch.equal(one.image, other.image) for one, other in zip(alone.samples, among.samples[9:], strict=True))
    assert not torch.equal(among[0].image, among[3].image)


def test_copies_can_be_trained_on(tmp_path: Path) -> None:
    made = copies(PARENTS, [0])
    assert isinstance(made, Dataset)
    config = TrainConfig(epochs=1, size=32, batch_size=2, workers=0, augment=False, device="cpu")
    best = train(build_model("unet", 1, width=4), build_loss("bce"), made, made, config, out=tmp_path)
    assert best.classes == PARENTS.classes


def test_only_square_pictures_have_copies() -> None:
    flat = load_dataset("synthetic", None, count=(1, 1, 1), size=(32, 48)).train
    with pytest.raises(ValueError, match=r"image must be \(S, S, 3\)"):
        copies(flat, [0])
