"""What is said of pictures → what goes over the wire."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from meta_core.answering import Answers
from service.decoding import Decoded
from service.errors import FieldError, UndecodablePictures, kind_of
from service.scheduler import Timings
from service.schemas import (
    Classification,
    ItemError,
    LabelProbability,
    ModelChoice,
    NearestExample,
    ResultOut,
    TimingsMs,
)


class Judgement(NamedTuple):
    """What is said of the Q pictures that could be decoded, in order.

    Attributes:
        answers: of the labels, in float64, so that they sum to 1 to the last digit that JSON shows.
        nearest: of each, the nearest examples; None where nobody asked or none are kept.
    """

    answers: Answers
    nearest: Sequence[list[NearestExample]] | None = None


def results(
    labels: Sequence[str],
    judgement: Judgement,
    decoded: Sequence[Decoded],
    *,
    filenames: Sequence[str | None],
    top_k: int | None,
    none_threshold: float | None,
    first: int = 0,
) -> list[ResultOut]:
    """One result a picture, in the request's order.

    Args:
        labels: the C labels.
        judgement: of the pictures that could be decoded.
        decoded: every picture of the request, or why it could not be.
        filenames: of the same, where there are any.
        top_k: how many labels to list; all if None.
        none_threshold: the request's own; the model's if None.
        first: index of the first picture.
    """
    threshold = judgement.answers.threshold if none_threshold is None else none_threshold
    places = itertools.count()
    answers = []
    for index, (picture, filename) in enumerate(zip(decoded, filenames, strict=True), first):
        if isinstance(picture, Exception):
            error = ItemError(code=kind_of(picture).code, detail=str(picture))
            answers.append(ResultOut(index=index, filename=filename, error=error))
        else:
            told = _told(labels, judgement, next(places), top_k=top_k, threshold=threshold)
            answers.append(ResultOut(index=index, filename=filename, **told))
    return answers


def _told(
    labels: Sequence[str], judgement: Judgement, place: int, *, top_k: int | None, threshold: float | None
) -> dict[str, Any]:
    """The fields of one picture's answer."""
    answers = judgement.answers
    ranked = sorted(zip(answers.probabilities[place].tolist(), labels, strict=True), key=lambda pair: -pair[0])
    predictions = [LabelProbability(label=label, probability=value) for value, label in ranked]
    none = None if answers.none is None else float(answers.none[place])
    refused = none is not None and threshold is not None and none > threshold
    return {
        "prediction": None if refused else predictions[0].label,
        "confidence": predictions[0].probability,
        "none_probability": none,
        "predictions": predictions[:top_k],
        "nearest_examples": None if judgement.nearest is None else judgement.nearest[place],
    }


def refuse_if_all_bad(decoded: Sequence[Decoded], loc: Sequence[Sequence[str | int]]) -> None:
    """A request whose every picture is bad is an error as a whole.

    Raises:
        UndecodablePictures: all are bad; names each.
    """
    errors = [
        FieldError(tuple(place), str(picture), kind_of(picture).code)
        for picture, place in zip(decoded, loc, strict=True)
        if isinstance(picture, Exception)
    ]
    if len(errors) == len(decoded):
        raise UndecodablePictures.of(errors, len(decoded))


def classification(
    answers: list[ResultOut],
    timings: Timings,
    *,
    classifier_id: str | None,
    model: str,
    reason: str,
    calibrated: bool,
    decode_seconds: float,
    total_seconds: float,
) -> Classification:
    """The whole answer."""
    return Classification(
        classifier_id=classifier_id,
        model=model,
        model_choice=ModelChoice(reason=reason),
        calibrated=calibrated,
        results=answers,
        timings_ms=timings_ms(timings, decode_seconds=decode_seconds, total_seconds=total_seconds),
    )


def timings_ms(timings: Timings, *, decode_seconds: float, total_seconds: float) -> TimingsMs:
    """Where the time went, as it is told."""
    return TimingsMs(
        decode=_ms(decode_seconds),
        queue=_ms(timings.queue),
        encode=_ms(timings.encode),
        adapt=_ms(timings.adapt),
        predict=_ms(timings.predict),
        total=_ms(total_seconds),
    )


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
