"""What a contestant is asked to compute, and how."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

WAYS, SHOTS, QUERIES, WIDTH, SIDE = 60, 5, 5, 64, 28

Weights: TypeAlias = dict[str, Tensor]
"""By name."""


@dataclass(frozen=True)
class Settings:
    """One way to compute the step.

    Attributes:
        contestant: the module `with_<contestant>`.
        dtype: `float32` or `float64`.
        threads: of torch inside an operation.
        layout: `nchw` or `channels_last`; kshot's trainer chooses for itself.
        precision: of the network's forward pass: `fp32`, or `bf16` under autocast.
        keep_memory: whether the C library is told to keep what is freed, as `kshot train` tells it.
        augment: for kshot, whether pictures are turned, stretched and shifted, as its shipped recipe has it.
    """

    contestant: str
    dtype: str = "float32"
    threads: int = 2
    layout: str = "nchw"
    precision: str = "fp32"
    keep_memory: bool = False
    augment: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype itself."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found


class Task(NamedTuple):
    """One 60-way task, class by class."""

    support: Tensor
    """(S, 1, side, side)"""
    query: Tensor
    """(Q, 1, side, side)"""

    @property
    def support_labels(self) -> Tensor:
        """(S,)"""
        return torch.arange(WAYS).repeat_interleave(SHOTS)

    @property
    def query_labels(self) -> Tensor:
        """(Q,)"""
        return torch.arange(WAYS).repeat_interleave(QUERIES)


def tasks_of(tensors: Weights, settings: Settings) -> list[Task]:
    """Those of the file, of the dtype and in the layout asked for."""

    def laid_out(pictures: Tensor) -> Tensor:
        pictures = pictures.to(settings.torch_dtype)
        return pictures if settings.layout == "nchw" else pictures.to(memory_format=torch.channels_last)

    pairs = zip(tensors["tasks.support"], tensors["tasks.query"], strict=True)
    return [Task(laid_out(support), laid_out(query)) for support, query in pairs]


def builder(contestant: Callable[[Settings, Weights], Any]) -> Callable[[dict[str, Any], Weights], Any]:
    """What `stepping.worker` makes a contestant by: of settings as they come through a pipe, and the file's tensors."""
    return lambda message, tensors: contestant(Settings(**message), tensors)
