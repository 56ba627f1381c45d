"""A contrastive encoder (Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations")."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from meta_core.episode import Episode, State, SupportSet
from meta_core.functional import check_support, class_means
from meta_core.learner import AdaptOptions, Learner


class Contrastive(Learner):
    """Views of one picture attract each other, all other pictures of the batch repel; then the nearest class mean.

    On tasks of `umtra` with one example and one query a class, `meta_loss` is NT-Xent (SimCLR, eq. 1): both are views
    of one picture. With more views, or with labels, every other view of the class is a positive and the loss their
    mean (Khosla et al. 2020, "Supervised Contrastive Learning", eq. 2).

    Differs from SimCLR: there is no projection head that is thrown away after training, because what the loss compares
    is what is compared afterwards, here and in the clusters of `tasks/cactus.py`.

    Args:
        backbone: (N, *input) → (N, D).
        temperature: cosines are divided by it.
    """

    rotation_invariant = True

    def __init__(self, *, backbone: nn.Module, temperature: float = 0.2) -> None:
        super().__init__(backbone=backbone)
        self.temperature = temperature

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `prototypes` (C, D), means of features of length 1."""
        self.check_options(options)
        check_support(support)
        return {"prototypes": class_means(F.normalize(support.inputs, dim=-1), support.targets, support.weights)}

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → cosine to each prototype over the temperature, (Q, C)."""
        return _cosines(query, state["prototypes"]) / self.temperature

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """Mean over all views of how unlikely their positives are among the others of the batch."""
        views = torch.cat([episode.support.inputs, episode.query.inputs])
        classes = torch.cat([episode.support.targets, episode.query.targets])
        itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
        alike = (_cosines(views, views) / self.temperature).masked_fill(itself, -torch.inf)
        # 0 in place of −∞ on the diagonal, whose product with 0 would not be a number.
        log_shares = torch.log_softmax(alike, dim=-1).masked_fill(itself, 0)
        positives = (classes @ classes.T).masked_fill(itself, 0)
        return -((positives * log_shares).sum(-1) / positives.sum(-1)).mean()


def build(*, backbone: nn.Module, temperature: float = 0.2) -> Contrastive:
    """A contrastive learner around `backbone`."""
    return Contrastive(backbone=backbone, temperature=temperature)


def _cosines(points: Tensor, centres: Tensor) -> Tensor:
    """(Q, D), (C, D) → (Q, C); in float64, in which the product of a row does not depend on how many rows there are."""
    product = F.normalize(points.double(), dim=-1) @ F.normalize(centres.double(), dim=-1).T
    return product.to(points.dtype)
