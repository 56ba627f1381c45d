"""An adapted classifier as one ONNX file, which answers without torch and without this package.

`python -m meta_core.portable_onnx MODEL_FOLDER CLASSIFIER_FILE OUT` writes one: exporting patches torch as it goes, and
what answers requests must not be beside that.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from meta_core import checkpoint, open_set, support_summary
from meta_core.calibration import Calibration
from meta_core.checkpoint import Model
from meta_core.episode import State
from meta_core.errors import InvalidClassifierFile, MetaCoreError, MissingExtra
from meta_core.portable import ClassifierCard, Portable, check_model, loads
from meta_core.preprocess import InputSpec, normalize
from meta_core.support_summary import drop

if TYPE_CHECKING:
    from onnx import ModelProto

_OPSET = 20


def to_onnx(portable: Portable, model: Model, path: Path) -> None:
    """Write a classifier with its encoder: `pictures` (N, channels, H, W) uint8 → `probabilities` (N, C) and, where
    the model can tell, `none_probability` (N,).

    Labels, how pictures are to be prepared and the threshold of “none of these” are in its metadata, `kshot`.

    Raises:
        InvalidClassifierFile: the model is another one than it was made with.
        MissingExtra: the packages of `kshot[train]` are not installed.
    """
    if problem := check_model(portable.card, model.card, encodes=model.learner.encodes):
        raise InvalidClassifierFile(f"the classifier cannot be written with this model: {problem}")
    try:
        import onnx
        import onnxscript  # noqa: F401
        from onnx import compose
    except ImportError as error:
        raise MissingExtra(f"writing ONNX needs {error.name}; install kshot[train]") from error
    head = _Head(portable, model)
    pictures = torch.zeros(2, *model.card.input.shape, dtype=torch.uint8)
    parts = [_exported(_Prepare(model.card.pictures), pictures, "pictures", ["inputs"])]
    if model.learner.encodes:
        parts.append(onnx.load(model.folder / checkpoint.ENCODER))
    parts.append(_exported(head, torch.zeros(2, *model.card.features), "features", head.outputs))
    whole = parts[0]
    for number, part in enumerate(parts[1:]):
        part.ir_version = whole.ir_version
        pairs = [(whole.graph.output[0].name, f"p{number}/{part.graph.input[0].name}")]
        whole = compose.merge_models(whole, compose.add_prefix(part, f"p{number}/"), io_map=pairs)
    _rename_outputs(whole, head.outputs)
    onnx.helper.set_model_props(whole, {"kshot": json.dumps(_description(portable.card, model, head))})
    onnx.checker.check_model(whole)
    onnx.save(whole, path)


class _Prepare(nn.Module):
    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, pictures: Tensor) -> Tensor:
        return normalize(pictures, self.spec)


class _Head(nn.Module):
    """Features → probabilities, and of none of these; what does not depend on the query is decided here."""

    def __init__(self, portable: Portable, model: Model) -> None:
        super().__init__()
        self.learner = model.learner
        self.names = list(portable.state)
        for place, name in enumerate(self.names):
            self.register_buffer(f"state{place}", portable.state[name])
        calibration: Calibration | None = model.card.calibration
        shots, state = portable.card.shots, portable.state
        self.summarized = support_summary.SCALE in state
        hardness = support_summary.hardness(state) if self.summarized else None
        self.temperature = 1.0 if calibration is None else calibration.temperature(shots, hardness=hardness)
        fitted = None if calibration is None or not self.summarized else calibration.none_at(shots)
        self.fitted = fitted if model.learner.encodes else None
        self.repeated = self.summarized and not bool(state[support_summary.SCALE][4].isnan())

    @property
    def outputs(self) -> list[str]:
        return ["probabilities"] if self.fitted is None else ["probabilities", "none_probability"]

    @property
    def threshold(self) -> float | None:
        return self.fitted.threshold if self.fitted is not None and self.fitted.decides else None

    def forward(self, features: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        state: State = {name: self.get_buffer(f"state{place}") for place, name in enumerate(self.names)}
        logits = self.learner.predict(drop(state), features).double()
        probabilities = (logits / self.temperature).softmax(-1).float()
        if self.fitted is None:
            return probabilities
        found = open_set.statistics(state, features, logits, temperature=self.temperature, repeated=self.repeated)
        weights = torch.tensor(self.fitted.weights, dtype=torch.float64)
        return probabilities, torch.sigmoid(found @ weights + self.fitted.bias).float()


def _exported(module: nn.Module, example: Tensor, name: str, outputs: list[str]) -> "ModelProto":
    with warnings.catch_warnings():  # the exporter warns of its own use of deprecated torch internals
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=_OPSET,
            input_names=[name],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("pictures", min=1)},),
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model_proto


def _rename_outputs(model: "ModelProto", names: list[str]) -> None:
    """What merging called `p1/probabilities`."""
    for output, name in zip(model.graph.output, names, strict=True):
        for node in model.graph.node:
            node.output[:] = [name if each == output.name else each for each in node.output]
            node.input[:] = [name if each == output.name else each for each in node.input]
        output.name = name


def _description(card: ClassifierCard, model: Model, head: _Head) -> dict[str, Any]:
    return {
        "labels": card.labels,
        "model": card.model,
        "version": card.version,
        "licence": model.card.licence,
        "name": card.name,
        "input": model.card.input.model_dump(),
        "calibrated": model.card.calibration is not None,
        "none_threshold": head.threshold,
    }


def main(folder: str, source: str, out: str) -> int:
    """The command; 0, or 2 with the error on stderr."""
    torch.set_num_threads(1)
    os.nice(10)  # those who classify meanwhile go first
    try:
        with torch.no_grad():
            to_onnx(loads(Path(source).read_bytes()), checkpoint.load(Path(folder)), Path(out))
    except MetaCoreError as error:
        sys.stderr.write(f"{error}\\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
