"""TorchOpt, as its own example `maml_omniglot.py` has it: `MetaSGD` on the module, put back after each task."""

import torch
import torchopt
from torch import Tensor
from torch.nn import functional

from maml_step.network import gradients_of, plain
from maml_step.settings import INNER_RATE, Settings, Tasks, Weights, builder


class TorchOpt:
    """The step in TorchOpt's object-oriented terms.

    Args:
        settings: `backward` may be `once`, as in the example, or `each`.
        weights: the start.
        tasks: the meta-batch.
    """

    def __init__(self, settings: Settings, weights: Weights, tasks: Tasks) -> None:
        self._once, self._tasks = settings.backward == "once", tasks
        self._network = plain(settings, weights).train()
        self._parameters = list(self._network.parameters())  # the inner loop puts others in the module
        self._inner = torchopt.MetaSGD(self._network, lr=INNER_RATE)

    def step(self) -> None:
        """As `stepping.worker.Contestant.step`."""
        for parameter in self._parameters:
            parameter.grad = None
        start = torchopt.extract_state_dict(self._network, by="reference", detach_buffers=True)
        inner_start = torchopt.extract_state_dict(self._inner, by="reference")
        losses = []
        for support, support_labels, query, query_labels in zip(*self._tasks, strict=True):
            loss = self._task_loss(support, support_labels, query, query_labels) / len(self._tasks.query)
            if self._once:
                losses.append(loss)
            else:
                loss.backward()
            torchopt.recover_state_dict(self._network, start)
            torchopt.recover_state_dict(self._inner, inner_start)
        if losses:
            torch.stack(losses).sum().backward()

    def gradient(self) -> Weights:
        """As `stepping.worker.Contestant.gradient`."""
        return gradients_of(self._network)

    def _task_loss(self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor) -> Tensor:
        self._inner.step(functional.cross_entropy(self._network(support), support_labels))
        return functional.cross_entropy(self._network(query), query_labels)


build = builder(TorchOpt)
