"""Classifiers in the database: each change is one transaction, on disk before it is answered."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import safetensors.torch
from sqlalchemy import CursorResult, delete, func, insert, or_, select, tuple_

from meta_core.episode import State
from service.classifier import Classifier, Example
from service.database import Database
from service.errors import UnknownClassifier
from service.rows import example_row, from_cursor, from_row, to_cursor, to_microseconds, to_row
from service.states import StateCache
from service.tables import ClassifierRow, ExampleRow

_SWEPT_AT_ONCE = 200
"""Classifiers that one transaction removes, so that no creation waits for long."""


class Page(NamedTuple):
    """Classifiers, the newest first, and where the next page begins."""

    classifiers: list[Classifier]
    next_cursor: str | None


class Store:
    """Stored classifiers; to another tenant than their own they do not exist.

    Args:
        database: where.
        state_cache_bytes: of adapted states to keep in memory.

    Attributes:
        states: the adapted states that are in memory.
    """

    def __init__(self, database: Database, *, state_cache_bytes: int) -> None:
        self._database = database
        self.states = StateCache(max_bytes=state_cache_bytes)

    async def put(self, classifier: Classifier, state: State, examples: Sequence[Example]) -> None:
        """Store a classifier with its adapted state and its examples; when this returns they are on disk."""
        blob = safetensors.torch.save(state)
        rows = [example_row(classifier.id, position, example) for position, example in enumerate(examples)]
        async with self._database.writing() as connection:
            await connection.execute(insert(ClassifierRow).values(to_row(classifier) | {"state": blob}))
            await connection.execute(insert(ExampleRow), rows)
        self.states.put(classifier, state)

    async def get(self, classifier_id: str, *, tenant: str) -> Classifier:
        """A classifier that has not expired.

        Raises:
            UnknownClassifier: the tenant has none of that id.
        """
        query = _select(tenant).where(ClassifierRow.id == classifier_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise unknown(classifier_id)
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
            ClassifierRow.id == classifier.id, ClassifierRow.revision == classifier.revision
        )
        async with self._database.reading() as connection:
            blob = (await connection.execute(query)).scalar_one_or_none()
        if blob is None:
            raise unknown(classifier.id)
        state: State = safetensors.torch.load(blob)
        self.states.put(classifier, state)
        return state

    async def examples(self, classifier: Classifier) -> list[Example]:
        """The examples of a classifier that `get` gave just now, in the order in which they came."""
        query = select(ExampleRow.__table__).where(ExampleRow.classifier_id == classifier.id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(ExampleRow.position))).mappings().all()
        return [Example(row["id"], row["label"], row["sha256"], row["features"]) for row in rows]

    async def page(self, *, tenant: str, limit: int, cursor: str | None) -> Page:
        """`limit` classifiers after `cursor`, the newest first.

        Raises:
            InvalidCursor: not one that an earlier page gave.
        """
        query = _select(tenant).order_by(ClassifierRow.created_us.desc(), ClassifierRow.id.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(tuple_(ClassifierRow.created_us, ClassifierRow.id) < from_cursor(cursor))
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        found = [from_row(dict(row)) for row in rows[:limit]]
        return Page(found, to_cursor(found[-1]) if len(rows) > limit else None)

    async def count(self, *, tenant: str) -> int:
        """How many classifiers a tenant has."""
        query = select(func.count()).select_from(ClassifierRow).where(ClassifierRow.tenant == tenant, _alive())
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one()

    async def delete(self, classifier_id: str, *, tenant: str) -> None:
        """Remove a classifier and its examples.

        Raises:
            UnknownClassifier: the tenant has none of that id.
        """
        of_tenant = (ClassifierRow.id == classifier_id, ClassifierRow.tenant == tenant, _alive())
        async with self._database.writing() as connection:
            result: CursorResult[Any] = await connection.execute(delete(ClassifierRow).where(*of_tenant))
        if not result.rowcount:
            raise unknown(classifier_id)
        self.states.forget(classifier_id)

    async def sweep(self) -> int:
        """Remove what has expired, a few hundred at a time; how many that were."""
        removed = 0
        expired = select(ClassifierRow.id).where(ClassifierRow.expires_us <= to_microseconds(_now()))
        while True:
            async with self._database.writing() as connection:
                some = ClassifierRow.id.in_(expired.limit(_SWEPT_AT_ONCE))
                gone = await connection.execute(delete(ClassifierRow).where(some).returning(ClassifierRow.id))
                ids = gone.scalars().all()
            for classifier_id in ids:
                self.states.forget(classifier_id)
            removed += len(ids)
            if len(ids) < _SWEPT_AT_ONCE:
                return removed

    async def close(self) -> None:
        """Close the database."""
        await self._database.close()


def unknown(classifier_id: str) -> UnknownClassifier:
    """The error that says so."""
    return UnknownClassifier(
        f"there is no classifier {classifier_id[:64]!r}; it was deleted, has expired, or never was"
    )


def _select(tenant: str) -> Any:
    """What the tenant has and has not expired, without its state, which is by far the largest part."""
    columns = (column for column in ClassifierRow.__table__.columns if column.name != "state")
    return select(*columns).where(ClassifierRow.tenant == tenant, _alive())


def _alive() -> Any:
    return or_(ClassifierRow.expires_us.is_(None), ClassifierRow.expires_us > to_microseconds(_now()))


def _now() -> datetime:
    return datetime.now(UTC)
