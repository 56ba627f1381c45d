"""ProtoNet's accuracy on Omniglot, 5 ways 1 shot, after so many seconds of training."""

import statistics
import time

import torch

from benchmarks.gpu.part import Found, Plan, Verdict
from benchmarks.gpu.timing import seconds_of
from meta_core.asking import looking_up
from meta_core.errors import InvalidDataset
from meta_core.evaluate import EpisodePlan, episode_accuracy
from meta_core.loop import step
from meta_core.recipe import load_recipe
from meta_core.registry import TASKS
from meta_core.starting import start
from meta_core.train import splits

RECIPE, FILE, SECONDS, LEAST = "omniglot-protonet-vinyals", "omniglot_28_u8.npz", 30.0, 98.8
_TRIED = 50
"""Steps whose speed says how many fit, so that the rates fall to 0 at the end."""


def measure(plan: Plan) -> Found:
    """Train for the time, then ask 1,000 episodes of characters that training never saw."""
    title = f"{RECIPE}: {SECONDS:g} s of training, then 1,000 episodes of 5 ways, 1 shot"
    try:
        training, _, test = splits(load_recipe(RECIPE), plan.data / FILE)
    except InvalidDataset as error:
        return Found(title, ["", ""], [["not measured", str(error)]], None, [Verdict(f"ProtoNet: {error}", None)])
    tried, seconds, episodes = (2, 0.5, 10) if plan.tiny else (_TRIED, SECONDS, 1000)
    recipe = load_recipe(RECIPE)
    source = TASKS.build(
        "pictures", pictures=training, spec=recipe.pictures, device=plan.device, **recipe.tasks.options
    )
    trial = start(recipe, plan.device)
    each = [seconds_of(lambda: step(trial, source, recipe.optimizer), plan.device) for _ in range(tried)]
    pace = statistics.median(each[tried // 2 :])
    settings = recipe.optimizer.model_copy(update={"steps": max(1, int(0.95 * seconds / pace)), "warmup_steps": 20})
    run = start(recipe, plan.device)
    began = time.perf_counter()
    while run.step < settings.steps:
        step(run, source, settings)
    if plan.device == "cuda":
        torch.cuda.synchronize()
    took = time.perf_counter() - began
    asked = EpisodePlan(ways=5, shots=1, queries=15, episodes=episodes)
    learner = run.learner.eval()
    row = episode_accuracy(learner, looking_up(learner, test.images, recipe.pictures), test, asked)
    met = row.accuracy >= LEAST and took <= SECONDS
    text = f"ProtoNet: {LEAST} % in {SECONDS:g} s wanted, {row.accuracy:.2f} ± {row.ci95:.2f} % in {took:.1f} s came"
    figures = {
        "seconds": took,
        "steps": settings.steps,
        "step_seconds": pace,
        "accuracy": row.accuracy,
        "ci95": row.ci95,
    }
    rows = [[f"{settings.steps} steps of {1000 * pace:.1f} ms", f"{took:.1f}", f"{row.accuracy:.2f} ± {row.ci95:.2f}"]]
    return Found(title, ["", "seconds", "accuracy, %"], rows, figures, [Verdict(text, met)])
