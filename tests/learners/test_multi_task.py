"""The multi-task network: its joint loss by hand, that it learns classes it can adapt from, and what is kept of it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from meta_core.checkpoint import load
from meta_core.episode import Episode, QuerySet, SupportSet, tasks_of
from meta_core.errors import InvalidRecipe, UnknownName
from meta_core.learner import AdaptOptions, Learner
from meta_core.learners.fine_tuning import FineTuning
from meta_core.learners.multi_task import MultiTask
from meta_core.train import train
from tests.learners import laws, made_up_tasks
from tests.made_up import small_learner, tiny_recipe, write_npz

OPTIONS = AdaptOptions()
CLASSES = 20


def made(**options: Any) -> MultiTask:
    learner = small_learner("multi_task", **options)
    assert isinstance(learner, MultiTask)
    return learner


def batch_of(pictures: Tensor, numbers: Tensor, *, classes: int) -> Episode:
    targets = F.one_hot(numbers, classes).float()
    return Episode(SupportSet(pictures[:0], targets[:0], torch.ones(0)), QuerySet(pictures, targets))


def drawn(generator: torch.Generator, *, count: int = 8) -> tuple[Tensor, Tensor]:
    """Pictures of `CLASSES` classes, and their classes."""
    return made_up_tasks.pictures(CLASSES, count, generator), torch.arange(CLASSES).repeat_interleave(count)


def loss(learner: Learner, episode: Episode) -> Tensor:
    return learner.meta_loss(episode, generator=torch.Generator(), progress=0.0)


def test_its_loss_is_the_cross_entropy_of_one_head_for_all_classes(generator: torch.Generator) -> None:
    learner, (pictures, numbers) = made(classes=CLASSES), drawn(generator, count=1)
    assert learner.joint is not None
    logits = learner.backbone(pictures) @ learner.joint.weight.T + learner.joint.bias
    found = loss(learner, batch_of(pictures, numbers, classes=CLASSES))
    torch.testing.assert_close(found, F.cross_entropy(logits, numbers))


def test_its_loss_reaches_the_whole_network_and_the_head(generator: torch.Generator) -> None:
    learner = made(classes=CLASSES)
    loss(learner, batch_of(*drawn(generator, count=2), classes=CLASSES)).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in learner.parameters())


def test_it_adapts_and_answers_as_fine_tuning_of_its_backbone(generator: torch.Generator) -> None:
    learner = made(classes=CLASSES, tuning={"steps": 6, "rate": 0.1, "unfrozen_by": 0.2})
    plain = FineTuning(backbone=learner.backbone, steps=6, rate=0.1, unfrozen_by=0.2)
    support, query = made_up_tasks.encoded_task(learner, [2, 1, 3], generator)
    state, expected = (each.adapt(support, options=OPTIONS) for each in (learner, plain))
    assert state.keys() == expected.keys(), "the head for all classes is of no use to a task"
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert torch.equal(learner.predict(state, query), plain.predict(expected, query))


def test_without_classes_it_trains_as_fine_tuning_does(generator: torch.Generator) -> None:
    learner = made()
    (task,) = tasks_of(made_up_tasks.sample(1, generator))
    assert torch.equal(loss(learner, task), loss(FineTuning(backbone=learner.backbone), task))


def test_what_it_learns_of_some_classes_serves_to_tell_others_apart(generator: torch.Generator) -> None:
    """The law that every learner learns, on tasks that are batches of all classes at once."""
    learner = made(classes=CLASSES)
    untrained = laws.held_out_accuracy(learner)
    optimizer = torch.optim.Adam(learner.parameters(), lr=5e-3)
    pictures, numbers = drawn(generator, count=40)
    learner.train()
    for _ in range(45):
        chosen = torch.randint(len(pictures), (60,), generator=generator)
        optimizer.zero_grad()
        loss(learner, batch_of(pictures[chosen], numbers[chosen], classes=CLASSES)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert laws.held_out_accuracy(learner.eval()) > max(laws.CLEARLY_ABOVE_CHANCE, untrained + 0.1)


@pytest.mark.parametrize(("classes", "told"), [(7, "a head for 7"), (None, "a head for none")])
def test_another_number_of_classes_than_training_has_is_told(
    classes: int | None, told: str, generator: torch.Generator
) -> None:
    batch = batch_of(*drawn(generator, count=1), classes=CLASSES)
    with pytest.raises(InvalidRecipe, match=rf"{CLASSES} classes.*{told}.*`classes = {CLASSES}`"):
        loss(made(classes=classes), batch)


def test_an_option_that_fine_tuning_lacks_is_told() -> None:
    with pytest.raises(UnknownName, match="stepz"):
        made(tuning={"stepz": 3})


@pytest.mark.parametrize("law", [laws.a_frozen_learner_answers_the_same, laws.state_is_no_larger_than_the_card_says])
def test_a_head_for_all_classes_changes_nothing_that_is_served(law: laws.Law) -> None:
    law(made(classes=CLASSES))


def test_a_copy_adapts_its_own_backbone(generator: torch.Generator) -> None:
    """Threads that adapt side by side have a copy each (`meta_core/parallel.py`), whose weights are swapped."""
    copied = copy.deepcopy(made())
    assert copied._tuning[0].backbone is copied.backbone


def test_its_checkpoint_holds_the_backbone_once() -> None:
    names = made(classes=CLASSES).state_dict().keys()
    assert {name.partition(".")[0] for name in names} == {"backbone", "joint"}


def test_a_recipe_trains_it_and_what_is_loaded_answers_the_same(tmp_path: Path, generator: torch.Generator) -> None:
    recipe = tiny_recipe(
        learner={"name": "multi_task", "options": {"classes": 24, "tuning": {"steps": 2}}},
        backbone={"name": "conv4", "options": {"width": 8, "norm": "group"}},
        tasks={"name": "all_classes", "options": {"batch": 8, "rotations": True}},
    )
    card = train(recipe, data=write_npz(tmp_path / "data.npz"), out=tmp_path / "model", device="cpu")
    assert len(card.accuracy) == 2
    model = load(tmp_path / "model")
    support = SupportSet(
        torch.randn(4, *recipe.input.shape, generator=generator), torch.eye(2).repeat(2, 1), torch.ones(4)
    )
    state = model.learner.adapt(support, options=OPTIONS)
    assert sum(tensor.nbytes for tensor in state.values()) <= card.state_bytes.at(ways=2, examples=4)


def test_training_on_another_number_of_classes_stops_before_the_first_step(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        learner={"name": "multi_task", "options": {"classes": 5}},
        backbone={"name": "conv4", "options": {"width": 8, "norm": "group"}},
        tasks={"name": "all_classes", "options": {"batch": 8}},
    )
    with pytest.raises(InvalidRecipe, match=r"6 classes.*a head for 5"):
        train(recipe, data=write_npz(tmp_path / "data.npz"), out=tmp_path / "model", device="cpu")
