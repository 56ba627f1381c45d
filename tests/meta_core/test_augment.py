"""Random changes to pictures: how far they go, and that a seed repeats them."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from meta_core.augment import Augmentation, augment


def blob(count: int = 1) -> Tensor:
    """A soft round spot in the middle of 28 × 28."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing="ij")
    return (255 * torch.exp(-12 * (x**2 + y**2))).expand(count, 1, 28, 28).clone()


def centres(pictures: Tensor) -> Tensor:
    """(N, 2): where the light is, right and down, in half pictures."""
    steps = torch.linspace(-1, 1, 28)
    mass = pictures.sum((1, 2, 3))
    return torch.stack([(pictures.sum((1, 2)) * steps).sum(1) / mass, (pictures.sum((1, 3)) * steps).sum(1) / mass], 1)


def test_nothing_asked_for_changes_nothing(generator: torch.Generator) -> None:
    pictures = blob(3)
    assert not Augmentation().active
    assert augment(pictures, Augmentation(), generator=generator) is pictures


def test_a_seed_repeats_the_changes() -> None:
    everything = Augmentation(rotate_degrees=20, scale=0.2, stretch=0.1, shear=0.2, shift=0.1)
    first, again, other = (
        augment(blob(4), everything, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (4, 1, 28, 28)
    assert first.dtype == torch.float32


def test_each_picture_is_changed_in_its_own_way(generator: torch.Generator) -> None:
    changed = augment(blob(3), Augmentation(shift=0.3), generator=generator)
    assert not torch.equal(changed[0], changed[1])
    assert not torch.equal(changed[1], changed[2])


def test_a_shift_goes_as_far_as_it_says_in_every_direction(generator: torch.Generator) -> None:
    moved = centres(augment(blob(500), Augmentation(shift=0.3), generator=generator))
    assert moved.abs().max() <= 0.33
    assert (moved.amax(0) > 0.25).all()
    assert (moved.amin(0) < -0.25).all()


def test_a_warp_moves_each_part_by_itself_and_smoothly(generator: torch.Generator) -> None:
    """Four spots in the corners of a picture go different ways; each stays one spot."""
    spots = torch.zeros(1, 1, 28, 28)
    spots[:, :, [[6], [21]], [6, 21]] = 255.0
    warped = augment(spots.expand(200, 1, 28, 28), Augmentation(warp=0.2), generator=generator)
    halves = warped.view(200, 2, 14, 2, 14).permute(0, 1, 3, 2, 4).flatten(1, 2)  # (N, 4 spots, 14, 14)
    lines = torch.arange(14.0)
    rows = (halves.sum(3) * lines).sum(2) / halves.sum((2, 3)).clamp_min(1)
    apart = (
        rows[:, 2] - rows[:, 0]
    )  # of the upper and the lower left spot; an affine map alone would keep the right's too
    assert (apart - (rows[:, 3] - rows[:, 1])).std() > 0.5
    assert warped.amax() <= 255.0


def test_erased_pixels_are_a_share_that_differs_between_pictures(generator: torch.Generator) -> None:
    bright = torch.full((400, 3, 12, 12), 200.0)
    erased = augment(bright, Augmentation(erase=0.4), generator=generator) == 0
    shares = erased[:, 0].float().mean((1, 2))
    assert torch.equal(erased[:, 0], erased[:, 2])
    assert float(shares.mean()) == pytest.approx(0.2, abs=0.03)
    assert float(shares.max()) > 0.3
    assert float(shares.min()) < 0.1


def test_scale_makes_larger_and_smaller(generator: torch.Generator) -> None:
    mass = augment(blob(300), Augmentation(scale=0.2), generator=generator).sum((1, 2, 3)) / blob().sum()
    # Sides of e^-0.2 to e^0.2 are areas of e^-0.4 = 0.67 to e^0.4 = 1.49.
    assert 0.64 < mass.min() < 0.75
    assert 1.35 < mass.max() < 1.55


@pytest.mark.parametrize("amount", [{"rotate_degrees": 180}, {"shear": 0.5}])
def test_turning_and_shearing_keep_the_middle_and_the_area(
    amount: dict[str, float], generator: torch.Generator
) -> None:
    changed = augment(blob(100), Augmentation(**amount), generator=generator)
    assert centres(changed).abs().max() < 0.01
    torch.testing.assert_close(changed.sum((1, 2, 3)), blob().sum().expand(100), rtol=0.02, atol=0)


def test_what_comes_in_from_outside_is_black(generator: torch.Generator) -> None:
    moved = augment(torch.full((100, 1, 28, 28), 255.0), Augmentation(shift=0.5), generator=generator)
    black = (moved == 0).sum((1, 2, 3)).double() / 28**2
    assert 0.35 < black.max() <= 0.45  # half a picture either way at most: up to 1 − 0.75² = 0.44 of it
    assert (black > 0).double().mean() > 0.9


def gradient() -> Tensor:
    """Brighter from left to right, 28 × 28."""
    return torch.linspace(0, 255, 28).expand(1, 28, 28)


def test_half_the_pictures_are_flipped_left_to_right_and_nothing_else(generator: torch.Generator) -> None:
    flipped = augment(gradient().expand(400, 1, 28, 28), Augmentation(flip=0.5), generator=generator)
    mirrored = torch.tensor([torch.equal(picture, gradient().flip(-1)) for picture in flipped])
    kept = torch.tensor([torch.equal(picture, gradient()) for picture in flipped])
    assert torch.equal(mirrored, ~kept)
    assert 160 < mirrored.sum() < 240


def test_a_crop_stays_inside_the_picture_and_leaves_out_no_more_than_it_says(generator: torch.Generator) -> None:
    across = torch.linspace(-1, 1, 28)
    both = torch.stack([across.expand(28, 28), across[:, None].expand(28, 28), torch.ones(28, 28)])
    cropped = augment(both.expand(500, 3, 28, 28), Augmentation(crop=0.5), generator=generator)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(cropped[:, 2], torch.ones(500, 26, 26))  # nothing came in from outside
    width = cropped[:, 0, 0, -1] - cropped[:, 0, 0, 0]
    height = cropped[:, 1, -1, 0] - cropped[:, 1, 0, 0]
    whole = (across[26] - across[1]) ** 2
    area = width * height / whole
    assert 0.47 < area.min() < 0.6
    assert 0.9 < area.max() < 1.03
    assert 0.74 < (width / height).min() < 0.8
    assert 1.25 < (width / height).max() < 1.35
    middle = (cropped[:, 0, 0, -1] + cropped[:, 0, 0, 0]) / 2
    assert middle.min() < -0.15
    assert middle.max() > 0.15


def colours(count: int) -> Tensor:
    """Three flat colours in stripes, 28 × 28."""
    stripes = torch.tensor([[60.0, 100, 140], [90, 90, 90], [160, 120, 80]])
    return stripes.T[:, :, None].repeat(1, 10, 28)[:, :28].expand(count, 3, 28, 28)


def test_brightness_is_a_factor_within_its_amount(generator: torch.Generator) -> None:
    factor = augment(colours(300), Augmentation(brightness=0.4), generator=generator) / colours(300)
    assert 0.59 < factor.min() < 0.65
    assert 1.35 < factor.max() < 1.41
    torch.testing.assert_close(factor.amin((1, 2, 3)), factor.amax((1, 2, 3)))


def test_contrast_keeps_the_mean_and_saturation_the_greys(generator: torch.Generator) -> None:
    weights = torch.tensor([0.299, 0.587, 0.114])
    before = torch.einsum("nchw,c->nhw", colours(100), weights)
    contrast = torch.einsum(
        "nchw,c->nhw", augment(colours(100), Augmentation(contrast=0.4), generator=generator), weights
    )
    torch.testing.assert_close(contrast.mean((1, 2)), before.mean((1, 2)))
    assert (contrast.std((1, 2)) / before.std((1, 2))).aminmax().max > 1.3
    saturation = augment(colours(100), Augmentation(saturation=0.4), generator=generator)
    torch.testing.assert_close(torch.einsum("nchw,c->nhw", saturation, weights), before)
    spread = (saturation[:, 0] - saturation[:, 2]).abs().mean((1, 2))
    assert spread.max() > 1.3 * spread.min()


def test_colours_stay_on_the_scale(generator: torch.Generator) -> None:
    noise = torch.randint(0, 256, (50, 3, 8, 8), generator=generator).float()
    changed = augment(noise, Augmentation(brightness=1, contrast=1, saturation=1), generator=generator)
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_a_grey_picture_has_no_saturation_to_change(generator: torch.Generator) -> None:
    torch.testing.assert_close(augment(blob(3), Augmentation(saturation=1), generator=generator), blob(3))


@pytest.mark.parametrize("wrong", [{"rotate_degrees": 181}, {"shift": -0.1}, {"scale": 2}, {"crop": 1}, {"hue": 0.1}])
def test_amounts_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Augmentation.model_validate(wrong)
