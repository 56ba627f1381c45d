"""Every backbone's encoder as ONNX answers as torch does, for any number of pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from meta_core.export import export_encoder
from meta_core.learners.protonet import ProtoNet
from meta_core.preprocess import InputSpec
from meta_core.registry import BACKBONES

SPEC = InputSpec(channels=3, height=32, width=48)
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("conv4", {"width": 4}),
    ("mlp", {"outputs": 8}),
    ("resnet12", {"width": 4}),
    ("timm", {"model": "test_efficientnet", "depths": (1, 3)}),
    ("timm", {"model": "test_vit", "depths": (2,)}),
]


def test_every_backbone_is_exported_below() -> None:
    assert {name for name, _ in KINDS} == set(BACKBONES.names())


@pytest.mark.parametrize(("name", "options"), KINDS, ids=str)
def test_an_exported_encoder_agrees_with_torch_for_any_number_of_pictures(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learner = ProtoNet(backbone=BACKBONES.build(name, input_shape=SPEC.shape, **options))
    learner.train().encode(torch.randn(30, *SPEC.shape, generator=torch.Generator().manual_seed(0)))
    learner.eval()
    export_encoder(learner, SPEC, tmp_path / "encoder.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["encoder.onnx"], "weights lie beside the file"
    onnx.checker.check_model(onnx.load(tmp_path / "encoder.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    for examples in (1, 3, 17):
        pictures = torch.randn(examples, *SPEC.shape, generator=torch.Generator().manual_seed(examples))
        (features,) = session.run(["features"], {"inputs": pictures.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(features, learner.encode(pictures).numpy(), atol=1e-4, rtol=1e-4)
