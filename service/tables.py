"""The database's tables, as the last of `service/migrations` leaves them."""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables."""


class ClassifierRow(Base):
    """A classifier. Times are microseconds since 1970 UTC, which every database orders and compares alike.

    `revision` grows by one with each change: clocks of several replicas may disagree.
    """

    __tablename__ = "classifiers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), server_default="default")
    revision: Mapped[int] = mapped_column(BigInteger, server_default="1")
    name: Mapped[str | None] = mapped_column(String(200))
    model: Mapped[str] = mapped_column(String(64))
    model_reason: Mapped[str] = mapped_column(String(400))
    version: Mapped[str] = mapped_column(String(64))
    encoder_sha256: Mapped[str] = mapped_column(String(64))
    runtime: Mapped[str] = mapped_column(String(32))
    precision: Mapped[str] = mapped_column(String(16))
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    labels: Mapped[list[Any]] = mapped_column(JSON)
    shots: Mapped[list[Any]] = mapped_column(JSON)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int] = mapped_column(BigInteger)
    expires_us: Mapped[int | None] = mapped_column(BigInteger, index=True)
    # `metadata` is SQLAlchemy's own name on a table.
    user_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", JSON)
    state: Mapped[bytes] = mapped_column(LargeBinary)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    __table_args__ = (Index("ix_classifiers_newest", "tenant", "created_us", "id"),)


class ExampleRow(Base):
    """An encoded example of a classifier; its `features` are empty where they were not kept.

    Empty, not null: databases of before have the column not null, which SQLite cannot drop, and no example that is
    kept is of zero bytes. Positions only grow: one that was removed leaves a gap.
    """

    __tablename__ = "examples"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    classifier_id: Mapped[str] = mapped_column(ForeignKey("classifiers.id", ondelete="CASCADE"))
    position: Mapped[int]
    label: Mapped[int]
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    features: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (Index("ix_examples_position", "classifier_id", "position", unique=True),)


class ReceiptRow(Base):
    """The answer to a request that named an idempotency key: a repetition is given it again."""

    __tablename__ = "receipts"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    created_us: Mapped[int] = mapped_column(BigInteger, index=True)
    status: Mapped[int]
    headers: Mapped[dict[str, Any]] = mapped_column(JSON)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class KeyRow(Base):
    """A key, as a hash of its text; `revoked_us` is null as long as it is good."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    scopes: Mapped[list[Any]] = mapped_column(JSON)
    requests_per_minute: Mapped[int | None]
    max_classifiers: Mapped[int | None] = mapped_column(BigInteger)
    created_us: Mapped[int] = mapped_column(BigInteger)
    revoked_us: Mapped[int | None] = mapped_column(BigInteger)
