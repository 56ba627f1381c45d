"""The batching engine: what waits is encoded together as soon as the device is free; one thread owns the device.

A second thread finishes long jobs, so that nobody waits behind them.
"""

import asyncio
import logging
import math
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from meta_core.episode import State
from meta_core.errors import MetaCoreError
from meta_core.learner import AdaptOptions
from service.admission import Admission, Knock, Lane
from service.encoded import EncodedCache, Recalled, keys_of
from service.errors import AdaptationFailed, DeadlineExceeded, DeviceLost, Overloaded, ServiceError
from service.metrics import Metrics
from service.pace import Pace
from service.scheduler import Job, Outcome, Scheduler, Slice
from service.served import ServedModel
from service.work import Done, finish_aside, work

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_LONG_NICENESS = 10
_FEW_BYTES = 2**20
"""Of pictures that are hashed or copied in a millisecond, sooner than another thread is woken."""


class Engine:
    """Runs jobs on one device.

    There is no fixed delay: a lone request is encoded at once, and batches form by themselves while the device is
    busy with the one before.

    Args:
        max_pictures: pictures of all admitted requests; past them a request is refused.
        max_waiting_seconds: a request of that lane that would wait longer is refused; none is if not given.
        max_seconds: a job that took longer is dropped.
        metrics: are told of every turn and job.
        encoded: pictures that were encoded before; none are kept if not given.
        on_lost: is called when the device failed for good.

    Attributes:
        encoded: as given.
        lost: why the device failed for good; None as long as it has not.
    """

    def __init__(
        self,
        *,
        max_pictures: int,
        max_seconds: float,
        max_waiting_seconds: Mapping[Lane, float] | None = None,
        metrics: Metrics | None = None,
        encoded: EncodedCache | None = None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._metrics, self._on_lost = metrics or Metrics(), on_lost
        self.encoded = EncodedCache(max_bytes=0) if encoded is None else encoded
        self._scheduler, self._arrived = Scheduler(), asyncio.Event()
        # One core: its operations are small, and a second thread of torch would spin while it waits for its part. A
        # thread that is new to torch takes over whatever number another thread set last: each sets its own.
        self._thread = ThreadPoolExecutor(1, "device", initializer=torch.set_num_threads, initargs=(1,))
        self._long = ThreadPoolExecutor(1, "long", initializer=_stand_back)
        self._aside: set[asyncio.Task[None]] = set()
        self._max_seconds = max_seconds
        bounds = max_waiting_seconds or dict.fromkeys(Lane, math.inf)
        self._admission = Admission(max_pictures=max_pictures, max_seconds=bounds)
        self._pace = Pace()
        self._worker: asyncio.Task[None] | None = None
        self.lost: str | None = None

    @property
    def admitted(self) -> int:
        """Pictures of all admitted requests."""
        return self._admission.pictures

    @property
    def waiting(self) -> int:
        """Jobs that wait for the device."""
        return len(self._scheduler)

    def start(self) -> None:
        """Begin to take jobs."""
        self._long.submit(int)  # a thread's first start is waited for: not in the midst of traffic
        self._worker = asyncio.create_task(self._run(), name="engine")

    async def stop(self) -> None:
        """Take no more jobs; those in line fail."""
        if self._worker is not None:
            for task in (self._worker, *self._aside):
                task.cancel()
            await asyncio.gather(self._worker, *self._aside, return_exceptions=True)
        self._thread.shutdown(wait=True)
        self._long.shutdown(wait=True, cancel_futures=True)

    @asynccontextmanager
    async def admit(
        self, pictures: int, *, lane: Lane = Lane.CREATE, knock: Knock | None = None
    ) -> AsyncIterator[None]:
        """Hold room for a request's pictures from before they are decoded until it is answered.

        Raises:
            Overloaded: there is none; says when to ask again.
            DeviceLost: there will be none.
        """
        if self.lost:
            raise DeviceLost("the device failed; the service is restarting", retry_after_seconds=10)
        async with self._admission.admit(lane, pictures, knock):
            yield

    def knock(self, lane: Lane) -> Knock:
        """Refuse a request of which only is known what it is for, or count it.

        Raises:
            Overloaded: too much is before it.
        """
        self._admission.check(lane)
        return self._admission.knock(lane)

    async def adapt(
        self,
        model: ServedModel,
        pictures: Tensor,
        targets: Tensor,
        *,
        options: AdaptOptions,
        kept: Tensor | None = None,
        tenant: str | None = None,
    ) -> Outcome:
        """Adapt to the first S pictures, (S, C) `targets`, and predict the rest, if any.

        Args:
            model: which one.
            pictures: (N, channels, H, W) uint8.
            targets: one-hot of the examples, those of `kept` first.
            options: of adaptation.
            kept: (K, *features) examples that were encoded before; they are not encoded again.
            tenant: whose pictures they are; what it sent before is not encoded again.

        Raises:
            InvalidSupportSet, InvalidOptions: what the learner says.
            DeadlineExceeded, DeviceLost, AdaptationFailed: the service could not.
        """
        job = _Asked(model, pictures, targets, None, options, kept)
        return await self._recalling(job, tenant)

    async def predict(
        self, model: ServedModel, pictures: Tensor, state: State, *, tenant: str | None = None
    ) -> Outcome:
        """Predict pictures by a state that was adapted before.

        Raises:
            DeadlineExceeded, DeviceLost, AdaptationFailed: the service could not.
        """
        return await self._recalling(_Asked(model, pictures, None, state, AdaptOptions(), None), tenant)

    async def _recalling(self, asked: "_Asked", tenant: str | None) -> Outcome:
        """Encode only what the tenant has not sent before."""
        if tenant is None or not self.encoded.max_bytes or not asked.model.learner.encodes or not len(asked.pictures):
            return await self._submit(asked)
        recalled = self.encoded.find(await _apart(asked, keys_of, tenant, asked.model, asked.pictures))
        before = 0 if asked.kept is None else len(asked.kept)
        if not recalled.known:
            outcome = await self._submit(asked)
        else:
            rest = await _apart(asked, _without, asked, recalled)
            outcome = await self._submit(rest, order=recalled.order(before=before))
        if recalled.rest:
            shown = [] if outcome.support_features is None else [outcome.support_features]
            features = torch.cat([*shown, outcome.query_features])[before:]
            self.encoded.put([recalled.keys[place] for place in recalled.rest], features[recalled.rest])
        return outcome

    async def _submit(self, asked: "_Asked", *, order: Tensor | None = None) -> Outcome:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        model, pictures, targets, state, options, kept = asked
        self._scheduler.add(Job(model, pictures, targets, state, options, future, kept, order))
        self._arrived.set()
        try:
            async with asyncio.timeout(self._max_seconds):
                return await future
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the request took over {self._max_seconds:g} s and was dropped; send fewer pictures or ask later",
                retry_after_seconds=5,
            ) from error

    async def _run(self) -> None:
        loop, slices = asyncio.get_running_loop(), list[Slice]()
        try:
            while True:
                await self._arrived.wait()
                slices = self._scheduler.next(self._pace.budget)
                if not slices:
                    self._arrived.clear()
                    continue
                began = time.perf_counter()
                self._metrics.began_turn(slices)
                try:
                    done, left = await loop.run_in_executor(
                        self._thread, work, slices, self._pace.is_long, self._metrics.out_of_memory.inc
                    )
                # Were this task to end, every later request would wait for nothing while /readyz says ready.
                except Exception as error:
                    done, left = [(part.job, error) for part in slices], []
                self._pace.saw_turn(slices, time.perf_counter() - began)
                self._deliver_all(done)
                for job in left:
                    self._put_aside(job)
        finally:
            for job in (*self._scheduler.drain(), *(part.job for part in slices)):
                self._deliver(job, _stopping())

    def _put_aside(self, job: Job) -> None:
        task = asyncio.create_task(self._finish_aside(job), name="long job")
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _finish_aside(self, job: Job) -> None:
        done: Done = [(job, _stopping())]
        try:
            done = await asyncio.get_running_loop().run_in_executor(
                self._long, finish_aside, job, self._metrics.out_of_memory.inc
            )
        except Exception as error:
            done = [(job, error)]
        finally:
            self._deliver_all(done)

    def _deliver_all(self, done: Done) -> None:
        self._pace.saw_finished(done)
        for job, result in done:
            self._deliver(job, result)

    def _deliver(self, job: Job, result: Outcome | Exception) -> None:
        if job.future.done():
            return
        if isinstance(result, Outcome):
            self._metrics.finished(job, result)
            job.future.set_result(result)
            return
        if isinstance(result, torch.AcceleratorError):
            logger.critical("the device is lost", exc_info=result)
            self.lost = str(result)
            self._on_lost()
            result = DeviceLost("the device failed; the service is restarting", retry_after_seconds=10)
        elif isinstance(result, torch.OutOfMemoryError):
            result = Overloaded(
                "the device has no memory for this request now; ask again, with fewer pictures or steps",
                retry_after_seconds=5,
            )
        elif not isinstance(result, (MetaCoreError, ServiceError)):
            failure, result = (
                result,
                AdaptationFailed("the model failed on this request alone; others are not affected"),
            )
            result.__cause__ = failure  # so that the log has it beside the request's id
        job.future.set_exception(result)


class _Asked(NamedTuple):
    """The fields of a `Job` that a request gives."""

    model: ServedModel
    pictures: Tensor
    targets: Tensor | None
    state: State | None
    options: AdaptOptions
    kept: Tensor | None


async def _apart(asked: _Asked, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`call`, in another thread where the pictures are so many that it takes long."""
    if asked.pictures.nbytes <= _FEW_BYTES:
        return call(*args, **kwargs)
    return await asyncio.to_thread(call, *args, **kwargs)


def _without(asked: _Asked, recalled: Recalled) -> _Asked:
    """The same with what was encoded before in place of those pictures."""
    former = [] if asked.kept is None else [asked.kept]
    kept = torch.cat([*former, torch.stack(recalled.features)])
    return asked._replace(pictures=asked.pictures[recalled.rest], kept=kept)


def _stopping() -> DeviceLost:
    return DeviceLost("the service is shutting down", retry_after_seconds=5)


def _stand_back() -> None:
    """Let every other thread go first, and take one core at most."""
    torch.set_num_threads(1)
    if sys.platform == "linux":  # where a thread has a niceness of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LONG_NICENESS)
