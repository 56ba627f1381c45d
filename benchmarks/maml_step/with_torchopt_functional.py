"""TorchOpt's functional interface: `torchopt.sgd` on a dict of weights and torch's own `functional_call`."""

import torch
import torchopt
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from maml_step.network import gradients_of, plain
from maml_step.settings import INNER_RATE, Settings, Tasks, Weights, builder


class FunctionalTorchOpt:
    """The step in TorchOpt's functional terms.

    Args:
        settings: `backward` may be `once` or `each`.
        weights: the start.
        tasks: the meta-batch.
    """

    def __init__(self, settings: Settings, weights: Weights, tasks: Tasks) -> None:
        self._once, self._tasks = settings.backward == "once", tasks
        self._network = plain(settings, weights).train()
        self._inner = torchopt.sgd(lr=INNER_RATE)

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
        names, weights = zip(*self._network.named_parameters(), strict=True)
        logits = functional_call(self._network, dict(zip(names, weights, strict=True)), (support,))
        loss = functional.cross_entropy(logits, support_labels)
        gradients = torch.autograd.grad(loss, weights, create_graph=True)
        updates, _ = self._inner.update(gradients, self._inner.init(weights), params=weights, inplace=False)
        moved = torchopt.apply_updates(weights, updates, inplace=False)
        logits = functional_call(self._network, dict(zip(names, moved, strict=True)), (query,))
        return functional.cross_entropy(logits, query_labels)


build = builder(FunctionalTorchOpt)
