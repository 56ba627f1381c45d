"""A training run's changing parts, and the one file that it resumes from."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from meta_core.errors import InvalidRecipe
from meta_core.learner import Learner
from meta_core.recipe import Recipe


@dataclass(frozen=True)
class Look:
    """What was seen at one validation: the mean loss since the one before, and the score.

    A score is what the best weights have the most of: accuracy, percent, or minus the squared error of a regression.
    """

    step: int
    loss: float
    score: float


@dataclass
class Run:
    """Everything that changes while training: what a resumed run needs to go on to the same weights."""

    learner: Learner
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    origin: str | None = None
    step: int = 0
    seconds: float = 0.0
    chunk: int | None = None
    best_score: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)


def save_run(run: Run, recipe: Recipe, path: Path) -> None:
    """Write `path` in one step: an interruption leaves the last whole file."""
    state = {
        "recipe": recipe.model_dump_json(),
        "learner": run.learner.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "generator": run.generator.get_state(),
        "torch_generator": torch.get_rng_state(),
        "progress": [run.step, run.seconds, run.best_score],
        "chunk": run.chunk,
        "best": run.best,
        "looks": [asdict(look) for look in run.looks],
    }
    draft = path.with_suffix(".tmp")
    torch.save(state, draft)
    draft.replace(path)


def restore_run(run: Run, recipe: Recipe, path: Path) -> None:
    """Set `run`, freshly started, to where `path` was written.

    Raises:
        InvalidRecipe: the file is of another recipe.
    """
    state = torch.load(path, weights_only=True)
    if state["recipe"] != recipe.model_dump_json():
        raise InvalidRecipe(
            f"{path} is of another recipe than this one; train without --resume, or into another folder"
        )
    run.learner.load_state_dict(state["learner"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.generator.set_state(state["generator"])
    torch.set_rng_state(state["torch_generator"])
    run.step, run.seconds, run.best_score = state["progress"]
    run.chunk = state["chunk"]  # not chosen anew: batch norm's statistics are of a chunk
    run.best = state["best"]
    run.looks = [Look(**look) for look in state["looks"]]
