"""The engine and its scheduler, in process, on the shipped model."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import service.work
from meta_core.batching import adapt_many
from meta_core.checkpoint import load
from meta_core.episode import State, SupportSet
from meta_core.errors import InvalidSupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.learners.protonet import ProtoNet
from meta_core.parallel import Workers, replica
from service.encoders import OnnxEncoder, TorchEncoder
from service.engine import Engine
from service.errors import AdaptationFailed, DeadlineExceeded, DeviceLost, Overloaded
from service.metrics import Metrics
from service.scheduler import Job, Outcome, Scheduler
from service.served import ServedModel
from tests.made_up import small_learner
from tests.service.running import MODELS

OPTIONS = AdaptOptions()


class Touchy(ProtoNet):
    """Fails where an example is above a bound, as a bug would for one user's input; a whole batch fails with it."""

    vectorized = False
    error: Exception = ValueError("too hot")

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        if support.inputs.max() > 250:
            raise self.error
        return super().adapt(support, options=options)


@pytest.fixture(scope="module")
def model() -> ServedModel:
    loaded = load(MODELS / "omniglot-protonet")
    return ServedModel(loaded.card, loaded.learner, OnnxEncoder(loaded, threads=2))


@pytest.fixture
def touchy() -> ServedModel:
    loaded = load(MODELS / "omniglot-protonet")
    learner = Touchy(backbone=torch.nn.Flatten()).eval()
    encoder = TorchEncoder(loaded, device="cpu")
    encoder._learner = learner
    encoder._spec = loaded.card.input.model_copy(update={"mean": (0.0,), "std": (1 / 255,)})
    return ServedModel(loaded.card, learner, encoder)


def pictures(count: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 250, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)


def targets(shots: Sequence[int]) -> Tensor:
    return torch.eye(len(shots)).repeat_interleave(torch.tensor(shots), dim=0)


async def started(*, max_pictures: int = 10_000, max_seconds: float = 30, metrics: Metrics | None = None) -> Engine:
    engine = Engine(max_pictures=max_pictures, max_seconds=max_seconds, metrics=metrics)
    engine.start()
    return engine


def test_jobs_of_many_users_at_once_get_what_each_alone_gets(model: ServedModel) -> None:
    tasks = [[1, 1], [5, 5, 5], [1, 7, 2], [3] * 20, [10, 1], [2] * 5] * 4

    async def ask(engine: Engine, number: int) -> Outcome:
        shots = tasks[number]
        inputs = pictures(sum(shots) + 1 + number, seed=number)
        return await engine.adapt(model, inputs, targets(shots), options=OPTIONS)

    async def run() -> None:
        engine = await started()
        together = await asyncio.gather(*(ask(engine, number) for number in range(len(tasks))))
        for number, outcome in enumerate(together):
            alone = await ask(engine, number)
            assert outcome.logits is not None
            assert alone.logits is not None
            torch.testing.assert_close(outcome.logits.softmax(-1), alone.logits.softmax(-1), atol=1e-5, rtol=0)
            torch.testing.assert_close(outcome.state["prototypes"], alone.state["prototypes"], atol=1e-5, rtol=1e-5)
        await engine.stop()

    asyncio.run(run())


def test_predicting_by_a_stored_state_equals_predicting_in_the_same_job(model: ServedModel) -> None:
    async def run() -> None:
        engine = await started()
        inputs = pictures(30, seed=1)
        once = await engine.adapt(model, inputs, targets([5, 5]), options=OPTIONS)
        stored = await engine.predict(model, inputs[10:], once.state)
        assert once.logits is not None
        assert stored.logits is not None
        torch.testing.assert_close(stored.logits, once.logits, atol=1e-4, rtol=1e-5)
        assert once.support_features is not None
        assert once.support_features.shape == (10, 576)
        await engine.stop()

    asyncio.run(run())


def test_a_job_that_fails_fails_alone(touchy: ServedModel) -> None:
    async def run() -> None:
        engine = await started()
        good, bad = pictures(4, seed=0), pictures(4, seed=1)
        bad[0, 0, 0, 0] = 255
        jobs = [engine.adapt(touchy, inputs, targets([2, 2]), options=OPTIONS) for inputs in (good, bad, good)]
        first, failed, last = await asyncio.gather(*jobs, return_exceptions=True)
        assert isinstance(failed, AdaptationFailed)
        assert isinstance(first, Outcome)
        assert isinstance(last, Outcome)
        await engine.stop()

    asyncio.run(run())


