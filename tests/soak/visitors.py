"""Let visitors use the app at once, some of them hostile, and hold every answer against the one given alone.

    python tests/soak/visitors.py [ROUNDS] [--visitors N] [--requests N] [--small]

The app runs in a process of its own, with the shipped models, or with two small ones. In every round each visitor does
ten things by chance: asks `/compare`, uses the page (compare, then another threshold) with a session of its own, sends
a file that is no picture, hangs up in an upload, hangs up while waiting. After the rounds that many requests to
`/compare` come at the same moment. Nobody may get an answer other than the one given alone, or an error other than
"busy", after which a visitor waits and asks again. Memory and open files must stay where they were after the first
rounds, and no file may be left at the end. Exit code 1 if one of this is not so.
"""

import argparse
import hashlib
import io
import json
import random
import secrets
import socket
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from app_process import BusyError, Client, RefusedError, Server, file, form, served  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

PORT = 7950
SIZES = [(96, 64), (64, 96), (300, 200), (512, 512), (640, 480), (800, 600), (1024, 768), (257, 129)]
MOST_MEMORY = 3 * 2**30
BAD = {
    "empty.png": b"", "text.png": b"not a picture", "page.png": b"<!DOCTYPE html><html></html>",
    "cut.png": b"\x89PNG\r\n\x1a\n\0",
    "a.pdf": b"%PDF-1.7", "a.gif": b"GIF89a", "lfs.png": b"version https://git-lfs.github.com/spec/v1\n",
}  # fmt: skip


class Case:
    """A picture with its mask, and what is answered when nobody else asks."""

    def __init__(self, number: int) -> None:
        chance = random.Random(number)
        width, height = SIZES[number % len(SIZES)]
        pixels = np.random.default_rng(number).integers(90, 160, (height, width, 3), np.uint8)
        image, mask = Image.fromarray(pixels), Image.new("L", (width, height))
        x, y, r = chance.randrange(width), chance.randrange(height), min(width, height) // 3
        ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=(60 + number * 9, 40, 30))
        ImageDraw.Draw(mask).ellipse((x - r, y - r, x + r, y + r), fill=255)
        self.picture, self.mask = (_png(one) for one in (image, mask))
        self.answers: dict[float, tuple[Any, str]] = {}


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


