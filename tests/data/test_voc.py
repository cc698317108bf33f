"""VOC, read and written: lists, palette masks with a 255 border, and what comes back."""

import numpy as np
import pytest
from PIL import Image

from seglab.data import join, load_dataset
from seglab.data.voc import CLASSES, colour_map, write

SIZE = (24, 32)  # (H, W) of the pictures
COLOURS = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}


@pytest.fixture
def build(tmp_path, save_picture, rectangle):
    """Function that writes pictures with palette masks, and lists."""

    def build_voc(names, value=1, **lists):
        root = tmp_path / "VOCdevkit" / "VOC2012"
        for index, name in enumerate(names):
            save_picture(root / "JPEGImages" / f"{name}.jpg", shade=index)
            mask = rectangle(4, 4, 12, 16, 255)  # the border
            mask[5:11, 5:15] = value
            image = Image.fromarray(mask)
            image.putpalette(sum((list(COLOURS.get(i, (9, 9, 9))) for i in range(256)), []))
            (root / "SegmentationClass").mkdir(exist_ok=True)
            image.save(root / "SegmentationClass" / f"{name}.png")
        (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        for part, content in lists.items():
            (root / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("".join(f"{name}\n" for name in content))
        return root

    return build_voc


def names(data):
    return [data.name(i) for i in range(len(data))]


def test_palette_index_is_the_class_and_the_border_unknown(build, rectangle):
    root = build("abc", value=1, train="a", val="b", test="c")
    sample = load_dataset("voc", root).train[0]
    expected = rectangle(4, 4, 12, 16, 255)
    expected[5:11, 5:15] = 1
    assert np.array_equal(sample.mask.numpy(), expected)
    assert sample.image.shape == (3, *SIZE)


def test_border_stays_unknown_where_a_mask_has_no_class_1(build, rectangle):
    root = build("abc", train="a", val="b", test="c")
    Image.fromarray(rectangle(0, 0, 5, 5, 255)).save(root / "SegmentationClass" / "a.png")
    assert set(load_dataset("voc", root).train[0].mask.unique().tolist()) == {0, 255}


def test_lists_are_the_parts_and_pictures_without_a_list_are_left_out(build):
    root = build("abcdef", train="cb", val="d", test="a", trainval="cbd")
    splits = load_dataset("voc", root.parent.parent, seed=7)
    assert [names(part) for part in splits] == [["c", "b"], ["d"], ["a"]]


def test_val_list_becomes_the_test_part_where_there_is_no_test_list(build):
    letters = "abcdefghijklmnopq"
    root = build(letters + "yz", train=letters, val="yz", trainval=letters + "yz")
    splits, other = load_dataset("voc", root, seed=0), load_dataset("voc", root, seed=1)
    assert names(splits.test) == names(other.test) == ["y", "z"]
    assert sorted(names(splits.train) + names(splits.val)) == list(letters)
    assert len(splits.val) == 3
    assert splits.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("test", ["", ["secret_1", "secret_2"]])
def test_empty_or_secret_test_list_counts_as_absent(build, test):
    root = build("abcdyz", train="abcd", val="yz", test=test)
    assert names(load_dataset("voc", root).test) == ["y", "z"]


def test_without_lists_the_masks_are_split_by_the_seed(build, save_picture):
    root = build("abcdefghij")
    save_picture(root / "JPEGImages" / "without_mask.jpg")
    splits = load_dataset("voc", root)
    assert [len(part) for part in splits] == [7, 2, 1]


def test_trainval_is_train_where_there_is_no_train_list(build):
    root = build("abcz", trainval="abcz", val="", test="z")
    splits = load_dataset("voc", root)
    assert names(splits.test) == ["z"]
    assert sorted(names(splits.train) + names(splits.val)) == ["a", "b", "c"]


def test_name_in_two_lists_is_refused(build):
    root = build("ab", train="ab", val="b", test="a")
    with pytest.raises(ValueError, match="picture b must be in one part only; got it in train and val"):
        load_dataset("voc", root)


def test_name_without_picture_is_refused_and_no_path_is_made_of_it(build):
    root = build("ab", train=["a", "../../ImageSets/a"], test="b")
    with pytest.raises(ValueError, match=r"list train of .* names '../../ImageSets/a', which must be in JPEGImages"):
        load_dataset("voc", root)


def test_list_without_train_is_refused(build):
    with pytest.raises(ValueError, match=r"train\.txt or trainval\.txt with names; got test only"):
        load_dataset("voc", build("a", test="a"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, ("background", "object")), (3, ("background", "class_1", "class_2", "class_3")), (20, CLASSES)],
)
def test_classes_follow_from_the_masks(build, value, expected):
    root = build("abc", value=value, train="a", val="b", test="c")
    assert load_dataset("voc", root).train.classes == expected


def test_classes_file_and_setting_name_the_classes(build):
    root = build("abc", train="a", val="b", test="c")
    (root / "classes.txt").write_text("background\nsick\n")
    assert load_dataset("voc", root).val.classes == ("background", "sick")
    assert load_dataset("voc", root, classes=["skin", "mole"]).val.classes == ("skin", "mole")
    with pytest.raises(ValueError, match="at least two names"):
        load_dataset("voc", root, classes=["mole"])
    with pytest.raises(ValueError, match="setting classes of dataset voc must be a list of texts or null; got 'mole'"):
        load_dataset("voc", root, classes="mole")


def test_masks_of_0_and_255_only_are_explained(build):
    root = build("abc", value=255, train="a", val="b", test="c")
    with pytest.raises(ValueError, match="must hold a class above 0; got only 0 and 255.*layout folder"):
        load_dataset("voc", root)


def test_class_beyond_the_names_is_refused(build):
    root = build("abc", value=7, train="a", val="b", test="c")
    with pytest.raises(ValueError, match="7"):
        load_dataset("voc", root, classes=["background", "mole"]).train[0]


def test_colours_are_those_of_voc():
    assert {index: tuple(colour_map()[index].tolist()) for index in COLOURS} == COLOURS


def test_what_is_written_reads_back_the_same(build, tmp_path):
    root = build("abcdef", value=2, train="abc", val="d", test="ef")
    Image.fromarray(np.full((*SIZE, 3), 77, np.uint8)).save(root / "JPEGImages" / "b.png")
    (root / "JPEGImages" / "b.jpg").unlink()
    before = load_dataset("voc", root, classes=["background", "one", "two"])
    after = load_dataset("voc", write(before, tmp_path / "copy"))
    assert after.fingerprint() == before.fingerprint()
    assert after.train.classes == ("background", "one", "two")
    for old_part, new_part in zip(before, after, strict=True):
        for i in range(len(old_part)):
            assert (old_part[i].image == new_part[i].image).all()
            assert (old_part[i].mask == new_part[i].mask).all()
    original, copy = root / "JPEGImages" / "a.jpg", tmp_path / "copy" / "JPEGImages" / "a.jpg"
    assert copy.read_bytes() == original.read_bytes()
    with Image.open(tmp_path / "copy" / "SegmentationClass" / "a.png") as mask:
        assert mask.mode == "P"
        assert mask.convert("RGB").getpixel((6, 6)) == COLOURS[2]
        assert mask.convert("RGB").getpixel((4, 4)) == COLOURS[255]
    assert (tmp_path / "copy" / "ImageSets" / "Segmentation" / "trainval.txt").read_text() == "a\nb\nc\nd\n"


def test_turned_jpeg_is_written_upright(build, tmp_path):
    root = build("abc", train="a", val="b", test="c")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((SIZE[1], SIZE[0], 3), np.uint8)).save(root / "JPEGImages" / "a.jpg", exif=exif)
    out = write(load_dataset("voc", root), tmp_path / "copy")
    assert not (out / "JPEGImages" / "a.jpg").exists()
    with Image.open(out / "JPEGImages" / "a.png") as image:
        assert image.size == SIZE[::-1]


