"""kshot: the trainer's own `step` by a recipe, which draws each task from the resident pictures, normalizes it,
encodes, and takes an AdamW step.
"""

import torch

from meta_core import train
from meta_core.allocator import keep_freed_memory
from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.learner import AdaptOptions
from meta_core.meta_step import meta_gradient
from meta_core.pictures import Pictures
from meta_core.recipe import Recipe, load_recipe
from meta_core.registry import TASKS
from protonet_step.settings import QUERIES, SHOTS, WAYS, WIDTH, Settings, Weights, builder, tasks_of

_RECIPE = "omniglot-protonet-vinyals"
"""Whose pictures, optimizer and precision these are."""


class Kshot:
    """The step as the trainer takes it.

    Args:
        settings: how.
        tensors: the initial weights, the tasks for comparing, and the pictures to draw from.
    """

    def __init__(self, settings: Settings, tensors: Weights) -> None:
        if settings.keep_memory:
            keep_freed_memory()
        recipe = _recipe(settings)
        self._run, self._settings = train.start(recipe, "cpu"), recipe.optimizer
        learner = self._run.learner.to(settings.torch_dtype)
        for name, parameter in learner.backbone.named_parameters():
            parameter.data.copy_(tensors[f"weights.{name}"])
        first, one_hot = tasks_of(tensors, settings)[0], torch.eye(WAYS, dtype=settings.torch_dtype)
        self._first = Episode(
            SupportSet(
                first.support[None],
                one_hot.repeat_interleave(SHOTS, 0)[None],
                torch.ones(1, WAYS * SHOTS, dtype=settings.torch_dtype),
            ),
            QuerySet(first.query[None], one_hot.repeat_interleave(QUERIES, 0)[None]),
        )
        self._source = TASKS.build(
            "pictures", pictures=_pictures(tensors), spec=recipe.input, device="cpu", **recipe.tasks.options
        )

    def step(self) -> None:
        """As `stepping.worker.Contestant.step`."""
        train.step(self._run, self._source, self._settings)

    def gradient(self) -> Weights:
        """Of the first task's loss; as `stepping.worker.Contestant.gradient`."""
        learner = self._run.learner.train()
        meta_gradient(
            learner,
            self._first,
            chunk=1,
            precision=self._settings.precision,
            generator=torch.Generator(),
            progress=1.0,
        )
        named = learner.backbone.named_parameters()
        return {name: weight.grad for name, weight in named if weight.grad is not None}

    def squared_distances(self) -> Weights:
        """Of the first task's queries by the untrained network's running statistics: minus the logits."""
        learner = self._run.learner.eval()
        with torch.no_grad():
            support = SupportSet(*(tensor[0] for tensor in self._first.support))
            encoded = support._replace(inputs=learner.encode(support.inputs))
            state = learner.adapt(encoded, options=AdaptOptions())
            return {"squared": -learner.predict(state, learner.encode(self._first.query.inputs[0]))}


def _recipe(settings: Settings) -> Recipe:
    """The shipped one with the papers' network and distance, always 60 × 5 + 5, without whole alphabets."""
    shipped = load_recipe(_RECIPE)
    drawn = {"ways": [WAYS, WAYS], "shots": [SHOTS, SHOTS], "queries": QUERIES, "within_group": 0.0}
    options = shipped.tasks.options | drawn
    if not settings.augment:
        options = {name: value for name, value in options.items() if name != "augmentation"}
    return shipped.model_copy(
        update={
            "learner": shipped.learner.model_copy(update={"options": {"scale": 1.0}}),
            "backbone": shipped.backbone.model_copy(update={"options": {"width": WIDTH}}),
            "tasks": shipped.tasks.model_copy(update={"options": options}),
            "optimizer": shipped.optimizer.model_copy(update={"precision": settings.precision}),
        }
    )


def _pictures(tensors: Weights) -> Pictures:
    labels = tensors["pictures.labels"]
    names = tuple(str(number) for number in range(int(labels.max()) + 1))
    return Pictures(
        images=tensors["pictures.images"], labels=labels, classes=names, groups=names, source="the common file"
    )


build = builder(Kshot)
