"""Who takes part in a comparison: every model of a folder, and the transfer baselines on their encoders."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from meta_core import checkpoint
from meta_core.errors import InvalidCheckpoint, InvalidOptions, MetaCoreError, UnknownName
from meta_core.frozen import frozen
from meta_core.learner import Learner
from meta_core.preprocess import InputSpec
from meta_core.registry import LEARNERS

BASELINES = ("linear_probe", "cosine_classifier", "logistic", "r2d2", "fine_tuning")
"""Learners that need no meta-training of their own: they adapt whatever network was trained before."""


_LARGEST_TUNED = 3 * 84 * 84
"""Numbers in a picture, up to which whole networks are tuned."""


@dataclass(frozen=True, eq=False)
class Contestant:
    """A learner to be compared.

    Attributes:
        name: of the model, or of the baseline and the model whose encoder it stands on.
        kind: the learner's registered name.
        learner: in `eval` mode, on the CPU, its parameters without gradient.
        spec: of its input.
        shipped: whether it is a model's folder, which can be served as it is.
    """

    name: str
    kind: str
    learner: Learner
    spec: InputSpec
    shipped: bool = True


@dataclass(frozen=True)
class Unfit:
    """Something that was to take part and cannot."""

    name: str
    kind: str
    reason: str


def gather(
    folder: Path, *, only: Sequence[str] = (), default: str | None = None
) -> tuple[list[Contestant], list[Unfit]]:
    """The models of a folder, the baselines on their encoders, and what could not be loaded.

    A baseline stands on each encoder that differs from the others; where no model has one (all adapt their whole
    network), on the default model's network.

    Args:
        folder: of model folders.
        only: names of the models to take; all where none is given.
        default: name of the model that the service takes by default; the first by name where not given.

    Raises:
        UnknownName: none of the models has a name of `only`.
        InvalidCheckpoint: there is no model, or none can be loaded.
    """
    models, unfit = _models(_folders(folder, only))
    if not models:
        reasons = "; ".join(each.reason for each in unfit) or "expected folders that `kshot train` wrote"
        raise InvalidCheckpoint(f"{folder} holds no model that can be loaded: {reasons}")
    bases = _distinct([model for model in models if model.learner.encodes])
    if not bases:
        bases = [next((model for model in models if model.name == default), models[0])]
    baselines: list[Contestant] = []
    for base in bases:
        baselines += [
            Contestant(f"frozen {base.name}, {name}", name, head, base.spec, shipped=False)
            for name, head in frozen(base.learner.backbone).items()
        ]
        for kind in BASELINES:
            if kind not in LEARNERS.names() or kind == base.kind:
                continue
            try:
                baselines.append(_quick_enough(_baseline(kind, base)))
            except (MetaCoreError, RuntimeError) as error:
                unfit.append(Unfit(f"{kind} on {base.name}", kind, str(error)))
    return models + baselines, unfit


def _quick_enough(contestant: Contestant) -> Contestant:
    """Refuse to tune whole networks for large pictures.

    Raises:
        InvalidOptions: an episode would take minutes on a CPU.
    """
    spec = contestant.spec
    if not contestant.learner.encodes and math.prod(spec.shape) > _LARGEST_TUNED:
        raise InvalidOptions(
            f"tuning a whole network for {spec.width}×{spec.height} px takes minutes an episode on a CPU"
        )
    return contestant


def _folders(folder: Path, only: Sequence[str]) -> list[Path]:
    found = sorted(path for path in (folder.iterdir() if folder.is_dir() else ()) if path.is_dir())
    # `kshot train` keeps a run's logs beside the model's folder.
    found = [path for path in found if not path.name.startswith(".") and path.suffix != ".run"]
    if missing := sorted(set(only) - {path.name for path in found}):
        there = ", ".join(path.name for path in found) or "none"
        raise UnknownName(f"{folder} has no model {', '.join(missing)}; it has: {there}")
    return [path for path in found if not only or path.name in only]


def _models(folders: Sequence[Path]) -> tuple[list[Contestant], list[Unfit]]:
    models, unfit = [], []
    for path in folders:
        try:
            model = checkpoint.load(path)
            found = Contestant(path.name, model.card.learner.name, model.learner, model.card.pictures)
        except MetaCoreError as error:
            unfit.append(Unfit(path.name, "?", str(error)))
        else:
            models.append(found)
    return models, unfit


def _distinct(models: Sequence[Contestant]) -> list[Contestant]:
    """One model an encoder; encoders are the same that take the same pictures and say the same of them."""
    by_answer = {fingerprint(model): model for model in reversed(models)}
    return [model for model in models if model in by_answer.values()]


@torch.no_grad()
def fingerprint(contestant: Contestant) -> tuple[InputSpec, bytes]:
    """What tells encoders apart: the input they take and their features of a few noise pictures, bit by bit."""
    noise = torch.randn(4, *contestant.spec.shape, generator=torch.Generator().manual_seed(0))
    return contestant.spec, contestant.learner.encode(noise).numpy().tobytes()


def _baseline(kind: str, base: Contestant) -> Contestant:
    learner: Learner = LEARNERS.build(kind, backbone=copy.deepcopy(base.learner.backbone))
    learner = learner.eval().requires_grad_(requires_grad=False)
    return Contestant(f"{kind} on {base.name}", kind, learner, base.spec, shipped=False)
