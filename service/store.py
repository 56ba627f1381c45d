"""Classifiers on disk: SQLite, one process a folder, each change one transaction, on disk before it is answered."""

import base64
import binascii
import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import safetensors.torch
from sqlalchemy import CursorResult, delete, event, insert, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from service.classifier import Classifier, Example
from service.errors import DataFolderError, InvalidCursor, UnknownClassifier
from service.tables import SCHEMA_VERSION, Base, ClassifierRow, ExampleRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Page(NamedTuple):
    """Classifiers, the newest first, and where the next page begins."""

    classifiers: list[Classifier]
    next_cursor: str | None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go of it when the process ends, however it ends.

    Raises:
        DataFolderError: another process holds it, or it cannot be written.
    """
    holder = folder / "kshot.pid"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The same object within a process, so that a command may hold it around the app that takes it again.
        with filelock.FileLock(folder / "kshot.lock", timeout=0, thread_local=False, is_singleton=True):
            holder.write_text(str(os.getpid()))
            yield
    except filelock.Timeout as error:
        pid = holder.read_text() if holder.is_file() else "unknown"
        raise DataFolderError(
            f"the data folder {folder} is in use by process {pid}; stop it, or give another folder with --data-dir"
        ) from error
    except OSError as error:
        raise DataFolderError(f"the data folder {folder} cannot be written: {error}") from error


class Store:
    """Stored classifiers. Made by `open_store`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def put(self, classifier: Classifier, examples: Sequence[Example]) -> None:
        """Store a classifier and its examples; when this returns they are on disk."""
        rows = [
            {
                "id": example.id,
                "classifier_id": classifier.id,
                "position": position,
                "label": example.label,
                "sha256": example.sha256,
                "features": example.features,
            }
            for position, example in enumerate(examples)
        ]
        async with self._engine.begin() as connection:
            await connection.execute(delete(ClassifierRow).where(ClassifierRow.expires_us <= _microseconds(_now())))
            await connection.execute(insert(ClassifierRow).values(_row(classifier)))
            await connection.execute(insert(ExampleRow), rows)

    async def get(self, classifier_id: str) -> Classifier:
        """A classifier that has not expired.

        Raises:
            UnknownClassifier: there is none of that id.
        """
        query = _select().where(ClassifierRow.id == classifier_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise _unknown(classifier_id)
        return _classifier(dict(row))

    async def page(self, *, limit: int, cursor: str | None) -> Page:
        """`limit` classifiers after `cursor`, the newest first.

        Raises:
            InvalidCursor: not one that an earlier page gave.
        """
        query = _select().order_by(ClassifierRow.created_us.desc(), ClassifierRow.id.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(tuple_(ClassifierRow.created_us, ClassifierRow.id) < _parse_cursor(cursor))
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        found = [_classifier(dict(row)) for row in rows[:limit]]
        return Page(found, _cursor(found[-1]) if len(rows) > limit else None)

    async def delete(self, classifier_id: str) -> None:
        """Remove a classifier and its examples.

        Raises:
            UnknownClassifier: there is none of that id.
        """
        alive = select(ClassifierRow.id).where(ClassifierRow.id == classifier_id, _alive())
        async with self._engine.begin() as connection:
            result: CursorResult[Any] = await connection.execute(
                delete(ClassifierRow).where(ClassifierRow.id.in_(alive))
            )
        if not result.rowcount:
            raise _unknown(classifier_id)

    async def close(self) -> None:
        """Close the database."""
        await self._engine.dispose()


async def open_store(folder: Path) -> Store:
    """Open or make the database of a locked data folder.

    Raises:
        DataFolderError: it was written by a newer version.
    """
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'kshot.sqlite3'}")
    event.listen(engine.sync_engine, "connect", _configure)
    async with engine.begin() as connection:
        found = (await connection.execute(text("PRAGMA user_version"))).scalar_one()
        if found > SCHEMA_VERSION:
            await engine.dispose()
            raise DataFolderError(
                f"the database in {folder} is of schema {found}; this version of kshot knows {SCHEMA_VERSION}. "
                "Upgrade kshot, or give another folder with --data-dir"
            )
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
    return Store(engine)


def _configure(connection: Any, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # FULL: in WAL mode NORMAL would lose the last commits with the power.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 10000", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _row(classifier: Classifier) -> dict[str, Any]:
    return {
        "id": classifier.id,
        "name": classifier.name,
        "model": classifier.model,
        "model_reason": classifier.model_reason,
        "version": classifier.version,
        "encoder_sha256": classifier.encoder_sha256,
        "runtime": classifier.runtime,
        "precision": classifier.precision,
        "options": classifier.options,
        "labels": list(classifier.labels),
        "shots": list(classifier.shots),
        "created_us": _microseconds(classifier.created_at),
        "updated_us": _microseconds(classifier.updated_at),
        "expires_us": None if classifier.expires_at is None else _microseconds(classifier.expires_at),
        "user_metadata": classifier.metadata,
        "state": safetensors.torch.save(classifier.state),
    }


def _classifier(row: dict[str, Any]) -> Classifier:
    return Classifier(
        id=row["id"],
        name=row["name"],
        model=row["model"],
        model_reason=row["model_reason"],
        version=row["version"],
        encoder_sha256=row["encoder_sha256"],
        runtime=row["runtime"],
        precision=row["precision"],
        options=row["options"],
        labels=tuple(row["labels"]),
        shots=tuple(row["shots"]),
        created_at=_time(row["created_us"]),
        updated_at=_time(row["updated_us"]),
        expires_at=None if row["expires_us"] is None else _time(row["expires_us"]),
        metadata=row["metadata"],
        state=safetensors.torch.load(row["state"]),
    )


def _select() -> Any:
    return select(ClassifierRow.__table__).where(_alive())


def _alive() -> Any:
    return or_(ClassifierRow.expires_us.is_(None), ClassifierRow.expires_us > _microseconds(_now()))


def _unknown(classifier_id: str) -> UnknownClassifier:
    return UnknownClassifier(
        f"there is no classifier {classifier_id[:64]!r}; it was deleted, has expired, or never was"
    )


def _cursor(last: Classifier) -> str:
    return base64.urlsafe_b64encode(f"{_microseconds(last.created_at)} {last.id}".encode()).decode()


def _parse_cursor(cursor: str) -> tuple[int, str]:
    try:
        decoded = base64.urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, ValueError):
        decoded = ""
    match = re.fullmatch(r"(\d{1,18}) (clf_\w{1,60})", decoded, re.ASCII)
    if match is None:
        raise InvalidCursor("the cursor is not one that a page of this list gave as next_cursor")
    return int(match[1]), match[2]


def _now() -> datetime:
    return datetime.now(UTC)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
