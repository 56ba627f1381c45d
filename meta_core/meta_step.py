"""One meta-batch's gradient, in chunks of tasks that fit the memory, and what that takes."""

import weakref
from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from meta_core.batching import encode_episode
from meta_core.device import free_bytes
from meta_core.episode import Episode, QuerySet, SupportSet, tasks_of
from meta_core.learner import Learner
from meta_core.norms import normalizes_batches
from meta_core.parallel import Workers

_SHARE = 0.5
"""Of the free memory: the rest is for gradients, optimizer, workspaces and other people."""


class ChunkPlan(NamedTuple):
    """How a meta-batch is cut.

    Attributes:
        tasks: of a chunk, whose graph is in memory at once.
        task_bytes: that one task's graph takes.
        free: bytes of the device's memory.
    """

    tasks: int
    task_bytes: int
    free: int

    def describe(self, *, of: int) -> str:
        """One line for whoever is about to wait."""
        whole, chunk = self.task_bytes * of, self.task_bytes * self.tasks
        return (
            f"a task's graph takes {_mib(self.task_bytes)}, a step's {of} would take {_mib(whole)}; "
            f"{_mib(self.free)} is free: {self.tasks} at a time, {_mib(chunk)}"
        )


def plan_chunk(
    learner: Learner, episode: Episode, *, precision: str, workers: Workers | None, sharers: int = 1
) -> ChunkPlan:
    """Measure what one task's meta-gradient keeps in memory and choose how many tasks fit.

    Args:
        learner: as it will be trained; it is not changed.
        episode: a meta-batch of the kind to come.
        precision: of the encoder's forward pass.
        workers: threads that take a task each, or None.
        sharers: processes that do the same in the same memory.
    """
    device = episode.support.inputs.device
    task_bytes = max(1, graph_bytes(learner, chunk_of(episode, 0, 1), precision=precision))
    free = free_bytes(device) // sharers
    fitting, tasks = max(1, int(_SHARE * free / task_bytes)), len(episode.support.weights)
    if workers is not None:  # each thread is done with a task's graph before it begins the next
        return ChunkPlan(min(workers.count, tasks), task_bytes, free)
    return ChunkPlan(min(tasks, fitting), task_bytes, free)


def graph_bytes(learner: Learner, episode: Episode, *, precision: str) -> int:
    """Bytes that autograd holds at most at once for one meta-batch's gradient, parameters aside."""
    ledger = _Ledger({tensor.untyped_storage().data_ptr() for tensor in learner.parameters()})
    buffers = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(ledger.enter, lambda kept: kept.tensor):
        # Progress 1: where the order is annealed, the second is at the end, and takes the most.
        losses = _losses(
            learner, episode, precision=precision, generator=torch.Generator(), progress=1.0, stacked=False
        )
        del losses
    for name, buffer in learner.named_buffers():
        buffer.data.copy_(buffers[name])
    return ledger.most


class _Ledger:
    """Counts the storages that autograd keeps, each once, until the last of its keepers lets go.

    Args:
        not_counted: addresses of storages that are there anyway.
    """

    def __init__(self, not_counted: set[int]) -> None:
        self._not_counted = not_counted
        self._keepers: Counter[int] = Counter()
        self._now = 0
        self.most = 0

    def enter(self, tensor: Tensor) -> "_Kept":
        """A tensor is saved; what is returned leaves the ledger when it is dropped."""
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), 0 if storage.data_ptr() in self._not_counted else storage.nbytes()
        self._now += 0 if self._keepers[address] else size
        self._keepers[address] += 1
        self.most = max(self.most, self._now)
        kept = _Kept(tensor)
        weakref.finalize(kept, self._leave, address, size)
        return kept

    def _leave(self, address: int, size: int) -> None:
        self._keepers[address] -= 1
        self._now -= 0 if self._keepers[address] else size


class _Kept:
    """A saved tensor that can be watched; tensors themselves are handed out anew."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def meta_gradient(
    learner: Learner,
    episode: Episode,
    *,
    chunk: int,
    precision: str,
    generator: torch.Generator,
    progress: float,
    workers: Workers | None = None,
) -> float:
    """Set every parameter's `grad` to that of the tasks' mean meta-loss, and return the loss.

    Args:
        learner: in training mode.
        episode: a meta-batch.
        chunk: tasks whose graph is in memory at once. Batch norm's statistics are of one chunk.
        precision: of the encoder's forward pass.
        generator: for learners that want noise.
        progress: as for `Learner.meta_loss`.
        workers: threads that take a task each. The sum is taken in the tasks' order, so that it does not depend on
            which thread was faster.
    """
    tasks = len(episode.support.weights)
    learner.zero_grad()
    if workers is None:
        total = 0.0
        for start in range(0, tasks, chunk):
            part = chunk_of(episode, start, start + chunk)
            losses = _losses(learner, part, precision=precision, generator=generator, progress=progress)
            loss = losses.sum() / tasks
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    def one(own: Learner, task: Episode) -> tuple[float, list[Tensor]]:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = own.meta_loss(task, generator=generator, progress=progress)
        wanted = [parameter for parameter in own.parameters() if parameter.requires_grad]
        return loss.item(), list(torch.autograd.grad(loss, wanted, materialize_grads=True))

    done = workers.map(one, list(tasks_of(episode)))
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    for position, parameter in enumerate(trained):
        parameter.grad = torch.stack([gradients[position] for _, gradients in done]).mean(0)
    return sum(loss for loss, _ in done) / tasks


def chunk_of(episode: Episode, start: int, stop: int) -> Episode:
    """Tasks `start` to `stop` of a meta-batch."""
    return Episode(
        SupportSet(*(tensor[start:stop] for tensor in episode.support)),
        QuerySet(*(tensor[start:stop] for tensor in episode.query)),
    )


def vmaps_tasks(learner: Learner, device: torch.device) -> bool:
    """Whether a chunk's tasks are adapted as one stack by `torch.vmap`, which pays for per-task weights.

    On a CPU it does where the learner has no convolutions to stack (`loops_on_cpu`).

    Not where an affine batch norm on batch statistics, layer norm or instance norm is inside: their second-order
    gradient under `torch.vmap` is silently wrong, while the loss and the first-order gradient are exact.
    """
    wrong = (nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)
    risky = normalizes_batches(learner) or any(isinstance(module, wrong) for module in learner.modules())
    pays = device.type != "cpu" or not learner.loops_on_cpu
    return learner.vectorized and not learner.encodes and pays and not risky


def _losses(
    learner: Learner,
    episode: Episode,
    *,
    precision: str,
    generator: torch.Generator,
    progress: float,
    stacked: bool = True,
) -> Tensor:
    """(T,); where not `stacked`, one by one, as `torch.func` knows nothing of hooks on saved tensors."""
    encoded = encode_episode(learner, episode, precision=precision)
    if stacked and vmaps_tasks(learner, encoded.support.inputs.device):
        return torch.vmap(lambda task: learner.meta_loss(task, generator=generator, progress=progress))(encoded)
    return learner.meta_losses(encoded, generator=generator, progress=progress)


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
