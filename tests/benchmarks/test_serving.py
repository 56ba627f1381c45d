import json
import math
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks import load
from benchmarks.serving import wire
from benchmarks.serving.agreeing import Disagreement, largest_difference
from benchmarks.serving.contestants import Contestant
from benchmarks.serving.figures import NOTHING, Cell, cell, floor_per_second, percentile, quartiles, ratios
from benchmarks.serving.floor import Floor
from benchmarks.serving.prepare import Pictures, Prepared
from benchmarks.serving.qualifying import Qualification
from benchmarks.serving.rounds import Row, Seen
from benchmarks.serving.settings import NETWORKS
from benchmarks.serving.tables import network_verdicts


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
    seen = load.Seen(
        good_seconds=[0.02, 0.01, 0.03, 0.5],
        shed=1,
        wrong={"500": 1, "TimeoutError": 1},
        not_sent=1,
        seconds=2.0,
        cpu_seconds=0.5,
    )
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


def _row(engine: str, *per_second: float) -> Row:
    cells = [Cell(each, 10.0, 20.0, 30.0, 0.0, 0.1) if each else NOTHING for each in per_second]
    return Row(Contestant(engine), closed=cells, opened=cells)


def _seen(*rows: Row) -> Seen:
    floors = [Floor(decode_seconds=0.001, forward_seconds=0.003, batch=8, sessions=2)] * len(rows[0].closed)
    network = NETWORKS[0]
    nowhere = Path("nowhere")
    prepared = Prepared(network, nowhere, nowhere, Pictures([], [], []), np.zeros((0, 5)))
    qualification = Qualification(prepared, turn=lambda *_: NOTHING, generator=frozenset(), seconds=1)
    return Seen(prepared, qualification, list(rows), floors)


def test_targets_are_judged_by_the_best_peer_and_the_floor() -> None:
    floor, times, latency = network_verdicts(
        _seen(_row("kshot", 200, 220), _row("mosec", 90, 100), _row("ray", 50, 60))
    )
    assert (floor.met, floor.text) == (True, "0.7 of the floor wanted, 0.84 came (fp32): met")
    assert (times.met, "(mosec)" in times.text, "2.21 came (fp32)" in times.text) == (True, True, True)
    assert not latency.met, "a p99 of 30 ms is over a p50 of 10 ms"


def test_each_precision_is_judged_by_its_own_floor_and_the_faster_by_the_peers() -> None:
    fast = _row("kshot", 420, 420)
    seen = _seen(_row("kshot", 200, 200), fast, _row("mosec", 90, 100))
    fast.contestant = Contestant("kshot", "int8")
    seen.reduced_floors = [each._replace(forward_seconds=0.001) for each in seen.floors]
    exact, reduced, times, _ = network_verdicts(seen)
    assert ("0.80 came (fp32)" in exact.text, "0.84 came (8 bits)" in reduced.text) == (True, True)
    assert "4.43 came (8 bits)" in times.text


def test_integers_may_differ_by_more_but_not_give_other_labels() -> None:
    expected = np.array([[0.2, 0.3, 0.5], [0.5, 0.4, 0.1]])
    near = expected + np.array([0.05, 0.0, -0.05])
    assert largest_difference(near, expected, named="it", reduced=True) == pytest.approx(0.05)
    with pytest.raises(Disagreement, match="50% of the pictures"):
        largest_difference([[0.2, 0.3, 0.5], [0.43, 0.47, 0.1]], expected, named="it", reduced=True)


def test_a_peer_that_did_not_start_is_no_peer_that_was_beaten() -> None:
    seen = _seen(_row("kshot", 200, 220), _row("mosec", 90, 0))
    assert [verdict.met for verdict in network_verdicts(seen)] == [True, False]


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
