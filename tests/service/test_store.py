"""The store on a real SQLite file and on a real PostgreSQL server."""

import asyncio
import contextlib
import resource
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from meta_core.episode import State
from service.callers import DEFAULT_TENANT
from service.classifier import Classifier, Example
from service.data_folder import held, locked
from service.database import open_database
from service.errors import DataFolderError, StoreUnavailable, UnknownClassifier
from service.queries import Change, StaleRevision
from service.receipts import Claim, Receipt, Receipts, ReceiptTaken
from service.settings import Settings
from service.store import Store
from tests.service.postgres import Place

NOW = datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=UTC)


def classifier(
    number: int, *, created_at: datetime = NOW, expires_at: datetime | None = None, tenant: str = "default"
) -> Classifier:
    return Classifier(
        id=f"clf_{number:024d}",
        tenant=tenant,
        revision=1,
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
    return [Example(f"exm_{number}_{i}", i, i % 3, bytes(32), b"\x00\x00\x80?" * 4) for i in range(count)]


async def opened(place: Place, *, state_cache_bytes: int = 1000) -> Store:
    database = await open_database(place.settings)
    return Store(database, Receipts(database, seconds=60, most=3), state_cache_bytes=state_cache_bytes)


async def state_of(store: Store, number: int) -> State:
    _, found = await store.adapted(classifier(number).id, tenant=DEFAULT_TENANT)
    return found


def with_store(place: Place, use: Callable[[Store], Awaitable[None]], *, state_cache_bytes: int = 1000) -> None:
    async def run() -> None:
        store = await opened(place, state_cache_bytes=state_cache_bytes)
        await use(store)
        await store.close()

    with held(place.settings):
        asyncio.run(run())


def test_what_is_read_is_what_was_written_also_by_the_next_process(place: Place) -> None:
    written = classifier(1)

    async def write(store: Store) -> None:
        await store.put(written, state(), examples(1))

    async def read(store: Store) -> None:
        found = await store.get(written.id, tenant=DEFAULT_TENANT)
        assert found == written
        assert torch.equal((await state_of(store, 1))["prototypes"], state()["prototypes"])

    with_store(place, write)
    with_store(place, read)


def test_a_creation_that_fails_midway_leaves_nothing(place: Place) -> None:
    async def fail(store: Store) -> None:
        clashing = [*examples(1), examples(1)[0]]
        with pytest.raises(IntegrityError):
            await store.put(classifier(1), state(), clashing)
        with pytest.raises(UnknownClassifier):
            await store.get(classifier(1).id, tenant=DEFAULT_TENANT)

    with_store(place, fail)
    assert place.count("classifiers") == place.count("examples") == 0


def test_deleting_takes_the_examples_along(place: Place) -> None:
    async def delete(store: Store) -> None:
        await store.put(classifier(1), state(), examples(1))
        await store.put(classifier(2), state(), examples(2))
        await store.delete(classifier(1).id, tenant=DEFAULT_TENANT)
        with pytest.raises(UnknownClassifier):
            await store.delete(classifier(1).id, tenant=DEFAULT_TENANT)

    with_store(place, delete)
    assert (place.count("classifiers"), place.count("examples")) == (1, 4)


def test_the_expired_are_hidden_at_once_and_removed_by_the_sweep(place: Place) -> None:
    past, future = datetime.now(UTC) - timedelta(seconds=1), datetime.now(UTC) + timedelta(days=1)

    async def expire(store: Store) -> None:
        await store.put(classifier(1, expires_at=past), state(), examples(1))
        await store.put(classifier(2, expires_at=future), state(), examples(2))
        await store.get(classifier(2).id, tenant=DEFAULT_TENANT)
        for call in (store.get, store.adapted, store.delete):
            with pytest.raises(UnknownClassifier):
                await call(classifier(1).id, tenant=DEFAULT_TENANT)
        page = await store.page(tenant=DEFAULT_TENANT, limit=10, cursor=None)
        assert [found.id for found in page.classifiers] == [classifier(2).id]
        assert [await store.sweep(), await store.sweep()] == [1, 0]

    with_store(place, expire)
    assert (place.count("classifiers"), place.count("examples")) == (1, 4)


def test_pages_hold_their_order_where_times_are_equal(place: Place) -> None:
    async def page(store: Store) -> None:
        for number in range(7):
            await store.put(
                classifier(number, created_at=NOW + timedelta(seconds=number // 3)), state(), examples(number)
            )
        seen, cursor = list[str](), None
        while True:
            found = await store.page(tenant=DEFAULT_TENANT, limit=2, cursor=cursor)
            seen += [one.id for one in found.classifiers]
            cursor = found.next_cursor
            if cursor is None:
                break
        assert seen == [classifier(number).id for number in (6, 5, 4, 3, 2, 1, 0)]

    with_store(place, page)


def test_many_writers_at_once_all_get_through(place: Place) -> None:
    async def write(store: Store) -> None:
        await asyncio.gather(*(store.put(classifier(number), state(), examples(number)) for number in range(60)))

    with_store(place, write)
    assert (place.count("classifiers"), place.count("examples")) == (60, 240)


def test_a_state_is_read_once_and_then_answered_from_memory(place: Place) -> None:
    async def write(store: Store) -> None:
        await store.put(classifier(1), state(1), examples(1))
        assert (store.states.held_bytes, store.states.misses) == (48, 0)
        await state_of(store, 1)
        assert (store.states.hits, store.states.misses) == (1, 0)

    async def read(store: Store) -> None:
        assert store.states.held_bytes == 0
        for hits in range(3):
            found = await state_of(store, 1)
            assert torch.equal(found["prototypes"], state(1)["prototypes"])
            assert (store.states.hits, store.states.misses, store.states.held_bytes) == (hits, 1, 48)

    with_store(place, write)
    with_store(place, read)


def test_states_stay_within_the_budget_and_the_evicted_are_read_again(place: Place) -> None:
    async def use(store: Store) -> None:
        for number in range(5):
            await store.put(classifier(number), state(number), examples(number))
            assert store.states.held_bytes <= 100
        for number in (0, 4, 2, 0, 1):
            found = await state_of(store, number)
            assert torch.equal(found["prototypes"], state(number)["prototypes"])
            assert store.states.held_bytes == 96

    with_store(place, use, state_cache_bytes=100)


def test_without_a_budget_every_state_is_read_from_disk(place: Place) -> None:
    async def use(store: Store) -> None:
        await store.put(classifier(1), state(1), examples(1))
        for _ in range(2):
            found = await state_of(store, 1)
            assert torch.equal(found["prototypes"], state(1)["prototypes"])
        assert (store.states.hits, store.states.misses, store.states.held_bytes) == (0, 2, 0)

    with_store(place, use, state_cache_bytes=0)


def test_two_who_miss_at_once_are_both_answered(place: Place) -> None:
    async def write(store: Store) -> None:
        await store.put(classifier(1), state(1), examples(1))

    async def read(store: Store) -> None:
        both = await asyncio.gather(state_of(store, 1), state_of(store, 1))
        assert all(torch.equal(found["prototypes"], state(1)["prototypes"]) for found in both)
        assert store.states.held_bytes == 48

    with_store(place, write)
    with_store(place, read)


def test_the_deleted_and_the_expired_leave_memory_too(place: Place) -> None:
    async def use(store: Store) -> None:
        soon = datetime.now(UTC) + timedelta(seconds=0.05)
        await store.put(classifier(1), state(1), examples(1))
        await store.put(classifier(2, expires_at=soon), state(2), examples(2))
        await store.delete(classifier(1).id, tenant=DEFAULT_TENANT)
        assert store.states.held_bytes == 48
        await asyncio.sleep(0.06)
        with pytest.raises(UnknownClassifier):
            await store.get(classifier(2).id, tenant=DEFAULT_TENANT)
        await store.put(classifier(3), state(3), examples(3))
        await store.sweep()
        assert (len(store.states), store.states.held_bytes) == (1, 48)
        with pytest.raises(UnknownClassifier):
            await state_of(store, 1)

    with_store(place, use)


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)  # a SQLite folder takes one process
def test_what_another_replica_changes_or_deletes_is_seen_at_once(place: Place) -> None:

    async def use(store: Store) -> None:
        other = await opened(place)
        await store.put(classifier(1), state(1), examples(1))
        await store.put(classifier(2), state(2), examples(2))
        for replica in (store, other):
            await state_of(replica, 1)
        blob = safetensors.torch.save(state(9))
        place.run("UPDATE classifiers SET revision = revision + 1, state = :state", state=blob)
        for replica in (store, other):
            found = await replica.get(classifier(1).id, tenant=DEFAULT_TENANT)
            assert found == replace(classifier(1), revision=2)
            assert torch.equal((await state_of(replica, 1))["prototypes"], state(9)["prototypes"])
        await other.delete(classifier(1).id, tenant=DEFAULT_TENANT)
        with pytest.raises(UnknownClassifier):
            await store.get(classifier(1).id, tenant=DEFAULT_TENANT)
        page = await store.page(tenant=DEFAULT_TENANT, limit=10, cursor=None)
        assert [one.id for one in page.classifiers] == [classifier(2).id]
        await other.close()

    with_store(place, use)


def test_what_is_answered_from_memory_is_never_older_than_an_acknowledged_change(place: Place) -> None:
    async def use(store: Store) -> None:
        await store.put(classifier(1), state(0), examples(1))
        for revision in range(2, 40):
            store.states.forget(classifier(1).id)  # so that it is read while it is changed
            change = Change(replace(classifier(1), revision=revision), state(revision))
            await asyncio.gather(state_of(store, 1), state_of(store, 1), store.change(change), state_of(store, 1))
            assert torch.equal((await state_of(store, 1))["prototypes"], state(revision)["prototypes"])
        store.states.forget(classifier(1).id)
        reading = asyncio.gather(state_of(store, 1), state_of(store, 1), return_exceptions=True)
        await store.delete(classifier(1).id, tenant=DEFAULT_TENANT)
        await reading
        with pytest.raises(UnknownClassifier):
            await state_of(store, 1)

    with_store(place, use)


def test_a_write_that_nobody_waits_for_any_more_is_finished_and_known(place: Place) -> None:
    async def use(store: Store) -> None:
        await store.put(classifier(1), state(0), examples(1))
        change = Change(replace(classifier(1), revision=2), state(2))
        for seconds in (0.0, 0.001, 0.01):
            with contextlib.suppress(TimeoutError, StaleRevision):
                await asyncio.wait_for(store.change(change), seconds)
        await store.close()
        again = await opened(place)
        assert (await again.get(classifier(1).id, tenant=DEFAULT_TENANT)).revision == 2
        assert torch.equal((await state_of(again, 1))["prototypes"], state(2)["prototypes"])
        await again.close()

    with_store(place, use)


def test_what_has_expired_is_not_answered_from_memory(place: Place) -> None:
    async def use(store: Store) -> None:
        soon = datetime.now(UTC) + timedelta(seconds=0.2)
        await store.put(classifier(1, expires_at=soon), state(1), examples(1))
        await state_of(store, 1)
        await asyncio.sleep(0.21)
        with pytest.raises(UnknownClassifier):
            await state_of(store, 1)

    with_store(place, use)


def test_a_tenant_sees_and_changes_its_own_alone(place: Place) -> None:
    ours, theirs = classifier(1, tenant="ours"), classifier(2, tenant="theirs")

    async def use(store: Store) -> None:
        await store.put(ours, state(1), examples(1))
        await store.put(theirs, state(2), examples(2))
        for call in (store.get, store.adapted, store.delete):
            with pytest.raises(UnknownClassifier):
                await call(theirs.id, tenant="ours")
        assert (await store.page(tenant="ours", limit=10, cursor=None)).classifiers == [ours]
        assert [await store.count(tenant=tenant) for tenant in ("ours", "theirs", "nobody")] == [1, 1, 0]
        assert await store.get(theirs.id, tenant="theirs") == theirs

    with_store(place, use)


def test_every_commit_is_on_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    async def look() -> dict[str, Any]:
        database = await open_database(Settings(data_dir=tmp_path))
        async with database.writing() as connection:
            names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
            found = {name: (await connection.execute(text(f"PRAGMA {name}"))).scalar_one() for name in names}
        await database.close()
        return found

    assert asyncio.run(look()) == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 10000, "foreign_keys": 1}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataFolderError, match="cannot be written"), locked(tmp_path / "file" / "data"):
        pass


