"""Classifiers on disk: SQLite, one process a folder, each change one transaction, on disk before it is answered."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import safetensors.torch
from sqlalchemy import Connection, CursorResult, delete, event, insert, inspect, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from meta_core.episode import State
from service.classifier import Classifier, Example
from service.errors import DataFolderError, UnknownClassifier
from service.rows import from_cursor, from_row, to_cursor, to_microseconds, to_row
from service.states import StateCache
from service.tables import SCHEMA_VERSION, Base, ClassifierRow, ExampleRow


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
    """Stored classifiers. Made by `open_store`.

    Attributes:
        states: the adapted states that are in memory.
    """

    def __init__(self, engine: AsyncEngine, states: StateCache) -> None:
        self._engine = engine
        self.states = states

    async def put(self, classifier: Classifier, state: State, examples: Sequence[Example]) -> None:
        """Store a classifier with its adapted state and its examples; when this returns they are on disk."""
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
        expired = ClassifierRow.expires_us <= to_microseconds(_now())
        async with self._engine.begin() as connection:
            removed = await connection.execute(delete(ClassifierRow).where(expired).returning(ClassifierRow.id))
            gone = removed.scalars().all()
            blob = safetensors.torch.save(state)
            await connection.execute(insert(ClassifierRow).values(to_row(classifier) | {"state": blob}))
            await connection.execute(insert(ExampleRow), rows)
        for classifier_id in gone:
            self.states.forget(classifier_id)
        self.states.put(classifier, state)

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
        return from_row(dict(row))

    async def state(self, classifier: Classifier) -> State:
        """The adapted state of a classifier that `get` gave just now, from memory if it is there.

        Raises:
            UnknownClassifier: it was deleted or changed since.
        """
        kept = self.states.get(classifier)
        if kept is not None:
            return kept
        query = select(ClassifierRow.state).where(
            ClassifierRow.id == classifier.id, ClassifierRow.updated_us == to_microseconds(classifier.updated_at)
        )
        async with self._engine.connect() as connection:
            blob = (await connection.execute(query)).scalar_one_or_none()
        if blob is None:
            raise _unknown(classifier.id)
        state: State = safetensors.torch.load(blob)
        self.states.put(classifier, state)
        return state

    async def examples(self, classifier: Classifier) -> list[Example]:
        """The examples of a classifier that `get` gave just now, in the order in which they came."""
        query = select(ExampleRow.__table__).where(ExampleRow.classifier_id == classifier.id)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query.order_by(ExampleRow.position))).mappings().all()
        return [Example(row["id"], row["label"], row["sha256"], row["features"]) for row in rows]

    async def page(self, *, limit: int, cursor: str | None) -> Page:
        """`limit` classifiers after `cursor`, the newest first.

        Raises:
            InvalidCursor: not one that an earlier page gave.
        """
        query = _select().order_by(ClassifierRow.created_us.desc(), ClassifierRow.id.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(tuple_(ClassifierRow.created_us, ClassifierRow.id) < from_cursor(cursor))
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        found = [from_row(dict(row)) for row in rows[:limit]]
        return Page(found, to_cursor(found[-1]) if len(rows) > limit else None)

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
        self.states.forget(classifier_id)
        if not result.rowcount:
            raise _unknown(classifier_id)

    async def close(self) -> None:
        """Close the database."""
        await self._engine.dispose()


async def open_store(folder: Path, *, state_cache_bytes: int) -> Store:
    """Open or make the database of a locked data folder.

    Args:
        folder: where it is.
        state_cache_bytes: of adapted states to keep in memory.

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
        await connection.run_sync(_upgrade)
        await connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
    return Store(engine, StateCache(max_bytes=state_cache_bytes))


def _upgrade(connection: Connection) -> None:
    """Add what databases of earlier versions lack; by looking, so that one that was interrupted is completed."""
    if "report" not in {column["name"] for column in inspect(connection).get_columns("classifiers")}:
        connection.execute(text("ALTER TABLE classifiers ADD COLUMN report JSON"))


def _configure(connection: Any, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # FULL: in WAL mode NORMAL would lose the last commits with the power.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 10000", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _select() -> Any:
    """What has not expired, without its state, which is by far the largest part."""
    return select(*(column for column in ClassifierRow.__table__.columns if column.name != "state")).where(_alive())


def _alive() -> Any:
    return or_(ClassifierRow.expires_us.is_(None), ClassifierRow.expires_us > to_microseconds(_now()))


def _unknown(classifier_id: str) -> UnknownClassifier:
    return UnknownClassifier(
        f"there is no classifier {classifier_id[:64]!r}; it was deleted, has expired, or never was"
    )


def _now() -> datetime:
    return datetime.now(UTC)
