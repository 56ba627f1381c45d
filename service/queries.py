"""The statements that the store is made of, and what they give."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from meta_core.episode import State
from service.classifier import Classifier, Example
from service.errors import UnknownClassifier
from service.rows import from_row, to_microseconds, to_row
from service.tables import ClassifierRow


class Page(NamedTuple):
    """Classifiers, the newest first, and where the next page begins."""

    classifiers: list[Classifier]
    next_cursor: str | None


class ExamplesPage(NamedTuple):
    """A classifier, ids and labels of some of its examples, and where the next page begins."""

    classifier: Classifier
    examples: list[tuple[str, str]]
    next_cursor: str | None


class Change(NamedTuple):
    """Another state of a classifier, and what became of its examples.

    Attributes:
        classifier: as it is then; its revision is one more than that of what it was made from.
        state: adapted.
        added: examples.
        removed: ids of examples.
        relabelled: examples whose label has another index now.
    """

    classifier: Classifier
    state: State
    added: Sequence[Example] = ()
    removed: Sequence[str] = ()
    relabelled: Sequence[Example] = ()


class StaleRevision(Exception):
    """The classifier was changed or deleted since it was read: nothing was stored."""


async def find_classifier(connection: AsyncConnection, classifier_id: str, tenant: str) -> Classifier:
    """A classifier that has not expired.

    Raises:
        UnknownClassifier: the tenant has none of that id.
    """
    query = classifiers_of(tenant).where(ClassifierRow.id == classifier_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise unknown(classifier_id)
    return from_row(dict(row))


async def replace_row(connection: AsyncConnection, classifier: Classifier, **values: Any) -> None:
    """Write a classifier's row again, with `values` beside it.

    Raises:
        StaleRevision: the one that is there is not of the revision before.
    """
    result: CursorResult[Any] = await connection.execute(
        update(ClassifierRow)
        .where(
            ClassifierRow.id == classifier.id,
            ClassifierRow.tenant == classifier.tenant,
            ClassifierRow.revision == classifier.revision - 1,
            alive(),
        )
        .values(to_row(classifier) | values)
    )
    if not result.rowcount:
        raise StaleRevision


def unknown(classifier_id: str) -> UnknownClassifier:
    """The error that says so."""
    return UnknownClassifier(
        f"there is no classifier {classifier_id[:64]!r}; it was deleted, has expired, or never was"
    )


def classifiers_of(tenant: str) -> Any:
    """What the tenant has and has not expired, without its state, which is by far the largest part."""
    columns = (column for column in ClassifierRow.__table__.columns if column.name != "state")
    return select(*columns).where(ClassifierRow.tenant == tenant, alive())


def alive() -> Any:
    """The condition that a classifier has not expired."""
    return or_(ClassifierRow.expires_us.is_(None), ClassifierRow.expires_us > to_microseconds(datetime.now(UTC)))
