"""ProtoNet against the equations of Snell, Swersky & Zemel 2017."""

import pytest
import torch
from torch import Tensor, nn

from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.learner import AdaptOptions
from meta_core.learners.protonet import ProtoNet

OPTIONS = AdaptOptions()

# Class 0 has two examples, (0, 0) and (2, 0): by eq. 1 its prototype is (1, 0).
# Class 1 has three, (0, 4), (3, 4) and (0, 1): its prototype is (1, 3).
SUPPORT = SupportSet(
    inputs=torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [3.0, 4.0], [0.0, 1.0]]),
    targets=torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]),
    weights=torch.ones(5),
)
PROTOTYPES = torch.tensor([[1.0, 0.0], [1.0, 3.0]])

# The query (1, 1) is at squared distance 0² + 1² = 1 of the first and 0² + 2² = 4 of the second;
# the query (3, 2) at 2² + 2² = 8 and 2² + 1² = 5.
QUERY = torch.tensor([[1.0, 1.0], [3.0, 2.0]])
SQUARED = torch.tensor([[1.0, 4.0], [8.0, 5.0]])

# By eq. 2, p(class 0 | first query) = e⁻¹ / (e⁻¹ + e⁻⁴) = 1 / (1 + e⁻³) = 0.952574,
# and p(class 0 | second query) = 1 / (1 + e³) = 0.047426.
PROBABILITIES = torch.tensor([[0.952574, 0.047426], [0.047426, 0.952574]])


@pytest.fixture
def learner() -> ProtoNet:
    """Features are the inputs, so that everything can be worked by hand."""
    return ProtoNet(backbone=nn.Identity())


def test_a_prototype_is_the_mean_of_its_classs_examples(learner: ProtoNet) -> None:
    state = learner.adapt(SUPPORT, options=OPTIONS)
    assert set(state) == {"prototypes"}
    torch.testing.assert_close(state["prototypes"], PROTOTYPES)


def test_logits_are_minus_the_squared_distances(learner: ProtoNet) -> None:
    torch.testing.assert_close(learner.predict({"prototypes": PROTOTYPES}, QUERY), -SQUARED)


def test_probabilities_are_their_softmax(learner: ProtoNet) -> None:
    logits = learner.predict(learner.adapt(SUPPORT, options=OPTIONS), QUERY)
    torch.testing.assert_close(logits.softmax(-1), PROBABILITIES, atol=1e-6, rtol=0)


def test_the_meta_loss_is_the_mean_negative_log_probability(learner: ProtoNet) -> None:
    # The first query is of class 0, the second of class 0 too: −(ln 0.952574 + ln 0.047426) / 2 = 1.548587.
    queries = QuerySet(QUERY, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    loss = learner.meta_loss(Episode(SUPPORT, queries), generator=torch.Generator(), progress=0)
    torch.testing.assert_close(loss, torch.tensor(1.548587), atol=1e-5, rtol=0)


def test_the_plain_distance_would_answer_otherwise(learner: ProtoNet) -> None:
    # With the plain distance p(class 0 | first query) = 1 / (1 + e⁻¹) = 0.731, less sure than 0.953.
    plain = (-torch.cdist(QUERY, PROTOTYPES)).softmax(-1)
    assert plain[0, 0].item() == pytest.approx(0.731059, abs=1e-5)
    assert (learner.predict({"prototypes": PROTOTYPES}, QUERY).softmax(-1) - plain).abs().max() > 0.2


def test_scale_multiplies_the_distance() -> None:
    scaled = ProtoNet(backbone=nn.Identity(), scale=0.5)
    torch.testing.assert_close(scaled.predict({"prototypes": PROTOTYPES}, QUERY), -0.5 * SQUARED)


def test_uneven_shots_weigh_every_example_of_a_class_alike(learner: ProtoNet) -> None:
    features = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.eye(3)[torch.tensor([0, 1, 1, 2, 2, 2, 2, 2, 2])]
    prototypes = learner.adapt(SupportSet(features, targets, torch.ones(9)), options=OPTIONS)["prototypes"]
    expected = torch.stack([features[:1].mean(0), features[1:3].mean(0), features[3:].mean(0)])
    torch.testing.assert_close(prototypes, expected)


def test_the_meta_gradient_agrees_with_finite_differences() -> None:
    """Of the loss with respect to every weight of the encoder, in float64."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(8, 4, dtype=torch.float64, generator=generator)
    targets = torch.eye(3, dtype=torch.float64)
    support_targets, query_targets = targets[torch.tensor([0, 0, 1, 2])], targets[torch.tensor([0, 1, 2, 2])]
    learner = ProtoNet(backbone=nn.Identity(), scale=0.7)

    def meta_loss(weight: Tensor, bias: Tensor) -> Tensor:
        features = torch.tanh(inputs @ weight + bias)
        support = SupportSet(features[:4], support_targets, torch.ones(4, dtype=torch.float64))
        episode = Episode(support, QuerySet(features[4:], query_targets))
        return learner.meta_loss(episode, generator=generator, progress=0)

    weight = torch.randn(4, 5, dtype=torch.float64, generator=generator).requires_grad_()
    bias = torch.randn(5, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(meta_loss, (weight, bias))
    assert torch.autograd.gradgradcheck(meta_loss, (weight, bias))
