"""One reader and one writer: what is damaged, foreign or hostile is refused, and nothing in a file runs."""

import json
import pickle
import resource
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models.sizes import SMALL
from safetensors.torch import load_file, save_file
from torch import nn

from seglab import checkpoint
from seglab.checkpoint import (
    Description,
    load_into,
    load_model,
    load_state,
    not_finite,
    require_fit,
    save_model,
    save_state,
)
from seglab.models import Segmenter, build_model, list_models

ABOUT = Description("unet", {"width": 4}, 1, ("background", "lesion"), 64, "Small", {"data": {"n": 3}})


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(0)
    return build_model("unet", 1, width=4)


@pytest.fixture(scope="module")
def content(model, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "m.safetensors"
    save_model(path, model, ABOUT)
    return path.read_bytes()


@pytest.fixture
def path(content, tmp_path) -> Path:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    return path


def header_of(content: bytes) -> dict[str, object]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])


def with_header(content: bytes, header: object) -> bytes:
    """The file with another header before the same tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def described(content: bytes, **changes: object) -> bytes:
    """The file with another description, rightly hashed, as an attacker would write it."""
    header = header_of(content)
    text = json.dumps(json.loads(header["__metadata__"]["seglab"]) | changes)
    header["__metadata__"] |= {"seglab": text, "seglab_sha256": checkpoint._text_digest(text)}
    return with_header(content, header)


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def same_weights_as(tensors: dict[str, torch.Tensor], model: nn.Module) -> bool:
    return all(torch.equal(tensors[name], value) for name, value in model.state_dict().items())


# --- what is written comes back


def test_round_trip_keeps_weights_and_description(path, model):
    loaded, about = load_model(path)
    assert same_weights(loaded, model)
    assert not loaded.training
    assert replace(about, sha256="") == ABOUT
    assert len(about.sha256) == 64


def test_loaded_model_gives_the_same_logits(path, model):
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(load_model(path)[0](picture), model.eval()(picture))


def test_same_model_gives_the_same_bytes(content, model, tmp_path):
    for _ in range(8):  # safetensors itself orders the header by chance
        save_model(tmp_path / "again.safetensors", model, ABOUT)
        assert (tmp_path / "again.safetensors").read_bytes() == content


def test_foreign_reader_of_safetensors_reads_the_tensors(path, model):
    assert same_weights_as(load_file(path), model)


@pytest.mark.parametrize("name", list_models())
def test_every_model_can_be_built_without_memory_before_it_is_built(name):
    knobs = build_model(name, 2, **SMALL.get(name, {})).knobs
    with torch.device("meta"):
        shape = build_model(name, 2, **knobs)
    assert all(value.is_meta for value in shape.state_dict().values())
    require_fit(shape, build_model(name, 2, **knobs).state_dict(), "model")


def test_attention_knobs_survive_the_file(tmp_path):
    model = build_model("unet", 2, width=4, cbam={"skip", "bottleneck"}, cbam_style="compact")
    save_model(tmp_path / "m", model, replace(ABOUT, knobs=model.knobs, num_classes=2))
    assert same_weights(load_model(tmp_path / "m")[0], model)


def test_half_precision_halves_the_file_and_rounds_the_weights(model, content, tmp_path):
    half = tmp_path / "half.safetensors"
    save_model(half, model, ABOUT, half=True)
    assert half.stat().st_size < 0.6 * len(content)
    loaded, _ = load_model(half)
    for (name, value), got in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert got.dtype == value.dtype, name
        assert torch.equal(got, value.half().to(value.dtype) if value.is_floating_point() else value), name


def test_weights_too_large_for_half_precision_are_refused(tmp_path):
    model = build_model("unet", 1, width=4)
    model.net.head.bias.data.fill_(1e5)
    with pytest.raises(ValueError, match=r"weights must be finite; got NaN or infinity in net.head.bias"):
        save_model(tmp_path / "m.safetensors", model, ABOUT, half=True)
    assert list(tmp_path.iterdir()) == []


def test_channels_last_weights_are_saved_like_others(content, model, tmp_path):
    last = build_model("unet", 1, width=4)
    last.load_state_dict(model.state_dict())
    save_model(tmp_path / "m", last.to(memory_format=torch.channels_last), ABOUT)
    assert (tmp_path / "m").read_bytes() == content


def test_file_from_before_the_description_had_a_hash_still_loads(content, model, tmp_path):
    header = header_of(content)
    del header["__metadata__"]["seglab_sha256"]
    (tmp_path / "old").write_bytes(with_header(content, header))
    loaded, about = load_model(tmp_path / "old")
    assert same_weights(loaded, model)
    assert about.title == "Small"


def test_load_into_fills_a_network_of_ones_own(tmp_path):
    torch.manual_seed(0)
    ours, other = Segmenter(nn.Conv2d(3, 1, 3, padding=1)), Segmenter(nn.Conv2d(3, 1, 3, padding=1))
    save_model(tmp_path / "m", ours, replace(ABOUT, model="custom", knobs={}))
    assert load_into(tmp_path / "m", other).title == "Small"
    assert same_weights(ours, other)


def test_network_of_ones_own_cannot_be_rebuilt_and_the_message_says_how_to_fill_it(tmp_path):
    save_model(tmp_path / "m", Segmenter(nn.Conv2d(3, 1, 1)), replace(ABOUT, model="custom", knobs={}))
    with pytest.raises(ValueError, match=r"m holds a network of one's own.*fill it with seglab.checkpoint.load_into"):
        load_model(tmp_path / "m")


def test_nothing_is_copied_unless_all_fits(path, model):
    other = build_model("unet", 1, width=5)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError, match="must hold .* of shape .*; got"):
        load_into(path, other)
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


# --- what is damaged is noticed


def loads_the_same_or_is_refused(path: Path, model: nn.Module) -> bool:
    """Whether a model file was refused; a file that loads must be what was written."""
    try:
        loaded, about = load_model(path)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert str(path) in message
        assert "\n" not in message
        return True
    assert same_weights(loaded, model)
    assert replace(about, sha256="") == ABOUT
    return False


def test_flipped_bits_anywhere_are_all_refused(path, content, model):
    rng = np.random.default_rng(0)
    (length,) = struct.unpack("<Q", content[:8])
    # A third of them in the description and a third in the header: small parts of the file, and the harder ones.
    text = content.index(b'"seglab":'), content.index(b'"seglab_sha256"')
    ranges = (text, (0, 8 + length), (0, len(content)))
    places = [place for low, high in ranges for place in rng.integers(low, high, 100)]
    refused = 0
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        refused += loads_the_same_or_is_refused(path, model)
    assert refused == 300


def test_cut_files_are_refused(path, content):
    rng = np.random.default_rng(1)
    for end in [0, 1, 7, 8, 9, len(content) - 1, *rng.integers(0, len(content), 44)]:
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="checkpoint .* (is empty|must be|is damaged)"):
            load_model(path)


@pytest.mark.parametrize("size", [1, 512, 4096])
def test_zeros_at_the_end_are_refused(path, content, size):
    path.write_bytes(content[:-size] + bytes(size))
    with pytest.raises(ValueError, match="is damaged: its tensors do not match the SHA-256"):
        load_model(path)
    path.write_bytes(content + bytes(size))
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        load_model(path)


def test_changed_description_is_noticed(path, content):
    header = header_of(content)
    header["__metadata__"]["seglab"] = header["__metadata__"]["seglab"].replace("Small", "Smell")
    path.write_bytes(with_header(content, header))
    with pytest.raises(ValueError, match="is damaged: its description does not match the SHA-256"):
        load_model(path)


# --- what is foreign or hostile is refused


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        bytes(100),
        b"\xff" * 100,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 21) + b'{"__metadata__": null}',
        struct.pack("<Q", 20000) + b"[" * 20000,
        struct.pack("<Q", 6000) + b"9" * 6000,
        pickle.dumps({"a": 1}),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, foreign):
    path = tmp_path / "other.safetensors"
    path.write_bytes(foreign)
    with pytest.raises(ValueError, match=r"checkpoint .*other.safetensors (must be a seglab model|is empty)") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_safetensors_of_others_are_refused(tmp_path, model):
    for metadata in (None, {"format": "pt"}, {"format": "seglab-model-9", "seglab": "{}"}):
        save_file(model.state_dict(), tmp_path / "m", metadata=metadata)
        with pytest.raises(ValueError, match="must be a seglab model"):
            load_model(tmp_path / "m")


def test_folder_and_missing_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a file; got a folder"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="none must exist; got no file of that name"):
        load_model(tmp_path / "none")


def test_huge_file_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(checkpoint.MAX_BYTES + 1)  # sparse: takes no room
    with pytest.raises(ValueError, match=r"must be smaller than 4 GiB; got 4\.0 GiB"):
        load_model(tmp_path / "huge")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nonet"}, "names the model 'nonet', which this version does not have"),
        ({"model": "../unet"}, "which this version does not have"),
        ({"model": "_weights"}, "which this version does not have"),
        ({"model": None}, "wrong model"),
        ({"knobs": {"width": 4.5}}, "cannot be built: width must be an integer"),
        ({"knobs": {"depth": 9}}, "cannot be built: knob of unet must be one of"),
        ({"knobs": {"width": 8}}, "must hold net.* of shape"),
        ({"knobs": {"width": 10**6}}, "must hold net.* of shape"),
        ({"knobs": {"width": 10**12}}, "cannot be built"),
        ({"knobs": {"width": 10**30}}, "cannot be built"),
        ({"knobs": {"cbam": ["skip"], "width": 4}}, "missing .*attention|missing .*skip|must hold the model's tensors"),
        ({"knobs": {"weights": "/etc/passwd"}}, "must be complete; got one that asks for other weights"),
        ({"model": "vgg16_unet", "knobs": {"weights": "torchvision"}}, "asks for other weights"),
        ({"knobs": [1]}, "wrong knobs"),
        ({"num_classes": 0}, "wrong number of classes or size"),
        ({"num_classes": 10**9}, "wrong number of classes or size"),
        ({"num_classes": True}, "wrong num_classes"),
        ({"num_classes": 3, "classes": ["a", "b", "c"]}, "must hold net.head.* of shape"),
        ({"size": 10**9}, "wrong number of classes or size"),
        ({"size": 31}, "wrong number of classes or size"),
        ({"classes": "ab"}, "description is incomplete: its classes are no list"),
        ({"classes": ["a", 3]}, "class names must be text"),
        ({"classes": ["a"]}, "class names are not as many"),
        ({"title": 3}, "wrong title"),
        ({"card": []}, "wrong card"),
        ({"sha256": "0" * 64}, "is damaged: its tensors do not match"),
        ({"surprise": 1}, "description is incomplete: .*surprise"),
    ],
)
def test_hostile_description_is_refused_without_building_anything_large(path, content, changes, message):
    path.write_bytes(described(content, **changes))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.mark.parametrize("missing", ["model", "knobs", "num_classes", "classes", "size"])
def test_description_without_a_field_is_refused(path, content, missing):
    header = header_of(content)
    text = json.loads(header["__metadata__"]["seglab"])
    del text[missing]
    header["__metadata__"] = {"format": checkpoint.FORMAT, "seglab": json.dumps(text)}
    path.write_bytes(with_header(content, header))
    with pytest.raises(ValueError, match=f"description is incomplete: .*{missing}"):
        load_model(path)


@pytest.mark.parametrize("value", ["3", "[]", "null", "{", '"x"'])
def test_description_of_another_kind_is_refused(path, content, value):
    header = header_of(content)
    header["__metadata__"] = {"format": checkpoint.FORMAT, "seglab": value}
    path.write_bytes(with_header(content, header))
    with pytest.raises(ValueError, match="description is incomplete"):
        load_model(path)


def rewritten(path: Path, change: object) -> None:
    """Write the file anew with changed tensors, rightly hashed."""
    tensors = load_file(path)
    change(tensors)
    text = json.loads(header_of(path.read_bytes())["__metadata__"]["seglab"])
    text["sha256"] = checkpoint._digest(tensors)
    save_file(tensors, path, metadata={"format": checkpoint.FORMAT, "seglab": json.dumps(text)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t["net.head.weight"].fill_(torch.nan),
            "NaN or infinity in net.head.weight",
        ),
        (lambda t: t["net.head.bias"].fill_(torch.inf), "must hold finite weights; got NaN or infinity in net.head.b"),
        (lambda t: t.update({"net.head.bias": torch.zeros(2)}), r"net.head.bias of shape \(1,\); got \(2,\)"),
        (
            lambda t: t.update({"net.head.bias": torch.zeros(1).int()}),
            "net.head.bias as torch.float32; got torch.int32",
        ),
        (lambda t: t.update({"net.head.bias": torch.zeros(1).cfloat()}), "as torch.float32; got torch.complex64"),
        (
            lambda t: t.update({"net.head.bias": torch.tensor([1e300], dtype=torch.float64)}),
            "finite weights; got NaN or infinity",
        ),
        (lambda t: t.pop("net.head.bias"), r"missing \['net.head.bias'\], unknown \[\]"),
        (lambda t: t.update({"extra": torch.zeros(1)}), r"missing \[\], unknown \['extra'\]"),
    ],
)
def test_well_hashed_tensors_that_do_not_fit_are_refused(path, change, message):
    rewritten(path, change)
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_model_with_nan_is_not_written_over_a_good_one(path, content, model):
    bad = build_model("unet", 1, width=4)
    bad.net.head.bias.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"NaN or infinity in net.head.bias\. .*was not written"):
        save_model(path, bad, ABOUT)
    assert path.read_bytes() == content


def test_card_that_json_cannot_hold_is_refused(path, content, model):
    with pytest.raises(ValueError, match="card and knobs must hold plain JSON values; got: .*set"):
        save_model(path, model, replace(ABOUT, card={"a": {1, 2}}))
    assert path.read_bytes() == content


# --- the state for resuming


@pytest.fixture
def state() -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "model": nn.Linear(30, 40).state_dict(),
        "epoch": 3,
        "best": 0.25,
        "history": [{"epoch": 1.0}],
        "none": None,
    }


def equal_states(first: dict[str, object], second: dict[str, object]) -> bool:
    def plain(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return (str(value.dtype), value.tolist())
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return value

    return plain(first) == plain(second)


def test_state_round_trip(tmp_path, state):
    save_state(tmp_path / "last.pt", state)
    assert equal_states(load_state(tmp_path / "last.pt"), state)


def test_flipped_bits_in_a_state_are_all_refused(tmp_path, state):
    path = tmp_path / "last.pt"
    save_state(path, state)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"^training state .*last.pt must be a whole seglab state; got: [^\n]*$"):
            load_state(path)


def test_state_that_is_replaced_is_kept_under_another_name(tmp_path):
    last, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    for epoch in (1, 2, 3):
        save_state(last, {"epoch": epoch}, previous=previous)
    assert [load_state(path)["epoch"] for path in (last, previous)] == [3, 2]
    assert sorted(tmp_path.iterdir()) == [last, previous]


def test_description_with_other_entries_than_ours_is_refused(path, content):
    header = header_of(content)
    header["__metadata__"]["seglab_sha257"] = header["__metadata__"].pop("seglab_sha256")
    path.write_bytes(with_header(content, header))
    with pytest.raises(
        ValueError, match="must be a seglab model .*; got a header with other entries than seglab writes"
    ):
        load_model(path)


def test_cut_states_are_refused(tmp_path, state):
    path = tmp_path / "last.pt"
    save_state(path, state)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for end in [0, 1, len(whole) - 1, len(whole) - 22, *rng.integers(0, len(whole), 46)]:
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="last.pt (must be a whole|is empty)"):
            load_state(path)
    path.write_bytes(whole[:-500] + bytes(500))
    with pytest.raises(ValueError, match="last.pt must be a whole"):
        load_state(path)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("kind", ["zip", "old", "bare"])
@pytest.mark.parametrize("unsafe_environment", [False, True])
def test_code_in_a_state_does_not_run(tmp_path, monkeypatch, kind, unsafe_environment):
    if unsafe_environment:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trap, path = tmp_path / "ran", tmp_path / "last.pt"
    if kind == "bare":
        path.write_bytes(pickle.dumps(Payload(trap)))
    else:
        torch.save({"model": Payload(trap)}, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(ValueError, match="must be a whole seglab state"):
        load_state(path)
    assert not trap.exists()


def test_code_in_a_model_file_does_not_run(tmp_path):
    trap, path = tmp_path / "ran", tmp_path / "m.safetensors"
    path.write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(ValueError, match="must be a seglab model"):
        load_model(path)
    assert not trap.exists()


def test_packed_state_is_refused_before_it_unpacks(tmp_path):
    import zipfile

    path = tmp_path / "last.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(ValueError, match="it is compressed, which seglab never writes"):
        load_state(path)


def test_state_that_is_no_dictionary_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "last.pt")
    with pytest.raises(ValueError, match="must hold a dictionary; got list"):
        load_state(tmp_path / "last.pt")


def test_full_disk_leaves_older_model_and_state_and_says_why(tmp_path):
    code = """
