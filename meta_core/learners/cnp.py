"""Conditional neural processes (Garnelo et al. 2018): a network reads the examples, their mean is the adaptation."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from meta_core.episode import State, SupportSet
from meta_core.functional import check_support, class_means
from meta_core.learner import AdaptOptions, Learner
from meta_core.objectives import Objective


class CNP(Learner):
    """Representations of examples are averaged (eq. 2), a decoder g reads the mean and a query (eq. 3).

    As in the paper's classification experiment (4.3) the mean is taken class by class. Differs from there: the paper
    concatenates the representations of a fixed number of classes and decodes all logits at once; here g gives one
    logit at a time, from the query, the class's representation and the mean of all classes' representations, so that
    it takes any number of ways and relabelling the classes permutes the logits. g's first layer multiplies the query
    by what the class says (FiLM, Perez et al. 2018): to compare two things by adding them takes it far longer to learn.

    In a regression the representation is of the pair (x, y), and the mean is over all examples. Differs from the paper:
    g gives the number alone, where there it also gives a variance; of several numbers, each has a representation and
    an answer of its own, as each class has.

    Args:
        backbone: (N, *input) → (N, features).
        features: that the backbone makes.
        width: of the representation and of both networks' hidden layers.
        objective: of meta-training.
    """

    steps_to_learn: ClassVar[int] = 100

    def __init__(
        self, *, backbone: nn.Module, features: int, width: int = 128, objective: Objective = "cross_entropy"
    ) -> None:
        super().__init__(backbone=backbone)
        self.objective = objective
        read = features + (objective == "squared_error")
        self.represent = nn.Sequential(
            nn.Linear(read, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )
        self.of_query = nn.Linear(features, width)
        self.of_class = nn.Linear(width, 2 * width)
        self.of_task = nn.Linear(width, width, bias=False)
        self.decode = nn.Sequential(
            nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `representation` (C, R)."""
        self.check_options(options)
        check_support(support, objective=self.objective)
        if self.objective == "squared_error":
            return {"representation": self._mean_of_pairs(support)}
        return {"representation": class_means(self.represent(support.inputs), support.targets, support.weights)}

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → (Q, C)."""
        classes = state["representation"]
        gain, shift = self.of_class(classes).chunk(2, dim=-1)
        # What only one of the three says is computed once for it, not for every pair.
        pairs = (1 + gain) * self.of_query(query)[:, None] + shift + self.of_task(classes.mean(0))
        logits: Tensor = self.decode(pairs)
        return logits.squeeze(-1)

    def _mean_of_pairs(self, support: SupportSet) -> Tensor:
        """(C, R): for each number that an example comes with, what it says of it, mean over the examples."""
        examples, numbers = support.targets.shape
        inputs = support.inputs[:, None].expand(-1, numbers, -1)
        said = self.represent(torch.cat([inputs, support.targets[:, :, None]], -1))
        return class_means(said.flatten(1), support.inputs.new_ones(examples, 1), support.weights).view(numbers, -1)


def build(*, backbone: nn.Module, features: int, width: int = 128, objective: Objective = "cross_entropy") -> CNP:
    """A CNP around `backbone`."""
    return CNP(backbone=backbone, features=features, width=width, objective=objective)
