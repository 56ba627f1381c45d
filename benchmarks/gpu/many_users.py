"""A hundred users' MAML adaptations at once, against one user's."""

import statistics
from pathlib import Path

import torch

from benchmarks.gpu.part import Found, Plan, Verdict
from benchmarks.gpu.timing import in_turns, ratio
from meta_core import checkpoint
from meta_core.asking import support_of
from meta_core.batching import adapt_many
from meta_core.device import to_host
from meta_core.episode import SupportSet
from meta_core.learner import AdaptOptions

MODEL, WAYS, SHOTS, STEPS, USERS, MOST = "omniglot-maml", 5, 5, 5, 100, 3.0
_MODELS = Path(__file__).parents[2] / "models"


def measure(plan: Plan) -> Found:
    """Adaptation alone, and with the states brought to the CPU as the engine does."""
    model, users = checkpoint.load(_MODELS / MODEL), 3 if plan.tiny else USERS
    learner, options = model.learner.to(plan.device), AdaptOptions(steps=STEPS)
    generator = torch.Generator().manual_seed(0)

    def support() -> SupportSet:
        inputs = torch.randn(WAYS * SHOTS, *model.card.input.shape, generator=generator)
        return support_of(inputs.to(plan.device), ways=WAYS)

    supports = [support() for _ in range(users)]

    def adapted(count: int) -> None:
        states = adapt_many(learner, supports[:count], options=options)
        to_host([tensor for state in states for tensor in state.values()])

    runs = {"one": lambda: adapted(1), "all": lambda: adapted(users)}
    seconds = in_turns(runs, rounds=plan.rounds, device=plan.device)
    times = ratio(seconds["all"], seconds["one"])
    ms = {name: 1000 * statistics.median(own) for name, own in seconds.items()}
    rows = [[f"{users} users at once", f"{ms['one']:.1f}", f"{ms['all']:.1f}", f"{times:.2f}"]]
    verdict = Verdict(f"{users} users at once: at most {MOST:g} × one wanted, {times:.2f} × came", times <= MOST)
    title = f"Adaptations of {MODEL}, {STEPS} steps, {WAYS} ways × {SHOTS} shots, with states back on the CPU"
    columns = ["", "one user, ms", "all, ms", "all ÷ one"]
    return Found(title, columns, rows, {"users": users, "seconds": seconds, "ratio": times}, [verdict])
