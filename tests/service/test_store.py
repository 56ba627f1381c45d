"""The store on a real SQLite file."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import safetensors.torch
import torch
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from meta_core.episode import State
from service.classifier import Classifier, Example
from service.errors import DataFolderError, UnknownClassifier
from service.store import Store, locked, open_store

NOW = datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=UTC)


def classifier(number: int, *, created_at: datetime = NOW, expires_at: datetime | None = None) -> Classifier:
    return Classifier(
        id=f"clf_{number:024d}",
        name="ключ 鍵 🔑",
        model="omniglot-protonet",
        model_reason="named by the request",
        version="1.0.0",
        encoder_sha256="ab" * 32,
        runtime="onnxruntime-cpu",
        precision="fp32",
        options={"steps": 5},
        labels=("a", "b, c", "ß"),
        shots=(1, 2, 1),
        created_at=created_at,
        updated_at=created_at,
        expires_at=expires_at,
        metadata={"nested": [1, 2.5, None, {"deep": True}]},
        report={"leave_one_out_accuracy": 0.75, "notes": []},
    )


def state(number: int = 0) -> State:
    return {"prototypes": number + torch.arange(12.0).view(3, 4) / 7}


def examples(number: int, count: int = 4) -> list[Example]:
    return [Example(f"exm_{number}_{i}", i % 3, bytes(32), b"\x00\x00\x80?" * 4) for i in range(count)]


def with_store(folder: Path, use: Callable[[Store], Awaitable[None]], *, state_cache_bytes: int = 1000) -> None:
    async def run() -> None:
        store = await open_store(folder, state_cache_bytes=state_cache_bytes)
        await use(store)
        await store.close()

    with locked(folder):
        asyncio.run(run())


def rows(folder: Path, table: str) -> int:
    engine = create_engine(f"sqlite:///{folder / 'kshot.sqlite3'}")
    with engine.connect() as connection:
        count: int = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608
    engine.dispose()
    return count


def test_what_is_read_is_what_was_written_also_by_the_next_process(tmp_path: Path) -> None:
    written = classifier(1)

    async def write(store: Store) -> None:
        await store.put(written, state(), examples(1))

    async def read(store: Store) -> None:
        found = await store.get(written.id)
        assert found == written
        assert torch.equal((await store.state(found))["prototypes"], state()["prototypes"])

    with_store(tmp_path, write)
    with_store(tmp_path, read)


def test_a_creation_that_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    async def fail(store: Store) -> None:
        clashing = [*examples(1), examples(1)[0]]
        with pytest.raises(IntegrityError):
            await store.put(classifier(1), state(), clashing)
        with pytest.raises(UnknownClassifier):
            await store.get(classifier(1).id)

    with_store(tmp_path, fail)
    assert rows(tmp_path, "classifiers") == rows(tmp_path, "examples") == 0


def test_deleting_takes_the_examples_along(tmp_path: Path) -> None:
    async def delete(store: Store) -> None:
        await store.put(classifier(1), state(), examples(1))
        await store.put(classifier(2), state(), examples(2))
        await store.delete(classifier(1).id)
        with pytest.raises(UnknownClassifier):
            await store.delete(classifier(1).id)

    with_store(tmp_path, delete)
    assert (rows(tmp_path, "classifiers"), rows(tmp_path, "examples")) == (1, 4)


def test_the_expired_are_hidden_at_once_and_removed_with_the_next_creation(tmp_path: Path) -> None:
    past, future = datetime.now(UTC) - timedelta(seconds=1), datetime.now(UTC) + timedelta(days=1)

    async def expire(store: Store) -> None:
        await store.put(classifier(1, expires_at=past), state(), examples(1))
        await store.put(classifier(2, expires_at=future), state(), examples(2))
        await store.get(classifier(2).id)
        for gone in (store.get(classifier(1).id), store.delete(classifier(1).id)):
            with pytest.raises(UnknownClassifier):
                await gone
        assert [found.id for found in (await store.page(limit=10, cursor=None)).classifiers] == [classifier(2).id]

    with_store(tmp_path, expire)
    assert (rows(tmp_path, "classifiers"), rows(tmp_path, "examples")) == (1, 4)


def test_pages_hold_their_order_where_times_are_equal(tmp_path: Path) -> None:
    async def page(store: Store) -> None:
        for number in range(7):
            await store.put(
                classifier(number, created_at=NOW + timedelta(seconds=number // 3)), state(), examples(number)
            )
        seen, cursor = list[str](), None
        while True:
            found = await store.page(limit=2, cursor=cursor)
            seen += [one.id for one in found.classifiers]
            cursor = found.next_cursor
            if cursor is None:
                break
        assert seen == [classifier(number).id for number in (6, 5, 4, 3, 2, 1, 0)]

    with_store(tmp_path, page)


def test_many_writers_at_once_all_get_through(tmp_path: Path) -> None:
    async def write(store: Store) -> None:
        await asyncio.gather(*(store.put(classifier(number), state(), examples(number)) for number in range(60)))

    with_store(tmp_path, write)
    assert (rows(tmp_path, "classifiers"), rows(tmp_path, "examples")) == (60, 240)


def test_a_state_is_read_once_and_then_answered_from_memory(tmp_path: Path) -> None:
    async def write(store: Store) -> None:
        await store.put(classifier(1), state(1), examples(1))
        assert (store.states.held_bytes, store.states.misses) == (48, 0)
        await store.state(classifier(1))
        assert (store.states.hits, store.states.misses) == (1, 0)

    async def read(store: Store) -> None:
        assert store.states.held_bytes == 0
        for hits in range(3):
            found = await store.state(await store.get(classifier(1).id))
            assert torch.equal(found["prototypes"], state(1)["prototypes"])
            assert (store.states.hits, store.states.misses, store.states.held_bytes) == (hits, 1, 48)

    with_store(tmp_path, write)
    with_store(tmp_path, read)


def test_states_stay_within_the_budget_and_the_evicted_are_read_again(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        for number in range(5):
            await store.put(classifier(number), state(number), examples(number))
            assert store.states.held_bytes <= 100
        for number in (0, 4, 2, 0, 1):
            found = await store.state(classifier(number))
            assert torch.equal(found["prototypes"], state(number)["prototypes"])
            assert store.states.held_bytes == 96

    with_store(tmp_path, use, state_cache_bytes=100)


def test_without_a_budget_every_state_is_read_from_disk(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        await store.put(classifier(1), state(1), examples(1))
        for _ in range(2):
            found = await store.state(classifier(1))
            assert torch.equal(found["prototypes"], state(1)["prototypes"])
        assert (store.states.hits, store.states.misses, store.states.held_bytes) == (0, 2, 0)

    with_store(tmp_path, use, state_cache_bytes=0)


def test_two_who_miss_at_once_are_both_answered(tmp_path: Path) -> None:
    async def write(store: Store) -> None:
        await store.put(classifier(1), state(1), examples(1))

    async def read(store: Store) -> None:
        both = await asyncio.gather(store.state(classifier(1)), store.state(classifier(1)))
        assert all(torch.equal(found["prototypes"], state(1)["prototypes"]) for found in both)
        assert store.states.held_bytes == 48

    with_store(tmp_path, write)
    with_store(tmp_path, read)


def test_the_deleted_and_the_expired_leave_memory_too(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        soon = datetime.now(UTC) + timedelta(seconds=0.05)
        await store.put(classifier(1), state(1), examples(1))
        await store.put(classifier(2, expires_at=soon), state(2), examples(2))
        await store.delete(classifier(1).id)
        assert store.states.held_bytes == 48
        await asyncio.sleep(0.06)
        with pytest.raises(UnknownClassifier):
            await store.get(classifier(2).id)
        await store.put(classifier(3), state(3), examples(3))
        assert (len(store.states), store.states.held_bytes) == (1, 48)
        with pytest.raises(UnknownClassifier):
            await store.state(classifier(1))

    with_store(tmp_path, use)


def test_a_state_that_another_process_replaced_is_not_answered_from_memory(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        await store.put(classifier(1), state(1), examples(1))
        later = NOW + timedelta(microseconds=1)
        async with store._engine.begin() as connection:
            blob = safetensors.torch.save(state(9))
            change = text("UPDATE classifiers SET updated_us = updated_us + 1, state = :state")
            await connection.execute(change, {"state": blob})
        found = await store.get(classifier(1).id)
        assert found == replace(classifier(1), updated_at=later)
        assert torch.equal((await store.state(found))["prototypes"], state(9)["prototypes"])

    with_store(tmp_path, use)


def test_every_commit_is_on_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    async def look(store: Store) -> None:
        async with store._engine.connect() as connection:
            settings = {
                name: (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
            }
        assert settings == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 10000, "foreign_keys": 1}

    with_store(tmp_path, look)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataFolderError, match="cannot be written"), locked(tmp_path / "file" / "data"):
        pass


def test_a_folder_of_the_first_version_is_opened_and_its_classifiers_answered(tmp_path: Path) -> None:
    """Also where the upgrade was interrupted after the column had been added."""
    old, new = classifier(1), classifier(2)

    async def write(store: Store) -> None:
        await store.put(old, state(), examples(1))

    with_store(tmp_path, write)
    as_of_version_1(tmp_path, "ALTER TABLE classifiers DROP COLUMN report")

    async def go_on(store: Store) -> None:
        assert await store.get(old.id) == replace(old, report=None)
        assert (await store.page(limit=1, cursor=None)).classifiers == [replace(old, report=None)]
        await store.put(new, state(), examples(2))
        assert (await store.get(new.id)).report == new.report

    with_store(tmp_path, go_on)
    as_of_version_1(tmp_path)

    async def read(store: Store) -> None:
        assert (await store.get(new.id)).report == new.report

    with_store(tmp_path, read)


def as_of_version_1(folder: Path, *changes: str) -> None:
    engine = create_engine(f"sqlite:///{folder / 'kshot.sqlite3'}")
    with engine.begin() as connection:
        for statement in (*changes, "PRAGMA user_version = 1"):
            connection.execute(text(statement))
    engine.dispose()


def test_examples_are_read_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    async def read(store: Store) -> None:
        await store.put(classifier(1), state(), examples(1))
        await store.put(classifier(2), state(), examples(2)[::-1])
        assert await store.examples(classifier(1)) == examples(1)
        assert await store.examples(classifier(2)) == examples(2)[::-1]

    with_store(tmp_path, read)
