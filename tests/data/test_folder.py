"""The plain layout and what all layouts share: pairs, groups, splits, joins and fingerprints."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.data import (
    Dataset,
    Joined,
    Pair,
    PairedFolder,
    Splits,
    groups_of,
    join,
    list_datasets,
    load_dataset,
    pair_files,
    pictures_of,
    split_pairs,
)
from seglab.data.folder import load


def write(root: Path, names: list[str], values: tuple[int, ...] = (0, 255), ending: str = "png") -> Path:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(root / "images" / f"{name}.{ending}")
        mask = rng.choice(np.array(values, np.uint8), (20, 30))
        mask.flat[: len(values)] = values
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    return root


def names_of(splits: Splits) -> list[list[str]]:
    return [[part.name(i) for i in range(len(part))] for part in splits]


def pairs(groups: dict[str, int]) -> PairedFolder:
    """Pairs of these groups with so many pictures each; nothing is on disk."""
    made = [
        Pair(f"{group}{i:03d}", Path(f"{group}{i}.png"), Path("m.png"), group)
        for group, count in groups.items()
        for i in range(count)
    ]
    return PairedFolder(tuple(made))


NAMES = [f"p{i:02d}" for i in range(20)]


def test_folder_gives_pictures_masks_and_names(tmp_path):
    splits = load(write(tmp_path, NAMES, ending="jpg"))
    sample = splits.train[0]
    assert sample.image.shape == (3, 20, 30)
    assert sample.mask.shape == (20, 30)
    assert set(sample.mask.unique().tolist()) == {0, 1}
    assert sample.name == splits.train.name(0)
    assert splits.train.classes == ("background", "object")
    assert all(isinstance(part, Dataset) for part in splits)
    assert [len(part) for part in splits] == [14, 3, 3]


def test_every_picture_is_in_exactly_one_part(tmp_path):
    parts = names_of(load(write(tmp_path, NAMES)))
    assert sorted(sum(parts, [])) == NAMES


def test_split_depends_on_the_seed_and_not_on_the_order_of_the_files():
    data = pairs({f"g{i}": 1 for i in range(40)})
    first = split_pairs(data, seed=1)
    turned = PairedFolder(data.pairs[::-1])
    assert names_of(split_pairs(turned, seed=1)) == names_of(first)
    assert names_of(split_pairs(data, seed=2)) != names_of(first)


@pytest.mark.parametrize(
    "shares", [(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.8, 0.2, 0)]
)
def test_parts_have_their_shares_to_within_a_group(shares):
    data = pairs({f"g{i}": 1 + i % 4 for i in range(60)})
    sizes = [len(part) for part in split_pairs(data, shares=shares)]
    assert sum(sizes) == len(data)
    for size, share in zip(sizes, shares, strict=True):
        assert abs(size - share * len(data)) <= 4
        assert size == 0 or share > 0


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together(seed):
    data = pairs({f"patient{i}_": 1 + i % 5 for i in range(30)})
    parts = [{pair.group for pair in part.pairs} for part in split_pairs(data, seed=seed)]
    assert all(parts)
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]


@pytest.mark.parametrize("shares", [
    (0.5, 0.5), (0.5, 0.5, 0.5), (-0.1, 0.6, 0.5), (float("nan"), 0.5, 0.5), ("a", "b", "c"), (1.0,), (),
    (0.7, 0.1, 0.1, 0.1),
])  # fmt: skip
def test_shares_that_are_no_three_parts_of_one_are_refused(shares):
    with pytest.raises(ValueError, match="shares must be three numbers, 0 or above, that sum to 1; got"):
        split_pairs(pairs({"g": 3}), shares=shares)


# --- groups


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_no_part_of_a_few_pictures_stays_empty(count):
    data = pairs({f"g{i}": 1 for i in range(count)})
    assert min(len(part) for part in split_pairs(data)) >= 1
    assert [len(part) for part in split_pairs(data, shares=(0.5, 0.5, 0.0))][2] == 0


def test_table_keeps_pictures_of_one_group_on_one_side(tmp_path):
    write(tmp_path, NAMES)
    rows = "".join(f"{name},g{index // 4}\n" for index, name in enumerate(NAMES))
    (tmp_path / "metadata.csv").write_text("id,group\n" + rows)
    for seed in range(6):
        for part in names_of(load(tmp_path, seed=seed)):
            groups = [NAMES.index(name) // 4 for name in part]
            assert all(groups.count(group) == 4 for group in groups)


def test_table_of_a_spreadsheet_is_understood(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfid,note,group\r\na,x,g1\r\nb,,\r\n")
    made = (Pair("a", Path(), Path(), "a"), Pair("b", Path(), Path(), "b"), Pair("c", Path(), Path(), "c"))
    assert [pair.group for pair in groups_of(made, tmp_path / "t.csv")] == ["g1", "b", "c"]


def test_without_a_table_or_a_group_column_every_picture_is_its_own(tmp_path):
    made = (Pair("a", Path(), Path(), "a"),)
    assert groups_of(made, tmp_path / "none.csv") == made
    (tmp_path / "t.csv").write_text("id,age\na,40\n")
    assert groups_of(made, tmp_path / "t.csv") == made
    (tmp_path / "t.csv").write_text("")
    assert groups_of(made, tmp_path / "t.csv") == made


def test_table_that_groups_but_names_no_picture_is_refused_not_ignored(tmp_path):
    made = (Pair("a", Path(), Path(), "a"),)
    (tmp_path / "t.csv").write_text("name,group\na,g\n")
    with pytest.raises(ValueError, match="t.csv must have the column id beside group; got group, name"):
        groups_of(made, tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("id,group\na.jpg,g\n")
    with pytest.raises(ValueError, match=r"t.csv must name the pictures without their ending; got none, e.g. 'a.jpg'"):
        groups_of(made, tmp_path / "t.csv")


# --- split files


def test_split_file_decides_who_is_where_and_in_which_order(tmp_path):
    write(tmp_path, NAMES)
    wanted = {"train": ["p05", "p01"], "val": ["p02"], "test": []}
    (tmp_path / "splits.json").write_text(json.dumps(wanted))
    assert names_of(load(tmp_path, seed=3)) == list(wanted.values())
    (tmp_path / "splits.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(wanted).encode())
    assert names_of(load(tmp_path)) == list(wanted.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "splits.json must be JSON; got an error"),
        ("[]", "splits.json must have the keys train, val and test, each a list of names"),
        ('{"train": [], "val": []}', "splits.json must have the keys"),
        ('{"train": "p00", "val": [], "test": []}', "splits.json must have the keys"),
        ('{"train": [1], "val": [], "test": []}', "splits.json must have the keys"),
        ('{"train": ["p99"], "val": [], "test": []}', "names 'p99' in train, which is not among the pictures"),
        ('{"train": ["p00"], "val": ["p01", "p00"], "test": []}', "names 'p00' twice, in train and val"),
        ('{"train": ["p00", "p00"], "val": [], "test": []}', "names 'p00' twice, in train and train"),
    ],
)
def test_wrong_split_file_is_refused_by_its_name(tmp_path, content, message):
    write(tmp_path, NAMES[:3])
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_split_file_that_is_no_text_is_refused(tmp_path):
    write(tmp_path, NAMES[:3])
    (tmp_path / "splits.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="splits.json must be JSON"):
        load(tmp_path)


# --- classes


def test_class_names_come_from_their_file(tmp_path):
    write(tmp_path, NAMES[:4], values=(0, 1, 2))
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfnone\r\n scratch \n\nhole\n")
    splits = load(tmp_path)
    assert splits.train.classes == ("none", "scratch", "hole")
    assert set(splits.train[0].mask.unique().tolist()) == {0, 1, 2}


def test_single_class_is_refused(tmp_path):
    write(tmp_path, NAMES[:1])
    (tmp_path / "classes.txt").write_text("hole\n")
    with pytest.raises(ValueError, match="classes.txt must name at least two classes, the background first; got 1"):
        load(tmp_path)


def test_mask_value_that_is_no_class_is_refused_by_the_masks_name(tmp_path):
    splits = load(write(tmp_path, NAMES[:1], values=(0, 1, 7)), shares=(1.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="p00.png"):
        splits.train[0]


# --- pairs


def test_pairs_are_by_stem_whatever_the_ending(tmp_path):
    write(tmp_path, ["b", "a"], ending="bmp")
    assert [pair.name for pair in pair_files(tmp_path / "images", tmp_path / "masks")] == ["a", "b"]


def test_mask_may_carry_a_suffix_and_other_files_may_be_ignored(tmp_path):
    write(tmp_path, ["a"])
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / "a_mask.png")
    (tmp_path / "images" / "a_superpixels.png").touch()
    made = pair_files(tmp_path / "images", tmp_path / "masks", suffixes=("_mask", ""), ignored=("_superpixels",))
    assert [(pair.name, pair.mask.name) for pair in made] == [("a", "a_mask.png")]


def test_picture_without_mask_and_mask_without_picture_are_named(tmp_path):
    write(tmp_path, ["a", "b"])
    (tmp_path / "masks" / "b.png").rename(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"picture .*b.png must have a mask of the same name in .*masks; got none"):
        pair_files(tmp_path / "images", tmp_path / "masks")
    (tmp_path / "b.png").rename(tmp_path / "masks" / "b.png")
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(ValueError, match=r"mask .*a.png must have a picture of the same name in .*images; got none"):
        pair_files(tmp_path / "images", tmp_path / "masks")


def test_empty_and_missing_folders_are_refused(tmp_path):
    write(tmp_path, [])
    with pytest.raises(ValueError, match=r"folder .*images must hold pictures \(.jpg, .*\); got none"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="folder .*images must exist; got no folder of that name"):
        load(tmp_path / "images")


def test_two_files_of_one_stem_are_refused_and_hidden_files_left_out(tmp_path):
    for name in (".a.png", "a.PNG", "notes.txt", "b.jpg"):
        (tmp_path / name).touch()
    assert [path.name for path in pictures_of(tmp_path).values()] == ["a.PNG", "b.jpg"]
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ValueError, match=r"must differ in their stem; got a.PNG and a.jpg"):
        pictures_of(tmp_path)


# --- joins and fingerprints


def test_joined_parts_follow_each_other_under_their_labels(tmp_path):
    first, second = (load(write(tmp_path / label, NAMES[:n])) for label, n in (("x", 4), ("y", 7)))
    both = join({"x": first, "y": second})
    for part, one, other in zip(both, first, second, strict=True):
        assert len(part) == len(one) + len(other)
    names = names_of(both)[0]
    assert names == [f"x/{n}" for n in names_of(first)[0]] + [f"y/{n}" for n in names_of(second)[0]]
    last = len(both.train) - 1
    assert both.train[last].name == names[last]
    assert np.array_equal(both.train[last].image, second.train[len(second.train) - 1].image)
    assert both.train.classes == ("background", "object")


@pytest.mark.parametrize("index", [-1, 3, 99])
def test_joined_refuses_an_index_outside(index):
    joined = Joined((pairs({"a": 1}), pairs({"b": 2})), ("x", "y"))
    with pytest.raises(IndexError, match=rf"index must be in \[0, 3\); got {index}"):
        joined.locate(index)


def with_classes(*classes: str) -> Splits:
    return Splits(*(PairedFolder((), classes) for _ in range(3)))


def test_join_of_one_is_itself_and_of_none_is_refused():
    one = with_classes("background", "object")
    assert join({"x": one}) is one
    with pytest.raises(ValueError, match="join needs at least one dataset; got none"):
        join({})


def test_objects_of_two_classes_may_be_called_differently_but_more_classes_may_not():
    two = {"x": with_classes("background", "lesion"), "y": with_classes("background", "object")}
    assert join(two).train.classes == ("background", "lesion")
    with pytest.raises(ValueError, match="joined datasets must have the same classes"):
        join(two | {"z": with_classes("background", "a", "b")})
    with pytest.raises(ValueError, match="joined datasets must have the same classes"):
        join({"x": with_classes("background", "cat", "dog"), "y": with_classes("background", "dog", "cat")})


def test_fingerprint_tells_who_is_in_which_part():
    data = pairs({f"g{i}": 1 for i in range(20)})
    first = split_pairs(data, seed=0)
    assert first.fingerprint() == split_pairs(data, seed=0).fingerprint()
    assert len(first.fingerprint()) == 16
    others = [split_pairs(data, seed=1), split_pairs(data, shares=(0.6, 0.2, 0.2)), Splits(*first[::-1])]
    assert len({one.fingerprint() for one in [first, *others]}) == 4


def test_fingerprint_reads_no_picture():
    data = PairedFolder(pairs({"g": 4}).pairs, read_image=lambda path: pytest.fail("read"))
    split_pairs(data).fingerprint()


# --- by name


def test_dataset_is_loaded_by_name_with_its_settings(tmp_path):
    write(tmp_path, NAMES)
    assert "folder" in list_datasets()
    assert list_datasets() == sorted(list_datasets())
    assert not any(name.startswith("_") for name in list_datasets())
    assert names_of(load_dataset("folder", tmp_path, seed=4)) == names_of(load(tmp_path, seed=4))


def test_unknown_names_settings_and_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dataset must be one of .*; got 'foldr'\. Did you mean 'folder'\?"):
        load_dataset("foldr", tmp_path)
    with pytest.raises(ValueError, match=r"setting of dataset folder must be one of seed, shares; got 'sed'"):
        load_dataset("folder", tmp_path, sed=1)
    with pytest.raises(FileNotFoundError, match="dataset folder .*none must exist; got no folder of that name"):
        load_dataset("folder", tmp_path / "none")
    with pytest.raises(ValueError, match="dataset folder needs the folder it lies in; got none"):
        load_dataset("folder")


def test_selection_keeps_the_order_asked_for():
    data = pairs({"g": 4})
    chosen = data.select(["g002", "g000"])
    assert [chosen.name(i) for i in range(len(chosen))] == ["g002", "g000"]
