"""Downloads against a real server on this machine that cuts, lies, forgets and vanishes."""

import hashlib
import http.server
import io
import json
import re
import socket
import threading
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from seglab.data import _download, load_dataset
from seglab.data._download import ARCHIVES, download
from seglab.data._unpack import unpack

STEEL = ARCHIVES["sd900"][0]


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files`; `plan` says what goes wrong."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        plan = self.server.plan
        self.server.seen.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        if self.path in plan.redirects:
            self.send_response(302)
            self.send_header("Location", plan.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = plan.files.get(self.path)
        if body is None:
            self.send_error(404, "Not Found")
            return
        start = self.start(plan)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start + plan.shifted}-{len(body) - 1}/{len(body)}")
        if plan.tag:
            self.send_header("ETag", plan.tag)
        if plan.length:
            self.send_header("Content-Length", str(len(body) - start + plan.announced_too_much))
        self.end_headers()
        stop = plan.cuts.pop(0) if plan.cuts else len(body)
        self.wfile.write(body[start:stop])
        self.wfile.flush()
        self.close_connection = True

    def start(self, plan):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        fresh = self.headers.get("If-Range") == plan.tag
        return int(asked[1]) if asked and plan.ranges and fresh else 0

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(_download, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(_download, "TIMEOUT_SECONDS", 5.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as httpd:
        httpd.seen = []
        httpd.plan = SimpleNamespace(
            files={}, cuts=[], redirects={}, ranges=True, tag='"one"', length=True, announced_too_much=0, shifted=0
        )
        httpd.base = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


def picture(value, suffix="png"):
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 20), value, np.uint8)).save(buffer, suffix)
    return buffer.getvalue()


@pytest.fixture
def steel(server):
    """The steel archive on the server: three pictures and other files of the repository, some 100 kB."""
    top = STEEL.inner.split("/")[0]
    noise = np.random.default_rng(0).bytes(100_000)
    files = {f"{top}/Code/main.m": b"", f"{STEEL.inner}/": b"", f"{STEEL.inner}/noise.bin": noise}
    for name in ("In_1", "Pa_1", "Sc_1"):
        files[f"{STEEL.inner}/Source Images/{name}.bmp"] = picture(50, "bmp")
        files[f"{STEEL.inner}/Ground truth/{name}.png"] = picture(255)
    server.plan.files[STEEL.path] = zipped(files)
    return server


def fetch(server, out, **settings):
    return download("sd900", out, base=server.base, progress=False, **settings)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_downloaded_dataset_loads_and_nothing_else_stays(steel, tmp_path):
    out = fetch(steel, tmp_path / "new" / "folder")
    assert listing(out) == ["SD-saliency-900", "downloads.json"]
    data = load_dataset("sd900", out, shares=(1, 0, 0)).train
    assert len(data) == 3
    assert (data[0].mask == 1).all()
    body = steel.plan.files[STEEL.path]
    assert json.loads((out / "downloads.json").read_text())["MCITF.zip"] == {
        "url": steel.base + STEEL.path,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }


@pytest.mark.parametrize("name", ["isic2016", "isic2017", "isic2018"])
def test_every_part_of_a_challenge_is_fetched_into_the_folders_its_loader_reads(server, tmp_path, name):
    for archive in ARCHIVES[name]:
        stem = f"ISIC_{archive.part}"
        is_mask = "GroundTruth" in archive.folder
        file, content = (f"{stem}_segmentation.png", picture(255)) if is_mask else (f"{stem}.jpg", picture(9, "jpeg"))
        server.plan.files[archive.path] = zipped({f"{archive.folder}/{file}": content})
    splits = load_dataset(name, download(name, tmp_path, base=server.base, progress=False))
    assert sum(len(part) for part in splits) == len(ARCHIVES[name]) // 2


def test_only_the_wanted_parts_are_fetched(server, tmp_path):
    for archive in ARCHIVES["isic2018"]:
        server.plan.files[archive.path] = zipped({f"{archive.folder}/a.txt": b"text"})
    download("isic2018", tmp_path, base=server.base, parts=["val"], progress=False)
    assert [path for path, _, _ in server.seen] == [
        "/2018/ISIC2018_Task1-2_Validation_Input.zip",
        "/2018/ISIC2018_Task1_Validation_GroundTruth.zip",
    ]


def test_folder_that_is_there_is_not_fetched_again(steel, tmp_path):
    fetch(steel, tmp_path)
    steel.seen.clear()
    fetch(steel, tmp_path)
    assert steel.seen == []


def test_cut_is_gone_on_with_from_the_last_byte(steel, tmp_path):
    steel.plan.cuts = [40_000, 70_000]
    out = fetch(steel, tmp_path)
    assert [seen[1:] for seen in steel.seen] == [(None, None), ("bytes=40000-", '"one"'), ("bytes=70000-", '"one"')]
    assert listing(out) == ["SD-saliency-900", "downloads.json"]


def test_later_command_goes_on_where_the_earlier_stopped(steel, tmp_path):
    steel.plan.cuts = [40_000, 40_000]
    with pytest.raises(ConnectionError, match="got 40000 of .* bytes. Run the command again to go on from there"):
        fetch(steel, tmp_path)
    assert (tmp_path / "MCITF.zip.part").stat().st_size == 40_000
    fetch(steel, tmp_path)
    assert steel.seen[-1][1] == "bytes=40000-"
    assert listing(tmp_path) == ["SD-saliency-900", "downloads.json"]


@pytest.mark.parametrize("change", ["new file", "no ranges"])
def test_download_starts_again_where_the_old_bytes_are_of_no_use(steel, tmp_path, change):
    steel.plan.cuts = [40_000, 40_000]
    with pytest.raises(ConnectionError):
        fetch(steel, tmp_path)
    if change == "new file":
        steel.plan.tag = '"two"'
        steel.plan.files[STEEL.path] = zipped({f"{STEEL.inner}/new.txt": np.random.default_rng(1).bytes(90_000)})
    else:
        steel.plan.ranges = False
    fetch(steel, tmp_path)
    assert steel.seen[-1][1] == "bytes=40000-"
    expected = ["new.txt"] if change == "new file" else ["Ground truth", "Source Images", "noise.bin"]
    assert listing(tmp_path / "SD-saliency-900") == expected


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_file_the_server_cannot_name_is_not_gone_on_with(steel, tmp_path, tag):
    steel.plan.tag = tag
    steel.plan.cuts = [40_000]
    fetch(steel, tmp_path)
    assert [seen[1] for seen in steel.seen] == [None, None]


def test_answer_with_other_bytes_is_refused(steel, tmp_path):
    steel.plan.cuts = [40_000]
    steel.plan.shifted = 5
    with pytest.raises(ConnectionError, match="must answer with the bytes from 40000 on"):
        fetch(steel, tmp_path)


def test_wrong_size_is_refused(steel, tmp_path):
    steel.plan.announced_too_much = 1000
    steel.plan.ranges = False
    size = len(steel.plan.files[STEEL.path])
    with pytest.raises(ConnectionError, match=f"must arrive whole; got {size} of {size + 1000} bytes"):
        fetch(steel, tmp_path)
    assert "SD-saliency-900" not in listing(tmp_path)


def test_answer_without_a_size_is_read_to_its_end(steel, tmp_path):
    steel.plan.length = False
    assert "SD-saliency-900" in listing(fetch(steel, tmp_path))


def test_right_hash_passes_and_wrong_hash_deletes_the_file(steel, tmp_path):
    right = hashlib.sha256(steel.plan.files[STEEL.path]).hexdigest()
    fetch(steel, tmp_path / "right", sha256={"MCITF.zip": right.upper()})
    with pytest.raises(ValueError, match=f"must have the SHA-256 {'0' * 64}; got {right}"):
        fetch(steel, tmp_path / "wrong", sha256={"MCITF.zip": "0" * 64})
    assert listing(tmp_path / "wrong") == []
    with pytest.raises(ValueError, match=r"archive of sd900 must be one of MCITF\.zip"):
        fetch(steel, tmp_path / "other", sha256={"other.zip": right})


def test_archive_that_changed_since_the_last_time_is_refused(steel, tmp_path):
    out = fetch(steel, tmp_path)
    (out / "SD-saliency-900").rename(tmp_path / "away")
    steel.plan.files[STEEL.path] = zipped({f"{STEEL.inner}/new.txt": b"new"})
    with pytest.raises(ValueError, match="must be the one of the last time"):
        fetch(steel, tmp_path)
    assert listing(tmp_path) == ["away", "downloads.json"]


def test_damaged_archive_is_refused_and_deleted(steel, tmp_path):
    body = bytearray(steel.plan.files[STEEL.path])
    body[50_000] ^= 1  # inside the stored noise: only the check sum can tell
    steel.plan.files[STEEL.path] = bytes(body)
    with pytest.raises(ValueError, match="must be a whole ZIP file; got an error: Bad CRC-32"):
        fetch(steel, tmp_path)
    assert listing(tmp_path) == []
    steel.plan.files[STEEL.path] = b"<html>please log in</html>"
    with pytest.raises(ValueError, match="must be a whole ZIP file"):
        fetch(steel, tmp_path)


def test_missing_file_says_what_the_server_said(server, tmp_path):
    with pytest.raises(ConnectionError, match=r"MCITF.*\.zip must be reachable; got: HTTP 404 Not Found"):
        fetch(server, tmp_path)


def test_no_server_and_no_name_give_one_line_with_the_address(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(
        ConnectionError, match=f"{base}.*must be reachable; got: .*refused.*open the address by hand"
    ) as one:
        download("sd900", tmp_path, base=base, progress=False)

    def no_network(*args, **kwargs):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(ConnectionError, match="https://github.com/.*must be reachable.*name resolution") as two:
        download("sd900", tmp_path, progress=False)
    assert "\n" not in str(one.value) + str(two.value)


def test_silent_server_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(_download, "TIMEOUT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ConnectionError, match="must be reachable; got: .*timed out"):
            download("sd900", tmp_path, base=f"http://127.0.0.1:{silent.getsockname()[1]}", progress=False)


def test_only_https_and_this_machine_are_asked(server, tmp_path):
    for base in ("http://example.org", "ftp://127.0.0.1", "file:///etc"):
        with pytest.raises(ValueError, match="must begin with https://"):
            download("sd900", tmp_path, base=base, progress=False)
    server.plan.redirects[STEEL.path] = "http://example.org/a.zip"
    with pytest.raises(ValueError, match=r"http://example\.org/a\.zip must begin with https://"):
        fetch(server, tmp_path)


def test_redirect_on_this_machine_is_followed(steel, tmp_path):
    steel.plan.files["/real.zip"] = steel.plan.files[STEEL.path]
    steel.plan.redirects[STEEL.path] = "/real.zip"
    assert "SD-saliency-900" in listing(fetch(steel, tmp_path))


def test_full_disk_is_said_before_anything_is_written(steel, tmp_path, monkeypatch):
    monkeypatch.setattr(_download.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(OSError, match=r"must have \d+ bytes free for .*; got 10"):
        fetch(steel, tmp_path)


def test_ph2_and_unknown_names_are_explained(tmp_path):
    with pytest.raises(ValueError, match="asked for at https://www.fc.up.pt.*PH2Dataset/PH2 Dataset images/IMD002"):
        download("ph2", tmp_path)
    with pytest.raises(ValueError, match="dataset to download must be one of isic2016.*Did you mean 'isic2018'"):
        download("isic218", tmp_path)
    with pytest.raises(ValueError, match="part must be one of test, train, val"):
        download("isic2018", tmp_path, parts=["all"])


def test_addresses_are_the_official_ones():
    urls = [archive.host + archive.path for archives in ARCHIVES.values() for archive in archives]
    assert len(urls) == len(set(urls)) == 4 + 6 + 6 + 1
    assert "https://isic-challenge-data.s3.amazonaws.com/2017/ISIC-2017_Test_v2_Part1_GroundTruth.zip" in urls
    assert all(url.startswith("https://") and url.endswith(".zip") for url in urls)


def member(name, mode=0):
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    info.external_attr = mode << 16
    return info


UNSAFE = {
    "parent": (member("a/../../evil"), "names inside its own folder; got 'a/../../evil'"),
    "absolute": (member("/evil"), "names inside its own folder"),
    "backslash": (member("a\\..\\evil"), "names inside its own folder"),
    "drive": (member("C:/evil"), "names inside its own folder"),
    "link": (member("link", 0o120777), "plain files and folders; got 'link'"),
    "device": (member("device", 0o020644), "plain files and folders; got 'device'"),
    "twice": (member("good"), "every name once; got 'good' twice"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", UNSAFE)
def test_unsafe_archive_is_refused_before_anything_is_written(tmp_path, case):
    info, message = UNSAFE[case]
    archive = tmp_path / "inner" / "a.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("good", b"text")
        bundle.writestr(info, b"/etc/passwd")
    with pytest.raises(ValueError, match=re.escape(message)):
        unpack(archive, archive.parent / "result")
    assert listing(archive.parent) == ["a.zip"]
    assert listing(tmp_path) == ["inner"]


def test_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped({"zeros": bytes(5000)}))
    monkeypatch.setattr("seglab.data._unpack.MAX_BYTES", 4999)
    with pytest.raises(ValueError, match="must unpack to at most"):
        unpack(archive, tmp_path / "result")
    monkeypatch.setattr("seglab.data._unpack.MAX_BYTES", 5000)
    unpack(archive, tmp_path / "result")
    assert (tmp_path / "result" / "zeros").stat().st_size == 5000


def test_archive_that_hides_its_size_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("zeros", bytes(1_000_000))
    true_size, said = (1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(buffer.getvalue().replace(true_size, said))
    with pytest.raises(ValueError, match="must be a whole ZIP file"):
        unpack(tmp_path / "a.zip", tmp_path / "result")
    assert listing(tmp_path) == ["a.zip"]


def test_archive_without_the_wanted_folder_gives_its_only_one_or_everything(tmp_path):
    for name, files in (
        ("one", {"outer/a": b""}),
        ("all", {"a": b"", "b/c": b""}),
        ("inner", {"wanted/a": b"", "z": b""}),
    ):
        (tmp_path / f"{name}.zip").write_bytes(zipped(files))
        unpack(tmp_path / f"{name}.zip", tmp_path / name, "wanted")
    assert listing(tmp_path / "one") == ["a"]
    assert listing(tmp_path / "all") == ["a", "b"]
    assert listing(tmp_path / "inner") == ["a"]
