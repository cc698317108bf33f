"""ISIC 2016 to 2018: three pictures in the folders of the archives."""

import numpy as np
import pytest

from seglab.data import load_dataset

SIZE = (24, 32)  # (H, W) of the pictures

FOLDERS = {
    "isic2016": {
        "train": ("ISBI2016_ISIC_Part1_Training_Data", "ISBI2016_ISIC_Part1_Training_GroundTruth"),
        "test": ("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
    },
    "isic2017": {
        "train": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
        "val": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
        "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    },
    "isic2018": {
        "train": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
        "val": ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
        "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
    },
}
SUFFIX = {"isic2016": "_Segmentation", "isic2017": "_segmentation", "isic2018": "_segmentation"}


@pytest.fixture
def build(tmp_path, save_picture, save_mask, rectangle):
    """Function that writes the named pictures into the folders of one part."""

    def build_part(year, part, ids):
        pictures, masks = FOLDERS[year][part]
        for number in ids:
            save_picture(tmp_path / pictures / f"ISIC_{number:07}.jpg", shade=number)
            mask = rectangle(2, 3, 10, 3 + number % 20, 255)
            save_mask(tmp_path / masks / f"ISIC_{number:07}{SUFFIX[year]}.png", mask)
        return tmp_path

    return build_part


def names(data):
    return [data.name(i) for i in range(len(data))]


@pytest.mark.parametrize("year", FOLDERS)
def test_masks_of_255_are_the_lesion(build, year, rectangle):
    root = build(year, "train", [5])
    sample = load_dataset(year, root, shares=(1, 0, 0)).train[0]
    assert sample.name == "ISIC_0000005"
    assert sample.image.shape == (3, *SIZE)
    assert np.array_equal(sample.mask.numpy(), rectangle(2, 3, 10, 8))


def test_mask_that_is_all_lesion_is_not_taken_for_unknown(build, save_mask):
    root = build("isic2018", "train", [5])
    save_mask(root / FOLDERS["isic2018"]["train"][1] / "ISIC_0000005_segmentation.png", np.full(SIZE, 255))
    assert (load_dataset("isic2018", root, shares=(1, 0, 0)).train[0].mask == 1).all()


def test_255_is_the_lesion_even_beside_a_stray_1(build, save_mask, rectangle):
    root = build("isic2018", "train", [5])
    mask = rectangle(0, 0, 4, 4, 255)
    mask[10, 10] = 1
    save_mask(root / FOLDERS["isic2018"]["train"][1] / "ISIC_0000005_segmentation.png", mask)
    read = load_dataset("isic2018", root, shares=(1, 0, 0)).train[0].mask.numpy()
    assert np.array_equal(read, mask > 0)


@pytest.mark.parametrize("year", ["isic2017", "isic2018"])
def test_published_parts_are_used_as_they_are(build, year):
    for part, ids in (("train", [1, 2, 3]), ("val", [4]), ("test", [5, 6])):
        root = build(year, part, ids)
    splits = load_dataset(year, root, seed=3)
    assert [len(part) for part in splits] == [3, 1, 2]
    assert names(splits.test) == ["ISIC_0000005", "ISIC_0000006"]


@pytest.mark.parametrize("year", FOLDERS)
def test_training_part_alone_is_split_three_ways_by_the_seed(build, year):
    root = build(year, "train", range(1, 21))
    first, again, other = (load_dataset(year, root, seed=seed) for seed in (0, 0, 1))
    assert [len(part) for part in first] == [14, 3, 3]
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()


def test_val_is_cut_from_train_where_only_test_is_published(build):
    build("isic2016", "train", range(1, 18))
    root = build("isic2016", "test", [90, 91])
    splits = load_dataset("isic2016", root)
    assert names(splits.test) == ["ISIC_0000090", "ISIC_0000091"]
    assert [len(part) for part in splits] == [14, 3, 2]
    assert not set(names(splits.train)) & set(names(splits.val))


def test_published_val_is_reported_on_where_the_test_part_is_missing(build):
    build("isic2018", "train", range(1, 18))
    root = build("isic2018", "val", [90, 91])
    splits = load_dataset("isic2018", root)
    assert names(splits.test) == ["ISIC_0000090", "ISIC_0000091"]
    assert [len(part) for part in splits] == [14, 3, 2]


def test_superpixels_are_no_pictures(build, save_mask, rectangle):
    root = build("isic2017", "train", [1, 2, 3])
    for number in (1, 2, 3):
        save_mask(root / "ISIC-2017_Training_Data" / f"ISIC_{number:07}_superpixels.png", rectangle(0, 0, 3, 3, 9))
    assert sum(len(part) for part in load_dataset("isic2017", root)) == 3


def test_archive_folder_around_the_parts_is_looked_into(build):
    root = build("isic2018", "train", [1, 2, 3])
    (root / "a" / "b").mkdir(parents=True)
    for folder in FOLDERS["isic2018"]["train"]:
        (root / folder).rename(root / "a" / "b" / folder)
    assert sum(len(part) for part in load_dataset("isic2018", root)) == 3


def test_other_layout_is_refused_with_what_is_there(build):
    root = build("isic2016", "train", [1])
    with pytest.raises(ValueError, match="ISIC2018_Task1-2_Training_Input.*got ISBI2016_ISIC_Part1_Training_Data"):
        load_dataset("isic2018", root)


def test_picture_in_two_parts_is_refused(build):
    build("isic2018", "train", [1, 2])
    root = build("isic2018", "test", [2])
    with pytest.raises(ValueError, match="ISIC_0000002 must be in one part only; got it in train and test"):
        load_dataset("isic2018", root)


def test_grey_masks_need_a_threshold(build, save_mask, rectangle):
    root = build("isic2018", "train", [1])
    mask = rectangle(0, 0, 4, 4, 255)
    mask[4, :4] = 100
    save_mask(root / FOLDERS["isic2018"]["train"][1] / "ISIC_0000001_segmentation.png", mask)
    with pytest.raises(ValueError, match="100"):
        load_dataset("isic2018", root, shares=(1, 0, 0)).train[0]
    read = load_dataset("isic2018", root, shares=(1, 0, 0), threshold=128).train[0].mask
    assert np.array_equal(read.numpy(), rectangle(0, 0, 4, 4))


def test_splits_file_and_groups_are_kept(build):
    root = build("isic2018", "train", range(1, 7))
    table = "".join(f"ISIC_{i:07},g{i // 4}\n" for i in range(1, 7))
    (root / "metadata.csv").write_text(f"id,group\n{table}")
    for seed in range(5):
        sides = [{int(name[-1]) // 4 for name in names(part)} for part in load_dataset("isic2018", root, seed=seed)]
        assert sum(len(side) for side in sides) == 2
    (root / "splits.json").write_text('{"train": ["ISIC_0000001"], "val": ["ISIC_0000002"], "test": ["ISIC_0000006"]}')
    assert names(load_dataset("isic2018", root).test) == ["ISIC_0000006"]
