"""Odd files made here, byte by byte where Pillow would not write them; every expected number is worked out by hand."""

import os
import pickle
import struct
import threading
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from seglab import images
from seglab.images import (
    MAX_BYTES,
    MAX_PIXELS,
    ImageError,
    mask_values,
    read_image,
    read_mask,
    write_mask,
    write_png,
)

NOT_A_PICTURE = "The picture is not a JPEG, PNG, WebP, BMP or TIFF picture. "
HEIC = NOT_A_PICTURE + "iPhone HEIC photos: share them as JPEG."
DAMAGED = "The picture file is damaged or cut short. Copy it again and retry."
RNG = np.random.default_rng(0)


def message(source, reader=read_image, **keywords) -> str:
    """What the app would show."""
    with pytest.raises(ImageError) as caught:
        reader(source, **keywords)
    assert "\n" not in str(caught.value)
    return caught.value.message


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG from the specification alone: `rows` has a filter byte 0 before each row."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND")]
    )


def save(path: Path, image: Image.Image | bytes, **keywords) -> Path:
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path, **keywords)
    return path


def noise(height=32, width=40, channels=3) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


class TestModes:
    def test_8_bit_files_are_kept(self, tmp_path):
        pixels = noise()
        for name in ("a.png", "a.bmp", "a.tiff"):
            assert np.array_equal(read_image(save(tmp_path / name, Image.fromarray(pixels))), pixels)
        lossless = save(tmp_path / "a.webp", Image.fromarray(pixels), lossless=True)
        assert np.array_equal(read_image(str(lossless)), pixels)

    def test_result_can_be_written_to_and_is_new(self):
        pixels = noise()
        for source in (pixels, Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1)):
            result = read_image(source)
            assert result.dtype == np.uint8
            assert result.flags.c_contiguous
            result[:] = 0
            assert pixels.any()

    def test_16_bit_grey_is_divided_by_257(self, tmp_path):
        row = [0, 257, 25700, 65535, 128, 129] + [0] * 10  # 129 / 257 rounds to 1, 128 / 257 to 0
        rows = (b"\0" + struct.pack(">16H", *row)) * 16
        expected = [0, 1, 100, 255, 0, 1] + [0] * 10
        for path in (
            save(tmp_path / "deep.png", png(16, 16, 16, 0, rows)),
            save(tmp_path / "deep.tiff", Image.fromarray(np.array([row] * 16, np.uint16))),
        ):
            assert read_image(path)[3].tolist() == [[value] * 3 for value in expected]

    def test_16_bit_colour_keeps_the_high_byte(self, tmp_path):
        rows = (b"\0" + struct.pack(">3H", 0xFFFF, 0x8000, 0x0100) * 16) * 16
        assert read_image(save(tmp_path / "deep.png", png(16, 16, 16, 2, rows)))[0, 0].tolist() == [255, 128, 1]

    def test_float_tiff_is_0_to_1(self, tmp_path):
        grey = np.full((16, 16), 0.2, np.float32)
        grey[0, 0], grey[0, 1] = 0, 1
        result = read_image(save(tmp_path / "a.tiff", Image.fromarray(grey)))
        assert result[0, :3, 0].tolist() == [0, 255, 51]

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0, -0.5])
    def test_other_floats_are_refused(self, tmp_path, value):
        grey = np.zeros((16, 16), np.float32)
        grey[5, 5] = value
        path = save(tmp_path / "a.tiff", Image.fromarray(grey))
        assert message(path).startswith("The picture must hold floats from 0 to 1; got ")
        assert message(grey).startswith("The picture must hold floats from 0 to 1; got ")

    def test_32_bit_integers_are_refused(self, tmp_path):
        path = save(tmp_path / "a.tiff", Image.fromarray(np.zeros((16, 16), np.int32)))
        assert "got 32-bit whole numbers" in message(path)

    def test_cmyk_becomes_rgb(self, tmp_path):
        # full cyan ink and nothing else: no red, all green and blue
        path = save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (255, 0, 0, 0)), quality=100)
        assert np.abs(read_image(path)[8, 8].astype(int) - [0, 255, 255]).max() <= 3

    @pytest.mark.parametrize(
        ("mode", "colour", "expected"),
        [
            ("RGBA", (200, 0, 100, 0), (255, 255, 255)),
            ("RGBA", (200, 0, 100, 255), (200, 0, 100)),
            ("RGBA", (0, 0, 0, 51), (204, 204, 204)),  # one fifth black on white
            ("LA", (0, 0), (255, 255, 255)),
            ("LA", (100, 255), (100, 100, 100)),
        ],
    )
    def test_transparency_is_laid_on_white(self, tmp_path, mode, colour, expected):
        image = Image.new(mode, (16, 16), colour)
        path = save(tmp_path / "a.png", image)
        assert tuple(read_image(path)[0, 0]) == expected
        assert tuple(read_image(image)[0, 0]) == expected
        assert tuple(read_image(np.array(image.convert("RGBA")))[0, 0]) == expected

    def test_transparent_palette_and_transparent_colour(self, tmp_path):
        palette = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
        rows = (b"\0" + bytes([0, 1] * 8)) * 16
        path = save(tmp_path / "p.png", png(16, 16, 8, 3, rows, palette, chunk(b"tRNS", b"\0")))
        assert read_image(path)[0, :2].tolist() == [[255, 255, 255], [40, 50, 60]]
        rows = (b"\0" + bytes([7, 9] * 8)) * 16
        path = save(tmp_path / "l.png", png(16, 16, 8, 0, rows, chunk(b"tRNS", b"\0\7")))
        assert read_image(path)[0, :2].tolist() == [[255, 255, 255], [9, 9, 9]]

    def test_other_modes_of_pillow(self, tmp_path):
        grey = Image.fromarray(np.full((16, 16), 77, np.uint8))
        assert read_image(grey)[0, 0].tolist() == [77, 77, 77]
        assert read_image(grey.convert("RGB").convert("YCbCr"))[0, 0].tolist() == [77, 77, 77]
        assert read_image(Image.new("1", (16, 16), 1))[0, 0].tolist() == [255, 255, 255]
        for mode in ("PA", "La", "RGBa", "RGBX", "CMYK", "I;16B"):
            assert read_image(Image.new(mode, (16, 16))).shape == (16, 16, 3)
        assert "got LAB" in message(Image.new("LAB", (16, 16)))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_is_applied(self, tmp_path, orientation):
        # The stored corners for each orientation, from the table of the EXIF standard: where row 0, column 0 is seen.
        upright = np.zeros((16, 24, 3), np.uint8)
        upright[:8, :8] = 255  # a white block at the top left of what should be seen
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: upright.transpose(1, 0, 2)[::-1],
            7: upright.transpose(1, 0, 2)[::-1, ::-1],
            8: upright.transpose(1, 0, 2)[:, ::-1],
        }[orientation]
        image = Image.fromarray(np.ascontiguousarray(stored))
        for name, options in (("a.jpg", {"quality": 100}), ("a.png", {}), ("a.webp", {"lossless": True})):
            path = save(tmp_path / name, image, exif=exif(orientation), **options)
            assert np.abs(read_image(path).astype(int) - upright).max() <= 3, name
            with Image.open(path) as opened:
                assert read_image(opened).shape == upright.shape
        for options in ({}, {"compression": "tiff_lzw"}):
            path = save(tmp_path / "a.tiff", image, tiffinfo={0x0112: orientation}, **options)
            assert np.array_equal(read_image(path), upright)

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF")
    def test_unreadable_exif_shows_the_picture_as_stored(self, tmp_path):
        path = save(tmp_path / "a.jpg", Image.new("RGB", (20, 16)), exif=b"Exif\0\0MM\0*\0\0\0\xff")
        assert read_image(path).shape == (16, 20, 3)

    def test_phone_photo_with_a_second_picture_gives_the_main_one(self, tmp_path):
        path = tmp_path / "a.jpg"
        second = Image.new("RGB", (16, 16))
        Image.new("RGB", (20, 16), "white").save(path, format="MPO", save_all=True, append_images=[second])
        assert read_image(path).shape == (16, 20, 3)
        assert read_image(path).min() == 255


