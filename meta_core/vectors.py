"""What a model takes that takes vectors and not pictures, and what either kind of model is given."""

from typing import Annotated, Any, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Discriminator, Field, PositiveFloat, Tag, model_validator
from torch import Tensor

from meta_core.preprocess import InputSpec, normalize


class VectorSpec(BaseModel):
    """A model's input where it is a list of numbers: part of its card, as `InputSpec` is for pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    numbers: int = Field(ge=1, le=4096, description="of a vector")
    mean: tuple[float, ...] = Field(default=(0.0,), description="subtracted; one for all numbers, or one each")
    std: tuple[PositiveFloat, ...] = Field(default=(1.0,), description="divided by; one for all numbers, or one each")

    @model_validator(mode="after")
    def _one_each(self) -> "VectorSpec":
        for values in (self.mean, self.std):
            if len(values) not in (1, self.numbers):
                raise ValueError(f"{len(values)} values for {self.numbers} numbers; expected 1 or as many")
        return self

    @property
    def shape(self) -> tuple[int]:
        """The shape of one input."""
        return (self.numbers,)


def _kind(given: Any) -> str:
    numbers = "numbers" in given if isinstance(given, dict) else isinstance(given, VectorSpec)
    return "vectors" if numbers else "pictures"


AnySpec: TypeAlias = Annotated[
    Annotated[InputSpec, Tag("pictures")] | Annotated[VectorSpec, Tag("vectors")], Discriminator(_kind)
]
"""A model's input: pictures, or, where `numbers` is given, vectors."""


def normalized(inputs: Tensor, spec: AnySpec) -> Tensor:
    """Inputs as they came → float32 of the same shape, less the mean, over the standard deviation.

    Args:
        inputs: pictures (N, channels, H, W) uint8, or vectors (N, numbers).
        spec: of the kind of input.
    """
    if isinstance(spec, InputSpec):
        return normalize(inputs, spec)
    mean, std = (torch.tensor(values, device=inputs.device) for values in (spec.mean, spec.std))
    return (inputs.float() - mean) / std
