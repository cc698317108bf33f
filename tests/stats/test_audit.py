import json
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from seglab import stats
from seglab.stats import audit
from seglab.stats._rules import _chi_square_below

TOPTAS_ISIC = "name dice iou copied\nU-Net .8417 .8269 0\nAttention .8253 .8151 0\nMs-RED .8345 .8999 1\n" + (
    "CPFNet .8292 .8963 1\nAS-Net .8955 .8309 1\nACCPG-Net .9081 .8352 1\nMCGFF-Net .8907 .8179 1\nOurs .8871 .8768 0"
)
TOPTAS_PH2 = "name epochs dice iou\nCompound 20 .8265 .7994\nCompound 40 .8988 .8996\nCompound 60 .9341 .9078"
ZHANG = "name accuracy precision miou_2class_pooled prevalence\nU-Net 88 85 .79 .1176\nU-Net+CBAM 92 89 .87 .1176\n" + (
    "SegNet 85 82 .74 .1176\nFCN-8s 86 83 .76 .1176\nDeepLabv3+ 90 87 .82 .1176"
)
CEILINGS = {"U-Net": 0.680, "U-Net+CBAM": 0.752, "SegNet": 0.635, "FCN-8s": 0.649, "DeepLabv3+": 0.714}
BOUDAIEB_CASES = "name n dice iou\ncorner 1 .965 .933\nhair 1 .952 .908\ncolour 1 .963 .929\nsmall 1 .909 .833\n" + (
    "foreign 1 .941 .889"
)
ZARRIN = "name dataset iou_image dice_image iou_pooled dice_pooled copied\n" + (
    "TransUNet isic2018 82.00 89.11 81.68 89.92 1\nUNet isic2018 79.86 87.57 78.27 87.81 1\n"
    "UCM-Net isic2018 81.26 88.48 80.85 89.35 1\nExpUNET isic2018 85.12 90.98 84.32 91.14 0\n"
    "Ours isic2018 86.47 91.63 85.13 92.37 0\nSANet isic2017 79.34 87.04 79.34 88.15 1\n"
    "UCM-Net isic2017 80.71 87.66 79.29 88.45 1\nExpUNET isic2017 83.60 89.15 82.43 89.77 0\n"
    "Ours isic2017 85.67 90.19 83.86 90.98 0\nUCM-Net ph2 89.62 94.42 90.51 94.96 1\n"
    "EGE-UNet ph2 88.39 93.73 88.93 94.14 1\nExpUNET ph2 91.01 94.52 91.86 94.96 0\nOurs ph2 93.13 96.02 94.46 97.26 0"
)
RESIDUALS = {
    ("ExpUNET", "isic2018"): "-0.35",
    ("ExpUNET", "isic2017"): "-0.60",
    ("ExpUNET", "ph2"): "-0.80",
    ("Ours", "isic2018"): "+0.40",
    ("Ours", "isic2017"): "-0.24",
    ("Ours", "ph2"): "+0.11",
    ("SANet", "isic2017"): "-0.33",  # the one copied row that is far off
}
FOLDS = "name n iou_image dice_image\nfold-1 40 93.099 95.724\nfold-2 40 93.118 96.182\nfold-3 40 93.138 95.683\n" + (
    "fold-4 40 93.149 96.215\nfold-5 40 93.162 96.303"
)
CONSISTENT = "name dice iou\nlow 88.2 79.0\nhigh 93.8 88.4"


def rows(text):
    """Rows of a table with one space between cells, as text, digits and all."""
    heads, *lines = (line.split() for line in text.splitlines())
    return [dict(zip(heads, line, strict=True)) for line in lines]


def found(text):
    """Names of the rows with a finding, and the rules."""
    return [(finding.row, finding.rule) for finding in audit(rows(text)).findings]


def test_swapped_columns_are_found_and_the_rows_beside_them_are_not():
    result = audit(rows(TOPTAS_ISIC))
    assert [finding.row for finding in result.findings] == ["Ms-RED", "CPFNet"]
    for finding in result.findings:
        assert finding.rule == "IoU <= Dice"
        assert "the row fits if the two are swapped, or if IoU is a mean over classes" in finding.arithmetic
    assert "IoU 0.8999 > Dice 0.8345" in result.findings[0].arithmetic


