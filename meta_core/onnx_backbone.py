"""A backbone that is a graph of ONNX: for a precision that torch does not compute in on a CPU."""

from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from meta_core.device import cores


class OnnxBackbone(nn.Module):
    """Runs a graph of `inputs` → `features` on the CPU, whatever device its inputs are on.

    Copies share the session, which any number of threads may run at once.

    Args:
        path: of the graph.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = cores(), 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, channels, H, W) → (N, *features); nothing is differentiated through it."""
        given = inputs.detach().cpu().contiguous().numpy()
        (features,) = self._session.run(["features"], {"inputs": given})
        return torch.from_numpy(features).to(inputs.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxBackbone":
        return self
