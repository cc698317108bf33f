"""Reading and augmenting pictures, against Pillow, torchvision and albumentations."""

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seglab import augmentation
from seglab.batches import Cache, batches
from seglab.benchmarks._paired import Row, paired
from seglab.data import Pair, PairedFolder, load_dataset
from seglab.images import Picture, read_image
from seglab.inference import letterbox

__all__ = ["rows"]

COUNT = 24  # pictures augmented in a round, so that each has its share of blur and noise


def rows(*, quick: bool) -> Iterator[Row]:
    """Augmentation, an epoch from the cache, a photo from a telephone."""
    rounds = 3 if quick else 15
    yield from _augmentation(64 if quick else 256, rounds)
    yield from _epochs(8 if quick else 64, rounds)
    for grain in (0, 7):
        yield _photo((300, 400) if quick else (3000, 4000), rounds, grain)


def _augmentation(side: int, rounds: int) -> Iterator[Row]:
    """Picture and mask turned, flipped, zoomed, sheared, coloured, in part blurred and noisy, uint8 in and out."""
    import cv2

    sample = load_dataset("synthetic", kind="skin", count=(0, 0, 1), size=(side, side)).test[0]
    image, mask = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy()), sample.mask.numpy()
    numbers = iter(range(10**9))

    def ours() -> None:
        for _ in range(COUNT):
            augmentation.apply(image, mask, augmentation.draw(0, 0, next(numbers)))

    what = f"picture and mask augmented, {side} px"
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for against, wanted, goal, make in (
            ("torchvision v2, per sample", ">= 10", 10, _torchvision),
            ("albumentations", ">= 1.3", 1.3, _albumentations),
        ):
            try:
                theirs = make(image, mask)
            except ImportError:
                yield Row(what, against, wanted, "not installed", None)
                continue
            ratio = paired(theirs, ours, rounds=rounds)
            yield Row(what, against, wanted, str(ratio), ratio.median >= goal)
    finally:
        cv2.setNumThreads(threads)


def _torchvision(image: np.ndarray, mask: np.ndarray) -> Callable[[], None]:
    """The same ranges with torchvision."""
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    picture = tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1))
    truth = tv_tensors.Mask(torch.from_numpy(mask)[None])
    turn = v2.Compose([
        v2.RandomHorizontalFlip(),
        v2.RandomAffine(180, (0.1, 0.1), (0.75, 1.35), shear=6, interpolation=v2.InterpolationMode.BILINEAR),
        v2.ColorJitter(0.2, 0.3, 0.4),
        v2.RandomApply([v2.GaussianBlur(7, (0.3, 1.5))], p=0.2),
        v2.RandomApply([v2.GaussianNoise(sigma=0.0225)], p=0.2),
    ])  # fmt: skip

    def run() -> None:
        for _ in range(COUNT):
            turn(picture, truth)

    return run


def _albumentations(image: np.ndarray, mask: np.ndarray) -> Callable[[], None]:
    """The same ranges with albumentations."""
    import albumentations as A

    turn = A.Compose([
        A.HorizontalFlip(),
        A.Affine(scale=(0.75, 1.35), rotate=(-180, 180), shear=(-6, 6), translate_percent=(-0.1, 0.1), p=1),
        A.ColorJitter((0.8, 1.2), (0.75, 1.33), (0.6, 1.4), (0, 0), p=1),
        A.GaussianBlur(sigma_limit=(0.3, 1.5), p=0.2),
        A.GaussNoise(std_range=(0.005, 0.04), p=0.2),
    ])  # fmt: skip

    def run() -> None:
        for _ in range(COUNT):
            turn(image=image, mask=mask)

    return run


