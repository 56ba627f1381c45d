"""What of the CUDA encoder does not take a GPU: sizes, chunks, precisions, and which model gets it."""

import dataclasses

import pytest
import torch
from torch import Tensor

from meta_core.checkpoint import Model, load
from service.batch_sizes import next_size
from service.cuda_encoder import SIZES, CudaEncoder
from service.encoders import TorchEncoder
from tests.service.running import MODELS


@pytest.fixture(scope="module")
def model() -> Model:
    return load(MODELS / "omniglot-protonet")


def pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)


def test_a_batch_is_padded_to_the_next_size_or_to_none() -> None:
    assert [next_size(count, SIZES) for count in (1, 2, 3, 5, 25, 40, 64)] == [1, 2, 4, 8, 32, 40, 64]
    assert next_size(65, SIZES) is None
    assert next_size(1, ()) is None


def test_no_small_batch_is_padded_to_more_than_twice_its_size() -> None:
    assert sorted(SIZES) == list(SIZES)
    for count in range(1, SIZES[-1] + 1):
        assert count <= (next_size(count, SIZES) or 0) < 2 * count + (count == 1)


def test_without_a_gpu_it_computes_what_torch_does_past_a_chunk_too(model: Model) -> None:
    encoder, plain = CudaEncoder(model, device="cpu"), TorchEncoder(model, device="cpu")
    assert encoder.recorded == ()
    for count in (1, 257):
        given = pictures(count)
        torch.testing.assert_close(encoder.encode(given), plain.encode(given), atol=1e-5, rtol=1e-5)


def test_a_card_of_reduced_precision_is_obeyed_and_features_stay_float32(model: Model) -> None:
    reduced = dataclasses.replace(model, card=model.card.model_copy(update={"precision": "bf16"}))
    exact, found = (CudaEncoder(each, device="cpu").encode(pictures(5)) for each in (model, reduced))
    assert found.dtype == torch.float32
    difference = float((found - exact).norm() / exact.norm())
    assert 1e-5 < difference < 2e-2


def test_replays_take_the_next_size_and_drop_the_padding(model: Model) -> None:
    """By stand-ins for recorded graphs, which only a GPU can have."""

    class Replay:
        def __init__(self, size: int) -> None:
            self.size, self.seen = size, 0

        def replay(self, given: Tensor) -> Tensor:
            self.seen += len(given)
            return torch.full((len(given), 1), float(self.size))

    encoder = CudaEncoder(model, device="cpu")
    graphs = {size: Replay(size) for size in (2, 8)}
    encoder._graphs = graphs  # type: ignore[assignment]
    assert encoder.encode(pictures(5)).tolist() == [[8.0]] * 5
    assert (graphs[2].seen, graphs[8].seen) == (0, 5)
    assert encoder.encode(pictures(9)).shape == (9, *model.card.features)
