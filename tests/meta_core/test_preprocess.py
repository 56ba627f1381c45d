"""Any picture a person has becomes the array a model takes."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from meta_core.preprocess import InputSpec, conform, decode, normalize
from tests.meta_core.drawing import encode, photo, stroke

GREY = InputSpec(channels=1, height=28, width=28)
COLOUR = InputSpec(channels=3, height=28, width=28)
INK = InputSpec(channels=1, height=28, width=28, fit="pad", interpolation="lanczos", polarity="bright_ink")


def assert_near(found: NDArray[np.uint8], expected: NDArray[np.uint8], *, mean: float, most: float = 255) -> None:
    """Within `mean` grey levels on average and `most` anywhere."""
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.mean() <= mean
    assert difference.max() <= most


@pytest.mark.parametrize("spec", [GREY, COLOUR, INK, COLOUR.model_copy(update={"height": 20, "width": 36})])
@pytest.mark.parametrize("array", [stroke(), photo()], ids=["grey", "colour"])
def test_the_array_has_the_shape_that_the_model_takes(array: NDArray[np.uint8], spec: InputSpec) -> None:
    decoded = decode(encode(array), spec)
    assert decoded.shape == spec.shape
    assert decoded.dtype == np.uint8
    assert decoded.flags["C_CONTIGUOUS"]


def test_a_picture_of_the_right_size_is_taken_as_it_is() -> None:
    exact = photo(width=28, height=28)
    assert np.array_equal(decode(encode(exact), COLOUR), exact.transpose(2, 0, 1))


def test_grey_becomes_three_equal_channels() -> None:
    red, green, blue = decode(encode(stroke()), COLOUR)
    assert np.array_equal(red, green)
    assert np.array_equal(red, blue)


def test_colour_becomes_luma() -> None:
    # ITU-R 601: 0.299 red + 0.587 green + 0.114 blue.
    flat = np.full((28, 28, 3), (200, 100, 50), np.uint8)
    assert decode(encode(flat), GREY)[0, 0, 0] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


@pytest.mark.parametrize("interpolation", ["box", "bilinear", "bicubic", "lanczos"])
def test_every_interpolation_keeps_a_flat_picture_flat(interpolation: str) -> None:
    spec = InputSpec.model_validate({**GREY.model_dump(), "interpolation": interpolation})
    assert (decode(encode(np.full((61, 47), 90, np.uint8)), spec) == 90).all()


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (2, 3), (28, 29)])
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_a_picture_of_any_proportions_fits(fit: str, size: tuple[int, int]) -> None:
    spec = InputSpec.model_validate({**GREY.model_dump(), "fit": fit})
    assert (decode(encode(Image.new("L", size, 90)), spec) == 90).all()


def test_pad_keeps_all_of_a_wide_picture_on_its_own_ground() -> None:
    # 56 × 14 becomes 28 × 7, in rows 10 to 16; above and below is the colour of the border, not black.
    wide = np.full((14, 56, 3), (10, 200, 30), np.uint8)
    wide[5:9, 4:52] = (250, 0, 0)
    decoded = decode(encode(wide), COLOUR.model_copy(update={"fit": "pad"}))
    outside = np.concatenate([decoded[:, :10], decoded[:, 18:]], axis=1)
    assert (outside == np.array([10, 200, 30])[:, None, None]).all()
    assert decoded[0, 13, 5:23].min() > 200


def test_crop_takes_the_middle_of_a_wide_picture() -> None:
    thirds = np.repeat(np.array([10, 120, 240], np.uint8), 28)[None].repeat(28, axis=0)
    assert (decode(encode(thirds), GREY) == 120).all()


def test_stretch_takes_all_of_a_wide_picture() -> None:
    halves = np.repeat(np.array([10, 240], np.uint8), 28)[None].repeat(28, axis=0)
    decoded = decode(encode(halves), GREY.model_copy(update={"fit": "stretch"}))
    assert (decoded[:, :, :13] == 10).all()
    assert (decoded[:, :, 15:] == 240).all()


def test_dark_ink_on_white_and_bright_ink_on_black_are_the_same_drawing() -> None:
    bright = decode(encode(stroke()), INK)
    dark = decode(encode(255 - stroke()), INK)
    assert_near(dark, bright, mean=0.5, most=1)
    assert bright.max() > 200
    assert bright[0, 0, 0] == 0


def test_the_paper_is_what_the_border_is_and_not_what_there_is_more_of() -> None:
    bold = np.zeros((60, 60), np.uint8)
    bold[4:56, 4:56] = 255
    assert bold.mean() > 127.5
    assert decode(encode(bold), INK)[0, 14, 14] == 255
    assert decode(encode(255 - bold), INK)[0, 14, 14] == 255


def test_polarity_as_is_leaves_dark_ink_dark() -> None:
    as_is = INK.model_copy(update={"polarity": "as_is"})
    assert decode(encode(255 - stroke()), as_is)[0, 0, 0] == 255


def oriented(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """How a camera stores `upright`, by the EXIF standard's table of where row 0 and column 0 are seen."""
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.T,  # left, top
        6: np.rot90(upright, 1),  # right, top
        7: upright[::-1, ::-1].T,  # right, bottom
        8: np.rot90(upright, -1),  # left, bottom
    }
    return np.ascontiguousarray(stored[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_camera_changes_nothing(orientation: int) -> None:
    upright = stroke()[:, :50]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = oriented(upright, orientation)
    assert np.array_equal(decode(encode(stored, exif=exif), GREY), decode(encode(upright), GREY))
    jpeg = decode(encode(stored, "JPEG", quality=95, exif=exif), GREY)
    assert_near(jpeg, decode(encode(upright), GREY), mean=4)


def ink_on_nothing(mode: str, ink: int, *, transparency: int | bytes = 0) -> bytes:
    """A stroke of one grey on a transparent ground whose hidden colour is the ink's, so that only alpha shows it."""
    alpha = Image.fromarray(stroke())
    if mode == "P":
        picture = Image.new("P", alpha.size)
        picture.putpalette([ink, ink, ink] * 2)
        picture.paste(1, mask=alpha)
        return encode(picture, transparency=transparency)
    picture = Image.new(mode, alpha.size, (ink, 0) if mode == "LA" else (ink, ink, ink, 0))
    picture.putalpha(alpha)
    return encode(picture)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("ink", [0, 255], ids=["dark", "light"])
def test_ink_on_a_transparent_ground_is_seen_as_bright_ink(ink: int, mode: str) -> None:
    decoded = decode(ink_on_nothing(mode, ink), INK)
    assert_near(decoded, decode(encode(stroke()), INK), mean=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_transparent_ground_is_white_for_photographs(mode: str) -> None:
    decoded = decode(ink_on_nothing(mode, 0), GREY)
    assert_near(decoded, 255 - decode(encode(stroke()), GREY), mean=1)


def test_transparency_given_as_one_alpha_a_palette_entry_is_obeyed() -> None:
    decoded = decode(ink_on_nothing("P", 0, transparency=b"\x00\xff"), INK)
    assert_near(decoded, decode(encode(stroke()), INK), mean=1)


def test_sixteen_bit_greys_are_scaled_and_not_clipped() -> None:
    wide = np.linspace(0, 65535, 28 * 28).reshape(28, 28).astype(np.uint16)
    for data in (encode(wide), encode(wide, "TIFF"), encode(wide.astype(">u2"), "TIFF")):
        assert_near(decode(data, GREY), (wide // 257).astype(np.uint8)[None], mean=0)


def test_one_bit_pictures_are_black_and_white() -> None:
    bits = Image.fromarray(stroke()).convert("1")
    for format_ in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(decode(encode(bits, format_), GREY), decode(encode(stroke()), GREY))


def test_a_palette_is_looked_up() -> None:
    reference = Image.fromarray(photo()).quantize(32)
    for format_ in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(decode(encode(reference, format_), COLOUR), conform(reference.convert("RGB"), COLOUR))


def test_cmyk_jpegs_have_their_colours() -> None:
    flat = Image.new("RGB", (40, 40), (200, 60, 30)).convert("CMYK")
    decoded = decode(encode(flat, "JPEG", quality=95), COLOUR)
    assert_near(decoded, np.broadcast_to(np.array([200, 60, 30], np.uint8)[:, None, None], (3, 28, 28)), mean=5)


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_agree_to_the_bit(format_: str) -> None:
    assert np.array_equal(decode(encode(photo(), format_), COLOUR), conform(photo(), COLOUR))


def test_webp_agrees_with_png() -> None:
    assert np.array_equal(decode(encode(photo(), "WEBP", lossless=True), COLOUR), conform(photo(), COLOUR))
    assert_near(decode(encode(photo(), "WEBP", quality=90), COLOUR), conform(photo(), COLOUR), mean=4)


def test_a_still_gif_is_taken() -> None:
    assert_near(decode(encode(stroke(), "GIF"), GREY), conform(stroke(), GREY), mean=0)


@pytest.mark.parametrize("side", [120, 240, 480, 960])
def test_a_jpeg_reduced_while_decoding_agrees_with_the_whole_one(side: int) -> None:
    large = stroke(side=side)
    assert_near(decode(encode(large, "JPEG", quality=95), GREY), conform(large, GREY), mean=1)


def test_a_phones_mpo_is_its_first_picture() -> None:
    first, preview = Image.fromarray(photo()), Image.new("RGB", (64, 48))
    data = encode(first, "MPO", save_all=True, append_images=[preview], quality=95)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert_near(decode(data, COLOUR), conform(photo(), COLOUR), mean=4)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16"]
)
@pytest.mark.parametrize("spec", [GREY, COLOUR, INK])
def test_every_mode_conforms(mode: str, spec: InputSpec) -> None:
    assert conform(Image.new(mode, (40, 30)), spec).shape == spec.shape


def test_eight_threads_decode_as_one_does() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    large = photo(width=320, height=240)
    files = [encode(large, format_) for format_ in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")]
    files += [encode(stroke()), ink_on_nothing("RGBA", 0), encode(large, "JPEG", exif=exif)]
    expected = [decode(data, INK) for data in files]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: decode(files[number % len(files)], INK), range(20 * len(files))))
    assert all(np.array_equal(array, expected[number % len(files)]) for number, array in enumerate(found))


def test_normalize_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    spec = COLOUR.model_copy(update={"mean": (0.5, 0.4, 0.2), "std": (0.5, 0.2, 0.1)})
    pixel = torch.tensor([255, 102, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    torch.testing.assert_close(normalize(pixel, spec).flatten(), torch.tensor([1.0, 0.0, -2.0]))


def test_one_mean_serves_all_channels() -> None:
    assert normalize(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), COLOUR).shape == (2, 3, 4, 4)


@pytest.mark.parametrize("wrong", [{"mean": (0.1, 0.2)}, {"std": (1.0, 1.0)}, {"std": (0.0,)}, {"mean": ()}])
def test_a_mean_or_deviation_that_does_not_fit_the_channels_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        InputSpec.model_validate({**COLOUR.model_dump(), **wrong})


@pytest.mark.data
def test_omniglot_at_105_px_reduces_to_the_28_px_of_the_published_file(data_folder: Path) -> None:
    with np.load(data_folder / "omniglot_28_u8.npz") as arrays:
        small = arrays["images"]
    with np.load(data_folder / "omniglot_105_bits.npz") as arrays:
        bits = arrays["bits"]
    for character in range(0, 1623, 40):
        drawing = character // 40 % 20
        large = np.unpackbits(bits[character, drawing], count=11025).reshape(105, 105) * np.uint8(255)
        assert np.array_equal(conform(large, INK)[0], small[character, drawing])
