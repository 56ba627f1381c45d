"""Classes as places among a fixed number of outputs, for networks that read labels and answer with them.

A network with a one-hot code for each label and an output for each cannot take more classes than it has codes. Which
class has which code says nothing, so that tasks are not told apart by it: in training codes are drawn at random, in
use classes have them in the order in which they first appear. Relabelling the classes then permutes the logits.
"""

import torch
from torch import Tensor

from meta_core.episode import Episode, SupportSet
from meta_core.errors import InvalidSupportSet


def without_padding(support: SupportSet) -> SupportSet:
    """The examples that count, in their order."""
    kept = support.weights > 0
    return SupportSet(*(tensor[kept] for tensor in support))


def by_appearance(targets: Tensor) -> Tensor:
    """Each class's place, the class that is shown first having place 0: (S, C) one-hot → (C,)."""
    first_shown = targets.argmax(0)
    return first_shown.argsort().argsort()


def dealt(episode: Episode, places: int, generator: torch.Generator) -> tuple[Episode, Tensor]:
    """A meta-batch as the network trains on it: each task's examples in random order, its classes at random places.

    Task sources list examples class by class; a user sends them in any order.

    Args:
        episode: a meta-batch, encoded.
        places: how many there are.
        generator: of the orders and the places.

    Returns:
        The meta-batch, and the classes' places (T, C).

    Raises:
        InvalidSupportSet: more classes than places.
    """
    tasks, examples, ways = episode.support.targets.shape
    if ways > places:
        raise InvalidSupportSet(f"tasks of {ways} ways came; this learner tells at most {places} classes apart")
    order, dealt = (
        torch.stack([torch.randperm(count, generator=generator) for _ in range(tasks)]) for count in (examples, places)
    )
    rows = torch.arange(tasks)[:, None]
    shuffled = SupportSet(*(tensor[rows, order] for tensor in episode.support))
    return episode._replace(support=shuffled), dealt[:, :ways].to(episode.support.targets.device)


def codes(targets: Tensor, places: Tensor, count: int) -> Tensor:
    """One-hot codes of the examples' places: (S, C), (C,) → (S, count)."""
    table = torch.zeros(len(places), count, dtype=targets.dtype, device=targets.device)
    return targets @ table.scatter(1, places[:, None], 1)