def test_examples_are_read_in_the_order_in_which_they_came(place: Place) -> None:
    async def read(store: Store) -> None:
        await store.put(classifier(1), state(), examples(1))
        await store.put(classifier(2), state(), examples(2)[::-1])
        for number in (1, 2):
            _, found = await store.with_examples(classifier(number).id, tenant=DEFAULT_TENANT)
            assert found == examples(number)

    with_store(place, read)


def changed(revision: int, number: int = 1) -> Change:
    """Example 0 removed, example 2 relabelled, one added; `number` tells such changes apart."""
    left = replace(classifier(1), revision=revision, labels=("b, c", "a"), shots=(2, 2), name=f"change {number}")
    more = Example(f"exm_{number}_more", 10 + number, 0, bytes(32), b"new!")
    relabelled = [replace(example, label=label) for example, label in zip(examples(1)[1:], (0, 1, 1), strict=True)]
    return Change(left, state(number), added=[more], removed=[examples(1)[0].id], relabelled=relabelled)


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_change_is_there_as_a_whole_for_every_replica(place: Place) -> None:
    async def use(store: Store) -> None:
        other, change = await opened(place), changed(2)
        await store.put(classifier(1), state(0), examples(1))
        await state_of(other, 1)
        await store.change(change)
        for replica in (store, other):
            found, kept = await replica.with_examples(classifier(1).id, tenant=DEFAULT_TENANT)
            assert (found, kept) == (change.classifier, [*change.relabelled, *change.added])
            assert torch.equal((await state_of(replica, 1))["prototypes"], state(1)["prototypes"])
        await other.close()

    with_store(place, use)


