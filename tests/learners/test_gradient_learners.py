"""Meta-gradients of learners that adapt by gradient, in float64: finite differences, a plain loop, stacked tasks."""

import pytest
import torch
from torch import Tensor

from meta_core import heads
from meta_core.episode import Episode, tasks_of
from meta_core.learner import AdaptOptions
from meta_core.learners.maml import MAML
from meta_core.meta_step import meta_gradient, vmaps_tasks
from meta_core.parallel import Workers
from meta_core.registry import LEARNERS
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


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", KINDS)
def test_the_meta_gradient_is_that_of_a_plain_loop(name: str, norm: str, steps: int) -> None:
    learner, tasks = made(name, norm=norm, steps=steps), episode()
    loss = loss_of(learner, tasks)
    plain = plain_loss(learner, tasks, norm=norm, name=name, steps=steps)
    torch.testing.assert_close(loss, plain, rtol=1e-10, atol=0)
    assert_same(gradients(learner, loss), gradients(learner, plain), tolerance=1e-8)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", [name for name in KINDS if name != "fomaml"])
def test_the_meta_gradient_agrees_with_finite_differences(name: str, norm: str, steps: int) -> None:
    """Along a random direction of each weight tensor."""
    learner, tasks = made(name, norm=norm, steps=steps), episode(1)
    exact, generator = gradients(learner, loss_of(learner, tasks)), torch.Generator().manual_seed(9)
    for key, parameter in learner.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        slope = slope_along(learner, tasks, parameter, direction)
        assert slope == pytest.approx(float((exact[key] * direction).sum()), rel=1e-5, abs=1e-8), key


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", KINDS)
def test_stacked_tasks_give_the_meta_gradient_of_single_ones(name: str, norm: str, steps: int) -> None:
    """As they are stacked on a GPU; whatever the rule there would stack must be right under `torch.vmap`.

    It is not for affine batch, layer and instance norm: the loss is exact, the second-order gradient silently off.
    """
    learner, tasks, generator = made(name, norm=norm, steps=steps), episode(), torch.Generator()
    if not vmaps_tasks(learner, torch.device("cuda")):
        pytest.skip("not stacked")
    losses = torch.vmap(lambda task: learner.meta_loss(task, generator=generator, progress=0.5))(tasks)
    assert_same(gradients(learner, losses.mean()), gradients(learner, loss_of(learner, tasks)), tolerance=1e-8)


def test_batches_normalized_by_their_own_statistics_are_never_stacked() -> None:
    for norm, stacked in (("group", True), ("frozen", True), ("batch", False), ("untracked", False)):
        assert vmaps_tasks(made("maml", norm=norm, steps=1), torch.device("cuda")) is stacked


@pytest.mark.parametrize("steps", [2, 5])
def test_torch_still_gets_stacked_affine_batch_norm_wrong(steps: int) -> None:
    """Why: the loss is exact, the gradient is not. When this fails, torch is mended and the rule may go."""
    learner, tasks, generator = made("maml", norm="untracked", steps=steps), episode(), torch.Generator()
    stacked = torch.vmap(lambda task: learner.meta_loss(task, generator=generator, progress=0.5))(tasks).mean()
    single = loss_of(learner, tasks)
    torch.testing.assert_close(stacked, single, rtol=1e-10, atol=0)
    found, expected = (torch.cat([g.flatten() for g in gradients(learner, x).values()]) for x in (stacked, single))
    assert float((found - expected).norm() / expected.norm()) > 1e-3


@pytest.mark.parametrize("norm", ["group", "frozen"])
def test_threads_and_chunks_give_the_same_meta_gradient(norm: str) -> None:
    learner, tasks = made("maml", norm=norm, steps=2), episode(5)
    expected = gradients(learner, loss_of(learner, tasks))
    workers = Workers(learner, count=2)
    for chunk, some in ((5, None), (2, None), (1, workers)):
        loss = meta_gradient(
            learner,
            tasks,
            chunk=chunk,
            precision="fp32",
            generator=torch.Generator(),
            progress=0.5,
            workers=some,
        )
        assert loss == pytest.approx(float(loss_of(learner, tasks).detach()), rel=1e-12)
        found = {name: parameter.grad for name, parameter in learner.named_parameters()}
        assert_same(found, expected, tolerance=1e-10)  # type: ignore[arg-type]
    workers.close()


