"""The soak scripts, for as long as a test may take; by hand they run for an hour."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent / "soak"


def output(script: str, *words: str, folder: Path) -> str:
    """What a script prints; it must find nothing wrong."""
    command = [sys.executable, str(SOAK / script), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_killed_runs_lose_nothing(tmp_path):
    text = output("kill.py", "15", "--seed", "7", folder=tmp_path)
    assert "15 kills: no run lost, no file corrupt, every end equal bit for bit" in text


@pytest.mark.slow
def test_every_flipped_bit_is_found(tmp_path):
    text = output("bit_flips.py", "400", folder=tmp_path)
    assert "safetensors: 400 flips, {'refused': 400}" in text
    assert "last.pt: 400 flips, {'refused': 400}" in text


@pytest.mark.slow
def test_readers_hold_for_some_seconds_of_broken_files(tmp_path):
    text = output("fuzz.py", "6", "labelme file", "image", "state", folder=tmp_path)
    assert text.count(", held") == 3
    assert not list(tmp_path.rglob("*crash*"))


@pytest.mark.slow
def test_fuzzing_is_collected_over_runs(tmp_path):
    first = output("fuzz.py", "20", "settings", "--each", "--keep", "kept", folder=tmp_path)
    before = json.loads((tmp_path / "kept" / "fuzzed.json").read_text())["settings"]
    assert before["processor_seconds"] >= 20
    assert f"settings: {before['readings']} readings" in first or first.count("settings: ") > 1
    again = output("fuzz.py", "20", "settings", "--each", "--keep", "kept", folder=tmp_path)
    assert "readings" not in again
    assert json.loads((tmp_path / "kept" / "fuzzed.json").read_text())["settings"] == before