class TestArrays:
    @pytest.mark.parametrize(
        ("value", "dtype", "expected"),
        [(9, "uint8", 9), (257, "uint16", 1), (True, "bool", 255), (0.2, "float32", 51), (0.2, "float16", 51)],
    )
    def test_types_and_shapes(self, value, dtype, expected):
        for shape in ((16, 20), (16, 20, 1), (16, 20, 3)):
            result = read_image(np.full(shape, value, dtype))
            assert result.shape == (16, 20, 3)
            assert (result == expected).all()

    def test_tensors(self):
        for shape in ((3, 16, 20), (1, 16, 20), (16, 20)):
            for tensor in (torch.full(shape, 51, dtype=torch.uint8), torch.full(shape, 0.2, requires_grad=True)):
                assert (read_image(tensor) == 51).all()
                assert read_image(tensor).shape == (16, 20, 3)
        colours = torch.tensor([1, 2, 3], dtype=torch.uint8)[:, None, None].expand(3, 16, 20)
        assert read_image(colours)[4, 4].tolist() == [1, 2, 3]
        assert (read_image(torch.full((16, 16), 0.5, dtype=torch.bfloat16)) == 128).all()

    def test_resizing_noise_is_clipped(self):
        assert read_image(np.full((16, 16), 1.0000002, np.float32)).min() == 255

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            (np.zeros((3, 16, 20), np.uint8), "got (3, 16, 20)"),
            (np.zeros((1, 3, 16, 20), np.uint8), "got (1, 3, 16, 20)"),
            (torch.zeros(20, 16, 3), "A tensor must be (3, H, W), (1, H, W) or (H, W); got (20, 16, 3)."),
            (np.zeros((16, 16), np.int64), "got int64"),
            (np.zeros((0, 16), np.uint8), "16 × 0 pixels"),
            (b"bytes", "The picture is not a JPEG, PNG, WebP, BMP or TIFF picture."),
            ({"a": 1}, "The picture must be a file, picture, array or tensor; got dict."),
            (None, "got NoneType"),
        ],
    )
    def test_others_are_refused(self, source, words):
        assert words in message(source)


