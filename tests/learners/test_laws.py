"""The laws can fail: a learner that breaks one is caught by that one."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from meta_core.episode import State, SupportSet
from meta_core.functional import class_means
from meta_core.learner import AdaptOptions
from meta_core.learners.protonet import ProtoNet
from tests.learners import laws
from tests.learners.laws import LAWS, Law
from tests.made_up import small_learner


class Transductive(ProtoNet):
    """Centres the queries on their common mean."""

    def predict(self, state: State, query: Tensor) -> Tensor:
        return super().predict(state, query - query.mean(0))


class WearsOut(ProtoNet):
    """Each answer leaves the state other than it was."""

    def predict(self, state: State, query: Tensor) -> Tensor:
        logits = super().predict(state, query)
        state["prototypes"].add_(1)
        return logits


class Remembers(ProtoNet):
    """The next user's answer depends on the last one's examples."""

    def __init__(self, *, backbone: nn.Module) -> None:
        super().__init__(backbone=backbone)
        self.register_buffer("last", torch.zeros(()))

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        state = super().adapt(support, options=options)
        self.last = state["prototypes"].mean()
        return state


class IgnoresWeights(ProtoNet):
    """Takes padding for examples."""

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        return super().adapt(support._replace(weights=torch.ones_like(support.weights)), options=options)


class CountsPadding(ProtoNet):
    """Centres on the mean of all rows, padded ones too."""

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        return {"prototypes": super().adapt(support, options=options)["prototypes"] - support.inputs.mean(0)}


class FavoursTheFirst(ProtoNet):
    """The first example moves every prototype."""

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        prototypes = super().adapt(support, options=options)["prototypes"]
        return {"prototypes": prototypes + torch.linspace(0, 1, len(prototypes))[:, None] * support.inputs[0]}


class FavoursAClass(ProtoNet):
    """Class 0 is likelier than its examples say."""

    def predict(self, state: State, query: Tensor) -> Tensor:
        logits = super().predict(state, query)
        return logits + torch.eye(logits.shape[1])[0]


class KeepsPadding(ProtoNet):
    """Its state holds the padded examples of the whole batch."""

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        return {**super().adapt(support, options=options), "examples": support.inputs.clone()}


class Unchecked(ProtoNet):
    """Adapts to whatever comes."""

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        return {"prototypes": class_means(support.inputs, support.targets, support.weights)}


class BreaksItsBound(ProtoNet):
    """Says that it takes ten classes at most, and takes more."""

    most_ways = 10


class SumsFeatures(ProtoNet):
    """Distances along the axes, which turning changes."""

    rotation_invariant = True

    def predict(self, state: State, query: Tensor) -> Tensor:
        return -(query[:, None] - state["prototypes"]).abs().sum(-1)


class SeesItself(ProtoNet):
    """Leaves nothing out."""

    def leave_one_out(self, support: SupportSet, *, options: AdaptOptions) -> Iterator[tuple[Tensor, Tensor]]:
        state = self.adapt(support, options=options)
        yield torch.arange(len(support.inputs)), self.predict(state, support.inputs)


class Blind(ProtoNet):
    """Sees nothing: every picture has the same features."""

    def encode(self, inputs: Tensor) -> Tensor:
        return super().encode(inputs) * 0


CHEATS: list[tuple[type[ProtoNet], Law]] = [
    (Transductive, laws.a_query_does_not_depend_on_the_others),
    (WearsOut, laws.predict_is_pure),
    (Remembers, laws.adapt_is_pure),
    (IgnoresWeights, laws.padding_changes_nothing),
    (IgnoresWeights, laws.weight_zero_leaves_an_example_out),
    (CountsPadding, laws.many_tasks_batched_equal_the_same_one_by_one),
    (FavoursTheFirst, laws.the_order_of_the_support_set_is_irrelevant),
    (FavoursAClass, laws.relabelling_the_classes_permutes_the_logits),
    (KeepsPadding, laws.state_is_no_larger_than_the_card_says),
    (Unchecked, laws.a_class_without_an_example_is_refused),
    (Unchecked, laws.options_it_lacks_are_refused),
    (BreaksItsBound, laws.more_classes_than_it_can_tell_apart_are_refused_with_the_number),
    (SumsFeatures, laws.rotating_all_features_changes_nothing_where_it_is_declared),
    (SeesItself, laws.leaving_one_out_is_adapting_to_the_others),
    (Blind, laws.it_learns),
]


@pytest.mark.parametrize(("cheat", "broken"), CHEATS, ids=lambda part: part.__name__)
def test_a_law_catches(cheat: type[ProtoNet], broken: Law) -> None:
    learner = cheat(backbone=small_learner("protonet").backbone).eval()
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        broken(learner)


def test_an_untrained_learner_has_not_learned() -> None:
    learner = small_learner("protonet")
    learner.requires_grad_(requires_grad=False)
    assert laws.held_out_accuracy(learner) < laws.CLEARLY_ABOVE_CHANCE


def test_no_two_laws_have_the_same_name() -> None:
    assert len({law.__name__ for law in LAWS}) == len(LAWS)
