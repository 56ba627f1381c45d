"""Answers that are kept for a while, so that a request that is sent again is given the first answer again."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database import Database
from service.rows import to_microseconds
from service.tables import ReceiptRow


class ReceiptTaken(Exception):
    """The same key was answered meanwhile, by this process or by another: nothing was stored."""


@dataclass(frozen=True)
class Receipt:
    """An answer, and the request that it answered.

    Attributes:
        request_sha256: tells whether a request of the same key is the same.
        status: of HTTP.
        headers: those that belong to this answer.
        body: JSON.
    """

    request_sha256: bytes
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Claim:
    """A request's claim to be the first of its key.

    Attributes:
        tenant: whose key it is.
        key: as it came.
        request_sha256: of what was asked.
    """

    tenant: str
    key: str
    request_sha256: bytes

    def row(self, *, status: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        """The columns of the receipt for this answer."""
        return {
            "tenant": self.tenant,
            "key": self.key,
            "request_sha256": self.request_sha256,
            "created_us": to_microseconds(datetime.now(UTC)),
            "status": status,
            "headers": headers,
            "body": body,
        }


class Receipts:
    """The kept answers.

    Args:
        database: where.
        seconds: how long each is kept.
        most: of one tenant; the oldest go first.
    """

    def __init__(self, database: Database, *, seconds: int, most: int) -> None:
        self._database, self._kept, self._most = database, timedelta(seconds=seconds), most

    async def find(self, tenant: str, key: str) -> Receipt | None:
        """The answer that a tenant's key was given, if it is still kept."""
        query = select(ReceiptRow.__table__).where(
            ReceiptRow.tenant == tenant, ReceiptRow.key == key, ReceiptRow.created_us > self._horizon()
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Receipt(row["request_sha256"], row["status"], row["headers"], row["body"])

    async def write(self, connection: AsyncConnection, row: dict[str, Any]) -> None:
        """Keep an answer, in the transaction that does what it tells.

        Raises:
            ReceiptTaken: the key has one already; the transaction must be given up.
        """
        own = (ReceiptRow.tenant == row["tenant"], ReceiptRow.key == row["key"])
        await connection.execute(delete(ReceiptRow).where(*own, ReceiptRow.created_us <= self._horizon()))
        try:
            await connection.execute(insert(ReceiptRow).values(row))
        except IntegrityError as error:
            raise ReceiptTaken from error

    async def sweep(self) -> None:
        """Remove those that are too old, or too many."""
        async with self._database.writing() as connection:
            await connection.execute(delete(ReceiptRow).where(ReceiptRow.created_us <= self._horizon()))
            tenants = (await connection.execute(select(ReceiptRow.tenant).distinct())).scalars().all()
            for tenant in tenants:
                newest = select(ReceiptRow.created_us).where(ReceiptRow.tenant == tenant)
                over = newest.order_by(ReceiptRow.created_us.desc()).offset(self._most).limit(1)
                last = (await connection.execute(over)).scalar_one_or_none()
                if last is not None:
                    old = (ReceiptRow.tenant == tenant, ReceiptRow.created_us <= last)
                    await connection.execute(delete(ReceiptRow).where(*old))

    def _horizon(self) -> int:
        return to_microseconds(datetime.now(UTC) - self._kept)


def digest(*parts: bytes) -> bytes:
    """SHA-256 of parts, none of which can be taken for another's end."""
    made = hashlib.sha256()
    for part in parts:
        made.update(len(part).to_bytes(8, "big") + part)
    return made.digest()