class TestRefused:
    def test_empty(self, tmp_path):
        path = save(tmp_path / "lesion.png", b"")
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert caught.value.message == "The picture file is empty (0 bytes)."
        assert str(caught.value) == "lesion.png: The picture file is empty (0 bytes)."
        assert message(path, read_mask) == "The mask file is empty (0 bytes)."
        assert message(path, what="true mask") == "The true mask file is empty (0 bytes)."

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"just some text", HEIC),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", HEIC),
            (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", NOT_A_PICTURE + "AVIF files: save them as PNG or JPEG."),
            (b"<?xml version='1.0'?><svg/>", NOT_A_PICTURE + "SVG drawings: export them as PNG."),
            (b"%PDF-1.7", NOT_A_PICTURE + "PDF files: export the page as PNG."),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", NOT_A_PICTURE + "PostScript files: export"),
            (b"version https://git-lfs.github.com/spec/v1", NOT_A_PICTURE + "This is a Git LFS pointer"),
            (b"\x89PNG\r\n\x1a\n", DAMAGED),
            (b"BMW", DAMAGED),
            (b"\xff\xd8\xff", DAMAGED),
            (b"RIFF\0\0\0\0WEBP", DAMAGED),
            (b"II*\0", DAMAGED),
        ],
    )
    def test_not_a_picture(self, tmp_path, data, words):
        assert message(save(tmp_path / "a.png", data)).startswith(words)

    def test_gif(self, tmp_path):
        path = save(tmp_path / "a.png", Image.new("P", (16, 16)), format="GIF")
        assert message(path) == NOT_A_PICTURE + "GIF files: save one frame as PNG."

    @pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tiff"])
    def test_frames(self, tmp_path, name):
        frames = [Image.fromarray(noise()) for _ in range(5)]
        path = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
        words = "The picture has 5 frames or pages. Save one of them as PNG or JPEG."
        assert message(path) == words
        with Image.open(path) as opened:
            assert message(opened) == words

    def test_page_count_of_a_hostile_tiff_is_bounded(self, tmp_path):
        def directory(offset, following):
            entries = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 16), (279, 256)]
            body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
            return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)

        size = len(directory(0, 0))
        pages = [directory(8 + i * size, 8 + (i + 1) * size) for i in range(1500)]
        path = save(tmp_path / "a.tiff", b"II*\0" + struct.pack("<I", 8) + b"".join(pages) + directory(0, 0))
        assert message(path).startswith("The picture has 1000 frames or pages.")

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize("global_switch", [False, True])
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("a.png", {}),
            ("a.jpg", {}),
            ("a.jpg", {"progressive": True}),
            ("a.bmp", {}),
            ("a.webp", {"lossless": True}),
            ("a.tiff", {}),
            ("a.tiff", {"compression": "tiff_lzw"}),
        ],
    )
    def test_cut_short(self, tmp_path, monkeypatch, name, options, global_switch):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", global_switch)  # as other libraries do
        whole = save(tmp_path / name, Image.fromarray(noise(200, 300)), **options).read_bytes()
        assert read_image(tmp_path / name).shape == (200, 300, 3)
        for share in (0.2, 0.5, 0.9):
            assert message(save(tmp_path / name, whole[: int(len(whole) * share)])) == DAMAGED, share

    def test_cut_png_without_its_end(self, tmp_path):
        whole = png(16, 16, 8, 0, (b"\0" + bytes(16)) * 16)
        assert message(save(tmp_path / "a.png", whole[:-12])) == DAMAGED

    @pytest.mark.parametrize("global_switch", [False, True])
    def test_png_with_a_wrong_checksum(self, tmp_path, monkeypatch, global_switch):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", global_switch)
        data = bytearray(save(tmp_path / "a.png", Image.fromarray(noise())).read_bytes())
        data[len(data) // 2] ^= 1
        assert message(save(tmp_path / "a.png", bytes(data))) == DAMAGED

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_random_damage_never_escapes(self, tmp_path):
        for name in ("a.png", "a.jpg", "a.bmp", "a.webp", "a.tiff"):
            whole = save(tmp_path / name, Image.fromarray(noise(20, 20))).read_bytes()
            for _ in range(60):
                data = bytearray(whole)
                for position in RNG.integers(0, min(len(data), 400), 3):
                    data[position] = RNG.integers(0, 256)
                path = save(tmp_path / name, bytes(data))
                for reader in (read_image, read_mask):
                    with suppress(ImageError):
                        assert reader(path).dtype == np.uint8


class TestLimits:
    def test_bomb_is_refused_from_its_header(self, tmp_path):
        path = save(tmp_path / "a.png", png(50_000, 50_000, 1, 0, b""))
        words = "50000 × 50000 = 2500 megapixels; the limit is 40. Make it smaller and try again."
        assert message(path) == f"The picture is {words}"
        assert message(path, read_mask) == f"The mask is {words}"

    def test_limit_is_exact_and_can_be_moved(self, tmp_path):
        path = save(tmp_path / "a.png", Image.new("L", (100, 50)))
        assert read_image(path, max_pixels=5000).shape == (50, 100, 3)
        assert "100 × 50 = 0.005 megapixels; the limit is 0.004999." in message(path, max_pixels=4999)
        assert MAX_PIXELS == 40_000_000

    def test_switches_of_other_libraries_do_not_count(self, tmp_path, monkeypatch):
        path = save(tmp_path / "a.png", Image.new("L", (100, 50)))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        assert read_image(path).shape == (50, 100, 3)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert "megapixels" in message(save(tmp_path / "b.png", png(50_000, 50_000, 1, 0, b"")))

    @pytest.mark.parametrize(("width", "height"), [(1, 1), (20000, 20), (15, 40), (321, 16)])
    def test_strange_shapes(self, tmp_path, width, height):
        path = save(tmp_path / "a.png", Image.new("L", (width, height)))
        words = (
            f"The picture is {width} × {height} pixels. "
            "Each side must be at least 16 pixels and the long side at most 20 times the short one."
        )
        assert message(path) == words
        assert message(Image.new("L", (width, height))) == words
        assert message(np.zeros((height, width), np.uint8)) == words

    def test_just_fits(self):
        assert read_image(Image.new("L", (320, 16))).shape == (16, 320, 3)

    def test_bytes(self, tmp_path):
        path = save(tmp_path / "a.png", Image.fromarray(noise()))
        size = path.stat().st_size
        assert read_image(path, max_bytes=size).shape == (32, 40, 3)
        assert message(path, max_bytes=size - 1).startswith("The file is larger than ")
        with open(tmp_path / "big.png", "wb") as file:
            file.truncate(MAX_BYTES + 2**19)  # sparse: 20.5 MB that take no room
        words = "The file is larger than 20 MB. It has 20.5 MB; make it smaller."
        assert message(tmp_path / "big.png", max_bytes=MAX_BYTES) == words

    def test_not_a_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "folder.png").mkdir()
        rule = "The picture must be a regular file; got a"
        assert message(tmp_path / "pipe.png") == f"{rule} pipe or device. Choose a picture file."
        assert message(Path("/dev/zero")) == f"{rule} pipe or device. Choose a picture file."
        assert message(tmp_path / "folder.png") == f"{rule} folder. Choose a picture file."
        missing = "The picture file does not exist. Check the name and the folder."
        assert message(tmp_path / "none.png") == missing
        assert message("a\0b.png").startswith("The picture file cannot be opened: ")
        assert message(tmp_path / ("x" * 300)).startswith("The picture file cannot be opened: ")

    def test_odd_names(self, tmp_path):
        for name in ("a b#&<b>ü.png", "漢字.PNG", "noextension"):
            path = save(tmp_path / name, Image.new("L", (16, 16)), format="PNG")
            assert read_image(path).shape == (16, 16, 3)
        with pytest.raises(ImageError) as caught:
            read_image(save(tmp_path / "two\nlines.png", b""))
        assert str(caught.value) == "two?lines.png: The picture file is empty (0 bytes)."

    def test_error_says_the_file_but_not_its_folder(self, tmp_path):
        with pytest.raises(ImageError) as caught:
            read_image(tmp_path / "none.png")
        assert str(caught.value).startswith("none.png: ")
        assert str(tmp_path) not in str(caught.value)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (str(copy), copy.message) == (str(caught.value), caught.value.message)

    def test_threads(self, tmp_path):
        pixels = [noise(64, 64) for _ in range(8)]
        paths = [save(tmp_path / f"{i}.png", Image.fromarray(p)) for i, p in enumerate(pixels)]
        same = [False] * 8

        def work(i):
            same[i] = all(np.array_equal(read_image(paths[i]), pixels[i]) for _ in range(5))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(same)


