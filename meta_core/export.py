"""The encoder as ONNX, so that what is the same for every user runs without torch."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from meta_core.errors import MissingExtra
from meta_core.learner import Learner
from meta_core.vectors import AnySpec


def export_encoder(learner: Learner, spec: AnySpec, path: Path) -> None:
    """Write `learner.encode` as an ONNX graph: `inputs` (N, *input) float32, normalized → `features` (N, …).

    Raises:
        MissingExtra: the packages of `kshot[train]` are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"writing ONNX needs {error.name}; install kshot[train]") from error
    example = torch.zeros(2, *spec.shape)
    with warnings.catch_warnings():  # the exporter warns of its own use of deprecated torch internals
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Encoder(learner).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["inputs"],
            output_names=["features"],
            dynamic_shapes={"inputs": {0: torch.export.Dim("examples", min=1)}},
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    program.save(path, external_data=False)


class _Encoder(nn.Module):
    """The exporter wants a module whose `forward` is what to export."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, *input) → (N, *features)."""
        return self.learner.encode(inputs)
