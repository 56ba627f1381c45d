"""One way from a picture to a model's input, used by trainer and service alike, so that they cannot differ.

`decode` turns bytes into the picture, `conform` turns any picture into the uint8 array that a model takes, and
`normalize` turns arrays into the float tensor that `Learner.encode` takes.
"""

import io
import re
import time
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationInfo, field_validator
from torch import Tensor

from meta_core.errors import ImageTooLarge, UndecodableImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What Pillow may try; every further decoder is further code that hostile bytes can reach."""

MAX_PIXELS = 50_000_000
"""Default limit on a picture's announced width × height: a phone's 48 MP passes, 20000 × 20000 does not."""

MAX_SECONDS = 10.0
"""Default limit on the processor time of decoding one picture; the largest takes about one second."""

_ENOUGH = 192
"""Pixels of a side from which on a JPEG need not be decoded larger than it is taken."""

# Every scan goes over the whole picture again, and one takes but a hundred bytes. libtiff has the same limit.
_MAX_SCANS = 100
_SCAN = re.compile(rb"\xff\xda\0[\x06\x08\x0a\x0c][\0-\x04]")

_RESAMPLING = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class InputSpec(BaseModel):
    """What a model takes: part of its card, obeyed by whoever prepares pictures for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Literal[1, 3] = Field(default=3, description="1: grey; 3: red, green, blue")
    height: int = Field(ge=4, le=2048, description="pixels")
    width: int = Field(ge=4, le=2048, description="pixels")
    fit: Literal["pad", "crop", "stretch"] = Field(
        default="crop",
        description="how another aspect ratio is made to fit: pad to it, crop the middle, or stretch",
    )
    interpolation: Literal["box", "bilinear", "bicubic", "lanczos"] = "bilinear"
    polarity: Literal["as_is", "bright_ink"] = Field(
        default="as_is",
        description="bright_ink: drawings; a picture with a bright border is inverted, so that paper is dark",
    )
    mean: tuple[float, ...] = Field(default=(0.0,), description="subtracted, a channel each, on the scale 0 to 1")
    std: tuple[PositiveFloat, ...] = Field(default=(1.0,), description="divided by, a channel each")

    @field_validator("mean", "std")
    @classmethod
    def _one_a_channel(cls, values: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        # Any other number would broadcast to a tensor of other channels, or not at all.
        channels = info.data.get("channels", len(values))
        if len(values) not in (1, channels):
            raise ValueError(f"{len(values)} values for {channels} channels; expected 1 or as many as channels")
        return values

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (self.channels, self.height, self.width)


def decode(
    data: bytes, spec: InputSpec, *, max_pixels: int = MAX_PIXELS, max_seconds: float = MAX_SECONDS
) -> NDArray[np.uint8]:
    """An encoded picture's bytes → uint8 (channels, height, width), as `spec` asks.

    The size is read from the header before anything is decoded.

    Raises:
        UndecodableImage: not a still picture of a known format, truncated, empty, or one that takes too long.
        ImageTooLarge: more than `max_pixels`.
    """
    if not data:
        raise UndecodableImage(f"the picture is empty (0 bytes); expected {_known()}")
    try:
        picture = _open(data, max_pixels=max_pixels, max_seconds=max_seconds)
        if picture.format == "JPEG":  # decodes at a fraction of the size where that is still enough
            picture.draft(None, (_decoded_side(spec.width), _decoded_side(spec.height)))
        picture.load()
        return conform(_upright(picture), spec)
    except UndecodableImage:
        raise
    # Decoders meet hostile bytes here and raise whatever their C code or parsing runs into, not only OSError.
    except Exception as error:
        raise UndecodableImage(f"the picture cannot be decoded: {_reason(error)}; expected {_known()}") from error


def _decoded_side(side: int) -> int:
    """Pixels that a side must keep in decoding: strokes of a small drawing are resampled from twice what is needed."""
    return min(2 * side, max(side, _ENOUGH))


def conform(picture: Image.Image | NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Any picture → uint8 (channels, height, width): one background, colours, aspect ratio, size and polarity.

    Args:
        picture: of any Pillow mode, or a uint8 array (H, W) or (H, W, 3).
        spec: what the model takes.

    Raises:
        UndecodableImage: a mode whose range is unknown (32-bit float).
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    opaque = _flatten(_eight_bit(image), spec)
    image = opaque.convert("L" if spec.channels == 1 else "RGB")
    array = np.asarray(_resize(image, spec))
    if spec.polarity == "bright_ink" and _border(array).mean() > 127.5:
        array = 255 - array
    channels_last = array if array.ndim == 3 else array[:, :, None]
    return np.ascontiguousarray(channels_last.transpose(2, 0, 1))


class Normalization(NamedTuple):
    """What is subtracted and divided by, a channel each, (1, 1 or channels, 1, 1), on the pictures' device."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, spec: InputSpec, device: torch.device | str) -> "Normalization":
        """That of `spec`, copied to the device once."""
        return cls(*(torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (spec.mean, spec.std)))

    def __call__(self, pictures: Tensor) -> Tensor:
        """uint8 (N, channels, height, width) → float32 of the same shape."""
        return (pictures.float() / 255 - self.mean) / self.std


def normalize(pictures: Tensor, spec: InputSpec) -> Tensor:
    """uint8 (N, channels, height, width) → float32 of the same shape, less the mean, over the standard deviation."""
    return Normalization.of(spec, pictures.device)(pictures)


class _Watched(io.BytesIO):
    """A picture's bytes, readable for a while: a file can be made of a million parts that take minutes to parse."""

    def __init__(self, data: bytes, max_seconds: float) -> None:
        super().__init__(data)
        self._max_seconds = max_seconds
        self._until = time.thread_time() + max_seconds

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._until:
            raise UndecodableImage(f"the picture takes more than {self._max_seconds:g} s to decode; save it anew")
        return super().read(size)


def _open(data: bytes, *, max_pixels: int, max_seconds: float) -> Image.Image:
    try:
        picture = Image.open(_Watched(data, max_seconds), formats=FORMATS)
    # Pillow warns above 89 MP and raises above 179 MP; where warnings are errors the first is raised too.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        announced = re.search(r"\d+", str(error))
        raise ImageTooLarge(
            f"the picture is {announced[0] if announced else 'too many'} pixels; at most {max_pixels} are taken"
        ) from error
    width, height = picture.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the picture is {width}×{height} = {width * height} pixels; at most {max_pixels} are taken"
        )
    # MPO is what phones write: the picture first, then its preview. Others are not counted to the end: a TIFF of 90000
    # directories took a minute.
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        raise UndecodableImage("the picture is an animation or a stack of 2 frames or more; expected one still picture")
    if picture.format in ("JPEG", "MPO") and len(_SCAN.findall(data)) > _MAX_SCANS:
        raise UndecodableImage(f"the picture has more than {_MAX_SCANS} scans; save it as an ordinary JPEG")
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    try:
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except Exception:  # metadata that cannot be read turns nothing; the picture itself is whole
        return picture
    return ImageOps.exif_transpose(picture) if turned else picture


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit greys scaled to 8 bit; Pillow's own conversion would clip them at 255."""
    if image.mode == "F":
        raise UndecodableImage("the picture has 32-bit float pixels; expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    return image


def _flatten(image: Image.Image, spec: InputSpec) -> Image.Image:
    """A transparent picture laid on white; a drawing in light ink on black, or it would vanish."""
    if not image.has_transparency_data:
        return image
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    ground = 255
    if spec.polarity == "bright_ink":
        grey, alpha = np.asarray(rgba.convert("L")), np.asarray(rgba.getchannel("A"))
        ink = np.einsum("ij,ij->", grey, alpha, dtype=np.int64, casting="unsafe")  # no copies of eight times the size
        ground = 0 if ink > 127.5 * alpha.sum(dtype=np.int64) else 255
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (ground, ground, ground, 255)), rgba)


def _resize(image: Image.Image, spec: InputSpec) -> Image.Image:
    size, method = (spec.width, spec.height), _RESAMPLING[spec.interpolation]
    if spec.fit == "stretch" or image.width * spec.height == image.height * spec.width:
        return image if image.size == size else image.resize(size, method, reducing_gap=3.0)
    if spec.fit == "crop":
        return ImageOps.fit(image, size, method)
    border = np.median(_border(np.asarray(image)), axis=0).astype(int)
    colour = int(border) if image.mode == "L" else tuple(border.tolist())
    return ImageOps.pad(image, size, method, color=colour)


def _border(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The outermost pixels: (H, W[, C]) → (n[, C])."""
    return np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])


def _known() -> str:
    return ", ".join(FORMATS)


def _reason(error: Exception) -> str:
    # Pillow names the buffer it was given by its address; nobody outside is helped by that.
    return "its format is not recognized" if "cannot identify" in str(error) else str(error) or type(error).__name__
