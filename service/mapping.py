"""A stored classifier's examples as a map: near is what the model sees alike."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from meta_core import plots
from meta_core.plane import principal_plane
from service.callers import Caller
from service.classifier import Classifier, Example
from service.dependencies import Services
from service.errors import ExamplesNotKept
from service.reporting import stored_features
from service.schemas import MapOut, MapPoint


class Mapped(NamedTuple):
    """A classifier, its examples, and what they were encoded to, (S, …)."""

    classifier: Classifier
    examples: Sequence[Example]
    features: Tensor


async def mapped(services: Services, caller: Caller, classifier_id: str) -> Mapped:
    """What there is to draw.

    Raises:
        UnknownClassifier: there is none.
        ModelVersionMissing: its model is not loaded, which knows the features\' shape.
        ExamplesNotKept: there is nothing to draw.
    """
    classifier, examples = await services.store.with_examples(classifier_id, tenant=caller.tenant)
    features = stored_features(examples, services.catalog.pinned(classifier).card.features)
    if features is None:
        raise ExamplesNotKept(
            f"{classifier.model} adapts its whole network: its examples are your pictures, which are not kept here "
            "(KSHOT_KEEP_IMAGES), so that there is nothing to draw"
        )
    return Mapped(classifier, examples, features)


def points_of(found: Mapped) -> MapOut:
    """The map as numbers."""
    plane = principal_plane(found.features)
    return MapOut(
        classifier_id=found.classifier.id,
        points=[
            MapPoint(example_id=example.id, label=found.classifier.labels[example.label], x=x, y=y)
            for example, (x, y) in zip(found.examples, plane.points.tolist(), strict=True)
        ],
        variance_percent=list(plane.shares),
    )


def picture_of(found: Mapped) -> bytes:
    """The map as PNG; a ring around what the report finds mislabelled.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    suspects = (found.classifier.report or {}).get("mislabelled") or []
    suspected = {suspect["example_id"] for suspect in suspects}
    return plots.embedding_map(
        found.features.flatten(1),
        torch.tensor([example.label for example in found.examples]),
        found.classifier.labels,
        marked=[place for place, example in enumerate(found.examples) if example.id in suspected],
    )


def prefers_png(accept: str) -> bool:
    """Whether an `Accept` header would rather have `image/png` than JSON."""
    weights = dict[str, float]()
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        given = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        try:
            weights[kind] = float(given[0]) if given else 1.0
        except ValueError:
            weights[kind] = 0.0
    anything = weights.get("*/*", 0.0)
    png = weights.get("image/png", weights.get("image/*", 0.0))
    return png > max(weights.get("application/json", 0.0), anything if "image/png" not in weights else 0.0)
