"""Attacks on the app in a process of its own: forged requests, huge ones, odd files, hang-ups, many at once."""

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from app_process import ROOT, BusyError, Client, RefusedError, Server, file, form, served
from chromium import free_port
from PIL import Image

pytest.importorskip("gradio")

sys.path[:0] = [str(Path(__file__).parent / name) for name in ("bad_inputs", "soak")]
from bad_case import labelme  # noqa: E402
from test_bad_checkpoints import hostile  # noqa: E402
from test_bad_pictures import READ, REFUSED  # noqa: E402
from visitors import crowd  # noqa: E402

from seglab import access  # noqa: E402
from seglab.access import HEADERS, WAITING, public_access  # noqa: E402
from seglab.cli import main as seglab_main  # noqa: E402

PORT, PUBLIC_PORT, ENDED_PORT = 7941, 7942, 7943
GENERIC = ('"error": null', '"error":null', "Internal Server Error", "Traceback", "/site-packages/")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("app")
    (folder / "decoy.png").write_bytes(picture())
    with served(folder, PORT) as running:
        yield running
        # Whatever the tests below did: no other computer was asked, no program started, no foreign file opened.
        assert running.watched() == ""


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ["--public", "--allow-host", "demo.example.org", "--root-path", "https://demo.example.org/seglab"]
    with served(tmp_path_factory.mktemp("public"), PUBLIC_PORT, *options, "--host", "0.0.0.0") as running:
        yield running
        assert running.watched() == ""


@pytest.fixture
def client(server: Server) -> Client:
    return Client(PORT)


def picture(height: int = 64, width: int = 96, seed: int = 0, form: str = "PNG", **options: object) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return encoded(Image.fromarray(pixels), form, **options)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def refusal(client: Client, *arguments: object, **named: object) -> str:
    """The words of a refused comparison; never the ones that say nothing."""
    with pytest.raises(RefusedError) as caught:
        client.compare(*arguments, **named)
    words = str(caught.value)
    assert not [one for one in GENERIC if one in words], words
    return str(json.loads(words)["error"])


# --- options


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], r"--host must be 127\.0\.0\.1 unless visitors are let in; got '0\.0\.0\.0'"),
        (["--host", "192.168.1.5", "--allow-host", "a.example"], "--host must be 127"),
        (["--allow-host", "a.example"], "--allow-host must come with --public"),
        (["--root-path", "https://a.example"], "--root-path must come with --public"),
        (["--public"], "--public must come with --allow-host NAME"),
        (["--public", "--host", "0.0.0.0"], "--public must come with --allow-host NAME"),
        (["--public", "--allow-host", "*"], r"--allow-host must be a name .* got '\*'"),
        (["--public", "--allow-host", "a.example:80"], "--allow-host must be a name"),
        (["--public", "--allow-host", "https://a.example"], "--allow-host must be a name"),
        (["--public", "--allow-host", ""], "--allow-host must be a name"),
        (["--public", "--allow-host", "a.example", "--host", "nowhere"], "--host must be an IPv4 address"),
        (["--public", "--allow-host", "a.example", "--host", "0.0.0.0.0"], "--host must be an IPv4 address"),
        (["--public", "--allow-host", "a.example", "--root-path", "/seglab"], "--root-path must be the page's full"),
        (["--public", "--allow-host", "a.example", "--root-path", "https://b.example"], "--root-path must be"),
        (["--public", "--allow-host", "a.example", "--root-path", "https://u:p@a.example"], "--root-path must be"),
        (["--public", "--allow-host", "a.example", "--root-path", "https://[a.example"], "--root-path must be"),
        (["--port", "x"], "argument --port: invalid int value: 'x'"),
        (["--port", "70000"], "--port must be from 1 to 65535; got 70000"),
    ],
)
def test_options_that_would_open_more_than_was_said_are_refused(words, said, capsys):
    try:
        code = seglab_main(["app", *words])
    except SystemExit as stop:
        code = stop.code
    errors = capsys.readouterr().err
    assert code == 2
    assert errors.count("\n") == 1
    assert re.search(said, errors), errors


def test_public_options_are_understood():
    given = public_access("localhost", ["A.example", "10.0.0.7"], "https://a.example:8443/x/", public=True)
    assert given == access.Access("127.0.0.1", ("a.example", "10.0.0.7"), "https://a.example:8443/x")
    assert given.public
    assert "training is off" in given.warning.lower()
    assert public_access(None, [], None, public=False) == access.LOCAL
    assert public_access("localhost", [], "", public=False) == access.LOCAL


