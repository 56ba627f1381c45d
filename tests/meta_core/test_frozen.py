"""The heads that models are measured against."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from meta_core.asking import support_of
from meta_core.batching import adapt_many, predict_many
from meta_core.frozen import frozen
from meta_core.functional import unit_rows
from meta_core.learner import AdaptOptions, Learner
from meta_core.registry import BACKBONES


@pytest.fixture(scope="module")
def heads() -> dict[str, Learner]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = BACKBONES.build(
            "timm", input_shape=(3, 32, 32), model="test_efficientnet", deviations=True, power=0.7
        )
    return frozen(backbone)


def test_the_logistic_head_says_what_scikit_learns_says(heads: dict[str, Learner]) -> None:
    head, generator = heads["logistic, C = 10"], torch.Generator().manual_seed(0)
    features = torch.rand(40, head.backbone(torch.zeros(1, 3, 32, 32)).shape[1], generator=generator)
    support = support_of(features[:25], ways=5)
    (state,) = adapt_many(head, [support], options=AdaptOptions())
    (logits,) = predict_many(head, [state], [features[25:]])
    rows = unit_rows(head.backbone.pooled(features)).numpy()  # type: ignore[operator]
    other = LogisticRegression(C=10, max_iter=5000, tol=1e-8).fit(rows[:25], support.targets.argmax(-1).numpy())
    torch.testing.assert_close(
        logits.double().softmax(-1), torch.from_numpy(other.predict_proba(rows[25:])), atol=2e-4, rtol=0
    )


def test_a_class_whose_examples_point_the_same_way_wins_by_the_cosine(heads: dict[str, Learner]) -> None:
    head, generator = heads["cosine centroids"], torch.Generator().manual_seed(0)
    centres = torch.rand(3, head.backbone(torch.zeros(1, 3, 32, 32)).shape[1], generator=generator)
    (state,) = adapt_many(head, [support_of(centres, ways=3)], options=AdaptOptions())
    (logits,) = predict_many(head, [state], [9 * centres])
    assert logits.argmax(-1).tolist() == [0, 1, 2]
    torch.testing.assert_close(logits.diagonal(), torch.full((3,), 10.0))


def test_a_network_that_nobody_pretrained_has_none() -> None:
    assert frozen(nn.Identity()) == {}