def test_the_gradient_below_equal_rows_is_zero() -> None:
    """Why the first step may leave the backbone alone: computed, it does not move."""
    learner, tasks = made("maml", norm="group", steps=1), episode(1)
    task = next(tasks_of(tasks))
    weights = dict(learner.backbone.named_parameters())
    features, centre = heads.centred(learner._features(weights, task.support.inputs), task.support)
    whole = weights | heads.equal_rows(features, task.support)
    loss = learner._support_loss(whole, support=task.support, centre=centre, known=None)
    below = torch.autograd.grad(loss, list(weights.values()), create_graph=True, materialize_grads=True)
    assert max(float(gradient.detach().abs().max()) for gradient in below) < 1e-15


def test_meta_sgd_learns_a_rate_for_each_weight() -> None:
    learner = made("meta_sgd", norm="group", steps=2)
    shapes = {name: weight.shape for name, weight in learner.backbone.named_parameters()}
    rates = learner.rates.at(0)
    assert all(rates[name].shape == shape for name, shape in shapes.items())
    found = gradients(learner, loss_of(learner, episode(1)))
    assert all(float(gradient.abs().max()) > 0 for name, gradient in found.items() if name.startswith("rates."))


def test_without_a_step_equal_rows_know_nothing_and_prototypes_answer_as_protonet() -> None:
    task = next(tasks_of(episode(1)))
    none = AdaptOptions(steps=0)
    plain, proto = (made(name, norm="group", steps=2).eval() for name in ("maml", "proto_maml"))
    unmoved = plain.predict(plain.adapt(task.support, options=none), task.query.inputs)
    assert torch.equal(unmoved, torch.zeros_like(unmoved))
    answers = proto.predict(proto.adapt(task.support, options=none), task.query.inputs).softmax(-1)
    protonet = LEARNERS.build("protonet", backbone=proto.backbone, scale=KINDS["proto_maml"]["scale"]).double().eval()
    encoded = task.support._replace(inputs=protonet.encode(task.support.inputs))
    state = protonet.adapt(encoded, options=AdaptOptions())
    expected = protonet.predict(state, protonet.encode(task.query.inputs)).softmax(-1)
    torch.testing.assert_close(answers, expected, rtol=0, atol=1e-6)


def test_annealing_goes_from_the_first_order_to_the_second() -> None:
    generator, task = torch.Generator(), next(tasks_of(episode(1)))
    annealed = made("maml", norm="group", steps=3, first_order_until=0.5)
    first, second = made("fomaml", norm="group", steps=3), made("maml", norm="group", steps=3)
    for progress, like in ((0.4, first), (0.6, second)):
        found = gradients(annealed, annealed.meta_loss(task, generator=generator, progress=progress))
        expected = gradients(like, like.meta_loss(task, generator=generator, progress=progress))
        assert_same(found, expected, tolerance=1e-12)
    differ = gradients(second, second.meta_loss(task, generator=generator, progress=0))
    assert float((differ["backbone.0.0.weight"] - expected_first(first, task)).norm()) > 1e-4


def expected_first(first: MAML, task: Episode) -> Tensor:
    return gradients(first, first.meta_loss(task, generator=torch.Generator(), progress=0))["backbone.0.0.weight"]


def test_the_multi_step_loss_ends_with_the_last_step_alone() -> None:
    generator, task = torch.Generator(), next(tasks_of(episode(1)))
    learner, plain = made("maml", norm="group", steps=3, multi_step_until=0.5), made("maml", norm="group", steps=3)
    assert learner._step_shares(0) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    assert learner._step_shares(0.25) == pytest.approx([0, 1 / 6, 1 / 6, 4 / 6])
    for progress, same in ((0.0, False), (0.75, True)):
        loss = learner.meta_loss(task, generator=generator, progress=progress)
        last = plain.meta_loss(task, generator=generator, progress=progress)
        assert bool(torch.isclose(loss, last, rtol=1e-12)) is same
