"""The first key in a file: made once, for its owner alone, by whichever replica is first; all else stays as it was."""

import asyncio
import stat
from pathlib import Path

import pytest

from service.callers import Scope
from service.database import open_database
from service.errors import UnsafeSettings
from service.first_key import ensure_keys
from service.keys import Key, Keys
from service.settings import Settings
from tests.service.postgres import Place
from tests.service.running import running


def started(settings: Settings, *, replicas: int = 1) -> list[Key]:
    """The keys that there are once so many have started at once."""

    async def run() -> list[Key]:
        databases = [await open_database(settings) for _ in range(replicas)]
        try:
            await asyncio.gather(*(ensure_keys(settings, Keys(database)) for database in databases))
            return await Keys(databases[0]).list()
        finally:
            for database in databases:
                await database.close()

    return asyncio.run(run())


def test_replicas_that_start_together_make_one_key_that_their_owner_alone_may_read(
    place: Place, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    settings = place.settings.model_copy(update={"host": "0.0.0.0", "first_key_file": file})  # noqa: S104
    (key,) = started(settings, replicas=4)
    assert (key.name, key.caller.scopes) == ("first", {Scope.READ, Scope.WRITE})
    assert file.read_text().startswith(f"kshot_{key.id}_")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(found.name for found in tmp_path.glob("key*")) == ["key", "key.lock"]
    told = file.read_text()
    assert started(settings) == [key]
    assert file.read_text() == told


def test_what_is_no_key_is_not_overwritten_and_a_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("do not touch")
    for file in (mine, mine / "key"):
        settings = Settings(data_dir=tmp_path, first_key_file=file)
        with pytest.raises(UnsafeSettings, match=f"{file} .KSHOT_FIRST_KEY_FILE.*kshot keys create"):
            started(settings)
    assert mine.read_text() == "do not touch"
    assert started(Settings(data_dir=tmp_path)) == []


def test_a_key_of_another_database_gives_way_and_open_to_all_none_is_made(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("kshot_0123456789abcdef_of-a-database-that-is-gone\n")
    settings = Settings(data_dir=tmp_path, first_key_file=file)
    assert started(settings.model_copy(update={"auth": "off"})) == []
    (key,) = started(settings)
    assert file.read_text().startswith(f"kshot_{key.id}_")


def test_a_service_that_is_open_to_others_starts_with_the_key_that_it_made(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with (
        running(tmp_path / "data", KSHOT_HOST="0.0.0.0", KSHOT_FIRST_KEY_FILE=str(file)) as service,  # noqa: S104
        service.client() as client,
    ):
        assert client.get("/v1/classifiers").status_code == 401
        shown = {"Authorization": f"Bearer {file.read_text().strip()}"}
        assert client.get("/v1/classifiers", headers=shown).status_code == 200
        assert file.read_text().strip() not in service.log.read_text()


def test_a_setting_may_stand_in_a_secret_file_and_the_environment_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql+asyncpg://kshot:secret@postgres/kshot"
    (tmp_path / "kshot_database_url").write_text(f"{url}\n")
    read = Settings(_secrets_dir=tmp_path).database_url
    assert read is not None
    assert read.get_secret_value() == url
    monkeypatch.setenv("KSHOT_DATABASE_URL", "postgresql://elsewhere/kshot")
    read = Settings(_secrets_dir=tmp_path).database_url
    assert read is not None
    assert read.get_secret_value() == "postgresql://elsewhere/kshot"