def test_of_changes_of_one_revision_one_is_stored_and_the_others_change_nothing(place: Place) -> None:
    async def use(store: Store) -> None:
        other = store if place.url is None else await opened(place)  # a SQLite folder takes one process
        await store.put(classifier(1), state(0), examples(1))
        tries = [replica.change(changed(2, number)) for number, replica in enumerate([store, other] * 3, 1)]
        came = await asyncio.gather(*tries, return_exceptions=True)
        assert [type(one) for one in came if one is not None] == [StaleRevision] * 5
        stored = 1 + came.index(None)
        found, kept = await other.with_examples(classifier(1).id, tenant=DEFAULT_TENANT)
        assert (found.name, kept[-1].id) == (f"change {stored}", f"exm_{stored}_more")
        assert torch.equal((await state_of(store, 1))["prototypes"], state(stored)["prototypes"])
        await store.delete(classifier(1).id, tenant=DEFAULT_TENANT)
        with pytest.raises(StaleRevision):
            await other.change(changed(3))
        await other.close()

    with_store(place, use)


def test_a_change_that_fails_midway_leaves_all_as_it_was(place: Place) -> None:
    async def use(store: Store) -> None:
        await store.put(classifier(1), state(0), examples(1))
        clashing = changed(2)._replace(removed=(), added=[examples(1)[1]])
        with pytest.raises(IntegrityError):
            await store.change(clashing)
        assert await store.with_examples(classifier(1).id, tenant=DEFAULT_TENANT) == (classifier(1), examples(1))
        assert torch.equal((await state_of(store, 1))["prototypes"], state(0)["prototypes"])

    with_store(place, use)


