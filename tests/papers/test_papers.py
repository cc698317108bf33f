"""The papers as data: the numbers are those of the papers' own text, and every choice has an origin."""

import csv
import io

import pytest

from seglab import list_datasets
from seglab.papers import COLUMNS, ORIGINS, Fact, PrintedTable, list_papers, load_paper
from seglab.papers._tables import read_rows
from seglab.stats import audit

PAPERS = ["boudaieb2025", "liu2025", "toptas2025", "zarrin2025", "zhang2024"]
# Sums of whole columns, taken by another program from the text of the papers.
SUMS = {
    ("toptas2025", "section 4.2, first table"): {"params_m": 237.78, "dice": 7.7946, "iou": 7.5829},
    ("toptas2025", "section 4.2, second table"): {"params_m": 190.57, "dice": 6.4651, "iou": 6.1427},
    ("zarrin2025", "Table 1"): {"iou": 2783.65},
    ("zarrin2025", "Table 4"): {
        "iou_image": 1141.89, "iou_image_sd": 2.03, "dice_image": 1241.2, "dice_image_sd": 1.583,
        "iou_pooled": 1127.56, "iou_pooled_sd": 3.908, "dice_pooled": 1248.9, "dice_pooled_sd": 2.39,
    },
    ("zarrin2025", "Table 5"): {
        "iou_image": 1125.06, "iou_image_sd": 3.105, "dice_image": 1224.02, "dice_image_sd": 2.714,
        "iou_pooled": 1109.74, "iou_pooled_sd": 3.108, "dice_pooled": 1236.73, "dice_pooled_sd": 2.648,
    },
    ("zarrin2025", "Table 6"): {
        "iou_image": 1255.09, "iou_image_sd": 3.134, "dice_image": 1321.04, "dice_image_sd": 2.178,
        "iou_pooled": 1267.52, "iou_pooled_sd": 4.832, "dice_pooled": 1329.62, "dice_pooled_sd": 2.706,
    },
    ("zarrin2025", "Table 7"): {"iou_image": 6866.29, "dice_image": 7360.52, "gflops": 4 * 809.686},
    ("zarrin2025", "Table 8"): {"iou_image": 1283.11, "dice_image": 1345.63},
    ("zarrin2025", "Table 9"): {"iou_image": 1043.51, "dice_image": 1092.1},
    ("zarrin2025", "Table 10"): {"iou_image": 744.54, "dice_image": 802.96},
    ("zarrin2025", "Table 11"): {"iou_image": 5 * 93.1332, "dice_image": 480.107},
    ("zarrin2025", "Table 2"): {"n": 4794, "train": 3355, "val": 429, "test": 1160},
    ("liu2025", "section 4"): {"before": 1.24, "after": 1.24, "gain": -0.20},
    ("zhang2024", "abstract"): {"before": 1.61, "after": 1.74, "gain": 0.09},
    ("boudaieb2025", "section 4.5"): {"before": 2.627, "after": 2.773, "gain": 0.166},
    ("zhang2024", "section 4.4.1"): {"accuracy": 4.41, "precision": 4.26, "miou_2class_pooled": 3.98},
    ("zhang2024", "section 4.3"): {"accuracy": 1.80, "precision": 1.74, "miou_2class_pooled": 1.66},
    ("boudaieb2025", "sections 4.3 and 4.5 (figure 7)"): {"dice": 2.749, "recall": 2.690},
    ("boudaieb2025", "Table 2"): {"dice": 4.730, "iou": 4.492},
}  # fmt: skip


def table_of(paper, where):
    return next(table for table in load_paper(paper).tables if table.where == where)


def test_the_folder_is_the_list():
    assert list_papers() == PAPERS


def test_an_unknown_paper_is_answered_with_the_closest():
    with pytest.raises(ValueError, match=r"paper must be one of .*; got 'liu2024'. Did you mean 'liu2025'\?"):
        load_paper("liu2024")


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_says_what_it_is(name):
    paper = load_paper(name)
    assert paper.name == name
    assert str(paper.year) in name
    assert paper.authors[0].split()[-1].lower().replace("ş", "s") in name
    assert paper.title in str(paper)
    for text in (paper.split_note, *paper.open_questions, *paper.contradictions):
        assert text.endswith(".")
    assert len(paper.open_questions) > 2
    assert len(paper.contradictions) > 2


@pytest.mark.parametrize("name", PAPERS)
def test_every_choice_has_an_origin(name):
    paper = load_paper(name)
    facts = [paper.datasets, paper.shares, paper.num_classes, paper.augmentation, *paper.schedule.values()]
    facts += [fact for one in paper.schedule_of.values() for fact in one.values()]
    for fact in facts:
        kind, colon, reason = fact.origin.partition(": ")
        assert kind in ORIGINS
        assert len(reason) > 3, fact
    for row in paper.rows:
        assert row.origin.partition(": ")[0] in (*ORIGINS, "cited")


