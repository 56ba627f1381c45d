"""Temperatures between and beyond the fitted ways and shots; what turns logits into answers."""

import math

import pytest
import torch

from meta_core.answering import answer
from meta_core.calibration import Calibration, NoneOfThese, Temperature


def fitted(**none: object) -> Calibration:
    return Calibration(
        data="two domains",
        temperatures=[
            Temperature(ways=2, shots=1, temperature=1.0, slope=2.0, centre=0.5),
            Temperature(ways=2, shots=4, temperature=4.0, slope=2.0, centre=0.5),
            Temperature(ways=8, shots=1, temperature=2.0, slope=2.0, centre=0.5),
            Temperature(ways=8, shots=4, temperature=8.0, slope=2.0, centre=0.5),
        ],
        **none,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("shots", "expected"),
    [
        ([1, 1], 1.0),
        ([4, 4], 4.0),
        ([2, 2], 2.0),  # half way in the logarithm
        ([1, 4], 2.0),  # uneven shots count as their geometric mean
        ([1] * 4, math.sqrt(2)),
        ([4] * 8, 8.0),
        ([9] * 99, 8.0),  # beyond what was fitted, the nearest
    ],
)
def test_a_temperature_lies_between_those_of_the_nearest_ways_and_shots(shots: list[int], expected: float) -> None:
    assert fitted().temperature(shots) == pytest.approx(expected)


def test_harder_tasks_are_hotter_but_never_by_more_than_a_factor_of_e() -> None:
    calibration = fitted()
    assert calibration.temperature([1, 1], hardness=0.5) == pytest.approx(1.0)
    assert calibration.temperature([1, 1], hardness=0.6) == pytest.approx(math.exp(0.2))
    assert calibration.temperature([1, 1], hardness=50.0) == pytest.approx(math.e)
    assert calibration.temperature([1, 1], hardness=-50.0) == pytest.approx(1 / math.e)
    assert calibration.temperature([1, 1], hardness=math.nan) == pytest.approx(1.0)


def test_what_was_fitted_with_one_shot_is_taken_only_where_every_class_has_one() -> None:
    none = [
        NoneOfThese(shots=shots, weights=(1.0,), bias=0.0, threshold=0.9, auroc=0.9 if shots > 1 else 0.7)
        for shots in (1, 2, 5)
    ]
    calibration = fitted(none_of_these=none)
    taken = [calibration.none_at(shots) for shots in ([1, 1], [1, 2], [3, 3], [4, 4], [40, 50])]
    assert [each and each.shots for each in taken] == [1, 2, 2, 5, 5]
    assert [each and each.decides for each in taken] == [False, True, True, True, True]
    assert fitted().none_at([1, 1]) is None


def test_answers_are_the_softmax_of_logits_over_the_temperature() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    bare = answer(logits, calibration=None, shots=[4, 4], state={}, query=None)
    torch.testing.assert_close(bare.probabilities, logits.double().softmax(-1))
    calibrated = answer(logits, calibration=fitted(), shots=[4, 4], state={}, query=None)
    torch.testing.assert_close(calibrated.probabilities, (logits.double() / 4).softmax(-1))
    assert calibrated.none is None
    assert calibrated.threshold is None
