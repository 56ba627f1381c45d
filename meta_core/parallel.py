"""Tasks side by side on a CPU: threads that each own a copy of the learner's modules and compute with one core.

Where a task's pictures are few, its operations are too small to be shared by cores: whole tasks are shared instead.
"""

import copy
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from meta_core.learner import Learner

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Threads for one learner.

    Each has its own copy of the learner's modules, because `functional_call` swaps weights on the module that it is
    given; the parameters are the learner's own, so that a change of them is seen everywhere.

    Args:
        learner: on the CPU.
        count: threads.
    """

    def __init__(self, learner: Learner, *, count: int) -> None:
        self.count = count
        self._copies: queue.SimpleQueue[Learner] = queue.SimpleQueue()
        for _ in range(count):
            self._copies.put(replica(learner))
        self._learner = learner
        self._pool = ThreadPoolExecutor(count, "task", initializer=torch.set_num_threads, initargs=(1,))

    def map(self, call: Callable[[Learner, Item], Result], items: Sequence[Item]) -> list[Result]:
        """`call` of a learner and each item, in the items' order; the caller's grad mode holds in the threads."""
        grad, training = torch.is_grad_enabled(), self._learner.training

        def one(item: Item) -> Result:
            learner = self._copies.get()
            try:
                with torch.set_grad_enabled(grad):
                    return call(learner.train(training), item)
            finally:
                self._copies.put(learner)

        return list(self._pool.map(one, items))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def replica(learner: Learner) -> Learner:
    """A copy of the modules around the very same parameters and buffers."""
    shared = [*learner.parameters(), *learner.buffers()]
    return copy.deepcopy(learner, {id(tensor): tensor for tensor in shared})
