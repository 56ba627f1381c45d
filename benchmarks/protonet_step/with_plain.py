"""The step as the paper's authors compute it, in plain torch: one forward pass of support and query pictures together,
class means, squared distances, cross-entropy, Adam. The tasks lie ready; none is drawn."""

import torch
from torch import Tensor
from torch.nn import functional

from protonet_step.network import gradients_of, plain
from protonet_step.settings import SHOTS, WAYS, Settings, Task, Weights, builder, tasks_of


class Plain:
    """Snell et al. 2017, Algorithm 1.

    Args:
        settings: how.
        tensors: the initial weights and the tasks.
    """

    def __init__(self, settings: Settings, tensors: Weights) -> None:
        self._network, self._tasks = plain(settings, tensors), tasks_of(tensors, settings)
        self._optimizer, self._bf16 = (
            torch.optim.Adam(self._network.parameters(), lr=1e-3),
            settings.precision != "fp32",
        )
        self._number = 0

    def step(self) -> None:
        """As `stepping.worker.Contestant.step`."""
        self._optimizer.zero_grad()
        self._loss(self._tasks[self._number % len(self._tasks)]).backward()
        self._optimizer.step()
        self._number += 1

    def gradient(self) -> Weights:
        """Of the first task's loss; as `stepping.worker.Contestant.gradient`."""
        self._optimizer.zero_grad()
        self._loss(self._tasks[0]).backward()
        return gradients_of(self._network)

    def _loss(self, task: Task) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            features = self._network(torch.cat([task.support, task.query]))
        features = features.to(task.support.dtype)
        support, query = features[: len(task.support)], features[len(task.support) :]
        prototypes = support.view(WAYS, SHOTS, -1).mean(1)
        distances = (query[:, None] - prototypes[None]).square().sum(-1)
        return functional.cross_entropy(-distances, task.query_labels)


build = builder(Plain)
