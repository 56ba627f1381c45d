"""`easyfsl`, as its notebook on episodic training has it: `process_support_set`, the queries' scores, cross-entropy,
SGD with momentum. The tasks lie ready, because its own `TaskSampler` raises on today's torch; so its drawing is not
timed, while kshot's is.
"""

import torch
from easyfsl.methods import PrototypicalNetworks
from torch import Tensor
from torch.nn import functional

from protonet_step.network import plain
from protonet_step.settings import Settings, Task, Weights, builder, tasks_of


class Easyfsl:
    """The step in easyfsl's own terms.

    Args:
        settings: how.
        tensors: the initial weights and the tasks.
    """

    def __init__(self, settings: Settings, tensors: Weights) -> None:
        self._model = PrototypicalNetworks(plain(settings, tensors)).train()
        self._tasks, self._bf16 = tasks_of(tensors, settings), settings.precision != "fp32"
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-2, momentum=0.9, weight_decay=5e-4)
        self._number = 0

    def step(self) -> None:
        """As `stepping.worker.Contestant.step`."""
        task = self._tasks[self._number % len(self._tasks)]
        self._optimizer.zero_grad()
        functional.cross_entropy(self._scores(task), task.query_labels).backward()
        self._optimizer.step()
        self._number += 1

    def squared_distances(self) -> Weights:
        """Of the first task's queries by the untrained network's running statistics; the scores are their roots."""
        self._model.eval()
        with torch.no_grad():
            scores = self._scores(self._tasks[0])
        self._model.train()
        return {"squared": scores.square()}

    def _scores(self, task: Task) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            self._model.process_support_set(task.support, task.support_labels)
            scores: Tensor = self._model(task.query)
        return scores.to(task.support.dtype)


build = builder(Easyfsl)
