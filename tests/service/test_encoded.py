"""The same pictures sent again are not encoded again, for the same tenant alone, and the answers are the same."""

from collections.abc import Iterator

import httpx
import pytest
import torch

from service.encoded import EncodedCache, Key
from tests.service.running import Service, assert_same, b64, digits, examples, probabilities, running
from tests.service.test_changing import assert_as_fresh
from tests.service.test_metrics import of, samples

PAIRS = digits(3, start=20, labels=(1, 4, 7))
IMAGES = [b64(data) for _, data in digits(2, start=30, labels=(1, 4, 7))]
LOOKUPS = "kshot_encoded_lookups_total"


def keys(*names: str) -> list[Key]:
    return [(name,) for name in names]


def test_what_was_used_last_stays_within_the_bytes() -> None:
    cache = EncodedCache(max_bytes=3 * 8)
    cache.put(keys("a", "b", "c"), torch.arange(6.0).view(3, 2))
    assert cache.find(keys("a")).known == [0]
    cache.put(keys("d"), torch.ones(1, 2))
    assert (cache.held_bytes, len(cache)) == (24, 3)
    found = cache.find(keys("a", "b", "c", "d"))
    assert (found.known, found.rest) == ([0, 2, 3], [1])
    assert [row.tolist() for row in found.features] == [[0, 1], [4, 5], [1, 1]]
    cache.put(keys("e"), torch.ones(1, 100))
    assert cache.held_bytes == 24, "one that is larger than all is not kept"
    cache.put(keys("a"), torch.ones(1, 2))
    assert cache.held_bytes == 24, "the same again takes no further room"


@pytest.mark.parametrize("before", [0, 2])
def test_rows_are_found_in_the_order_of_the_request(before: int) -> None:
    cache = EncodedCache(max_bytes=1000)
    cache.put(keys("b", "d"), torch.tensor([[1.0], [3.0]]))
    found = cache.find(keys("a", "b", "c", "d"))
    rest = torch.tensor([[0.0], [2.0]])
    rows = torch.cat([torch.full((before, 1), 9.0), torch.stack(found.features), rest])
    assert rows[found.order(before=before)].flatten().tolist() == [9.0] * before + [0, 1, 2, 3]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("encoded") / "data") as service:
        yield service


def looked_up(client: httpx.Client) -> tuple[float, float]:
    told = samples(client)
    return told[of(LOOKUPS, found="yes")], told[of(LOOKUPS, found="no")]


def once(client: httpx.Client, pairs: list[tuple[str, bytes]] = PAIRS) -> list[dict[str, float]]:
    answer = client.post("/v1/classify", json={"examples": examples(pairs), "images": IMAGES})
    assert answer.status_code == 200, answer.text
    return probabilities(answer.json())


def test_a_support_set_sent_again_is_answered_the_same_without_encoding(fresh: Service) -> None:
    with fresh.client() as client:
        before = looked_up(client)
        first = once(client)
        assert looked_up(client) == (before[0], before[1] + 15)
        assert_same(once(client), first)
        assert looked_up(client) == (before[0] + 15, before[1] + 15)


def test_some_known_and_some_new_are_put_in_their_places(fresh: Service) -> None:
    with fresh.client() as client:
        once(client)
        mixed = [PAIRS[4], *digits(1, start=50, labels=(1, 4)), PAIRS[8], *digits(1, start=51, labels=(7,)), PAIRS[0]]
        answer = once(client, mixed)
        with running(fresh.log.with_name("none"), KSHOT_ENCODED_CACHE_BYTES="0") as other, other.client() as plain:
            assert_same(answer, once(plain, mixed))
            assert looked_up(plain) == (0, 0)
        # Examples of a stored classifier stand before the known and the new ones.
        made = client.post("/v1/classifiers", json={"examples": examples(PAIRS)}).json()
        more = [PAIRS[4], *digits(1, start=52, labels=(1,))]
        added = client.post(f"/v1/classifiers/{made['id']}/examples", json={"examples": examples(more)})
        assert added.status_code == 201, added.text
        assert_as_fresh(client, made["id"], [*PAIRS, *more])
