"""The loaded models, by name."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch

from meta_core import checkpoint
from meta_core.card import Card
from meta_core.errors import InvalidCheckpoint
from meta_core.learner import Learner
from service.encoders import Encoder, encoder_for
from service.errors import NotReady, UnknownModel

logger = logging.getLogger(__name__)

AUTO = "auto"


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that answers requests. Equal only to itself, so that jobs group by it."""

    card: Card
    learner: Learner
    encoder: Encoder

    @property
    def encoder_sha256(self) -> str:
        """Which encoder made a classifier's features."""
        return self.card.files[checkpoint.ENCODER]


@dataclass
class Catalog:
    """Models by name; empty and not ready until `load` has run.

    Attributes:
        default: name of the model that answers where a request names none; the first by name if not given.
        models: the loaded ones.
        damaged: folders that could not be loaded, and why.
        loaded_from: the folder that was loaded; None while loading.
        ready: whether loading is over and at least one model answers.
    """

    default: str | None = None
    models: dict[str, ServedModel] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    loaded_from: Path | None = None
    ready: bool = False

    def load(self, folder: Path, *, device: str, threads: int) -> None:
        """Load and warm up every model folder under `folder`; a damaged one does not keep the others from serving."""
        for path in sorted(folder.iterdir() if folder.is_dir() else []):
            if not path.is_dir() or path.name.startswith("."):
                continue
            try:
                model = _serve(path, device=device, threads=threads)
            except InvalidCheckpoint as error:
                logger.warning("model %s is not served: %s", path.name, error)
                self.damaged[path.name] = str(error)
            else:
                self.models[model.card.name] = model
        if self.default is None and self.models:
            self.default = min(self.models)
        self.loaded_from = folder
        self.ready = self.default in self.models

    def reasons(self) -> list[str]:
        """Why requests cannot be answered; empty when they can."""
        if self.ready:
            return []
        if self.models:
            return [f"the default model {self.default!r} is not among those loaded: {', '.join(self.models)}"]
        if self.loaded_from is None:
            return ["models are loading"]
        nothing = f"no model was found in {self.loaded_from.name!r}; start with --models-dir or KSHOT_MODELS_DIR"
        return [f"{name}: {reason}" for name, reason in self.damaged.items()] or [nothing]

    def choose(self, name: str | None) -> tuple[ServedModel, str]:
        """The model that a request gets, and why.

        Raises:
            NotReady: models are still loading, or none could be.
            UnknownModel: none has the name; says which there are.
        """
        if not self.ready or self.default is None:
            raise NotReady(f"not ready: {'; '.join(self.reasons())}", retry_after_seconds=2)
        if name is None:
            return self.models[self.default], "the default model, as the request names none"
        if name == AUTO:
            # Choosing by leave-one-out score on the support set needs a second model to choose from.
            return self.models[self.default], f"auto: the default of {len(self.models)} loaded model(s)"
        return self[name], "named by the request"

    def __getitem__(self, name: str) -> ServedModel:
        if not self.ready:
            raise NotReady(f"not ready: {'; '.join(self.reasons())}", retry_after_seconds=2)
        if name not in self.models:
            raise UnknownModel(f"no model is called {name[:64]!r}; there are: {', '.join(sorted(self.models))}")
        return self.models[name]


def _serve(folder: Path, *, device: str, threads: int) -> ServedModel:
    model = checkpoint.load(folder)
    model.learner.to(device)
    try:
        served = ServedModel(model.card, model.learner, encoder_for(model, device=device, threads=threads))
        for count in (1, 8):  # the first runs allocate and choose kernels; no user should wait for that
            served.encoder.encode(torch.zeros(count, *model.card.input.shape, dtype=torch.uint8))
    except Exception as error:  # ONNX Runtime's own errors have no common class
        raise InvalidCheckpoint(f"{folder.name}: its encoder does not run: {error}") from error
    logger.info("serving %s %s on %s", model.card.name, model.card.version, served.encoder.runtime)
    return served
