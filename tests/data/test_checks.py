"""Each fault is put into a sound generated set, and the report must name it, and nothing else."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.data import load_dataset
from seglab.data._checks import check, fix
from seglab.data.synthetic import Synthetic

SIZE = (72, 96)
SETS = Path(os.environ.get("SEGLAB_DATA", "/nonexistent"))


def write_set(root, count=8, kind="skin", suffix=".png"):
    """A sound set of generated pictures: names p00, p01, ..."""
    data = Synthetic(kind, count=count, size=SIZE, seed=3)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        sample = data[i]
        Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(root / "images" / f"p{i:02d}{suffix}", quality=92)
        save_mask(root, f"p{i:02d}", sample.mask.numpy() * 255)
    return root


def save_mask(root, name, array, suffix=".png", **knobs):
    Image.fromarray(np.asarray(array, np.uint8)).save(root / "masks" / f"{name}{suffix}", **knobs)


def mask_of(root, name):
    return np.array(Image.open(root / "masks" / f"{name}.png"))


def picture_of(root, name):
    return np.array(Image.open(root / "images" / f"{name}.png"))


def grave(report):
    """Kinds and names of errors and warnings."""
    return {(finding.kind, finding.severity, finding.name) for finding in report.findings if finding.severity != "note"}


def tree(root):
    return {str(p.relative_to(root)): hashlib.sha1(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path / "data")


@pytest.mark.parametrize("kind", ["skin", "steel"])
def test_sound_set_gives_no_error_and_no_warning(tmp_path, kind):
    report = check(write_set(tmp_path / "data", 24, kind))
    empty = {("empty_mask", "warning", finding.name) for finding in report.of("empty_mask")}
    assert grave(report) <= empty
    assert report.ok
    assert report.pictures == 24
    assert report.of("style_0_255")[0].severity == "note"


def lose_mask(root):
    (root / "masks" / "p01.png").unlink()


def lose_picture(root):
    (root / "images" / "p01.png").unlink()


def cut_picture(root):
    path = root / "images" / "p01.png"
    path.write_bytes(path.read_bytes()[:400])


def cut_mask(root):
    path = root / "masks" / "p01.png"
    path.write_bytes(path.read_bytes()[:60])


def smear(root):
    array = mask_of(root, "p01")
    (root / "masks" / "p01.png").unlink()
    save_mask(root, "p01", array, ".jpg", quality=60)


def other_value(root):
    save_mask(root, "p01", mask_of(root, "p01") // 255 * 200)


def three_values(root):
    array = mask_of(root, "p01") // 255 * 200
    array[:5] = 77
    array[:, :9] = 0
    save_mask(root, "p01", array)


def paint(root):
    save_mask(root, "p01", np.stack([mask_of(root, "p01"), *2 * [np.zeros(SIZE)]], -1))


def shrink(root):
    Image.fromarray(mask_of(root, "p01")).resize((48, 36), 0).save(root / "masks" / "p01.png")


def clear(root):
    save_mask(root, "p01", np.zeros(SIZE))


def speck(root):
    array = np.zeros(SIZE)
    array[10, 10:12] = 255
    save_mask(root, "p01", array)


def flood(root):
    array = np.full(SIZE, 255)
    array[:, :3] = 0
    save_mask(root, "p01", array)


def double_stem(root):
    Image.open(root / "images" / "p01.png").save(root / "images" / "p01.jpg")


def same_but_case(root):
    for folder in ("images", "masks"):
        Image.open(root / folder / "p01.png").save(root / folder / "P02.png")
    picture = picture_of(root, "p01")[::-1, :, ::-1] // 2
    Image.fromarray(np.roll(picture, 31, 1)).save(root / "images" / "P02.png")


def broken_split(root):
    (root / "splits.json").write_text('{"train": ["p00"')


def no_list(root):
    (root / "splits.json").write_text('{"train": ["p00"]}')


def wrong_names(root):
    names = [f"p{i:02d}" for i in range(8)]
    (root / "splits.json").write_text(json.dumps({"train": [*names[:5], "x", "y"], "val": names[5:], "test": []}))


def twice(root):
    names = [f"p{i:02d}" for i in range(8)]
    (root / "splits.json").write_text(json.dumps({"train": names[:6], "val": names[5:], "test": []}))


def torn_group(root):
    names = [f"p{i:02d}" for i in range(8)]
    (root / "splits.json").write_text(json.dumps({"train": names[:6], "val": names[6:], "test": []}))
    (root / "metadata.csv").write_text("id,group\n" + "".join(f"{n},{'g' if n > 'p04' else n}\n" for n in names))


@pytest.mark.parametrize(
    ("spoil", "kind", "severity", "name", "words"),
    [
        (lose_mask, "missing_mask", "error", "images/p01.png", "has no mask"),
        (lose_picture, "missing_picture", "error", "masks/p01.png", "without a picture"),
        (cut_picture, "unreadable_picture", "error", "p01.png", "cannot be read"),
        (cut_mask, "unreadable_mask", "error", "p01.png", "cannot be read"),
        (smear, "smeared_mask", "error", "p01.jpg", "grey values around 0 and 255, as JPEG"),
        (other_value, "wrong_values", "error", "p01.png", "got 0 and 200. Map 200 to 1"),
        (three_values, "wrong_values", "error", "p01.png", "got also 77, 200"),
        (paint, "colour_mask", "error", "p01.png", "colours such as (255, 0, 0)"),
        (shrink, "size_mismatch", "error", "p01.png", "48 x 36 pixels but the picture is 96 x 72"),
        (clear, "empty_mask", "warning", "p01.png", "is empty"),
        (speck, "tiny_mask", "warning", "p01.png", "2 object pixels of 6912"),
        (flood, "full_mask", "warning", "p01.png", "covers 96.9%"),
        (double_stem, "same_name", "error", "images/p01.png", "same name but for the ending"),
        (same_but_case, "case_only", "warning", "images/p02.png", "differ only in case"),
        (broken_split, "split_file", "error", "splits.json", "must be JSON"),
        (no_list, "split_file", "error", "splits.json", "lists train, val and test; got train"),
        (wrong_names, "split_file", "error", "splits.json", "2 in train that are not among the pictures: x, y"),
        (twice, "split_leak", "error", "splits.json", "1 twice, the second time in val: p05"),
        (torn_group, "group_leak", "error", "group g", "p05 in train and p06 in val"),
    ],
)  # fmt: skip
def test_fault_is_named_and_nothing_else(root, spoil, kind, severity, name, words):
    spoil(root)
    report = check(root)
    if spoil is same_but_case:
        assert (kind, severity, "masks/p02.png") in grave(report)
        assert grave(report) == {(kind, severity, f"{folder}/p02.png") for folder in ("images", "masks")}
    else:
        assert grave(report) == {(kind, severity, name)}
    assert any(words in str(finding) for finding in report.of(kind))
    assert report.ok == (severity != "error")
    assert all("\n" not in str(finding) for finding in report.findings)


def test_all_faults_come_in_one_report(root):
    for spoil in (lose_mask, broken_split):
        spoil(root)
    (root / "masks" / "p02.png").write_bytes(b"no picture")
    save_mask(root, "p03", mask_of(root, "p03")[:50])
    save_mask(root, "p04", np.zeros(SIZE))
    text = check(root).to_text()
    for words in ("p01.png: has no mask", "splits.json", "p02.png: cannot", "p03.png: is 96 x 50", "p04.png: is empty"):
        assert words in text
    assert text.index("error") < text.index("warning")


@pytest.mark.parametrize("suffix", ["_segmentation", "_Segmentation", "_lesion", "_mask"])
def test_suffix_of_masks_is_recognised_and_repaired(root, tmp_path, suffix):
    for path in list((root / "masks").iterdir()):
        path.rename(path.with_stem(path.stem + suffix))
    report = check(root)
    assert grave(report) == {("mask_suffix", "error", "masks")}
    assert "8 masks end in a suffix" in report.to_text()
    fix(root, tmp_path / "out")
    assert check(tmp_path / "out").ok
    assert sum(map(len, load_dataset("folder", tmp_path / "out"))) == 8


def test_pictures_and_masks_in_one_folder_are_told_apart(root, tmp_path):
    for path in list((root / "images").iterdir()):
        path.rename(root / path.name)
    for path in list((root / "masks").iterdir()):
        path.rename(root / f"{path.stem}_mask.png")
    (root / "images").rmdir()
    (root / "masks").rmdir()
    assert {finding.kind for finding in check(root).findings} >= {"layout", "mask_suffix"}
    fix(root, tmp_path / "out")
    assert check(tmp_path / "out").ok


def test_palette_and_grey_colour_masks_are_read_and_noted(root):
    palette = Image.fromarray((mask_of(root, "p01") // 255).astype(np.uint8))
    palette.putpalette([0, 0, 0, 200, 30, 30])
    palette.save(root / "masks" / "p01.png")
    save_mask(root, "p02", np.repeat(mask_of(root, "p02")[..., None], 3, 2))
    report = check(root)
    assert report.of("palette_mask")[0].severity == report.of("rgb_mask")[0].severity == "note"
    assert "indices 0, 1" in str(report.of("palette_mask")[0])
    assert {finding.kind for finding in report.findings if finding.severity != "note"} == {"mixed_style"}


def test_several_classes_need_their_names(root):
    save_mask(root, "p01", mask_of(root, "p01") // 255 * 2)
    for name in (f"p{i:02d}" for i in range(8)):
        save_mask(root, name, mask_of(root, name) // 255 * 2 if name != "p01" else mask_of(root, name))
    assert {finding.kind for finding in check(root).findings if finding.severity == "error"} == {"wrong_values"}
    (root / "classes.txt").write_text("background\nskin\nlesion\n")
    assert check(root).ok
    save_mask(root, "p01", mask_of(root, "p01") * 2)
    assert "class indices below 3, or 255; got also 4" in check(root).to_text()


def test_picture_stored_sideways_is_told_from_a_wrong_size(root, tmp_path):
    picture, mask = Image.open(root / "images" / "p01.png"), mask_of(root, "p01")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(root / "images" / "p01.png", exif=exif)  # upright as before
    save_mask(root, "p01", np.rot90(mask))
    assert grave(check(root)) == {("exif_mismatch", "error", "p01.png")}
    fix(root, tmp_path / "out")
    assert np.array_equal(mask_of(tmp_path / "out", "p01"), mask)


def test_inverted_masks_are_found_without_false_alarm(tmp_path):
    root = write_set(tmp_path / "data", 40)
    wrong = ["p03", "p17", "p30"]
    for name in wrong:
        save_mask(root, name, 255 - mask_of(root, name))
    report = check(root)
    assert [finding.name for finding in report.of("inverted_mask")] == [f"{name}.png" for name in wrong]
    assert report.ok
    done = fix(root, tmp_path / "out", invert=wrong)
    assert check(tmp_path / "out").count("inverted_mask") == 0
    assert sum("inverted, as asked" in line for line in done.changed) == 3


def test_inverted_set_is_reported_as_a_whole(root):
    for i in range(8):
        save_mask(root, f"p{i:02d}", 255 - mask_of(root, f"p{i:02d}"))
    assert check(root).count("inverted_set") == 1


def same(picture):
    return picture


def recolour(picture):
    return np.clip(picture * np.array([0.8, 1.0, 1.1]) + 12, 0, 255).astype(np.uint8)


def shift(picture):
    return np.roll(picture, (3, -4), (0, 1))


def mirror(picture):
    return np.ascontiguousarray(picture[:, ::-1])


@pytest.mark.parametrize(
    ("change", "how"), [(same, "identical"), (recolour, "nearly"), (shift, "nearly"), (mirror, "mirrored")]
)
def test_one_picture_under_two_names_is_found(root, change, how):
    copy = change(picture_of(root, "p02"))
    Image.fromarray(copy).save(root / "images" / "q.png")
    save_mask(root, "q", change(np.repeat(mask_of(root, "p02")[..., None], 3, 2))[..., 0] // 128 * 255)
    report = check(root)
    assert grave(report) == {("duplicate", "warning", "p02")}
    assert "and q show the same picture" in report.to_text()
    assert how in report.to_text()


def test_duplicate_is_a_leak_over_parts_and_a_note_within_a_group(root):
    Image.fromarray(recolour(picture_of(root, "p02"))).save(root / "images" / "q.jpg", quality=85)
    save_mask(root, "q", mask_of(root, "p02"))
    names = [f"p{i:02d}" for i in range(8)]
    (root / "metadata.csv").write_text("id,group\n" + "".join(f"{name},{name}\n" for name in names) + "q,p02\n")
    assert grave(check(root)) == set()
    (root / "splits.json").write_text(json.dumps({"train": names, "val": ["q"], "test": []}))
    kinds = {finding.kind for finding in check(root).findings if finding.severity == "error"}
    assert kinds == {"duplicate_leak", "group_leak"}


def test_empty_masks_meant_so_are_told_from_the_others(root):
    for i in range(5):
        save_mask(root, f"p{i:02d}", np.zeros(SIZE))
    table = "id,defect,site\n" + "".join(f"p{i:02d},{'free' if i < 4 else 'crack'},{i % 2}\n" for i in range(8))
    (root / "metadata.csv").write_text(table)
    report = check(root)
    assert grave(report) == {("empty_mask", "warning", "p04.png")}
    assert "defect is crack: 3 of the 4 masks there show an object" in report.to_text()
    assert "4 are empty, and defect is free there" in report.to_text()


def test_repair_of_smeared_masks_gives_the_mask_back(root, tmp_path):
    before = mask_of(root, "p01")
    smear(root)
    other = mask_of(root, "p02")
    save_mask(root, "p02", other // 255 * 200)
    source = tree(root)
    done = fix(root, tmp_path / "out")
    assert tree(root) == source
    assert (mask_of(tmp_path / "out", "p01") != before).mean() < 0.005
    assert np.array_equal(mask_of(tmp_path / "out", "p02"), other)
    assert set(np.unique(mask_of(tmp_path / "out", "p01"))) == {0, 255}
    assert len(done.changed) == 2
    assert "p01.jpg: grey values cut at 128" in (tmp_path / "out" / "check-data.log").read_text()
    assert check(tmp_path / "out").ok


def test_repair_leaves_doubtful_things_and_lists_them(root, tmp_path):
    cut_picture(root)
    save_mask(root, "p02", np.zeros(SIZE))
    names = [f"p{i:02d}" for i in range(8)]
    (root / "splits.json").write_text(json.dumps({"train": [*names[:5], "x"], "val": names[5:], "test": []}))
    done = fix(root, tmp_path / "out")
    assert done.pictures == 7
    assert any("p01: left out" in line for line in done.changed)
    assert any("p02.png: is empty" in line for line in done.left)
    assert check(tmp_path / "out").ok
    assert json.loads((tmp_path / "out" / "splits.json").read_text())["train"] == ["p00", "p02", "p03", "p04"]


def test_repair_writes_over_nothing_and_leaves_nothing_behind(root, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="must not lie in the dataset"):
        fix(root, root / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(FileExistsError, match="must not exist yet"):
        fix(root, tmp_path / "full")
    with pytest.raises(ValueError, match="among the pictures; got nobody"):
        fix(root, tmp_path / "out", invert=["nobody"])

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seglab.data._repair.shutil.copyfile", full_disk)
    with pytest.raises(OSError, match="No space left"):
        fix(root, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "full"]


def test_folder_without_the_layout_and_unknown_names(tmp_path):
    assert grave(check(tmp_path)) == {("layout", "error", ".")}
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    assert grave(check(tmp_path)) == {("no_pictures", "error", ".")}
    with pytest.raises(FileNotFoundError, match="must exist"):
        check(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="dataset must be one of"):
        check(tmp_path, dataset="folders")


def test_other_layouts_are_checked_through_their_loader(tmp_path):
    data = Synthetic("skin", count=6, size=SIZE)
    for i in range(6):
        name = f"IMD{i:03d}"
        for part, suffix in (("Dermoscopic_Image", ""), ("lesion", "_lesion")):
            (tmp_path / "PH2 Dataset images" / name / f"{name}_{part}").mkdir(parents=True)
            array = data[i].image.permute(1, 2, 0).numpy() if not suffix else data[i].mask.numpy() * (255 * (i != 2))
            file = tmp_path / "PH2 Dataset images" / name / f"{name}_{part}" / f"{name}{suffix}.bmp"
            Image.fromarray(array).save(file)
    report = check(tmp_path, dataset="ph2")
    assert report.pictures == 6
    assert grave(report) == {("empty_mask", "warning", "IMD002_lesion.bmp")}
    file.unlink()
    assert {finding.kind for finding in check(tmp_path, dataset="ph2").findings} == {"layout"}


def test_link_out_of_the_folder_is_named(root, tmp_path):
    (root / "images" / "p01.png").rename(tmp_path / "elsewhere.png")
    (root / "images" / "p01.png").symlink_to(tmp_path / "elsewhere.png")
    assert grave(check(root)) == {("link", "warning", "images/p01.png")}


def test_long_reports_are_cut_per_kind(root):
    for i in range(8):
        save_mask(root, f"p{i:02d}", np.zeros(SIZE))
    text = check(root).to_text(limit=3)
    assert text.count("is empty") == 3
    assert "and 5 more of this kind (empty_mask)" in text


REAL = {
    "isic2018_task1": {"inverted_mask": 3, "full_mask": 83, "duplicate": 31},
    "magnetic_tile": {"empty_mask": 4, "tiny_mask": 2, "inverted_mask": 0},
    "ph2": {"full_mask": 6, "inverted_mask": 0, "duplicate": 0},
    "sd_saliency_900": {"duplicate": 7, "inverted_mask": 0, "full_mask": 0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_sets(name):
    if not (SETS / name).is_dir():
        pytest.skip("SEGLAB_DATA names no folder with this set")
    report = check(SETS / name)
    assert report.ok
    assert {kind: report.count(kind) for kind in REAL[name]} == REAL[name]
