"""Heads for any ways: equal rows know nothing, prototype rows answer as ProtoNet, centring changes no answer."""

import torch

from meta_core import heads
from meta_core.episode import SupportSet
from meta_core.functional import class_means, squared_distances

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(7, 4, generator=GENERATOR)
SUPPORT = SupportSet(FEATURES, torch.eye(3)[torch.tensor([0, 0, 0, 0, 1, 1, 2])], torch.ones(7))
QUERY = torch.randn(5, 4, generator=GENERATOR)


def test_equal_rows_give_every_class_the_same_logit() -> None:
    logits = heads.linear(heads.equal_rows(FEATURES, SUPPORT), QUERY)
    assert torch.equal(logits, torch.zeros(5, 3))


def test_prototype_rows_give_protonets_probabilities() -> None:
    # 2 c·q − |c|² is −|q − c|² but for |q|², which all classes share (Triantafillou et al. 2020, 3.2).
    prototypes = class_means(FEATURES, SUPPORT.targets, SUPPORT.weights)
    expected = (-0.3 * squared_distances(QUERY, prototypes)).softmax(-1)
    found = heads.linear(heads.prototype_rows(FEATURES, SUPPORT, scale=0.3), QUERY).softmax(-1)
    torch.testing.assert_close(found, expected)


def test_the_centre_is_the_mean_of_the_classes_not_of_the_examples() -> None:
    centred, centre = heads.centred(FEATURES, SUPPORT)
    means = torch.stack([FEATURES[:4].mean(0), FEATURES[4:6].mean(0), FEATURES[6]])
    torch.testing.assert_close(centre, means.mean(0))
    torch.testing.assert_close(centred, FEATURES - centre)


def test_an_uncentred_head_answers_for_features_as_they_are() -> None:
    weights = {heads.WEIGHT: torch.randn(3, 4, generator=GENERATOR), heads.BIAS: torch.randn(3, generator=GENERATOR)}
    _, centre = heads.centred(FEATURES, SUPPORT)
    torch.testing.assert_close(
        heads.linear(heads.uncentred(weights, centre), QUERY), heads.linear(weights, QUERY - centre)
    )


def test_the_heads_rates_are_multiplied_by_the_ways_and_no_other() -> None:
    rates = {"conv.weight": torch.tensor(0.25), heads.WEIGHT: torch.tensor(0.5), heads.BIAS: torch.tensor(2.0)}
    found = {name: float(rate) for name, rate in heads.per_way(rates, SUPPORT).items()}
    assert found == {"conv.weight": 0.25, heads.WEIGHT: 1.5, heads.BIAS: 6.0}
