"""Reading and augmenting pictures, against Pillow, torchvision and albumentations."""

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seglab import augmentation
from seglab.batches import Cache
from seglab.benchmarks._paired import Row, paired
from seglab.data import load_dataset
from seglab.images import Picture, read_image
from seglab.inference import letterbox

__all__ = ["rows"]


def rows(*, quick: bool) -> Iterator[Row]:
    """Augmentation, an epoch from the cache, a photo from a telephone."""
    rounds = 3 if quick else 15
    yield from _augmentation(64 if quick else 256, rounds)
    yield _epoch(8 if quick else 64, rounds)
    yield _photo((300, 400) if quick else (3000, 4000), rounds)


def _augmentation(side: int, rounds: int) -> Iterator[Row]:
    """Picture and mask turned, flipped, zoomed, sheared, coloured and blurred together, uint8 in and out."""
    sample = load_dataset("synthetic", kind="skin", count=(0, 0, 1), size=(side, side)).test[0]
    image, mask = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy()), sample.mask.numpy()
    numbers = iter(range(10**9))

    def ours() -> None:
        for _ in range(8):
            augmentation.apply(image, mask, augmentation.draw(0, 0, next(numbers)))

    what = f"picture and mask augmented, {side} px"
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
    ])  # fmt: skip

    def run() -> None:
        for _ in range(8):
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
    ])  # fmt: skip

    def run() -> None:
        for _ in range(8):
            turn(image=image, mask=mask)

    return run


def _epoch(count: int, rounds: int) -> Row:
    """An epoch of float batches: from the cache, and decoded from JPEG files every time."""
    side, batch = 256, 8
    data = load_dataset("synthetic", kind="skin", count=(count, 1, 1), size=(768, 1024)).train
    cache = Cache(data, side)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for index in range(count):
            files.append(Path(folder) / f"{index}.jpg")
            Image.fromarray(data[index].image.permute(1, 2, 0).numpy()).save(files[-1], quality=90)

        def theirs() -> None:
            for start in range(0, count, batch):
                some = [Image.open(file).convert("RGB").resize((side, side)) for file in files[start : start + batch]]
                torch.from_numpy(np.stack([np.asarray(one) for one in some])).permute(0, 3, 1, 2).float().div_(255)

        def ours() -> None:
            for start in range(0, count, batch):
                cache.batch(tuple(range(start, min(start + batch, count))))

        ratio = paired(theirs, ours, rounds=rounds)
    return Row(
        f"an epoch of 1024 x 768 pictures at {side} px",
        "Pillow, decoded each epoch",
        ">= 50",
        str(ratio),
        ratio.median >= 50,
    )


def _photo(shape: tuple[int, int], rounds: int) -> Row:
    """A photo from a telephone to what a model sees at 256 px."""
    rng = np.random.default_rng(0)
    small = rng.integers(60, 200, (shape[0] // 20, shape[1] // 20, 3), dtype=np.uint8)
    photo = Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC)
    stored = io.BytesIO()
    photo.save(stored, "JPEG", quality=92)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(stored.getvalue())

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
        f"{megapixels:.0f}-megapixel photo to 256 px",
        "Pillow decode and resize",
        ">= 4 at <= 0.5 grey level",
        str(ratio),
        met,
        note,
    )
