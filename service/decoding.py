"""Pictures as they come over the wire → a model's input, in threads, never more at once than there are cores."""

import asyncio
import base64
import binascii
import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meta_core.errors import UndecodableImage
from meta_core.preprocess import InputSpec, decode
from service.errors import DeadlineExceeded, FieldError, UndecodablePictures, kind_of
from service.metrics import Metrics
from service.settings import Limits

Encoded = bytes | str
"""A picture's file, or the same as base64 or a data URI."""

Decoded = NDArray[np.uint8] | UndecodableImage

P = ParamSpec("P")
R = TypeVar("R")

_CHUNK = 16
_TURN_SECONDS = 0.03


class Decoder:
    """Decodes pictures in a bounded pool of threads; large requests take turns with small ones, chunk by chunk."""

    def __init__(self, *, threads: int, limits: Limits, metrics: Metrics | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._threads = threads
        self._limits = limits
        self._metrics = metrics or Metrics()

    async def each(self, pictures: Sequence[Encoded], spec: InputSpec) -> list[Decoded]:
        """Each picture's array, or why there is none, in order.

        Raises:
            DeadlineExceeded: they take longer than the limit.
        """
        began = time.perf_counter()
        loop, turns, dropped = asyncio.get_running_loop(), asyncio.Semaphore(self._threads), threading.Event()

        async def chunk(start: int) -> list[Decoded]:
            part, decoded = pictures[start : start + _CHUNK], list[Decoded]()
            async with turns:
                while len(decoded) < len(part) and not dropped.is_set():
                    rest = part[len(decoded) :]
                    decoded += await loop.run_in_executor(self._pool, self._decode, rest, spec, dropped)
            return decoded

        try:
            async with asyncio.timeout(self._limits.request_seconds):
                if len(pictures) <= _CHUNK:  # most requests: without a task of its own
                    chunks = [await chunk(0)]
                else:
                    chunks = await asyncio.gather(*(chunk(start) for start in range(0, len(pictures), _CHUNK)))
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"decoding took over {self._limits.request_seconds:g} s and was dropped; send fewer pictures",
                retry_after_seconds=5,
            ) from error
        finally:
            dropped.set()  # where nobody waits any more, the threads stop at the next picture
        self._metrics.decoded(time.perf_counter() - began)
        return [picture for part in chunks for picture in part]

    async def all(self, pictures: Sequence[Encoded], spec: InputSpec, *, loc: Sequence[Sequence[str | int]]) -> Tensor:
        """All pictures as uint8 (N, channels, H, W).

        Args:
            pictures: as they came.
            spec: what the model takes.
            loc: where in the request each picture stands, for the error.

        Raises:
            UndecodablePictures: at least one cannot be decoded; names each.
            DeadlineExceeded: they take longer than the limit.
        """
        decoded = await self.each(pictures, spec)
        if errors := _errors(decoded, loc):
            raise UndecodablePictures.of(errors, len(pictures))
        return await self.stacked(decoded)

    async def stacked(self, decoded: Sequence[Decoded]) -> Tensor:
        """The good pictures, (N, channels, H, W) uint8; at least one is."""
        # A thousand take a third of a second to copy, in which the event loop would do nothing else.
        return await self.run(_stack, decoded) if len(decoded) > _CHUNK else _stack(decoded)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Other work on a request's bytes, such as unpacking, in the same threads."""
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _decode(self, pictures: Sequence[Encoded], spec: InputSpec, dropped: threading.Event) -> list[Decoded]:
        """The first of the pictures, as many as one turn has time for, at least one."""
        decoded: list[Decoded] = []
        until = time.perf_counter() + _TURN_SECONDS
        for picture in pictures:
            if dropped.is_set() or (decoded and time.perf_counter() > until):
                break
            try:
                data = _bounded(picture, self._limits.file_bytes)
                decoded.append(decode(data, spec, max_pixels=self._limits.pixels))
            except UndecodableImage as error:
                decoded.append(error)
        return decoded


def _stack(decoded: Sequence[Decoded]) -> Tensor:
    return torch.from_numpy(np.stack([picture for picture in decoded if not isinstance(picture, UndecodableImage)]))


def _errors(decoded: Sequence[Decoded], loc: Sequence[Sequence[str | int]]) -> list[FieldError]:
    return [
        FieldError(tuple(place), str(picture), kind_of(picture).code)
        for picture, place in zip(decoded, loc, strict=True)
        if isinstance(picture, UndecodableImage)
    ]


def _bounded(picture: Encoded, max_bytes: int) -> bytes:
    data = picture if isinstance(picture, bytes) else from_base64(picture)
    if len(data) > max_bytes:
        raise UndecodableImage(f"the file has {len(data)} bytes; at most {max_bytes} are taken")
    return data


def from_base64(text: str) -> bytes:
    """The bytes of base64 or of a `data:` URI with base64.

    Raises:
        UndecodableImage: a web address (nothing is ever fetched), another data URI, or not base64.
    """
    if text[:8].lower().startswith(("http://", "https://")):
        raise UndecodableImage("the picture is a web address; nothing is fetched: send the picture itself as base64")
    if text.startswith("data:"):
        header, comma, text = text.partition(",")
        if not comma or not header.endswith(";base64"):
            raise UndecodableImage("the data URI is not of the form data:image/…;base64,…")
    try:
        # Line breaks are usual in base64 of command-line tools.
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UndecodableImage(f"the picture is not base64: {error}; send base64 or a data: URI") from error
