"""The data folder and the database: looked at as they are, without making or upgrading anything."""

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from service.access import is_loopback
from service.database import engine_of
from service.doctor.finding import Finding
from service.doctor.machine import gigabytes
from service.errors import DatabaseError
from service.migrating import found_and_head
from service.settings import Settings

_LITTLE_DISK_BYTES = 2**29
_FILE = "kshot.sqlite3"
_ADVICE = {
    "SQLite": "copy the file back from a backup",
    "PostgreSQL": "see that the server is up, and that KSHOT_DATABASE_URL is right",
}


class _Seen(NamedTuple):
    """A database: its version, its schema and the one that this version of kshot knows, and what it holds."""

    version: str
    schema: str | None
    known: str
    classifiers: int
    keys: int


async def store(settings: Settings) -> list[Finding]:
    """Where classifiers are kept."""
    found = [_folder(settings), _disk(settings)]
    if settings.database_url is None and not (settings.data_dir / _FILE).is_file():
        there = f"{sqlite3.sqlite_version}; no database yet, `kshot serve` makes one"
        return [*found, Finding("store", "SQLite", "ok", there), *_keys(settings, made=0)]
    name = "SQLite" if settings.database_url is None else "PostgreSQL"
    try:
        seen = await _seen(settings)
    except (SQLAlchemyError, OSError, DatabaseError) as error:
        told = str(getattr(error, "orig", None) or error)[:300] or type(error).__name__
        return [*found, Finding("store", name, "wrong", f"cannot be read: {told}", _ADVICE[name])]
    return [*found, _database(name, seen), *_keys(settings, made=seen.keys)]


def _folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    there = _nearest(folder)
    name = "data folder"
    if not there.is_dir():
        return Finding("store", name, "wrong", f"{there} is no folder", "set KSHOT_DATA_DIR to another one")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        advice = f"give it to the user that serves (uid {os.getuid()}), or set KSHOT_DATA_DIR to another one"
        return Finding("store", name, "wrong", f"{there} cannot be written: {error.strerror}", advice)
    if there != folder:
        return Finding("store", name, "ok", f"{folder} is not there yet, and can be made")
    return Finding("store", name, "ok", f"{folder} can be written")


def _disk(settings: Settings) -> Finding:
    usage = shutil.disk_usage(_nearest(settings.data_dir))
    found = f"{gigabytes(usage.free)} of {gigabytes(usage.total)} free"
    if usage.free < _LITTLE_DISK_BYTES:
        return Finding("store", "disk", "wrong", found, "make room: a database that cannot write answers 503")
    return Finding("store", "disk", "ok", found)


def _database(name: str, seen: _Seen) -> Finding:
    found = f"{seen.version}, classifiers: {seen.classifiers}, schema {seen.schema or 'none yet'}"
    if seen.schema is not None and seen.schema > seen.known:
        advice = f"upgrade kshot, which knows schema {seen.known}, or take another database"
        return Finding("store", name, "wrong", found, advice)
    upgraded = "" if seen.schema in (None, seen.known) else f", to be upgraded to {seen.known} by `kshot serve`"
    return Finding("store", name, "ok", found + upgraded)


def _keys(settings: Settings, *, made: int) -> list[Finding]:
    """What `kshot serve` would refuse: an address that strangers reach, and no key."""
    if is_loopback(settings.host) or settings.auth == "off" or made:
        return [Finding("store", "keys", "ok", f"made: {made}")]
    advice = "`kshot keys create NAME` makes one; or bind to 127.0.0.1 (KSHOT_HOST), or set KSHOT_AUTH=off"
    return [Finding("store", "keys", "wrong", f"none, and {settings.host} is open to other machines", advice)]


async def _seen(settings: Settings) -> _Seen:
    """The database as it is, without upgrading it."""
    engine = engine_of(settings)
    try:
        async with engine.connect() as connection:

            async def one(statement: str) -> Any:
                return (await connection.execute(text(statement))).scalar_one()

            version = await one("SELECT sqlite_version()" if settings.database_url is None else "SHOW server_version")
            schema, known = await connection.run_sync(found_and_head)
            if schema != known:  # other versions' tables are no matter of this one
                return _Seen(version, schema, known, classifiers=0, keys=0)
            classifiers = await one("SELECT count(*) FROM classifiers")
            return _Seen(version, schema, known, classifiers, keys=await one("SELECT count(*) FROM keys"))
    finally:
        await engine.dispose()


def _nearest(folder: Path) -> Path:
    """The folder, or the first of those above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
