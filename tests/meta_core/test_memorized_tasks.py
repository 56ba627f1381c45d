"""The memorization check of regressions: who knows tasks by heart is right with another task's examples as well."""

from pathlib import Path

import pytest

from meta_core.checkpoint import load
from meta_core.learner import AdaptOptions
from meta_core.memorized_tasks import TaskMemorizationCheck, check_task_memorization
from meta_core.train_regression import train_regression
from tests.meta_core.test_train_regression import one_wave, tiny


def test_a_single_task_is_known_by_heart(tmp_path: Path) -> None:
    train_regression(one_wave(), out=tmp_path / "wave", device="cpu")
    found = check(tmp_path / "wave")
    assert found.exchanged < 0.1 * found.mean
    assert found.memorizes
    assert "mr_maml" in found.text


def test_tasks_that_differ_are_missed_with_anothers_examples(tmp_path: Path) -> None:
    train_regression(tiny(), out=tmp_path / "waves", device="cpu")
    found = check(tmp_path / "waves")
    assert found.own < 0.8 * found.exchanged
    assert not found.memorizes
    assert "not known by heart" in found.text


def check(folder: Path) -> TaskMemorizationCheck:
    model = load(folder)
    assert model.card.tasks is not None
    return check_task_memorization(
        model.learner, model.card.tasks, model.card.input, shots=10, queries=10, seed=0, options=AdaptOptions()
    )


@pytest.mark.parametrize(("exchanged", "memorizes"), [(0.49, True), (0.51, False)])
def test_it_begins_at_half_of_the_means_error(*, exchanged: float, memorizes: bool) -> None:
    assert TaskMemorizationCheck(own=0.0, exchanged=exchanged, mean=1.0).memorizes is memorizes