# --- hosts, origins, doors


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "demo.example.org"]
)
def test_page_for_this_computer_knows_no_other_host(server, host):
    status, headers, _ = Client(PORT, host or " ").ask("GET", "/")
    assert status == 400
    assert HEADERS.items() <= headers.items()


def test_public_page_knows_its_names_only(public):
    assert Client(PUBLIC_PORT, "demo.example.org").ask("GET", "/")[0] == 200
    assert Client(PUBLIC_PORT, "DEMO.example.org:443").ask("GET", "/")[0] == 200
    for host in ("evil.example", "example.org", "x.demo.example.org", "demo.example.org.evil.example", "0.0.0.0"):
        assert Client(PUBLIC_PORT, host).ask("GET", "/")[0] == 400, host


def test_local_names_of_a_public_page_are_for_this_computer_only():
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost:7860")]}
    limits = access.Limits(None, public_access(None, ["a.example"], None, public=True))  # type: ignore[arg-type]
    assert limits._refusal(scope | {"client": ("127.0.0.1", 5)}) is None
    assert limits._refusal(scope | {"client": ("192.168.1.5", 5)}) == (400, "This host name is not served here.")


def test_two_host_headers_are_refused(server):
    with socket.create_connection(("127.0.0.1", PORT)) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert b" 400 " in line.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": f"http://127.0.0.1:{PORT}.evil.example"},
        {"Origin": f"ftp://127.0.0.1:{PORT}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/call/compare", "/gradio_api/queue/join"])
