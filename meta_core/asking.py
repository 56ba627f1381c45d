"""Asking a learner about pictures that are known by number: show it some, and have it classify others."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor

from meta_core.batching import adapt_many, predict_many
from meta_core.device import cores
from meta_core.episode import SupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.norms import normalizes_batches
from meta_core.parallel import Workers
from meta_core.preprocess import InputSpec, normalize

Lookup: TypeAlias = Callable[[Tensor], Tensor]
"""Picture numbers (N,) → encoded inputs (N, *features)."""

_ENCODE_BATCH, _ENCODE_NUMBERS = 500, 2**20
"""Pictures encoded together and the numbers in them at most: seven photos of 224 px. What 128 of them leave behind in
every layer does not fit a processor's cache, and takes five times as long."""


@torch.no_grad()
def encode_pictures(learner: Learner, images: Tensor, spec: InputSpec) -> Tensor:
    """uint8 (N, channels, H, W) → features (N, *features), on the CPU; the learner's mode is kept."""
    was_training = learner.training
    learner.eval()
    device = device_of(learner)
    together = max(1, min(_ENCODE_BATCH, _ENCODE_NUMBERS // max(1, images[:1].numel())))
    chunks = []
    for chunk in torch.split(images, together):
        inputs = normalize(chunk.to(device), spec)
        if device.type == "cpu" and spec.channels > 1:
            inputs = inputs.to(memory_format=torch.channels_last)
        chunks.append(learner.encode(inputs).cpu())
    learner.train(was_training)
    return torch.cat(chunks)


class EncodedOnce:
    """A `Lookup` that encodes a picture when it is first asked for, and remembers.

    Args:
        learner: whose `encode`.
        images: uint8 (N, channels, H, W).
        spec: of the learner's input.
    """

    def __init__(self, learner: Learner, images: Tensor, spec: InputSpec) -> None:
        self._learner, self._images, self._spec = learner, images, spec
        self._known = torch.zeros(len(images), dtype=torch.bool)
        self._features: Tensor | None = None

    def __call__(self, numbers: Tensor) -> Tensor:
        """(N,) → (N, *features), on the CPU."""
        new = torch.unique(numbers[~self._known[numbers]])
        if self._features is None or len(new):
            found = encode_pictures(self._learner, self._images[new], self._spec)
            if self._features is None:
                self._features = found.new_empty(len(self._images), *found.shape[1:])
            self._features[new], self._known[new] = found, True
        return self._features[numbers]


def encoded_each_time(learner: Learner, images: Tensor, spec: InputSpec) -> Lookup:
    """A `Lookup` that encodes what it is asked for together, as one batch, and forgets it.

    For learners whose `encode` is the identity, and for those whose batch norm sees the batch.
    """
    device = device_of(learner)

    @torch.no_grad()
    def look_up(numbers: Tensor) -> Tensor:
        return learner.encode(normalize(images[numbers].to(device), spec))

    return look_up


def looking_up(learner: Learner, images: Tensor, spec: InputSpec) -> Lookup:
    """A `Lookup` that encodes a picture once where it may, and together with what is asked beside it where it must."""
    if not learner.encodes or normalizes_batches(learner):
        return encoded_each_time(learner, images, spec)
    return EncodedOnce(learner, images, spec)


@torch.no_grad()
def ask(
    learner: Learner,
    lookup: Lookup,
    shown: Sequence[Tensor],
    asked: Sequence[Tensor],
    *,
    options: AdaptOptions | None = None,
    workers: Workers | None = None,
) -> list[Tensor]:
    """Adapt to the pictures shown and classify those asked: one task each → logits (Q, C) each, on the CPU.

    A task's pictures shown are looked up together, and so are those asked.

    Args:
        learner: in `eval` mode.
        lookup: of its inputs.
        shown: picture numbers (C, K), a row a class.
        asked: picture numbers (Q,).
        options: of adaptation.
        workers: as for `adapt_many`.
    """
    device = device_of(learner)
    supports = [support_of(lookup(task.flatten()).to(device), ways=len(task)) for task in shown]
    states = adapt_many(learner, supports, options=options or AdaptOptions(), workers=workers)
    queries = [lookup(task).to(device) for task in asked]
    return [logits.cpu() for logits in predict_many(learner, states, queries, workers=workers)]


@contextmanager
def evaluation_workers(learner: Learner) -> Iterator[Workers | None]:
    """A thread a core for a learner on the CPU that adapts its whole network; nothing for the others."""
    if learner.encodes or device_of(learner).type != "cpu" or cores() == 1:
        yield None
        return
    workers = Workers(learner, count=cores())
    try:
        yield workers
    finally:
        workers.close()


def device_of(learner: Learner) -> torch.device:
    """Where the learner's parameters are; the CPU if it has none."""
    return next((parameter.device for parameter in learner.parameters()), torch.device("cpu"))


def support_of(inputs: Tensor, *, ways: int) -> SupportSet:
    """Encoded examples (C · K, *features), class after class, with their one-hot targets."""
    shots = len(inputs) // ways
    targets = torch.eye(ways, device=inputs.device).repeat_interleave(shots, dim=0)
    return SupportSet(inputs, targets, torch.ones(len(inputs), device=inputs.device))
