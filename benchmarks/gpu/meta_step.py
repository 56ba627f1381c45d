"""MAML's second-order meta-gradient: tasks stacked as kshot has them, against a loop over cloned weights."""

import statistics
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy as loss_of

from benchmarks.gpu.part import Found, Plan, Verdict
from benchmarks.gpu.timing import in_turns, ratio
from meta_core import heads
from meta_core.backbones import conv4
from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.inner_loop import Weights, balanced_cross_entropy, descend, gradient, is_vmapped
from meta_core.learners.maml import MAML
from meta_core.meta_step import meta_gradient, vmaps_tasks
from meta_core.objectives import cross_entropy

WAYS, SHOTS, QUERIES, TASKS, SIDE, RATE, LEAST = 5, 1, 15, 32, 28, 0.4, 10.0
SAME = 1e-3
"""Relative difference of the two meta-gradients."""


class GivenRows(MAML):
    """MAML of one inner step on every weight, whose head has a learned row a class (Finn et al. 2017)."""

    def __init__(self, *, backbone: nn.Module, features: int) -> None:
        super().__init__(backbone=backbone, steps=1, rate=RATE, head_rate=RATE, rates="fixed")
        rows = {heads.WEIGHT: torch.randn(WAYS, features) / features**0.5, heads.BIAS: torch.zeros(WAYS)}
        self.head = nn.ParameterDict({name.rpartition(".")[2]: nn.Parameter(row) for name, row in rows.items()})

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """The queries' cross-entropy after one step on the support set, to second order."""
        support = episode.support
        weights = dict(self.backbone.named_parameters()) | {f"head.{name}": row for name, row in self.head.items()}
        inner = partial(self._inner, support=support)
        direction = gradient(inner, weights, second_order=True, vmapped=is_vmapped(support))
        moved = descend(weights, direction, self.rates.at(0))
        return cross_entropy(self._logits(moved, episode.query.inputs), episode.query.targets)

    def _inner(self, weights: Weights, *, support: SupportSet) -> Tensor:
        return balanced_cross_entropy(self._logits(weights, support.inputs), support)


def measure(plan: Plan) -> Found:
    """Compare the meta-gradients, then time the two in turns."""
    tasks = 2 if plan.tiny else TASKS
    torch.manual_seed(0)
    width = 8 if plan.tiny else 64
    backbone = conv4.build(input_shape=(1, SIDE, SIDE), width=width, norm="group")
    learner = GivenRows(backbone=backbone, features=width).to(plan.device).train()
    episode = _episode(tasks, plan.device)
    runs = {"kshot": partial(_ours, learner, episode), "loop": partial(_loop, learner, episode)}
    ours, theirs = (_gradient(learner, run) for run in runs.values())
    difference = float((ours - theirs).norm() / theirs.norm())
    if not difference <= SAME:
        raise SystemExit(
            f"the meta-gradients differ by {difference:.1e}, at most {SAME:g} is rounding; nothing was timed"
        )
    seconds = in_turns(runs, rounds=plan.rounds, device=plan.device)
    times = ratio(seconds["loop"], seconds["kshot"])
    how = "stacked" if vmaps_tasks(learner, torch.device(plan.device)) else "one by one"
    names = {"kshot": f"kshot, {how}", "loop": "a loop over cloned weights"}
    rows = [[names[name], f"{1000 * statistics.median(own):.1f}"] for name, own in seconds.items()]
    title = f"Second-order MAML, {tasks} tasks of {WAYS} ways, {SHOTS} shot, {QUERIES} queries, Conv-4-{width}"
    verdict = Verdict(f"MAML's meta-step: {LEAST:g} × the loop's speed wanted, {times:.1f} × came", times >= LEAST)
    figures = {"difference": difference, "seconds": seconds, "ratio": times, "how": how}
    return Found(title, ["", "ms a step"], rows, figures, [verdict])


def _ours(learner: GivenRows, episode: Episode) -> None:
    chunk = len(episode.support.weights)
    meta_gradient(learner, episode, chunk=chunk, precision="fp32", generator=torch.Generator(), progress=1.0)


def _loop(learner: GivenRows, episode: Episode) -> None:
    """As learn2learn and `higher` do it: each task on a copy of the weights that remembers where it came from."""
    learner.zero_grad()
    named = {f"backbone.{name}": weight for name, weight in learner.backbone.named_parameters()}
    named |= {f"head.{name}": row for name, row in learner.head.items()}
    tasks = zip(*episode.support[:2], *episode.query, strict=True)
    for shown, shown_targets, asked, asked_targets in tasks:
        cloned = {name: weight.clone() for name, weight in named.items()}
        inner = loss_of(_logits(learner, cloned, shown), shown_targets)
        slopes = torch.autograd.grad(inner, list(cloned.values()), create_graph=True)
        moved = {name: cloned[name] - RATE * slope for name, slope in zip(cloned, slopes, strict=True)}
        (loss_of(_logits(learner, moved, asked), asked_targets) / len(episode.query.inputs)).backward()


def _logits(learner: GivenRows, weights: Weights, inputs: Tensor) -> Tensor:
    own = {name.removeprefix("backbone."): weight for name, weight in weights.items() if name.startswith("backbone.")}
    features = functional_call(learner.backbone, own, (inputs,))
    return features @ weights["head.weight"].T + weights["head.bias"]


def _gradient(learner: GivenRows, run: partial[None]) -> Tensor:
    run()
    parts = [weight.grad.flatten() for weight in learner.parameters() if weight.grad is not None]
    return torch.cat(parts).clone()


def _episode(tasks: int, device: str) -> Episode:
    generator = torch.Generator().manual_seed(0)
    one_hot = torch.eye(WAYS, device=device)

    def drawn(count: int) -> Tensor:
        return torch.randn(tasks, WAYS * count, 1, SIDE, SIDE, generator=generator).to(device)

    def targets(count: int) -> Tensor:
        return one_hot.repeat_interleave(count, dim=0).expand(tasks, -1, -1)

    weights = torch.ones(tasks, WAYS * SHOTS, device=device)
    return Episode(SupportSet(drawn(SHOTS), targets(SHOTS), weights), QuerySet(drawn(QUERIES), targets(QUERIES)))
