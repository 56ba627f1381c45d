"""Ask a stored classifier about labelled pictures, and count."""

import time
from collections.abc import Sequence

import torch
from fastapi import Request

from meta_core.answering import Answers
from meta_core.intervals import wilson_ci95
from meta_core.sharpness import calibration_error
from service.answers import timings_ms
from service.callers import Caller
from service.classifying import Judged, Queries, judge_stored
from service.dependencies import Services
from service.errors import FieldError, InvalidRequest, TooLarge, kind_of
from service.schemas import BadItem, EvaluationOut, Interval, LabelScore
from service.settings import Limits
from service.support import Loc, Support


async def evaluate(
    request: Request,
    services: Services,
    caller: Caller,
    support: Support,
    *,
    classifier_id: str,
    filenames: Sequence[str | None] | None = None,
) -> EvaluationOut:
    """Classify labelled pictures and compare.

    Args:
        request: for a client that hangs up.
        services: the app's.
        caller: whose classifier it is.
        support: the pictures with their right labels.
        classifier_id: which.
        filenames: of the pictures, where they have any.

    Raises:
        InvalidRequest: a label is none of the classifier's.
    """
    began = time.perf_counter()
    classifier = await services.store.get(classifier_id, tenant=caller.tenant)
    _check(support.labels, classifier.labels, support.locs, services.settings.limits)
    names = [None] * len(support.labels) if filenames is None else filenames
    queries = Queries(support.pictures, names, support.locs)
    judged = await judge_stored(request, services, caller, queries, classifier_id=classifier_id)
    _check(support.labels, judged.classifier.labels, support.locs, services.settings.limits)  # it may have changed
    return _counted(judged, support.labels, names, began=began)


def _check(given: Sequence[str], known: Sequence[str], locs: Sequence[Loc], limits: Limits) -> None:
    if len(given) > limits.files:
        raise TooLarge(f"{len(given)} pictures came; at most {limits.files} are taken in a request")
    strange = [number for number, label in enumerate(given) if label not in known]
    if strange:
        names = ", ".join(repr(name[:40]) for name in list(dict.fromkeys(given[number] for number in strange))[:5])
        raise InvalidRequest(
            f"{len(strange)} of {len(given)} pictures have labels that the classifier does not have: {names}; it has "
            f"{', '.join(repr(name[:40]) for name in known[:20])}",
            errors=[FieldError(tuple(locs[number]), "is of no label of the classifier", "label") for number in strange][
                :50
            ],
        )


def _counted(judged: Judged, given: Sequence[str], names: Sequence[str | None], *, began: float) -> EvaluationOut:
    labels, answers = judged.classifier.labels, judged.judgement.answers
    good = [number for number, picture in enumerate(judged.decoded) if not isinstance(picture, Exception)]
    true = torch.tensor([labels.index(given[number]) for number in good])
    confidence, answered = answers.probabilities.max(-1)
    right = answered == true
    confusion = torch.zeros(len(labels), len(labels), dtype=torch.long)
    confusion.index_put_((true, answered), torch.ones_like(true), accumulate=True)
    low, high = wilson_ci95(int(right.sum()), len(good))
    return EvaluationOut(
        classifier_id=judged.classifier.id,
        model=judged.model.card.name,
        calibrated=judged.model.card.calibration is not None,
        pictures=len(good),
        accuracy=float(right.double().mean()),
        accuracy_ci95=Interval(low=low, high=high),
        labels=[_score(name, row, place) for place, (name, row) in enumerate(zip(labels, confusion, strict=True))],
        confusion=confusion.tolist(),
        calibration_error=calibration_error(confidence, right),
        mean_confidence=float(confidence.mean()),
        none_of_these=_refused(answers),
        errors=_errors(judged, names),
        timings_ms=timings_ms(
            judged.outcome.timings,
            decode_seconds=judged.decode_seconds,
            total_seconds=time.perf_counter() - began,
        ),
    )


def _refused(answers: Answers) -> int | None:
    if answers.none is None or answers.threshold is None:
        return None
    return int((answers.none > answers.threshold).sum())


def _score(label: str, answered: torch.Tensor, place: int) -> LabelScore:
    pictures = int(answered.sum())
    return LabelScore(label=label, pictures=pictures, accuracy=float(answered[place]) / pictures if pictures else None)


def _errors(judged: Judged, names: Sequence[str | None]) -> list[BadItem]:
    return [
        BadItem(index=number, filename=names[number], code=kind_of(picture).code, detail=str(picture))
        for number, picture in enumerate(judged.decoded)
        if isinstance(picture, Exception)
    ]
