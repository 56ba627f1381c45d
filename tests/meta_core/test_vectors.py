"""Vectors as a model's input: a card tells them from pictures, and says how they are normalized."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from meta_core.preprocess import InputSpec, normalize
from meta_core.vectors import AnySpec, VectorSpec, normalized


def test_a_card_tells_vectors_from_pictures() -> None:
    either = TypeAdapter[AnySpec](AnySpec)
    assert either.validate_python({"numbers": 3}) == VectorSpec(numbers=3)
    assert either.validate_python({"height": 28, "width": 28}) == InputSpec(height=28, width=28)
    with pytest.raises(ValidationError):
        either.validate_python({"numbers": 3, "height": 28})


def test_each_number_has_its_own_mean_and_deviation() -> None:
    spec = VectorSpec(numbers=2, mean=(1, 10), std=(2, 5))
    assert normalized(torch.tensor([[3.0, 0.0]]), spec).tolist() == [[1.0, -2.0]]
    assert spec.shape == (2,)


def test_pictures_are_normalized_as_ever() -> None:
    spec, pictures = InputSpec(height=4, width=4, mean=(0.5,)), torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    assert torch.equal(normalized(pictures, spec), normalize(pictures, spec))


def test_as_many_means_as_numbers_are_expected() -> None:
    with pytest.raises(ValidationError, match="3 values for 2 numbers; expected 1 or as many"):
        VectorSpec(numbers=2, mean=(1, 2, 3))
