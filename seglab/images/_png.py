"""PNG files, made quickly: of masks as run lengths, of pictures in strips that are packed one by one."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["mask_png", "packed", "picture_png"]

STRIP = 8  # rows that are packed together


def mask_png(values: NDArray[np.uint8]) -> bytes:
    """A mask as a grey PNG without any metadata, its values as they are; what `write_mask` writes.

    Args:
        values: (H, W) uint8, at least one pixel.

    Example:
        >>> mask_png(np.zeros((2, 3), np.uint8))[1:4]
        b'PNG'
    """
    import cv2  # a heavy module

    options = (
        (cv2.IMWRITE_PNG_COMPRESSION, 6),
        (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
    )
    done, content = cv2.imencode(".png", values, [value for pair in options for value in pair])
    if not done:
        raise OSError("the mask could not be made a PNG")
    return content.tobytes()


def packed(strip: bytes, *, flat: bool = False) -> bytes:
    """Blocks of DEFLATE that others may follow.

    Args:
        strip: What to pack.
        flat: Look for runs; of photos only Huffman's codes save much, and they are quick.
    """
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_RLE if flat else zlib.Z_HUFFMAN_ONLY)
    return packer.compress(strip) + packer.flush(zlib.Z_SYNC_FLUSH)


def picture_png(picture: NDArray[np.uint8], pack: Callable[[bytes], bytes] = packed) -> bytes:
    """A picture as PNG without any metadata, in a quarter of the time that Pillow takes, a fifth larger.

    Args:
        picture: (H, W) or (H, W, 3) uint8, at least one pixel.
        pack: Packs a strip of rows; whoever has packed the same strip before may give that.

    Example:
        >>> picture_png(np.zeros((2, 3, 3), np.uint8))[1:4]
        b'PNG'
    """
    height, width = picture.shape[:2]
    step = 1 if picture.ndim == 2 else 3
    filtered = np.empty((height, 1 + step * width), np.uint8)
    flat = np.ascontiguousarray(picture).reshape(height, step * width)
    filtered[:, 0], filtered[:, 1 : 1 + step] = 1, flat[:, :step]  # filter 1: what is left of a pixel is taken off it
    np.subtract(flat[:, step:], flat[:, :-step], out=filtered[:, 1 + step :])
    checksum, parts = 1, [b"\x78\x01"]
    for top in range(0, height, STRIP):
        strip = filtered[top : top + STRIP].tobytes()
        checksum = zlib.adler32(strip, checksum)
        parts.append(pack(strip))
    parts += [b"\x03\0", struct.pack(">I", checksum)]  # an empty last block
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if step == 1 else 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", b"".join(parts)), _chunk(b"IEND", b""))
    return b"".join([b"\x89PNG\r\n\x1a\n", *chunks])


def _chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])
