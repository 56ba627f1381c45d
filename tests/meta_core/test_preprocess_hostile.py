"""Bytes that are not one still picture are refused by name; nothing else ever comes out, and little memory goes in."""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from meta_core.errors import ImageTooLarge, UndecodableImage
from meta_core.preprocess import InputSpec, decode
from tests.meta_core.drawing import encode, photo, png_of_zeros, stroke

GREY = InputSpec(channels=1, height=28, width=28)
COLOUR = InputSpec(channels=3, height=28, width=28)
INK = InputSpec(channels=1, height=28, width=28, fit="pad", interpolation="lanczos", polarity="bright_ink")

FOREIGN = {
    "empty": b"",
    "text": b"not a picture at all",
    "zeros": bytes(1000),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
    "pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n0 0 moveto 9 9 lineto stroke\nshowpage",
    "html": b"<!doctype html><title>404</title>",
    "png signature": b"\x89PNG\r\n\x1a\n",
    "jpeg signature": b"\xff\xd8\xff\xe0",
    "pcx": encode(photo(), "PCX"),
    "tga": encode(photo(), "TGA"),
    "ppm": encode(photo(), "PPM"),
    "ico": encode(photo(width=32, height=32), "ICO"),
    "icns": encode(photo(width=32, height=32), "ICNS"),
    "float tiff": encode(np.ones((9, 9), np.float32), "TIFF"),
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_picture_of_a_known_format_is_refused(data: bytes) -> None:
    with pytest.raises(UndecodableImage, match="expected"):
        decode(data, GREY)


def test_a_message_says_which_formats_are_taken_and_no_address() -> None:
    with pytest.raises(UndecodableImage, match="JPEG, PNG, WEBP, GIF, BMP, TIFF") as caught:
        decode(b"not a picture", GREY)
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_truncated_picture_is_refused(format_: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, format_)
    with pytest.raises(UndecodableImage):
        decode(data[: int(kept * len(data))], COLOUR)


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_or_a_stack_of_pages_is_refused(format_: str) -> None:
    frames = [Image.fromarray(photo()), Image.fromarray(255 - photo())]
    data = encode(frames[0], format_, save_all=True, append_images=frames[1:])
    with pytest.raises(UndecodableImage, match="2 frames"):
        decode(data, COLOUR)


def test_a_progressive_jpeg_is_taken_and_one_of_endless_scans_is_not() -> None:
    assert decode(encode(photo(), "JPEG", progressive=True), COLOUR).shape == COLOUR.shape
    data = encode(photo(), "JPEG")
    scan, end = data.index(b"\xff\xda"), len(data) - 2
    with pytest.raises(UndecodableImage, match="scans"):
        decode(data[:scan] + data[scan:end] * 1000 + data[end:], COLOUR)


def test_a_picture_that_takes_too_long_is_refused() -> None:
    with pytest.raises(UndecodableImage, match="takes more than"):
        decode(encode(photo()), COLOUR, max_seconds=-1)


@contextmanager
def little_memory(limit: int) -> Iterator[None]:
    """The process's peak resident size grows by less than `limit` bytes."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        pytest.skip("peak memory is read from Linux's /proc")

    def peak() -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    reset.write_text("5")  # the peak begins anew
    before = peak()
    yield
    assert peak() - before < limit


def test_peak_memory_is_seen() -> None:
    with pytest.raises(AssertionError), little_memory(24 << 20):
        np.ones(200 << 20, np.uint8)


def webp_of(width: int, height: int) -> bytes:
    """A lossless WebP of which only the header is whole."""
    bits = struct.pack("<I", (width - 1) | (height - 1) << 14)
    payload = b"VP8L" + struct.pack("<I", 32) + b"\x2f" + bits + bytes(27)
    return b"RIFF" + struct.pack("<I", 4 + len(payload)) + b"WEBP" + payload


def patched(data: bytes, width: int, height: int, *, at: int, layout: str) -> bytes:
    """A picture file whose header announces another size."""
    size = struct.pack(layout, width, height)
    return data[:at] + size + data[at + len(size) :]


def jpeg_of(width: int, height: int) -> bytes:
    data = encode(photo(), "JPEG")
    return patched(data, height, width, at=data.index(b"\xff\xc0") + 5, layout=">HH")


BOMBS = {
    "png 20000": lambda: png_of_zeros(20000, 20000),
    "png 13300": lambda: png_of_zeros(13300, 13300),
    "png just above": lambda: png_of_zeros(10000, 5001),
    "png wide": lambda: png_of_zeros(50_000_001, 1),
    "gif": lambda: patched(encode(stroke(), "GIF"), 65535, 65535, at=6, layout="<HH"),
    "bmp": lambda: patched(encode(photo(), "BMP"), 20000, 20000, at=18, layout="<ii"),
    "jpeg": lambda: jpeg_of(65000, 65000),
    "webp": lambda: webp_of(16383, 16383),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("filter_", ["error", "ignore"])
def test_a_header_that_announces_too_many_pixels_is_enough(
    bomb: Callable[[], bytes], filter_: Literal["error", "ignore"]
) -> None:
    data = bomb()
    with warnings.catch_warnings(), little_memory(24 << 20):
        warnings.simplefilter(filter_)
        with pytest.raises(ImageTooLarge, match="at most 50000000"):
            decode(data, GREY)


def test_the_limit_can_be_set_and_a_picture_at_the_limit_passes() -> None:
    data = encode(np.zeros((30, 40), np.uint8))
    assert decode(data, GREY, max_pixels=1200).shape == (1, 28, 28)
    with pytest.raises(ImageTooLarge, match="40×30 = 1200 pixels; at most 1199"):
        decode(data, GREY, max_pixels=1199)


BROKEN_EXIF = {
    "garbage": b"Exif\x00\x00" + bytes(range(256)),
    "no entries": b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
    "endless directory": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + b"\xff" * 40,
    "orientation 0": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x00\x00\x00",
    "orientation text": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x02\x00\x00\x00\x04\x61\x62\x63\x00",
}


@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_neither_crashes_nor_turns_the_picture(format_: str, exif: bytes) -> None:
    data = encode(stroke(), format_, exif=exif)
    assert_array_or_refusal(data, GREY)
    with warnings.catch_warnings():  # as in production, where Pillow's remarks on EXIF are no errors
        warnings.simplefilter("ignore")
        assert np.array_equal(decode(data, GREY), decode(encode(stroke(), format_), GREY))


def assert_array_or_refusal(data: bytes, spec: InputSpec) -> bool:
    """Whether it was decoded; anything but an array or `UndecodableImage` fails."""
    try:
        array = decode(data, spec)
    except UndecodableImage:
        return False
    assert array.shape == spec.shape
    return True


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """1 to 8 bytes set at random, half of the time within the header."""
    broken = bytearray(data)
    reach = len(broken) if rng.random() < 0.5 else 64
    for place, value in zip(rng.integers(reach, size=rng.integers(1, 9)), rng.integers(256, size=8), strict=False):
        broken[place] = value
    return bytes(broken)


VALID = {
    "jpeg": encode(photo(), "JPEG"),
    "png": encode(photo()),
    "palette png": encode(Image.fromarray(photo()).quantize(16), transparency=3),
    "webp": encode(photo(), "WEBP"),
    "gif": encode(Image.fromarray(photo()).quantize(16), "GIF"),
    "bmp": encode(photo(), "BMP"),
    "tiff": encode(photo(), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("data", VALID.values(), ids=VALID)
def test_damaged_bytes_give_an_array_or_a_refusal(data: bytes) -> None:
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():  # as in production
        warnings.simplefilter("ignore")
        assert assert_array_or_refusal(data, GREY)
        decoded = [assert_array_or_refusal(damaged(data, rng), spec) for _ in range(15) for spec in (GREY, COLOUR, INK)]
    assert False in decoded


@pytest.mark.parametrize("spec", [GREY, COLOUR, INK])
@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "CMYK", "PA", "RGBX", "I", "I;16B"])
def test_rare_modes_of_tiff_give_an_array_or_a_refusal(mode: str, spec: InputSpec) -> None:
    assert_array_or_refusal(encode(Image.new(mode, (32, 32)), "TIFF"), spec)


def test_text_metadata_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(64 << 20), 9))
    data = encode(stroke(), pnginfo=info)
    with little_memory(24 << 20):
        assert_array_or_refusal(data, GREY)
