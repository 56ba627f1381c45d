"""Support sets of encoded examples, also hard ones, for the tests of heads."""

import torch
from torch import Tensor

from meta_core.episode import SupportSet
from meta_core.learner import AdaptOptions

OPTIONS = AdaptOptions()


def support_set(features: Tensor, labels: list[int]) -> SupportSet:
    targets = torch.eye(1 + max(labels), dtype=features.dtype)[torch.tensor(labels)]
    return SupportSet(features, targets, torch.ones(len(labels), dtype=features.dtype))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def one_beside_fifty() -> SupportSet:
    """Class 0 is one example at 40° of the circle, class 1 fifty between −35° and 35°."""
    degrees = torch.cat([torch.tensor([40.0]), torch.linspace(-35, 35, 50)])
    return support_set(torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], 1), [0] + [1] * 50)


HARD: dict[str, SupportSet] = {
    "contradictory labels on one picture": support_set(torch.full((6, 8), 0.7), [0, 1, 2, 0, 1, 2]),
    "features that are 0": support_set(torch.zeros(6, 8), [0, 1, 2, 0, 1, 2]),
    "some features that are 0": support_set(torch.cat([torch.zeros(2, 8), torch.ones(4, 8)]), [0, 1, 2, 0, 1, 2]),
    "features of 1e4": support_set(1e4 * random(6, 8).float(), [0, 1, 2, 0, 1, 2]),
    "features of 1e-4": support_set(1e-4 * random(6, 8).float(), [0, 1, 2, 0, 1, 2]),
    "two pictures of 1e4 under all labels": support_set(1e4 * random(2, 8).float().repeat(3, 1), [0, 0, 1, 1, 2, 2]),
    "an offset of 1e4": support_set(1e4 + random(6, 8).float(), [0, 1, 2, 0, 1, 2]),
    "a hundred ways": support_set(random(100, 8).float(), list(range(100))),
    "one beside fifty": one_beside_fifty(),
}