def test_joined_datasets_keep_their_labels_in_the_names(build, tmp_path):
    splits = load_dataset("voc", build("abc", train="a", val="b", test="c"))
    out = write(join({"x": splits, "y": splits}), tmp_path / "copy")
    assert sorted(path.name for path in (out / "JPEGImages").iterdir()) == [
        f"{x}__{a}.jpg" for x in "xy" for a in "abc"
    ]


def test_failing_write_leaves_nothing_behind(build, tmp_path):
    root = build("abc", train="a", val="b", test="c")
    splits = load_dataset("voc", root)
    (root / "JPEGImages" / "c.jpg").write_bytes(b"no picture")
    out = tmp_path / "sub" / "copy"
    with pytest.raises(ValueError, match=r"c\.jpg"):
        write(splits, out)
    assert list(out.parent.iterdir()) == []


def test_folder_that_holds_something_is_not_written_to(build, tmp_path):
    splits = load_dataset("voc", build("abc", train="a", val="b", test="c"))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="must not exist yet"):
        write(splits, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["..", "a\\b", "c:d", " x", "a\nb"])
def test_name_that_is_no_file_name_is_refused(build, tmp_path, name):
    splits = load_dataset("voc", build("abc", train="a", val="b", test="c"))
    pair = splits.train.pairs[0]._replace(name=name)
    wrong = splits._replace(train=type(splits.train)((pair,), splits.train.classes))
    with pytest.raises(ValueError, match="must be usable as a file name"):
        write(wrong, tmp_path / "copy")
