"""Pictures and masks as people have them: the right pixels, or one line that says what to do."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bad_case import colours, encoded, link_to, picture, pipe, put, require_refused, run, square
from PIL import Image, PngImagePlugin

from seglab.images import read_image, read_mask

Content = Callable[[], object]


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int, *, bits: int = 8, colour: int = 0, data: bytes = b"") -> bytes:
    """A PNG whose header says this size, whatever it holds."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def png() -> bytes:
    return encoded(picture())


def jpeg(**options: object) -> bytes:
    return encoded(picture(), "JPEG", quality=95, **options)


def numpy_file() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((20, 20)))
    return stream.getvalue()


def zip_file() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", png())
    return stream.getvalue()


def with_text_bomb() -> bytes:
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**27)))
    return png()[:33] + bomb + png()[33:]


def frames(form: str, count: int = 3) -> bytes:
    images = [picture(seed=number * 20) for number in range(count)]
    return encoded(images[0], form, save_all=True, append_images=images[1:])


def floats(low: float, high: float) -> bytes:
    return encoded(Image.fromarray(np.linspace(low, high, 48 * 64, dtype=np.float32).reshape(48, 64)), "TIFF")


def with_nan() -> bytes:
    array = np.full((48, 64), 0.5, np.float32)
    array[3, 3] = np.nan
    return encoded(Image.fromarray(array), "TIFF")


