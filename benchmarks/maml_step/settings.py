"""What a contestant is asked to compute, and how."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

INNER_RATE = 0.4
"""Of every weight (Finn et al. 2017, Omniglot, 5-way)."""

WAYS, SHOTS, QUERIES, WIDTH, SIDE = 5, 1, 15, 64, 28

Weights: TypeAlias = dict[str, Tensor]
"""By the names that `network.plain` gives them."""


@dataclass(frozen=True)
class Settings:
    """One way to compute the step.

    Attributes:
        contestant: the module `with_<contestant>`.
        norm: `batch`, on the statistics of the batch at hand, or `group`, groups of eight channels.
        tasks: of the meta-batch, the first of those in the file.
        dtype: `float32` or `float64`.
        threads: of torch inside an operation; `kshot` has this many tasks at once instead, one thread each.
        order: `published`, the ReLU before the pooling, or `pool_first`, the same numbers for less work.
        backward: of every task's loss as it comes (`each`), or of the mean of all (`once`).
        layout: of the pictures and weights: `nchw`; `channels_last`, as torch's own call makes it; `nhwc`, which also
            gives single-channel pictures strides that torch takes for channels last.
        layers: for kshot, `quick` (its own derivatives of norm and convolution) or `torch`.
        precision: `fp32`, or `bf16` under autocast.
    """

    contestant: str
    norm: str = "batch"
    tasks: int = 32
    dtype: str = "float32"
    threads: int = 2
    order: str = "published"
    backward: str = "each"
    layout: str = "nchw"
    layers: str = "torch"
    precision: str = "fp32"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype itself."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found


class Tasks(NamedTuple):
    """The meta-batch: T tasks' pictures and class numbers."""

    support: Tensor
    """(T, S, 1, side, side)"""
    support_labels: Tensor
    """(T, S)"""
    query: Tensor
    """(T, Q, 1, side, side)"""
    query_labels: Tensor
    """(T, Q)"""

    @classmethod
    def of(cls, tensors: Weights, settings: Settings) -> "Tasks":
        """The first tasks of the file, of the dtype and in the layout asked for."""
        found = cls(**{name: tensors[f"tasks.{name}"][: settings.tasks] for name in cls._fields})
        support, query = (pictures.to(settings.torch_dtype) for pictures in (found.support, found.query))
        if settings.layout == "nhwc":
            support, query = with_nhwc_strides(support), with_nhwc_strides(query)
        return found._replace(support=support, query=query)


def with_nhwc_strides(pictures: Tensor) -> Tensor:
    """(…, 1, H, W) with the strides of channels last.

    `contiguous(memory_format=torch.channels_last)` leaves a single channel's strides as they are, which torch then
    takes for NCHW, so that the first block computes in NCHW: with scalar code in its pooling.
    """
    height, width = pictures.shape[-2:]
    strides = (*pictures.contiguous().stride()[:-3], 1, width, 1)
    return pictures.contiguous().as_strided((*pictures.shape[:-3], 1, height, width), strides)


def weights_of(tensors: Weights, settings: Settings) -> Weights:
    """The initial weights of the file."""
    prefix = "weights."
    return {
        name.removeprefix(prefix): value.to(settings.torch_dtype)
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def builder(contestant: Callable[[Settings, Weights, Tasks], Any]) -> Callable[[dict[str, Any], Weights], Any]:
    """What `stepping.worker` makes a contestant by: of settings as they come through a pipe, and the file's tensors."""

    def build(message: dict[str, Any], tensors: Weights) -> Any:
        settings = Settings(**message)
        return contestant(settings, weights_of(tensors, settings), Tasks.of(tensors, settings))

    return build
