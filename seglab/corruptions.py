"""Disturb a picture by so much, in units a reader can check: noise, blur, JPEG, light, contrast, hair, resolution.

A disturbed picture depends on its name, severity, seed and index only, so every model sees the same one. What is random
is drawn once per (name, seed, index) and only scaled by the severity: a stronger noise is the same noise, louder, and
more hair is the same hair and some more. Truth is never touched.
"""

import io
import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seglab.contract import require_name

__all__ = ["Corruption", "corrupt", "find_corruption", "list_corruptions"]

Picture = NDArray[np.uint8]
DIRECT_BLUR = 8.0  # pixels; a wider blur is done on a smaller copy, 20 times faster at 30 pixels


@dataclass(frozen=True)
class Corruption:
    """What a disturbance does, and the one number that says how strongly.

    Attributes:
        name: As `corrupt` takes it.
        title: For a figure or a slider.
        unit: What the severity counts.
        low: Lowest severity.
        high: Highest severity.
        none: The severity that leaves the picture as it is, bit for bit.
        severities: Five to try, from weak to strong; of a disturbance with two directions, from low to high.
        whole: True if the severity must be a whole number.
    """

    name: str
    title: str
    unit: str
    low: float
    high: float
    none: float
    severities: tuple[float, ...]
    whole: bool = False

    def require(self, severity: float) -> None:
        """Refuse a severity out of range.

        Raises:
            ValueError: If it is below `low`, above `high`, or not whole where it must be.

        Example:
            >>> find_corruption("jpeg").require(0)
            Traceback (most recent call last):
            ValueError: severity of jpeg must be a whole number from 1 to 100 (quality, 100: not compressed); got 0.
        """
        fits = math.isfinite(severity) and self.low <= severity <= self.high
        if not fits or (self.whole and severity != int(severity)):
            number = "a whole number from" if self.whole else "from"
            rule = f"{number} {self.low:g} to {self.high:g} ({self.unit})"
            raise ValueError(f"severity of {self.name} must be {rule}; got {severity:g}.")


def list_corruptions() -> list[str]:
    """Names that `corrupt` takes.

    Example:
        >>> list_corruptions()
        ['blur', 'brightness', 'contrast', 'hair', 'jpeg', 'noise', 'resolution']
    """
    return sorted(_KNOWN)


def find_corruption(name: str) -> Corruption:
    """Unit, range and default severities of a disturbance.

    Raises:
        ValueError: If there is none of that name.

    Example:
        >>> noise = find_corruption("noise")
        >>> noise.unit, noise.none, noise.severities
        ('sigma in grey levels', 0, (5, 10, 20, 40, 80))
    """
    require_name("corruption", name, _KNOWN)
    return _KNOWN[name][0]


def corrupt(image: Picture, name: str, severity: float, *, seed: int = 0, index: int = 0) -> Picture:
    """A disturbed copy of a picture; with the severity "none" of that disturbance an equal copy.

    - `noise`: Gaussian noise of that sigma in grey levels, independent in every pixel and channel, then rounded and
      clipped to 0 to 255. A model that shrinks the picture averages it: the same sigma harms a larger picture less.
    - `blur`: Gaussian blur; sigma in percent of the picture's shorter side, so that pictures of any size lose the same
      detail. On 768 pixels, 1 is a sigma of 7.68 pixels; less than a quarter of a pixel changes nothing.
    - `jpeg`: written and read as JPEG of that quality by Pillow, with colour at half resolution; 100: not compressed.
    - `brightness`: grey levels added to every channel, clipped; below 0 darker, above 0 brighter.
    - `contrast`: distance from the mean of all values of the picture, times the severity, clipped; below 1 flatter,
      above 1 harder.
    - `hair`: that many dark curved strands over the picture, 0.2 to 0.6 percent of its shorter side thick.
    - `resolution`: shrunk by that factor (averaging), then enlarged to its size again (bilinear).

    Args:
        image: (H, W, 3) uint8 RGB.
        name: One of `list_corruptions()`.
        severity: In the unit and range of `find_corruption(name)`.
        seed: Of noise and hair, 0 or above.
        index: Of the picture in its data set, 0 or above: every picture gets noise of its own.

    Raises:
        ValueError: If the picture is no such array, the name is unknown, or severity, seed or index is out of range.

    Example:
        >>> picture = np.full((64, 64, 3), 100, np.uint8)
        >>> corrupt(picture, "brightness", 30)[0, 0]
        array([130, 130, 130], dtype=uint8)
        >>> round(float(corrupt(picture, "noise", 10).astype(float).std()), 1)
        10.0

    Reference:
        D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
        Perturbations", ICLR 2019. Differs: severities are physical numbers, not steps 1 to 5; hair and resolution are
        ours; the random part is shared by all severities.
    """
    found = find_corruption(name)
    _require_picture(image)
    found.require(severity)
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be at least 0; got {seed} and {index}.")
    copy = np.array(image, order="C")
    if severity == found.none:
        return copy
    rng = np.random.Generator(np.random.PCG64([seed, index, zlib.crc32(name.encode())]))
    return _KNOWN[name][1](copy, float(severity), rng)


