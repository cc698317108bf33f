import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from torch import Tensor, nn

import seglab
from seglab import export, exported
from seglab.checkpoint import Description, save_model
from seglab.cli import main
from seglab.export import check_pictures, to_onnx
from seglab.inference import Predictor
from seglab.models import Segmenter

ABOUT = Description("custom", {}, 1, ("background", "spot"), 32, "A title", {"task": "skin"}, "0" * 64)


class Tiny(nn.Module):
    """One convolution over two, and whatever else a test needs."""

    stride = 2

    def __init__(self, num_classes: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, num_classes, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x).relu()) * 3


class OneByOne(Tiny):
    """Takes the pictures of a batch in a Python loop, so its batch cannot be left free."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(OneByOne, self).forward(one[None]) for one in x])


class Wrong(Tiny):
    """Answers otherwise once exported."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (0.01 if torch.compiler.is_exporting() else 0)


class WrongElsewhere(Tiny):
    """Once exported, answers otherwise where a picture is not 32 pixels high."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + ((x.shape[2] - 32) * 0.1 if torch.compiler.is_exporting() else 0)


class Moving(Tiny):
    """Reads in other orders: a maximum over channels, a mean over pixels, and one whose axes come out exchanged."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.movedim(1, -1)
        best, turned = pixels.amax(dim=-1)[:, None], x.transpose(2, 3).mean(dim=1)[:, None]
        return super().forward(x) * best + pixels.mean(dim=(1, 2))[:, :1, None, None] + turned


