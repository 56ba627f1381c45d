"""Further domains out of the ones at hand: what a model does on pictures unlike those it knows must be seen before."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from meta_core.errors import MissingExtra
from meta_core.pictures import Pictures, stack
from meta_core.preprocess import InputSpec, conform

Change = Callable[[Image.Image, np.random.Generator], Image.Image]

_SIDE = 128
_INK = 128


class MadeDomain(NamedTuple):
    """Pictures and the family that they are left out with."""

    name: str
    family: str
    pictures: Pictures


def sample(pictures: Pictures, *, classes: int = 60, a_class: int = 30, seed: int = 0) -> Pictures:
    """Some classes and some pictures of each."""
    generator = torch.Generator().manual_seed(seed)
    chosen = set(torch.randperm(len(pictures.classes), generator=generator)[:classes].tolist())
    names = [name for number, name in enumerate(pictures.classes) if number in chosen]
    some = pictures.where(lambda name, _: name in names)
    rows = torch.cat([own[torch.randperm(len(own), generator=generator)[:a_class]] for own in some.by_class()])
    return Pictures(some.images[rows], some.labels[rows], some.classes, some.groups, some.source, some.licence)


def made_of(pictures: Pictures, spec: InputSpec, *, family: str) -> Iterator[MadeDomain]:
    """Outlines, silhouettes, spoiled copies and grey turned copies of coloured pictures, each a domain."""
    changes: dict[str, Change] = {
        "outlines": _outlined,
        "silhouettes": _silhouette,
        "spoiled": _spoiled,
        "turned": _turned,
    }
    for seed, (name, change) in enumerate(changes.items(), start=1):
        some = sample(pictures, classes=40, a_class=25, seed=seed)
        random = np.random.default_rng(seed)
        images = [conform(change(_image(picture.numpy()), random), spec) for picture in some.images]
        changed = Pictures(stack(images), some.labels, some.classes, some.groups, f"{name} of {some.source}")
        yield MadeDomain(f"{name} of {some.source}", family, changed)


def textures(spec: InputSpec, *, classes: int = 60, a_class: int = 20, seed: int = 0) -> MadeDomain:
    """Noise filtered to a few directions and sizes; what tells a class is its spectrum, not its colours."""
    random, images = np.random.default_rng(seed), []
    for _ in range(classes):
        spectrum = _spectrum(random)
        bend, at = random.integers(0, 4), random.uniform(-0.8, 0.8)
        images += [conform(_texture(spectrum(random), int(bend), at, random), spec) for _ in range(a_class)]
    names = tuple(f"texture {number}" for number in range(classes))
    labels = torch.arange(classes).repeat_interleave(a_class)
    return MadeDomain("made textures", "made textures", Pictures(stack(images), labels, names, names, "made textures"))


def handwritten_digits(spec: InputSpec, *, a_class: int = 60, seed: int = 0) -> MadeDomain:
    """Digits of scikit-learn, 8×8 px.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra(f"this domain is {error.name}'s; install kshot[train]") from error
    digits, random = load_digits(), np.random.default_rng(seed)
    rows = np.concatenate(
        [random.choice(np.flatnonzero(digits.target == digit), a_class, replace=False) for digit in range(10)]
    )
    grey = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)
    names = tuple(map(str, range(10)))
    pictures = Pictures(
        stack([conform(np.array(image), spec) for image in grey]),
        torch.arange(10).repeat_interleave(a_class),
        names,
        names,
        "scikit-learn's digits",
        "BSD-3-Clause",
    )
    return MadeDomain("digits", "digits", pictures)


def _image(picture: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).resize((_SIDE, _SIDE))


def _outlined(image: Image.Image, _: np.random.Generator) -> Image.Image:
    edges = image.convert("L").filter(ImageFilter.GaussianBlur(1)).filter(ImageFilter.FIND_EDGES)
    return ImageOps.invert(ImageOps.autocontrast(edges)).convert("RGB")


def _silhouette(image: Image.Image, _: np.random.Generator) -> Image.Image:
    grey = np.asarray(image.convert("L").filter(ImageFilter.GaussianBlur(2)))
    return Image.fromarray(np.where(grey > np.median(grey), 255, 0).astype(np.uint8)).convert("RGB")


def _spoiled(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Blurred, noisy, coarse, of few tones, or of little contrast."""
    pixels = np.asarray(image).astype(np.float64)
    match int(random.integers(0, 5)):
        case 0:
            return image.filter(ImageFilter.GaussianBlur(float(random.uniform(1, 2.5))))
        case 1:
            return _clipped(pixels + random.normal(0, 35, pixels.shape))
        case 2:
            return image.resize((_SIDE * 2 // 7, _SIDE * 2 // 7)).resize((_SIDE, _SIDE))
        case 3:
            return ImageOps.posterize(image, 2)
        case _:
            return _clipped(pixels * random.uniform(0.25, 0.5) + random.uniform(0, 120))


def _turned(image: Image.Image, random: np.random.Generator) -> Image.Image:
    angle = float(random.uniform(0, 360))
    return image.rotate(angle, resample=Image.Resampling.BICUBIC, fillcolor=(_INK,) * 3).convert("L").convert("RGB")


def _spectrum(random: np.random.Generator) -> Callable[[np.random.Generator], NDArray[np.float64]]:
    """A class's amplitudes over frequencies, drawn anew for each picture: a little turned, a little scaled."""
    across, down = np.meshgrid(np.fft.fftfreq(_SIDE), np.fft.fftfreq(_SIDE), indexing="ij")
    radius, angle = np.hypot(across, down), np.arctan2(down, across)
    low, high = np.array([0.02, 0, 0.005, 0.1, 0.3]), np.array([0.25, np.pi, 0.05, 2, 1])
    peaks = random.uniform(low, high, (int(random.integers(1, 4)), 5))

    def draw(random: np.random.Generator) -> NDArray[np.float64]:
        turn, scale = random.normal(0, 0.15), np.exp(random.normal(0, 0.12))
        amplitudes: NDArray[np.float64] = np.sum(
            [
                height
                * np.exp(-(((radius - at * scale) / width) ** 2) / 2)
                * np.exp(np.cos(2 * (angle - direction - turn)) / spread)
                for at, direction, width, spread, height in peaks
            ],
            axis=0,
        )
        return amplitudes

    return draw


def _texture(amplitudes: NDArray[np.float64], bend: int, at: float, random: np.random.Generator) -> NDArray[np.uint8]:
    noise = np.fft.fft2(random.normal(size=amplitudes.shape))
    waves = np.fft.ifft2(noise * amplitudes).real
    waves /= waves.std() + 1e-9
    bent = (waves, np.tanh(4 * (waves - at)), np.abs(waves), np.maximum(waves - at, 0))[bend]
    level = (bent - bent.min()) / (np.ptp(bent) + 1e-9)
    first, second = random.uniform(0, 255, (2, 3))
    if np.abs(first - second).sum() < 150:
        second = 255 - first
    light = np.linspace(-1, 1, _SIDE)[:, None, None] * random.normal(0, 15)
    grain = random.normal(0, random.uniform(0, 12), (*level.shape, 3))
    return np.asarray(_clipped(first + (second - first) * level[..., None] + light + grain))


def _clipped(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
