"""Full fine-tuning: the practice it follows, against torch's own optimizer, and on examples that make no sense."""

import copy

import pytest
import torch
from torch import Tensor, nn

from meta_core import heads
from meta_core.backbones import conv4
from meta_core.episode import Episode, QuerySet, State, SupportSet
from meta_core.learner import AdaptOptions
from meta_core.learners.fine_tuning import FineTuning
from tests.learners.made_up_tasks import encoded_task, pictures, sample
from tests.made_up import small_learner

OPTIONS = AdaptOptions()
BLOCKS = ("0", "1", "2", "3")


def batch_normed(**options: float) -> FineTuning:
    """On a Conv-4 of 8 filters whose batch norms have seen pictures."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = conv4.build(input_shape=(1, 28, 28), width=8)
        for _ in range(20):
            backbone.train()(torch.randn(20, 1, 28, 28))
    return FineTuning(backbone=backbone, **options)  # type: ignore[arg-type]


def task(shots: list[int], *, queries: int = 7) -> tuple[SupportSet, Tensor]:
    return encoded_task(batch_normed(), shots, torch.Generator().manual_seed(0), queries=queries)


def in_float64(support: SupportSet) -> SupportSet:
    return SupportSet(*(tensor.double() for tensor in support))


def block_of(name: str) -> str:
    return name.partition(".")[0]


def moved_blocks(learner: FineTuning) -> set[str]:
    moved = learner.fine_tune(task([2] * 5)[0], options=OPTIONS)
    return {block_of(name) for name, value in moved.items() if value.any() and name not in heads.NAMES}


def test_a_block_has_a_smaller_rate_than_the_one_above_it() -> None:
    learner = batch_normed(rate=0.08, decay=0.5)
    rates = {block_of(name): rate for name, rate in learner.rates().items()}
    assert rates == {"3": 0.08, "2": 0.04, "1": 0.02, "0": 0.01}


def test_blocks_begin_to_move_one_after_the_other_from_the_last_to_the_first() -> None:
    learner = batch_normed(unfrozen_by=0.5)
    first = {block_of(name): step for name, step in learner.first_steps(16).items()}
    assert first == {"3": 2, "2": 4, "1": 6, "0": 8}
    stretched = {block_of(name): step for name, step in learner.first_steps(80).items()}
    assert stretched == {"3": 10, "2": 20, "1": 30, "0": 40}


@pytest.mark.parametrize(
    ("unfrozen_by", "moved"), [(8, set()), (3, {"3"}), (1.5, {"3", "2"}), (1.1, {"3", "2", "1"}), (0.5, set(BLOCKS))]
)
def test_what_is_frozen_does_not_move(unfrozen_by: float, moved: set[str]) -> None:
    # Of 8 steps, 0 to 7, the block at depth d moves from ⌈(d + 1) · unfrozen_by · 8 / 4⌉ on.
    assert moved_blocks(batch_normed(steps=8, unfrozen_by=unfrozen_by)) == moved


def test_it_descends_as_torchs_own_optimizer_does() -> None:
    learner = batch_normed(steps=12, clip=0.05).double()
    support = in_float64(task([3] * 5)[0])
    moved = learner.fine_tune(support, options=AdaptOptions(rate=2.0))
    plain = plain_fine_tuning(learner, support, factor=2.0)
    for name, value in moved.items():
        assert value.any(), "everything has moved, so that everything is compared"
        torch.testing.assert_close(value, plain[name], rtol=0, atol=1e-10)


def plain_fine_tuning(learner: FineTuning, support: SupportSet, *, factor: float) -> State:
    """A module, its parameter groups, and `loss.backward()`, as anyone would write it for even shots."""
    backbone = copy.deepcopy(learner.backbone).eval()
    start = {name: weight.detach().clone() for name, weight in backbone.named_parameters()}
    with torch.no_grad():
        features = backbone(support.inputs)
    ways, labels = support.targets.shape[1], support.targets.argmax(-1)
    head = nn.Linear(features.shape[1], ways).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    head_rate = learner.head_rate * ways / (1 + float(features.square().sum(-1).mean()))
    groups = [
        {"params": [weight], "lr": factor * learner.rates()[name]} for name, weight in backbone.named_parameters()
    ]
    optimizer = torch.optim.SGD(
        [*groups, {"params": head.parameters(), "lr": factor * head_rate}], lr=1.0, momentum=learner.momentum
    )
    first = learner.first_steps(learner.steps)
    for step in range(learner.steps):
        for name, weight in backbone.named_parameters():
            weight.requires_grad_(first[name] <= step)
        pulls = [(weight - start[name]).square().sum() for name, weight in backbone.named_parameters()]
        pulls += [weight.square().sum() for weight in head.parameters()]
        loss = nn.functional.cross_entropy(head(backbone(support.inputs)), labels) + learner.pull / 2 * sum(pulls)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([weight for weight in backbone.parameters() if weight.grad is not None], learner.clip)
        optimizer.step()
    moved = {name: (weight - start[name]).detach() for name, weight in backbone.named_parameters()}
    return moved | {heads.WEIGHT: head.weight.detach(), heads.BIAS: head.bias.detach()}


def test_the_meta_gradient_is_the_slope_of_the_meta_loss() -> None:
    learner, generator = batch_normed(steps=12).double(), torch.Generator().manual_seed(1)
    made = sample(1, generator, shots=2, queries=2)
    episode = Episode(
        in_float64(SupportSet(*(t[0] for t in made.support))), QuerySet(*(t[0].double() for t in made.query))
    )

    def loss() -> Tensor:
        return learner.meta_loss(episode, generator=generator, progress=0.0)

    named = dict(learner.named_parameters())
    slopes = torch.autograd.grad(loss(), list(named.values()))
    ways = [torch.randn(weight.shape, generator=generator, dtype=torch.float64) for weight in named.values()]
    expected = sum(float((slope * way).sum()) for slope, way in zip(slopes, ways, strict=True))
    found = []
    with torch.no_grad():
        for distance in (1e-6, -2e-6):
            for weight, way in zip(named.values(), ways, strict=True):
                weight += distance * way
            found.append(float(loss()))
    assert (found[0] - found[1]) / 2e-6 == pytest.approx(expected, rel=1e-5)


def test_running_statistics_stay_and_the_mode_changes_nothing() -> None:
    learner, (support, query) = batch_normed(), task([2] * 5)
    before = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    evaluated = learner.eval().predict(learner.adapt(support, options=OPTIONS), query)
    learner.train()
    trained = learner.predict(learner.adapt(support, options=OPTIONS), query)
    made = sample(1, torch.Generator().manual_seed(0))
    episode = Episode(SupportSet(*(t[0] for t in made.support)), QuerySet(*(t[0] for t in made.query)))
    learner.meta_loss(episode, generator=torch.Generator(), progress=0.0).backward()  # type: ignore[no-untyped-call]
    assert torch.equal(evaluated, trained)
    assert before
    assert all(torch.equal(buffer, before[name]) for name, buffer in learner.named_buffers())


def test_tasks_stacked_by_vmap_are_tuned_as_each_alone() -> None:
    learner = small_learner("fine_tuning")
    assert isinstance(learner, FineTuning)
    episode = sample(3, torch.Generator().manual_seed(0), shots=2)
    stacked = torch.vmap(lambda support: learner.fine_tune(support, options=OPTIONS))(episode.support)
    for number in range(3):
        alone = learner.fine_tune(SupportSet(*(tensor[number] for tensor in episode.support)), options=OPTIONS)
        for name, value in alone.items():
            torch.testing.assert_close(stacked[name][number], value, rtol=1e-3, atol=1e-5)


def test_before_the_first_step_all_classes_are_alike() -> None:
    learner, (support, query) = batch_normed(), task([2] * 5)
    logits = learner.predict(learner.adapt(support, options=AdaptOptions(steps=0)), query)
    assert not logits.any()


def test_the_backbone_is_kept_as_halves_and_the_head_whole() -> None:
    state = batch_normed().adapt(task([2] * 5)[0], options=OPTIONS)
    assert {name for name, value in state.items() if value.dtype == torch.float32} == set(heads.NAMES)
    assert {value.dtype for name, value in state.items() if name not in heads.NAMES} == {torch.float16}


def test_identical_pictures_of_two_classes_are_an_even_bet() -> None:
    learner, picture = batch_normed(), pictures(1, 1, torch.Generator().manual_seed(0))
    support = SupportSet(picture.repeat(6, 1, 1, 1), torch.eye(2).repeat(3, 1), torch.ones(6))
    probabilities = learner.predict(learner.adapt(support, options=OPTIONS), picture).softmax(-1)
    torch.testing.assert_close(probabilities, torch.tensor([[0.5, 0.5]]), atol=1e-4, rtol=0)


def test_one_example_beside_fifty_is_not_outvoted() -> None:
    learner, (support, _) = batch_normed(), task([1, 50])
    logits = learner.predict(learner.adapt(support, options=OPTIONS), support.inputs)
    assert logits.isfinite().all()
    assert logits[0].argmax() == 0
    assert (logits[1:].argmax(-1) == 1).double().mean() > 0.9


def test_forty_classes_are_learned_too() -> None:
    """Far above the chance of 1 in 40, if not as well as five in as many steps."""
    learner, (support, _) = batch_normed(), task([1] * 40)
    logits = learner.predict(learner.adapt(support, options=OPTIONS), support.inputs)
    assert (logits.argmax(-1) == support.targets.argmax(-1)).double().mean() > 0.4


@pytest.mark.parametrize("options", [AdaptOptions(steps=100), AdaptOptions(rate=10), AdaptOptions(steps=100, rate=10)])
def test_the_most_that_may_be_asked_for_stays_finite(options: AdaptOptions) -> None:
    learner, (support, query) = batch_normed(), task([1, 2, 1])
    assert learner.predict(learner.adapt(support, options=options), query).isfinite().all()


def test_a_backbone_without_weights_has_a_head_to_tune() -> None:
    learner = FineTuning(backbone=nn.Flatten())
    support = SupportSet(torch.eye(2).repeat(2, 1), torch.eye(2).repeat(2, 1), torch.ones(4))
    assert learner.predict(learner.adapt(support, options=OPTIONS), torch.eye(2)).argmax(-1).tolist() == [0, 1]
