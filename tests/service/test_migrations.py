"""Databases of every earlier version open; newer ones and foreign ones are refused in words."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
import torch
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection

from service.callers import DEFAULT_TENANT
from service.database import open_database
from service.errors import DatabaseError
from service.settings import Settings
from service.store import Store
from service.tables import Base
from tests.service.postgres import Place
from tests.service.running import free_port
from tests.service.test_store import NOW, classifier, examples, state, with_store

DATABASES = Path(__file__).parent / "databases"


def opened(settings: Settings) -> None:
    async def run() -> None:
        await (await open_database(settings)).close()

    asyncio.run(run())


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_database_that_an_older_version_wrote_opens_with_all_that_is_in_it(
    tmp_path: Path, version: int, interrupted: bool
) -> None:
    """Written by those versions themselves. One of version 1 may already have version 2's column."""
    place = Place(tmp_path, None)
    with sqlite3.connect(tmp_path / "kshot.sqlite3") as old:
        old.executescript((DATABASES / f"version_{version}.sql").read_text())
        if interrupted:
            old.execute("PRAGMA user_version = 1")
    old.close()

    async def use(store: Store) -> None:
        found = await store.get(classifier(1).id, tenant=DEFAULT_TENANT)
        _, adapted = await store.adapted(found.id, tenant=DEFAULT_TENANT)
        assert (found.tenant, found.revision, found.created_at) == (DEFAULT_TENANT, 1, NOW)
        assert found.report == (None if version == 1 else classifier(1).report)
        assert torch.equal(adapted["prototypes"], state()["prototypes"])
        assert await store.with_examples(found.id, tenant=DEFAULT_TENANT) == (found, examples(1))
        await store.put(classifier(2), state(), examples(2))

    with_store(place, use)
    with_store(place, lambda store: _two(store))
    ((seen_by_old_versions,),) = place.run("PRAGMA user_version")
    assert seen_by_old_versions > 2


async def _two(store: Store) -> None:
    assert await store.count(tenant=DEFAULT_TENANT) == 2


def test_migrations_make_the_tables_that_the_code_speaks_of(place: Place) -> None:
    async def differences() -> list[object]:
        database = await open_database(place.settings)
        async with database.reading() as connection:
            found = await connection.run_sync(_differences)
        await database.close()
        return found

    assert asyncio.run(differences()) == []


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))


def test_replicas_that_start_at_once_on_an_empty_database_do_not_collide(place: Place) -> None:
    async def start() -> None:
        for database in await asyncio.gather(*(open_database(place.settings) for _ in range(4))):
            await database.close()

    asyncio.run(start())
    assert place.count("alembic_version") == 1


def test_a_newer_database_is_refused_and_left_as_it_is(place: Place) -> None:
    opened(place.settings)
    place.run("UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(DatabaseError, match="schema 99; this version of kshot knows"):
        opened(place.settings)
    assert place.run("SELECT version_num FROM alembic_version") == [("0099",)]


@pytest.mark.parametrize("url", ["mysql://a:secret@b/c", "sqlite:///x", "no url, but a secret"])
def test_another_kind_of_database_is_refused_without_telling_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(DatabaseError, match="postgresql") as error:
        opened(Settings(data_dir=tmp_path, database_url=SecretStr(url)))
    assert "secret" not in str(error.value)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    url = f"postgresql+asyncpg://me:secret@127.0.0.1:{free_port()}/kshot"
    with pytest.raises(DatabaseError, match="cannot be used") as error:
        opened(Settings(data_dir=tmp_path, database_url=SecretStr(url)))
    assert "secret" not in str(error.value)