def test_stated_is_what_the_paper_prints():
    assert Fact(1, "paper: Table 1").stated
    assert not Fact(1, "chosen: not given").stated


@pytest.mark.parametrize("name", PAPERS)
def test_schedules_and_data_are_those_of_seglab(name):
    paper = load_paper(name)
    names = [*paper.datasets.value, *([paper.test_dataset.value] if paper.test_dataset else [])]
    assert set(names) <= set(list_datasets())
    for dataset in names:
        config = paper.config(dataset)
        assert config.epochs >= 50
        assert set(paper.facts(dataset)) <= set(config.to_dict())
    assert sum(paper.shares.value) == pytest.approx(1)


def test_a_schedule_can_differ_for_one_data_set():
    paper = load_paper("zarrin2025")
    assert paper.config("isic2018").lr == paper.config("ph2").lr == 0.01
    assert paper.config("isic2017").lr == 0.001


@pytest.mark.parametrize("name", PAPERS)
def test_rows_are_named_once_and_compared_with_a_baseline(name):
    paper = load_paper(name)
    labels = [row.label for row in paper.rows]
    assert len(set(labels)) == len(labels) > 2
    assert paper.row(paper.baseline).label == paper.baseline
    assert paper.row(paper.baseline).printed
    for row in paper.rows:
        for numbers in row.printed.values():
            assert set(numbers) <= set(paper.measures)
            assert all(0 < value <= 1 for value in numbers.values())
    with pytest.raises(ValueError, match="row must be one of"):
        paper.row("nothing")


@pytest.mark.parametrize("name", PAPERS)
def test_printed_tables_hold_rows_that_the_auditor_can_read(name):
    paper = load_paper(name)
    assert paper.tables
    for table in paper.tables:
        assert table.title
        assert table.where
        assert table.rows
        read = list(csv.DictReader(io.StringIO(table.to_csv())))
        assert len(read) == len(table.rows)
        assert set(read[0]) <= set(COLUMNS)
        assert all(row["name"] for row in read)
        assert {row["copied"] for row in read if "copied" in row} <= {"true", "false"}


@pytest.mark.parametrize(("paper", "where"), SUMS)
def test_columns_sum_to_what_the_text_sums_to(paper, where):
    rows = table_of(paper, where).rows
    for column, total in SUMS[paper, where].items():
        assert sum(row.get(column, 0) for row in rows) == pytest.approx(total, abs=2e-3), column


def test_rows_of_the_four_losses_sum_to_what_the_text_sums_to():
    sums = {"BCE": (8.6534, 8.6631), "Tversky": (8.5623, 8.6832), "Dice": (8.6455, 8.4338), "Compound": (8.709, 8.8573)}
    for loss, both in sums.items():
        for place, total in zip(("first", "second"), both, strict=True):
            rows = table_of("toptas2025", f"section 4.1, {place} table").rows
            mine = [row["dice"] + row["iou"] for row in rows if row["loss"] == loss]
            assert len(mine) == 5
            assert sum(mine) == pytest.approx(total, abs=1e-6)


def test_single_cells_are_the_printed_ones():
    assert table_of("toptas2025", "section 4.1, second table").cell("Ours, Compound", "iou", epochs=40) == 0.8996
    assert table_of("toptas2025", "section 4.1, first table").cell("Ours, Dice", "dice", epochs=60) == 0.8795
    assert table_of("toptas2025", "section 4.2, first table").cell("AS-Net", "params_m") == 24.9
    models = table_of("zarrin2025", "Table 7")
    assert models.cell("AttUNet", "iou_image", dataset="isic2018", loss="AdaEXP") == 77.54
    assert models.cell("Ours (ResNet50)", "dice_image", dataset="isic2017", loss="Focal") == 86.25
    assert models.cell("SwinNet", "gflops", dataset="ph2", loss="BCE") == 30.475
    assert table_of("zarrin2025", "Table 5").cell("SANet", "dice_pooled") == 88.15
    assert table_of("zarrin2025", "Table 9").cell("Baseline + RFE + Exp", "dice_image", dataset="ph2") == 92.52
    assert table_of("zarrin2025", "Table 10").cell("Ours (ResNet50)", "iou_image", dataset="isic2017") == 80.1
    assert table_of("zarrin2025", "Table 1").cell("Kaur et al. 2022", "iou", dataset="isic2018") == 85.2
    assert table_of("boudaieb2025", "abstract").cell("proposed", "iou") == 0.97


