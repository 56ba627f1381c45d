"""kshot: the trainer's own `meta_gradient` over `Workers`, and MAML's inner loop from a head of given rows.

`MAML` itself starts from equal rows, for which the first inner step moves the head alone; the papers' network, and so
everybody here, starts from ordinary rows and moves every layer.
"""

import torch
from torch import Tensor, nn

from maml_step.settings import INNER_RATE, SIDE, WAYS, WIDTH, Settings, Tasks, Weights, builder
from meta_core import heads
from meta_core.backbones import conv4
from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.inner_loop import balanced_cross_entropy, descend, gradient
from meta_core.learners.maml import MAML
from meta_core.meta_step import meta_gradient
from meta_core.objectives import cross_entropy
from meta_core.parallel import Workers
from meta_core.quick_layers import quicken


class GivenRows(MAML):
    """MAML of one inner step whose head has a learned row for each class, as Finn et al. 2017 have it.

    Args:
        backbone: (N, *input) → (N, D).
        weight: the head's rows at the start (C, D).
        bias: (C,)
    """

    def __init__(self, *, backbone: nn.Module, weight: Tensor, bias: Tensor) -> None:
        super().__init__(backbone=backbone, steps=1, rate=INNER_RATE, head_rate=INNER_RATE, rates="fixed")
        self.head = nn.ParameterDict({"weight": nn.Parameter(weight), "bias": nn.Parameter(bias)})

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """The queries' cross-entropy after a step on the support set (Algorithm 2), to second order."""

        def support_loss(at: Weights) -> Tensor:
            return balanced_cross_entropy(self._logits(at, episode.support.inputs), episode.support)

        weights = dict(self.backbone.named_parameters()) | {f"head.{name}": row for name, row in self.head.items()}
        direction = gradient(support_loss, weights, second_order=True, vmapped=False)
        moved = descend(weights, direction, self.rates.at(0))
        return cross_entropy(self._logits(moved, episode.query.inputs), episode.query.targets)


class Kshot:
    """The step as the trainer takes it.

    Args:
        settings: `threads` tasks at once.
        weights: the start.
        tasks: the meta-batch.
    """

    def __init__(self, settings: Settings, weights: Weights, tasks: Tasks) -> None:
        torch.set_num_threads(1)
        self._episode, self._precision = _episode(tasks), settings.precision
        self._learner = _learner(settings, weights)
        self._workers = Workers(self._learner, count=settings.threads)

    def step(self) -> None:
        """As `stepping.worker.Contestant.step`."""
        meta_gradient(
            self._learner,
            self._episode,
            chunk=len(self._episode.query.inputs),
            precision=self._precision,
            generator=torch.Generator(),
            progress=1.0,
            workers=self._workers,
        )

    def gradient(self) -> Weights:
        """As `stepping.worker.Contestant.gradient`."""
        named = self._learner.named_parameters()
        return {name.removeprefix("backbone."): weight.grad for name, weight in named if weight.grad is not None}

    def close(self) -> None:
        """End the threads."""
        self._workers.close()


def _learner(settings: Settings, weights: Weights) -> GivenRows:
    backbone = conv4.build(
        input_shape=(1, SIDE, SIDE), width=WIDTH, norm="batch" if settings.norm == "batch" else "group"
    )
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):  # nobody would read them, and threads would write them at once
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    for name, parameter in backbone.named_parameters():
        parameter.data.copy_(weights[name])
    if settings.layers == "quick":
        quicken(backbone)
    learner = GivenRows(backbone=backbone, weight=weights[heads.WEIGHT], bias=weights[heads.BIAS])
    learner = learner.to(settings.torch_dtype).train()
    learner.rates.table.fill_(INNER_RATE)  # 0.4 in float32 is not the 0.4 of float64
    return learner if settings.layout == "nchw" else learner.to(memory_format=torch.channels_last)


def _episode(tasks: Tasks) -> Episode:
    dtype = tasks.support.dtype

    def one_hot(labels: Tensor) -> Tensor:
        return nn.functional.one_hot(labels, WAYS).to(dtype)

    weights = torch.ones(tasks.support_labels.shape, dtype=dtype)
    return Episode(
        SupportSet(tasks.support, one_hot(tasks.support_labels), weights),
        QuerySet(tasks.query, one_hot(tasks.query_labels)),
    )


build = builder(Kshot)
