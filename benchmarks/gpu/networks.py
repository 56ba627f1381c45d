"""The three networks whose encoding is measured, as models that the engine serves."""

from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.serving.settings import MEAN, NETWORKS, STD
from meta_core import checkpoint
from meta_core.card import Card, Part, StateSize
from meta_core.checkpoint import Model
from meta_core.preprocess import InputSpec

_PHOTOS = Path(__file__).parents[2] / "models" / "photos"


class Named(NamedTuple):
    """A model and what a table calls it."""

    title: str
    model: Model


def networks(device: str, *, precision: str = "fp32", only: int | None = None) -> list[Named]:
    """Conv-4 and ResNet-18 of random weights, which cost what trained ones do, and the EfficientNet-Lite0 of `photos`.

    Args:
        device: where the learners are.
        precision: of the encoders.
        only: the first so many.
    """
    named = [_named(number, device) for number in range(only or len(NETWORKS) + 1)]
    return [Named(title, _in(model, precision)) for title, model in named]


def _named(number: int, device: str) -> Named:
    if number == len(NETWORKS):
        found = Named("EfficientNet-Lite0 at 224 px", checkpoint.load(_PHOTOS))
    else:
        network = NETWORKS[number]
        found = Named(network.title, _random(network.name, network.side, Part(**network.backbone)))
    found.model.learner.to(device)
    return found


def _in(model: Model, precision: str) -> Model:
    return Model(model.card.model_copy(update={"precision": precision}), model.learner, model.folder)


def _random(name: str, side: int, backbone: Part) -> Model:
    spec = InputSpec(height=side, width=side, mean=MEAN, std=STD)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learner = checkpoint.build_learner(Part(name="protonet"), backbone, spec).eval().requires_grad_(False)
    card = Card(
        name=name,
        version="1.0.0",
        description="Random weights, to measure speed with.",
        licence="Apache-2.0",
        learner=Part(name="protonet"),
        backbone=backbone,
        input=spec,
        features=checkpoint.feature_shape(learner, spec),
        state_bytes=StateSize(fixed=0, per_way=0, per_example=0),
        origin="a random number generator",
        files={},
    )
    return Model(card, learner, Path())
