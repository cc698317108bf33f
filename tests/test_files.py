"""Writing whole files or none: umask, links, names, threads, full disks, killed writers."""

import errno
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from seglab.files import atomic, atomic_text, disk_error, remove_leftovers


def test_block_that_ends_well_replaces_the_file(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with atomic(target) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("durable", [True, False])
def test_bytes_are_on_the_disk_before_the_name_is_and_the_name_before_the_block_is_left(tmp_path, monkeypatch, durable):
    steps, replace = [], os.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: steps.append("folder" if os.path.isdir(f"/dev/fd/{handle}") else "file")
    )
    monkeypatch.setattr(os, "replace", lambda part, path: (steps.append("rename"), replace(part, path)))
    with atomic(tmp_path / "a", durable=durable) as file:
        file.write(b"new")
    assert steps == (["file", "rename", "folder"] if durable else ["rename"])


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), RuntimeError("y")])
def test_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def write() -> None:
        with atomic(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert caught.value is error
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_file_follows_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        atomic_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_umask_is_never_changed_for_other_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("umask is shared by all threads"))
    atomic_text(tmp_path / "a", "x")


def test_text_is_utf8_with_its_own_line_ends(tmp_path):
    atomic_text(tmp_path / "a", "é\r\n\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\r\n\n"


def test_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    atomic_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_longest_name_can_be_written(tmp_path):
    atomic_text(tmp_path / ("n" * 255), "x")
    assert (tmp_path / ("n" * 255)).read_text() == "x"


def test_writers_at_once_never_mix(tmp_path):
    target = tmp_path / "a"
    texts = [str(i) * 50_000 for i in range(10)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: atomic_text(target, text), texts * 3))
    assert target.read_text() in texts
    assert list(tmp_path.iterdir()) == [target]


def test_missing_folder_is_said_in_words(tmp_path):
    with pytest.raises(OSError, match=r"none/a could not be written: No such file or directory\. .*choose another"):
        atomic_text(tmp_path / "none" / "a", "x")


def test_folder_in_the_way_is_said_in_words(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a could not be written: Is a directory") as caught:
        atomic_text(tmp_path / "a", "x")
    assert "older file" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_full_disk_during_the_write_names_path_reason_and_what_is_left(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    with (
        pytest.raises(OSError, match=r"a could not be written: No space left on device \(.* MB free\)") as caught,
        atomic(target),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "The older file of that name is intact" in str(caught.value)
    assert target.read_text() == "old"


def write_as_torch_does(path):
    with atomic(path):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 15731328 vs 15731280")  # noqa: B904 - torch does not chain either


def test_full_disk_behind_a_runtime_error_is_found(tmp_path):
    with pytest.raises(OSError, match="No space left on device"):
        write_as_torch_does(tmp_path / "a")


def test_disk_error_follows_the_chain():
    inner, outer = OSError(errno.EIO, "broken"), ValueError("outer")
    outer.__cause__ = RuntimeError("between")
    outer.__cause__.__context__ = inner
    assert disk_error(outer) is inner
    assert disk_error(ValueError("alone")) is None


def test_size_limit_of_the_system_leaves_the_old_file(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    code = (
        "import resource, sys; from seglab.files import atomic_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: atomic_text(sys.argv[1], 'x' * 2000)\n"
        "except OSError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, target], capture_output=True, text=True, check=True)
    assert "could not be written: File too large" in done.stdout
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_killed_writer_leaves_the_old_file_and_its_leftover_can_be_removed(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    code = (
        "import os, signal, sys; from seglab.files import atomic\n"
        "with atomic(sys.argv[1]) as file: file.write(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, target], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_are_only_our_own(tmp_path):
    for name in ("a.part", ".hidden", ".0123.part"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a.part"]
