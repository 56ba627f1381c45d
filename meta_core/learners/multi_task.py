"""The multi-task network: one that has learned all training classes together, fine-tuned on the support set."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from meta_core.episode import Episode, State, SupportSet
from meta_core.errors import InvalidRecipe
from meta_core.learner import AdaptOptions, Learner
from meta_core.learners import fine_tuning
from meta_core.learners.fine_tuning import FineTuning
from meta_core.objectives import cross_entropy


class MultiTask(Learner):
    """A plain classifier of all classes that training has, whose last layer gives way to one for the task at hand.

    The reference point that meta-learning is compared with: hard parameter sharing (Caruana 1997, "Multitask
    Learning"), in which any task of the training classes is answered by one trunk and by its classes' rows of one head.
    Differs from "Baseline" of Chen et al. 2019 ("A Closer Look at Few-shot Classification"), which leaves the trunk as
    it is in a new task: here all of it is fine-tuned.

    Training never adapts: the head for all classes is a part of the learner, and of its checkpoint, but of no state.

    Args:
        tuning: how a task is adapted to; its backbone is what is trained.
        features: D that the backbone makes.
        classes: of training, an output each, for tasks of `tasks/all_classes.py`. None for tasks that come with classes
            of their own and examples to fit a head to: such are trained on as `FineTuning` does.
    """

    encodes: ClassVar[bool] = False
    loops_on_cpu = True
    limits: ClassVar[dict[str, tuple[float, float]]] = FineTuning.limits

    def __init__(self, *, tuning: FineTuning, features: int, classes: int | None = None) -> None:
        super().__init__(backbone=tuning.backbone)
        self._tuning = (tuning,)  # in a tuple it is no submodule: a checkpoint would hold its backbone twice
        self.joint = None if classes is None else nn.Linear(features, classes)

    def encode(self, inputs: Tensor) -> Tensor:
        """The pictures themselves: nothing of the network is the same for two users."""
        return inputs

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Pictures (S, *input) → the state of `FineTuning`."""
        return self._tuning[0].adapt(support, options=options)

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Pictures (Q, *input) → (Q, C)."""
        return self._tuning[0].predict(state, query)

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:
        """The queries' cross-entropy among all classes of training, without adaptation; the support set goes unused.

        Raises:
            InvalidRecipe: the tasks are not of as many classes as the head.
        """
        self._check_classes(episode)
        if self.joint is None:
            return self._tuning[0].meta_loss(episode, generator=generator, progress=progress)
        return cross_entropy(self.joint(self.backbone(episode.query.inputs)), episode.query.targets)

    def _check_classes(self, episode: Episode) -> None:
        asked, examples = episode.query.targets.shape[1], len(episode.support.weights)
        known = examples > 0 if self.joint is None else self.joint.out_features == asked
        if not known:
            own = "none" if self.joint is None else f"{self.joint.out_features}"
            raise InvalidRecipe(
                f"the training tasks are of {asked} classes, and multi_task has a head for {own}: "
                f"set `classes = {asked}` in the options of [learner]"
            )


def build(
    *, backbone: nn.Module, features: int, classes: int | None = None, tuning: dict[str, Any] | None = None
) -> MultiTask:
    """A multi-task network on `backbone`; `tuning` are the options of `fine_tuning`."""
    tuned = fine_tuning.build(backbone=backbone, **(tuning or {}))
    return MultiTask(tuning=tuned, features=features, classes=classes)
