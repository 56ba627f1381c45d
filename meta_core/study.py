"""A folder of labelled pictures looked at as one support set: what a model makes of it."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from meta_core.asking import ask, device_of, encode_pictures
from meta_core.device import cores
from meta_core.episode import SupportSet
from meta_core.errors import InvalidDataset
from meta_core.intervals import mean_ci95
from meta_core.learner import AdaptOptions, Learner
from meta_core.leave_one_out import leave_one_out
from meta_core.parallel import Workers
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.report import Report, report

SHOTS = (1, 2, 3, 5, 10, 20, 50)
_DRAWS = 50
_PART = 100


@dataclass(frozen=True)
class ShotsRow:
    """Accuracy, percent, on the pictures that were not drawn as the `shots` of each label, over random draws."""

    shots: int
    accuracy: float
    ci95: float
    draws: int


@dataclass(frozen=True)
class Study:
    """What a model makes of a support set.

    Attributes:
        pictures: S, as the model takes them.
        features: (S, D).
        logits: leave-one-out logits (S, C); NaN where there is no answer; None where the learner was not asked.
        report: on the support set.
        curve: accuracy against shots.
    """

    pictures: Pictures
    features: Tensor
    logits: Tensor | None
    report: Report
    curve: tuple[ShotsRow, ...]

    @property
    def judged(self) -> Tensor:
        """Which examples were left out and answered, (S,) bool."""
        if self.logits is None:
            return torch.zeros(len(self.features), dtype=torch.bool)
        return ~self.logits.isnan().any(-1)


def study(
    learner: Learner,
    spec: InputSpec,
    pictures: Pictures,
    *,
    seconds: float = 60,
    seed: int = 0,
    advance: Callable[[str, int, int], None] = lambda *_: None,
) -> Study:
    """Encode every picture, leave each out in turn, and draw fewer shots at random.

    Args:
        learner: in `eval` mode.
        spec: of its input.
        pictures: of at least two classes, by `spec`.
        seconds: for leaving out, and as much again for drawing; what was begun is completed.
        seed: of the draws.
        advance: is told what is being done, how far it is and how far it goes.

    Raises:
        InvalidDataset: fewer than two classes.
    """
    if len(pictures.classes) < 2:
        raise InvalidDataset(f"{pictures.source} has {len(pictures.classes)} class; a report compares at least two")
    features = _encode(learner, spec, pictures.images, advance)
    support = SupportSet(features, torch.eye(len(pictures.classes))[pictures.labels], torch.ones(len(features)))
    advance("leaving each out", 0, 1)
    logits = _left_out(learner, support, seconds) if learner.encodes else None
    advance("leaving each out", 1, 1)
    return Study(
        pictures=pictures,
        features=features.flatten(1),
        logits=logits,
        report=report(support, logits=logits, hashes=_hashes(pictures.images), pictures=not learner.encodes),
        curve=_curve(learner, features, pictures, seconds=seconds, seed=seed, advance=advance),
    )


def shots_of(pictures: Pictures) -> Sequence[int]:
    """The numbers of shots that leave a picture of every class to be asked."""
    fewest = min(len(own) for own in pictures.by_class())
    return [shots for shots in SHOTS if shots < fewest]


def _encode(learner: Learner, spec: InputSpec, images: Tensor, advance: Callable[[str, int, int], None]) -> Tensor:
    parts = []
    for start in range(0, len(images), _PART):
        advance("encoding", start, len(images))
        parts.append(encode_pictures(learner, images[start : start + _PART], spec))
    advance("encoding", len(images), len(images))
    return torch.cat(parts)


def _left_out(learner: Learner, support: SupportSet, seconds: float) -> Tensor:
    device = device_of(learner)
    near = SupportSet(*(tensor.to(device) for tensor in support))
    return leave_one_out(learner, near, options=AdaptOptions(), seconds=seconds).cpu()


def _curve(
    learner: Learner,
    features: Tensor,
    pictures: Pictures,
    *,
    seconds: float,
    seed: int,
    advance: Callable[[str, int, int], None],
) -> tuple[ShotsRow, ...]:
    """A row for every number of shots that there was time for; where time is short, of fewer draws."""
    by_class, generator, rows = pictures.by_class(), torch.Generator().manual_seed(seed), []
    workers = None if learner.encodes or cores() == 1 else Workers(learner, count=cores())
    numbers, until = shots_of(pictures), time.perf_counter() + seconds
    for place, shots in enumerate(numbers):
        share = time.perf_counter() + (until - time.perf_counter()) / (len(numbers) - place)
        accuracies: list[float] = []
        while len(accuracies) < _DRAWS and (not accuracies or time.perf_counter() < share):
            advance("drawing fewer shots", place * _DRAWS + len(accuracies), len(numbers) * _DRAWS)
            orders = [own[torch.randperm(len(own), generator=generator)] for own in by_class]
            shown = torch.stack([own[:shots] for own in orders])
            asked = torch.cat([own[shots:] for own in orders])
            (logits,) = ask(learner, features.__getitem__, [shown], [asked], workers=workers)
            accuracies.append(float((logits.argmax(-1) == pictures.labels[asked]).double().mean()))
        mean, half = mean_ci95(torch.tensor(accuracies))
        rows.append(ShotsRow(shots, mean, half, len(accuracies)))
    if workers is not None:
        workers.close()
    advance("drawing fewer shots", len(numbers) * _DRAWS, len(numbers) * _DRAWS)
    return tuple(rows)


def _hashes(images: Tensor) -> list[bytes]:
    return [hashlib.sha256(picture.numpy().tobytes()).digest() for picture in images]