def test_what_is_known_to_be_wrong_is_in_the_numbers():
    """Typing errors would most likely remove one of these."""
    compound = table_of("toptas2025", "section 4.1, second table")
    assert compound.cell("Ours, Compound", "iou", epochs=40) > compound.cell("Ours, Compound", "dice", epochs=40)
    swapped = [
        row["name"] for row in table_of("toptas2025", "section 4.2, first table").rows if row["iou"] > row["dice"]
    ]
    assert swapped == ["Ms-RED", "CPFNet"]
    folds = table_of("zarrin2025", "Table 11").rows
    mean = sum(row["iou_image"] for row in folds) / 5
    spread = (sum((row["iou_image"] - mean) ** 2 for row in folds) / 4) ** 0.5
    assert (round(mean, 3), round(spread, 3)) == (93.133, 0.025)
    parts = {
        row["name"]: row["n"] - row["train"] - row["val"] - row["test"]
        for row in table_of("zarrin2025", "Table 2").rows
    }
    assert parts == {"ISIC 2018": 0, "ISIC 2017": -150, "PH2": 0}
    for where in ("Table 4", "Table 5", "Table 6"):
        for row in table_of("zarrin2025", where).rows:
            iou = row["iou_pooled"] / 100
            off = row["dice_pooled"] - 200 * iou / (1 + iou)
            if not row["copied"]:
                assert 0.1 < abs(off) < 0.9, row["name"]
            elif (row["name"], where) != ("SANet", "Table 5"):
                assert abs(off) < 0.07, row["name"]


def test_the_auditor_reads_every_table_and_finds_what_is_known():
    found = {}
    for name in PAPERS:
        for table in load_paper(name).tables:
            result = audit(table)
            assert not result.unknown
            found[name, table.where] = [str(finding).partition(":")[0] for finding in result.findings]
    assert {where for where, rows in found.items() if rows} == {
        ("boudaieb2025", "abstract"),  # Jaccard above Dice
        ("boudaieb2025", "section 4.5"),  # gains that are relative
        ("liu2025", "section 4"),  # gains that are relative
        ("toptas2025", "section 4.2, first table"),  # Dice and IoU exchanged, and one above its bound
        ("toptas2025", "section 4.1, second table"),  # mean IoU above Dice
        ("zarrin2025", "Table 2"),  # parts that do not sum
        ("zarrin2025", "Table 4"),  # not one confusion matrix
        ("zarrin2025", "Table 5"),
        ("zarrin2025", "Table 6"),
        ("zarrin2025", "Table 7"),  # above its bound
        ("zarrin2025", "Table 11"),  # folds too close together
        ("zhang2024", "abstract"),  # a gain that is neither relative nor in points
        ("zhang2024", "section 4.3"),  # no better than an empty mask, and more than the accuracy allows
        ("zhang2024", "section 4.4.1"),
    }
    assert found["zarrin2025", "Table 6"] == ["ExpUNET (ph2)", "Our Method (ph2)"]
    assert found["toptas2025", "section 4.2, first table"][:2] == ["Ms-RED (isic2018)", "CPFNet (isic2018)"]


def test_rows_of_the_experiment_repeat_the_tables():
    zarrin = load_paper("zarrin2025")
    assert zarrin.row("+ RFE, Adapt Exp").printed["ph2"] == {
        "mIoU": 0.9313, "mDice": 0.9602, "mIoU*": 0.9446, "mDice*": 0.9726,
    }  # fmt: skip
    assert zarrin.row("Baseline, BCE").printed["isic2017"] == {"mIoU": 0.8321, "mDice": 0.8810}
    assert zarrin.row("U-Net, BCE").printed["ph2"] == {"mIoU": 0.8934, "mDice": 0.9137}
    assert [row.label for row in zarrin.rows if row.copied] == ["UNeXt-S", "MALUNet", "EGE-UNet", "UCM-Net"]
    toptas = load_paper("toptas2025").row("BA-RA U-Net, Compound")
    assert toptas.printed["ph2"] == {"DSC": 0.9341, "mIoU": 0.9078, "DSC at 100": 0.9106, "mIoU at 100": 0.8809}
    liu = load_paper("liu2025")
    assert next(iter(liu.row("U-Net").printed.values())) == {"mIoU": 0.65, "train loss": 0.20, "val loss": 0.39}
    assert not liu.row("U-Net + CBAM").printed


def test_a_cell_that_is_not_there_or_there_twice_is_named():
    table = PrintedTable("scores", "Table 1", read_rows("iou", "a | 0.5\n a | 0.6"))
    with pytest.raises(ValueError, match="Table 1 must have one row with {'name': 'a'}; got 2"):
        table.cell("a", "iou")
    with pytest.raises(ValueError, match="got 0"):
        table.cell("b", "iou")


def test_a_line_with_a_missing_value_is_named():
    with pytest.raises(ValueError, match=r"line 'a \| 0.5' must have 2 values; got 1"):
        read_rows("iou dice", "a | 0.5")


def test_csv_has_gaps_where_nothing_is_printed():
    table = PrintedTable("scores", "Table 1", read_rows("iou iou_sd dice", "a | 0.5 0.1 -\n = b | - - 0.7"))
    assert table.to_csv() == "name,dice,iou,copied\na,,0.5,false\nb,0.7,,true\n"