def test_an_answer_is_kept_with_what_it_tells_or_neither_is(place: Place) -> None:
    def row(key: str) -> dict[str, Any]:
        return Claim(DEFAULT_TENANT, key, b"what was asked").row(status=201, headers={"ETag": "1"}, body=b"{}")

    async def use(store: Store) -> None:
        await store.put(classifier(1), state(0), examples(1), receipt=row("a"))
        with pytest.raises(ReceiptTaken):
            await store.put(classifier(2), state(0), examples(2), receipt=row("a"))
        with pytest.raises(ReceiptTaken):
            await store.change(changed(2), receipt=row("a"))
        assert await store.get(classifier(1).id, tenant=DEFAULT_TENANT) == classifier(1)
        assert await store.count(tenant=DEFAULT_TENANT) == 1
        kept = Receipt(b"what was asked", 201, {"ETag": "1"}, b"{}")
        assert await store.receipts.find(DEFAULT_TENANT, "a") == kept
        assert await store.receipts.find("another", "a") is None

    with_store(place, use)


def test_kept_answers_are_the_last_few_of_the_last_while(place: Place) -> None:
    async def use(store: Store) -> None:
        for number in range(5):
            receipt = Claim(DEFAULT_TENANT, f"key {number}", b"").row(status=201, headers={}, body=b"")
            await store.put(classifier(number), state(), examples(number), receipt=receipt)
        await store.receipts.sweep()
        kept = [number for number in range(5) if await store.receipts.find(DEFAULT_TENANT, f"key {number}")]
        assert kept == [2, 3, 4]
        place.run("UPDATE receipts SET created_us = created_us - 61000000")
        assert await store.receipts.find(DEFAULT_TENANT, "key 4") is None
        again = Claim(DEFAULT_TENANT, "key 4", b"").row(status=201, headers={}, body=b"")
        await store.put(classifier(9), state(), examples(9), receipt=again)
        await store.receipts.sweep()

    with_store(place, use)
    assert place.count("receipts") == 1


def test_on_a_full_disk_nothing_is_stored_by_half_and_later_all_goes_on(tmp_path: Path) -> None:
    """As if it were full: files of this process may not grow."""
    place = Place(tmp_path, None)
    large = {"prototypes": torch.zeros(300_000)}

    async def use(store: Store) -> None:
        await store.put(classifier(1), state(1), examples(1))
        former = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, former[1]))
        try:
            with pytest.raises(StoreUnavailable):
                await store.put(classifier(2), large, examples(2))
            with pytest.raises(StoreUnavailable):
                await store.change(changed(2)._replace(state=large))
            assert await store.with_examples(classifier(1).id, tenant=DEFAULT_TENANT) == (classifier(1), examples(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, former)
        await store.put(classifier(2), large, examples(2))
        await store.change(changed(2))

    with_store(place, use)
    assert (place.count("classifiers"), place.count("examples")) == (2, 8)
