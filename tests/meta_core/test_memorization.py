"""The memorization check: answers that follow the examples' labels pass, those that stay are told."""

import pytest
import torch

from meta_core.asking import looking_up
from meta_core.learner import AdaptOptions, Learner
from meta_core.memorization import MemorizationCheck, check_memorization
from meta_core.plan import EpisodePlan
from tests.made_up import SPEC, made_up_pictures, small_learner

PICTURES = made_up_pictures([8] * 7)
PLAN = EpisodePlan(ways=3, shots=2, queries=4, episodes=12)


def check(learner: Learner, options: AdaptOptions | None = None) -> MemorizationCheck:
    lookup = looking_up(learner, PICTURES.images, SPEC)
    return check_memorization(learner, lookup, PICTURES, PLAN, options=options)


@pytest.mark.parametrize("name", ["protonet", "maml"])
def test_where_classes_are_interchangeable_every_answer_follows(name: str) -> None:
    """Untrained, they know nothing, and the more so go by their examples."""
    found = check(small_learner(name, shape=SPEC.shape))
    assert (found.episodes, found.stayed) == (12, 0)
    assert found.followed == pytest.approx(100, abs=1)
    assert not found.memorizes
    assert "the examples decide" in found.text


def test_a_network_that_was_not_adapted_stays_with_what_it_says() -> None:
    learner = small_learner("network_maml", shape=SPEC.shape)
    found = check(learner, AdaptOptions(steps=0))
    assert (found.followed, found.stayed) == (0, 100)
    assert found.memorizes
    assert "100.0 % stayed" in found.text
    assert "mr_maml" in found.text


def test_a_network_whose_rows_are_biased_stays_however_it_adapts() -> None:
    learner = small_learner("network_maml", shape=SPEC.shape, rate=0.01)
    with torch.no_grad():
        last = [weight for name, weight in learner.backbone.named_parameters() if name.endswith("bias")][-1]
        last.copy_(torch.linspace(20, 0, len(last)))  # the first label, always
    assert check(learner).memorizes


def test_only_the_first_episodes_are_asked_twice() -> None:
    told: list[int] = []
    learner = small_learner("protonet", shape=SPEC.shape)
    lookup = looking_up(learner, PICTURES.images, SPEC)
    plan = EpisodePlan(ways=2, shots=1, queries=1, episodes=200)
    assert check_memorization(learner, lookup, PICTURES, plan, advance=told.append).episodes == 50
    assert sum(told) == 50
