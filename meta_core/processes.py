"""One training on several devices: a process each, which works on its share of every step's tasks."""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException, spawn

from meta_core.allocator import keep_freed_memory
from meta_core.device import cores
from meta_core.errors import InvalidDevices, MetaCoreError, ProcessLost
from meta_core.norms import flat_statistics, join_statistics, statistics_kept

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

_LOOPBACK = "127.0.0.1"
_PATIENCE = timedelta(days=1)
"""That processes wait for one another: while the first one measures, the others do."""


@dataclass(frozen=True)
class Team:
    """The processes of one training, as one of them sees them; alone, if not told otherwise.

    All draw the same tasks from the same generator, each works on its slice of them, and the gradients are added up:
    the weights stay the same in all, and are those of one process, to rounding.

    Attributes:
        rank: of this process; the first, 0, also talks, measures and writes.
        count: of all processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def describe(self, device: str) -> str:
        """On what they train, in words."""
        kind = device.partition(":")[0]
        return device if self.count == 1 else f"{self.count} × {kind}"

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The others enter when the first one has left: what it downloads, they find."""
        if not self.leads:
            dist.barrier()
        yield
        if self.leads and self.count > 1:
            dist.barrier()

    def share(self, tasks: int) -> tuple[int, int]:
        """Which of a step's tasks are this process's: from, up to."""
        return tasks * self.rank // self.count, tasks * (self.rank + 1) // self.count

    def least(self, number: int) -> int:
        """The least of all processes' numbers."""
        if self.count == 1:
            return number
        numbers = [number] * self.count
        dist.all_gather_object(numbers, number)
        return min(numbers)

    def noise(self, generator: torch.Generator) -> torch.Generator:
        """What this process draws a step's noise from: the tasks' generator if it is alone.

        Of several, each has its own, made of the state that the tasks' generator is in, which is left as it is, so that
        the next tasks are the same everywhere. torch's own generator, which dropout draws from, is set alike.
        """
        if self.count == 1:
            return generator
        own = generator.clone_state()
        seed = int(torch.randint(2**62, (), generator=own)) + self.rank
        torch.manual_seed(seed)
        return own.manual_seed(seed)

    def add_up(self, module: nn.Module, loss: float, *, tasks: int) -> float:
        """Make each process's mean gradient of its share that of all `tasks`, in place; the same of the loss."""
        if self.count == 1:
            return loss
        start, stop = self.share(tasks)
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), gradients[0].new_tensor([loss])])
        flat *= (stop - start) / tasks
        dist.all_reduce(flat)
        *parts, total = torch.split(flat, [*(gradient.numel() for gradient in gradients), 1])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))
        return float(total)

    @contextmanager
    def joined_statistics(self, module: nn.Module) -> Iterator[None]:
        """After the block batch norms have seen every process's batches, as if they had come one after the other."""
        layers = statistics_kept(module) if self.count > 1 else []
        if not layers:
            yield
            return
        before = flat_statistics(layers)
        yield
        own = flat_statistics(layers)
        everyones = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(everyones, own)
        join_statistics(layers, before, everyones)


Part: TypeAlias = Callable[[Team, str], None]
"""What each process does, given its team and its device; to be pickled."""


def check_devices(count: int, *, device: str, tasks: int) -> None:
    """Whether a step's tasks can be shared by so many processes, and each has a device.

    Raises:
        InvalidDevices: no.
    """
    if count < 1:
        raise InvalidDevices(f"{count} devices were asked for; expected 1 or more")
    if count > tasks:
        raise InvalidDevices(
            f"the recipe has {tasks} {'task' if tasks == 1 else 'tasks'} a step (optimizer.tasks_per_step), which "
            f"{count} devices cannot share: a task is worked on by one. Ask for --devices {tasks} at most, or give the "
            f"recipe {count} tasks or more a step"
        )
    if device.startswith("cuda") and count > torch.cuda.device_count():
        raise InvalidDevices(
            f"{count} GPUs were asked for and there are {torch.cuda.device_count()}; ask for no more with --devices, "
            "or for processes on the CPU with --device cpu"
        )


def launch(part: Part, *, count: int, device: str) -> None:
    """Have `count` new processes of this machine do `part`, and wait until all are done.

    They meet over loopback. On a CPU they share its cores. When one fails, the others are ended.

    Raises:
        ProcessLost: one died, as where memory is short.
        MetaCoreError: what one of them raised.
    """
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # each process that it ends, by number
    told: SimpleQueue[MetaCoreError] = torch.multiprocessing.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="kshot-") as folder:
        try:
            spawn(_work, args=(part, count, device, Path(folder) / "meeting", told), nprocs=count)  # type: ignore[no-untyped-call]
        except ProcessException as error:
            if not told.empty():
                raise told.get() from error
            if isinstance(error, ProcessExitedException):
                raise ProcessLost(
                    f"process {error.error_index + 1} of {count} ended ({error.signal_name or error.exit_code}), as it "
                    "would where memory is short; the run goes on from its last look with --resume"
                ) from error
            raise


def _work(rank: int, part: Part, count: int, device: str, meeting: Path, told: "SimpleQueue[MetaCoreError]") -> None:
    keep_freed_memory()
    on_cpu = device == "cpu"
    if on_cpu:
        torch.set_num_threads(max(1, cores() // count))
    else:
        device = f"cuda:{rank}"
        torch.cuda.set_device(rank)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
    dist.init_process_group(
        "gloo" if on_cpu else "nccl",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=count,
        timeout=_PATIENCE,
        device_id=None if on_cpu else torch.device(device),
    )
    try:
        part(Team(rank, count), device)
    except MetaCoreError as error:
        told.put(error)
        raise
    dist.destroy_process_group()


def _loopback() -> str:
    """The name of the interface that only this machine reaches; gloo would take that of the host's name."""
    interfaces: dict[str, list[Any]] = psutil.net_if_addrs()
    return next(name for name, each in interfaces.items() if any(one.address == _LOOPBACK for one in each))
