"""Large photos, decoded only in part: held against Pillow's full decoding and the letterbox of every pixel."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from seglab.commands._engine import readable
from seglab.data import Joined, Pair, PairedFolder, _seen
from seglab.data._folds import Chosen
from seglab.evaluation import evaluate
from seglab.images import ImageError, Picture, _picture, fitted, read_image
from seglab.inference import Predictor, letterbox
from seglab.metrics import counts
from seglab.records import Noted
from seglab.robustness import robustness

SIDE = 64
DAMAGED = "The picture file is damaged or cut short. Copy it again and retry."
SIZES = [(1000, 700), (1001, 703), (1007, 699), (1713, 431), (431, 1717)]  # width, height: in part no multiple of 8


@pytest.fixture(autouse=True)
def _large_is_small(monkeypatch):
    monkeypatch.setattr(_picture, "LARGE", 20_000)
    monkeypatch.setattr(_seen, "LARGE", 20_000)


def scene(width: int, height: int) -> Image.Image:
    """Colours that change slowly, with a few sharp edges."""
    rng = np.random.default_rng(width)
    coarse = rng.integers(40, 215, (height // 100 + 2, width // 100 + 2, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    image.paste((20, 90, 160), (width // 4, height // 4, width // 2, height // 2))
    return image


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def inside(source: bytes | Picture | np.ndarray, side: int = SIDE) -> np.ndarray:
    """The letterbox without its padding, as float."""
    square, box = letterbox(source if isinstance(source, np.ndarray | Picture) else Picture(source), side)
    return square[box.top : box.top + box.height, box.left : box.left + box.width].astype(float)


def shift(first: np.ndarray, second: np.ndarray) -> float:
    """How far `second` lies to the right of and below `first`, in pixels, by least squares; the larger of both."""
    down, across = np.gradient(first, axis=(0, 1))
    slopes = np.stack([across.ravel(), down.ravel()], axis=1)
    return float(np.abs(np.linalg.lstsq(slopes, (first - second).ravel(), rcond=None)[0]).max())


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"quality": 60}], ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_letterbox_is_that_of_every_pixel_within_half_a_grey_level(size, options):
    data = jpeg(scene(*size), **options)
    assert Picture(data).within(SIDE) is not None
    full = np.asarray(Image.open(io.BytesIO(data)))
    got, want = inside(data), inside(full)
    assert letterbox(Picture(data), SIDE)[1] == letterbox(full, SIDE)[1]
    assert got.shape == want.shape == (*fitted(*full.shape[:2], SIDE), 3)
    assert np.abs(got - want).mean() <= 0.5
    assert np.abs(got - want).max() <= 20  # of 200, on the sharp edges
    assert np.abs(got - want)[-1].mean() <= 0.8
    assert np.abs(got - want)[:, -1].mean() <= 0.8


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_shifted_at_any_border(size):
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(40, 215, (9, 9, 3), dtype=np.uint8))
    data = jpeg(coarse.resize(size, Image.Resampling.BICUBIC), quality=98)
    got, want = inside(data), inside(read_image(data))
    quarter = (max(12, got.shape[0] // 4), max(12, got.shape[1] // 4))
    for part in (
        np.s_[:, :],
        np.s_[: quarter[0]],
        np.s_[-quarter[0] :],
        np.s_[:, : quarter[1]],
        np.s_[:, -quarter[1] :],
    ):
        assert shift(want[part], got[part]) < 0.02, part  # of a pixel that the network sees


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photo_is_seen_upright(orientation):
    data = jpeg(scene(301, 203), exif=turned(orientation))
    picture, full = Picture(data), read_image(data)
    assert picture.shape == full.shape == ((203, 301, 3) if orientation < 5 else (301, 203, 3))
    assert np.abs(inside(picture) - inside(full)).mean() <= 0.5
    assert letterbox(picture, SIDE)[1] == letterbox(full, SIDE)[1]
    assert np.array_equal(picture.pixels, full)


def test_grey_photo_gets_three_equal_channels():
    data = jpeg(scene(300, 200).convert("L"))
    got = inside(data)
    assert np.abs(got - inside(read_image(data))).mean() <= 0.5
    assert (got == got[..., :1]).all()


def test_only_large_photos_are_decoded_in_part(monkeypatch, tmp_path):
    image = scene(300, 200)
    image.save(tmp_path / "a.png")
    others = [
        tmp_path / "a.png",
        jpeg(image.convert("CMYK")),
        np.asarray(image),
        image,
        torch.zeros(3, 200, 300).byte(),
    ]
    assert all(Picture(one).within(SIDE) is None for one in others)
    data = jpeg(image)
    monkeypatch.setattr(_picture, "LARGE", 300 * 200 + 1)
    assert Picture(data).within(SIDE) is None
    monkeypatch.setattr(_picture, "LARGE", 300 * 200)
    assert Picture(data).within(75) is not None
    assert Picture(data).within(76) is None  # half of 300 would be less than twice as many
    assert np.array_equal(letterbox(Picture(data), 76)[0], letterbox(read_image(data), 76)[0])


def test_camera_pictures_below_4_megapixels_are_decoded_in_full(monkeypatch):
    monkeypatch.undo()
    assert Picture(jpeg(Image.new("RGB", (1999, 2000)))).within(SIDE) is None
    assert Picture(jpeg(Image.new("RGB", (2000, 2000)))).within(SIDE) is not None


def test_pixels_are_those_of_pillow_whatever_was_decoded_before():
    data = jpeg(scene(301, 203))
    picture = Picture(data)
    small = picture.within(SIDE)
    assert np.array_equal(picture.pixels, np.asarray(Image.open(io.BytesIO(data))))
    assert picture.within(SIDE) is small
    assert picture.within(16).shape == (*fitted(203, 301, 16), 3)
    assert np.array_equal(Picture(data).within(SIDE), small)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("global_switch", [False, True])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
def test_cut_photos_are_refused_at_any_size(tmp_path, monkeypatch, options, global_switch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", global_switch)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    whole = jpeg(noise, **options)
    for share in (0.2, 0.5, 0.9, 0.99):
        file = tmp_path / "photo.jpg"
        file.write_bytes(whole[: int(len(whole) * share)])
        for look in (lambda one: one.within(SIDE), lambda one: one.within(16), lambda one: one.pixels):
            with pytest.raises(ImageError) as caught:
                look(Picture(file))
            assert str(caught.value) == f"photo.jpg: {DAMAGED}", share


def test_limits_are_checked_before_anything_is_decoded():
    with pytest.raises(ImageError, match="the limit is 0.05"):
        Picture(jpeg(scene(300, 200)), max_pixels=50_000)
    with pytest.raises(ImageError, match="The file is larger than"):
        Picture(jpeg(scene(300, 200)), max_bytes=1000)


# --- the predictor


def test_predictor_decodes_no_more_than_it_needs_and_answers_at_full_size(monkeypatch, tmp_path, small_unet):
    (tmp_path / "photo.jpg").write_bytes(jpeg(scene(301, 203), exif=turned(6)))
    predictor = Predictor(small_unet(), size=SIDE)
    full = Predictor.probs(predictor, read_image(tmp_path / "photo.jpg"))
    with monkeypatch.context() as patch:
        patch.setattr(Picture, "pixels", property(lambda _: pytest.fail("decoded in full")))
        prediction = predictor(tmp_path / "photo.jpg")
    assert prediction.mask.shape == prediction.probs.shape[1:] == (301, 203)
    assert 0 < np.abs(prediction.probs - full).max() < 0.02
    assert np.array_equal(predictor(str(tmp_path / "photo.jpg")).probs, prediction.probs)
    assert np.array_equal(predictor(Picture(tmp_path / "photo.jpg")).probs, prediction.probs)


def test_tiles_have_every_pixel(tmp_path, small_unet):
    (tmp_path / "photo.jpg").write_bytes(jpeg(scene(301, 203)))
    predictor = Predictor(small_unet(), size=SIDE, tile=100)
    full = predictor(read_image(tmp_path / "photo.jpg"))
    assert np.array_equal(predictor(tmp_path / "photo.jpg").probs, full.probs)


def test_engines_are_compared_on_the_photos_that_can_be_read(tmp_path):
    whole = jpeg(scene(300, 200))
    for name, data in (("a", whole), ("b", whole[:-500]), ("c", b""), ("d", whole)):
        (tmp_path / f"{name}.jpg").write_bytes(data)
    seen = list(readable(sorted(tmp_path.iterdir()), SIDE))
    assert [letterbox(one, SIDE)[0].shape for one in seen] == [(SIDE, SIDE, 3)] * 2


# --- the data


class Sharp(torch.nn.Module):
    """Object where the picture is above its mean: half a grey level decides about many pixels."""

    num_classes = 1

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return (batch[:, :1] - batch[:, :1].mean()) * 1000


@pytest.fixture
def photos(tmp_path) -> PairedFolder:
    pairs = []
    for number, size in enumerate(SIZES[:3]):
        image, mask = tmp_path / f"{number}.jpg", tmp_path / f"{number}.png"
        image.write_bytes(jpeg(scene(*size)))
        Image.new("L", size, 255).save(mask)
        pairs.append(Pair(image.stem, image, mask, image.stem))
    return PairedFolder(tuple(pairs))


def test_photos_of_a_dataset_are_scored_as_predict_answers_them(photos):
    predictor = Predictor(Sharp(), size=SIDE)
    masks = [torch.from_numpy(predictor(pair.image).mask)[None] for pair in photos.pairs]
    want = torch.cat([counts(mask, torch.ones_like(mask), 1) for mask in masks])
    full = [predictor(read_image(pair.image)).mask for pair in photos.pairs]
    assert any((one != mask[0].numpy()).any() for one, mask in zip(full, masks, strict=True))
    joined, chosen = Joined((photos,), ("a",)), Chosen((photos,), ((0, 0), (0, 1), (0, 2)))
    for data in (photos, joined, chosen, Noted(joined)):
        assert torch.equal(evaluate(predictor, data, boundary=False, probabilities=False).counts, want), type(data)
    swept = robustness({"one": predictor}, photos, corruptions=["noise"], severities={"noise": [1]})
    assert torch.equal(swept.sweep("noise").counts[0, 0], want)


def test_only_files_that_are_read_as_they_are_stand_for_their_pixels(photos):
    class Unknown:
        classes = photos.classes

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int):
            return photos[index]

    other = PairedFolder(photos.pairs, read_image=lambda path: 255 - read_image(path))
    image = photos[0].image.permute(1, 2, 0).numpy()
    assert isinstance(_seen.seen(photos, 0, image), Picture)
    assert _seen.seen(photos, 0, image[:10, :10].copy()).shape == (10, 10, 3)  # small: as it is
    for data in (other, Unknown(), Joined((other,), ("a",))):
        assert _seen.seen(data, 0, image) is image
    photos.pairs[0].image.write_bytes((photos.pairs[0].mask).read_bytes())  # no JPEG: decoded already
    assert _seen.seen(photos, 0, image) is image
