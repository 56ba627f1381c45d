"""Calibration fitted to made-up domains whose truth is known."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from meta_core.answering import answer
from meta_core.asking import support_of
from meta_core.batching import adapt_many, predict_many
from meta_core.calibrate import Domain, calibrate
from meta_core.calibration import Calibration
from meta_core.errors import InvalidDataset
from meta_core.learner import AdaptOptions
from meta_core.learners.protonet import ProtoNet
from meta_core.learners.r2d2 import R2D2
from meta_core.sharpness import calibration_error
from meta_core.support_summary import summarize

CLASSES, A_CLASS, FEATURES = 24, 30, 16


def domain(seed: int, *, spread: float = 1.0, family: str | None = None) -> Domain:
    """Gaussian classes; `spread` says how far examples lie from their class's centre."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, 1, FEATURES, generator=generator)
    rows = centres + spread * torch.randn(CLASSES, A_CLASS, FEATURES, generator=generator) + 3.0
    members = list(torch.arange(CLASSES * A_CLASS).split(A_CLASS))
    return Domain(f"made up {seed}", family or f"family {seed}", rows.flatten(0, 1), members)


@pytest.fixture(scope="module")
def domains() -> list[Domain]:
    held = domain(3, spread=0.8)._replace(known_as="evaluation only")
    return [domain(0, spread=0.7), domain(1, spread=0.9), domain(2, spread=1.1), held]


@pytest.fixture(scope="module")
def learner() -> R2D2:
    return R2D2(backbone=nn.Identity(), penalty=1.0, scale=300.0).eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def found(learner: R2D2, domains: list[Domain]) -> Calibration:
    return calibrate(learner, domains, episodes=25)


def test_confidence_is_right_on_domains_that_it_was_not_fitted_to(found: Calibration) -> None:
    rows = [row for row in found.domains if row.shots == 5]
    assert [row.known_as for row in rows] == ["left out"] * 3 + ["evaluation only"]
    assert all(row.ece < 0.08 for row in rows), rows


def test_logits_far_too_large_are_divided_by_a_large_temperature(found: Calibration) -> None:
    assert found.temperature([5] * 5) > 10


def test_strangers_are_told_better_than_by_chance_and_few_known_are_refused(found: Calibration) -> None:
    for row in found.domains:
        assert row.auroc is not None
        assert row.refused_known is not None
        assert row.auroc > 0.65
        assert row.shots == 1 or row.refused_known < 0.25


def test_a_query_far_from_every_example_is_none_of_these(learner: R2D2, found: Calibration) -> None:
    shown = domain(9, spread=0.7)
    rows = torch.stack([own[:5] for own in shown.members[:5]])
    support = support_of(shown.features[rows.flatten()], ways=5)
    (state,) = adapt_many(learner, [support], options=AdaptOptions())
    state |= summarize(learner, support, options=AdaptOptions())
    known = shown.features[torch.stack([own[5:9] for own in shown.members[:5]]).flatten()]
    strange = shown.features[torch.stack([own[:4] for own in shown.members[10:15]]).flatten()]

    def none(query: Tensor) -> Tensor:
        (logits,) = predict_many(learner, [state], [query])
        told = answer(logits, calibration=found, shots=[5] * 5, state=state, query=query)
        assert told.none is not None
        return told.none

    assert float(none(strange).mean()) > float(none(known).mean()) + 0.2
    torch.testing.assert_close(torch.cat([none(row[None]) for row in known]), none(known), atol=1e-7, rtol=0)


def test_the_same_seed_calibrates_the_same(learner: R2D2, domains: list[Domain]) -> None:
    first, again = (calibrate(learner, domains[:2], episodes=8) for _ in range(2))
    assert first == again


def test_one_family_alone_cannot_be_left_out(learner: R2D2) -> None:
    with pytest.raises(InvalidDataset, match="leaves out one domain after the other"):
        calibrate(learner, [domain(0, family="one"), domain(1, family="one")], episodes=10)


@pytest.mark.parametrize("change", [lambda rows: rows, lambda rows: 7 * rows])
def test_a_learner_whose_logits_are_distances_is_calibrated_too(change: Callable[[Tensor], Tensor]) -> None:
    learner = ProtoNet(backbone=nn.Identity()).eval()
    some = [each._replace(features=change(each.features)) for each in (domain(0, spread=0.8), domain(1))]
    assert all(row.ece < 0.12 for row in calibrate(learner, some, episodes=15).domains)


def test_the_calibration_error_of_a_hand_worked_example() -> None:
    # Two bins: four answers of 0.9, three of them right; two of 0.5, both right.
    confidence = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.5, 0.5], dtype=torch.float64)
    right = torch.tensor([True, True, True, False, True, True])
    expected = (4 * abs(0.75 - 0.9) + 2 * abs(1.0 - 0.5)) / 6
    assert calibration_error(confidence, right) == pytest.approx(expected)
