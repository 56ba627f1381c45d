"""Domains made of others: of the model's shape, of as many classes, and unlike what they were made of."""

import torch

from meta_core.domains import handwritten_digits, made_of, sample, textures
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec

SPEC = InputSpec(channels=3, height=32, width=32, fit="stretch")


def pictures(classes: int = 4, a_class: int = 5) -> Pictures:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (classes * a_class, 3, 32, 32), dtype=torch.uint8, generator=generator)
    names = tuple(f"thing {number}" for number in range(classes))
    return Pictures(images, torch.arange(classes).repeat_interleave(a_class), names, names, "made up")


def test_a_sample_keeps_whole_classes_with_so_many_pictures_each() -> None:
    some = sample(pictures(), classes=3, a_class=2)
    assert len(some.classes) == 3
    assert torch.bincount(some.labels).tolist() == [2, 2, 2]


def test_made_copies_differ_from_what_they_are_made_of_and_are_left_out_with_it() -> None:
    original = pictures()
    made = list(made_of(original, SPEC, family="things"))
    assert [one.name.split(" of ")[0] for one in made] == ["outlines", "silhouettes", "spoiled", "turned"]
    for one in made:
        assert one.family == "things"
        assert one.pictures.images.shape[1:] == SPEC.shape
        assert len(one.pictures.classes) == 4
        assert not torch.equal(one.pictures.images, original.images)


def test_textures_are_the_same_for_the_same_seed_and_differ_within_a_class() -> None:
    first, again = textures(SPEC, classes=2, a_class=3), textures(SPEC, classes=2, a_class=3)
    assert torch.equal(first.pictures.images, again.pictures.images)
    assert not torch.equal(first.pictures.images[0], first.pictures.images[1])


def test_digits_are_ten_classes() -> None:
    digits = handwritten_digits(SPEC, a_class=3).pictures
    assert digits.images.shape == (30, 3, 32, 32)
    assert digits.classes == tuple("0123456789")
