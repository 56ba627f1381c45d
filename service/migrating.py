"""Brings a database's tables up to date: Alembic's migrations, in one transaction, one process at a time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from service.errors import DatabaseError

_LOCK = 0x6B73686F74  # "kshot"


def upgrade(connection: Connection) -> None:
    """Make the tables, or change those of an older version, within the connection's transaction.

    Raises:
        DatabaseError: a newer version wrote it.
    """
    sqlite = connection.dialect.name == "sqlite"
    if not sqlite:  # there the transaction itself keeps others out
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = _config(connection)
    found, head = found_and_head(connection)
    if found is not None and found > head:
        raise DatabaseError(
            f"the database is of schema {found.lstrip('0')}; this version of kshot knows {head.lstrip('0')}. "
            "Upgrade kshot, or give another database with --data-dir or KSHOT_DATABASE_URL"
        )
    if found is not None:
        command.stamp(config, found)  # those from before Alembic had none
    command.upgrade(config, "head")
    if sqlite:  # by which versions from before Alembic see that they are too old
        connection.execute(text(f"PRAGMA user_version = {int(head)}"))


def found_and_head(connection: Connection) -> tuple[str | None, str]:
    """The schema that a database is of, None where it has none, and the one that this version knows."""
    head = ScriptDirectory.from_config(_config(connection)).get_current_head()
    assert head is not None  # noqa: S101 (there are migrations)
    found = MigrationContext.configure(connection).get_current_revision()
    return (_of_sqlite(connection, found, head) if connection.dialect.name == "sqlite" else found), head


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _of_sqlite(connection: Connection, stamped: str | None, head: str) -> str | None:
    """The revision of a SQLite file, which `user_version` tells too: alone until there was Alembic."""
    version = connection.execute(text("PRAGMA user_version")).scalar_one()
    inspector = inspect(connection)
    if version > int(head):
        return f"{version:04}"
    if stamped is not None or not inspector.has_table("classifiers"):
        return stamped
    # By looking, as the second version's upgrade could be interrupted between the column and the number.
    columns = {column["name"] for column in inspector.get_columns("classifiers")}
    return "0002" if "report" in columns else "0001"
