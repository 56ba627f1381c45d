"""Weights, pictures and reference answers, the same for every contestant."""

import base64
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.photo_request import photos
from benchmarks.serving.settings import CALIBRATED, COMPARED, MEAN, SHOTS, STD, WAYS, Network
from meta_core import checkpoint
from meta_core.batching import adapt_many
from meta_core.card import Part
from meta_core.episode import SupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.learners.protonet import ProtoNet
from meta_core.preprocess import InputSpec, decode, normalize
from meta_core.quantize import quantize
from service.demo_calls import jpeg

_LOGIT_SPREAD = 2.0
"""Standard deviation of a query's logits over the classes: probabilities that are neither all alike nor all 0 or 1."""


class Pictures(NamedTuple):
    """JPEGs of 640×480.

    Attributes:
        support: WAYS · SHOTS, the n-th of class n % WAYS.
        queries: COMPARED others, which are also what the load sends.
        others: CALIBRATED, again others.
    """

    support: list[bytes]
    queries: list[bytes]
    others: list[bytes]


class Prepared(NamedTuple):
    """One network, ready to be served.

    Attributes:
        network: which.
        models: kshot's folder of model folders.
        peers: folder that `peers/classifier.py` reads.
        pictures: what is sent.
        expected: probabilities of the queries (COMPARED, WAYS), by kshot's core on torch.
    """

    network: Network
    models: Path
    peers: Path
    pictures: Pictures
    expected: NDArray[np.float64]


def pictures() -> Pictures:
    """Pieces of two photos that ship with scikit-learn."""
    shown, asked = WAYS * SHOTS, WAYS * SHOTS + COMPARED
    made = [base64.b64decode(jpeg(picture)) for picture in photos(asked + CALIBRATED)]
    return Pictures(made[:shown], made[shown:asked], made[asked:])


def prepare(network: Network, made: Pictures, folder: Path) -> Prepared:
    """Write a network of random weights (a fixed seed) for kshot and for the peers.

    Speed does not depend on what the weights are; that all compute the same is checked on their answers.

    Args:
        network: which.
        made: the pictures, of which the support set makes the classifier.
        folder: to write into.
    """
    spec = InputSpec(height=network.side, width=network.side, mean=MEAN, std=STD)
    support, queries = (
        normalize(torch.from_numpy(np.stack([decode(each, spec) for each in part])), spec) for part in made[:2]
    )
    learner = _learner(network, spec, support, queries)
    models, peers = folder / "models", folder / network.name
    card = checkpoint.save(models / network.name, learner, description=_description(network, learner, spec))
    with torch.no_grad():
        state = _state(learner, learner.encode(support))
        expected = learner.predict(state, learner.encode(queries)).double().softmax(-1).numpy()
    peers.mkdir()
    shutil.copy(models / card.name / checkpoint.ENCODER, peers)
    quantize(models / card.name, models / reduced_name(network), data=_labelled(made.others, folder))
    shutil.copy(models / reduced_name(network) / checkpoint.ENCODER, peers / "encoder-int8.onnx")
    prototypes = state["prototypes"]
    # −s|f − p|² = 2s p·f − s|p|² − s|f|², of which the last is the same for every class.
    head = {"weight": 2 * learner.scale * prototypes, "bias": -learner.scale * prototypes.square().sum(1)}
    torch.save({"backbone": _plain(learner.backbone), "head": head}, peers / "weights.pt")
    about = network._asdict() | {"mean": MEAN, "std": STD}
    (peers / "about.json").write_text(json.dumps(about))
    return Prepared(network, models, peers, made, expected)


def reduced_name(network: Network) -> str:
    """Of kshot's model in 8-bit integers."""
    return f"{network.name}-int8"


def _labelled(pictures: list[bytes], folder: Path) -> Path:
    """A folder of pictures as `kshot models quantize` takes it."""
    data = folder / "pictures"
    for number, picture in enumerate(pictures):
        (data / str(number % WAYS)).mkdir(parents=True, exist_ok=True)
        (data / str(number % WAYS) / f"{number}.jpg").write_bytes(picture)
    return data


def _learner(network: Network, spec: InputSpec, support: Tensor, queries: Tensor) -> ProtoNet:
    """A ProtoNet whose batch norms know the pictures' statistics and whose probabilities are spread."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = checkpoint.build_learner(Part(name="protonet"), Part(**network.backbone), spec)
    assert isinstance(learner, ProtoNet)
    for layer in learner.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over what it sees
    with torch.no_grad():
        learner.train().encode(support)
        learner.eval()
        logits = learner.predict(_state(learner, learner.encode(support)), learner.encode(queries))
    learner.scale = round(float(_LOGIT_SPREAD / logits.std(-1).mean()), 8)  # as the card will tell it
    return learner


def _state(learner: Learner, features: Tensor) -> dict[str, Tensor]:
    targets = torch.eye(WAYS)[torch.arange(WAYS * SHOTS) % WAYS]
    (state,) = adapt_many(learner, [SupportSet(features, targets, torch.ones(len(features)))], options=AdaptOptions())
    return state


def _description(network: Network, learner: ProtoNet, spec: InputSpec) -> dict[str, object]:
    return {
        "name": network.name,
        "version": "1.0.0",
        "description": "Random weights, to measure speed with.",
        "licence": "Apache-2.0",
        "learner": Part(name="protonet", options={"scale": learner.scale}),
        "backbone": Part(**network.backbone),
        "origin": "a random number generator",
        "input": spec,
    }


def _plain(backbone: nn.Module) -> dict[str, Tensor]:
    """The weights by the names that a plain torch or torchvision network gives them."""
    return {name.removeprefix("network."): value for name, value in backbone.state_dict().items()}
