"""A real PostgreSQL server, and places for a store to be in."""

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from service.settings import Settings
from tests.service.running import free_port


def _programs() -> Path | None:
    """The folder of initdb and pg_ctl; Debian keeps them off the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name))
    on_path = shutil.which("initdb")
    if places:
        return places[-1]
    return Path(on_path).parent if on_path else None


def _as_postgres(*command: str | Path) -> None:
    # The server refuses to run as root.
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*prefix, *map(str, command)], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Server:
    """A running server; its databases belong to the user `postgres`, whom it trusts on loopback."""

    folder: Path
    programs: Path
    port: int

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        log = self.folder / "log"
        _as_postgres(self.programs / "pg_ctl", "-D", self.folder, "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        _as_postgres(self.programs / "pg_ctl", "-D", self.folder, "-m", mode, "-w", "stop")

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"kshot_{secrets.token_hex(6)}"
        _as_postgres(self.programs / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name)
        return self.url(name)


@contextlib.contextmanager
def postgres_server() -> Iterator[Server]:
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's server programs are not installed: `apt-get install postgresql`")
    # Not pytest's own folder, whose parents only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="kshot-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    try:
        _as_postgres(programs / "initdb", "-D", folder, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        server = Server(folder, programs, free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Place:
    """Where a store's database lies.

    Attributes:
        folder: the data folder.
        url: of PostgreSQL; None for SQLite in the folder.
    """

    folder: Path
    url: str | None

    @property
    def settings(self) -> Settings:
        return Settings(data_dir=self.folder, database_url=None if self.url is None else SecretStr(self.url))

    @property
    def environment(self) -> dict[str, str]:
        """For a service of its own."""
        return {} if self.url is None else {"KSHOT_DATABASE_URL": self.url}

    def run(self, *statements: str, **values: Any) -> list[Any]:
        """Statements beside the store, in one transaction; the last one's rows."""
        if self.url is None:
            return _run(create_engine(f"sqlite:///{self.folder / 'kshot.sqlite3'}"), statements, values)
        # In a thread of its own: tests call this beside a running event loop too.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(_run_async(str(self.url), statements, values))).result()

    def count(self, table: str) -> int:
        ((count,),) = self.run(f"SELECT count(*) FROM {table}")  # noqa: S608
        return int(count)


async def _run_async(url: str, statements: tuple[str, ...], values: dict[str, Any]) -> list[Any]:
    engine = create_async_engine(url)
    rows: list[Any] = []
    async with engine.begin() as connection:
        for statement in statements:
            result = await connection.execute(text(statement), values)
            rows = list(result) if result.returns_rows else []
    await engine.dispose()
    return rows


def _run(engine: Engine, statements: tuple[str, ...], values: dict[str, Any]) -> list[Any]:
    rows: list[Any] = []
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(text(statement), values)
            rows = list(result) if result.returns_rows else []
    engine.dispose()
    return rows
