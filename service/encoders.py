"""What runs `encode` in the service: ONNX Runtime on a CPU, torch on CUDA and where there is nothing to encode."""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

import onnxruntime
import torch
from torch import Tensor

from meta_core.checkpoint import ENCODER, Model
from meta_core.preprocess import InputSpec
from meta_core.vectors import normalized
from service.cuda_encoder import CudaEncoder

_FEW_PICTURES = 4


class Encoder(Protocol):
    """Runs a model's encoder; owned by one thread."""

    runtime: str

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures, uint8 (N, channels, H, W), or vectors (N, numbers) → features (N, …).

        What comes is on the CPU, what is given on the device that adapts.
        """
        ...


class OnnxEncoder:
    """ONNX Runtime on the CPU; about twice as fast there as torch.

    Pictures go a few at a time to threads that need not wait for one another: sharing each operation among the threads
    instead is slower by a twentieth on idle cores and by a third beside other work. One picture alone is shared.

    Args:
        model: whose `encoder.onnx` is run.
        threads: of one call.
    """

    runtime = "onnxruntime-cpu"

    def __init__(self, model: Model, *, threads: int) -> None:
        self._alone, self._shared = (_session(model.folder / ENCODER, threads=count) for count in (1, threads))
        self._spec, self._threads = model.card.input, threads
        self._workers = ThreadPoolExecutor(threads, "encode", initializer=torch.set_num_threads, initargs=(1,))

    def encode(self, pictures: Tensor) -> Tensor:
        """See `Encoder`."""
        if 2 * len(pictures) <= self._threads:
            return self._run(self._shared, pictures)
        few = min(_FEW_PICTURES, math.ceil(len(pictures) / self._threads))
        return torch.cat(list(self._workers.map(partial(self._run, self._alone), torch.split(pictures, few))))

    def _run(self, session: onnxruntime.InferenceSession, pictures: Tensor) -> Tensor:
        inputs = normalized(pictures, self._spec).numpy()
        (features,) = session.run(["features"], {"inputs": inputs})
        return torch.from_numpy(features)


def _session(path: Path, *, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Without work its threads sleep at once: decoding and adapting need the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The provider is named, because the CUDA build would try CUDA first and fall back with a word on stderr only.
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class TorchEncoder:
    """torch on the device that the learner is on."""

    def __init__(self, model: Model, *, device: str) -> None:
        self.runtime = f"torch-{device}"
        self._learner, self._spec, self._device = model.learner, model.card.input, device

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """See `Encoder`."""
        return self._learner.encode(normalized(pictures.to(self._device), self._spec))


def encoder_for(model: Model, *, device: str, threads: int) -> Encoder:
    """The encoder of a model whose learner is on `device`."""
    if device == "cpu" and model.learner.encodes:
        return OnnxEncoder(model, threads=threads)
    pictures = isinstance(model.card.input, InputSpec)
    if device == "cuda" and pictures and model.card.precision != "int8":  # whose graph of ONNX runs on the CPU
        return CudaEncoder(model, device=device)
    return TorchEncoder(model, device=device)