class Crowd:
    """The visitors, what they have seen, and what was wrong with it."""

    def __init__(self, server: Server, visitors: int, things: int) -> None:
        self.server = server
        self.things = things  # that each visitor does in a round
        self.visitors = visitors
        self.cases = [Case(number) for number in range(visitors)]
        self.tally: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.lock = threading.Lock()
        config = json.loads(Client(server.port).ask("GET", "/config")[2])
        names = {event["api_name"]: event for event in config["dependencies"]}
        self.kinds = {one["id"]: one for one in config["components"]}
        self.compare, self.move = names["compare_1"], names["move"]
        self.models = self.kinds[names["compare"]["inputs"][2]]["props"]["value"]

    def count(self, what: str, fault: str = "") -> None:
        """Note that something was done, and what was wrong with it."""
        with self.lock:
            self.tally[what] += 1
            if fault:
                self.wrong.append(f"{what}: {fault}")

    def patient(self, ask: Any, *arguments: Any) -> Any:
        """The answer, after as many busy ones as it takes."""
        while True:
            try:
                return ask(*arguments)
            except BusyError:
                self.count("busy")
                time.sleep(random.uniform(0.2, 1.0))

    def alone(self) -> None:
        """What each case gives when nobody else asks."""
        client = Client(self.server.port)
        for case in self.cases:
            for threshold in (0.5, 0.7):
                case.answers[threshold] = self._compare(client, case, threshold)

    def _compare(self, client: Client, case: Case, threshold: float) -> tuple[Any, str]:
        """The answer of `/compare` without what differs from run to run: numbers, and a hash of every file."""
        paths = [
            self.patient(client.upload, name, data) for name, data in (("p.png", case.picture), ("m.png", case.mask))
        ]
        numbers, archive = self.patient(client.compare, *paths, list(self.models), threshold)
        for model in numbers["models"]:
            del model["numbers"]["time_ms"]
        digest = hashlib.sha256()
        with zipfile.ZipFile(io.BytesIO(client.fetch(archive["path"]))) as files:
            for name in sorted(files.namelist()):
                if name.endswith(".png"):
                    digest.update(name.encode() + files.read(name))
        return numbers, digest.hexdigest()

    def visit(self, number: int, seed: int) -> None:
        """A few things, by chance."""
        chance, client, case = random.Random(f"{number} {seed}"), Client(self.server.port), self.cases[number]
        ways = [
            self.ask,
            self.ask,
            self.ask,
            self.use_page,
            self.use_page,
            self.send_bad,
            self.leave_upload,
            self.leave,
        ]
        for _ in range(self.things):
            way = chance.choice(ways)
            try:
                self.count(way.__name__.replace("_", " "), way(client, case, chance) or "")
            except (RefusedError, OSError, KeyError, ValueError, StopIteration) as error:
                self.count(way.__name__.replace("_", " "), repr(error)[:300])

    def ask(self, client: Client, case: Case, chance: random.Random) -> str:
        """One request as a program makes it."""
        threshold = chance.choice((0.5, 0.7))
        got = self._compare(client, case, threshold)
        return "" if got == case.answers[threshold] else f"differs from the answer alone: {got[0]}"

    def use_page(self, client: Client, case: Case, chance: random.Random) -> str:
        """As the page does: compare, then move the threshold; both verdicts must be this visitor's."""
        session = secrets.token_hex(6)
        paths = [
            self.patient(client.upload, name, data) for name, data in (("p.png", case.picture), ("m.png", case.mask))
        ]
        data = [self.kinds[one]["props"].get("value") for one in self.compare["inputs"]]
        at = [self.kinds[one]["type"] for one in self.compare["inputs"]].index("image")
        data[at : at + 3] = [file(paths[0]), file(paths[1]), list(self.models)]
        for threshold, event, values in ((0.5, self.compare, data), (0.7, self.move, [None, 0.7])):
            answer = self.patient(client.event, event["id"], values, session)
            if not answer["success"]:
                return str(answer["output"])[:300]
            said = json.dumps(answer["output"], ensure_ascii=False).replace("\\", "")  # Markdown's and JSON's
            if case.answers[threshold][0]["verdict"].replace("\\", "") not in said:
                return f"shows another verdict at {threshold}: {said[:1500]}"
        return ""

    def send_bad(self, client: Client, case: Case, chance: random.Random) -> str:
        """A file that is no picture; the answer must say so."""
        name, content = chance.choice(sorted(BAD.items()))
        path = self.patient(client.upload, name, content)
        try:
            self.patient(client.compare, path, None, list(self.models))
        except RefusedError as error:
            words = json.loads(str(error))["error"]
            return "" if words and "picture" in words else f"{name}: {words}"
        return f"{name} was accepted"

    def leave_upload(self, client: Client, case: Case, chance: random.Random) -> str:
        """Hang up in the middle of an upload."""
        body, kind = form(("files", "a.png", case.picture))
        line = socket.create_connection(("127.0.0.1", self.server.port))
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        line.sendall(
            (head + f"Content-Type: {kind['Content-Type']}\r\n\r\n").encode() + body[: chance.randrange(len(body))]
        )
        time.sleep(chance.uniform(0, 0.1))
        line.close()
        return ""

    def leave(self, client: Client, case: Case, chance: random.Random) -> str:
        """Ask, and hang up before the answer."""
        path = self.patient(client.upload, "p.png", case.picture)
        body = json.dumps({"data": [file(path), None, list(self.models), 0.5]}).encode()
        line = socket.create_connection(("127.0.0.1", self.server.port))
        head = f"POST /gradio_api/call/compare HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        line.sendall((head + "Content-Type: application/json\r\n\r\n").encode() + body)
        time.sleep(chance.uniform(0, 0.1))
        line.close()
        return ""

    def memory(self) -> int:
        """Memory that the app has now, in bytes."""
        fields = Path(f"/proc/{self.server.process.pid}/status").read_text().split("VmRSS:")[1].split()
        return int(fields[0]) * 1024

    def open_files(self) -> int:
        """Open files, pipes and connections of the app."""
        return len(list(Path(f"/proc/{self.server.process.pid}/fd").iterdir()))

    def settle(self) -> tuple[int, int]:
        """Memory and open files when nothing runs any more."""
        client, case = Client(self.server.port), self.cases[0]
        self._compare(client, case, 0.5)  # waits behind whatever is still in the queue
        time.sleep(2.0)
        return self.memory(), self.open_files()