NO_PICTURE = "is not a JPEG, PNG, WebP, BMP or TIFF picture"
DAMAGED = "is damaged or cut short"
REFUSED: dict[str, tuple[Content, str]] = {
    "zero bytes": (lambda: b"", "is empty (0 bytes)"),
    "one byte": (lambda: b"\x89", NO_PICTURE),
    "zeros": (lambda: bytes(5000), NO_PICTURE),
    "text": (lambda: "not a picture", NO_PICTURE),
    "web page": (lambda: "<!DOCTYPE html><html><body>404 Not Found</body></html>", NO_PICTURE),
    "error in JSON": (lambda: {"error": "not found"}, NO_PICTURE),
    "LFS pointer": (lambda: "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
    "PDF": (lambda: b"%PDF-1.7\n1 0 obj", "PDF files"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", "PostScript files"),
    "SVG": (lambda: "<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawings"),
    "GIF": (lambda: encoded(picture(), "GIF"), "GIF files"),
    "animated GIF": (lambda: frames("GIF"), "GIF files"),
    "HEIC": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC photos"),
    "AVIF": (lambda: b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(99), "AVIF files"),
    "ICO": (lambda: encoded(picture(), "ICO"), NO_PICTURE),
    "PPM": (lambda: encoded(picture(), "PPM"), NO_PICTURE),
    "TGA": (lambda: encoded(picture(), "TGA"), NO_PICTURE),
    "JPEG 2000": (lambda: encoded(picture(), "JPEG2000"), NO_PICTURE),
    "NumPy array": (numpy_file, NO_PICTURE),
    "ZIP of a picture": (zip_file, NO_PICTURE),
    "PNG cut at 10 %": (lambda: cut(png(), 0.1), DAMAGED),
    "PNG cut at 50 %": (lambda: cut(png(), 0.5), DAMAGED),
    "PNG cut by a byte": (lambda: png()[:-1], DAMAGED),
    "PNG without an end": (lambda: png()[:-12], DAMAGED),
    "PNG signature only": (lambda: png()[:8], DAMAGED),
    "PNG with flipped data": (lambda: flip(png(), 60), DAMAGED),
    "PNG with a flipped header": (lambda: flip(png(), 20), DAMAGED),
    "PNG that is random": (lambda: png()[:8] + np.random.default_rng(0).bytes(3000), DAMAGED),
    "PNG of 0 x 0": (lambda: png_claiming(0, 0), "The picture"),
    "PNG whose data is too short": (lambda: png_claiming(64, 64, data=bytes(100)), DAMAGED),
    "PNG with a bomb of text": (with_text_bomb, DAMAGED),
    "900 megapixels in a small file": (lambda: png_claiming(30_000, 30_000, bits=1), "900 megapixels"),
    "more pixels than numbers": (lambda: png_claiming(2**31 - 1, 2**31 - 1), "megapixels"),
    "JPEG cut at 50 %": (lambda: cut(jpeg(), 0.5), DAMAGED),
    "JPEG cut at 95 %": (lambda: cut(jpeg(), 0.95), DAMAGED),
    "JPEG header only": (lambda: jpeg()[:20], DAMAGED),
    "TIFF cut": (lambda: cut(encoded(picture(), "TIFF"), 0.5), DAMAGED),
    "BMP cut": (lambda: cut(encoded(picture(), "BMP"), 0.5), DAMAGED),
    "WebP cut": (lambda: cut(encoded(picture(), "WEBP"), 0.5), DAMAGED),
    "TIFF of three pages": (lambda: frames("TIFF"), "3 frames or pages"),
    "animated PNG": (lambda: frames("PNG"), "3 frames or pages"),
    "animated WebP": (lambda: frames("WEBP"), "3 frames or pages"),
    "TIFF of whole numbers of 32 bits": (lambda: encoded(Image.new("I", (64, 48), 70_000), "TIFF"), "32-bit whole"),
    "TIFF of floats to 255": (lambda: floats(0, 255), "floats from 0 to 1"),
    "TIFF of floats below 0": (lambda: floats(-1, 1), "floats from 0 to 1"),
    "TIFF with NaN": (with_nan, "floats from 0 to 1"),
    "TIFF in Lab": (lambda: encoded(Image.new("LAB", (64, 48)), "TIFF"), "LAB"),
    "one pixel": (lambda: encoded(picture().crop((0, 0, 1, 1))), "at least 16 pixels"),
    "15 pixels high": (lambda: encoded(picture().crop((0, 0, 60, 15))), "at least 16 pixels"),
    "a line": (lambda: encoded(Image.new("RGB", (20_000, 1))), "at least 16 pixels"),
    "21 times as wide as high": (lambda: encoded(Image.new("RGB", (16 * 21, 16))), "20 times the short"),
    "named pipe": (lambda: pipe, "must be a regular file"),
    "dead link": (lambda: link_to("nowhere.png"), "must exist"),
    "circle of links": (lambda: link_to("a.png"), "a.png"),
    "folder": (lambda: lambda path: path.mkdir(), "must hold pictures"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_picture_is_one_line_and_no_mask(name, tiny, tmp_path):
    content, said = REFUSED[name]
    put(tmp_path / "a.png", content())
    out = tmp_path / "results" / "out"
    require_refused_picture(tmp_path / "a.png", tiny, out, said)


def require_refused_picture(path: Path, model: Path, out: Path, said: str) -> None:
    """One line with name and cause; no folder appears."""
    ran = run("predict", path, "--model", model, "--out", out)
    assert ran.code == 2, ran
    lines = ran.err.splitlines()
    assert len(lines) == 1, ran.err
    assert "a.png" in ran.err
    assert said in ran.err, ran.err
    assert not out.exists()


def rotated(orientation: int, form: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(), form, exif=exif, **({"quality": 95} if form == "JPEG" else {}))


def palette() -> bytes:
    image = Image.fromarray((colours()[..., 0] // 64).astype(np.uint8))
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200] + [0] * 756)
    return encoded(image)


def palette_expected() -> np.ndarray:
    return np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)[colours()[..., 0] // 64]


def see_through(alpha: int) -> bytes:
    image = picture()
    image.putalpha(alpha)
    return encoded(image)


def deep() -> bytes:
    return encoded(Image.fromarray(colours()[..., 0].astype(np.uint16) * 257))


def grey() -> np.ndarray:
    return np.repeat(colours()[..., :1], 3, axis=2)


def on_white(alpha: int) -> np.ndarray:
    return np.rint((colours().astype(float) * alpha + 255.0 * (255 - alpha)) / 255)


def gamma() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 10_000))
    return encoded(picture(), pnginfo=info)


READ: dict[str, tuple[Content, Callable[[], np.ndarray], float]] = {
    "plain": (png, colours, 0),
    "interlaced by hand": (lambda: encoded(picture(), optimize=True), colours, 0),
    "16-bit grey": (deep, grey, 0),
    "8-bit grey": (lambda: encoded(Image.fromarray(colours()[..., 0])), grey, 0),
    "palette": (palette, palette_expected, 0),
    "1 bit": (lambda: encoded(Image.fromarray(square()).convert("1")), lambda: np.stack([square()] * 3, 2), 0),
    "alpha, all there": (lambda: see_through(255), colours, 0),
    "alpha, nothing there": (lambda: see_through(0), lambda: np.full((48, 64, 3), 255), 0),
    "alpha, half": (lambda: see_through(128), lambda: on_white(128), 1),
    "grey with alpha": (lambda: encoded(Image.fromarray(colours()[..., 0]).convert("LA")), grey, 0),
    "EXIF turn, PNG": (lambda: rotated(6, "PNG"), lambda: np.rot90(colours(), -1), 0),
    "EXIF turn, JPEG": (lambda: rotated(3, "JPEG"), lambda: np.rot90(colours(), 2), 12),
    "EXIF mirrored": (lambda: rotated(2, "PNG"), lambda: colours()[:, ::-1], 0),
    "EXIF without sense": (lambda: rotated(99, "PNG"), colours, 0),
    "JPEG named PNG": (jpeg, colours, 12),
    "progressive JPEG": (lambda: jpeg(progressive=True), colours, 12),
    "grey JPEG": (lambda: encoded(Image.fromarray(colours()[..., 0]), "JPEG", quality=95), grey, 12),
    "CMYK JPEG": (lambda: encoded(picture().convert("CMYK"), "JPEG", quality=100), colours, 40),
    "JPEG with garbage behind": (lambda: jpeg() + b"garbage" * 50, colours, 12),
    "PNG with garbage behind": (lambda: png() + b"<html>", colours, 0),
    "PNG with gamma": (gamma, colours, 0),
    "BMP": (lambda: encoded(picture(), "BMP"), colours, 0),
    "TIFF, packed": (lambda: encoded(picture(), "TIFF", compression="tiff_lzw"), colours, 0),
    "TIFF, 16-bit grey": (lambda: encoded(Image.open(io.BytesIO(deep())), "TIFF"), grey, 0),
    "TIFF of floats to 1": (lambda: floats(0, 1), lambda: ramp(), 0),
    "WebP": (lambda: encoded(picture(), "WEBP", lossless=True), colours, 0),
    "link to a picture": (lambda: link_to("real.png"), colours, 0),
}


def ramp() -> np.ndarray:
    values = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("name", READ)
def test_odd_picture_has_the_right_pixels_and_a_mask_of_its_size(name, tiny, tmp_path):
    content, expected, tolerance = READ[name]
    picture().save(tmp_path / "real.png")
    path = put(tmp_path / "a.png", content())
    want = np.asarray(expected(), float)
    got = read_image(path).astype(float)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance
    assert np.array_equal(read_image(path.read_bytes()), got)
    ran = run("predict", path, "--model", tiny, "--out", tmp_path / "out")
    assert (ran.code, ran.err) == (0, "")
    mask = np.array(Image.open(tmp_path / "out" / "a.png"))
    assert mask.shape == want.shape[:2]
    assert set(np.unique(mask)) <= {0, 255}


@pytest.mark.parametrize(
    "file", ["ä ö.png", "a b.PNG", "名.png", "a'b\".png", "-a.png", "a;b$c.png", "%s%n.png", "a.b.png"]
)
def test_odd_name_of_a_picture_is_kept(file, tiny, tmp_path):
    (tmp_path / "in").mkdir()
    picture().save(tmp_path / "in" / file, "PNG")
    assert run("predict", tmp_path / "in", "--model", tiny, "--out", tmp_path / "out").code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{Path(file).stem}.png"]


@pytest.mark.parametrize("bad", ["line\nbreak.png", "tab\t.png", "bell\x07.png", "\u202egnp.png"])
def test_control_characters_of_a_name_do_not_break_the_line(bad, tiny, tmp_path):
    (tmp_path / bad).write_bytes(b"no picture")
    ran = run("predict", tmp_path / bad, "--model", tiny, "--out", tmp_path / "out")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert ran.err.strip().isprintable()


def test_good_pictures_beside_a_bad_one_get_their_masks(tiny, tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        picture().save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "b.png").write_bytes(b"")
    (tmp_path / "in" / ".hidden.png").write_bytes(b"")
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    ran = run("predict", tmp_path / "in", "--model", tiny, "--out", tmp_path / "out")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "b.png" in ran.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


# --- masks


def save_mask(array: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    return encoded(Image.fromarray(array), form, **options)


def coloured() -> bytes:
    array = np.zeros((48, 64, 3), np.uint8)
    array[16:32, 16:32] = (255, 0, 0)
    return save_mask(array)


def shaped_in_alpha() -> bytes:
    array = np.zeros((48, 64, 4), np.uint8)
    array[16:32, 16:32, 3] = 255
    return save_mask(array)


def of_palette(value: int) -> bytes:
    image = Image.fromarray(square(value=value))
    image.putpalette([0, 0, 0, 128, 0, 0] + [7] * 762)
    return encoded(image)


def smooth() -> bytes:
    return encoded(Image.fromarray(square()).resize((32, 24)).resize((64, 48), Image.Resampling.BILINEAR))


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(square()), exif=exif)


BAD_MASKS: dict[str, tuple[Content, str]] = {
    "zero bytes": (lambda: b"", "is empty (0 bytes)"),
    "cut": (lambda: cut(save_mask(square()), 0.7), DAMAGED),
    "text": (lambda: "mask", NO_PICTURE),
    "another size": (lambda: save_mask(square(32, 40)), "40 × 32 but the picture is 64 × 48"),
    "one pixel larger": (lambda: save_mask(square(48, 65)), "65 × 48"),
    "sides swapped": (lambda: save_mask(square(64, 48)), "48 × 64"),
    "stored sideways": (turned, "sideways"),
    "colours": (coloured, "one number per pixel"),
    "shapes in the transparency": (shaped_in_alpha, "transparency"),
    "three pages": (lambda: frames("TIFF"), "3 frames"),
    "fractions": (lambda: floats(0, 1), "whole numbers"),
    "NaN": (with_nan, "whole numbers"),
    "value 7 only": (lambda: save_mask(square(value=7)), "7"),
    "16-bit colour": (lambda: png_claiming(64, 48, bits=16, colour=2, data=bytes((64 * 6 + 1) * 48)), "16-bit colour"),
    "folder": (lambda: lambda path: path.mkdir(), "regular file"),
    "named pipe": (lambda: pipe, "regular file"),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_bad_mask_is_one_line_and_no_result(name, tiny, tiny2, tmp_path):
    content, said = BAD_MASKS[name]
    picture().save(tmp_path / "p.png")
    put(tmp_path / "m.png", content())
    out = tmp_path / "results.zip"
    words = ["compare", tiny, tiny2, "--image", tmp_path / "p.png", "--truth", tmp_path / "m.png", "--out", out]
    require_refused(words, ["m.png", said], out)


def with_ignored() -> np.ndarray:
    mask = square(value=1)
    mask[0, :] = 255
    return mask


RIGHT_MASKS: dict[str, tuple[Content, int]] = {
    "0 and 255": (lambda: save_mask(square()), 256),
    "0 and 1": (lambda: save_mask(square(value=1)), 256),
    "1 bit": (lambda: encoded(Image.fromarray(square()).convert("1")), 256),
    "palette of indices": (lambda: of_palette(1), 256),
    "colour with equal channels": (lambda: save_mask(np.stack([square()] * 3, 2)), 256),
    "with full alpha": (lambda: encoded(Image.fromarray(square()).convert("LA")), 256),
    "TIFF": (lambda: save_mask(square(), "TIFF"), 256),
    "BMP": (lambda: save_mask(square(), "BMP"), 256),
    "16-bit with 0 and 1": (lambda: save_mask(square(value=1).astype(np.uint16)), 256),
    "nothing": (lambda: save_mask(np.zeros((48, 64), np.uint8)), 0),
    "everything": (lambda: save_mask(np.full((48, 64), 255, np.uint8)), 48 * 64),
    "unknown border": (lambda: save_mask(with_ignored()), 256),
}


@pytest.mark.parametrize("name", RIGHT_MASKS)
def test_odd_mask_has_the_right_object(name, tiny, tiny2, tmp_path):
    content, pixels = RIGHT_MASKS[name]
    picture().save(tmp_path / "p.png")
    path = put(tmp_path / "m.png", content())
    assert int((read_mask(path, num_classes=2, size=(48, 64)) == 1).sum()) == pixels
    ran = run("compare", tiny, tiny2, "--image", tmp_path / "p.png", "--truth", path)
    assert ran.code == 0
    assert "Dice" in ran.out


def test_smoothed_mask_is_cut_at_the_middle_where_that_is_said(tiny, tiny2, tmp_path):
    picture().save(tmp_path / "p.png")
    path = put(tmp_path / "m.png", smooth())
    assert abs(int(read_mask(path, threshold=128).sum()) - 256) < 40
    with pytest.raises(ValueError, match="threshold=128"):
        read_mask(path, num_classes=2)
