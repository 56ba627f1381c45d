import json
import math

import httpx
import numpy as np
import pytest

from benchmarks.serving import wire
from benchmarks.serving.agreeing import Disagreement, largest_difference
from benchmarks.serving.contestants import Contestant
from benchmarks.serving.figures import NOTHING, cell, floor_per_second, percentile, quartiles, ratios


def test_a_floor_is_decoding_and_encoding_one_after_the_other() -> None:
    assert floor_per_second(decode_seconds=0.001, forward_seconds=0.004) == pytest.approx(200)
    assert floor_per_second(decode_seconds=0.001, forward_seconds=0.004, pictures=40) == pytest.approx(5)


def test_ratios_are_of_two_figures_of_one_round() -> None:
    # The machine was half as fast in the second round: each ratio is 2 all the same.
    assert ratios([200, 100, 200], [100, 50, 100]) == (2, 2, 2)
    assert ratios([200, 300, 400], [100, 100, 100]) == (2.5, 3, 3.5)


def test_a_single_round_has_no_spread() -> None:
    assert quartiles([3.0]) == (3, 3, 3)


def test_a_peer_that_answers_nothing_is_infinitely_slower() -> None:
    assert ratios([100], [0]).middle == math.inf


def test_percentiles_are_values_that_came() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50, 99, 100)
    assert percentile([7.0], 99) == 7
    assert math.isnan(percentile([], 50))


def test_a_cell_counts_everything_that_was_not_answered_as_an_error() -> None:
    seen = {
        "good_seconds": [0.02, 0.01, 0.03, 0.5],
        "shed": 1,
        "wrong": {"500": 1, "TimeoutError": 1},
        "not_sent": 1,
        "seconds": 2.0,
        "cpu_seconds": 0.5,
    }
    found = cell(seen)
    assert found.per_second == 2
    assert (found.p50, found.p99) == (20, 500)
    assert found.errors == 0.5
    assert found.generator_cores == 0.25


def test_a_server_that_did_not_start_is_told_as_json() -> None:
    told = json.loads(json.dumps(NOTHING.as_json(), allow_nan=False))
    assert (told["per_second"], told["p50"], told["errors"]) == (0, None, 1)


@pytest.mark.parametrize(
    "answer", [[0.5, 0.4, 0.098], [0.5, 0.5], [math.nan, 0.4, 0.1]], ids=["another", "fewer classes", "no number"]
)
def test_who_answers_something_else_ends_the_run(answer: list[float]) -> None:
    expected = np.array([[0.2, 0.3, 0.5], [0.5, 0.4, 0.1]])
    assert largest_difference(expected + 0.0009, expected, named="peer") == pytest.approx(0.0009)
    with pytest.raises(Disagreement, match=r"peer, picture 1: .* came; expected \[0.5, 0.4, 0.1\] within 0.001"):
        largest_difference([[0.2, 0.3, 0.5], answer], expected, named="peer")


def test_answers_of_all_contestants_are_read_in_the_order_of_the_classes() -> None:
    wanted = [0.1, 0.2, 0.3, 0.25, 0.15]
    ranked = [{"label": f"label {n}", "probability": wanted[n]} for n in (2, 3, 1, 4, 0)]
    ours = json.dumps({"results": [{"predictions": ranked}]}).encode()
    assert Contestant("kshot").probabilities(ours) == wanted
    for peers in (wanted, [wanted], {"probabilities": wanted}):
        assert Contestant("mosec").probabilities(json.dumps(peers).encode()) == wanted


def test_a_prepared_request_is_what_a_usual_client_would_send() -> None:
    form = wire.multipart([wire.Part("files", b"\xff\xd8 a picture")])
    head, _, body = wire.prepared("127.0.0.1", 80, "/path", form).partition(b"\r\n\r\n")
    usual = httpx.Request("POST", "http://x", files={"files": ("0.jpg", b"\xff\xd8 a picture", "image/jpeg")})
    ours, theirs = (kind.rpartition("=")[2].encode() for kind in (form.kind, usual.headers["content-type"]))
    assert body.replace(ours, theirs) == usual.read()
    assert head.endswith(f"Content-Length: {len(body)}".encode())
