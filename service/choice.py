"""Which model adapts, and the adaptation: the one that was named, or the best of all by leaving examples out."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from meta_core.episode import State
from meta_core.errors import MetaCoreError
from meta_core.learner import AdaptOptions
from meta_core.leave_one_out import Score, score
from service.catalog import AUTO, Catalog
from service.classifier import Labels
from service.dependencies import Services
from service.judging import summary_of
from service.reporting import left_out
from service.scheduler import Outcome, Timings
from service.served import ServedModel

_AS_GOOD = 0.01
"""Nats a picture that decide nothing: within them the first candidate is taken, the default before others."""


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The models that a request may get.

    Attributes:
        models: at least one.
        reason: why, where there is but one.
    """

    models: Sequence[ServedModel]
    reason: str

    @classmethod
    def of(cls, catalog: Catalog, name: str | None, options: AdaptOptions) -> "Candidates":
        """Those that a request for `name` may get.

        Raises:
            NotReady: models are still loading, or none could be.
            UnknownModel: none has the name.
        """
        if name != AUTO:
            model, reason = catalog.classifier(name)
            return cls([model], reason)
        models = catalog.candidates(options)
        return cls(models, f"auto: no other model than {models[0].card.name} can be scored here")


@dataclasses.dataclass(frozen=True)
class Adapted:
    """One model's adaptation.

    Attributes:
        model: which.
        pictures: (S, channels, H, W), as it takes them.
        outcome: of the engine.
        left_out: leave-one-out logits (S, C), where they were asked and it has any.
        reason: why this model.
        summary: what is kept of the examples beside the state.
    """

    model: ServedModel
    pictures: Tensor
    outcome: Outcome
    left_out: Tensor | None
    reason: str
    summary: State = dataclasses.field(default_factory=dict)

    @property
    def features(self) -> Tensor:
        """(S, …) encoded examples."""
        assert self.outcome.support_features is not None  # noqa: S101 (an adaptation has them)
        return self.outcome.support_features

    async def summarized(self, services: Services, labels: Labels, options: AdaptOptions) -> "Adapted":
        """The same with a summary of its examples, and their leave-one-out logits if that took them."""
        left_out, summary = await services.reporter.run(
            summary_of, self.model, self.features, labels.targets, options, self.left_out
        )
        return dataclasses.replace(self, left_out=left_out, summary=summary)

    def answering(self, later: Outcome) -> "Adapted":
        """The same with what its state said of queries, later."""
        both = Timings(*(first + second for first, second in zip(self.outcome.timings, later.timings, strict=True)))
        outcome = later._replace(support_features=self.outcome.support_features, timings=both)
        return dataclasses.replace(self, outcome=outcome)


async def adapt(
    services: Services,
    candidates: Candidates,
    pictures: Sequence[bytes | str],
    labels: Labels,
    *,
    locs: Sequence[tuple[str | int, ...]],
    options: AdaptOptions,
    tenant: str,
) -> Adapted:
    """Adapt every candidate to the pictures and take the one that labels them best when each is left out in turn.

    A candidate that fails on these examples is passed over, unless all do: then it is the first one's error.

    Raises:
        UndecodablePictures: names each.
        MetaCoreError: what the learner says of the examples.
    """
    adapted: list[Adapted] = []
    errors: list[MetaCoreError] = []
    for model in candidates.models:
        decoded = await services.decoder.all(pictures, model.card.pictures, loc=locs)
        try:
            outcome = await services.engine.adapt(model, decoded, labels.targets, options=options, tenant=tenant)
            one = Adapted(model, decoded, outcome, None, candidates.reason)
            if len(candidates.models) > 1:
                logits = await services.reporter.run(left_out, model, one.features, labels.targets, options)
                one = dataclasses.replace(one, left_out=logits)
        except MetaCoreError as error:
            errors.append(error)
        else:
            adapted.append(one)
    if not adapted:
        raise errors[0]
    return adapted[0] if len(candidates.models) == 1 else _best(adapted, labels)


def _best(adapted: Sequence[Adapted], labels: Labels) -> Adapted:
    logits = [one.left_out for one in adapted if one.left_out is not None]
    place, reason = best_of([one.model.card.name for one in adapted], logits, labels.indices)
    return dataclasses.replace(adapted[place], reason=reason)


def best_of(names: Sequence[str], logits: Sequence[Tensor], labels: Sequence[int]) -> tuple[int, str]:
    """Which model labels the examples best that all have judged, by its log-likelihood, and why in words.

    Args:
        names: of the models, those to be preferred first.
        logits: of each (S, C), leave-one-out; NaN where an example was not judged.
        labels: of the S examples.
    """
    judged = ~torch.stack([rows.isnan().any(-1) for rows in logits]).any(0)
    if not judged.any():
        joined = ", ".join(names)
        return 0, _short(
            f"auto: each label has one example, so none can be left out to choose among {joined}: the first was taken"
        )
    true = torch.tensor(labels)[judged]
    scores = [score(rows[judged], true) for rows in logits]
    best = max(each.log_likelihood for each in scores)
    place = next(place for place, each in enumerate(scores) if each.log_likelihood >= best - _AS_GOOD)
    ranked = sorted(range(len(names)), key=lambda other: (other != place, -scores[other].log_likelihood))
    told = "; ".join(f"{names[other]} {_figures(scores[other])}" for other in ranked)
    return place, _short(
        f"auto: the best, or as good as any, at labelling {int(judged.sum())} examples from the others: {told}"
    )


def _figures(one: Score) -> str:
    return f"{100 * one.accuracy:.1f} % right, log-likelihood {one.log_likelihood:.3f}"


def _short(reason: str) -> str:
    """As much as a classifier's row holds."""
    return reason if len(reason) <= 400 else f"{reason[:399]}…"
