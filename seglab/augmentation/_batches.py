"""The executor for a GPU: a batch at a time, in floats, with PyTorch, on the device the pictures are on."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seglab.augmentation._draws import Parameters
from seglab.augmentation._noise import quantiles, random_words
from seglab.contract import PADDING_GREY

__all__ = ["apply_batch"]


def apply_batch(
    images: Tensor, masks: Tensor, parameters: Sequence[Parameters], padding: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Augmented copies of square pictures and their masks.

    What `apply` does, for a batch and on any device. The two agree to rounding: `apply` rounds to whole grey levels
    after the warp, after the blur and after the colours, and places each pixel to 1/32 of a pixel or better; here
    nothing is rounded before the noise, whose numbers are the same. A mask's pixel may come from the neighbour where
    both are equally near.

    Args:
        images: (N, S, S, 3) uint8, S at least 2.
        masks: (N, S, S) uint8, class indices or IGNORE_INDEX.
        parameters: N draws.
        padding: (N, S, S) uint8 or bool, above 0 on the letterbox's grey; None if there is none.

    Returns:
        Images (N, S, S, 3) uint8 and masks (N, S, S) uint8, on the device of `images`.

    Raises:
        ValueError: If the shapes do not fit each other or the number of draws.

    Example:
        >>> from seglab.augmentation import draw
        >>> images, masks = torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.zeros(2, 8, 8, dtype=torch.uint8)
        >>> [tensor.shape for tensor in apply_batch(images, masks, [draw(0, 0, 0), draw(0, 0, 1)])]
        [torch.Size([2, 8, 8, 3]), torch.Size([2, 8, 8])]
    """
    count, side = len(parameters), images.shape[1]
    if images.shape != (count, side, side, 3) or masks.shape != (count, side, side) or side < 2:
        got = f"{tuple(images.shape)} and {tuple(masks.shape)}"
        raise ValueError(f"images must be ({count}, S, S, 3) with masks ({count}, S, S), S at least 2; got {got}.")
    device = images.device
    grid = _grid(np.stack([one.matrix for one in parameters]), side, device)  # (N, S, S, 2)
    colours = _warp(images.permute(0, 3, 1, 2), grid, "bilinear")  # (N, 3, S, S)
    picked = masks[:, None] if padding is None else torch.stack([masks, (padding > 0).to(masks.dtype)], dim=1)
    picked = _warp(picked, grid, "nearest").round().to(torch.uint8)  # (N, 1 or 2, S, S)
    colours = _blurred(colours, [one.blur * side for one in parameters])
    colours = _recoloured(colours, parameters)
    colours = _noisy(colours, parameters)
    colours = colours.round().to(torch.uint8)
    if padding is not None:
        colours.masked_fill_(picked[:, 1:] > 0, PADDING_GREY)
    return colours.permute(0, 2, 3, 1).contiguous(), picked[:, 0].contiguous()


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """Numbers on the device, as floats."""
    return _moved(torch.from_numpy(array.astype(np.float32)), device)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; the copy to a GPU does not make the processor wait."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _grid(matrices: np.ndarray, side: int, device: torch.device) -> Tensor:
    """Where each pixel is read, (N, S, S, 2), from -1 to 1 between the centres of the outermost pixels.

    Not with `affine_grid`, whose matrix product a GPU may compute with 11 bits, a quarter of a pixel of 1024.
    """
    half = (side - 1) / 2
    place = torch.arange(side, device=device) - half
    matrices[:, :, 2] *= side
    table = _tensor(matrices / half, device)[..., None, None]  # (N, 2, 3, 1, 1)
    return (table[:, :, 0] * place + table[:, :, 1] * place[:, None] + table[:, :, 2]).movedim(1, 3)


def _warp(tensor: Tensor, grid: Tensor, mode: str) -> Tensor:
    """(N, C, S, S) read at the grid's places, mirrored outside without repeating the border's pixels."""
    return F.grid_sample(tensor.float(), grid, mode=mode, padding_mode="reflection", align_corners=True)


def _blurred(images: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Gaussian blur of those with a sigma above 0, in pixels, cut off at three sigma as OpenCV does for bytes."""
    chosen = [index for index, sigma in enumerate(sigmas) if sigma > 0]
    if not chosen:
        return images
    radii = [(round(6 * sigmas[index] + 1) | 1) // 2 for index in chosen]
    radius, side = max(radii), images.shape[-1]
    weights = np.zeros((len(chosen), 2 * radius + 1))
    for row, (index, reach) in enumerate(zip(chosen, radii, strict=True)):
        x = np.arange(-reach, reach + 1)
        weights[row, radius - reach : radius + reach + 1] = np.exp(-(x**2) / (2 * sigmas[index] ** 2))
    weights /= weights.sum(axis=1, keepdims=True)
    channels = 3 * len(chosen)
    kernel = _tensor(weights.repeat(3, axis=0), images.device)[:, None]  # (3n, 1, R)
    rows = _tensor(np.array(chosen), images.device).long()
    some = images.index_select(0, rows).reshape(1, channels, side, side)
    some = F.conv2d(F.pad(some, (radius, radius, 0, 0), mode="reflect"), kernel[:, :, None], groups=channels)
    some = F.conv2d(F.pad(some, (0, 0, radius, radius), mode="reflect"), kernel[..., None], groups=channels)
    return images.index_copy(0, rows, some.reshape(-1, 3, side, side))


def _recoloured(images: Tensor, parameters: Sequence[Parameters]) -> Tensor:
    """The colour matrices applied, in [0, 255]."""
    table = _tensor(np.stack([one.colour for one in parameters]), images.device)  # (N, 3, 4)
    flat = torch.baddbmm(table[:, :, 3:] * 255, table[:, :, :3], images.flatten(2))
    return flat.clamp_(0, 255).view_as(images)


def _noisy(images: Tensor, parameters: Sequence[Parameters]) -> Tensor:
    """Gaussian noise added where it was drawn, to whole grey levels as `apply` has them."""
    side, levels = images.shape[-1], None
    for index, one in enumerate(parameters):
        if one.noise > 0:
            levels = _tensor(quantiles(), images.device) if levels is None else levels
            words = random_words(one.noise_seed, side * side * 3).view(np.int16)
            places = _moved(torch.from_numpy(words), images.device).int() & 0xFFFF  # torch has no uint16 to index with
            noise = (levels[places] * np.float32(one.noise * 255).item()).round().view(side, side, 3)
            images[index] = (images[index].round() + noise.permute(2, 0, 1)).clamp_(0, 255)
    return images
