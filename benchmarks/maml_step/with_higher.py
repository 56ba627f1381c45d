"""`higher`, as its own example `maml-omniglot.py` has it: one `innerloop_ctx` and one `backward` a task."""

import higher
import torch
from torch import Tensor
from torch.nn import functional

from maml_step.network import gradients_of, plain
from maml_step.settings import INNER_RATE, Settings, Tasks, Weights, builder


class Higher:
    """The step in higher's own terms.

    Args:
        settings: `backward` may also be `once`, of all tasks' mean loss.
        weights: the start.
        tasks: the meta-batch.
    """

    def __init__(self, settings: Settings, weights: Weights, tasks: Tasks) -> None:
        self._once, self._tasks = settings.backward == "once", tasks
        self._network = plain(settings, weights).train()
        self._inner = torch.optim.SGD(self._network.parameters(), lr=INNER_RATE)

    def step(self) -> None:
        """As `stepping.worker.Contestant.step`."""
        self._network.zero_grad()
        losses = []
        for support, support_labels, query, query_labels in zip(*self._tasks, strict=True):
            loss = self._task_loss(support, support_labels, query, query_labels) / len(self._tasks.query)
            if self._once:
                losses.append(loss)
            else:
                loss.backward()
        if losses:
            torch.stack(losses).sum().backward()

    def gradient(self) -> Weights:
        """As `stepping.worker.Contestant.gradient`."""
        return gradients_of(self._network)

    def _task_loss(self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor) -> Tensor:
        with higher.innerloop_ctx(self._network, self._inner, copy_initial_weights=False) as (network, inner):
            inner.step(functional.cross_entropy(network(support), support_labels))
            loss: Tensor = functional.cross_entropy(network(query), query_labels)
        return loss


build = builder(Higher)
