"""Training in several processes: the same weights as in one, to rounding, wherever and however often it is interrupted.

The network is one of batch norms, with memory for two tasks of four at once: what two processes have anyway.
"""

import copy
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from meta_core import meta_step
from meta_core.checkpoint import load
from meta_core.errors import InvalidDevices, OverlappingSplits, ProcessLost
from meta_core.norms import flat_statistics, join_statistics, statistics_kept
from meta_core.processes import Team, check_devices
from meta_core.recipe import Recipe
from meta_core.tasks.pictures import PictureTasks
from meta_core.train import train
from tests.made_up import tiny_recipe, write_npz

STEPS, TASKS = 16, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "made.npz")


@pytest.fixture
def recipe() -> Recipe:
    return small_recipe()


def small_recipe(**changes: Any) -> Recipe:
    optimizer = {"rate": 0.01, "steps": STEPS, "tasks_per_step": TASKS, "warmup_steps": 2, "clip_norm": 1.0}
    backbone = {"name": "conv4", "options": {"width": 8}}
    return tiny_recipe(**({"backbone": backbone, "optimizer": optimizer} | changes))


def memory_for_two_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta_step, "graph_bytes", lambda *_, **__: 100)
    monkeypatch.setattr(meta_step, "free_bytes", lambda _: 100 * 2 * 2)


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained in one process."""
    out = tmp_path_factory.mktemp("alone") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        memory_for_two_tasks(patch)
        train(small_recipe(), data=data, out=out, device="cpu")
    return out


def last_state(out: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(out.with_name(f"{out.name}.run") / "resume.pt", weights_only=True)
    return state


def assert_same_training(one: Path, other: Path) -> None:
    """Weights, batch norm's statistics, optimizer and looks, to what adding up in another order leaves."""
    found, expected = last_state(one), last_state(other)
    torch.testing.assert_close(found["learner"], expected["learner"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["optimizer"]["state"], expected["optimizer"]["state"], rtol=1e-5, atol=1e-6)
    assert torch.equal(found["generator"], expected["generator"])
    assert [look["step"] for look in found["looks"]] == [look["step"] for look in expected["looks"]]
    losses = [[look["loss"] for look in state["looks"]] for state in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_two_processes_give_the_weights_of_one(
    alone: Path, data: Path, recipe: Recipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tiny"
    card = train(recipe, data=data, out=out, device="cpu", devices=2)
    assert_same_training(out, alone)
    assert card == load(out).card
    assert card.training is not None
    assert card.training.device == "2 × cpu"
    assert card.accuracy[0].accuracy == pytest.approx(load(alone).card.accuracy[0].accuracy, abs=0.1)
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("2 processes share a step's 4 tasks") == said.err.count("meta-training") == 1


def test_a_run_whose_process_is_killed_says_so_and_goes_on_in_one(
    alone: Path, data: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    killer = threading.Thread(target=kill_a_process_after_the_first_look, args=(out,))
    killer.start()
    with pytest.raises(ProcessLost, match=r"of 2 ended \(SIG\w+\).*--resume"):
        train(recipe, data=data, out=out, device="cpu", devices=2)
    killer.join()
    assert not out.exists()
    assert not workers()
    assert last_state(out)["progress"][0] < STEPS
    train(recipe, data=data, out=out, device="cpu", resume=True)
    assert_same_training(out, alone)


def kill_a_process_after_the_first_look(out: Path) -> None:
    """The last one: the first one writes."""
    deadline = time.monotonic() + 60
    while not (out.with_name(f"{out.name}.run") / "resume.pt").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(max(worker.pid for worker in workers()), signal.SIGKILL)


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_run_of_one_process_goes_on_in_two(
    alone: Path, data: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sample = tmp_path / "tiny", PictureTasks.sample
    memory_for_two_tasks(monkeypatch)

    def interrupted(self: PictureTasks, n_tasks: int, generator: torch.Generator) -> Any:
        resumable = out.with_name("tiny.run") / "resume.pt"
        if resumable.is_file() and last_state(out)["progress"][0] == 6:
            raise KeyboardInterrupt
        return sample(self, n_tasks, generator)

    monkeypatch.setattr(PictureTasks, "sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data=data, out=out, device="cpu")
    train(recipe, data=data, out=out, device="cpu", devices=2, resume=True)
    assert_same_training(out, alone)


def test_what_one_of_the_processes_finds_wrong_is_told(data: Path, tmp_path: Path) -> None:
    splits = {"train_split": "background", "validation_groups": ["alphabet3"], "test_split": "background"}
    with pytest.raises(OverlappingSplits, match="share 8 classes"):
        train(small_recipe(data=splits), data=data, out=tmp_path / "tiny", device="cpu", devices=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("count", "device", "tasks", "told"),
    [
        (2, "cpu", 1, r"1 task a step .* 2 devices cannot share.*--devices 1 at most.*2 tasks or more"),
        (5, "cpu", 4, r"4 tasks a step .* 5 devices cannot share.*--devices 4 at most"),
        (0, "cpu", 4, "expected 1 or more"),
        (99, "cuda", 100, r"99 GPUs were asked for and there are \d.*--device cpu"),
    ],
)
def test_more_devices_than_can_share_the_work_are_refused(count: int, device: str, tasks: int, told: str) -> None:
    with pytest.raises(InvalidDevices, match=told):
        check_devices(count, device=device, tasks=tasks)


@pytest.mark.parametrize(("tasks", "count"), [(4, 2), (5, 2), (7, 3), (3, 3)])
def test_every_task_is_worked_on_by_one_process(tasks: int, count: int) -> None:
    shares = [range(*Team(rank, count).share(tasks)) for rank in range(count)]
    assert [task for share in shares for task in share] == list(range(tasks))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_processes_draw_noise_of_their_own_and_the_same_tasks() -> None:
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    with torch.random.fork_rng():
        noise = [torch.rand(4, generator=Team(rank, 2).noise(each)) for rank, each in enumerate(generators)]
    assert not torch.equal(*noise)
    assert torch.equal(torch.rand(4, generator=generators[0]), torch.rand(4, generator=generators[1]))
    assert Team().noise(generators[0]) is generators[0]


def test_statistics_of_several_are_those_of_one_who_saw_all_their_batches() -> None:
    whole = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, momentum=0.3)).train()
    with torch.no_grad():
        whole(torch.randn(8, 3) + 2)
        copies = [copy.deepcopy(whole) for _ in range(3)]
        before = flat_statistics(statistics_kept(whole))
        for own, batches in zip(copies, (2, 1, 3), strict=True):
            for _ in range(batches):
                some = torch.randn(8, 3)
                own(some)
                whole(some)
    join_statistics(statistics_kept(copies[0]), before, [flat_statistics(statistics_kept(each)) for each in copies])
    torch.testing.assert_close(copies[0].state_dict(), whole.state_dict())
