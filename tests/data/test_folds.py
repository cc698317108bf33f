"""k folds: every picture is tested once, groups stay whole, folds are alike."""

import json

import numpy as np
import pytest
import torch

from seglab.contract import Sample
from seglab.data import PairedFolder, Splits, join, load_dataset
from seglab.data._folds import assign_folds, fold_of, read_folds, write_folds


class Squares(list):
    """Pictures whose object share is given."""

    classes = ("background", "object")

    def __init__(self, shares: list[float], start: int = 0) -> None:
        super().__init__()
        for number, share in enumerate(shares, start):
            mask = torch.zeros(10, 10, dtype=torch.uint8)
            mask.view(-1)[: round(100 * share)] = 1
            self.append(Sample(torch.zeros(3, 10, 10, dtype=torch.uint8), mask, f"s{number}"))


def parts(train: int, val: int, test: int) -> Splits:
    shares = np.random.default_rng(0).uniform(0, 1, train + val + test).tolist()
    ends = np.cumsum([0, train, val, test])
    return Splits(*(Squares(shares[a:b], a) for a, b in zip(ends, ends[1:], strict=False)))


def names(data: object) -> list[str]:
    return [data[i].name for i in range(len(data))]


@pytest.mark.parametrize("k", [3, 5])
def test_every_picture_is_tested_once_validated_once_and_never_in_two_parts(k):
    splits = parts(20, 3, 4)
    folds = assign_folds(splits, k)
    tested, validated = [], []
    for fold in range(k):
        one = fold_of(splits, folds, fold)
        together = [name for part in one for name in names(part)]
        assert sorted(together) == sorted(f"s{i}" for i in range(27))
        tested += names(one.test)
        validated += names(one.val)
    assert sorted(tested) == sorted(validated) == sorted(f"s{i}" for i in range(27))


def test_folds_are_alike_in_size_and_object_share():
    splits = parts(80, 10, 10)
    shares = {sample.name: float(sample.mask.float().mean()) for part in splits for sample in part}
    folds = assign_folds(splits, 5)
    means = [np.mean([shares[name] for name, fold in folds.items() if fold == f]) for f in range(5)]
    assert np.bincount(list(folds.values())).tolist() == [20] * 5
    assert max(means) - min(means) < 0.06
    by_chance = np.random.default_rng(1).permutation(list(shares.values())).reshape(5, 20).mean(1)
    assert max(means) - min(means) < max(by_chance) - min(by_chance)


def test_seed_decides_and_nothing_else():
    splits = parts(12, 2, 2)
    assert assign_folds(splits, 4) == assign_folds(splits, 4)
    assert assign_folds(splits, 4) != assign_folds(splits, 4, seed=1)


def test_groups_stay_whole(tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    rows = ["id,group"]
    for i in range(12):
        Image.new("RGB", (16, 16)).save(tmp_path / "images" / f"p{i:02}.png")
        Image.new("L", (16, 16), 255 * (i % 2)).save(tmp_path / "masks" / f"p{i:02}.png")
        rows.append(f"p{i:02},patient{i // 3}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    splits = load_dataset("folder", tmp_path)
    assert all(isinstance(part, PairedFolder) for part in splits)
    folds = assign_folds(splits, 3)
    for patient in range(4):
        assert len({folds[f"p{i:02}"] for i in range(3 * patient, 3 * patient + 3)}) == 1
    assert sorted(np.bincount(list(folds.values())).tolist()) == [3, 3, 6]


def test_joined_datasets_keep_their_labels():
    splits = join({"a": parts(4, 1, 1), "b": parts(4, 1, 1)})
    folds = assign_folds(splits, 3)
    assert {name.partition("/")[0] for name in folds} == {"a", "b"}
    assert sorted(names(fold_of(splits, folds, 0).test)) == sorted(name for name, fold in folds.items() if fold == 0)


def test_what_is_written_is_read_and_damage_is_named(tmp_path):
    path = tmp_path / "folds.json"
    write_folds(path, {"a": 0, "b": 1})
    assert read_folds(path) == {"a": 0, "b": 1}
    path.write_text("{")
    with pytest.raises(ValueError, match=r"folds.json must be JSON"):
        read_folds(path)
    path.write_text(json.dumps({"a": "x"}))
    with pytest.raises(ValueError, match=r"must map names to folds from 0"):
        read_folds(path)


def test_wrong_requests_are_answered():
    splits = parts(4, 1, 1)
    with pytest.raises(ValueError, match="folds must be an integer of at least 3: .* got 2"):
        assign_folds(splits, 2)
    with pytest.raises(ValueError, match="as many groups as folds, 7; got 6"):
        assign_folds(splits, 7)
    with pytest.raises(ValueError, match="must differ in name .* got 's0' twice"):
        assign_folds(Splits(splits.train, splits.train, splits.test), 3)
    folds = assign_folds(splits, 3)
    with pytest.raises(ValueError, match=r"fold must be in \[0, 3\); got 3"):
        fold_of(splits, folds, 3)
    with pytest.raises(ValueError, match="must name every picture; got none for 's0'"):
        fold_of(splits, {"s1": 0, "s2": 1, "s3": 2}, 0)
    with pytest.raises(ValueError, match="must be of these 6 pictures; got 7 names"):
        fold_of(splits, folds | {"other": 0}, 0)