class TestMasks:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            ([0, 255], [0, 1]),
            ([255, 255], [1, 1]),
            ([0, 0], [0, 0]),
            ([0, 1], [0, 1]),
            ([1, 1], [1, 1]),
            ([0, 1, 255], [0, 1, 255]),
            ([1, 255], [1, 255]),
        ],
    )
    @pytest.mark.parametrize("num_classes", [1, 2])
    @pytest.mark.parametrize("threshold", [None, 128])
    def test_binary(self, tmp_path, raw, expected, num_classes, threshold):
        path = save(tmp_path / "a.png", Image.fromarray(np.array([raw], np.uint8)))
        result = read_mask(path, num_classes=num_classes, threshold=threshold)
        assert result.tolist() == [expected]
        assert result.dtype == np.uint8

    def test_error_sentence(self, tmp_path):
        path = save(tmp_path / "lesion_0042.png", Image.fromarray(np.array([[0, 200]], np.uint8)))
        with pytest.raises(ImageError) as caught:
            read_mask(path, num_classes=2)
        rule = "must hold class indices below 2, or 255; got 0 and 200. Map 200 to 1 with values={200: 1}."
        assert str(caught.value) == f"mask lesion_0042.png {rule}"
        assert caught.value.message == f"The mask {rule}"
        assert read_mask(path, num_classes=2, values={200: 1}).tolist() == [[0, 1]]

    def test_raw(self):
        raw = np.array([[0, 3, 200, 255]], np.uint8)
        assert np.array_equal(read_mask(raw), raw)
        assert mask_values(raw).tolist() == [0, 3, 200, 255]

    def test_values(self):
        raw = np.array([[0, 200, 255]], np.uint8)
        assert read_mask(raw, num_classes=2, values={200: 1}).tolist() == [[0, 1, 255]]
        assert read_mask(raw[:, :2], num_classes=2, values={200: 255}).tolist() == [[0, 255]]
        assert read_mask(raw[:, ::2], num_classes=2, values={255: 255}).tolist() == [[0, 255]]
        assert read_mask(raw[:, ::2], num_classes=2, values={255: 1}, ignore_index=None).tolist() == [[0, 1]]
        swapped = read_mask(np.array([[0, 1]], np.uint8), num_classes=2, values={0: 1, 1: 0})
        assert swapped.tolist() == [[1, 0]]
        assert read_mask(np.array([[0, 1000]], np.uint16), num_classes=2, values={1000: 1}).tolist() == [[0, 1]]

    def test_several_classes(self):
        raw = np.array([[0, 1, 2, 255]], np.uint8)
        assert read_mask(raw, num_classes=3).tolist() == raw.tolist()
        assert "below 2, or 255; got 0, 1, 2 and 255." in message(raw, read_mask, num_classes=2)
        assert "below 3; got 0, 1, 2 and 255." in message(raw, read_mask, num_classes=3, ignore_index=None)
        assert "values={4: 1}" in message(np.array([[0, 4]], np.uint8), read_mask, num_classes=3)

    def test_another_ignore_value(self):
        raw = np.array([[0, 254, 255]], np.uint8)
        assert read_mask(raw, num_classes=2, ignore_index=254).tolist() == [[0, 254, 1]]

    def test_threshold(self, tmp_path):
        disc = np.zeros((64, 64), np.uint8)
        disc[20:44, 13:50] = 255
        path = save(tmp_path / "a.jpg", Image.fromarray(disc), quality=60)
        assert len(mask_values(path)) > 2  # JPEG smears the edge
        assert "pass threshold=128" in message(path, read_mask, num_classes=2)
        assert np.array_equal(read_mask(path, num_classes=2, threshold=128), disc // 255)
        edge = np.array([[0, 127, 128, 255]], np.uint8)
        assert read_mask(edge, threshold=128).tolist() == [[0, 0, 1, 1]]
        faint = np.array([[0, 1, 2]], np.uint8)
        assert message(faint, read_mask, threshold=128) == "The mask must hold values of 128 or above; got 0, 1 and 2."

    def test_palette_keeps_its_indices(self, tmp_path):
        palette = chunk(b"PLTE", bytes([0, 0, 0, 200, 30, 30, 9, 9, 9]))
        rows = b"\0\0\1\2"
        path = save(tmp_path / "a.png", png(3, 1, 8, 3, rows, palette))
        assert read_mask(path, num_classes=3).tolist() == [[0, 1, 2]]
        packed = png(3, 1, 2, 3, bytes([0, 0b00011000]), palette, chunk(b"tRNS", b"\0"))
        assert read_mask(save(tmp_path / "b.png", packed), num_classes=3).tolist() == [[0, 1, 2]]

    def test_1_bit(self, tmp_path):
        path = save(tmp_path / "a.png", png(8, 1, 1, 0, bytes([0, 0b01100001])))
        assert read_mask(path, num_classes=2).tolist() == [[0, 1, 1, 0, 0, 0, 0, 1]]
        assert read_mask(save(tmp_path / "a.bmp", Image.open(path)), num_classes=2).tolist()[0][:3] == [0, 1, 1]

    def test_16_bit(self, tmp_path):
        rows = b"\0" + struct.pack(">3H", 0, 1, 2)
        path = save(tmp_path / "a.png", png(3, 1, 16, 0, rows))
        assert read_mask(path, num_classes=3).tolist() == [[0, 1, 2]]
        path = save(tmp_path / "a.tiff", Image.fromarray(np.array([[0, 1, 2]], np.int32)))
        assert read_mask(path, num_classes=3).tolist() == [[0, 1, 2]]
        high = np.array([[0, 300]], np.uint16)
        assert "got 0 and 300" in message(high, read_mask, num_classes=2)
        assert "below 256; got 0 and 300" in message(high, read_mask)
        assert mask_values(high).tolist() == [0, 300]

    @pytest.mark.parametrize(("colour", "name"), [(2, "a.png"), (6, "a.png")])
    def test_16_bit_colour_would_lose_the_class(self, tmp_path, colour, name):
        rows = b"\0" + struct.pack(">3H", 1, 1, 1) + (b"\xff\xff" if colour == 6 else b"")
        assert "got 16-bit colour" in message(save(tmp_path / name, png(1, 1, 16, colour, rows)), read_mask)

    def test_equal_channels(self, tmp_path):
        grey = np.array([[0, 255], [255, 0]], np.uint8)
        for mode in ("RGB", "RGBA", "LA"):
            path = save(tmp_path / "a.png", Image.fromarray(grey).convert(mode))
            assert np.array_equal(read_mask(path, num_classes=2), grey // 255), mode
        assert np.array_equal(read_mask(np.repeat(grey[..., None], 3, axis=2), num_classes=2), grey // 255)
        assert np.array_equal(read_mask(torch.from_numpy(grey)[None], num_classes=2), grey // 255)

    def test_colours_are_refused(self, tmp_path):
        colours = np.zeros((4, 4, 3), np.uint8)
        colours[1, 2] = (128, 0, 64)
        words = message(save(tmp_path / "a.png", Image.fromarray(colours)), read_mask, num_classes=2)
        assert "got colours such as (128, 0, 64). Save it as a palette PNG" in words
        assert "values={" in words

    def test_shapes_in_the_transparency_are_refused(self, tmp_path):
        pixels = np.zeros((4, 4, 4), np.uint8)
        pixels[:2, :, 3] = 255
        words = message(save(tmp_path / "a.png", Image.fromarray(pixels)), read_mask, num_classes=2)
        assert words == "The mask must hold its shapes in grey; got them in the transparency. Save it as grey PNG."

    def test_numbers(self):
        assert read_mask(np.array([[False, True]]), num_classes=2).tolist() == [[0, 1]]
        assert read_mask(torch.tensor([[0, 2]]), num_classes=3).tolist() == [[0, 2]]
        assert read_mask(np.array([[0.0, 255.0]]), num_classes=2).tolist() == [[0, 1]]
        assert "got fractions or NaN" in message(np.array([[0.5]]), read_mask)
        assert "got fractions or NaN" in message(np.full((2, 2, 3), np.nan), read_mask)
        assert "got -1 and 0" in message(np.array([[0, -1]]), read_mask, num_classes=2)
        assert "got <U1" in message(np.array([["a"]]), read_mask)
        assert "at least one pixel" in message(np.zeros((0, 4), np.uint8), read_mask)

    def test_long_lists_are_cut(self):
        assert "got 0, 1, 2, 3, 4 and 95 more." in message(np.arange(100)[None], read_mask, num_classes=2)

    def test_size(self):
        raw = np.zeros((240, 320), np.uint8)
        assert read_mask(raw, size=(240, 320)).shape == (240, 320)
        words = "The mask is 320 × 240 but the picture is 640 × 480. They must be the same size."
        assert message(raw, read_mask, size=(480, 640)) == words

    def test_size_of_a_photo_stored_sideways(self, tmp_path):
        photo = save(tmp_path / "photo.jpg", Image.new("RGB", (64, 48)), exif=exif(6))
        height, width, _ = read_image(photo).shape
        assert (height, width) == (64, 48)
        mask = save(tmp_path / "mask.png", Image.new("L", (64, 48)))
        words = message(mask, read_mask, size=(height, width))
        assert words.startswith("The mask is 64 × 48 but the picture is 48 × 64. ")
        assert "stored sideways (EXIF)" in words
        assert words.endswith("the mask must have the size of the upright picture, 48 × 64.")

    @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
    def test_mask_that_is_stored_sideways_itself(self, tmp_path, orientation):
        mask = save(tmp_path / "mask.png", Image.new("L", (64, 48)), exif=exif(orientation))
        assert read_mask(mask, size=(64, 48)).shape == (64, 48)
        words = message(mask, read_mask, size=(48, 64))
        assert words.endswith("The mask is stored sideways (EXIF). Save it upright, 64 × 48.")

    def test_keywords_that_contradict(self):
        raw = np.zeros((2, 2), np.uint8)
        with pytest.raises(ValueError, match="num_classes must be from 1 to 255; got 0"):
            read_mask(raw, num_classes=0)
        with pytest.raises(ValueError, match="threshold must go with a binary mask"):
            read_mask(raw, num_classes=3, threshold=128)
        with pytest.raises(ValueError, match="threshold must go with a binary mask"):
            read_mask(raw, values={200: 1}, threshold=128)
        with pytest.raises(ValueError, match="values must map to class indices from 0 to 255"):
            read_mask(raw, values={200: 300})


class TestWriters:
    def test_binary_masks_can_be_seen_and_come_back(self, tmp_path):
        mask = RNG.integers(0, 2, (9, 7))
        for source in (mask, mask.astype(bool), torch.from_numpy(mask), torch.from_numpy(mask)[None]):
            write_mask(tmp_path / "a.png", source)
            with Image.open(tmp_path / "a.png") as image:
                assert np.array_equal(np.asarray(image), mask * 255)
            assert np.array_equal(read_mask(tmp_path / "a.png", num_classes=2), mask)

    def test_indices_come_back(self, tmp_path):
        mask = np.array([[0, 1, 2, 255]])
        write_mask(str(tmp_path / "a.png"), mask)
        assert np.array_equal(read_mask(tmp_path / "a.png", num_classes=3), mask)
        write_mask(tmp_path / "a.png", mask[:, :2], binary=False)
        assert mask_values(tmp_path / "a.png").tolist() == [0, 1]

    def test_pictures_come_back(self, tmp_path):
        for pixels in (noise(), noise()[..., 0], noise()[:, ::2]):
            write_png(tmp_path / "a.png", pixels)
            expected = pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=-1)
            assert np.array_equal(read_image(tmp_path / "a.png"), expected)

    @pytest.mark.parametrize("shape", [(1, 1), (9, 5), (17, 30, 3), (1, 300), (40, 1, 3)])
    def test_quick_png_has_every_pixel(self, tmp_path, shape):
        for pixels in (RNG.integers(0, 256, shape, dtype=np.uint8), np.full(shape, 7, np.uint8)):
            for pack in (images.packed, partial(images.packed, flat=True)):
                for one in (pixels, pixels[::-1]):
                    with Image.open(save(tmp_path / "a.png", images.picture_png(one, pack))) as image:
                        assert image.mode == ("L" if len(shape) == 2 else "RGB")
                        assert np.array_equal(np.asarray(image), one)

    def test_what_is_no_mask_or_picture(self, tmp_path):
        path = tmp_path / "a.png"
        assert "from 0 to 1; got 0 to 2." in message(path, lambda p: write_mask(p, np.array([[0, 2]]), binary=True))
        assert "from 0 to 255; got 0 to 256." in message(path, lambda p: write_mask(p, np.array([[0, 256]])))
        assert "at least one pixel" in message(path, lambda p: write_mask(p, np.zeros((0, 3), int)))
        assert "got float64 (4, 4)." in message(path, lambda p: write_png(p, np.zeros((4, 4))))
        assert "got uint8 (4, 4, 2)." in message(path, lambda p: write_png(p, np.zeros((4, 4, 2), np.uint8)))
        assert "must end in .png; got '.jpg'." in message(
            tmp_path / "a.jpg", lambda p: write_png(p, np.zeros((4, 4), np.uint8))
        )
        assert not list(tmp_path.iterdir())

    def test_failure_keeps_the_old_file_and_leaves_nothing(self, tmp_path, monkeypatch):
        path = tmp_path / "a.png"
        write_mask(path, np.array([[0, 1]]))
        old = path.read_bytes()

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        for module, name in ((images, "mask_png"), (os, "fsync"), (os, "replace")):
            with monkeypatch.context() as patch:
                patch.setattr(module, name, full)
                with pytest.raises(OSError, match=r"a.png could not be written: No space left on device"):
                    write_mask(path, np.array([[1, 1]]))
            assert path.read_bytes() == old
            assert [p.name for p in tmp_path.iterdir()] == ["a.png"]

    def test_interrupt_leaves_nothing(self, tmp_path, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_mask(tmp_path / "a.png", np.array([[1, 1]]))
        assert not list(tmp_path.iterdir())

    def test_missing_folder(self, tmp_path):
        for folder in (tmp_path / "none", save(tmp_path / "file", b"x")):
            with pytest.raises(OSError, match="a.png could not be written"):
                write_mask(folder / "a.png", np.eye(2))

    def test_files_follow_the_umask(self, tmp_path):
        (tmp_path / "plain").write_bytes(b"")
        write_mask(tmp_path / "a.png", np.eye(2))
        assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
