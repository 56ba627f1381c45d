"""A user's classifier: what is stored of it."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import torch
from torch import Tensor

from meta_core.learner import AdaptOptions
from service.errors import InvalidRequest, ModelVersionMissing
from service.served import ServedModel
from service.settings import Limits


@dataclass(frozen=True)
class Labels:
    """A support set's labels.

    Attributes:
        names: C distinct labels, in order of first appearance.
        indices: of each example, S.
    """

    names: tuple[str, ...]
    indices: tuple[int, ...]

    @classmethod
    def of(cls, labels: Sequence[str], limits: Limits) -> "Labels":
        """The labels of examples, in their order.

        Raises:
            InvalidRequest: fewer than two different ones, or more examples or labels than the limits.
        """
        names = tuple(dict.fromkeys(labels))
        if len(labels) > limits.examples:
            raise InvalidRequest(f"{len(labels)} examples came; a classifier takes at most {limits.examples}")
        if len(names) < 2:
            only = f"all {len(labels)} are {names[0][:40]!r}" if names else "none came"
            raise InvalidRequest(f"a classifier needs examples of at least two labels; {only}")
        if len(names) > limits.ways:
            raise InvalidRequest(f"{len(names)} different labels came; a classifier takes at most {limits.ways}")
        number = {name: index for index, name in enumerate(names)}
        return cls(names, tuple(number[label] for label in labels))

    @property
    def targets(self) -> Tensor:
        """(S, C) one-hot."""
        return torch.eye(len(self.names))[list(self.indices)]

    @property
    def shots(self) -> tuple[int, ...]:
        """Examples of each label, C."""
        return tuple(self.indices.count(index) for index in range(len(self.names)))


@dataclass(frozen=True)
class Example:
    """A stored example: what the encoder made of the picture.

    Attributes:
        id: `exm_…`.
        position: in the order in which they came; grows by one or more.
        label: index of its label.
        sha256: of the picture as the model takes it, for finding duplicates.
        features: float32, as the card says; contiguous bytes. Empty where they would be the picture itself and
            pictures are not kept.
    """

    id: str
    position: int
    label: int
    sha256: bytes
    features: bytes


@dataclass(frozen=True)
class Classifier:
    """An adapted classifier, pinned to what made it. Its state is apart: most requests do without.

    Its revision is 1 and grows by one with each change. Its report is the JSON object that was answered when its
    examples last changed; None if there was none.
    """

    id: str
    tenant: str
    revision: int
    name: str | None
    model: str
    model_reason: str
    version: str
    encoder_sha256: str
    runtime: str
    precision: str
    options: dict[str, float]
    labels: tuple[str, ...]
    shots: tuple[int, ...]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    metadata: dict[str, Any]
    report: dict[str, Any] | None

    @classmethod
    def new(
        cls,
        model: ServedModel,
        labels: Labels,
        *,
        tenant: str,
        model_reason: str,
        options: AdaptOptions,
        name: str | None,
        ttl_seconds: int | None,
        metadata: dict[str, Any],
        report: dict[str, Any] | None,
    ) -> "Classifier":
        """A classifier adapted just now."""
        now = datetime.now(UTC)
        return cls(
            id=f"clf_{secrets.token_hex(12)}",
            tenant=tenant,
            revision=1,
            name=name,
            model=model.card.name,
            model_reason=model_reason,
            version=model.card.version,
            encoder_sha256=model.encoder_sha256,
            runtime=model.encoder.runtime,
            precision=model.card.precision,
            options=options.given(),
            labels=labels.names,
            shots=labels.shots,
            created_at=now,
            updated_at=now,
            expires_at=None if ttl_seconds is None else now + timedelta(seconds=ttl_seconds),
            metadata=metadata,
            report=report,
        )

    @property
    def adapt_options(self) -> AdaptOptions:
        """What the request that made it set."""
        given: dict[str, Any] = self.options
        return AdaptOptions(**given)

    def bare(self) -> "Classifier":
        """Without its report and what users said of it: what classifying needs."""
        return replace(self, name=None, metadata={}, report=None)

    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    def check_served_by(self, model: ServedModel) -> None:
        """Refuse a model that is not the one this was adapted with.

        Raises:
            ModelVersionMissing: another version, encoder or precision; says which.
        """
        card = model.card
        if (self.version, self.encoder_sha256, self.precision) != (
            card.version,
            model.encoder_sha256,
            card.precision,
        ):
            raise ModelVersionMissing(
                f"classifier {self.id} was adapted with {self.model} {self.version}; loaded is {card.version}"
                f"{' with other weights' if self.version == card.version else ''}. "
                "Create it again, or ask for the version to be loaded"
            )


def examples_of(
    labels: Sequence[int], pictures: Tensor, features: Tensor, *, keep_features: bool, first_position: int = 0
) -> list[Example]:
    """What is stored of a support set.

    Args:
        labels: index of the label of each of the S examples.
        pictures: (S, channels, H, W) uint8.
        features: (S, …), what they were encoded to.
        keep_features: false where the features are pictures that may not be kept.
        first_position: of the first example.
    """
    rows = zip(labels, pictures.numpy(), features.float().contiguous().numpy(), strict=True)
    return [
        Example(
            id=f"exm_{secrets.token_hex(12)}",
            position=position,
            label=label,
            sha256=hashlib.sha256(picture.tobytes()).digest(),
            features=row.tobytes() if keep_features else b"",
        )
        for position, (label, picture, row) in enumerate(rows, first_position)
    ]