def _files(count: int, folder: Path) -> PairedFolder:
    """Photos of 1024 x 768 pixels with their masks, on disk."""
    generated = load_dataset("synthetic", kind="skin", count=(count, 1, 1), size=(768, 1024)).train
    pairs = []
    for index in range(count):
        sample = generated[index]
        picture, mask = folder / f"{index}.jpg", folder / f"{index}.png"
        Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(picture, quality=90)
        Image.fromarray(sample.mask.numpy() * np.uint8(255)).save(mask)
        pairs.append(Pair(f"{index}", picture, mask, f"{index}"))
    return PairedFolder(tuple(pairs))


@contextmanager
def _caching(place: str) -> Iterator[None]:
    """What SEGLAB_CACHE says, for a while."""
    before = os.environ.get("SEGLAB_CACHE")
    os.environ["SEGLAB_CACHE"] = place
    try:
        yield
    finally:
        os.environ.pop("SEGLAB_CACHE")
        if before is not None:
            os.environ["SEGLAB_CACHE"] = before


def _epochs(count: int, rounds: int) -> Iterator[Row]:
    """Shuffled float batches without augmentation from the disk cache, and the way there."""
    side, batch = 256, 16
    with tempfile.TemporaryDirectory() as folder, _caching(folder):
        data = _files(count, Path(folder))
        cache = Cache(data, side)

        def theirs() -> None:
            for start in range(0, count, batch):
                some = [Image.open(pair.image).convert("RGB") for pair in data.pairs[start : start + batch]]
                squares = np.stack([np.asarray(one.resize((side, side))) for one in some])
                torch.from_numpy(squares).permute(0, 3, 1, 2).float().div_(255)

        def ours() -> None:
            for _ in batches(cache, batch_size=batch, seed=0, epoch=0, draw=None, workers=0):
                pass

        def first() -> None:
            with _caching("off"):
                Cache(data, side, workers=1)

        what = f"1024 x 768 pictures at {side} px"
        ratio = paired(theirs, ours, rounds=rounds)
        yield Row(f"an epoch of {what}", "Pillow, decoded each epoch", ">= 50", str(ratio), ratio.median >= 50)
        ratio = paired(first, lambda: Cache(data, side, workers=1), rounds=rounds)
        row = f"start of a training on {what}, not the first"
        yield Row(
            row, "every picture decoded again", ">= 5", str(ratio), ratio.median >= 5, "files compared by content"
        )


def _photo(shape: tuple[int, int], rounds: int, grain: float) -> Row:
    """A photo from a telephone to what a model sees at 256 px; grain makes the file larger, and slower to decode."""
    stored = _jpeg(shape, grain)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(stored)

        def theirs() -> np.ndarray:
            with Image.open(path) as opened:
                side = (256, round(256 * shape[0] / shape[1]))
                return np.asarray(opened.convert("RGB").resize(side, Image.Resampling.BILINEAR))

        def ours() -> np.ndarray:
            return letterbox(Picture(path), 256)[0]

        ratio = paired(theirs, ours, rounds=rounds)
        apart = float(np.abs(ours().astype(float) - letterbox(read_image(path), 256)[0]).mean())
    megapixels = shape[0] * shape[1] / 1e6
    met = ratio.median >= 4 and apart <= 0.5
    note = f"mean difference {apart:.2f} grey levels from the same shrinking of every pixel"
    return Row(
        f"{megapixels:.0f}-megapixel photo of {len(stored) / 1e6:.1f} MB to 256 px",
        "Pillow decode and resize",
        ">= 4 at <= 0.5 grey level",
        str(ratio),
        met,
        note,
    )


def _jpeg(shape: tuple[int, int], grain: float) -> bytes:
    """A JPEG of quality 92 with soft colours, and with noise of `grain` grey levels, as a sensor makes it."""
    rng = np.random.default_rng(0)
    small = rng.integers(60, 200, (shape[0] // 20, shape[1] // 20, 3), dtype=np.uint8)
    photo = Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC)
    noise = rng.normal(0, grain, (*shape, 3)).round()
    stored = io.BytesIO()
    Image.fromarray((np.asarray(photo) + noise).clip(0, 255).astype(np.uint8)).save(stored, "JPEG", quality=92)
    return stored.getvalue()
