"""Checkpoints that are damaged, foreign or hostile: refused in one line that names the file, and nothing runs."""

import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad_case import encoded, labelme, link_to, picture, pipe, put, require_refused, run, save_folder, save_tiny
from safetensors.torch import save as dump_tensors

from seglab.checkpoint import load_model
from seglab.export import to_onnx

ROOT = Path(__file__).parents[2]
Content = Callable[[bytes], Any]


def parts(content: bytes) -> tuple[dict[str, Any], dict[str, Any], dict[str, torch.Tensor]]:
    """Header, description and tensors of a whole file."""
    from safetensors.torch import load

    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["seglab"]), load(content)


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """The hash of tensors as `seglab.checkpoint` describes it, written anew."""
    result = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        result.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode() + tensor.numpy().tobytes())
    return result.hexdigest()


def forged(content: bytes, tensors: Callable[[dict[str, torch.Tensor]], Any] | None = None, **changes: Any) -> bytes:
    """The file with other tensors or another description, its hashes right: as somebody hostile would write it."""
    _, about, weights = parts(content)
    if tensors is not None:
        tensors(weights)
    about = {**about, "sha256": digest(weights), **changes}
    text = json.dumps({key: value for key, value in about.items() if value != "left out"})
    metadata = {"format": "seglab-model-1", "seglab": text, "seglab_sha256": hashlib.sha256(text.encode()).hexdigest()}
    return bytes(dump_tensors(weights, metadata=metadata))


