"""Ray Serve, as its pages on request batching and its ResNet-50 example have it."""

import asyncio

import classifier
import ray
import torch
from ray import serve
from starlette.requests import Request
from torch import Tensor


@serve.deployment(
    num_replicas=classifier.WORKERS,
    max_ongoing_requests=4 * classifier.BATCH,
    ray_actor_options={"num_cpus": classifier.CORES / classifier.WORKERS / 2},
)
class Classify:
    """A replica: pictures are prepared in threads, then computed in batches."""

    def __init__(self) -> None:
        self._preprocess, self._model = classifier.Preprocessing(), classifier.model()

    @serve.batch(max_batch_size=classifier.BATCH, batch_wait_timeout_s=classifier.WAIT_SECONDS)
    async def compute(self, pictures: list[Tensor]) -> list[list[float]]:
        """Tensors → probabilities."""
        return await asyncio.to_thread(self._model, torch.stack(pictures))

    async def __call__(self, request: Request) -> list[float]:
        """The body is the picture."""
        picture = await asyncio.to_thread(self._preprocess, await request.body())
        return await self.compute(picture)


if __name__ == "__main__":
    ray.init(num_cpus=classifier.CORES, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": classifier.PORT})
    serve.run(Classify.bind(), blocking=True)
