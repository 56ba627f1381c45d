"""The loaded models, by name."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from meta_core.errors import InvalidCheckpoint
from meta_core.learner import AdaptOptions
from service.classifier import Classifier
from service.errors import ModelVersionMissing, NotReady, UnknownModel
from service.served import ServedModel, serve

logger = logging.getLogger(__name__)

AUTO = "auto"

_MOST_CANDIDATES = 8
"""Each encodes all examples."""

_USUAL = "photos"
"""What answers where neither a request nor a setting names a model, if it is there."""


def usual(names: Iterable[str]) -> str | None:
    """Which of these models answers where nobody names one; None if there is none."""
    there = sorted(names)
    return _USUAL if _USUAL in there else next(iter(there), None)


@dataclass
class Catalog:
    """Models by name; empty and not ready until `load` has run.

    Attributes:
        default: name of the model that answers where a request names none; if not given, `photos`, or else
            the first by name.
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
                model = serve(path, device=device, threads=threads)
            except InvalidCheckpoint as error:
                logger.warning("model %s is not served: %s", path.name, error)
                self.damaged[path.name] = str(error)
            else:
                self.models[model.card.name] = model
        if self.default is None and self.models:
            self.default = usual(self.models)
        self.loaded_from = folder
        self.ready = self.default in self.models

    def close(self) -> None:
        """End the models' threads."""
        for model in self.models.values():
            model.close()

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
        """The model that a request gets which names it, or none, and why.

        Raises:
            NotReady: models are still loading, or none could be.
            UnknownModel: none has the name; says which there are.
        """
        if name is not None:
            return self[name], "named by the request"
        if not self.ready or self.default is None:
            raise NotReady(f"not ready: {'; '.join(self.reasons())}", retry_after_seconds=2)
        return self.models[self.default], "the default model, as the request names none"

    def candidates(self, options: AdaptOptions) -> list[ServedModel]:
        """The models among which `auto` chooses: the default first, then by name; at most eight.

        Those that adapt their whole network are left out, for scoring one would take as many adaptations as there are
        examples, and so are those that do not take the options. The default stays where no other does.

        Raises:
            NotReady: models are still loading, or none could be.
        """
        default, _ = self.choose(None)
        by_name = [self.models[name] for name in sorted(self.models) if name != default.card.name]
        fit = [model for model in [default, *by_name] if model.learner.encodes and model.takes(options)]
        return fit[:_MOST_CANDIDATES] or [default]

    def pinned(self, classifier: Classifier) -> ServedModel:
        """The model that a classifier was adapted with.

        Raises:
            NotReady: models are still loading, or none could be.
            ModelVersionMissing: it is not loaded, or in another version.
        """
        if self.ready and classifier.model not in self.models:
            raise ModelVersionMissing(
                f"classifier {classifier.id} was adapted with {classifier.model} {classifier.version}, which is not "
                "loaded. Create it again, or ask for the version to be loaded"
            )
        model = self[classifier.model]
        classifier.check_served_by(model)
        return model

    def __getitem__(self, name: str) -> ServedModel:
        if not self.ready:
            raise NotReady(f"not ready: {'; '.join(self.reasons())}", retry_after_seconds=2)
        if name not in self.models:
            raise UnknownModel(f"no model is called {name[:64]!r}; there are: {', '.join(sorted(self.models))}")
        return self.models[name]
