"""The learner: three verbs. `encode` is the same for every user; `adapt` and `predict` are one user's."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from meta_core.episode import Episode, State, SupportSet, tasks_of
from meta_core.errors import InvalidOptions
from meta_core.objectives import Objective, query_loss


@dataclass(frozen=True)
class AdaptOptions:
    """What a request may change about adaptation; `None` leaves the learner's own value. Equal options batch.

    Attributes:
        steps: of the inner loop.
        rate: factor on the learner's own inner learning rates.
    """

    steps: int | None = None
    rate: float | None = None

    def given(self) -> dict[str, float]:
        """The options that were set, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Learner(nn.Module, ABC):
    """A few-shot learner around a backbone.

    `adapt` and `predict` are pure: they change neither the module nor their arguments, and take one task, so that
    `batching` may stack tasks with `torch.vmap`. A subclass's file also offers `build(*, backbone, **options)`.

    Args:
        backbone: (N, *input) → (N, *features).
    """

    order_matters: ClassVar[bool] = False
    """True for a learner whose answer may depend on the order of the support set; it opts out of that law by name."""
    fixed_ways: ClassVar[bool] = False
    """True for a head bound to the ways and the class order it was trained with."""
    most_ways: int | None = None
    """The most classes it can tell apart, where it has an output for each; None for any number."""
    vectorized: ClassVar[bool] = True
    """False where adapting tasks one by one is faster than `torch.vmap`, or where it has no batching rule."""
    loops_on_cpu: bool = False
    """True where `torch.vmap` pays on a GPU alone: convolutions with each task's own weights are slow on a CPU."""
    encodes: ClassVar[bool] = True
    """False where `encode` is the identity, so that an encoded example is the user's picture itself."""
    rotation_invariant: ClassVar[bool] = False
    """True where rotating all features, examples' and queries' alike, changes no answer: inner products alone count."""
    steps_to_learn: ClassVar[int] = 40
    """Meta-training steps on the contract test's tasks after which accuracy is clearly above chance."""
    network_answers: ClassVar[bool] = False
    """True where what the backbone gives are the answers, so that it has an output for each class or number."""
    objective: Objective = "cross_entropy"
    """`squared_error` for one that was built to answer with numbers."""
    limits: ClassVar[dict[str, tuple[float, float]]] = {}
    """The options a request may set, each with its smallest and largest value."""

    def __init__(self, *, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def encode(self, inputs: Tensor) -> Tensor:
        """(N, *input) → (N, *features). In `eval` mode a row depends on its own input alone."""
        features: Tensor = self.backbone(inputs)
        return features

    @abstractmethod
    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Adapt to one task's encoded examples.

        Raises:
            InvalidSupportSet: a class has no example, or there are more than `most_ways`.
        """

    @abstractmethod
    def predict(self, state: State, query: Tensor) -> Tensor:
        """Logits (Q, C) of encoded queries (Q, *features), each independent of the others."""

    def leave_one_out(
        self,
        support: SupportSet,  # noqa: ARG002
        *,
        options: AdaptOptions,  # noqa: ARG002
    ) -> Iterator[tuple[Tensor, Tensor]] | None:
        """A shorter way to what `meta_core/leave_one_out.py` otherwise adapts once for every example for.

        Yields positions of examples (P,) and their logits (P, C), each by a state adapted to all examples but that
        one, piece by piece, so that whoever asks may stop; rows of examples without a classmate are ignored. None
        where the learner has no such way.
        """
        return None

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """What meta-training minimizes for one encoded task → (): by default the objective over the queries.

        Args:
            episode: one task, its inputs encoded.
            generator: source of the noise that a learner may want.
            progress: 0 at the first step of training, 1 at the last.
        """
        state = self.adapt(episode.support, options=AdaptOptions())
        return query_loss(self.objective, self.predict(state, episode.query.inputs), episode.query.targets)

    def meta_losses(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:
        """`meta_loss` of each task of an encoded meta-batch → (T,), one after the other.

        A learner of many small operations overrides it to take all tasks at once.
        """
        losses = [self.meta_loss(task, generator=generator, progress=progress) for task in tasks_of(episode)]
        return torch.stack(losses)

    def check_options(self, options: AdaptOptions) -> None:
        """Refuse options that this learner does not have or that lie outside its limits.

        Raises:
            InvalidOptions: names the option, what came and what is allowed.
        """
        for name, value in options.given().items():
            if name not in self.limits:
                allowed = ", ".join(sorted(self.limits)) or "none"
                raise InvalidOptions(f"this learner has no adaptation option {name!r}; it has: {allowed}")
            low, high = self.limits[name]
            if not low <= value <= high:
                raise InvalidOptions(f"adaptation option {name!r} is {value}; expected {low} to {high}")