def predictor_of(net: nn.Module, **more: object) -> Predictor:
    return Predictor(Segmenter(net), **{"size": 32} | more)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A predictor, the file it was exported to, and what the export says."""
    torch.manual_seed(0)
    predictor = predictor_of(Tiny(), classes=ABOUT.classes, description=ABOUT)
    path = tmp_path_factory.mktemp("made") / "new" / "tiny.onnx"
    return predictor, path, to_onnx(predictor, path)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (70, 101, 3), dtype=np.uint8)


def forged(path, *, inputs=((("N", 3, 32, 32), TensorProto.FLOAT),), outputs=1, channels=1, external=False):
    """A sealed file around a graph of another shape, as nobody makes by mistake."""
    names = [f"in{i}" for i in range(len(inputs))]
    weight = helper.make_tensor("weight", TensorProto.FLOAT, (channels, 3, 1, 1), [0.5] * 3 * channels)
    if external:
        weight.ClearField("float_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="/etc/hostname")
    graph = helper.make_graph(
        [helper.make_node("Conv", [names[0], "weight"], [f"out{i}"]) for i in range(outputs)],
        "graph",
        [helper.make_tensor_value_info(n, kind, shape) for n, (shape, kind) in zip(names, inputs, strict=True)],
        [helper.make_tensor_value_info(f"out{i}", TensorProto.FLOAT, ("N", channels, 32, 32)) for i in range(outputs)],
        [weight],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(exported.sealed(proto.SerializeToString(deterministic=True), ABOUT))
    return path


def test_the_file_answers_as_the_model_at_the_pictures_own_size(made, photo):
    predictor, path, _ = made
    again = Predictor.load(path)
    expected, got = predictor(photo, threshold=0.4), again(photo, threshold=0.4)
    assert got.probs.shape == (1, 70, 101)
    np.testing.assert_allclose(got.probs, expected.probs, atol=1e-5)
    assert (got.mask != expected.mask).mean() < 1e-3
    assert 0 < expected.mask.mean() < 1


def test_the_file_says_what_it_is(made):
    predictor, path, result = made
    again = Predictor.load(path)
    assert (again.name, again.classes, again.size, again.num_classes) == ("A title", ("background", "spot"), 32, 1)
    assert again.description == ABOUT
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert '"A title"' in entries["seglab"]  # also for other readers
    assert result.free == ("batch", "height", "width")
    assert result.pixels == 6 * 32 * 32
    assert result.difference < 1e-5
    assert "any multiple of 2, batch of any size" in str(result)


def test_normalising_is_inside_and_every_shape_of_the_stride_is_answered(made):
    predictor, path, _ = made
    net = Predictor.load(path).model
    for shape in ((1, 3, 32, 32), (3, 3, 34, 50), (2, 3, 64, 32)):
        pictures = torch.rand(shape)
        torch.testing.assert_close(net(pictures), predictor.model(pictures), atol=1e-5, rtol=0)


def test_any_onnx_runtime_reads_it_and_no_path_is_inside(made):
    import onnxruntime

    predictor, path, _ = made
    session = onnxruntime.InferenceSession(str(path))
    (got,) = session.run(["logits"], {"image": check_pictures(32).numpy()})
    np.testing.assert_allclose(got, predictor.model(check_pictures(32)).numpy(), atol=1e-5)
    onnx.checker.check_model(onnx.load(path))
    assert b".py" not in path.read_bytes()
    assert [one.name for one in path.parent.iterdir()] == ["tiny.onnx"]


def test_tiles_and_tta_work_with_it(made, photo):
    predictor, path, _ = made
    twin = Predictor(predictor.model, size=32, tile=32, tta=True)
    np.testing.assert_allclose(Predictor.load(path, tile=0, tta=True).probs(photo), twin.probs(photo), atol=1e-5)


def test_exporting_leaves_the_predictor_as_it_was(made, photo, tmp_path):
    predictor, path, _ = made
    before = predictor.probs(photo)
    to_onnx(predictor, tmp_path / "again.onnx")
    np.testing.assert_array_equal(predictor.probs(photo), before)
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()  # the same model, the same file


def test_means_and_maxima_are_taken_without_a_copy_in_another_order(tmp_path):
    predictor = predictor_of(Moving())
    to_onnx(predictor, tmp_path / "a.onnx")
    nodes = [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]
    assert nodes.count("Transpose") == 1  # the one that a mean cannot do without
    assert sum(name.startswith("Reduce") for name in nodes) == 3
    pictures = torch.rand(2, 3, 32, 32)
    got = Predictor.load(tmp_path / "a.onnx").model(pictures)
    torch.testing.assert_close(got, predictor.model(pictures), atol=1e-5, rtol=0)


def test_several_classes_and_a_size_off_the_stride_fix_the_size(photo, tmp_path):
    torch.manual_seed(1)
    predictor = predictor_of(Tiny(3), size=33)
    result = to_onnx(predictor, tmp_path / "three.onnx")
    assert result.free == ("batch",)
    assert "fixed at 33 x 33 pixels" in str(result)
    again = Predictor.load(tmp_path / "three.onnx")
    assert again.classes == ("background", "class 1", "class 2")
    np.testing.assert_allclose(again(photo).probs, predictor(photo).probs, atol=1e-5)


def test_a_model_that_cannot_be_left_free_takes_one_picture_at_a_time(tmp_path):
    predictor = predictor_of(OneByOne())
    result = to_onnx(predictor, tmp_path / "one.onnx")
    assert result.free == ()
    assert "batch of 1" in str(result)
    pictures = torch.rand(3, 3, 32, 32)
    again = Predictor.load(tmp_path / "one.onnx")
    torch.testing.assert_close(again.forward(pictures), predictor.forward(pictures), atol=1e-5, rtol=0)


def test_a_size_is_not_left_free_if_another_is_answered_wrongly(tmp_path):
    assert to_onnx(predictor_of(WrongElsewhere()), tmp_path / "a.onnx").free == ("batch",)


def test_a_file_that_answers_otherwise_is_refused_and_the_older_stays(tmp_path):
    target = tmp_path / "wrong.onnx"
    target.write_bytes(b"older")
    with pytest.raises(ValueError, match=r"must differ by at most 1e-04 in probability .*wrong.onnx was not written"):
        to_onnx(predictor_of(Wrong(), size=33), target)
    assert [one.name for one in tmp_path.iterdir()] == ["wrong.onnx"]
    assert target.read_bytes() == b"older"


def test_flipped_pixels_alone_are_refused():
    some = export.Exported(exported.Path("a.onnx"), (), 32, 1, difference=1e-6, flipped=2, pixels=10000)
    with pytest.raises(ValueError, match=r"in 1 of 10000 pixels; got 1.0e-06 and 2\."):
        export._require_equal(some)


def test_differences_are_counted_in_probabilities_and_classes():
    one = torch.tensor([0.0, 1.0, -1.0]).reshape(1, 1, 1, 3)
    difference, flipped = export._difference(one, one + torch.tensor([0.1, 0.0, 0.0]))
    assert difference == pytest.approx(1 / (1 + np.exp(-0.1)) - 0.5)
    assert flipped == 1
    assert export._difference(one, one[..., :2]) == (float("inf"), 3)


def test_a_model_that_no_exporter_knows_is_refused(tmp_path, monkeypatch):
    def fail(*arguments: object, **more: object) -> None:
        raise RuntimeError("no such operator.\nand a long story")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ValueError, match=r"^model Tiny cannot be exported to ONNX: no such operator\.$"):
        to_onnx(
            predictor_of(Tiny(), description=ABOUT.__class__(**ABOUT.__dict__ | {"title": "Tiny"})), tmp_path / "a.onnx"
        )
    assert list(tmp_path.iterdir()) == []


def test_an_exported_file_is_no_source(made, tmp_path):
    with pytest.raises(ValueError, match="only in a checkpoint; A title comes from an ONNX file"):
        to_onnx(Predictor.load(made[1]), tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="must be a seglab model"):
        to_onnx(made[1], tmp_path / "a.onnx")


def test_attention_is_refused_where_asked_and_left_out_elsewhere(made, photo):
    again = Predictor.load(made[1])
    for ask in (seglab.explain.attention_maps, lambda model, _: seglab.explain._gates.find_gates(model)):
        with pytest.raises(ValueError, match=r"A title comes from an ONNX file.*Load its \.safetensors file"):
            ask(again, photo)
    comparison = seglab.compare(photo, {"torch": made[0], "onnx": again})
    assert "agree on" in comparison.verdict()


@pytest.mark.parametrize("where", [0.02, 0.3, 0.6, 0.97])
def test_a_flipped_bit_is_noticed(made, tmp_path, where):
    content = bytearray(made[1].read_bytes())
    content[int(where * len(content))] ^= 4
    path = tmp_path / "flipped.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"flipped\.onnx must be one that `seglab export` wrote; [^\n]+$"):
        Predictor.load(path)


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c[: len(c) // 2], lambda c: c + b"\x08\x0a"])
def test_a_cut_or_longer_file_is_noticed(made, tmp_path, change):
    path = tmp_path / "cut.onnx"
    path.write_bytes(change(made[1].read_bytes()))
    with pytest.raises(ValueError, match=r"must be one that `seglab export` wrote; (it is|got)"):
        Predictor.load(path)


def test_foreign_files_are_refused(made, tmp_path):
    foreign = onnx.load(made[1])
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match="foreign.onnx must be .* got an ONNX file without the mark seglab-onnx-1"):
        Predictor.load(tmp_path / "foreign.onnx")
    (tmp_path / "text.onnx").write_text("hello, this is no model")
    with pytest.raises(ValueError, match="got another kind of file, or a damaged one"):
        Predictor.load(tmp_path / "text.onnx")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ValueError, match=r"must hold 1 byte to 2 GiB; got 0 bytes\."):
        Predictor.load(tmp_path / "empty.onnx")
    with pytest.raises(FileNotFoundError, match="gone.onnx must exist; got no file of that name"):
        Predictor.load(tmp_path / "gone.onnx")
    with pytest.raises(ValueError, match="must be a file; got a folder or device"):
        exported.load_exported(tmp_path)


def test_sealed_files_of_another_shape_are_refused(tmp_path):
    path, picture = tmp_path / "a.onnx", (("N", 3, 32, 32), TensorProto.FLOAT)
    assert Predictor.load(forged(path)).num_classes == 1  # the forger's tools work
    for inputs in (
        [(("N", 4, 32, 32), TensorProto.FLOAT)],
        [(("N", 3, 64, 32), TensorProto.FLOAT)],
        [((2, 3, 32, 32), TensorProto.FLOAT)],
        [(("N", 3, 32), TensorProto.FLOAT)],
        [(("N", 3, 32, 32), TensorProto.DOUBLE)],
        [picture, picture],
    ):
        with pytest.raises(ValueError, match=r"a\.onnx must be one that `seglab export` wrote; [^\n]+$"):
            Predictor.load(forged(path, inputs=inputs))
    with pytest.raises(ValueError, match=r"its input must be one tensor\(float\) \[N, 3, 32, 32\]; got .*, 64, 32\]"):
        Predictor.load(forged(path, inputs=[(("N", 3, 64, 32), TensorProto.FLOAT)]))
    with pytest.raises(ValueError, match=r"its output must be one tensor \[N, 1, H, W\]; got \[\['N', 2, 32, 32\]\]"):
        Predictor.load(forged(path, channels=2))
    with pytest.raises(ValueError, match="its output must be one tensor"):
        Predictor.load(forged(path, outputs=2))
    with pytest.raises(ValueError, match="got one whose weights lie in other files"):
        Predictor.load(forged(path, external=True))


def test_it_runs_on_the_cpu_only(made):
    with pytest.raises(ValueError, match=r"device must be cpu for an ONNX file; got cuda\."):
        Predictor.load(made[1], device="cuda")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_its_name_is_said(made, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    sentence = r'^ONNX export needs the onnx extra; install it with pip install "seglab\[onnx\]"\.$'
    with pytest.raises(ImportError, match=sentence):
        Predictor.load(made[1])
    with pytest.raises(ImportError, match=sentence):
        to_onnx(made[0], tmp_path / "a.onnx")


def test_another_ending_is_refused(made, tmp_path):
    with pytest.raises(ValueError, match=r"target must end in \.onnx; got a\.pt\."):
        to_onnx(made[0], tmp_path / "a.pt")


def test_the_command_exports_a_checkpoint_and_others_take_the_file(small_unet, photo, tmp_path, capsys):
    """Export, then predict, evaluate and compare with the file, and the app's list of models."""
    checkpoint, target, picture = tmp_path / "a.safetensors", tmp_path / "b.onnx", tmp_path / "photo.png"
    about = Description("unet", {"width": 4}, 1, ("background", "object"), 32, "Small")
    save_model(checkpoint, small_unet(), about)
    Image.fromarray(photo).save(picture)
    assert main(["export", "--model", str(checkpoint), "--to", str(target)]) == 0
    assert "any multiple of 16" in capsys.readouterr().out
    out = tmp_path / "masks"
    assert main(["predict", str(picture), "--model", str(target), "--out", str(out), "--tile", "--tta"]) == 0
    assert np.asarray(Image.open(out / "photo.png")).shape == (70, 101)
    data = ["--dataset", "synthetic", "data.size=32", "data.count=12"]
    for ways, title in ([[], "### Small:"], [["--tta"], "### Small + TTA:"]):
        capsys.readouterr()
        assert main(["evaluate", "--model", str(target), *data, *ways]) == 0
        assert title in capsys.readouterr().out
    assert main(["compare", str(checkpoint), str(target), "--image", str(picture)]) == 0
    assert "agree on" in capsys.readouterr().out
    from seglab.serving import load_models

    assert load_models([target])["b"].name == "Small"


def test_a_command_says_in_one_line_what_is_wrong(made, photo, tmp_path, capsys):
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    for words, sentence in (
        (["predict", "p.png", "--model", tmp_path / "bad.onnx", "--out", tmp_path], "or a damaged one"),
        (["explain", "--model", made[1], "--dataset", "synthetic"], "comes from an ONNX file"),
        (["export", "--model", made[1], "--to", tmp_path / "a.pt"], "must end in .safetensors or .onnx; got a.pt."),
        (["predict", "p.png", "--model", made[1], "--out", tmp_path, "--tile", "5"], "tile must be at least 32"),
    ):
        assert main([str(word) for word in words]) == 2
        text = capsys.readouterr().err
        assert sentence in text
        assert text.count("\n") == 1