class Counting:
    """An encoder that counts pictures."""

    runtime = "onnxruntime-cpu"

    def __init__(self, inner: OnnxEncoder) -> None:
        self.inner, self.encoded = inner, 0

    def encode(self, pictures: Tensor) -> Tensor:
        self.encoded += len(pictures)
        return self.inner.encode(pictures)


@pytest.mark.parametrize("before", [0, 4, 12, 15])
def test_examples_that_were_encoded_before_are_adapted_to_and_not_encoded_again(
    model: ServedModel, before: int
) -> None:
    """Also where all were, or where the rest are queries alone."""

    async def run() -> None:
        assert isinstance(model.encoder, OnnxEncoder)
        engine, counting = await started(), Counting(model.encoder)
        counted = ServedModel(model.card, model.learner, counting)
        inputs, shots = pictures(15, seed=3), targets([6, 6])
        expected = await engine.adapt(model, inputs, shots, options=OPTIONS)
        features = model.encoder.encode(inputs)
        found = await engine.adapt(counted, inputs[before:], shots, options=OPTIONS, kept=features[:before])
        assert counting.encoded == 15 - before
        assert expected.logits is not None
        assert found.logits is not None
        assert found.support_features is not None
        torch.testing.assert_close(found.state["prototypes"], expected.state["prototypes"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.logits, expected.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.support_features, features[:12], atol=1e-5, rtol=1e-5)
        await engine.stop()

    asyncio.run(run())


class Cramped(OnnxEncoder):
    """Has no memory for more than three pictures at once, nor for a white one."""

    def encode(self, pictures: Tensor) -> Tensor:
        if len(pictures) > 3 or pictures.max() == 255:
            raise torch.OutOfMemoryError("out of memory")
        return super().encode(pictures)


def test_what_the_device_has_no_memory_for_is_done_in_halves_and_then_refused(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.pace._GUESS_PICTURE_SECONDS", 0.001)  # so that all eleven are one turn

    async def run() -> None:
        metrics, loaded = Metrics(), load(MODELS / "omniglot-protonet")
        cramped = ServedModel(model.card, model.learner, Cramped(loaded, threads=1))
        engine = await started(metrics=metrics)
        inputs = pictures(11, seed=0)
        outcome = await engine.adapt(cramped, inputs, targets([5, 5]), options=OPTIONS)
        alone = await engine.adapt(model, inputs, targets([5, 5]), options=OPTIONS)
        torch.testing.assert_close(outcome.logits, alone.logits, atol=1e-4, rtol=1e-5)
        counted = metrics.registry.get_sample_value("kshot_device_out_of_memory_total")
        assert counted == 3  # of eleven, of six, of five
        white = torch.full((4, 1, 28, 28), 255, dtype=torch.uint8)
        with pytest.raises(Overloaded, match="no memory for this request now"):
            await engine.adapt(cramped, white, targets([2, 2]), options=OPTIONS)
        await engine.stop()

    asyncio.run(run())


class Warped:
    """An encoder whose features are of another length at every call."""

    runtime = "torch-cpu"
    calls = 0

    def encode(self, pictures: Tensor) -> Tensor:
        self.calls += 1
        return torch.zeros(len(pictures), self.calls)


def test_the_engine_outlives_what_nobody_foresaw(model: ServedModel) -> None:
    async def run() -> None:
        engine, warped = await started(), ServedModel(model.card, model.learner, Warped())
        with pytest.raises(AdaptationFailed):
            await engine.adapt(warped, pictures(300, seed=0), targets([150, 150]), options=OPTIONS)
        outcome = await engine.adapt(model, pictures(4, seed=0), targets([2, 2]), options=OPTIONS)
        assert outcome.state["prototypes"].shape == (2, 576)
        await engine.stop()

    asyncio.run(run())


def test_an_input_that_is_wrong_is_told_to_its_sender_as_such(model: ServedModel) -> None:
    async def run() -> None:
        engine = await started()
        with pytest.raises(InvalidSupportSet, match=r"\[1\]"):
            await engine.adapt(model, pictures(2, seed=0), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), options=OPTIONS)
        await engine.stop()

    asyncio.run(run())


def test_a_lost_device_fails_the_jobs_in_flight_and_refuses_new_ones(touchy: ServedModel) -> None:
    async def run() -> None:
        engine = await started()
        touchy.learner.error = torch.AcceleratorError("unspecified launch failure")  # type: ignore[assignment]
        hot = pictures(4, seed=0)
        hot[0, 0, 0, 0] = 255
        with pytest.raises(DeviceLost):
            await engine.adapt(touchy, hot, targets([2, 2]), options=OPTIONS)
        assert engine.lost == "unspecified launch failure"
        with pytest.raises(DeviceLost):
            async with engine.admit(1):
                pass
        await engine.stop()

    asyncio.run(run())


def test_past_its_room_the_engine_refuses_and_says_when_to_come_again() -> None:
    async def run() -> None:
        engine = await started(max_pictures=10)
        async with engine.admit(8):
            with pytest.raises(Overloaded, match="8 pictures are being worked on and 3 more came") as caught:
                async with engine.admit(3):
                    pass
            assert (caught.value.retry_after_seconds or 0) >= 1
        async with engine.admit(3):
            pass
        await engine.stop()

    asyncio.run(run())


def test_a_request_over_its_time_is_dropped_not_done(model: ServedModel) -> None:
    async def run() -> None:
        engine = await started(max_seconds=0.0001)
        with pytest.raises(DeadlineExceeded):
            await engine.adapt(model, pictures(900, seed=0), targets([450, 450]), options=OPTIONS)
        await engine.stop()

    asyncio.run(run())


def test_stopping_fails_what_waits_instead_of_leaving_it_to_hang(model: ServedModel) -> None:
    async def run() -> None:
        engine = await started()
        inputs = pictures(900, seed=0)
        jobs = [
            asyncio.ensure_future(engine.adapt(model, inputs, targets([450, 450]), options=OPTIONS)) for _ in range(3)
        ]
        await asyncio.sleep(0)
        await engine.stop()
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(isinstance(result, DeviceLost) for result in results)

    asyncio.run(run())


class Patient(ProtoNet):
    """Adapts to many examples when it is told to."""

    begun, go = threading.Event(), threading.Event()

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        if len(support.inputs) > 500:
            self.begun.set()
            assert self.go.wait(60)
        return super().adapt(support, options=options)


@pytest.fixture
def patient() -> ServedModel:
    loaded = load(MODELS / "omniglot-protonet")
    learner = Patient(backbone=loaded.learner.backbone).eval()
    Patient.begun.clear()
    Patient.go.clear()
    return ServedModel(loaded.card, learner, TorchEncoder(loaded, device="cpu"), aside=replica(learner))


def test_nobody_waits_behind_a_long_job(patient: ServedModel) -> None:
    async def run() -> None:
        engine = await started()
        long = asyncio.ensure_future(engine.adapt(patient, pictures(600, seed=0), targets([300, 300]), options=OPTIONS))
        await asyncio.to_thread(Patient.begun.wait, 60)
        for seed in range(3):
            outcome = await engine.adapt(patient, pictures(5, seed=seed), targets([2, 2]), options=OPTIONS)
            assert outcome.logits is not None
            await engine.predict(patient, pictures(5, seed=seed), outcome.state)
        assert not long.done()
        Patient.go.set()
        assert (await long).state["prototypes"].shape == (2, 576)
        await engine.stop()

    asyncio.run(run())


def test_a_long_job_is_dropped_at_its_time_and_those_behind_it_are_not_begun(patient: ServedModel) -> None:
    async def run() -> None:
        engine = await started(max_seconds=1)
        inputs = pictures(600, seed=0)
        jobs = [engine.adapt(patient, inputs, targets([300, 300]), options=OPTIONS) for _ in range(2)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(isinstance(result, DeadlineExceeded) for result in results)
        Patient.go.set()
        await engine.stop()

    asyncio.run(run())


def test_stopping_fails_long_jobs_too(patient: ServedModel) -> None:
    async def run() -> None:
        engine = await started()
        long = asyncio.ensure_future(engine.adapt(patient, pictures(600, seed=0), targets([300, 300]), options=OPTIONS))
        await asyncio.to_thread(Patient.begun.wait, 60)
        threading.Timer(0.1, Patient.go.set).start()
        await engine.stop()
        with pytest.raises(DeviceLost):
            await long

    asyncio.run(run())


def test_every_thread_that_computes_takes_one_core() -> None:
    async def run() -> None:
        torch.set_num_threads(2)  # which a new thread would take over
        engine = Engine(max_pictures=10, max_seconds=30)
        workers = Workers(small_learner("maml"), count=2)
        for _ in range(2):
            assert workers.map(lambda *_: torch.get_num_threads(), range(4)) == [1] * 4
            assert engine._thread.submit(torch.get_num_threads).result() == 1
            assert engine._long.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 2
        workers.close()
        await engine.stop()

    asyncio.run(run())


def maml() -> ServedModel:
    """Untrained; the card is another model's."""
    loaded = load(MODELS / "omniglot-protonet")
    learner = small_learner("maml", rate=0.5).requires_grad_(requires_grad=False)
    encoder = TorchEncoder(loaded, device="cpu")
    encoder._learner = learner
    return ServedModel(loaded.card, learner, encoder, workers=Workers(learner, count=2), aside=replica(learner))


def test_gradient_learners_adapt_different_users_tasks_in_one_turn_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    served, together = maml(), list[int]()

    def counted(learner: Learner, supports: Sequence[SupportSet], **options: Any) -> list[State]:
        together.append(len(supports))
        assert options["workers"] is served.workers
        return adapt_many(learner, supports, **options)

    monkeypatch.setattr(service.work, "adapt_many", counted)

    async def run() -> None:
        engine = await started()
        ask = [engine.adapt(served, pictures(8, seed=seed), targets([3, 2]), options=OPTIONS) for seed in range(12)]
        outcomes = await asyncio.gather(*ask)
        assert max(together) > 1
        assert sum(together) == 12
        for seed, outcome in enumerate(outcomes):
            alone = await engine.adapt(served, pictures(8, seed=seed), targets([3, 2]), options=OPTIONS)
            assert outcome.logits is not None
            assert alone.logits is not None
            torch.testing.assert_close(outcome.logits.softmax(-1), alone.logits.softmax(-1), atol=1e-4, rtol=0)
        await engine.stop()
        served.close()

    asyncio.run(run())


def test_a_turn_takes_whole_jobs_of_a_gradient_learner_up_to_its_budget() -> None:
    async def run() -> None:
        scheduler, served = Scheduler(), maml()
        jobs = [job(served, 10, creates=True) for _ in range(6)]
        for one in jobs:
            scheduler.add(one)
        assert jobs[0].passes == 50  # 5 steps over 10 pictures
        assert [part.job for part in scheduler.next(lambda _: 120)] == jobs[:3]
        assert [part.job for part in scheduler.next(lambda _: 1)] == jobs[3:4]
        served.close()

    asyncio.run(run())


def job(model: ServedModel, count: int, *, creates: bool) -> Job:
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    support = targets([count]) if creates else None
    return Job(model, pictures(count, seed=0), support, None if creates else {}, OPTIONS, future)


def test_classifying_overtakes_a_large_creation(model: ServedModel) -> None:
    async def run() -> None:
        scheduler = Scheduler()
        large, small = job(model, 1000, creates=True), job(model, 3, creates=False)
        scheduler.add(large)
        assert scheduler.next(lambda _: 100)[0].job is large
        scheduler.add(small)
        assert [part.job for part in scheduler.next(lambda _: 100)] == [
            small
        ]  # nor does it wait for pictures beside it

    asyncio.run(run())


def test_a_stream_of_classifying_does_not_starve_a_creation(model: ServedModel) -> None:
    async def run() -> None:
        scheduler, turns = Scheduler(), 0
        large = job(model, 128, creates=True)
        scheduler.add(large)
        while large.waiting:
            turns += 1
            for _ in range(10):
                scheduler.add(job(model, 64, creates=False))
            assert scheduler.next(lambda _: 64)
        assert turns <= 8

    asyncio.run(run())


def test_creations_take_turns(model: ServedModel) -> None:
    async def run() -> None:
        scheduler = Scheduler()
        jobs = [job(model, 200, creates=True) for _ in range(3)]
        for one in jobs:
            scheduler.add(one)
        order = [slices[0].job for slices in (scheduler.next(lambda _: 64) for _ in range(6))]
        assert order == jobs + jobs

    asyncio.run(run())


def test_a_job_whose_client_left_is_skipped(model: ServedModel) -> None:
    async def run() -> None:
        scheduler = Scheduler()
        gone, here = job(model, 10, creates=True), job(model, 10, creates=True)
        gone.future.cancel()
        scheduler.add(gone)
        scheduler.add(here)
        assert [part.job for part in scheduler.next(lambda _: 100)] == [here]
        assert not scheduler.next(lambda _: 100)

    asyncio.run(run())
