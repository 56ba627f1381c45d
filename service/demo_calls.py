"""What the demonstration says over HTTP, and pictures as it sends them."""

import base64
import io
import time
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def create(client: httpx.Client, examples: Sequence[dict[str, str]], **options: str) -> tuple[dict[str, Any], float]:
    """A classifier of labelled pictures, and the seconds it took."""
    return timed(client, "/v1/classifiers", {"examples": list(examples), **options})


def classify(client: httpx.Client, classifier: dict[str, Any], images: Sequence[str]) -> tuple[dict[str, Any], float]:
    """What it says of pictures, and the seconds it took."""
    return timed(client, f"/v1/classifiers/{classifier['id']}/classify", {"images": list(images)})


def timed(client: httpx.Client, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """What a POST answers, and the seconds it took."""
    began = time.perf_counter()
    answer: dict[str, Any] = client.post(path, json=body).raise_for_status().json()
    return answer, time.perf_counter() - began


def png(image: NDArray[np.uint8]) -> str:
    """Base64."""
    return _encoded(image, "png")


def jpeg(image: NDArray[np.uint8]) -> str:
    """Base64."""
    return _encoded(image, "jpeg")


def _encoded(image: NDArray[np.uint8], kind: str) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()
