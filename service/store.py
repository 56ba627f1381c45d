"""Classifiers in the database: each change is one transaction, on disk before it is answered."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import safetensors.torch
from sqlalchemy import CursorResult, bindparam, delete, func, insert, select, tuple_, update

from meta_core.episode import State
from service.classifier import Classifier, Example
from service.database import Database
from service.queries import Change, ExamplesPage, Page, alive, classifiers_of, find_classifier, replace_row, unknown
from service.receipts import Receipts
from service.rows import (
    example_row,
    from_cursor,
    from_example_cursor,
    from_row,
    to_cursor,
    to_example,
    to_example_cursor,
    to_microseconds,
    to_row,
)
from service.states import StateCache
from service.tables import ClassifierRow, ExampleRow
from service.unbroken import Unbroken

Row = dict[str, Any]

_SWEPT_AT_ONCE = 200
"""Classifiers that one transaction removes, so that no creation waits for long."""


class Store:
    """Stored classifiers; to another tenant than their own they do not exist.

    Args:
        database: where.
        receipts: answers that are kept, each stored together with what it tells.
        state_cache_bytes: of adapted states to keep in memory.

    Attributes:
        states: the adapted states that are in memory.
    """

    def __init__(self, database: Database, receipts: Receipts, *, state_cache_bytes: int) -> None:
        self._database = database
        self._writes, self._changes = Unbroken(), 0
        self.receipts = receipts
        self.states = StateCache(max_bytes=state_cache_bytes)

    async def put(
        self, classifier: Classifier, state: State, examples: Sequence[Example], *, receipt: Row | None = None
    ) -> None:
        """Store a classifier with its adapted state and its examples; when this returns they are on disk.

        Raises:
            ReceiptTaken: the receipt's key was answered meanwhile.
        """
        await self._writes.run(self._put(classifier, state, examples, receipt))

    async def _put(
        self, classifier: Classifier, state: State, examples: Sequence[Example], receipt: Row | None
    ) -> None:
        values = to_row(classifier) | {"state": safetensors.torch.save(state)}
        async with self._database.writing() as connection:
            if receipt is not None:
                await self.receipts.write(connection, receipt)
            await connection.execute(insert(ClassifierRow).values(values))
            await connection.execute(insert(ExampleRow), [example_row(classifier.id, example) for example in examples])
        self.states.put(classifier, state)

    async def change(self, change: Change, *, receipt: Row | None = None) -> None:
        """Store another state of a classifier, if nobody has changed it since; when this returns it is on disk.

        Raises:
            StaleRevision: somebody has.
            ReceiptTaken: the receipt's key was answered meanwhile.
        """
        await self._writes.run(self._change(change, receipt))

    async def _change(self, change: Change, receipt: Row | None) -> None:
        classifier, blob = change.classifier, safetensors.torch.save(change.state)
        own = ExampleRow.classifier_id == classifier.id
        async with self._database.writing() as connection:
            await replace_row(connection, classifier, state=blob)
            if receipt is not None:
                await self.receipts.write(connection, receipt)
            if change.removed:
                await connection.execute(delete(ExampleRow).where(own, ExampleRow.id.in_(change.removed)))
            if change.relabelled:
                other = update(ExampleRow).where(ExampleRow.id == bindparam("of")).values(label=bindparam("index"))
                labels = [{"of": example.id, "index": example.label} for example in change.relabelled]
                await connection.execute(other, labels)
            if change.added:
                rows = [example_row(classifier.id, example) for example in change.added]
                await connection.execute(insert(ExampleRow), rows)
        self._changes += 1
        self.states.put(classifier, change.state)

    async def describe(self, classifier: Classifier) -> None:
        """Store what a user says of a classifier, if nobody has changed it since; its revision is one more.

        Raises:
            StaleRevision: somebody has.
        """
        await self._writes.run(self._describe(classifier))

    async def _describe(self, classifier: Classifier) -> None:
        async with self._database.writing() as connection:
            await replace_row(connection, classifier)
        self._forget(classifier.id)

    async def get(self, classifier_id: str, *, tenant: str) -> Classifier:
        """A classifier that has not expired.

        Raises:
            UnknownClassifier: the tenant has none of that id.
        """
        async with self._database.reading() as connection:
            return await find_classifier(connection, classifier_id, tenant)

    async def adapted(self, classifier_id: str, *, tenant: str) -> tuple[Classifier, State]:
        """A classifier, without its report and what users said of it, and its adapted state.

        Where nobody else writes to the database, what is in memory is answered without asking it.

        Raises:
            UnknownClassifier: the tenant has none of that id.
        """
        kept = self.states.find(classifier_id, tenant=tenant) if self._database.alone else None
        if kept is not None:
            return kept
        changes = self._changes
        async with self._database.reading() as connection:
            classifier = (await find_classifier(connection, classifier_id, tenant)).bare()
            state = None if self._database.alone else self.states.get(classifier)
            if state is not None:
                return classifier, state
            query = select(ClassifierRow.state).where(ClassifierRow.id == classifier_id)
            blob = (await connection.execute(query)).scalar_one()
        state = safetensors.torch.load(blob)
        if changes == self._changes:  # else it may have been changed or deleted since it was read
            self.states.put(classifier, state)
        return classifier, state

    async def with_examples(self, classifier_id: str, *, tenant: str) -> tuple[Classifier, list[Example]]:
        """A classifier and its examples, in the order in which they came.

        Raises:
            UnknownClassifier: the tenant has none of that id.
        """
        query = select(ExampleRow.__table__).where(ExampleRow.classifier_id == classifier_id)
        async with self._database.reading() as connection:
            classifier = await find_classifier(connection, classifier_id, tenant)
            rows = (await connection.execute(query.order_by(ExampleRow.position))).mappings().all()
        return classifier, [to_example(row) for row in rows]

    async def example_page(self, classifier_id: str, *, tenant: str, limit: int, cursor: str | None) -> ExamplesPage:
        """`limit` of a classifier's examples after `cursor`, in the order in which they came.

        Raises:
            UnknownClassifier: the tenant has none of that id.
            InvalidCursor: not one that an earlier page gave.
        """
        after = -1 if cursor is None else from_example_cursor(cursor)
        query = select(ExampleRow.id, ExampleRow.label, ExampleRow.position).where(
            ExampleRow.classifier_id == classifier_id, ExampleRow.position > after
        )
        async with self._database.reading() as connection:
            classifier = await find_classifier(connection, classifier_id, tenant)
            rows = (await connection.execute(query.order_by(ExampleRow.position).limit(limit + 1))).all()
        found = [(row.id, classifier.labels[row.label]) for row in rows[:limit]]
        next_cursor = to_example_cursor(rows[limit - 1].position) if len(rows) > limit else None
        return ExamplesPage(classifier, found, next_cursor)

    async def page(self, *, tenant: str, limit: int, cursor: str | None) -> Page:
        """`limit` classifiers after `cursor`, the newest first.

        Raises:
            InvalidCursor: not one that an earlier page gave.
        """
        query = (
            classifiers_of(tenant).order_by(ClassifierRow.created_us.desc(), ClassifierRow.id.desc()).limit(limit + 1)
        )
        if cursor is not None:
            query = query.where(tuple_(ClassifierRow.created_us, ClassifierRow.id) < from_cursor(cursor))
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        found = [from_row(dict(row)) for row in rows[:limit]]
        return Page(found, to_cursor(found[-1]) if len(rows) > limit else None)

    async def count(self, *, tenant: str) -> int:
        """How many classifiers a tenant has."""
        query = select(func.count()).select_from(ClassifierRow).where(ClassifierRow.tenant == tenant, alive())
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one()

    async def delete(self, classifier_id: str, *, tenant: str, revision: int | None = None) -> None:
        """Remove a classifier and its examples; with `revision`, only if it is still at that.

        Raises:
            UnknownClassifier: the tenant has none of that id and revision.
        """
        await self._writes.run(self._delete(classifier_id, tenant, revision))

    async def _delete(self, classifier_id: str, tenant: str, revision: int | None) -> None:
        of_tenant = [ClassifierRow.id == classifier_id, ClassifierRow.tenant == tenant, alive()]
        if revision is not None:
            of_tenant.append(ClassifierRow.revision == revision)
        async with self._database.writing() as connection:
            result: CursorResult[Any] = await connection.execute(delete(ClassifierRow).where(*of_tenant))
        if not result.rowcount:
            raise unknown(classifier_id)
        self._forget(classifier_id)

    async def sweep(self) -> int:
        """Remove what has expired, a few hundred at a time; how many that were."""
        removed = 0
        expired = select(ClassifierRow.id).where(ClassifierRow.expires_us <= to_microseconds(datetime.now(UTC)))
        while True:
            async with self._database.writing() as connection:
                # Those that another replica removes at this moment are left to it.
                some = ClassifierRow.id.in_(expired.limit(_SWEPT_AT_ONCE).with_for_update(skip_locked=True))
                gone = await connection.execute(delete(ClassifierRow).where(some).returning(ClassifierRow.id))
                ids = gone.scalars().all()
            for classifier_id in ids:
                self._forget(classifier_id)
            removed += len(ids)
            if len(ids) < _SWEPT_AT_ONCE:
                return removed

    async def close(self) -> None:
        """Close the database, once what is being written is."""
        await self._writes.over()
        await self._database.close()

    def _forget(self, classifier_id: str) -> None:
        self._changes += 1
        self.states.forget(classifier_id)
