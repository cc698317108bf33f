"""Ratios are measured in pairs, say what they are of, and are never invented."""

from pathlib import Path

import pytest
import torch

from seglab import benchmarks
from seglab.benchmarks import Row, paired, to_markdown
from seglab.cli import main


def test_a_ratio_is_the_median_of_interleaved_pairs() -> None:
    order: list[str] = []
    now = 0.0

    def clock() -> float:
        return now

    def slow() -> None:
        nonlocal now
        order.append("slow")
        now += 6.0 if len(order) > 2 else 100.0  # the first round is slower, as first rounds are

    def fast() -> None:
        nonlocal now
        order.append("fast")
        now += 2.0

    found = paired(slow, fast, rounds=5, clock=clock)
    assert (found.median, found.low, found.high, found.rounds) == (3.0, 3.0, 3.0, 5)
    assert str(found) == "3.00 (3.00 to 3.00)"
    assert len(order) == 12
    assert order[:4] == ["fast", "slow", "slow", "fast"]  # neither is always first
    with pytest.raises(ValueError, match="rounds must be at least 3; got 2"):
        paired(slow, fast, rounds=2)


def test_counts_and_distances_are_measured_against_the_same_values() -> None:
    rows = {(row.what, row.against): row for row in benchmarks.measure(["metrics"], quick=True)}
    counted = rows["confusion counts, 512 px", "torchmetrics BinaryConfusionMatrix"]
    assert counted.note == "equal counts"
    assert float(counted.got.split()[0]) > 1
    assert "largest difference" in rows["HD95", "MONAI"].note
    assert float(rows["HD95", "MONAI"].note.split()[2]) < 1e-4


def test_pictures_and_training_run_and_restore_the_threads() -> None:
    before = torch.get_num_threads()
    seen: list[Row] = []
    rows = benchmarks.measure(["pictures", "training"], quick=True, on_row=seen.append)
    assert seen == rows
    assert torch.get_num_threads() == before
    assert {row.what for row in rows} >= {
        "picture and mask augmented, 64 px",
        "an epoch of 1024 x 768 pictures at 256 px",
    }
    assert all(row.wanted.startswith(">= ") for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_rows_say_so_and_how_to_measure() -> None:
    for row in benchmarks.measure(["gpu"]):
        assert (row.got, row.met) == ("not measured", None)
        assert row.note == "no GPU here; `seglab benchmark gpu` measures it"


def test_the_table_says_what_was_met_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        Row("a", "b", ">= 2", "3.00", True),
        Row("c", "d", ">= 9", "1.00", False, "slow"),
        Row("e", "f", "", "-", None),
    ]
    lines = to_markdown(rows).splitlines()
    assert lines[2:5] == [
        "| a | b | >= 2 | 3.00 | yes | |",
        "| c | d | >= 9 | 1.00 | **no** | slow |",
        "| e | f |  | - | - | |",
    ]
    assert f"torch {torch.__version__.partition('+')[0]}" in lines[-1]
    out = tmp_path / "new" / "table.md"
    assert main(["benchmark", "gpu", "--out", str(out)]) == 0
    assert "training step on a GPU" in out.read_text()
    assert capsys.readouterr().out.count("training step on a GPU") == 4


def test_a_wrong_group_or_file_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["benchmark", "metrix"]) == 2
    assert "benchmark must be one of" in capsys.readouterr().err
    assert main(["benchmark", "gpu", "--out", str(tmp_path / "table.txt")]) == 2
    assert capsys.readouterr().err == "seglab: benchmark file must end in .md; got table.txt.\n"
    assert not list(tmp_path.iterdir())
