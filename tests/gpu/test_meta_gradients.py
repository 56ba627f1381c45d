"""Second order on CUDA, in float64: stacked tasks, a loop over them, a beginner's loop, and finite differences."""

from typing import Any

import pytest
import torch

from meta_core.device import pick_device
from meta_core.learners.maml import MAML
from meta_core.meta_step import meta_gradient, vmaps_tasks
from tests.learners.gradients import (
    KINDS,
    NORMS,
    STEPS,
    assert_same,
    episode,
    gradients,
    loss_of,
    made,
    plain_loss,
    slope_along,
)
from tests.learners.made_up_tasks import moved

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.parametrize("steps", STEPS),
    pytest.mark.parametrize("norm", NORMS),
    pytest.mark.parametrize("name", KINDS),
]


def on_cuda(name: str, **options: Any) -> MAML:
    return made(name, **options).to(pick_device("cuda"))


def test_stacked_tasks_give_the_meta_gradient_of_a_loop(name: str, norm: str, steps: int) -> None:
    """As `meta_gradient` has them: stacked wherever that is right, and never where torch gets it wrong."""
    learner, tasks = on_cuda(name, norm=norm, steps=steps), moved(episode(), torch.device("cuda"))
    assert vmaps_tasks(learner, torch.device("cuda")) is (norm in ("group", "frozen"))
    expected = gradients(learner, loss_of(learner, tasks))
    meta_gradient(learner, tasks, chunk=2, precision="fp32", generator=torch.Generator(), progress=0.5)
    found = {key: parameter.grad for key, parameter in learner.named_parameters()}
    assert_same(found, expected, tolerance=1e-8)  # type: ignore[arg-type]


def test_the_loop_is_that_of_a_beginner(name: str, norm: str, steps: int) -> None:
    learner, tasks = on_cuda(name, norm=norm, steps=steps), moved(episode(), torch.device("cuda"))
    loss, plain = loss_of(learner, tasks), plain_loss(learner, tasks, norm=norm, name=name, steps=steps)
    torch.testing.assert_close(loss, plain, rtol=1e-10, atol=0)
    assert_same(gradients(learner, loss), gradients(learner, plain), tolerance=1e-8)


def test_it_agrees_with_finite_differences(name: str, norm: str, steps: int) -> None:
    if name == "fomaml":
        pytest.skip("of first order: it leaves out what a finite difference sees")
    learner, tasks = on_cuda(name, norm=norm, steps=steps), moved(episode(1), torch.device("cuda"))
    exact, generator = gradients(learner, loss_of(learner, tasks)), torch.Generator().manual_seed(9)
    for key, parameter in learner.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        slope = slope_along(learner, tasks, parameter, direction)
        assert slope == pytest.approx(float((exact[key].cpu() * direction).sum()), rel=1e-5, abs=1e-8), key


def test_it_is_that_of_the_cpu(name: str, norm: str, steps: int) -> None:
    near, tasks = made(name, norm=norm, steps=steps), episode()
    far, moved_tasks = on_cuda(name, norm=norm, steps=steps), moved(tasks, torch.device("cuda"))
    found = {key: value.cpu() for key, value in gradients(far, loss_of(far, moved_tasks)).items()}
    assert_same(found, gradients(near, loss_of(near, tasks)), tolerance=1e-8)
