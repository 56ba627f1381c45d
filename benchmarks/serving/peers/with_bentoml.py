"""BentoML, as its page on adaptive batching has it: a batchable endpoint that takes and gives lists."""

import bentoml
import classifier
import torch
from PIL.Image import Image


@bentoml.service(workers=classifier.WORKERS, traffic={"timeout": 60})
class Classify:
    """A worker."""

    def __init__(self) -> None:
        self._preprocess, self._model = classifier.Preprocessing(), classifier.model()

    @bentoml.api(batchable=True, max_batch_size=classifier.BATCH, max_latency_ms=60_000)
    def classify(self, images: list[Image]) -> list[list[float]]:
        """Pictures → probabilities."""
        return self._model(torch.stack([self._preprocess.of_picture(image) for image in images]))
