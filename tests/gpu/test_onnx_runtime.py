"""ONNX Runtime's CUDA provider, where it is installed: really active, and right. The service takes torch on CUDA."""

import numpy as np
import onnxruntime
import pytest
import torch

from meta_core.checkpoint import ENCODER, load
from meta_core.preprocess import normalize
from tests.service.running import MODELS

pytestmark = pytest.mark.gpu

CUDA = "CUDAExecutionProvider"


@pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason="this ONNX Runtime has no CUDA provider")
@pytest.mark.parametrize("name", ["photos", "omniglot-protonet"])
def test_the_cuda_provider_runs_and_agrees(name: str) -> None:
    model = load(MODELS / name)
    session = onnxruntime.InferenceSession(model.folder / ENCODER, providers=[(CUDA, {"use_tf32": "0"})])
    # Where its libraries are missing it falls back to the CPU with a word on stderr only.
    assert session.get_providers()[0] == CUDA
    pictures = torch.randint(0, 256, (8, *model.card.input.shape), dtype=torch.uint8)
    inputs = normalize(pictures, model.card.pictures)
    (found,) = session.run(["features"], {"inputs": inputs.numpy()})
    with torch.no_grad():
        expected = model.learner.encode(inputs).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
