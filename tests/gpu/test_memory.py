"""A GPU whose memory is really full: batches are halved, then refused with 503, and what was taken is given back."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import torch
from torch import Tensor

from meta_core.learner import AdaptOptions
from service.app import create_app
from service.engine import Engine
from service.metrics import Metrics
from service.served import serve
from service.settings import Settings
from tests.service.gradient import SHIPPED
from tests.service.running import (
    MODELS,
    assert_same,
    b64,
    digits,
    examples,
    probabilities,
    serving,
    wait_until_answered,
)

pytestmark = pytest.mark.gpu

BUDGET_BYTES = 3 * 2**30
"""Of all shipped models on one device: weights, recorded batches and their workspaces."""
SUPPORT = examples(digits(20, labels=(1, 2, 3)))
QUERIES = [b64(data) for _, data in digits(66, start=20, labels=(1, 2, 3))]


@contextmanager
def full(*, but_bytes: int) -> Iterator[None]:
    """Take all memory of the device but so many bytes; all that can be had at all where that is 0."""
    torch.cuda.empty_cache()
    taken: list[Tensor] = []
    piece = max(2**21, torch.cuda.mem_get_info()[0] - but_bytes)
    while piece >= 2**20:
        try:
            taken.append(torch.empty(piece, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            piece //= 2
        else:
            if but_bytes:
                break
    try:
        yield
    finally:
        taken.clear()
        torch.cuda.empty_cache()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service in this process, whose device is full when the test fills it; it remembers no picture."""
    data = tmp_path_factory.mktemp("memory") / "data"
    app = create_app(Settings(models_dir=MODELS, data_dir=data, device="cuda", threads=2, encoded_cache_bytes=0))
    with serving(app) as url, httpx.Client(base_url=url, timeout=120) as asking:
        wait_until_answered(asking)
        yield asking


def ask(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/classify", json={"model": "photos", "examples": SUPPORT, "images": QUERIES})


def test_a_batch_that_does_not_fit_is_done_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.pace._GUESS_PICTURE_SECONDS", 1e-5)  # so that all users' pictures are one turn
    model, counted = serve(MODELS / "photos", device="cuda", threads=1), Metrics()
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (64, *model.card.input.shape), dtype=torch.uint8, generator=generator)
    targets = torch.eye(2).repeat(32, 1)

    async def eight_users() -> list[Tensor]:
        engine = Engine(max_pictures=10_000, max_seconds=120, metrics=counted)
        engine.start()
        asked = [engine.adapt(model, pictures.roll(user, 0), targets, options=AdaptOptions()) for user in range(8)]
        outcomes = await asyncio.gather(*asked)
        await engine.stop()
        return [features for outcome in outcomes if (features := outcome.support_features) is not None]

    expected = asyncio.run(eight_users())
    assert halvings(counted) == 0
    with full(but_bytes=100 * 2**20):  # the pictures of all eight take three times as much
        found = asyncio.run(eight_users())
    assert halvings(counted) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * float(other.abs().max()), rtol=1e-5)


def halvings(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("kshot_device_out_of_memory_total") or 0.0


def test_what_does_not_fit_at_all_is_refused_and_the_next_is_answered(client: httpx.Client) -> None:
    expected = ask(client)
    torch.cuda.synchronize()
    allocated = torch.cuda.memory_allocated()
    with full(but_bytes=0):
        refused = ask(client)
        assert client.get("/readyz").status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) > 0
    assert_same(probabilities(ask(client).json()), probabilities(expected.json()), tolerance=1e-4)
    assert torch.cuda.memory_allocated() <= allocated + 2**20


def test_all_shipped_models_share_a_device_within_a_budget() -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    models = [serve(MODELS / name, device="cuda", threads=1) for name in SHIPPED]
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() - before <= BUDGET_BYTES
    for model in models:  # each goes on answering beside the others
        pictures = torch.zeros(3, *model.card.input.shape, dtype=torch.uint8)
        assert bool(model.encoder.encode(pictures).isfinite().all())


def test_a_model_that_is_let_go_of_gives_its_memory_back(tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    model = serve(MODELS / "photos", device="cuda", threads=1)
    assert torch.cuda.memory_reserved() > before
    del model
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before + 32 * 2**20
