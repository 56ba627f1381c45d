"""Classify pictures on disk without a server: the service's models, by the service's code, with the same answers."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from meta_core.answering import Answers
from meta_core.asking import device_of
from meta_core.device import pick_device
from meta_core.episode import SupportSet
from meta_core.errors import InvalidDataset, InvalidSupportSet, UndecodableImage
from meta_core.learner import AdaptOptions
from meta_core.leave_one_out import leave_one_out
from meta_core.picture_files import Decoded, PictureFile, decoded, labelled_files
from meta_core.portable import loads, predictor
from meta_core.predicting import Predictor, one_hot
from service.answers import Judgement, results
from service.catalog import AUTO, Catalog
from service.choice import Candidates, best_of
from service.schemas import ResultOut
from service.served import ServedModel, serve
from service.settings import Settings

Advance = Callable[[str, int, int], None]
"""Is told what is done, how many of it are, and of how many."""

_MOST_NAMED = 10


class Adapted(NamedTuple):
    """A model that knows a support set.

    Attributes:
        predictor: answers.
        labels: of the support set.
        reason: why this model.
        passed_over: files of the support set that stand at no label.
    """

    predictor: Predictor
    labels: tuple[str, ...]
    reason: str
    passed_over: Sequence[str] = ()


def candidates(settings: Settings, folder: Path | None, *, options: AdaptOptions) -> Candidates:
    """The model of a folder, or where it is None, those among which `auto` chooses.

    Raises:
        InvalidCheckpoint: the model is damaged, or does not run.
        InvalidOptions: it does not take the options.
        NotReady: no model could be loaded.
    """
    device = pick_device(settings.device)
    if folder is None:
        catalog = Catalog(default=settings.default_model)
        catalog.load(settings.models_dir, device=device, threads=settings.threads)
        return Candidates.of(catalog, AUTO, options)
    model = serve(folder, device=device, threads=settings.threads)
    model.check_options(options)
    return Candidates([model], "named by the request")


def adapt_to(support: Path, chosen: Candidates, *, options: AdaptOptions, max_pixels: int, advance: Advance) -> Adapted:
    """Adapt to a folder or zip of `label/file`.

    Raises:
        InvalidDataset: it holds no such file, or one that is no picture; names these.
        InvalidSupportSet: fewer than two labels.
    """
    with labelled_files(support) as found:
        labels, targets = one_hot(found.labels)
        if len(labels) < 2:
            raise InvalidSupportSet(
                f"all {len(found.files)} pictures of {support} are of {labels[0]!r}; expected a folder for each of "
                "two labels or more"
            )
        features = [_encoded(support, found.files, model, max_pixels, advance) for model in chosen.models]
    place, reason = 0, chosen.reason
    if len(features) > 1:
        logits = [_left_out(model, rows, targets, options) for model, rows in zip(chosen.models, features, strict=True)]
        place, reason = best_of([model.card.name for model in chosen.models], logits, targets.argmax(-1).tolist())
    model = chosen.models[place]
    adapted = Predictor.adapted(
        model.card, model.learner, model.encoder.encode, features[place], targets, options=options
    )
    return Adapted(adapted, labels, reason, found.passed_over)


def recall(file: Path, settings: Settings) -> Adapted:
    """A classifier that was exported as safetensors.

    Raises:
        InvalidClassifierFile: it is damaged, or of another model than there is.
        InvalidCheckpoint: its model is missing, damaged, or does not run.
    """
    portable = loads(file.read_bytes())
    folder = settings.models_dir / portable.card.model
    model = serve(folder, device=pick_device(settings.device), threads=settings.threads)
    asked = predictor(portable, model.card, model.learner, model.encoder.encode)
    return Adapted(asked, portable.card.labels, "the classifier's own")


def predict(
    adapted: Adapted,
    queries: Sequence[PictureFile],
    *,
    top_k: int | None,
    none_threshold: float | None,
    max_pixels: int,
    advance: Advance,
) -> Iterator[list[ResultOut]]:
    """The service's results of the queries, in their order, portion by portion."""
    done = 0
    for portion in decoded(queries, adapted.predictor.card.pictures, max_pixels=max_pixels):
        pictures = [picture for _, picture in portion]
        yield results(
            adapted.labels,
            Judgement(_answers(adapted, pictures)),
            pictures,
            filenames=[file.name for file, _ in portion],
            top_k=top_k,
            none_threshold=none_threshold,
            first=done,
        )
        done += len(portion)
        advance("classifying", done, len(queries))


def _answers(adapted: Adapted, pictures: Sequence[Decoded]) -> Answers:
    good = _stacked(pictures)
    return Answers(torch.empty(0, len(adapted.labels))) if good is None else adapted.predictor.answer(good)


def _left_out(model: ServedModel, features: Tensor, targets: Tensor, options: AdaptOptions) -> Tensor:
    """Leave-one-out logits of all examples: nobody else waits here, and so the choice does not depend on the time."""
    device = device_of(model.learner)
    support = SupportSet(features.to(device), targets.to(device), torch.ones(len(features), device=device))
    return leave_one_out(model.learner, support, options=options).cpu()


def _encoded(
    support: Path, files: Sequence[PictureFile], model: ServedModel, max_pixels: int, advance: Advance
) -> Tensor:
    """(S, …), every file a picture."""
    features, bad, done = list[Tensor](), list[str](), 0
    for portion in decoded(files, model.card.pictures, max_pixels=max_pixels):
        pictures = [picture for _, picture in portion]
        bad += [f"{file.name}: {picture}" for file, picture in portion if isinstance(picture, UndecodableImage)]
        good = _stacked(pictures)
        if good is not None and not bad:
            features.append(model.encoder.encode(good))
        done += len(portion)
        advance(f"reading examples for {model.card.name}", done, len(files))
    if bad:
        told = "\n  ".join([*bad[:_MOST_NAMED], *(["…"] if len(bad) > _MOST_NAMED else [])])
        raise InvalidDataset(f"{len(bad)} of {len(files)} files of {support} are no pictures; take them out:\n  {told}")
    return torch.cat(features)


def _stacked(pictures: Sequence[Decoded]) -> Tensor | None:
    good = [picture for picture in pictures if not isinstance(picture, UndecodableImage)]
    return torch.from_numpy(np.stack(good)) if good else None
