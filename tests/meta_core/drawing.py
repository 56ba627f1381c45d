"""Pictures drawn by the tests, and their bytes."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode(image: Image.Image | NDArray[Any], format_: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture file."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def stroke(*, side: int = 60) -> NDArray[np.uint8]:
    """Bright ink on black: a thick L, which no turn and no mirror maps onto itself; its border is paper."""
    array = np.zeros((side, side), np.uint8)
    unit = side // 10
    array[unit:-unit, 2 * unit : 4 * unit] = 255
    array[-3 * unit : -unit, 2 * unit : -2 * unit] = 255
    return array


def photo(*, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """A smooth colour picture, (height, width, 3): red grows to the right, green downwards, blue is a bump."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    blue = np.exp(-8 * ((x - 0.3) ** 2 + (y - 0.6) ** 2))
    return np.asarray(np.stack([x, y, blue], axis=-1) * 255).astype(np.uint8)


def png_of_zeros(width: int, height: int) -> bytes:
    """A valid 1-bit PNG of any size in a few KB: what a decompression bomb is."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    body = b"".join(packer.compress(row * 1000) for _ in range(height // 1000)) + packer.compress(row * (height % 1000))
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", body + packer.flush()), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
