"""mosec, as its `resnet50_server_pytorch.py` has it: one stage preprocesses, the next computes batches."""

import sys

import classifier
import torch
from mosec import Server, Worker
from mosec.errors import DecodingError
from torch import Tensor


class Preprocess(Worker):
    """JPEG → tensor, a picture at a time, on every core."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_num_threads(1)
        self._preprocess = classifier.Preprocessing()

    def deserialize(self, data: bytes) -> bytes:
        """The body is the picture."""
        return data

    def forward(self, data: bytes) -> object:
        """A picture's array, as stages hand arrays on faster than tensors."""
        try:
            return self._preprocess(data).numpy()
        except OSError as error:
            raise DecodingError(str(error)) from error


class Inference(Worker):
    """Batches."""

    def __init__(self) -> None:
        super().__init__()
        self._model = classifier.model()

    def forward(self, data: list) -> list[list[float]]:
        """Arrays → probabilities."""
        pictures: Tensor = torch.stack([torch.from_numpy(each) for each in data])
        return self._model(pictures)


if __name__ == "__main__":
    sys.argv += ["--port", str(classifier.PORT), "--address", "127.0.0.1", "--timeout", "60000"]
    server = Server()
    server.append_worker(Preprocess, num=classifier.CORES)
    server.append_worker(
        Inference,
        num=classifier.WORKERS,
        max_batch_size=classifier.BATCH,
        max_wait_time=int(1000 * classifier.WAIT_SECONDS),
    )
    server.run()
