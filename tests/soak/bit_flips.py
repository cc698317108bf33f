"""Flip one bit at a time in checkpoints of both formats and count how many are found.

    python tests/soak/bit_flips.py [COUNT]      COUNT flips in each format, 10000 unless told

A flip counts as found only if the file is refused with one line that names it. Exit code 1 if one is not.
"""

import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from seglab.checkpoint import Description, load_model, load_state, save_model, save_state  # noqa: E402
from seglab.models import build_model  # noqa: E402


def places(content: bytes, count: int, rng: np.random.Generator, small: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(byte, bit) of every flip: as many in each of the small ranges as anywhere, for they are the harder ones."""
    ranges = [*small, (0, len(content))]
    drawn = [(int(rng.integers(*ranges[number % len(ranges)])), int(rng.integers(8))) for number in range(count)]
    return sorted(drawn)


def flip_all(path: Path, load: Callable[[Path], object], flips: list[tuple[int, int]]) -> Counter[str]:
    """How many flips were refused in one line, in other words, or not at all."""
    result: Counter[str] = Counter()
    for at, bit in flips:
        with path.open("r+b") as file:
            file.seek(at)
            (old,) = file.read(1)
            file.seek(at)
            file.write(bytes([old ^ 1 << bit]))
        try:
            load(path)
            result["missed"] += 1
            print(f"missed: {path.name} byte {at} bit {bit}")
        except ValueError as error:
            result["refused" if str(path) in str(error) and "\n" not in str(error) else "other words"] += 1
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([old]))
    load(path)  # all bits are as they were
    return result


def flip_model(folder: Path, count: int, rng: np.random.Generator) -> Counter[str]:
    """Flips in a .safetensors file: in its description, in its header, and anywhere."""
    path = folder / "m.safetensors"
    about = Description("unet", {"width": 4}, 1, ("background", "lesion"), 64, "Small", {"data": {"n": 3}})
    save_model(path, build_model("unet", 1, width=4), about)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    description = content.index(b'"__metadata__"'), content.index(b'"seglab_sha256"') + 82
    return flip_all(path, load_model, places(content, count, rng, [description, (0, 8 + length)]))


def flip_state(folder: Path, count: int, rng: np.random.Generator) -> Counter[str]:
    """Flips in a last.pt: in its pickle, in its directory and hash, and anywhere."""
    path = folder / "last.pt"
    model = build_model("unet", 1, width=4)
    optimizer = torch.optim.Adam(model.parameters())
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    save_state(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3})
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    (directory,) = struct.unpack("<I", content[end + 16 : end + 20])
    pickled = content.index(b"data.pkl"), content.index(b"data/0")
    return flip_all(path, load_state, places(content, count, rng, [pickled, (directory, len(content))]))


def main(count: int, seed: int = 0) -> int:
    """Both formats; returns how many flips were not found as they should."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, flip in (("safetensors", flip_model), ("last.pt", flip_state)):
            result = flip(Path(folder), count, np.random.default_rng(seed))
            print(f"{name}: {count} flips, {dict(result)}", flush=True)
            wrong += count - result["refused"]
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000) else 0)