def crowd(server: Server, rounds: int, visitors: int, requests: int, things: int = 10) -> list[str]:
    """All rounds and the requests at once; what was wrong."""
    began, people = time.monotonic(), Crowd(server, visitors, things)
    people.alone()
    seen = [people.settle()]
    for number in range(rounds):
        with ThreadPoolExecutor(visitors) as pool:
            list(pool.map(lambda visitor, seed=number: people.visit(visitor, seed), range(visitors)))
        seen.append(people.settle())
        print(f"round {number + 1}: {seen[-1][0] / 2**20:.0f} MB, {seen[-1][1]} open files, {dict(people.tally)}, "
              f"{len(people.wrong)} faults", flush=True)  # fmt: skip
    clients = Client(server.port)
    with ThreadPoolExecutor(requests) as pool:
        jobs = [(people.cases[number % visitors], random.Random(number)) for number in range(requests)]
        for fault in pool.map(lambda job: people.ask(clients, *job), jobs):
            people.count("at once", fault)
    seen.append(people.settle())
    print(
        f"{requests} at once: {seen[-1][0] / 2**20:.0f} MB, {seen[-1][1]} open files, {dict(people.tally)}", flush=True
    )
    most = max(memory for memory, _ in seen)
    if most > MOST_MEMORY:
        people.wrong.append(f"memory: {most / 2**20:.0f} MB")
    half = seen[1 + len(seen) // 2] if len(seen) > 3 else seen[-2]
    if seen[-1][0] > 1.1 * half[0] + 50 * 2**20:
        people.wrong.append(f"memory grows: {[round(memory / 2**20) for memory, _ in seen]} MB")
    if seen[-1][1] > seen[1][1] + 8:
        people.wrong.append(f"open files grow: {[files for _, files in seen]}")
    people.wrong += [f"watched: {line}" for line in server.watched().splitlines()]
    done = sum(count for what, count in people.tally.items() if what != "busy")
    print(f"{done} things done in {time.monotonic() - began:.0f} s, busy {people.tally['busy']} times, most memory "
          f"{most / 2**20:.0f} MB, {len(people.wrong)} faults", flush=True)  # fmt: skip
    return people.wrong


def main(rounds: int, visitors: int = 8, requests: int = 64, *, small: bool = False, port: int = PORT) -> list[str]:
    """Start the app, let them in, end the app; returns what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        with served(Path(folder), port, shipped=not small) as server:
            wrong = crowd(server, rounds, visitors, requests)
        wrong += [f"left behind: {path}" for path in Path(folder).glob("seglab-app-*")]
    print("\n".join(wrong[:20]) or "every answer as when alone; nothing left behind")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=6)
    parser.add_argument("--visitors", type=int, default=8)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--small", action="store_true", help="two small models, not the shipped ones")
    given = parser.parse_args()
    sys.exit(1 if main(given.rounds, given.visitors, given.requests, small=given.small) else 0)
