"""What runs `encode` on CUDA: pictures go there by one copy, and small batches are replayed as CUDA graphs."""

import logging
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from meta_core.checkpoint import Model
from meta_core.device import to_device
from meta_core.preprocess import Normalization
from service.batch_sizes import next_size

logger = logging.getLogger(__name__)

SIZES: Final = (1, 2, 4, 8, 16, 24, 32, 40, 48, 64)
"""Of batches that are recorded: by single kernels the CPU would need longer to start them than the GPU to run them."""

_CHUNK = 256
"""Pictures of a larger batch that are on their way at once: while the GPU encodes them the next are copied."""

_REDUCED: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


class CudaEncoder:
    """torch on CUDA, in the precision of the card, with features in float32.

    A batch of at most the largest of `SIZES` is padded to the next of them; a row of features depends on its own
    picture alone, so that padding is seen in no other. When `encode` returns, the device is done: what fails on it
    fails in the call that caused it, and the engine sees how long it took.

    Args:
        model: whose learner is on `device`.
        device: `cuda`; on `cpu` the same is computed without graphs.
    """

    def __init__(self, model: Model, *, device: str) -> None:
        self.runtime = f"torch-{device}"
        self._learner, self._device = model.learner, torch.device(device)
        self._normalize = Normalization.of(model.card.pictures, device)
        self._dtype = _REDUCED.get(model.card.precision)
        self._layout = torch.contiguous_format if self._dtype is None else torch.channels_last
        if model.learner.encodes:
            model.learner.backbone.to(memory_format=self._layout)
        recorded = model.learner.encodes and self._device.type == "cuda"
        self._graphs = _record(self._forward, model) if recorded else {}

    @property
    def recorded(self) -> tuple[int, ...]:
        """The sizes of batches that are replayed."""
        return tuple(sorted(self._graphs))

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 (N, channels, H, W) on the CPU → features (N, …) on the device."""
        features = torch.cat([self._some(chunk) for chunk in torch.split(pictures, _CHUNK)])
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        return features

    def _some(self, pictures: Tensor) -> Tensor:
        size = next_size(len(pictures), self.recorded)
        if size is None:
            return self._forward(to_device(pictures, self._device))
        return self._graphs[size].replay(pictures)

    def _forward(self, pictures: Tensor) -> Tensor:
        """Both on the device."""
        inputs = self._normalize(pictures).contiguous(memory_format=self._layout)
        # The cache would keep halves of weights that a graph has made, and is of no use to a single pass.
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None, cache_enabled=False):
            features = self._learner.encode(inputs)
        return features.float()


class _Graph:
    """The forward pass of a batch of one size, recorded.

    Args:
        forward: pictures → features, both on the device.
        size: of the batch.
        shape: of a picture.
        pool: of memory, which graphs that never run at once share.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor], size: int, shape: tuple[int, int, int], pool: Any) -> None:
        self._pictures = torch.zeros(size, *shape, dtype=torch.uint8, device="cuda")
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # libraries choose their kernels and take their workspaces, which cannot be recorded
                forward(self._pictures)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Of this thread alone: while models are loaded others go on answering.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._features = forward(self._pictures)

    def replay(self, pictures: Tensor) -> Tensor:
        """uint8 (N, …) on the CPU → features (N, …); rows past N are left as they were, and their features dropped."""
        self._pictures[: len(pictures)].copy_(pictures.pin_memory(), non_blocking=True)
        self._graph.replay()
        return self._features[: len(pictures)].clone()  # the next replay overwrites them


@torch.no_grad()
def _record(forward: Callable[[Tensor], Tensor], model: Model) -> dict[int, _Graph]:
    """A graph for each size, the largest first, in whose memory the others then run; none where one cannot be."""
    pool, shape = torch.cuda.graph_pool_handle(), model.card.pictures.shape
    try:
        return {size: _Graph(forward, size, shape, pool) for size in sorted(SIZES, reverse=True)}
    except RuntimeError as error:  # of torch and of CUDA, and where memory does not suffice
        logger.warning("%s encodes without CUDA graphs, small batches slower: %s", model.card.name, error)
        torch.cuda.empty_cache()
        return {}