def _noise(image: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    values = rng.standard_normal(image.shape, dtype=np.float32)
    values *= np.float32(sigma)
    values += image
    return _to_grey_levels(values)


def _blur(image: Picture, percent: float, _: np.random.Generator) -> Picture:
    import cv2  # a heavy module

    height, width = image.shape[:2]
    sigma = percent / 100 * min(height, width)
    if sigma <= DIRECT_BLUR:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    factor = int(sigma / (DIRECT_BLUR / 2))
    small = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    # Shrinking by averages and enlarging by lines blur too, with variances 1/12 and 1/6 of a small pixel; the Gaussian
    # gives the rest.
    across, down = (math.sqrt((sigma * small.shape[i] / image.shape[i]) ** 2 - 1 / 4) for i in (1, 0))
    small = cv2.GaussianBlur(small, (0, 0), across, sigmaY=down)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _jpeg(image: Picture, quality: float, _: np.random.Generator) -> Picture:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=int(quality))
    with Image.open(stream) as picture:
        return np.array(picture.convert("RGB"))


def _brightness(image: Picture, offset: float, _: np.random.Generator) -> Picture:
    return _to_grey_levels(np.arange(256) + offset)[image]


def _contrast(image: Picture, gain: float, _: np.random.Generator) -> Picture:
    mean = float(image.mean())
    return _to_grey_levels((np.arange(256) - mean) * gain + mean)[image]


def _hair(image: Picture, count: float, rng: np.random.Generator) -> Picture:
    """Strands on quadratic Bezier curves; a row of random numbers each, so more strands keep the earlier ones."""
    import cv2  # a heavy module

    side = min(image.shape[:2])
    t = np.linspace(0, 1, 24)[:, None]
    for x, y, turn, reach, bend, width, shade in rng.random((int(count), 7)):
        middle = np.array([x * image.shape[1], y * image.shape[0]])
        along = np.array([math.cos(math.pi * turn), math.sin(math.pi * turn)]) * side * (0.15 + 0.4 * reach)
        bow = np.array([-along[1], along[0]]) * (1.2 * bend - 0.6)
        curve = (1 - t) ** 2 * (middle - along) + 2 * t * (1 - t) * (middle + bow) + t**2 * (middle + along)
        points = np.round(curve * 16).astype(np.int32)  # 4 bits below the pixel
        colour = tuple(float(round(grey * (0.4 + shade))) for grey in (48, 34, 28))
        thick = max(1, round(side * (0.002 + 0.004 * width)))
        cv2.polylines(image, [points], False, colour, thick, lineType=cv2.LINE_AA, shift=4)
    return image


def _resolution(image: Picture, factor: float, _: np.random.Generator) -> Picture:
    import cv2  # a heavy module

    height, width = image.shape[:2]
    inner = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _to_grey_levels(values: NDArray[np.floating]) -> Picture:
    """Rounded and clipped to 0 to 255."""
    levels: Picture = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def _require_picture(image: Picture) -> None:
    if not isinstance(image, np.ndarray):
        raise ValueError(f"picture must be an array (H, W, 3) uint8; got {type(image).__name__}.")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"picture must be (H, W, 3) uint8 with a pixel or more; got {image.shape} {image.dtype}.")


# fmt: off
_TABLE = (
    (_noise, Corruption("noise", "Gaussian noise", "sigma in grey levels", 0, 128, 0, (5, 10, 20, 40, 80))),
    (_blur, Corruption("blur", "Blur", "sigma in % of the shorter side", 0, 5, 0, (0.25, 0.5, 1, 2, 4))),
    (_jpeg, Corruption("jpeg", "JPEG", "quality, 100: not compressed", 1, 100, 100, (50, 25, 15, 10, 5), True)),
    (_brightness, Corruption("brightness", "Brightness", "grey levels added", -200, 200, 0, (-100, -60, -30, 30, 60))),
    (_contrast, Corruption("contrast", "Contrast", "gain", 0, 4, 1, (0.75, 0.5, 0.35, 0.2, 0.1))),
    (_hair, Corruption("hair", "Hair", "strands", 0, 200, 0, (5, 10, 20, 40, 80), True)),
    (_resolution, Corruption("resolution", "Resolution", "factor it is shrunk by", 1, 64, 1, (2, 4, 8, 16, 32))),
)
# fmt: on
_KNOWN = {found.name: (found, run) for run, found in _TABLE}
