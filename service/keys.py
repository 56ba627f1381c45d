"""Keys: shown once, stored hashed, looked up at every request, so that a revoked one is refused everywhere at once."""

import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update

from service.callers import Caller, Scope
from service.database import Database
from service.errors import InvalidKey, UnknownKey
from service.rows import from_microseconds, to_microseconds
from service.tables import KeyRow

_LOOK_SECONDS = 1.0
_TEXT = re.compile(r"kshot_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Key:
    """What is known of a key; not the key itself.

    Attributes:
        id: stands in the key's text, in lists, and in `revoke`.
        name: what its maker calls it.
        caller: who shows it.
        created_at: UTC.
        revoked_at: UTC; None as long as it is good.
    """

    id: str
    name: str
    caller: Caller
    created_at: datetime
    revoked_at: datetime | None


class Keys:
    """The keys of a database.

    Args:
        database: where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._any_made, self._looked_at = False, -math.inf

    async def create(
        self,
        *,
        name: str,
        tenant: str,
        scopes: Iterable[Scope],
        requests_per_minute: int | None = None,
        max_classifiers: int | None = None,
    ) -> str:
        """Make a key; its text, which cannot be had again."""
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        row = {
            "id": key_id,
            "secret_hash": _hash(key_id, secret),
            "tenant": tenant,
            "name": name,
            "scopes": sorted(scopes),
            "requests_per_minute": requests_per_minute,
            "max_classifiers": max_classifiers,
            "created_us": to_microseconds(datetime.now(UTC)),
        }
        async with self._database.writing() as connection:
            await connection.execute(insert(KeyRow).values(row))
        return f"kshot_{key_id}_{secret}"

    async def list(self) -> list[Key]:
        """All keys, revoked ones too, the oldest first."""
        async with self._database.reading() as connection:
            query = select(KeyRow.__table__).order_by(KeyRow.created_us, KeyRow.id)
            rows = (await connection.execute(query)).mappings().all()
        return [_from_row(dict(row)) for row in rows]

    async def revoke(self, key_id: str) -> None:
        """From now on nobody is let in by a key.

        Raises:
            UnknownKey: there is none of that id that is good.
        """
        good = (KeyRow.id == key_id, KeyRow.revoked_us.is_(None))
        async with self._database.writing() as connection:
            now = to_microseconds(datetime.now(UTC))
            done = await connection.execute(update(KeyRow).where(*good).values(revoked_us=now))
        if not done.rowcount:
            raise UnknownKey(f"there is no key {key_id[:64]!r} that is not revoked; `kshot keys list` lists them all")

    async def any_made(self) -> bool:
        """Whether there ever was a key, a second ago or less: who made one wants it asked for, even if revoked."""
        if not self._any_made and time.monotonic() - self._looked_at > _LOOK_SECONDS:
            async with self._database.reading() as connection:
                found = await connection.execute(select(KeyRow.id).limit(1))
                self._any_made, self._looked_at = found.first() is not None, time.monotonic()
        return self._any_made

    async def caller(self, text: str) -> Caller:
        """Who shows this key.

        Raises:
            InvalidKey: it is none, or revoked.
        """
        row, found = None, _TEXT.fullmatch(text)
        if found:
            async with self._database.reading() as connection:
                query = select(KeyRow.__table__).where(KeyRow.id == found[1])
                row = (await connection.execute(query)).mappings().one_or_none()
        if row is None or found is None or not hmac.compare_digest(row["secret_hash"], _hash(found[1], found[2])):
            raise InvalidKey("the key is not one of this service; `kshot keys create` makes one")
        if row["revoked_us"] is not None:
            raise InvalidKey("the key has been revoked; `kshot keys create` makes another")
        return _from_row(dict(row)).caller


def _hash(key_id: str, secret: str) -> bytes:
    """Of 256 random bits a fast hash is enough: there is nothing to guess. Keyed, so that it is of one row alone."""
    return hashlib.blake2b(secret.encode(), key=key_id.encode(), digest_size=32).digest()


def _from_row(row: dict[str, Any]) -> Key:
    caller = Caller(
        tenant=str(row["tenant"]),
        scopes=frozenset(Scope(scope) for scope in row["scopes"]),
        key_id=str(row["id"]),
        requests_per_minute=row["requests_per_minute"],
        max_classifiers=row["max_classifiers"],
    )
    revoked = row["revoked_us"]
    return Key(
        id=str(row["id"]),
        name=str(row["name"]),
        caller=caller,
        created_at=from_microseconds(row["created_us"]),
        revoked_at=None if revoked is None else from_microseconds(revoked),
    )