import resource, sys
from pathlib import Path
import torch
from seglab.checkpoint import Description, load_model, load_state, save_model, save_state
from seglab.models import build_model

out, model = Path(sys.argv[1]), build_model("unet", 1, width=4)
about = Description("unet", {"width": 4}, 1, ("background", "object"), 64)
save_model(out / "m", model, about)
save_state(out / "s", {"epoch": 1})
model.net.head.bias.data.fill_(7)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for limit in (50_000, 4096, 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, 50_000))
    for save in (lambda: save_model(out / "m", model, about), lambda: save_state(out / "s", model.state_dict())):
        try:
            save()
            print("saved")
        except OSError as error:
            print(error)
print(load_model(out / "m")[0].net.head.bias.item() != 7, load_state(out / "s"), len(list(out.iterdir())))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    *messages, last = done.stdout.splitlines()
    for index, message in enumerate(messages):
        name = "ms"[index % 2]
        assert message == (
            f"{tmp_path / name} could not be written: File too large. Free some space or choose another folder. "
            "The older file of that name is intact."
        )
    assert len(messages) == 6
    assert last == "True {'epoch': 1} 2"


def test_require_fit_takes_floats_of_another_precision(model):
    require_fit(model, {name: v.half() if v.is_floating_point() else v for name, v in model.state_dict().items()}, "x")


def test_not_finite_names_the_first_and_ignores_whole_numbers():
    assert not_finite({"a": torch.tensor([1]), "b": torch.zeros(0)}) == ""
    assert not_finite({"a": torch.tensor([1]), "c": torch.tensor([-torch.inf])}) == "c"
