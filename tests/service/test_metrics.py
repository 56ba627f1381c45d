"""What Prometheus is told is what happened, in few series whatever is sent."""

from pathlib import Path

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics
from tests.service.running import Service, b64, digits, examples, free_port, png, running

_NOISE = np.random.default_rng(77).integers(0, 256, (8, 28, 28), dtype=np.uint8)
NEW = [(str(number % 3), png(picture)) for number, picture in enumerate(_NOISE)]
"""Pictures that no other test sends, so that they are not remembered."""


def samples(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = client.get("/metrics").raise_for_status()
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return (name, tuple(sorted(labels.items())))


def test_requests_stages_batches_and_states_are_counted(service: Service) -> None:
    with service.client() as client:
        before = samples(client)
        created = client.post("/v1/classifiers", json={"examples": examples(NEW[:6])})
        images = {"images": [b64(data) for _, data in NEW[6:]]}
        client.post(f"{created.headers['location']}/classify", json=images)
        client.get("/v1/classifiers/nothing")
        after = samples(client)

    def more(name: str, **labels: str) -> float:
        return after[of(name, **labels)] - before.get(of(name, **labels), 0)

    classify = "/v1/classifiers/{classifier_id}/classify"
    assert more("kshot_requests_total", route="/v1/classifiers", method="POST", code="201") == 1
    assert more("kshot_requests_total", route=classify, method="POST", code="200") == 1
    assert more("kshot_requests_total", route="/v1/classifiers/{classifier_id}", method="GET", code="404") == 1
    assert more("kshot_request_seconds_count", route=classify, method="POST") == 1
    assert more("kshot_adapt_seconds_count", learner="protonet", ways="5", shots="2") == 1
    assert more("kshot_predict_seconds_count", model="omniglot-protonet") == 1
    assert more("kshot_encode_seconds_count", model="omniglot-protonet") == 2
    assert more("kshot_decode_seconds_count") == more("kshot_queue_seconds_count") == 2
    assert more("kshot_batch_pictures_sum") == len(NEW)
    # Each in one turn, or in several where the service has not seen yet how fast the model is.
    assert 2 <= more("kshot_batch_jobs_sum") <= 2 * more("kshot_batch_jobs_count")
    assert more("kshot_state_lookups_total", found="yes") == 1
    assert more("kshot_states") >= 1
    assert after[of("kshot_state_bytes")] > 0
    assert after[of("kshot_queue_pictures")] == after[of("kshot_queue_jobs")] == 0
    assert after[of("kshot_requests_in_flight")] == 1  # the one that asks
    assert after[of("kshot_models_loaded")] == 5
    assert after[of("kshot_ready")] == 1
    assert after[of("process_open_fds")] > 0


def test_hostile_requests_make_no_new_series(client: httpx.Client) -> None:
    def series() -> int:
        return sum(1 for name, _ in samples(client) if name.startswith("kshot_request"))

    def attack(number: int) -> None:
        client.get(f"/{number}")
        client.get(f"/v1/models/{number}")
        client.get(f"/docs/assets/{number}")
        client.request(f"BREW{number}", "/v1/classify")
        client.request(f"BREW{number}", f"/{number}")

    attack(0)
    before = series()
    for number in range(1, 20):
        attack(number)
    assert series() == before


def test_two_apps_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.shed("overloaded")
    assert one.registry.get_sample_value("kshot_sheds_total", {"code": "overloaded"}) == 1
    assert other.registry.get_sample_value("kshot_sheds_total", {"code": "overloaded"}) is None


def test_what_is_refused_for_want_of_room_is_counted_also_on_a_port_of_its_own(tmp_path: Path) -> None:
    port = free_port()
    settings = {"KSHOT_LIMITS__REQUEST_SECONDS": "0.0001", "KSHOT_METRICS_PORT": str(port)}
    with running(tmp_path / "data", **settings) as service, service.client() as client:
        dropped = client.post("/v1/classifiers", json={"examples": examples(digits(2))})
        assert dropped.json()["code"] == "deadline_exceeded"
        assert client.get("/metrics").status_code == 404
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as own:
            assert samples(own)[of("kshot_sheds_total", code="deadline_exceeded")] == 1