def test_an_iou_just_above_dice_is_found():
    assert found(TOPTAS_PH2) == [("Compound (40)", "IoU <= Dice")]
    assert found("name dice iou\nabstract .96 .97") == [("abstract", "IoU <= Dice")]
    assert found("name dice iou\nabstract 96% 97%") == [("abstract", "IoU <= Dice")]


def test_one_image_must_keep_the_identity_and_the_printed_ones_do():
    assert found(BOUDAIEB_CASES) == []
    assert audit(rows(BOUDAIEB_CASES)).checks["overlap"] == 5
    (finding,) = audit(rows("name n dice iou\nx 1 .965 .920")).findings
    assert finding.definition == "one image"
    assert found("name n dice iou\nx 379 .965 .950") == []  # a mean over images may have less spread in Dice


def test_accuracies_at_or_under_that_of_an_empty_mask_are_found():
    weak = [row for row, rule in found(ZHANG) if rule == "accuracy > all-background"]
    assert weak == ["U-Net", "SegNet", "FCN-8s"]


def test_an_accuracy_has_a_highest_mean_iou():
    ceilings = {
        f.row: f.arithmetic for f in audit(rows(ZHANG)).findings if f.rule == "highest overlap at that accuracy"
    }
    assert set(ceilings) == set(CEILINGS)
    for name, top in CEILINGS.items():
        printed = float(ceilings[name].partition("miou_2class_pooled ")[2].split()[0])
        assert printed == pytest.approx(top, abs=0.0011)  # the share .1176 is rounded


@pytest.mark.parametrize("prevalence", [0.1, 0.4, 0.7])
@pytest.mark.parametrize("accuracy", [0.6, 0.75, 0.95])
def test_the_highest_overlap_is_that_of_a_search_over_all_confusions(accuracy, prevalence):
    hits = np.linspace(0, 1, 2001)[:, None]  # true positives, as a share of all pixels
    misses, false = prevalence - hits, (1 - accuracy) - (prevalence - hits)
    fits = (misses >= 0) & (false >= 0) & (accuracy - hits >= 0)
    iou = (hits / (prevalence + false))[fits]
    mean = ((hits / (prevalence + false) + (accuracy - hits) / np.maximum(1 - hits, 1e-9)) / 2)[fits]
    for name, top in (("iou_pooled", iou.max()), ("miou_2class_pooled", mean.max())):
        row = {"name": "x", "accuracy": f"{accuracy:.6f}", "prevalence": f"{prevalence:.6f}"}
        for score, above in ((top - 0.002, False), (top + 0.002, True)):
            rules = [one.rule for one in audit([row | {name: f"{score:.6f}"}]).findings]
            assert ("highest overlap at that accuracy" in rules) == above


def test_accuracy_and_precision_give_a_recall():
    findings = {f.row: f for f in audit(rows(ZHANG)).findings if "recall" in f.rule}
    assert set(findings) == {"SegNet", "FCN-8s"}
    assert "recall -0.353 (-0.412 to -0.295 within rounding)" in findings["SegNet"].arithmetic
    implied = {f.row: f.arithmetic for f in audit(rows(ZHANG)).findings if "from accuracy and precision" in f.rule}
    assert "recall 0.365" in implied["U-Net+CBAM"]
    assert "recall -0.025" in implied["U-Net"]


def test_a_printed_recall_must_be_the_implied_one():
    text = "name accuracy precision prevalence recall\nx .9200 .8900 .1176 {}"
    assert found(text.format(".365")) == []
    assert found(text.format(".800")) == [("x", "recall from accuracy and precision")]


def test_pooled_scores_keep_the_identity_of_one_confusion_matrix():
    findings = audit(rows(ZARRIN)).findings
    assert {tuple(f.row.rstrip(")").split(" (")) for f in findings} == set(RESIDUALS)
    for finding in findings:
        assert f"{RESIDUALS[tuple(finding.row.rstrip(')').split(' ('))]} points" in finding.arithmetic
        assert finding.definition == "one confusion matrix (pooled)"


