"""The service's encoders agree with each other and with themselves."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from meta_core.asking import support_of
from meta_core.batching import adapt_many, predict_many
from meta_core.checkpoint import Model, load
from meta_core.datasets import read_pictures
from meta_core.domains import textures
from meta_core.learner import AdaptOptions
from service.encoders import OnnxEncoder, TorchEncoder, encoder_for
from tests.service.running import MODELS


@pytest.fixture(scope="module")
def model() -> Model:
    return load(MODELS / "omniglot-protonet")


@pytest.fixture
def drawings(model: Model, data_folder: Path) -> Tensor:
    everything = read_pictures(data_folder / "omniglot_28_u8.npz", model.card.input, split="evaluation")
    return everything.images[::13]


@pytest.mark.data
def test_onnx_and_torch_agree_on_real_drawings(model: Model, drawings: Tensor) -> None:
    onnx, reference = OnnxEncoder(model, threads=2), TorchEncoder(model, device="cpu")
    assert len(drawings) > 1000
    torch.testing.assert_close(onnx.encode(drawings), reference.encode(drawings), atol=1e-4, rtol=0)


@pytest.mark.data
def test_features_do_not_depend_on_the_batch(model: Model, drawings: Tensor) -> None:
    encoder = OnnxEncoder(model, threads=2)
    together = encoder.encode(drawings[:301])
    for size in (1, 7, 64):
        parts = torch.cat([encoder.encode(part) for part in torch.split(drawings[:301], size)])
        torch.testing.assert_close(parts, together, atol=1e-5, rtol=1e-6)


def test_photos_are_told_alike_by_onnx_and_torch() -> None:
    photos = load(MODELS / "photos")
    pictures = textures(photos.card.input, classes=4, a_class=5).pictures.images
    answers = []
    for encoder in (OnnxEncoder(photos, threads=2), TorchEncoder(photos, device="cpu")):
        features = encoder.encode(pictures).unflatten(0, (4, 5))
        (state,) = adapt_many(
            photos.learner, [support_of(features[:, :3].flatten(0, 1), ways=4)], options=AdaptOptions()
        )
        (logits,) = predict_many(photos.learner, [state], [features[:, 3:].flatten(0, 1)])
        answers.append((logits / photos.card.calibration.temperature([3] * 4)).softmax(-1))  # type: ignore[union-attr]
    torch.testing.assert_close(answers[0], answers[1], atol=1e-3, rtol=0)


def test_the_cpu_gets_onnx_runtime(model: Model) -> None:
    encoder = encoder_for(model, device="cpu", threads=1)
    assert encoder.runtime == "onnxruntime-cpu"
    assert isinstance(encoder, OnnxEncoder)
    for session in (encoder._alone, encoder._shared):
        assert session.get_providers() == ["CPUExecutionProvider"]
