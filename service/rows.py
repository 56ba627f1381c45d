"""Classifiers as rows of the database and back, and places in the list of them as cursors."""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from service.classifier import Classifier, Example
from service.errors import InvalidCursor

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_row(classifier: Classifier) -> dict[str, Any]:
    """The columns of a classifier but its state."""
    return {
        "id": classifier.id,
        "tenant": classifier.tenant,
        "revision": classifier.revision,
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
        "created_us": to_microseconds(classifier.created_at),
        "updated_us": to_microseconds(classifier.updated_at),
        "expires_us": None if classifier.expires_at is None else to_microseconds(classifier.expires_at),
        "user_metadata": classifier.metadata,
        "report": classifier.report,
    }


def from_row(row: dict[str, Any]) -> Classifier:
    """The classifier of such columns, as the database gives them."""
    return Classifier(
        id=row["id"],
        tenant=row["tenant"],
        revision=row["revision"],
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
        created_at=from_microseconds(row["created_us"]),
        updated_at=from_microseconds(row["updated_us"]),
        expires_at=None if row["expires_us"] is None else from_microseconds(row["expires_us"]),
        metadata=row["metadata"],
        report=row["report"],
    )


def example_row(classifier_id: str, example: Example) -> dict[str, Any]:
    """The columns of a classifier's example."""
    return {
        "id": example.id,
        "classifier_id": classifier_id,
        "position": example.position,
        "label": example.label,
        "sha256": example.sha256,
        "features": example.features,
    }


def to_example(row: Any) -> Example:
    """The example of such columns."""
    return Example(row["id"], row["position"], row["label"], row["sha256"], row["features"])


def to_cursor(last: Classifier) -> str:
    """The place after this classifier."""
    return _encoded(f"{to_microseconds(last.created_at)} {last.id}")


def from_cursor(cursor: str) -> tuple[int, str]:
    """Creation time, microseconds, and id of the classifier that a page ended with.

    Raises:
        InvalidCursor: not one that `to_cursor` made.
    """
    match = _decoded(cursor, r"(\d{1,18}) (clf_\w{1,60})")
    return int(match[1]), match[2]


def to_example_cursor(position: int) -> str:
    """The place after the example at this position."""
    return _encoded(f"example {position}")


def from_example_cursor(cursor: str) -> int:
    """Position of the example that a page ended with.

    Raises:
        InvalidCursor: not one that `to_example_cursor` made.
    """
    return int(_decoded(cursor, r"example (\d{1,9})")[1])


def to_model_cursor(name: str) -> str:
    """The place after the model of this name."""
    return _encoded(f"model {name}")


def from_model_cursor(cursor: str) -> str:
    """Name of the model that a page ended with.

    Raises:
        InvalidCursor: not one that `to_model_cursor` made.
    """
    return _decoded(cursor, r"model (.{1,64})")[1]


def _encoded(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode()


def _decoded(cursor: str, pattern: str) -> re.Match[str]:
    try:
        place = base64.urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, ValueError):
        place = ""
    match = re.fullmatch(pattern, place, re.ASCII)
    if match is None:
        raise InvalidCursor("the cursor is not one that a page of this list gave as next_cursor")
    return match


def to_microseconds(time: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """The time that is so many microseconds after 1970, UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