def test_a_mean_dice_has_a_bound():
    text = "name iou_image dice_image\nTransUNet 79.5 87.12\nUNet 79.5 88.6\nAttUNet 77.95 83.12"
    assert found(text) == [("UNet", "mean Dice <= 2 mean IoU / (1 + mean IoU)")]
    assert "2 J / (1 + J) = 0.8858" in audit(rows(text)).findings[0].arithmetic
    assert found("name dice iou copied\nLeaNet .8825 .7839 1") == [
        ("LeaNet", "mean Dice <= 2 mean IoU / (1 + mean IoU)")
    ]


def test_folds_that_agree_more_than_their_images_allow_are_found():
    (finding,) = audit(rows(FOLDS)).findings
    assert (finding.row, finding.rule) == ("fold-1 to fold-5", "fold sd against sampling error")
    assert finding.definition == "iou_image of folds with different images"
    assert "0.025 points over 5 folds of 40 images; images alone give 0.6 to 1.3" in finding.arithmetic
    assert audit(rows(FOLDS)).checks["folds"] == 2


def test_folds_of_independent_images_are_left_alone():
    rng = np.random.default_rng(0)
    for _ in range(200):
        means = rng.normal(0.93, 0.06, (5, 40)).mean(axis=1)
        assert not audit([{"name": f"fold {k}", "n": 40, "iou_image": m} for k, m in enumerate(means)]).findings


@pytest.mark.parametrize("df", [2, 4, 9])
def test_the_chance_of_a_small_spread_is_that_of_scipy(df):
    for x in (0.001, 0.5, df, 3 * df):
        assert _chi_square_below(x, df) == pytest.approx(scipy.stats.chi2.cdf(x, df), rel=1e-9)
    assert _chi_square_below(0, df) == 0
    assert _chi_square_below(1e4, df) == 1


def test_parts_of_a_split_must_sum():
    text = "name n train val test\nisic2018 2594 1815 259 520\nisic2017 2000 1400 150 600\nph2 200 140 20 40"
    (finding,) = audit(rows(text)).findings
    assert (finding.row, finding.rule) == ("isic2017", "split sums")
    assert "1400 + 150 + 600 = 2150; printed 2000" in finding.arithmetic


@pytest.mark.parametrize(
    ("before", "after", "gain", "definition"),
    [
        ("65", "80", "23", "an absolute gain in points"),  # 23 % of 65
        ("65", "80", "15", None),
        (".882", ".929", "5.3", "an absolute gain in points"),
        (".882", ".938", "5.6", None),
        (".79", ".87", "5", "an absolute or a relative gain"),  # 8 points, 10 %
        (".7889", ".8674", "7.9", None),
        ("84.1", "84.9", "0.8", None),
    ],
)
def test_a_relative_gain_is_told_from_points(before, after, gain, definition):
    findings = audit([{"name": "x", "before": before, "after": after, "gain": gain}]).findings
    assert [finding.definition for finding in findings] == ([definition] if definition else [])


def test_a_mean_over_two_classes_gives_a_background():
    text = "name iou_pooled miou_2class_pooled\nfine .80 .89\nodd .60 .87"
    assert found(text) == [("odd", "background IoU in [0, 1]")]
    assert found("name dice_pooled miou_2class_pooled\nodd .75 .87") == [("odd", "background IoU in [0, 1]")]
    assert found("name dice_image miou_2class_image\nfine .75 .87\nodd .70 .87") == [
        ("odd", "background IoU in [0, 1]")
    ]
    assert found("name iou_image miou_2class_image\nodd .90 .40") == [("odd", "background IoU in [0, 1]")]


def test_scores_outside_the_unit_interval_are_found():
    assert found("name dice\nx 1.2") == [("x", "score in [0, 1]")]
    assert found("name dice\nx 101\ny 100\nz 90") == [("x", "score in [0, 1]")]
    assert found("name recall\nx -0.1") == [("x", "score in [0, 1]")]