def test_writes_from_other_sites_are_refused(client, headers, path):
    body, kind = form(("files", "a.png", picture()))
    status, sent, answer = client.ask("POST", path, body, {**kind, **headers})
    assert status == 403
    assert b"other sites" in answer
    assert "access-control-allow-origin" not in sent


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_other_sites_may_not_read_either(public, method):
    asker = Client(PUBLIC_PORT, "demo.example.org")
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    status, headers, _ = asker.ask(method, "/gradio_api/info", headers=asked)
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", ["https://demo.example.org", None])
def test_own_page_may_write(public, origin):
    asker = Client(PUBLIC_PORT, "127.0.0.1")  # a proxy on this computer that does not pass the name on
    body, kind = form(("files", "a.png", picture()))
    headers = {} if origin is None else {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    status, sent, _ = asker.ask("POST", "/gradio_api/upload", body, {**kind, **headers})
    assert status == 200
    assert not [name for name in sent if name.startswith("access-control")]


def test_page_behind_a_proxy_takes_its_address_from_the_option_and_no_header(public, server):
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    _, _, content = Client(PUBLIC_PORT, "demo.example.org").ask("GET", "/config", headers=forged)
    assert json.loads(content)["root"] == "https://demo.example.org/seglab"
    _, _, content = Client(PORT).ask("GET", "/config", headers=forged)
    assert json.loads(content)["root"].endswith(f"://127.0.0.1:{PORT}")
    assert b"evil" not in content


@pytest.mark.parametrize(
    "path",
    [
        "/openapi.json", "/docs", "/redoc", "/gradio_api/openapi.json", "/monitoring", "/monitoring/summary",
        "/gradio_api/run/compare", "/gradio_api/api/compare", "/gradio_api/process_recording", "/gradio_api/deep_link",
        "/gradio_api/component_server", "/gradio_api/proxy=https://evil.example/a", "/gradio_api/vibe-edit",
        "/gradio_api/file=http://127.0.0.1/a.png", "/gradio_api/file=HTTPS://evil.example/a.png", "/gradio_api/runs",
        "/login", "/gradio_api/token", "/gradio_api/stream/a", "/upload", "/file=/etc/passwd", "/pwa_icon/99999",
        "/gradio_api/custom_component/a/client/component/..%2f..%2fserving.py", "/gradio_api/mcp/sse",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_doors_that_the_page_does_not_need_are_shut(client, path, method):
    status, headers, answer = client.ask(method, path, b"" if method == "POST" else None)
    assert (status, answer) == (404, b'{"detail": "Not found."}')
    assert HEADERS.items() <= headers.items()


def test_websockets_are_refused(server):
    with socket.create_connection(("127.0.0.1", PORT)) as line:
        asked = (
            "GET /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        )
        line.sendall(f"{asked}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
        assert b" 101 " not in line.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize("path", ["/", "/config", "/theme.css", "/gradio_api/info", "/nowhere", "/gradio_api/upload"])
def test_every_answer_has_the_security_headers(client, path):
    _, headers, _ = client.ask("GET", path)
    assert HEADERS.items() <= headers.items()
    assert "unsafe-eval" not in headers["content-security-policy"]


def test_pages_of_other_languages_have_a_door(client):
    for code in ("de", "zh"):
        assert client.ask("GET", f"/{code}")[0] in (200, 307)
    assert client.ask("GET", "/deep")[0] == 404


# --- files of the server


TRAVERSALS = [
    "/etc/passwd", "/etc/../etc/passwd", "../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/pass",
    "/proc/self/environ", "/proc/self/cwd/decoy.png", "decoy.png", "./decoy.png", "//etc/passwd", "/etc/passwd%00.png",
    "file:///etc/passwd", "....//....//etc/passwd", "\\..\\..\\etc\\passwd", "/dev/zero", "~/.bashrc",
]  # fmt: skip


@pytest.mark.parametrize("path", TRAVERSALS)
def test_files_of_the_server_are_not_given_out(client, path):
    for before in ("", str(client.upload("a.png", picture())) + "/../"):
        status, _, content = client.ask("GET", f"/gradio_api/file={before}{path}".replace(" ", "%20"))
        assert status in (400, 403, 404), content[:80]
        assert b"root:" not in content
        assert content != picture()


FOREIGN = [
    "/etc/passwd",
    "decoy.png",
    "{folder}/decoy.png",
    "{folder}/plain.safetensors",
    "/proc/self/environ",
    "",
    ".",
]
FOREIGN += ["{upload}/../../../decoy.png", "{upload}x", "http://127.0.0.1:1/a.png", "HTTPS://evil.example/a.png"]
FOREIGN += [
    "http://169.254.169.254/latest",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "{private}",
    "/dev/zero",
]


@pytest.mark.parametrize("path", FOREIGN)
@pytest.mark.parametrize("place", ["picture", "mask"])
def test_named_files_that_were_not_uploaded_are_refused_in_words(server, client, path, place):
    upload = client.upload("a.png", picture())
    name = path.format(folder=server.folder, upload=upload, private=Path(upload).parents[1])
    words = refusal(client, name) if place == "picture" else refusal(client, upload, name)
    assert "upload" in words
    assert "/" not in words


def test_data_address_beside_a_path_is_not_read(client):
    upload = client.upload("a.png", picture())
    for address in ("data:image/png;base64,AAAA", "http://127.0.0.1:1/x.png", "file:///etc/passwd"):
        sent = {**file(upload), "url": address}
        status, _, answer = client.ask("POST", "/gradio_api/call/compare", {"data": [sent, None, ["plain"], 0.5]})
        event = json.loads(answer)["event_id"]
        _, _, answer = client.ask("GET", f"/gradio_api/call/compare/{event}")
        assert b'"width": 96' in answer or b"upload" in answer


def test_every_file_input_of_every_event_refuses_what_was_not_uploaded(server, client):
    config = json.loads(client.ask("GET", "/config")[2])
    kinds = {one["id"]: one for one in config["components"]}
    decoy, tried = str(server.folder / "decoy.png"), 0
    for event in config["dependencies"]:
        inputs = [kinds[number] for number in event["inputs"]]
        for at, component in enumerate(inputs):
            if component["type"] not in ("image", "file", "imageslider", "gallery", "uploadbutton", "imageeditor"):
                continue
            many = component["props"].get("file_count") == "multiple"
            upload = client.upload("a.png", picture())
            for path in (decoy, "http://127.0.0.1:1/a.png", "data:image/png;base64,AAAA", f"{upload}/../../x"):
                data = [one["props"].get("value") for one in inputs]
                data[at] = [file(path)] if many else file(path)
                answer = client.event(event["id"], data)
                assert answer["success"] is False
                words = answer["output"]["error"]  # in the language of the event's page
                assert words, (event["id"], component["type"], answer["output"])
                assert decoy not in words
                tried += 1
    assert tried >= 20


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (("nowhere",), "not in the list"), (("../plain",), "not in the list"), (("/etc/passwd",), "not in the list"),
        (("plain", "nowhere"), "not in the list"), ((None,), "not in the list"), ((["plain"],), "not in the list"),
        (None, "another kind"), (5, "another kind"), ("plain", "not in the list"), ([], "Choose one to"),
        ({"a": 1}, "not in the list"),
    ],
)  # fmt: skip
def test_models_out_of_the_list_are_refused(client, models, said):
    assert said in refusal(client, client.upload("a.png", picture()), None, models)


@pytest.mark.parametrize("threshold", [None, "a", "0.5", -1, 0, 1, 5, [0.5], {}, float("nan"), float("inf"), True])
def test_thresholds_out_of_range_are_refused(client, threshold):
    words = refusal(client, client.upload("a.png", picture()), threshold=threshold)
    assert re.search("another kind|minimum|maximum|above 0 and below 1", words), words


@pytest.mark.parametrize(
    "body",
    [
        {}, {"data": []}, {"data": None, "fn_index": 0, "session_hash": "a"}, b"", b"[]", b"x", b"[" * 100_000,
        {"data": [], "fn_index": 99_999, "session_hash": "a"}, {"data": [], "fn_index": -1, "session_hash": "a"},
        {"data": [], "fn_index": "a", "session_hash": "a"}, {"data": [], "fn_index": 10**30, "session_hash": "a"},
    ],
    ids=str,
)  # fmt: skip
def test_requests_without_sense_are_answered_without_details(client, body):
    kind = {"Content-Type": "application/json"}
    status, headers, answer = client.ask("POST", "/gradio_api/queue/join", body, kind)
    assert 400 <= status <= 500
    assert headers["content-type"] == "application/json"
    assert not [one for one in GENERIC if one.encode() in answer]


def test_events_with_any_inputs_answer_in_words(client):
    config = json.loads(client.ask("GET", "/config")[2])
    for event in config["dependencies"]:
        for data in ([], [None] * 9, ["x"] * 9, [{"a": 1}] * 9, [[[1]]] * 9, [1e308] * 9):
            answer = client.event(event["id"], data)
            if not answer["success"]:
                assert answer["output"]["error"], (event["id"], data)


# --- bodies


def memory_of(server: Server) -> int:
    """Highest memory of the app so far, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/call/compare"])
@pytest.mark.parametrize("way", ["length", "chunks", "field without a file name", "negative length", "length in words"])
def test_huge_bodies_are_refused_before_they_are_held(server, client, path, way):
    client.compare(client.upload("a.png", picture()))
    before = memory_of(server)
    piece = bytes(2**20)
    headers = {
        "length": {"Content-Length": str(400 * 2**20)},
        "negative length": {"Content-Length": "-5"},
        "length in words": {"Content-Length": "many"},
    }.get(way, {"Transfer-Encoding": "chunked"})
    start = form(("files", None, b""))
    if way.startswith("field"):
        headers |= start[1]
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.putrequest("POST", path)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    try:
        if way.startswith("field"):
            head = start[0].split(b"\r\n\r\n")[0] + b"\r\n\r\n"
            connection.send(b"%x\r\n%b\r\n" % (len(head), head))
        for _ in range(0 if "length" in way and way != "length" else 100):
            connection.send(piece if way == "length" else b"%x\r\n%b\r\n" % (len(piece), piece))
    except OSError:
        pass  # the app has hung up
    try:
        answer = connection.getresponse()
        assert answer.status in (400, 413)
    except (OSError, http.client.HTTPException):
        pass  # refused without words, because the client was still talking
    finally:
        connection.close()
    assert memory_of(server) - before < 150 * 2**20
    assert Client(PORT).ask("GET", "/")[0] == 200


def test_file_above_the_limit_is_refused_with_the_limit(client):
    body, kind = form(("files", "a.png", bytes(21 * 2**20)))
    status, _, answer = client.ask("POST", "/gradio_api/upload", body, kind)
    assert status == 413
    assert b"20971520 bytes" in answer


def test_upload_that_is_broken_off_is_swept_away(server, client):
    for _ in range(3):
        line = socket.create_connection(("127.0.0.1", PORT))
        body, kind = form(("files", "a.png", picture(400, 400)))
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        line.sendall((head + f"Content-Type: {kind['Content-Type']}\r\n\r\n").encode() + body[: len(body) // 2])
        time.sleep(0.2)
        line.close()
    time.sleep(0.5)
    left = [path for path in server.kept() if path.parent.name.startswith("seglab-app-")]
    assert all(re.fullmatch(r"tmp\w+", path.name) for path in left)  # `sweep` takes them like all else
    assert Client(PORT).ask("GET", "/")[0] == 200


def test_body_that_does_not_come_is_given_up(monkeypatch):
    import asyncio

    monkeypatch.setattr(access, "STALLED", 0.05)
    answers: list = []

    async def inner(scope, receive, send):
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        assert message["type"] == "http.disconnect"
        raise RuntimeError("the client is gone")

    async def receive():
        if not answers:
            answers.append("asked")
            return {"type": "http.request", "body": b"x", "more_body": True}
        return await asyncio.sleep(60)

    async def send(message):
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": [(b"host", b"localhost")]}
    with pytest.raises(RuntimeError, match="gone"):
        asyncio.run(access.Limits(inner)(scope, receive, send))


def test_upload_without_any_event_is_kept_in_its_own_folder_and_swept(server, client):
    path = Path(client.upload("../../evil<b>.png", picture()))
    assert path.is_file()
    assert re.fullmatch(r"[0-9a-f]{64}", path.parent.name)
    assert path.parents[1].name.startswith("seglab-app-")
    assert "<" not in path.name
    assert oct(path.parents[1].stat().st_mode)[-3:] == "700"


@pytest.mark.parametrize(
    "name",
    [
        "a<script>alert(1)</script>.png", 'a" onerror="x.png', "..%2f..%2fa.png", "a\u202egnp.exe", "ä ö ü.png",
        "a" * 300 + ".png", "CON.png", ".png", "a\tb.png", "-rf.png",
    ],
)  # fmt: skip
def test_odd_file_names_are_harmless(client, name):
    path = client.upload(name, picture())
    assert not re.search(r"[<>\"\t]", path)
    if len(Path(path).name) > 4 and "%" not in name:
        assert client.compare(path)[0]["picture"] == {"height": 64, "width": 96}
    else:
        assert "upload" in refusal(client, path)


def test_uploaded_markup_is_never_shown_as_a_page(client):
    for name, content in (("a.html", b"<script>alert(1)</script>"), ("a.svg", b"<svg onload='alert(1)'/>")):
        path = client.upload(name, content)
        _, headers, _ = client.ask("GET", f"/gradio_api/file={path}")
        assert headers["content-disposition"].startswith("attachment")
        assert headers["content-type"] == "application/octet-stream"


# --- odd and hostile files

ODD = [name for name, (content, _) in REFUSED.items() if not callable(content())]


@pytest.mark.parametrize("name", ODD)
def test_odd_picture_is_refused_in_the_words_of_the_command(client, name):
    content, said = REFUSED[name]
    data = content()
    data = data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data)).encode()
    assert said in refusal(client, client.upload("a.png", data))


@pytest.mark.parametrize("name", [name for name, (content, _, _) in READ.items() if not callable(content())])
def test_odd_picture_gives_the_numbers_of_its_plain_twin(client, name):
    content, expected, tolerance = READ[name]
    pixels = np.clip(np.asarray(expected(), float), 0, 255).astype(np.uint8)
    twin = client.compare(client.upload("twin.png", encoded(Image.fromarray(pixels))))[0]
    odd = client.compare(client.upload("a.png", content()))[0]
    assert odd["picture"] == twin["picture"]
    for mine, its in zip(odd["models"], twin["models"], strict=True):
        assert abs(mine["numbers"]["area_percent"] - its["numbers"]["area_percent"]) <= (5 if tolerance else 0)


@pytest.mark.parametrize("place", ["picture", "mask"])
def test_hostile_files_do_nothing(server, client, tmp_path, place):
    """The watch in the app would have seen a program start or a decoy open."""
    marker, plain = tmp_path / "marker", client.upload("a.png", picture())
    names = [f"{kind}.png" for kind in hostile(marker)]
    files = {f"{kind}.png": content for kind, content in hostile(marker).items()}
    files["eps.png"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch x) (w) file\nshowpage\n"
    for number, path in enumerate((str(server.folder / "decoy.png"), "../../decoy.png", "| touch x")):
        content = labelme(imagePath=path, imageData="%pipe%touch x", imageHeight=1, imageWidth=1)
        files[f"{number}.json"] = json.dumps(content).encode()
    for name, content in files.items():
        path = client.upload(name, content)
        words = refusal(client, path) if place == "picture" else refusal(client, plain, path)
        assert words
    assert names
    assert not marker.exists()
    assert server.watched() == ""


def test_labelme_mask_is_read_without_the_files_it_names(server, client):
    content = labelme(imagePath=str(server.folder / "decoy.png"), imageHeight=64, imageWidth=96)
    path = client.upload("a.json", json.dumps(content).encode())
    assert client.compare(client.upload("a.png", picture()), path)[0]["true_mask"] is True
    assert server.watched() == ""


# --- many at once


def test_eight_visitors_at_once_get_the_answers_they_would_get_alone(server, capsys):
    assert crowd(server, rounds=1, visitors=8, requests=16, things=3) == []
    assert "0 faults" in capsys.readouterr().out


def test_client_of_gradio_is_served(server):
    from gradio_client import Client as GradioClient
    from gradio_client import handle_file

    path = server.folder / "mine.png"
    path.write_bytes(picture())
    asker = GradioClient(f"http://127.0.0.1:{PORT}/", verbose=False, download_files=False)
    numbers, _ = asker.predict(handle_file(str(path)), None, ["plain", "cbam"], 0.5, api_name="/compare")
    assert numbers["picture"] == {"height": 64, "width": 96}


def test_more_than_may_wait_are_told_busy(client):
    data = {"data": [file(client.upload("a.png", picture(900, 900))), None, ["plain", "cbam"], 0.5]}
    answers = [client.ask("POST", "/gradio_api/call/compare", data) for _ in range(WAITING + 14)]
    codes = [status for status, _, _ in answers]
    assert codes[:8] == [200] * 8
    assert set(codes) == {200, 503}
    busy = next(content for status, _, content in answers if status == 503)
    assert json.loads(busy)["detail"].startswith(f"The server is busy: {WAITING} requests are waiting already.")
    for _ in range(600):  # the ones that wait are answered, and then there is room again
        try:
            assert client.compare(client.upload("a.png", picture()))
            return
        except BusyError:
            time.sleep(0.5)
    raise AssertionError("never ready again")


# --- the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_files_are_gone_when_the_app_ends(tmp_path, number):
    with served(tmp_path, ENDED_PORT) as running:
        client = Client(ENDED_PORT)
        client.compare(client.upload("a.png", picture()))
        assert len(running.kept()) >= 2
        running.process.send_signal(number)
        running.process.wait(30)
    assert not list(tmp_path.glob("seglab-app-*"))
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".zip")]


def test_sigterm_ends_app_py_and_removes_its_files(tmp_path):
    port = free_port()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("GRADIO_TEMP_DIR", None)
    started = time.monotonic()
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--no-browser"]
    app = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        while time.monotonic() - started < 120 and app.poll() is None:
            try:
                Client(port).ask("GET", "/", wait=5)
                break
            except OSError:
                time.sleep(0.2)
        print(f"answered after {time.monotonic() - started:.1f} s")
        assert list(tmp_path.glob("seglab-app-*"))
        app.send_signal(signal.SIGTERM)
        assert app.wait(timeout=30) in (0, 130), app.stdout.read()
        assert not list(tmp_path.glob("seglab-app-*"))
    finally:
        app.kill()


def test_public_app_warns_and_trains_nothing(public, server):
    assert "warning: the page answers anyone who reaches 0.0.0.0 as demo.example.org" in public.printed()
    assert "Training is off" in public.printed()
    training = []
    for client in (Client(PUBLIC_PORT, "demo.example.org"), Client(PORT)):
        config = json.loads(client.ask("GET", "/config")[2])
        training.append([one for one in config["components"] if one["props"].get("elem_id") == "zip"])
    assert training[0] == []
    assert training[1]  # where the page is one's own it is there


def test_taken_port_is_one_line(server):
    code = "import sys; from seglab import cli, serving; serving.find_models = list; sys.exit(cli.main())"
    command = [sys.executable, "-c", code, "app", "--port", str(PORT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{PORT}" in done.stderr
    assert "Traceback" not in done.stderr
