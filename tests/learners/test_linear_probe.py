"""The linear probe against scikit-learn on the same features, a solution worked by hand, and finite differences."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from torch import nn

from meta_core.learners.linear_probe import LinearProbe
from tests.learners.supports import OPTIONS, random, support_set


def made(*, penalty: float = 0.01, steps: int = 40) -> LinearProbe:
    return LinearProbe(backbone=nn.Identity(), penalty=penalty, steps=steps)


def test_the_solution_is_worked_by_hand() -> None:
    # Made of length 1 and centred, the examples are ±h with h = (½, −½) and |h|² = ½. By symmetry W = (w h, −w h) and
    # b = 0: both margins are m = w, the loss is 2 ln(1 + e⁻ᵐ) + ½ λ m², least where λ m = 2 / (1 + eᵐ).
    # m = ln 3 is where λ = ½ / ln 3: probabilities of ¾ for each example's own class.
    support = support_set(torch.tensor([[7.0, 0.0], [0.0, 0.1]]), [0, 1])
    learner = made(penalty=0.5 / math.log(3))
    state = learner.adapt(support, options=OPTIONS)
    half = math.log(3) / 2
    torch.testing.assert_close(state["weight"], torch.tensor([[half, -half], [-half, half]]), rtol=0, atol=1e-6)
    torch.testing.assert_close(state["bias"], torch.zeros(2), rtol=0, atol=1e-6)
    chances = learner.predict(state, support.inputs).softmax(-1)
    torch.testing.assert_close(chances, torch.tensor([[0.75, 0.25], [0.25, 0.75]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shots", [1, 5, 20])
def test_it_is_as_good_as_scikit_learn_on_real_digits(shots: int) -> None:
    """To 0.002 in all probabilities of 500 digits, with one shot more of every second class; C = 1 / penalty."""
    features, labels = load_digits(return_X_y=True)
    members = [torch.nonzero(torch.from_numpy(labels) == digit).flatten() for digit in range(10)]
    chosen = torch.cat([own[: shots + digit % 2] for digit, own in enumerate(members)])
    asked = torch.cat([own[-50:] for own in members])
    peer = LogisticRegression(C=100, class_weight="balanced", tol=1e-8, max_iter=10_000)
    peer.fit(normalize(features[chosen]), labels[chosen])
    expected = torch.from_numpy(peer.predict_proba(normalize(features[asked])))
    learner, encoded = made(), torch.from_numpy(features)
    state = learner.adapt(support_set(encoded[chosen], labels[chosen].tolist()), options=OPTIONS)
    found = learner.predict(state, encoded[asked]).softmax(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    right = [float((chances.argmax(-1).numpy() == labels[asked]).mean()) for chances in (found, expected)]
    assert right[0] == pytest.approx(right[1], abs=0.004)
    assert right[0] > 0.6


def test_a_pictures_features_may_be_of_any_length() -> None:
    support, query = support_set(random(6, 8), [0, 0, 1, 1, 2, 2]), random(4, 8, seed=1)
    learner, lengths = made(), torch.tensor([[0.1], [3.0], [1.0], [50.0], [7.0], [0.5]])
    state = learner.adapt(support, options=OPTIONS)
    stretched = learner.adapt(support._replace(inputs=lengths * support.inputs), options=OPTIONS)
    torch.testing.assert_close(stretched, state, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(learner.predict(state, 9 * query), learner.predict(state, query))


def test_nothing_is_learned_but_the_backbone() -> None:
    assert not list(made().parameters())
