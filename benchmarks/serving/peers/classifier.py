"""What every peer serves, without kshot: JPEG → tensor by Pillow and torchvision, tensors → class probabilities.

Read from the environment, as the engines start processes of their own:
BENCH_FOLDER (`about.json`, `weights.pt`, `encoder.onnx`, `encoder-int8.onnx`), BENCH_RUNTIME (`torch`, `onnx` or
`int8`), BENCH_PORT, BENCH_CORES, and BENCH_WORKERS, processes that compute, among which the cores are shared out as
threads.
"""

import io
import json
import os
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms import v2

FOLDER = Path(os.environ["BENCH_FOLDER"])
RUNTIME = os.environ["BENCH_RUNTIME"]
PORT = int(os.environ["BENCH_PORT"])
CORES = int(os.environ["BENCH_CORES"])
WORKERS = int(os.environ["BENCH_WORKERS"])

BATCH = 16
"""The largest batch: as many as there are clients."""

WAIT_SECONDS = 0.01
"""How long a batch that is not full is waited for."""


class Preprocessing:
    """As kshot's: decoded at half the size where that is enough, the middle cropped, resized, normalized."""

    def __init__(self) -> None:
        about = json.loads((FOLDER / "about.json").read_text())
        self._size, self._decoded = (about["side"],) * 2, (about["decoded_side"],) * 2
        self._to_tensor = v2.Compose(
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(about["mean"], about["std"])]
        )

    def __call__(self, jpeg: bytes) -> Tensor:
        """An encoded picture → (3, side, side)."""
        return self.of_picture(Image.open(io.BytesIO(jpeg)))

    def of_picture(self, picture: Image.Image) -> Tensor:
        """The same of a picture that is not decoded yet."""
        picture.draft(None, self._decoded)
        return self._to_tensor(ImageOps.fit(picture.convert("RGB"), self._size, Image.Resampling.BILINEAR))


class TorchModel:
    """Backbone and linear head on torch."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        weights = torch.load(FOLDER / "weights.pt", weights_only=True)
        head = nn.Linear(*reversed(weights["head"]["weight"].shape))
        head.load_state_dict(weights["head"])
        backbone = _conv4() if FOLDER.name.startswith("conv4") else _resnet18()
        backbone.load_state_dict(weights["backbone"])
        self._network = nn.Sequential(backbone, head, nn.Softmax(dim=1)).eval()

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> list[list[float]]:
        """(N, 3, side, side) → probabilities (N, classes)."""
        return self._network(pictures).tolist()


class OnnxModel:
    """The encoder on ONNX Runtime, with kshot's session options; the head on NumPy."""

    def __init__(self, threads: int) -> None:
        import onnxruntime

        torch.set_num_threads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = FOLDER / ("encoder.onnx" if RUNTIME == "onnx" else "encoder-int8.onnx")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        head = torch.load(FOLDER / "weights.pt", weights_only=True)["head"]
        self._weight, self._bias = head["weight"].numpy().T, head["bias"].numpy()

    def __call__(self, pictures: Tensor) -> list[list[float]]:
        """(N, 3, side, side) → probabilities (N, classes)."""
        (features,) = self._session.run(["features"], {"inputs": pictures.numpy()})
        logits = features @ self._weight + self._bias
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return (powers / powers.sum(1, keepdims=True)).tolist()


def model() -> TorchModel | OnnxModel:
    """By the environment."""
    return (TorchModel if RUNTIME == "torch" else OnnxModel)(max(1, CORES // WORKERS))


def _conv4(width: int = 64) -> nn.Sequential:
    """Four blocks (Vinyals et al. 2016), pooled before the ReLU, as kshot has it: the same numbers for less work."""
    channels = [3, width, width, width, width]
    blocks = [
        nn.Sequential(
            nn.Conv2d(channels[i], channels[i + 1], 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.MaxPool2d(2),
            nn.ReLU(),
        )
        for i in range(4)
    ]
    return nn.Sequential(*blocks, nn.Flatten())


def _resnet18() -> nn.Module:
    network = torchvision.models.resnet18()
    network.fc = nn.Identity()
    return network
