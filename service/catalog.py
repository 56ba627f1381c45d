"""The loaded models, by name."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from meta_core.learner import AdaptOptions
from service.classifier import Classifier
from service.errors import ModelVersionMissing, NotReady, UnknownModel, WrongTask
from service.loading import load_models
from service.served import ServedModel

AUTO = "auto"

_MOST_CANDIDATES = 8
"""Each encodes all examples."""

_USUAL = "photos"
"""What answers where neither a request nor a setting names a model, if it is there."""


def usual(names: Iterable[str]) -> str | None:
    """Which of these models answers where nobody names one; None if there is none."""
    there = sorted(names)
    return _USUAL if _USUAL in there else next(iter(there), None)


class Changes(NamedTuple):
    """What loading changed, by name; `retired` are the models that answer no new request any more."""

    added: list[str]
    replaced: list[str]
    removed: list[str]
    unchanged: list[str]
    retired: list[ServedModel]


@dataclass
class Catalog:
    """Models by name; empty and not ready until `load` has run.

    Attributes:
        default: name of the model that answers where a request names none; if not given, `photos`, or else
            the first by name.
        models: the loaded ones.
        damaged: folders that could not be loaded, and why.
        loaded_from: the folder that was loaded; None while loading.
        ready: whether loading is over and at least one model answers; requests that name none need the default too.
    """

    default: str | None = None
    models: dict[str, ServedModel] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    loaded_from: Path | None = None
    ready: bool = False

    def __post_init__(self) -> None:
        self._given, self._loading = self.default, threading.Lock()

    def load(self, folder: Path, *, device: str, threads: int) -> Changes:
        """Load what is new in `folder`, let go of what is gone; those that answer go on answering meanwhile.

        Models that are let go of still have their threads: requests in flight may use them. `Changes.retired` are to be
        closed when none can.
        """
        with self._loading:
            before = self.models
            models, damaged = load_models(folder, device=device, threads=threads, known=before)
            self.models, self.damaged = models, damaged
            classifying = [name for name, model in models.items() if not model.card.regresses]
            self.default = self._given or usual(classifying or models)
            self.loaded_from = folder
            self.ready = bool(models)
        kept = {name for name in models if models[name] is before.get(name)}
        return Changes(
            added=sorted(models.keys() - before.keys()),
            replaced=sorted((models.keys() & before.keys()) - kept),
            removed=sorted(before.keys() - models.keys()),
            unchanged=sorted(kept),
            retired=[model for name, model in before.items() if model is not models.get(name)],
        )

    def close(self) -> None:
        """End the models' threads."""
        for model in self.models.values():
            model.close()

    def reasons(self) -> list[str]:
        """Why requests cannot be answered; empty when they can."""
        if self.default in self.models:
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
        if self.default not in self.models:
            raise NotReady(f"not ready: {'; '.join(self.reasons())}", retry_after_seconds=2)
        return self.models[self.default], "the default model, as the request names none"

    def classifier(self, name: str | None) -> tuple[ServedModel, str]:
        """As `choose`, of a model that classifies.

        Raises:
            NotReady, UnknownModel: as there.
            WrongTask: it is a regression.
        """
        model, reason = self.choose(name)
        if model.card.regresses:
            raise WrongTask(
                f"{model.card.name} is a regression: it learns from targets, not from labels. POST /v1/regress asks "
                "it; to classify, name a model that does"
            )
        return model, reason

    def regression(self, name: str | None) -> tuple[ServedModel, str]:
        """The regression that a request gets which names it, or names none where there is but one, and why.

        Raises:
            NotReady, UnknownModel: as for `choose`.
            WrongTask: it classifies, none is named and there are several, or there is none.
        """
        if self.ready and name is None:
            name = self._only_regression()
            return self[name], "the only regression, as the request names none"
        model, reason = self.choose(name)
        if not model.card.regresses:
            raise WrongTask(
                f"{model.card.name} classifies: it learns from labels, not from targets. POST /v1/classify asks it; "
                f"{self._regressions_told()}"
            )
        return model, reason

    def _only_regression(self) -> str:
        names = [name for name, model in self.models.items() if model.card.regresses]
        if len(names) != 1:
            raise WrongTask(f"the request names no model; {self._regressions_told()}")
        return names[0]

    def _regressions_told(self) -> str:
        names = sorted(name for name, model in self.models.items() if model.card.regresses)
        return f"regressions are: {', '.join(names)}" if names else "no regression is loaded"

    def candidates(self, options: AdaptOptions) -> list[ServedModel]:
        """The models among which `auto` chooses: the default first, then by name; at most eight.

        Those that adapt their whole network are left out, for scoring one would take as many adaptations as there are
        examples, and so are those that do not take the options. The default stays where no other does.

        Raises:
            NotReady: models are still loading, or none could be.
        """
        default, _ = self.classifier(None)
        by_name = [
            self.models[name]
            for name in sorted(self.models)
            if name != default.card.name and not self.models[name].card.regresses
        ]
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
