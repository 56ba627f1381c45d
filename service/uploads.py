"""Multipart forms and archives → labels and files."""

import io
import json
import stat
import zipfile
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from fastapi import UploadFile
from pydantic import TypeAdapter, ValidationError

from meta_core.learner import AdaptOptions
from service.errors import FieldError, InvalidArchive, InvalidRequest, ServiceError, TooLarge
from service.fields import Label, Name
from service.schemas import AdaptIn
from service.settings import Limits

_LABEL: TypeAdapter[str] = TypeAdapter(Label)
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Labelled(NamedTuple):
    """A picture's file with its label, and its name in the archive."""

    label: str
    data: bytes
    name: str


async def read_files(files: Sequence[UploadFile], limits: Limits) -> list[bytes]:
    """The files' contents.

    Raises:
        TooLarge: one is over the limit; names it.
    """
    if len(files) > limits.files:
        raise TooLarge(f"{len(files)} files came; at most {limits.files} are taken in a request")
    for number, file in enumerate(files):
        if (file.size or 0) > limits.file_bytes:
            raise TooLarge(
                f"file {number} ({_short(file.filename)}) has {file.size} bytes; at most {limits.file_bytes}"
            )
    return [await file.read() for file in files]


def match_labels(labels: Sequence[str], filenames: Sequence[str | None]) -> list[str]:
    """One label a file.

    Args:
        labels: as they came: one field a file; or one field with a JSON array, with a JSON object filename → label,
            or with all labels joined by commas or line breaks. Swagger UI and some generated clients join lists.
        filenames: of the files, in order.

    Raises:
        InvalidRequest: the counts differ (names both), a file is not in the object, or a label is empty or too long.
    """
    given = list(labels)
    if len(labels) == 1:
        given = _unjoin(labels[0], filenames)
    if len(given) != len(filenames):
        raise InvalidRequest(
            f"{len(given)} labels came with {len(filenames)} files; expected one label a file, as repeated fields, "
            "a JSON array, a JSON object filename → label, or one comma-joined string"
        )
    return [check_label(label, ("body", "labels", number)) for number, label in enumerate(given)]


def check_label(label: str, loc: tuple[str | int, ...]) -> str:
    """The label without surrounding blanks.

    Raises:
        InvalidRequest: empty, too long, or with control characters; says where.
    """
    try:
        return _LABEL.validate_python(label)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in loc)
        raise InvalidRequest(
            f"{where}: {first['msg']}; a label has 1 to 200 printable characters",
            errors=[FieldError(loc, first["msg"], first["type"])],
        ) from error


def check_name(name: str | None) -> str | None:
    """A classifier's name out of a file.

    Raises:
        InvalidRequest: too long, or with control characters.
    """
    try:
        return None if name is None else _NAME.validate_python(name)
    except ValidationError as error:
        raise InvalidRequest(f"the file's name for the classifier: {error.errors()[0]['msg']}") from error


def read_adapt(text: str | None) -> AdaptOptions:
    """The options of adaptation in a form's field, a JSON object; none where it is left out or empty.

    Raises:
        InvalidRequest: not JSON, or not such options; says which.
    """
    try:
        return AdaptOptions(**AdaptIn.model_validate_json(text or "{}").model_dump())
    except ValidationError as error:
        parts = [FieldError(("body", "adapt", *part["loc"]), part["msg"], part["type"]) for part in error.errors()[:20]]
        said = "; ".join(f"{'.'.join(str(place)[:80] for place in part.loc)}: {part.msg}" for part in parts[:3])
        raise InvalidRequest(f'{said}; adapt is one JSON object, for example {{"steps": 5}}', errors=parts) from error


