"""A state that carries its own hash: every bit of it counts, and other readers do not mind."""

import io
import zipfile

import pytest
import torch

from seglab.sealed import read_sealed, write_sealed


@pytest.fixture
def content() -> dict[str, object]:
    return {"weights": torch.arange(6.0).reshape(2, 3), "epoch": 3, "rows": [{"loss": 0.5}], "none": None}


@pytest.fixture
def path(tmp_path, content):
    path = tmp_path / "last.pt"
    with path.open("wb") as file:
        write_sealed(file, content)
    return path


def test_what_is_written_comes_back(path, content):
    loaded = read_sealed(path)
    assert torch.equal(loaded.pop("weights"), content.pop("weights"))
    assert loaded == content


def test_other_readers_read_the_file_as_if_it_had_no_seal(path):
    assert torch.load(path, weights_only=True)["epoch"] == 3
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"seglab-sha256:")


def test_every_single_bit_of_a_file_counts(path):
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):  # a third of the bytes, a bit of each; the soak test takes more
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="its bytes do not match the SHA-256 at its end|its end is damaged"):
            read_sealed(path)


@pytest.mark.parametrize("bit", range(8))
def test_bits_of_the_seal_and_of_the_archives_end_count(path, bit):
    whole = path.read_bytes()
    for place in range(len(whole) - 100, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="its bytes do not match the SHA-256 at its end|its end is damaged"):
            read_sealed(path)


@pytest.mark.parametrize("change", [lambda b: b + b"x", lambda b: b + bytes(78), lambda b: b"x" + b, lambda b: b[:-1]])
def test_bytes_that_are_added_or_missing_count(path, change):
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match="SHA-256|its end is damaged"):
        read_sealed(path)


def test_file_of_torch_save_alone_is_read_and_its_checksums_are_looked_at(tmp_path):
    path = tmp_path / "old.pt"
    torch.save({"weights": torch.arange(600.0)}, path)
    assert read_sealed(path)["weights"][7] == 7
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"the checksum of .*data.* does not match"):
        read_sealed(path)


def test_packed_archive_is_refused_before_it_unpacks(tmp_path):
    path = tmp_path / "packed.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(ValueError, match="it is compressed, which seglab never writes"):
        read_sealed(path)


def test_archive_whose_entries_overlap_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", bytes(1000))
        archive.filelist *= 9  # nine names for the same thousand bytes
    with pytest.raises(ValueError, match="its entries claim more bytes than the file has"):
        read_sealed(path)


def test_nothing_is_sealed_by_chance(content):
    first, second = io.BytesIO(), io.BytesIO()
    write_sealed(first, content)
    write_sealed(second, content | {"epoch": 4})
    assert first.getvalue()[-64:] != second.getvalue()[-64:]
