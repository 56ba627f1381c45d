"""Every shipped model answers on CUDA as on the CPU, alone as among others, by recorded batches of every size."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from meta_core import checkpoint
from meta_core.asking import support_of
from meta_core.batching import adapt_many, predict_many
from meta_core.device import pick_device
from meta_core.domains import textures
from meta_core.learner import AdaptOptions
from service.cuda_encoder import SIZES, CudaEncoder
from service.encoders import encoder_for
from service.served import ServedModel, serve
from tests.service.gradient import SHIPPED
from tests.service.running import MODELS

pytestmark = pytest.mark.gpu

TOLERANCE = {"fp32": 1e-3, "bf16": 1e-2, "fp16": 1e-2}
"""Of a probability, CPU against CUDA, by the precision of the card."""


def served(name: str, device: str) -> ServedModel:
    return serve(MODELS / name, device=pick_device(device), threads=2)


def answers(model: ServedModel, pictures: Tensor) -> Tensor:
    """Probabilities of four classes' last two pictures of five, after adapting to the first three."""
    features = model.encoder.encode(pictures).unflatten(0, (4, 5))
    shown, asked = features[:, :3].flatten(0, 1), features[:, 3:].flatten(0, 1)
    (state,) = adapt_many(model.learner, [support_of(shown, ways=4)], options=AdaptOptions())
    (logits,) = predict_many(model.learner, [state], [asked])
    temperature = model.card.calibration.temperature([3] * 4) if model.card.calibration else 1.0
    return (logits.detach().cpu() / temperature).softmax(-1)


@pytest.mark.parametrize("name", SHIPPED)
def test_cpu_and_cuda_answer_alike(name: str) -> None:
    near, far = served(name, "cpu"), served(name, "cuda")
    assert far.encoder.runtime == "torch-cuda"
    pictures = textures(near.card.pictures, classes=4, a_class=5).pictures.images
    tolerance = TOLERANCE[near.card.precision]
    torch.testing.assert_close(answers(far, pictures), answers(near, pictures), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_picture_alone_is_encoded_as_among_others(name: str) -> None:
    model = served(name, "cuda")
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (300, *model.card.input.shape), dtype=torch.uint8, generator=generator)
    together = model.encoder.encode(pictures)  # past the largest recorded size, in two chunks
    for count in (1, 2, 3, 33, 64, 65, 256, 257):
        features = model.encoder.encode(pictures[:count])
        scale = float(together.abs().max())
        torch.testing.assert_close(features, together[:count], atol=1e-5 * scale, rtol=1e-5)


def test_all_sizes_are_recorded_and_replays_do_not_mix() -> None:
    model = served("photos", "cuda")
    assert isinstance(model.encoder, CudaEncoder)
    assert model.encoder.recorded == SIZES
    generator = torch.Generator().manual_seed(1)
    first, second = (
        torch.randint(0, 256, (5, *model.card.input.shape), dtype=torch.uint8, generator=generator) for _ in range(2)
    )
    kept = model.encoder.encode(first)
    before = kept.clone()
    other = model.encoder.encode(second)
    assert torch.equal(kept, before)
    assert not torch.equal(other, before)
    assert torch.equal(model.encoder.encode(first), before)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_reduced_precision_stays_within_its_tolerance(precision: str) -> None:
    exact, pictures = served("photos", "cuda"), textures(served("photos", "cpu").card.pictures, classes=4, a_class=5)
    model = checkpoint.load(MODELS / "photos")
    reduced = checkpoint.Model(model.card.model_copy(update={"precision": precision}), model.learner, Path())
    reduced.learner.to("cuda")
    encoder = encoder_for(reduced, device="cuda", threads=2)
    assert encoder.encode(pictures.pictures.images).dtype == torch.float32
    fast = ServedModel(reduced.card, reduced.learner, encoder)
    found, expected = answers(fast, pictures.pictures.images), answers(exact, pictures.pictures.images)
    torch.testing.assert_close(found, expected, atol=TOLERANCE[precision], rtol=0)
    assert torch.equal(found.argmax(-1), expected.argmax(-1))


def test_a_hundred_users_of_equal_ways_are_one_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls, real = served("omniglot-maml", "cuda"), [], torch.vmap
    monkeypatch.setattr(torch, "vmap", lambda function: calls.append(function) or real(function))
    generator = torch.Generator().manual_seed(2)
    supports = [support_of(torch.randn(10, 1, 28, 28, generator=generator).cuda(), ways=5) for _ in range(100)]
    together = adapt_many(model.learner, supports, options=AdaptOptions())
    assert len(calls) == 1
    for support, state in zip(supports[:3], together[:3], strict=True):
        (alone,) = adapt_many(model.learner, [support], options=AdaptOptions())
        for name, tensor in alone.items():
            torch.testing.assert_close(state[name], tensor, atol=1e-3, rtol=1e-3)
