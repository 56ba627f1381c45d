"""Archives that are broken, lead out of themselves, or unpack to more than anybody can hold."""

import functools
import io
import random
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.hostile.requests import ARCHIVE, GOOD, INVALID, LARGE, UNDECODABLE, Case, Target, asked, zeros
from tests.service.running import digits

PICTURES = [(f"{label}/{number}.png", data) for number, (label, data) in enumerate(GOOD)]


def packed(
    entries: list[tuple[str | zipfile.ZipInfo, bytes]], *, method: int = zipfile.ZIP_STORED, comment: bytes = b""
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.comment = comment
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def with_entry(name: str | zipfile.ZipInfo, data: bytes = GOOD[0][1]) -> bytes:
    """A good archive with one more entry."""
    return packed([*PICTURES, (name, data)])


def link() -> bytes:
    entry = zipfile.ZipInfo("8/link.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return with_entry(entry, b"/etc/passwd")


def patched(data: bytes, offset: int, value: bytes, *, signature: bytes = b"PK\x01\x02") -> bytes:
    """The zip with some bytes of its last header of that kind replaced."""
    start = data.rindex(signature) + offset
    return data[:start] + value + data[start + len(value) :]


def raw_zip(entries: list["Raw"]) -> bytes:
    """A zip of entries that may lie."""
    bodies, directory, place = [b""], list[bytes](), 0
    for entry in entries:
        directory.append(entry.central(place if entry.offset is None else entry.offset))
        bodies += [entry.local, entry.data] if entry.offset is None else []
        place += len(entry.local) + len(entry.data) if entry.offset is None else 0
    return ended(b"".join(bodies), b"".join(directory), count=len(entries))


def ended(body: bytes, directory: bytes, *, count: int) -> bytes:
    """The zip of these entries and their directory."""
    count = min(count, 65535)
    return body + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)


class Raw:
    """An entry with whatever sizes, checksum, flags and place it is said to have."""

    def __init__(
        self,
        name: bytes,
        data: bytes,
        *,
        size: int,
        crc: int,
        flags: int = 0,
        method: int = 8,
        offset: int | None = None,
    ) -> None:
        self.name, self.data, self.offset = name, data, offset
        self.fields = struct.pack("<5H3L2H", 20, flags, method, 0, 33, crc, len(data), size, len(name), 0)

    @property
    def local(self) -> bytes:
        return b"PK\3\4" + self.fields + self.name

    def central(self, start: int) -> bytes:
        return b"PK\1\2" + struct.pack("<H", 20) + self.fields + struct.pack("<3H2L", 0, 0, 0, 0, start) + self.name


def stored(name: str, data: bytes) -> Raw:
    return Raw(name.encode(), data, size=len(data), crc=zlib.crc32(data), method=0)


GOOD_ENTRIES = [stored(name, data) for name, data in PICTURES]


@functools.cache
def gigabyte() -> bytes:
    return b"".join(zeros(2**30, wbits=-15))


def bomb(*, size: int = 2**30) -> bytes:
    """An entry of a gigabyte of zeros, said to be of some size."""
    return raw_zip([*GOOD_ENTRIES, Raw(b"8/bomb.png", gigabyte(), size=size, crc=0)])


def other_method_bomb(method: int) -> bytes:
    """Zeros that Python unpacks all at once, however few of them are asked for."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        with archive.open("3/bomb.png", "w") as file:
            for _ in range(8):
                file.write(bytes(2**20))
        archive.writestr("4/0.png", GOOD[0][1])
    return buffer.getvalue()


def same_data_twice() -> bytes:
    """Forty entries that all are the same ten megabytes."""
    data = b"".join(zeros(10 << 20, wbits=-15))
    first = Raw(b"3/a.png", data, size=10 << 20, crc=zlib.crc32(bytes(10 << 20)))
    again = [Raw(b"3/a.png", data, size=10 << 20, crc=zlib.crc32(bytes(10 << 20)), offset=0) for _ in range(39)]
    return raw_zip([first, *again])


def quoted_overlap() -> bytes:
    """D. Fifield's: each entry quotes the header of the next in a block that is not compressed, and goes on into it."""
    size = 10 << 20
    kernel = bytes(size)
    files = [Raw(b"3/39.png", b"".join(zeros(size, wbits=-15)), size=size, crc=zlib.crc32(kernel))]
    headers = b""
    for number in reversed(range(39)):
        quoted = files[-1].local
        data = b"\0" + struct.pack("<HH", len(quoted), len(quoted) ^ 0xFFFF) + quoted + files[-1].data
        headers = quoted + headers
        size += len(quoted)
        checksum = zlib.crc32(kernel, zlib.crc32(headers))
        files.append(Raw(f"3/{number:02}.png".encode(), data, size=size, crc=checksum))
    files.reverse()
    body, directory, place = files[0].local + files[0].data, b"", 0
    for file in files:
        directory += file.central(place)
        place += len(file.local) + 5
    return ended(body, directory, count=40)


def encrypted() -> bytes:
    """A picture behind a password, by PKWARE's cipher."""
    data, keys = GOOD[0][1], [0x12345678, 0x23456789, 0x34567890]

    def crc(value: int, byte: int) -> int:
        return zlib.crc32(bytes([byte]), value ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    def update(byte: int) -> None:
        keys[0] = crc(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = crc(keys[2], keys[1] >> 24)

    def cipher(byte: int) -> int:
        mask = (keys[2] | 2) & 0xFFFF
        update(byte)
        return byte ^ ((mask * (mask ^ 1)) >> 8 & 0xFF)

    for byte in b"secret":
        update(byte)
    hidden = bytes(cipher(byte) for byte in bytes(11) + bytes([zlib.crc32(data) >> 24]) + data)
    entry = Raw(b"8/hidden.png", hidden, size=len(data), crc=zlib.crc32(data), flags=1, method=0)
    return raw_zip([*GOOD_ENTRIES, entry])


def test_the_encrypted_archive_is_one() -> None:
    with zipfile.ZipFile(io.BytesIO(encrypted())) as archive:
        assert archive.read("8/hidden.png", pwd=b"secret") == GOOD[0][1]


def test_the_overlapping_archive_is_one() -> None:
    data = quoted_overlap()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    assert sum(entry.file_size for entry in entries) > 400 << 20
    assert len(data) < 200_000
    unpacked = zlib.decompressobj(-15).decompress(data[30 + len(entries[0].filename) :])
    assert (len(unpacked), zlib.crc32(unpacked)) == (entries[0].file_size, entries[0].CRC)


def damaged(*, method: int) -> bytes:
    data = bytearray(packed(PICTURES, method=method))
    middle = data.rindex(b"PK\3\4") + 60
    data[middle] ^= 0xFF
    return bytes(data)


def nameless() -> bytes:
    return raw_zip([*GOOD_ENTRIES, stored("", GOOD[0][1])])


def of_name(name: bytes, flags: int = 0x800) -> bytes:
    return raw_zip([*GOOD_ENTRIES, Raw(name, b"x", size=1, crc=zlib.crc32(b"x"), flags=flags, method=0)])


def many(count: int) -> bytes:
    return raw_zip([stored(f"{number % 2}/{number}", b"") for number in range(count)])


BOUNDED = "at most 1000 are taken"
UNPACKS = "unpacks to more than is taken"
BROKEN, OVERLAPPING = (422, "invalid_archive"), (0, "")
ARCHIVES: dict[str, tuple[Callable[[], bytes], str, tuple[int, str]]] = {
    "a path above": (lambda: with_entry("../8/a.png"), "'../8/a.png' leads out", BROKEN),
    "a hidden path above": (lambda: with_entry("../../.bashrc"), "leads out", BROKEN),
    "a folder above": (lambda: with_entry("../", b""), "leads out", BROKEN),
    "a path above from within": (lambda: with_entry("8/../../a.png"), "leads out", BROKEN),
    "only dots": (lambda: with_entry("8/.."), "leads out", BROKEN),
    "an absolute path": (lambda: with_entry("/etc/cron.d/a.png"), "leads out", BROKEN),
    "a share": (lambda: with_entry("//server/share/a.png"), "leads out", BROKEN),
    "a drive": (lambda: with_entry("C:/8/a.png"), "leads out", BROKEN),
    "a drive without a slash": (lambda: with_entry("C:8/a.png"), "leads out", BROKEN),
    "a drive with backslashes": (lambda: with_entry("C:\\8\\a.png"), "leads out", BROKEN),
    "backslashes": (lambda: with_entry("8\\a.png"), "backslash", BROKEN),
    "backslashes above": (lambda: with_entry("8/..\\..\\a.png"), "backslash", BROKEN),
    "a link": (link, "'8/link.png' is a link", BROKEN),
    "a zip in the zip": (lambda: with_entry("8/inner.zip", packed(PICTURES)), "8/inner.zip", UNDECODABLE),
    "an encrypted flag": (
        lambda: patched(with_entry("8/a.png"), 8, b"\1\0"), "is encrypted; send the archive without", BROKEN,
    ),
    "an encrypted picture": (encrypted, "'8/hidden.png' is encrypted", BROKEN),
    "a gigabyte of zeros": (bomb, UNPACKS, LARGE),
    "a gigabyte that claims to be small": (lambda: bomb(size=100), "cannot be read as a zip", BROKEN),
    "a bzip2 bomb": (lambda: other_method_bomb(zipfile.ZIP_BZIP2), "packed by method 12; expected", BROKEN),
    "an lzma bomb": (lambda: other_method_bomb(zipfile.ZIP_LZMA), "packed by method 14; expected", BROKEN),
    "deflate64": (lambda: patched(with_entry("8/a.png"), 10, b"\x09\0"), "packed by method 9", BROKEN),
    "one data for forty entries": (same_data_twice, "", OVERLAPPING),
    "entries that quote each other": (quoted_overlap, "", OVERLAPPING),
    "a thousand and one entries": (lambda: many(1001), f"1001 files; {BOUNDED}", LARGE),
    "a hundred thousand entries": (lambda: many(100_000), "lists about 100000 entries; at most 1000", LARGE),
    "a size that is too small": (
        lambda: patched(with_entry("8/a.png"), 24, struct.pack("<L", 10)), "cannot be read as a zip", BROKEN,
    ),
    "a packed size beyond the end": (
        lambda: patched(with_entry("8/a.png"), 20, struct.pack("<LL", 2**31, 2**31)), "cannot be read as a zip",
        BROKEN,
    ),
    "a place beyond the end": (
        lambda: patched(with_entry("8/a.png"), 42, struct.pack("<L", 2**31)), "cannot be read as a zip",
        BROKEN,
    ),
    "another name in the header": (
        lambda: patched(with_entry("8/a.png"), 30, b"7", signature=b"PK\3\4"), "cannot be read as a zip",
        BROKEN,
    ),
    "a newer version": (lambda: patched(with_entry("8/a.png"), 6, b"\xff\0"), "version", BROKEN),
    "a count that is too large": (
        lambda: patched(packed(PICTURES), 10, b"\xff\xff\xff", signature=b"PK\5\6"), "cannot be read as a zip",
        BROKEN,
    ),
    "a damaged picture": (lambda: damaged(method=zipfile.ZIP_STORED), "Bad CRC-32 for file '8/5.png'", BROKEN),
    "damaged packing": (lambda: damaged(method=zipfile.ZIP_DEFLATED), "cannot be read as a zip", BROKEN),
    "no zip": (lambda: b"not a zip", "File is not a zip file; expected label/name.jpg", BROKEN),
    "an empty file": (lambda: b"", "not a zip file", BROKEN),
    "a picture": (lambda: GOOD[0][1], "not a zip file", BROKEN),
    "noise": (lambda: random.Random(0).randbytes(10_000), "not a zip file", BROKEN),
    "cut in the middle": (lambda: packed(PICTURES)[:500], "not a zip file", BROKEN),
    "cut at the end": (lambda: packed(PICTURES)[:-1], "cannot be read as a zip", BROKEN),
    "without its beginning": (lambda: packed(PICTURES)[100:], "cannot be read as a zip", BROKEN),
    "no entry": (lambda: packed([]), "holds no file; expected label/name.jpg", BROKEN),
    "only folders": (lambda: packed([("3/", b""), ("4/", b"")]), "holds no file", BROKEN),
    "only what file managers add": (
        lambda: packed([("3/.DS_Store", b"x"), ("__MACOSX/3/._0.png", b"x"), ("3/Thumbs.db", b"x")]), "holds no file",
        BROKEN,
    ),
    "files on top": (lambda: with_entry("a.png"), "'a.png' is not at label/name.jpg; put each", BROKEN),
    "files too deep": (lambda: with_entry("8/more/a.png"), "is not at label/name.jpg", BROKEN),
    "a file without a name": (nameless, "without a name", BROKEN),
    "a name that is not UTF-8": (lambda: of_name(b"8/\xff\xfe.png"), "cannot be read as a zip", BROKEN),
    "one label": (lambda: packed([("3/a.png", GOOD[0][1]), ("3/b.png", GOOD[1][1])]), "all 2 are '3'", INVALID),
    "a label of control characters": (lambda: of_name(b"a\x07b/a.png"), "U+0007", INVALID),
    "a label of reversed text": (lambda: of_name("a\u202eb/a.png".encode()), "U+202E", INVALID),
    "a blank label": (lambda: of_name(b" /a.png"), "1 to 200 printable characters", INVALID),
    "a label of 10000 characters": (lambda: of_name(b"a" * 10_000 + b"/a.png"), "at most 200 characters", INVALID),
}  # fmt: skip


@functools.cache
def made(name: str) -> bytes:
    return ARCHIVES[name][0]()


def case_of(name: str) -> Case:
    _, says, how = ARCHIVES[name]
    return Case(name, ARCHIVE, lambda: upload(made(name)), (says,), how)


def upload(data: bytes) -> dict[str, Any]:
    return {"files": {"archive": ("pictures.zip", data)}}


CASES = [case_of(name) for name, (_, _, how) in ARCHIVES.items() if how != OVERLAPPING]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_archive_that_cannot_be_trusted_is_refused(target: Target, case: Case) -> None:
    target.refuses(case)


def overlapping_case(name: str) -> Case:
    # Newer versions of Python see that entries overlap; older ones unpack until it is too much.
    with zipfile.ZipFile(io.BytesIO(packed(PICTURES))) as archive:
        seen = hasattr(archive.infolist()[0], "_end_offset")
    says, how = ("Overlapped", BROKEN) if seen else (UNPACKS, LARGE)
    return Case(name, ARCHIVE, lambda: upload(made(name)), (says,), how)


OVERLAPPING_CASES = [overlapping_case(name) for name, (_, _, how) in ARCHIVES.items() if how == OVERLAPPING]


@pytest.mark.parametrize("case", OVERLAPPING_CASES, ids=lambda case: case.name)
def test_entries_that_share_their_data_are_refused_as_overlapping_or_as_too_large(target: Target, case: Case) -> None:
    target.refuses(case)


@pytest.mark.parametrize(
    "data",
    [
        patched(packed(PICTURES, method=zipfile.ZIP_DEFLATED), 24, struct.pack("<L", 2**31)),
        packed(PICTURES, comment=b"by a digital camera"),
        b"#!/bin/sh\n" + packed(PICTURES),
        packed([(f"made on Windows/{name}", data) for name, data in PICTURES]),
        packed([("3/", b""), *PICTURES, ("__MACOSX/3/._0.png", b"finder"), ("8/.DS_Store", b"finder")]),
        raw_zip([stored(f"./{name}", data) for name, data in PICTURES]),
    ],
    ids=["a size that is too large", "a comment", "self-extracting", "a folder on top", "clutter", "dots"],
)
def test_an_archive_that_is_merely_unusual_is_taken(target: Target, data: bytes) -> None:
    answer = target.client.post(ARCHIVE, **upload(data))
    assert answer.status_code == 201, answer.text
    identifier = answer.json()["id"]
    assert asked(target.client, identifier) == target.expected
    assert target.client.delete(f"/v1/classifiers/{identifier}").status_code == 204


def test_a_picture_that_cannot_be_decoded_is_named_by_its_path(target: Target) -> None:
    data = packed([*PICTURES, ("8/holiday.png", b"no"), ("8/again.png", digits(1)[0][1][:50])])
    answer = target.client.post(ARCHIVE, **upload(data))
    assert [error["loc"] for error in answer.json()["errors"]] == [
        ["body", "archive", "8/holiday.png"],
        ["body", "archive", "8/again.png"],
    ]
