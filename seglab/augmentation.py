"""Random geometry and colour for a picture and its mask, drawn from (seed, epoch, index) and nothing else.

One sampler draws the parameters; one executor applies them: all geometry composed into one warp, all colour into one
3x4 matrix, blur and noise when drawn. So a picture is resampled once, and the same (seed, epoch, index) gives the same
result in any order, with any number of workers, and after a resume.
"""

import math
from dataclasses import dataclass

import numpy as np

from seglab.contract import PADDING_GREY

__all__ = ["Parameters", "apply", "draw"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """One draw of the augmentation."""

    matrix: np.ndarray  # (2, 3) float64: output pixel -> input pixel, coordinates as shares of the side, centre 0
    colour: np.ndarray  # (3, 4) float32: RGB and 1 -> RGB, on [0, 1]
    blur: float  # sigma as a share of the side, 0: none
    noise: float  # sigma of Gaussian noise on [0, 1], 0: none
    noise_seed: int


def draw(seed: int, epoch: int, index: int, *, rotation: float = 180.0, strength: float = 1.0) -> Parameters:
    """Parameters of one picture in one epoch.

    Rotation by any angle, flips, zoom 0.75 to 1.35, side ratio 0.8 to 1.25, shear up to 0.1, shift up to 0.1 of the
    side; brightness, contrast, saturation, warmth; in one of five pictures blur, in one of five noise.

    Args:
        seed: Seed of the run, 0 or above.
        epoch: Epoch, from 0.
        index: Index of the picture in the data set, from 0.
        rotation: Largest turn in degrees, either way, in [0, 180]. Below 180 flips go upside down too, so that a
            texture keeps its direction and is still seen from both sides; at 180 that would add nothing.
        strength: Share of every other range above, in [0, 1]; flips stay.

    Example:
        >>> draw(0, 1, 2).noise_seed == draw(0, 1, 2).noise_seed, draw(0, 1, 2).noise_seed == draw(0, 2, 2).noise_seed
        (True, False)
    """
    rng = np.random.Generator(np.random.PCG64([seed, epoch, index]))
    angle = rng.uniform(-math.radians(rotation), math.radians(rotation))
    flip = rng.choice([-1.0, 1.0])
    flop = rng.choice([-1.0, 1.0]) if rotation < 180 else 1.0
    zoom = math.exp(rng.uniform(math.log(0.75), math.log(1.35)) * strength)
    ratio = math.exp(rng.uniform(math.log(0.8), math.log(1.25)) / 2 * strength)
    shear = rng.uniform(-0.1, 0.1) * strength
    shift = rng.uniform(-0.1, 0.1, 2) * strength
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    squeeze = np.array([[flip * ratio / zoom, shear], [0.0, flop / (ratio * zoom)]])
    matrix = np.column_stack([turn @ squeeze, shift])
    return Parameters(
        matrix=matrix,
        colour=_draw_colour(rng, strength),
        blur=float(rng.uniform(0.001, 0.006)) * strength if rng.random() < 0.2 else 0.0,
        noise=float(rng.uniform(0.005, 0.04)) * strength if rng.random() < 0.2 else 0.0,
        noise_seed=int(rng.integers(2**31)),
    )


def apply(
    image: np.ndarray, mask: np.ndarray, parameters: Parameters, padding: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Augmented copy of a square picture and its mask.

    Outside the picture, both are mirrored, so no border appears that the mask would have to explain.

    Args:
        image: (S, S, 3) uint8.
        mask: (S, S) uint8, class indices or IGNORE_INDEX.
        parameters: From `draw`.
        padding: (S, S) uint8, above 0 on the letterbox's grey, which stays as grey as it is at inference; None if
            there is none. Not taken from the mask: pixels of unknown class are picture, and painting them grey would
            show the model where they lie.

    Returns:
        Image (S, S, 3) uint8 with bilinear, mask (S, S) uint8 with nearest interpolation.

    Raises:
        ValueError: If the picture is not square or the mask has another size.

    Example:
        >>> image, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
        >>> [array.shape for array in apply(image, mask, draw(0, 0, 0))]
        [(8, 8, 3), (8, 8)]
    """
    import cv2  # a heavy module, and only training needs it

    side = image.shape[0]
    if image.shape != (side, side, 3) or mask.shape != (side, side):
        raise ValueError(f"image must be (S, S, 3) with mask (S, S); got {image.shape} and {mask.shape}.")
    matrix = _in_pixels(parameters.matrix, side)

    def warp(array: np.ndarray, method: int) -> np.ndarray:
        flags = cv2.WARP_INVERSE_MAP | method
        return cv2.warpAffine(array, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)

    image, mask = warp(image, cv2.INTER_LINEAR), warp(mask, cv2.INTER_NEAREST)
    if parameters.blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), parameters.blur * side)
    table = parameters.colour.copy()
    table[:, 3] *= 255
    image = cv2.transform(image, table)
    if parameters.noise > 0:
        rng = np.random.Generator(np.random.PCG64(parameters.noise_seed))
        noise = rng.normal(0, parameters.noise * 255, image.shape)
        image = np.clip(image + noise, 0, 255).round().astype(np.uint8)
    if padding is not None:
        image[warp(padding, cv2.INTER_NEAREST) > 0] = PADDING_GREY
    return image, mask


def _draw_colour(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Brightness, contrast, saturation and warmth as one (3, 4) matrix on [0, 1]."""
    brightness = rng.uniform(-0.1, 0.1) * strength
    contrast = math.exp(rng.uniform(math.log(0.75), math.log(1.33)) * strength)
    saturation = 1 + rng.uniform(-0.4, 0.4) * strength
    warmth = rng.uniform(-0.06, 0.06) * strength
    grey = np.full((3, 3), 1 / 3)
    mix = saturation * np.eye(3) + (1 - saturation) * grey
    mix = np.diag([1 + warmth, 1.0, 1 - warmth]) @ mix * contrast
    offset = 0.5 - contrast * 0.5 + brightness  # contrast pivots about mid-grey
    return np.column_stack([mix, np.full(3, offset)]).astype(np.float32)


def _in_pixels(matrix: np.ndarray, side: int) -> np.ndarray:
    """The matrix for pixel coordinates, whose centre is (side - 1) / 2."""
    centre = (side - 1) / 2
    linear = matrix[:, :2]
    offset = matrix[:, 2] * side + centre - linear @ np.array([centre, centre])
    return np.column_stack([linear, offset])
