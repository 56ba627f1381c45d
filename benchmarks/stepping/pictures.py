"""What steps are timed on: Omniglot where it is, else drawings made up."""

import os
from pathlib import Path

import torch
from torch import nn

from meta_core.datasets import read_pictures
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec


def omniglot(spec: InputSpec, *, of_a_class: int) -> Pictures:
    """The background split, or 64 made-up classes.

    Args:
        spec: what the pictures are made to.
        of_a_class: made-up pictures; Omniglot has 20.
    """
    folder = Path(os.environ.get("KSHOT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    file = folder / "omniglot_28_u8.npz"
    return read_pictures(file, spec, split="background") if file.exists() else _made_up(spec.height, count=of_a_class)


def _made_up(side: int, *, count: int, classes: int = 64) -> Pictures:
    """Thick random strokes on paper: each class one drawing, each picture that drawing shifted."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(classes, 1, 7, 7, generator=generator)
    drawings = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear") > 0.62
    shifts = torch.randint(-3, 4, (classes, count, 2), generator=generator).tolist()
    images = [
        torch.roll(drawing, shift, dims=(-2, -1))
        for drawing, own in zip(drawings, shifts, strict=True)
        for shift in own
    ]
    names = tuple(f"drawing {number}" for number in range(classes))
    return Pictures(
        images=torch.stack(images).to(torch.uint8) * 255,
        labels=torch.arange(classes).repeat_interleave(count),
        classes=names,
        groups=names,
        source="made-up drawings",
    )