def with_header(content: bytes, text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text + content[-100:]


def flip(content: bytes, at: float) -> bytes:
    place = int(len(content) * at)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def first(weights: dict[str, torch.Tensor]) -> str:
    return next(name for name in sorted(weights) if weights[name].is_floating_point() and weights[name].numel() > 1)


def change_first(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda weights: weights.update({first(weights): function(weights[first(weights)])})


def with_value(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[0] = value
        return tensor

    return change


def prefixed(weights: dict[str, torch.Tensor]) -> None:
    for name in list(weights):
        weights[f"module.{name}"] = weights.pop(name)


def saved(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


FOREIGN = "must be a seglab model (.safetensors)"
NOT_WHOLE = "must be a whole safetensors file"
CHECKPOINTS: dict[str, tuple[Content, str]] = {
    "zero bytes": (lambda content: b"", "is empty (0 bytes)"),
    "one byte": (lambda content: b"x", FOREIGN),
    "text": (lambda content: "weights", FOREIGN),
    "web page": (lambda content: "<!DOCTYPE html><html>", FOREIGN),
    "LFS pointer": (lambda content: "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", FOREIGN),
    "zeros": (lambda content: bytes(1000), FOREIGN),
    "picture": (lambda content: encoded(picture()), FOREIGN),
    "ZIP": (lambda content: zipped({"a": b"b"}), FOREIGN),
    "state of torch.save": (lambda content: saved({"weight": torch.zeros(3)}), FOREIGN),
    "pickle": (lambda content: pickle.dumps({"weight": [1.0]}), FOREIGN),
    "cut to 4 bytes": (lambda content: content[:4], FOREIGN),
    "cut in the header": (lambda content: content[:200], FOREIGN),
    "cut in the data": (lambda content: content[: len(content) // 2], NOT_WHOLE),
    "cut by a byte": (lambda content: content[:-1], NOT_WHOLE),
    "a byte added": (lambda content: content + b"x", NOT_WHOLE),
    "zeros at the end": (lambda content: content[:-64] + bytes(64), "is damaged"),
    "bit flipped in the data": (lambda content: flip(content, 0.9), "is damaged"),
    "bit flipped in the length": (lambda content: bytes([content[0] ^ 1]) + content[1:], ""),
    "length of the header huge": (lambda content: struct.pack("<Q", 2**63) + content[8:], FOREIGN),
    "header no JSON": (lambda content: with_header(content, b"{" * 50), FOREIGN),
    "header deep": (lambda content: with_header(content, b'{"__metadata__":' + b"[" * 50_000), FOREIGN),
    "header a list": (lambda content: with_header(content, b"[]"), FOREIGN),
    "of another program": (lambda content: bytes(dump_tensors({"a": torch.zeros(2)})), FOREIGN),
    "of another program, with notes": (lambda content: bytes(dump_tensors({"a": torch.zeros(2)}, {"a": "b"})), FOREIGN),
    "description changed": (lambda content: content.replace(b"Tiny", b"Tidy", 1), "is damaged"),
    "unknown model": (lambda content: forged(content, model="gpt"), "'gpt'"),
    "model a path": (lambda content: forged(content, model="../../etc/passwd"), "does not have"),
    "model a number": (lambda content: forged(content, model=5), "wrong model"),
    "own network": (lambda content: forged(content, model="custom"), "network of one's own"),
    "unknown knob": (lambda content: forged(content, knobs={"depth_of_sea": 4}), "cannot be built"),
    "knob of another kind": (lambda content: forged(content, knobs={"width": "wide"}), "cannot be built"),
    "knob that asks for memory": (lambda content: forged(content, knobs={"width": 10**6}), ""),
    "knob that asks for other weights": (lambda content: forged(content, knobs={"weights": "/etc/passwd"}), "complete"),
    "no classes": (lambda content: forged(content, classes=[]), "class"),
    "classes of numbers": (lambda content: forged(content, classes=[1, 2]), "text"),
    "three classes": (lambda content: forged(content, classes=["a", "b", "c"]), "as many"),
    "number of classes wrong": (lambda content: forged(content, num_classes=3, classes=["a", "b", "c"]), "shape"),
    "number of classes huge": (lambda content: forged(content, num_classes=10**9), "number of classes"),
    "size 0": (lambda content: forged(content, size=0), "size"),
    "size huge": (lambda content: forged(content, size=10**9), "size"),
    "size left out": (lambda content: forged(content, size="left out"), "incomplete"),
    "card a list": (lambda content: forged(content, card=[]), "wrong card"),
    "entry added": (lambda content: forged(content, evil="x"), "incomplete"),
    "hash of other tensors": (lambda content: forged(content, sha256="0" * 64), "is damaged"),
    "NaN": (lambda content: forged(content, change_first(with_value(float("nan")))), "finite"),
    "infinity": (lambda content: forged(content, change_first(with_value(float("inf")))), "finite"),
    "whole numbers": (lambda content: forged(content, change_first(lambda one: one.to(torch.int64))), "int64"),
    "another shape": (lambda content: forged(content, change_first(lambda one: one.flatten())), "shape"),
    "tensor missing": (lambda content: forged(content, lambda weights: weights.pop(first(weights))), "missing"),
    "tensor added": (lambda content: forged(content, lambda weights: weights.update(x=torch.zeros(2))), "unknown"),
    "names with module.": (lambda content: forged(content, prefixed), "missing"),
    "no tensors": (lambda content: forged(content, lambda weights: weights.clear()), "missing"),
    "named pipe": (lambda content: pipe, "must be a file"),
    "dead link": (lambda content: link_to("gone"), "must exist"),
    "circle of links": (lambda content: link_to("bad.safetensors"), "bad.safetensors"),
}  # fmt: skip


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_bad_checkpoint_is_one_line_and_no_mask(name, tiny, tmp_path):
    content, said = CHECKPOINTS[name]
    bad = put(tmp_path / "bad.safetensors", content(tiny.read_bytes()))
    picture().save(tmp_path / "a.png")
    out = tmp_path / "new" / "out"
    require_refused(["predict", tmp_path / "a.png", "--model", bad, "--out", out], ["bad.safetensors", said], out)


@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt", ".bin", ".h5", ".pkl", ".onnx", ".npz", ""])
def test_other_kinds_of_files_are_refused_by_their_content(ending, tmp_path):
    bad = put(tmp_path / f"bad{ending}", saved({"state_dict": {"weight": torch.zeros(3)}}))
    picture().save(tmp_path / "a.png")
    out = tmp_path / "new" / "out"
    require_refused(["predict", tmp_path / "a.png", "--model", bad, "--out", out], [f"bad{ending}"], out)


def test_whole_files_give_the_same_masks_whatever_their_precision_and_name(tiny, tmp_path):
    picture().save(tmp_path / "a.png")
    masks = []
    for name, content in (("other name.bin", tiny.read_bytes()), ("forged.safetensors", forged(tiny.read_bytes()))):
        (tmp_path / name).write_bytes(content)
        out = tmp_path / f"out {name}"
        assert run("predict", tmp_path / "a.png", "--model", tmp_path / name, "--out", out).code == 0
        masks.append((out / "a.png").read_bytes())
    run("predict", tmp_path / "a.png", "--model", tiny, "--out", tmp_path / "out")
    assert masks == [(tmp_path / "out" / "a.png").read_bytes()] * 2


@pytest.mark.parametrize("change", ["cut", "flip", "text", "empty", "added"])
def test_bad_onnx_file_is_one_line(change, tiny, tmp_path):
    pytest.importorskip("onnxruntime")
    to_onnx(tiny, tmp_path / "good.onnx")
    content = (tmp_path / "good.onnx").read_bytes()
    bad = {"cut": content[:-9], "flip": flip(content, 0.5), "text": b"onnx", "empty": b"", "added": content + b"\0\0"}
    put(tmp_path / "bad.onnx", bad[change])
    picture().save(tmp_path / "a.png")
    out = tmp_path / "new" / "out"
    require_refused(["predict", tmp_path / "a.png", "--model", tmp_path / "bad.onnx", "--out", out], ["bad.onnx"], out)


# --- run folders and training states

SETTINGS = ["--dataset", "synthetic", "epochs=1", "size=32", "batch_size=4", "model.width=4", "data.size=32"]
SETTINGS += ["data.count=8", "workers=0", "device=cpu"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "r"
    assert run("train", "unet", "bce_dice", "--out", out, *SETTINGS).code == 0
    return out


class Payload:
    """Pickles as a call of `os.system`."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def hostile(marker: Path) -> dict[str, bytes]:
    """Files that run a command in a careless reader, in four spellings."""
    payload = Payload(f"touch {marker}")
    old = io.BytesIO()
    torch.save(payload, old, _use_new_zipfile_serialization=False)
    array = io.BytesIO()
    np.save(array, np.array([payload], dtype=object), allow_pickle=True)
    return {"zip": saved(payload), "old": old.getvalue(), "bare": pickle.dumps(payload), "array": array.getvalue()}


@pytest.mark.parametrize("kind", ["zip", "old", "bare", "array"])
def test_hostile_training_state_is_refused_and_does_nothing(kind, finished, tmp_path):
    import shutil

    marker = tmp_path / "marker"
    shutil.copytree(finished, tmp_path / "run")
    for name in ("last.pt", "previous.pt"):
        if (tmp_path / "run" / name).exists():
            (tmp_path / "run" / name).write_bytes(hostile(marker)[kind])
    words = ["train", "unet", "bce_dice", "--out", tmp_path / "run", *SETTINGS, "epochs=2"]
    ran = run(*words)
    assert ran.code == 2, ran
    assert "last.pt" in ran.err
    assert ran.err.count("\n") == 1
    assert not marker.exists()


@pytest.mark.parametrize("name", ["cut", "zeros", "bomb", "web page"])
def test_bad_training_state_is_one_line_and_the_model_stays(name, finished, tmp_path):
    import shutil

    shutil.copytree(finished, tmp_path / "run")
    content = (finished / "last.pt").read_bytes()
    bad = {"cut": content[:-99], "zeros": bytes(len(content)), "bomb": zipped({"archive/data.pkl": bytes(2**27)}),
           "web page": b"<html>"}[name]  # fmt: skip
    for file in ("last.pt", "previous.pt"):
        if (tmp_path / "run" / file).exists():
            (tmp_path / "run" / file).write_bytes(bad)
    best = (tmp_path / "run" / "best.safetensors").read_bytes()
    ran = run("train", "unet", "bce_dice", "--out", tmp_path / "run", *SETTINGS, "epochs=2")
    assert ran.code == 2, ran
    assert ran.err.count("\n") == 1
    assert "last.pt" in ran.err
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == best


def test_run_folder_without_a_model_is_one_line(tmp_path):
    (tmp_path / "run").mkdir()
    picture().save(tmp_path / "a.png")
    require_refused(["predict", tmp_path / "a.png", "--model", tmp_path / "run", "--out", tmp_path / "o"], ["run"])


@pytest.mark.parametrize("option", ["--init"])
def test_start_from_a_bad_checkpoint_is_one_line_and_no_run(option, tiny, tmp_path):
    bad = put(tmp_path / "bad.safetensors", flip(tiny.read_bytes(), 0.9))
    out = tmp_path / "new" / "run"
    require_refused(["train", "unet", "bce_dice", "--out", out, *SETTINGS, option, bad], ["bad.safetensors"], out)
    wider = [word.replace("width=4", "width=8") for word in SETTINGS]
    require_refused(
        ["train", "unet", "bce_dice", "--out", out, *wider, option, tiny], ["tiny.safetensors", "shape"], out
    )


SCRIPT = """
import json, sys
from seglab.cli import main
for words in json.load(open(sys.argv[1])):
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    print("code", code, flush=True)
"""


def test_hostile_files_start_no_program_in_a_process_of_its_own(tiny, tmp_path):
    """Programs that a decoder or a careless reader might start lie first on PATH as traps; unsafe loads are on."""
    traps, marker = tmp_path / "bin", tmp_path / "marker"
    traps.mkdir()
    for name in (
        "gs",
        "git",
        "sh",
        "bash",
        "convert",
        "magick",
        "ffmpeg",
        "xv",
        "display",
        "eog",
        "touch",
        "curl",
        "wget",
    ):
        (traps / name).write_text(f"#!{sys.executable}\nopen({str(marker)!r}, 'a').write({name!r})\n")
        (traps / name).chmod(0o755)
    commands: list[list[str]] = []
    out = str(tmp_path / "out")
    picture().save(tmp_path / "a.png")
    for kind, content in hostile(marker).items():
        for ending in (".pt", ".safetensors", ".bin"):
            bad = put(tmp_path / f"{kind}{ending}", content)
            commands.append(["predict", str(tmp_path / "a.png"), "--model", str(bad), "--out", out])
        commands.append(["predict", str(put(tmp_path / f"{kind}.png", content)), "--model", str(tiny), "--out", out])
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch x) (w) file\nshowpage\n"
    commands.append(["predict", str(put(tmp_path / "eps.png", eps)), "--model", str(tiny), "--out", out])
    for number, change in enumerate(
        ({"imagePath": "| touch x"}, {"imagePath": "$(touch x).png"}, {"imageData": "%pipe%"})
    ):
        folder = tmp_path / f"l{number}"
        folder.mkdir()
        put(folder / "a.json", labelme(**change))
        commands.append(["import", "labelme", str(folder), str(tmp_path / "imported")])
    data = save_folder(tmp_path / "data")
    put(data / "masks" / "a.png", hostile(marker)["bare"])
    put(data / "splits.json", "!!python/object/apply:os.system ['touch x']")
    commands.append(["check-data", str(data)])
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    environment = {**os.environ, "PATH": f"{traps}:{os.environ['PATH']}", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "commands.json")],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=600,
    )  # fmt: skip
    codes = [line for line in done.stdout.splitlines() if line.startswith("code")]
    assert len(codes) == len(commands), done.stderr
    assert set(codes[:-1]) == {"code 2"}
    assert codes[-1] == "code 1"  # check-data names both
    assert "Traceback" not in done.stderr
    assert not marker.exists()
    assert not (tmp_path / "x").exists()
    assert not Path(out).exists()


def test_hostile_pickle_would_run_in_a_careless_reader(tmp_path):
    """The trap works: without it the tests above would prove nothing."""
    marker = tmp_path / "marker"
    pickle.loads(hostile(marker)["bare"])
    assert marker.exists()


def test_description_is_checked_before_memory_is_asked_for(tiny, tmp_path):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bad = put(tmp_path / "bad.safetensors", forged(tiny.read_bytes(), knobs={"width": 4096}))
    with pytest.raises(ValueError, match="bad.safetensors"):
        load_model(bad)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_forger_writes_what_the_reader_takes(tmp_path):
    """Otherwise every forged file above would be refused for its hashes alone."""
    content = forged(save_tiny(tmp_path / "t.safetensors").read_bytes(), title="Forged")
    model, about = load_model(put(tmp_path / "f.safetensors", content))
    assert about.title == "Forged"
    assert not model.training
