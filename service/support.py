"""Labelled pictures as they came with a request, and what they come to."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from fastapi import UploadFile

from meta_core.episode import State
from meta_core.learner import AdaptOptions
from service.choice import Adapted
from service.classifier import Example, Labels, examples_of
from service.decoding import Encoded
from service.dependencies import Services
from service.errors import InvalidRequest, TooLarge
from service.reporting import report_on
from service.schemas import ExampleIn
from service.served import ServedModel
from service.settings import Limits
from service.uploads import match_labels, read_archive, read_files

Loc = tuple[str | int, ...]


class Support(NamedTuple):
    """A support set as it came: labels, pictures, and where in the request each picture stands."""

    labels: Sequence[str]
    pictures: Sequence[Encoded]
    locs: Sequence[Loc]


def of_json(examples: Sequence[ExampleIn]) -> Support:
    """From a JSON body's `examples`."""
    return Support(
        labels=[example.label for example in examples],
        pictures=[example.image for example in examples],
        locs=[("body", "examples", number, "image") for number in range(len(examples))],
    )


async def of_files(files: Sequence[UploadFile], labels: Sequence[str], field: str, limits: Limits) -> Support:
    """From a form's files, which came as `field`.

    Raises:
        InvalidRequest: the labels do not fit them.
        TooLarge: too many of them, or one is too large.
    """
    return Support(
        labels=match_labels(labels, [file.filename for file in files]),
        pictures=await read_files(files, limits),
        locs=[("body", field, number) for number in range(len(files))],
    )


async def of_archive(archive: UploadFile, services: Services) -> Support:
    """From a zip of `label/name.jpg`.

    Raises:
        InvalidArchive, InvalidRequest, TooLarge: it is not one, or over a limit.
    """
    pictures = await services.decoder.run(read_archive, await archive.read(), services.settings.limits)
    return Support(
        labels=[picture.label for picture in pictures],
        pictures=[picture.data for picture in pictures],
        locs=[("body", "archive", picture.name) for picture in pictures],
    )


class Made(NamedTuple):
    """What is stored of an adaptation.

    Attributes:
        state: adapted, with the summary of the examples.
        examples: all of them, those that were there before in front.
        report: as JSON; None where it failed.
    """

    state: State
    examples: list[Example]
    report: dict[str, Any] | None


async def made_of(
    services: Services, adapted: Adapted, labels: Labels, options: AdaptOptions, *, before: Sequence[Example] = ()
) -> Made:
    """Summarize an adaptation, and report on its examples.

    Args:
        services: the app's.
        adapted: to the examples of `before`, then to new pictures.
        labels: of all of them.
        options: of the adaptation.
        before: examples that are stored already.
    """
    adapted = await adapted.summarized(services, labels, options)
    old = [replace(example, label=label) for example, label in zip(before, labels.indices, strict=False)]
    new = await services.reporter.run(
        examples_of,
        labels.indices[len(old) :],
        adapted.pictures,
        adapted.features[len(old) :],
        keep_features=adapted.model.learner.encodes or services.settings.keep_images,
        first_position=old[-1].position + 1 if old else 0,
    )
    told = await services.reporter.run(
        report_on,
        adapted.model,
        adapted.features,
        labels.targets,
        [*old, *new],
        labels=labels.names,
        options=options,
        logits=adapted.left_out,
    )
    report = None if told is None else told.model_dump(mode="json")
    return Made(adapted.outcome.state | adapted.summary, [*old, *new], report)


def check_adaptation(models: Sequence[ServedModel], labels: Labels, options: AdaptOptions, limits: Limits) -> None:
    """Refuse options that a model does not take, and more work than the limits allow.

    Raises:
        InvalidOptions: names the option.
        TooLarge: a model adapts its whole network, and there are too many examples and steps for that.
    """
    examples = len(labels.indices)
    for model in models:
        model.check_options(options)
        steps = model.steps(options)
        if not model.learner.encodes and examples * steps > limits.adapt_pictures_steps:
            raise TooLarge(
                f"{examples} examples × {steps} steps came; {model.card.name} adapts its whole network and takes at "
                f"most {limits.adapt_pictures_steps} (adapt_pictures_steps): send fewer examples, or set adapt.steps "
                f"to at most {limits.adapt_pictures_steps // examples}"
            )


def check_metadata(metadata: dict[str, Any], limits: Limits) -> None:
    """Refuse metadata over the limit, or with a number that JSON cannot hold.

    Raises:
        InvalidRequest: it is so.
    """
    try:
        size = len(json.dumps(metadata, allow_nan=False).encode())
    except ValueError as error:
        raise InvalidRequest("a number of the metadata is larger than JSON's readers take") from error
    if size > limits.metadata_bytes:
        raise InvalidRequest(f"the metadata is {size} bytes as JSON; at most {limits.metadata_bytes} are kept")