@pytest.mark.parametrize("digits", [1, 2, 3, 4])
@pytest.mark.parametrize("unit", [1, 100])
def test_scores_of_real_counts_are_never_found_whatever_the_rounding(digits, unit):
    rng = np.random.default_rng(digits)
    table = []
    for index in range(60):
        n, size = int(rng.integers(1, 30)), int(rng.integers(50, 2000))
        true = rng.integers(1, size, n)
        hit = rng.integers(0, true + 1)
        false = rng.integers(0, size - true + 1)
        counts = np.stack([np.stack([size - true - false, false], -1), np.stack([true - hit, hit], -1)], -2)
        names = ("iou_fg_image", "dice_fg_image", "iou_fg_pooled", "dice_fg_pooled", "miou_2class_image")
        row = {name.replace("_fg", ""): stats.score(counts, name) for name in names}
        row |= {
            name: stats.score(counts, f"{name}_pooled") for name in ("accuracy", "precision", "recall", "specificity")
        }
        row |= {"miou_2class_pooled": stats.score(counts, "miou_2class_pooled"), "prevalence": true.sum() / (n * size)}
        printed = {key: f"{unit * value:.{digits + (unit == 1)}f}" for key, value in row.items() if np.isfinite(value)}
        table.append(printed | {"name": f"row {index}", "n": n})
    found = [str(f) for f in audit(table).findings if f.rule != "accuracy > all-background"]
    assert found == []
    assert sum(audit(table).checks.values()) > 600


def test_rows_that_fit_give_no_finding_and_say_how_much_was_checked():
    result = audit(rows(CONSISTENT))
    assert result.findings == ()
    assert result.to_markdown() == "2 rows, 6 checks (share 4, overlap 2), 0 findings."


def test_a_finding_says_what_it_is_inconsistent_with_and_never_that_it_is_false():
    text = audit(rows(ZHANG)).to_markdown()
    assert "inconsistent under" in text
    assert "false" not in text.lower()
    assert "Under another one the number may be right." in text
    content = json.loads(audit(rows(ZHANG)).to_json())
    assert content["findings"][0]["row"] == "U-Net"
    assert str(audit(rows(ZHANG))) == text
    assert [f.rule for f in audit(rows(ZHANG)).of("SegNet")] == [
        "accuracy > all-background",
        "recall in [0, 1]",
        "highest overlap at that accuracy",
    ]


def test_a_csv_gives_the_findings_of_its_rows(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(TOPTAS_ISIC.replace(" ", ","))
    assert audit(path) == audit(rows(TOPTAS_ISIC))
    path.write_text("\ufeffName;Dice;IoU\nx;0,834;0,899\n\ny;-;0,5\n", encoding="utf-8")
    assert [finding.row for finding in audit(str(path)).findings] == ["x"]
    assert audit(str(path)).rows == 2


def test_an_object_with_rows_is_a_table_and_unknown_columns_are_named():
    table = SimpleNamespace(rows=({"name": "x", "dice": 0.91, "iou": 0.95, "colour": "red", "dice_sd": 0.1},))
    result = audit(table)
    assert len(result.findings) == 1
    assert result.unknown == ("colour",)
    assert "Columns not checked: colour." in result.to_markdown()


def test_spread_behind_a_plus_minus_sign_and_gaps_are_left_out():
    assert found("name dice iou\nx 90.1±0.2 95.0\ny - 95.0") == [("x", "IoU <= Dice")]
    assert audit([{"dice": float("nan"), "iou": None, "n": 3}]).checks["overlap"] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "table must have at least one row; got none"),
        ("name,dice\n", "table must have at least one row; got none"),
        ("name,colour\nx,red\n", "table must have a column such as dice, iou_pooled or accuracy; got name, colour"),
        ("name,dice\nx,high\n", "dice of row 1 must be a number; got 'high'"),
        ("name,dice\nx,.9,.8\n", "line 2 of .* must have 2 cells"),
        ("name,dice,iou\nx,.9\n", "line 2 of .* must have 3 cells"),
        ("name,dice\nx,.9\ny,92.1\n", "column dice must be all shares or all percent; got 0.9 and 92.1"),
        ('name,dice\nx,"' + "9" * 200_000 + '"\n', "must be CSV; got an error in line"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(text, message, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        audit(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_other_encodings_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must exist; got no file of that name"):
        audit(tmp_path / "nowhere.csv")
    (tmp_path / "latin.csv").write_bytes("näme,dice\nx,.9".encode("latin-1"))
    with pytest.raises(ValueError, match="must be UTF-8 text"):
        audit(tmp_path / "latin.csv")
    with pytest.raises(ValueError, match=r"dice of row 1 must be a number; got \[1\]"):
        audit([{"dice": [1]}])
