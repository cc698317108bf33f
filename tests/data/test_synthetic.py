"""Generated pictures: exact shares, same seed same picture, new number new picture."""

import hashlib
import pickle

import numpy as np
import pytest
import torch

from seglab.data import load_dataset
from seglab.data._noise import fractal, largest, stroke, voronoi
from seglab.data.synthetic import MOST, Synthetic, load

KINDS = ("skin", "steel")


@pytest.mark.parametrize("kind", KINDS)
def test_sample_has_the_promised_shapes_types_and_values(kind):
    data = load(kind=kind, count=(2, 1, 1), size=(40, 56)).train
    sample = data[1]
    assert sample.image.shape == (3, 40, 56)
    assert sample.image.dtype == torch.uint8
    assert sample.mask.shape == (40, 56)
    assert sample.mask.dtype == torch.uint8
    assert set(sample.mask.unique().tolist()) <= {0, 1}
    assert sample.name == data.name(1)
    assert data.classes[0] == "background"
    assert len(data.classes) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_share_without_drawing_is_the_share_of_the_mask(kind):
    data = Synthetic(kind, count=12, size=(40, 33), empty=0.3)
    shares = [data.share(i) for i in range(12)]
    assert [data[i].mask.double().mean().item() for i in range(12)] == pytest.approx(shares, abs=1e-12)
    assert 0 in shares
    assert max(shares) > 0


@pytest.mark.parametrize("prevalence", [0.02, 0.2, 0.6, MOST])
def test_mean_share_is_the_prevalence(prevalence):
    data = Synthetic("skin", count=2000, prevalence=prevalence)
    shares = np.array([data.share(i) for i in range(2000)])
    assert shares.mean() == pytest.approx(prevalence, rel=0.06)
    assert 0 < shares.min() <= shares.max() <= MOST + 1e-4


def test_empty_masks_are_as_frequent_as_asked():
    data = load(kind="steel", count=(1000, 0, 0), empty=0.25).train
    assert np.mean([data.share(i) == 0 for i in range(1000)]) == pytest.approx(0.25, abs=0.05)
    assert all(load(kind="skin", count=(200, 0, 0)).train.share(i) > 0 for i in range(200))


@pytest.mark.parametrize("kind", KINDS)
def test_picture_depends_on_seed_kind_part_and_index_only(kind):
    small, large = (load(kind=kind, count=count, size=32, seed=5) for count in (10, 100))
    assert torch.equal(small.train[3].image, large.train[3].image)
    assert torch.equal(small.train[3].mask, large.train[3].mask)
    others = [large.train[4], large.val[3], load(kind=kind, count=10, size=32, seed=6).train[3]]
    assert all(not torch.equal(small.train[3].image, other.image) for other in others)


@pytest.mark.parametrize(("kind", "expected"), [("skin", "8fb12763c10207a4"), ("steel", "62f459a8ca138d19")])
def test_bits_are_the_same_on_every_machine(kind, expected):
    data = load(kind=kind, count=(8, 0, 0), size=(48, 40), seed=1).train
    digest = hashlib.sha256()
    for i in range(8):
        digest.update(data[i].image.numpy().tobytes() + data[i].mask.numpy().tobytes())
    assert digest.hexdigest()[:16] == expected


def test_names_differ_over_all_parts():
    splits = load(count=40, size=32)
    names = [part.name(i) for part in splits for i in range(len(part))]
    assert len(set(names)) == len(names) == 40


@pytest.mark.parametrize("kind", KINDS)
def test_object_can_be_seen(kind):
    data = Synthetic(kind, count=40, size=(64, 64), prevalence=0.15)
    differences = []
    for i in range(40):
        grey, mask = data[i].image.float().mean(0), data[i].mask.bool()
        differences.append(abs(grey[mask].mean() - grey[~mask].mean()).item())
    assert np.median(differences) > 15
    assert min(differences) < 0.5 * np.median(differences)  # and some are hard


def test_steel_is_grey():
    image = load(kind="steel", count=(1, 0, 0), size=32).train[0].image
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_shares_and_shapes_are_drawn(kind):
    for size, prevalence in [((32, 200), 0.0001), ((200, 32), MOST), ((33, 47), 0.5)]:
        data = Synthetic(kind, count=3, size=size, prevalence=prevalence)
        assert all(data[i].mask.sum() == round(data.share(i) * size[0] * size[1]) > 0 for i in range(3))


def test_dataset_stops_and_travels_to_workers():
    data = Synthetic("skin", count=2, size=(32, 32))
    assert len(list(data)) == 2
    assert torch.equal(pickle.loads(pickle.dumps(data))[1].image, data[1].image)
    with pytest.raises(IndexError, match=r"index must be in \[0, 2\); got 2"):
        data[2]


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"kind": "wood"}, "kind of synthetic pictures must be one of skin, steel"),
        ({"count": 0}, "count must be"),
        ({"count": (1, 2)}, "count must be"),
        ({"count": (3, -1, 1)}, "count must be"),
        ({"size": 31}, "size must be 32"),
        ({"size": (64, 8)}, "size must be 32"),
        ({"size": (64, 64, 3)}, "size must be"),
        ({"seed": -1}, "seed must be 0 or above"),
        ({"prevalence": 0}, "prevalence must be above 0"),
        ({"prevalence": 0.99}, "prevalence must be above 0"),
        ({"empty": 1.5}, r"empty must be in \[0, 1\]"),
    ],
)
def test_wrong_setting_is_named(knobs, words):
    with pytest.raises(ValueError, match=words):
        load(**knobs)


def test_load_dataset_needs_no_folder():
    assert len(load_dataset("synthetic", kind="steel", count=20).train) == 14


def test_largest_takes_exactly_the_count_even_among_equals():
    mask, level = largest(np.zeros((4, 5), np.float32), 7)
    assert mask.sum() == 7
    assert mask.ravel()[:7].all()
    assert level == 0
    assert largest(np.arange(6, dtype=np.float32).reshape(2, 3), 0)[0].sum() == 0


def test_noise_stays_in_its_range():
    rng = np.random.default_rng(0)
    field = fractal(rng, (50, 70), (20.0, 3.0), 4)
    assert -1 <= field.min() < -0.1 < 0.1 < field.max() <= 1
    assert np.abs(np.diff(field, axis=0)).mean() < 0.5 * np.abs(np.diff(field, axis=1)).mean()
    first, second = voronoi(rng, (50, 70), 6.0)
    assert (first <= second).all()
    line = stroke(rng, (50, 70), 1.0, (0.2, 0.4), 1.0)
    assert 0 <= line.min() <= line.max() <= 1
