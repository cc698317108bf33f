"""What a run writes down: enough to find its pictures again, and nothing that tells whose disk they were on."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from seglab import load_dataset
from seglab.contract import Sample
from seglab.records import Noted, Source, environment, git_commit, read_record, sample_digest, write_record

SYNTHETIC = Source("synthetic", knobs={"count": (3, 2, 1), "size": (32, 32)})


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return folder


def test_commit_is_the_one_git_says_for_a_branch_a_detached_head_packed_names_and_a_folder_inside(repository):
    head = git(repository, "rev-parse", "HEAD")
    (repository / "inner" / "deep").mkdir(parents=True)
    assert git_commit(repository) == git_commit(repository / "inner" / "deep") == head
    git(repository, "pack-refs", "--all")
    assert git_commit(repository) == head
    git(repository, "commit", "-q", "--allow-empty", "-m", "two")
    assert git_commit(repository) == git(repository, "rev-parse", "HEAD") != head
    git(repository, "checkout", "-q", "--detach", head)
    assert git_commit(repository) == head


def test_commit_of_a_worktree_is_its_own(repository, tmp_path):
    git(repository, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "theirs")
    assert git_commit(tmp_path / "tree") == git(tmp_path / "tree", "rev-parse", "HEAD") != git_commit(repository)


@pytest.mark.parametrize("head", ["", "ref: refs/heads/gone", "ref: ../../../etc/passwd", "not a commit", "é" * 40])
def test_commit_of_a_damaged_or_hostile_repository_is_unknown(tmp_path, head):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head)
    assert git_commit(tmp_path) == "unknown"


def test_commit_without_any_commit_or_repository_is_unknown(tmp_path):
    assert git_commit(tmp_path) == "unknown"
    git(tmp_path, "init", "-q")
    assert git_commit(tmp_path) == "unknown"


def test_git_is_not_started(repository, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a foreign repository must not run anything"))
    assert len(git_commit(repository)) == 40


def test_environment_names_versions_machine_and_threads():
    found = environment()
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert {"python", "numpy", "pillow", "safetensors"} <= found["versions"].keys()
    assert found["threads"] == torch.get_num_threads()
    assert found["hardware"]
    assert json.loads(json.dumps(found)) == found


def test_digest_tells_every_pixel_of_picture_and_mask_and_not_the_name():
    image, mask = torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8)
    first = sample_digest(Sample(image, mask, "a"))
    assert first == sample_digest(Sample(image.clone(), mask.clone(), "b"))
    for changed in (image, mask):
        changed[..., 3, 4] = 1
        assert sample_digest(Sample(image, mask, "a")) != first
        changed[..., 3, 4] = 0


def test_noted_dataset_is_the_dataset_and_notes_what_was_asked_for():
    val = SYNTHETIC.splits().val
    noted = Noted(val)
    assert (len(noted), noted.classes, noted.digests) == (2, val.classes, {})
    assert torch.equal(noted[1].image, val[1].image)
    assert noted.digests == {val[1].name: sample_digest(val[1])}


def test_record_comes_back_with_its_source(tmp_path):
    splits = SYNTHETIC.splits()
    noted = Noted(splits.val)
    names = [noted[i].name for i in range(len(noted))]
    write_record(tmp_path, SYNTHETIC, splits, "report.json", noted)
    record = read_record(tmp_path)
    assert record["source"] == SYNTHETIC
    assert (record["part"], record["report"], record["split"]) == ("val", "report.json", splits.fingerprint())
    assert list(record["pictures"]) == names


def test_folders_are_written_relative_to_the_run_so_that_both_can_move_together(tmp_path, monkeypatch):
    (tmp_path / "secret" / "runs" / "one").mkdir(parents=True)
    (tmp_path / "secret" / "pictures").mkdir()
    monkeypatch.chdir(tmp_path / "secret")
    splits = SYNTHETIC.splits()
    source = Source("folder", ("pictures", f"ph2:{tmp_path / 'secret' / 'pictures'}"), {}, "folds.json", 2)
    write_record(Path("runs/one"), source, splits, "test.json", Noted(splits.test))
    assert "secret" not in (tmp_path / "secret/runs/one/record.json").read_text()
    (tmp_path / "secret").rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    found = read_record(tmp_path / "moved/runs/one")["source"]
    layouts, folders = zip(*(root.rpartition(":")[::2] for root in found.roots), strict=True)
    assert layouts == ("", "ph2")
    assert [Path(folder).resolve() for folder in folders] == [tmp_path / "moved/pictures"] * 2
    assert Path(found.folds).resolve() == tmp_path / "moved/folds.json"
    assert (found.dataset, found.fold) == ("folder", 2)


def test_run_without_a_record_has_none(tmp_path):
    assert read_record(tmp_path) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "", lambda text: "[]", lambda text: "{}", lambda text: text[:-3], lambda text: "[" * 10**5,
        lambda text: text.replace("seglab-record-1", "seglab-record-9"),
        lambda text: text.replace('"part": "val"', '"part": "fit"'),
        lambda text: text.replace('"report.json"', '"../report.json"'),
        lambda text: text.replace('"pictures": {', '"pictures": 3, "x": {'),
        lambda text: text.replace('"roots": []', '"roots": 3'),
        lambda text: text.replace('"fold": 0', '"fold": "a"'),
    ],
)  # fmt: skip
def test_damaged_record_is_refused_in_one_line(tmp_path, change):
    splits = load_dataset("synthetic", count=(1, 1, 1), size=(32, 32))
    write_record(tmp_path, SYNTHETIC, splits, "report.json", Noted(splits.val))
    path = tmp_path / "record.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(
        ValueError, match=r"record .*record.json must be seglab's; got an error: [^\n]*\. Name the pict"
    ):
        read_record(tmp_path)
