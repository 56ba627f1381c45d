"""A model that answers requests: its card, what encodes, and what adapts."""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from meta_core import checkpoint
from meta_core.batching import adapt_many, predict_many
from meta_core.card import Card
from meta_core.episode import SupportSet
from meta_core.errors import AdaptationDiverged, InvalidCheckpoint, InvalidOptions
from meta_core.learner import AdaptOptions, Learner
from meta_core.parallel import Workers, replica
from service.encoders import Encoder, encoder_for

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that answers requests. Equal only to itself, so that jobs group by it.

    Attributes:
        card: what it is.
        learner: adapts and predicts in the device's thread.
        encoder: runs `encode` there.
        workers: threads that adapt different users' tasks side by side, where its tasks are adapted one by one.
        aside: the learner again, for the thread of long jobs: modules belong to one thread each. None where there is
            no such thread.
        folder: its files.
    """

    card: Card
    learner: Learner
    encoder: Encoder
    workers: Workers | None = None
    aside: Learner | None = None
    folder: Path | None = None

    @property
    def encoder_sha256(self) -> str:
        """Which weights a classifier is pinned to: that made its features or, if nothing encodes, its state."""
        return self.card.files[checkpoint.ENCODER if self.learner.encodes else checkpoint.WEIGHTS]

    def steps(self, options: AdaptOptions) -> int:
        """How often adaptation goes over the examples."""
        return int(getattr(self.learner, "steps", 1) if options.steps is None else options.steps)

    def check_options(self, options: AdaptOptions) -> None:
        """Refuse options that the card does not have or that lie outside its limits.

        Raises:
            InvalidOptions: names the option, what came and what is taken.
        """
        allowed = self.card.adapt
        taken = ", ".join(f"{name} from {low:g} to {high:g}" for name, (low, high) in allowed.items()) or "none"
        for name, value in options.given().items():
            if name not in allowed or not allowed[name][0] <= value <= allowed[name][1]:
                raise InvalidOptions(f"adapt.{name} is {value}; the options of model {self.card.name} are: {taken}")

    def takes(self, options: AdaptOptions) -> bool:
        """Whether the card has these options, within its limits."""
        try:
            self.check_options(options)
        except InvalidOptions:
            return False
        return True

    def close(self) -> None:
        """End its threads."""
        if self.workers is not None:
            self.workers.close()


def serve(folder: Path, *, device: str, threads: int) -> ServedModel:
    """Load a model's folder and run it once.

    Raises:
        InvalidCheckpoint: it is damaged, does not run, or answers by what else was asked.
    """
    model = checkpoint.load(folder)
    if model.card.accuracy and not any(row.inductive for row in model.card.accuracy):
        raise InvalidCheckpoint(
            f"{folder.name}: it was trained to normalize by the batch at hand, as papers did: an answer depends "
            "on the other queries; such a model is for `kshot evaluate --transductive` alone"
        )
    learner = model.learner.to(device)
    one_by_one = learner.loops_on_cpu or learner.order_matters or not learner.vectorized
    try:
        served = ServedModel(
            model.card,
            learner,
            encoder_for(model, device=device, threads=threads),
            workers=Workers(learner, count=threads) if one_by_one and device == "cpu" and threads > 1 else None,
            aside=replica(learner),
            folder=folder,
        )
        _warm_up(served, device)
    except Exception as error:  # ONNX Runtime's own errors have no common class
        raise InvalidCheckpoint(f"{folder.name}: it does not run: {error}") from error
    logger.info("serving %s %s on %s", model.card.name, model.card.version, served.encoder.runtime)
    return served


@torch.no_grad()
def _warm_up(model: ServedModel, device: str) -> None:
    """Encode, adapt and predict: the first runs allocate and choose kernels, and no user should wait for that."""
    shape = model.card.input.shape
    for count in (1, 8):
        model.encoder.encode(torch.zeros(count, *shape, dtype=torch.uint8))
    noise = torch.randint(0, 256, (10, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = model.encoder.encode(noise)
    targets = torch.eye(2, device=device).repeat(5, 1)
    if model.card.regresses:
        targets = targets[:, :1]
    support = SupportSet(features, targets, torch.ones(10, device=device))
    with contextlib.suppress(AdaptationDiverged):  # to noise; that is no fault of the model
        states = adapt_many(model.learner, [support] * 2, options=AdaptOptions(), workers=model.workers)
        predict_many(model.learner, states, [features] * 2, workers=model.workers)
