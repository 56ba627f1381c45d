"""The contrastive loss against NT-Xent worked by hand, and what it takes for positives."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.learner import AdaptOptions
from meta_core.learners.contrastive import Contrastive


def task(support: Tensor, query: Tensor, ways: int) -> Episode:
    one_hot = torch.eye(ways, dtype=support.dtype)
    shown, asked = (one_hot.repeat_interleave(len(views) // ways, dim=0) for views in (support, query))
    return Episode(SupportSet(support, shown, torch.ones(len(support))), QuerySet(query, asked))


def loss(learner: Contrastive, episode: Episode) -> Tensor:
    return learner.meta_loss(episode, generator=torch.Generator(), progress=0.0)


def test_two_views_of_two_pictures_by_hand() -> None:
    """Views (1, 0) and (0.6, 0.8) of one, (0, 1) and (0, 2) of the other; lengths do not count; temperature 0.5.

    Cosines over 0.5, of each view to the others, its positive first:
    (1, 0): 1.2 | 0, 0        (0.6, 0.8): 1.2 | 1.6, 1.6
    (0, 1): 2 | 0, 1.6        (0, 2): 2 | 0, 1.6
    """
    rows = [(1.2, 0.0, 0.0), (1.2, 1.6, 1.6), (2.0, 0.0, 1.6), (2.0, 0.0, 1.6)]
    expected = sum(-row[0] + math.log(sum(math.exp(each) for each in row)) for row in rows) / 4
    episode = task(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 2.0]]), ways=2)
    assert float(loss(Contrastive(backbone=nn.Identity(), temperature=0.5), episode)) == pytest.approx(expected)


def test_several_views_of_a_class_are_positives_of_one_another() -> None:
    generator = torch.Generator().manual_seed(1)
    support, query = torch.randn(6, 4, generator=generator), torch.randn(9, 4, generator=generator)
    episode = task(support, query, ways=3)
    views = F.normalize(torch.cat([support, query]), dim=-1)
    classes = [0, 0, 1, 1, 2, 2, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    terms = []
    for i, view in enumerate(views):
        others = [j for j in range(15) if j != i]
        all_of_them = torch.logsumexp(torch.stack([view @ views[j] for j in others]) / 0.2, 0)
        own = [view @ views[j] / 0.2 - all_of_them for j in others if classes[j] == classes[i]]
        terms.append(-torch.stack(own).mean())
    assert float(loss(Contrastive(backbone=nn.Identity()), episode)) == pytest.approx(float(torch.stack(terms).mean()))


def test_its_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(2)
    support = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    query = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    learner = Contrastive(backbone=nn.Identity())
    assert torch.autograd.gradcheck(lambda one, two: loss(learner, task(one, two, ways=3)), (support, query))


def test_a_query_belongs_to_the_class_mean_of_the_nearest_direction() -> None:
    learner = Contrastive(backbone=nn.Identity(), temperature=0.5)
    support = SupportSet(torch.tensor([[10.0, 0.0], [0.0, 0.1]]), torch.eye(2), torch.ones(2))
    state = learner.adapt(support, options=AdaptOptions())
    logits = learner.predict(state, torch.tensor([[3.0, 4.0]]))
    assert torch.allclose(logits, torch.tensor([[1.2, 1.6]]))
