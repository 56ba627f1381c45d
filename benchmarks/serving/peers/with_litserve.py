"""LitServe, as its pages on batching and on speed have it: decoding, batches and answers in its workers."""

import classifier
import litserve
import torch
from fastapi import Request
from torch import Tensor


class Classify(litserve.LitAPI):
    """A worker."""

    def setup(self, device: str) -> None:
        """Once a worker."""
        del device
        self._preprocess, self._model = classifier.Preprocessing(), classifier.model()

    def decode_request(self, request: Request) -> Tensor:
        """A form with a picture → tensor."""
        return self._preprocess(request["picture"].file.read())

    def batch(self, inputs: list[Tensor]) -> Tensor:
        """Pictures of several requests together."""
        return torch.stack(inputs)

    def predict(self, x: Tensor) -> list[list[float]]:
        """Tensors → probabilities."""
        return self._model(x)

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """An answer each."""
        return output

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """As JSON."""
        return {"probabilities": output}


if __name__ == "__main__":
    api = Classify(max_batch_size=classifier.BATCH, batch_timeout=classifier.WAIT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=classifier.WORKERS, timeout=60)
    server.run(host="127.0.0.1", port=classifier.PORT, generate_client_file=False, log_level="warning")