def read_archive(data: bytes, limits: Limits) -> list[Labelled]:
    """The pictures of a zip of `label/name.jpg`, also where all stand in one further folder.

    Sizes are counted while unpacking, whatever the headers announce.

    Raises:
        InvalidArchive: not a zip, encrypted, packed otherwise, a path that leads out of it, another depth, no picture.
        TooLarge: too many entries, or too many bytes unpacked.
    """
    listed = data.count(b"PK\x01\x02")  # reading a directory of a million entries would already cost a gigabyte
    if listed > 4 * limits.files + 10_000:
        raise TooLarge(f"the archive lists about {listed} entries; at most {limits.files} files are taken")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _unpack(archive, [entry for entry in archive.infolist() if not _is_clutter(entry)], limits)
    # The decompressors raise errors of their own on damaged data: zlib.error, EOFError, NotImplementedError …
    except ServiceError:
        raise
    except Exception as error:
        raise InvalidArchive(
            f"the archive cannot be read as a zip: {str(error) or type(error).__name__}; expected label/name.jpg in it"
        ) from error


def _unpack(archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], limits: Limits) -> list[Labelled]:
    if len(entries) > limits.files:
        raise TooLarge(f"the archive has {len(entries)} files; at most {limits.files} are taken")
    paths = _paths(entries)
    if not entries:
        raise InvalidArchive("the archive holds no file; expected label/name.jpg")
    pictures, total = [], 0
    for entry, path in zip(entries, paths, strict=True):
        with archive.open(entry) as file:
            data = file.read(limits.file_bytes + 1)
        total += len(data)
        if len(data) > limits.file_bytes or total > limits.archive_bytes:
            raise TooLarge(
                f"the archive unpacks to more than is taken: {limits.file_bytes} bytes a file, "
                f"{limits.archive_bytes} in all (at {_short(entry.filename)})"
            )
        name = entry.filename[:200]
        pictures.append(Labelled(check_label(path.parts[0], ("body", "archive", name)), data, name))
    return pictures


def _paths(entries: Sequence[zipfile.ZipInfo]) -> list[PurePosixPath]:
    """`label/name` of each entry."""
    paths = []
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if problem := _problem(entry, path):
            raise InvalidArchive(f"{_short(entry.filename)} {problem}")
        paths.append(path)
    if paths and all(len(path.parts) == 3 for path in paths) and len({path.parts[0] for path in paths}) == 1:
        paths = [path.relative_to(path.parts[0]) for path in paths]  # the folder that was zipped stands on top
    for path in paths:
        if len(path.parts) != 2:
            raise InvalidArchive(
                f"{_short(str(path))} is not at label/name.jpg; put each label's pictures in its folder"
            )
    return paths


def _problem(entry: zipfile.ZipInfo, path: PurePosixPath) -> str | None:
    """Why an entry is not taken."""
    if not path.parts:
        return "is a file without a name; expected label/name.jpg"
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "leads out of the archive; expected label/name.jpg"
    if "\\" in entry.filename:
        return "has a backslash; expected label/name.jpg, with a slash"
    if entry.flag_bits & 1:
        return "is encrypted; send the archive without a password"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link; expected pictures at label/name.jpg"
    # Python unpacks the other methods without bounds: 2 kB of bzip2 took 2 GB.
    if entry.compress_type not in _METHODS:
        return f"is packed by method {entry.compress_type}; expected deflate, what a zip program does by default"
    return None


def _is_clutter(entry: zipfile.ZipInfo) -> bool:
    """Folders, and what file managers add."""
    parts = PurePosixPath(entry.filename).parts
    if not parts or any(part.startswith("..") for part in parts):
        return False  # refused, not passed over
    return entry.is_dir() or "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1] == "Thumbs.db"


def _unjoin(text: str, filenames: Sequence[str | None]) -> list[str]:
    stripped = text.strip()
    if stripped[:1] in ("[", "{"):
        try:
            parsed = json.loads(stripped)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, list) and all(isinstance(label, str) for label in parsed):
            return parsed
        if isinstance(parsed, dict):
            return [_of_file(parsed, name) for name in filenames]
    if len(filenames) == 1:
        return [text]
    return stripped.splitlines() if "\n" in stripped else stripped.split(",")


def _of_file(labels: dict[str, object], filename: str | None) -> str:
    label = labels.get(filename or "")
    if not isinstance(label, str):
        raise InvalidRequest(
            f"the labels' JSON object has {len(labels)} names, but no label for the file {_short(filename)}"
        )
    return label


def _short(name: str | None) -> str:
    return repr((name or "")[:100])
