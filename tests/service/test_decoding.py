"""Decoding in threads: in order, in turns, and no longer than somebody waits."""

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from meta_core.errors import UndecodableImage
from meta_core.preprocess import InputSpec, decode
from service.decoding import Decoder, from_base64
from service.errors import DeadlineExceeded, UndecodablePictures
from service.settings import Limits
from tests.service.running import b64, digits

SPEC = InputSpec(channels=1, height=28, width=28, fit="pad", polarity="bright_ink")
DIGITS = [data for _, data in digits(6)]


class Counted(bytes):
    """A picture's file that knows how often it was looked at."""

    looks: list[int]

    def __len__(self) -> int:
        self.looks.append(1)
        return super().__len__()


def large(looks: list[int] | None = None) -> bytes:
    """A picture that takes some ten milliseconds to decode."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((2500, 2500), np.uint8)).save(buffer, "png")
    picture = Counted(buffer.getvalue())
    picture.looks = [] if looks is None else looks
    return picture


def test_many_pictures_come_back_in_order_and_bad_ones_at_their_place() -> None:
    async def run() -> None:
        decoder = Decoder(threads=2, limits=Limits())
        pictures = [DIGITS[number % 60] if number % 7 else b"not a picture" for number in range(300)]
        for number, decoded in enumerate(await decoder.each(pictures, SPEC)):
            if number % 7:
                assert not isinstance(decoded, UndecodableImage)
                assert np.array_equal(decoded, decode(DIGITS[number % 60], SPEC))
            else:
                assert isinstance(decoded, UndecodableImage)
        decoder.close()

    asyncio.run(run())


def test_one_bad_picture_where_all_are_needed_is_named_with_its_place() -> None:
    async def run() -> None:
        decoder = Decoder(threads=2, limits=Limits())
        locs = [("body", "files", number) for number in range(3)]
        with pytest.raises(UndecodablePictures, match=r"1 of 3 pictures cannot be used: body\.files\.1") as caught:
            await decoder.all([DIGITS[0], b"?", DIGITS[1]], SPEC, loc=locs)
        assert [part.loc for part in caught.value.errors] == [("body", "files", 1)]
        decoder.close()

    asyncio.run(run())


def test_a_small_request_does_not_wait_for_the_end_of_a_large_one() -> None:
    async def run() -> None:
        decoder, finished = Decoder(threads=1, limits=Limits()), list[str]()

        async def ask(name: str, pictures: list[bytes]) -> None:
            await decoder.each(pictures, SPEC)
            finished.append(name)

        first = asyncio.ensure_future(ask("large", [large()] * 60))
        await asyncio.sleep(0)
        await asyncio.gather(first, ask("small", DIGITS[:2]))
        assert finished == ["small", "large"]
        decoder.close()

    asyncio.run(run())


def test_what_nobody_waits_for_any_more_is_not_decoded() -> None:
    async def run() -> None:
        decoder, looks = Decoder(threads=1, limits=Limits()), list[int]()
        asked = asyncio.ensure_future(decoder.each([large(looks)] * 500, SPEC))
        while not looks:  # noqa: ASYNC110 (the decoder tells nobody when it begins)
            await asyncio.sleep(0.001)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await decoder.each(DIGITS[:1], SPEC)  # the one thread is free again
        assert len(looks) < 100
        decoder.close()

    asyncio.run(run())


def test_pictures_that_take_longer_than_a_request_may_are_dropped() -> None:
    async def run() -> None:
        decoder = Decoder(threads=1, limits=Limits(request_seconds=0.05))
        with pytest.raises(DeadlineExceeded, match=r"over 0\.05 s"):
            await decoder.each([large()] * 500, SPEC)
        decoder.close()

    asyncio.run(run())


def test_base64_is_taken_as_tools_write_it() -> None:
    plain = b64(DIGITS[0])
    wrapped = "\n".join(plain[start : start + 76] for start in range(0, len(plain), 76))
    for text in (plain, wrapped, f"data:image/png;base64,{plain}", f" {plain}\r\n"):
        assert from_base64(text) == DIGITS[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://example.org/cat.png", "nothing is fetched"),
        ("HTTP://example.org/cat.png", "nothing is fetched"),
        ("data:image/png,abc", "data:image/…;base64"),
        ("data:image/png;base64", "data:image/…;base64"),
        ("not base64!", "not base64"),
        ("a", "not base64"),
    ],
)
def test_what_is_not_base64_is_refused_and_told_why(text: str, told: str) -> None:
    with pytest.raises(UndecodableImage, match=told):
        from_base64(text)


@pytest.mark.data
def test_the_service_and_the_trainer_prepare_a_picture_alike(data_folder: Path) -> None:
    """Readers and decoder end in the same function; here on what a reader keeps, sent as a file."""
    with np.load(data_folder / "omniglot_28_u8.npz") as arrays:
        drawings = arrays["images"][::160, 0]
    buffers = []
    for drawing in drawings:
        buffer = io.BytesIO()
        Image.fromarray(drawing).save(buffer, "png")
        buffers.append(buffer.getvalue())
    decoded = torch.from_numpy(np.stack([decode(data, SPEC) for data in buffers]))
    assert torch.equal(decoded[:, 0], torch.from_numpy(drawings))
