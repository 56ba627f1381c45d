"""The database: SQLite in the data folder, or PostgreSQL; every change is on disk before it is answered."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from service.errors import DatabaseError, StoreUnavailable
from service.migrating import upgrade
from service.settings import Settings

logger = logging.getLogger(__name__)

_OURS = (IntegrityError, DataError, ProgrammingError, NotSupportedError)
"""Errors that asking again would meet again."""

_WAL_TRIES, _WAL_PAUSE_SECONDS = 100, 0.02
_CONNECT_SECONDS = 5
_STATEMENT_SECONDS = 30


class Database:
    """Connections to one database. Made by `open_database`.

    Attributes:
        alone: whether no other process writes classifiers to it: SQLite's file is in a folder that one process holds.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine, self._writing = engine, engine.execution_options(kshot_writes=True)
        self.alone = sqlite = engine.dialect.name == "sqlite"
        # SQLite reads all of a transaction as of one moment by itself.
        self._reading = engine if sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        # SQLite lets one writer in at a time and has the others poll; in line they are all served, and in order.
        self._line = asyncio.Lock() if sqlite else contextlib.nullcontext()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that only reads, and all of it as of one moment.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with _explained():
            async with self._reading.connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, whole and on disk once this is left, or not there at all.

        Raises:
            StoreUnavailable: the database does not answer or cannot write.
        """
        with _explained():
            async with self._line, self._writing.begin() as connection:
                yield connection

    async def close(self) -> None:
        """Let go of all connections."""
        await self._engine.dispose()


async def open_database(settings: Settings) -> Database:
    """Connect, and make the tables or bring those of an older version up to date.

    Raises:
        DatabaseError: it cannot be reached, or was written by a newer version.
    """
    engine = engine_of(settings)
    database = Database(engine)
    try:
        async with database.writing() as connection:
            await connection.run_sync(upgrade)
    except StoreUnavailable as error:
        await database.close()
        raise DatabaseError(f"the database cannot be used: {error.__cause__}") from error
    except DatabaseError:
        await database.close()
        raise
    return database


def engine_of(settings: Settings) -> AsyncEngine:
    """What connects; nothing is opened yet.

    Raises:
        DatabaseError: the URL is none of PostgreSQL.
    """
    if settings.database_url is None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{settings.data_dir / 'kshot.sqlite3'}", hide_parameters=True)
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    try:
        url = make_url(settings.database_url.get_secret_value())
    except ArgumentError as error:
        # Without the text itself, which holds a password.
        raise DatabaseError("KSHOT_DATABASE_URL is not postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE") from error
    if url.drivername not in ("postgresql", "postgresql+asyncpg"):
        raise DatabaseError(
            f"KSHOT_DATABASE_URL is of {url.drivername}; expected postgresql+asyncpg://…, or leave it out for SQLite "
            "in the data folder (KSHOT_DATA_DIR)"
        )
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        hide_parameters=True,  # what users store is no matter for logs
        pool_pre_ping=True,
        pool_size=10,
        connect_args={"timeout": _CONNECT_SECONDS, "command_timeout": _STATEMENT_SECONDS},
    )


@contextlib.contextmanager
def _explained() -> Any:
    """Errors of the database itself, as what a client is told."""
    try:
        yield
    except _OURS:
        raise
    # Drivers raise the system's own errors where nobody listens.
    except (DBAPIError, PoolTimeout, OSError) as error:
        logger.warning("the database failed: %s: %s", type(error).__name__, str(error)[:500])
        raise StoreUnavailable(
            "the database does not answer or cannot write; what was asked has not been acknowledged: ask again",
            retry_after_seconds=2,
        ) from error


def _configure_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = (
        None  # the driver begins no transactions of its own: it would leave out changes of tables
    )
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 10000")
    _write_ahead(cursor)
    # FULL: in WAL mode NORMAL would lose the last commits with the power.
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """WAL mode. Of several processes that make one file a WAL file at once SQLite refuses some without waiting."""
    for left in reversed(range(_WAL_TRIES)):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not left or "locked" not in str(error):
                raise
            time.sleep(_WAL_PAUSE_SECONDS)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would be refused if another wrote in between.
    writes = connection.get_execution_options().get("kshot_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
