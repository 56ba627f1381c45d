"""Tasks that can be learned in some dozens of steps, and that an untrained network does badly at."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from meta_core.asking import device_of
from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.learner import Learner

LIGHT, NOISE, SHIFT = 2.0, 0.3, 1 / 7


def pictures(classes: int, count: int, generator: torch.Generator, *, light: float = LIGHT) -> Tensor:
    """(classes · count, 1, 28, 28): a class is a smooth random shape, shifted in each picture, under random light.

    The light is stronger than the shape, so that raw distances compare light; a trained network sees through it.
    """
    n = classes * count
    coarse = torch.randn(classes, 1, 6, 6, generator=generator)
    shapes = F.pad(F.interpolate(coarse, size=(20, 20), mode="bicubic"), (4, 4, 4, 4)).repeat_interleave(count, dim=0)
    moves = torch.eye(2, 3).repeat(n, 1, 1)
    moves[:, :, 2] = (2 * torch.rand(n, 2, generator=generator) - 1) * SHIFT
    shifted = F.grid_sample(shapes, F.affine_grid(moves, [n, 1, 28, 28], align_corners=False), align_corners=False)
    corners = torch.randn(n, 1, 2, 2, generator=generator)
    shade = F.interpolate(corners, size=(28, 28), mode="bilinear", align_corners=True)
    return shifted + light * shade + NOISE * torch.randn(shifted.shape, generator=generator)


def sample(
    n_tasks: int,
    generator: torch.Generator,
    *,
    ways: int = 5,
    shots: int = 5,
    queries: int = 5,
    light: float = LIGHT,
) -> Episode:
    """A meta-batch of them."""
    drawn = pictures(n_tasks * ways, shots + queries, generator, light=light)
    inputs = drawn.view(n_tasks, ways, shots + queries, 1, 28, 28)
    one_hot = torch.eye(ways)
    return Episode(
        SupportSet(
            inputs[:, :, :shots].flatten(1, 2),
            one_hot.repeat_interleave(shots, dim=0).expand(n_tasks, -1, -1),
            torch.ones(n_tasks, ways * shots),
        ),
        QuerySet(inputs[:, :, shots:].flatten(1, 2), one_hot.repeat_interleave(queries, dim=0).expand(n_tasks, -1, -1)),
    )


@torch.no_grad()
def encoded_task(
    learner: Learner, shots: Sequence[int], generator: torch.Generator, *, queries: int = 7
) -> tuple[SupportSet, Tensor]:
    """One task's encoded support set, `shots[c]` examples of class c, and encoded queries, on the learner's device."""
    device, ways, most = device_of(learner), len(shots), max(shots)
    inputs = pictures(ways, most, generator).view(ways, most, 1, 28, 28)
    chosen = torch.cat([own[:count] for own, count in zip(inputs, shots, strict=True)])
    targets = torch.eye(ways).repeat_interleave(torch.tensor(shots), dim=0).to(device)
    support = SupportSet(learner.encode(chosen.to(device)), targets, torch.ones(len(targets)).to(device))
    return support, learner.encode(pictures(1, queries, generator).to(device))


def moved(episode: Episode, device: torch.device) -> Episode:
    """The meta-batch on another device."""
    return Episode(
        SupportSet(*(tensor.to(device) for tensor in episode.support)),
        QuerySet(*(tensor.to(device) for tensor in episode.query)),
    )
