"""The service's own errors, and the one table from errors (the core's too) to statuses and stable codes."""

from typing import NamedTuple

from meta_core.errors import (
    AdaptationDiverged,
    ImageTooLarge,
    InvalidCheckpoint,
    InvalidClassifierFile,
    InvalidOptions,
    InvalidSupportSet,
    MissingExtra,
    NotAClassifier,
    UndecodableImage,
)


class FieldError(NamedTuple):
    """One part of a request that is wrong: where, what, and which kind."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class UnsafeSettings(Exception):
    """The service would stand open to strangers; says which settings close it. It does not start."""


class StorageError(Exception):
    """Nothing can be stored; says why. The service does not start, so no request is ever answered so."""


class DataFolderError(StorageError):
    """The data folder cannot be used."""


class DatabaseError(StorageError):
    """The database cannot be reached, or is of a newer version."""


class ServiceError(Exception):
    """Root of the service's own errors; the text says what came, what was expected and what to do.

    Args:
        detail: that text.
        errors: the parts of the request that are wrong, if several or in a certain place.
        retry_after_seconds: when to ask again, where asking again helps.
        headers: further ones of the answer.
    """

    def __init__(
        self,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        retry_after_seconds: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.errors = errors or []
        self.retry_after_seconds = retry_after_seconds
        self.headers = headers or {}


class UnknownHost(ServiceError):
    """The request names a host that is not this service's."""


class ForeignOrigin(ServiceError):
    """A web page of another site had a browser send a write."""


class MissingKey(ServiceError):
    """A key is needed, and none came."""


class InvalidKey(ServiceError):
    """What came is no key of this service, or was revoked."""


class MissingScope(ServiceError):
    """The key is not for this."""


class RateLimited(ServiceError):
    """The key asks more often than it may."""


class QuotaExceeded(ServiceError):
    """The tenant has as many classifiers as it may."""


class ReplacedTogether(ServiceError):
    """One replica of many was asked for what has to happen to all."""


class ReplicaLost(ServiceError):
    """A replica died while it had the request."""


class UnknownKey(ValueError):
    """There is no such key to revoke."""


class UnknownModel(ServiceError):
    """No model of that name is loaded."""


class UnknownClassifier(ServiceError):
    """No classifier has that id, or it has expired."""


class UnknownExample(ServiceError):
    """The classifier has no example of that id."""


class UnknownLabel(ServiceError):
    """The classifier has no label of that name."""


class TooFewLabels(ServiceError):
    """A removal would leave fewer than two labels."""


class ExamplesNotKept(ServiceError):
    """The classifier's examples are the pictures themselves, which were not kept: it cannot be adapted again."""


class ChangedMeanwhile(ServiceError):
    """Others changed the classifier again and again while this request worked on it."""


class PreconditionFailed(ServiceError):
    """The classifier is not the one that `If-Match` speaks of."""


class ModelVersionMissing(ServiceError):
    """A stored classifier is pinned to a model version that is not loaded."""


class IdempotencyMismatch(ServiceError):
    """An idempotency key came with another request before."""


class InvalidRequest(ServiceError):
    """Labels that do not match the files, too few labels, and whatever else a schema cannot say."""


class UndecodablePictures(ServiceError):
    """One or several pictures of a request cannot be decoded."""

    @classmethod
    def of(cls, errors: list[FieldError], count: int) -> "UndecodablePictures":
        """The error for these pictures of `count`."""
        where = ".".join(str(part) for part in errors[0].loc)
        more = f" (and {len(errors) - 1} more; see errors)" if len(errors) > 1 else ""
        return cls(
            f"{len(errors)} of {count} pictures cannot be used: {where}: {errors[0].msg}{more}", errors=errors[:50]
        )


class WrongTask(ServiceError):
    """A regression was to classify, or a classifier to answer with numbers."""


class InvalidArchive(ServiceError):
    """An archive that is not a plain zip of `label/name.jpg`."""


class InvalidCursor(ServiceError):
    """A cursor that this service did not make."""


class TooLarge(ServiceError):
    """More than one of the service's limits allows."""


class NotReady(ServiceError):
    """Models are still loading."""


class Overloaded(ServiceError):
    """More pictures are waiting than the limit allows."""


class DeadlineExceeded(ServiceError):
    """The request took longer than the service allows and was dropped."""


class BodyTooSlow(ServiceError):
    """A body did not come in time."""


class Draining(ServiceError):
    """The process was asked to end."""


class DeviceLost(ServiceError):
    """The device failed for good; this process answers nothing more."""


class StoreUnavailable(ServiceError):
    """The database does not answer, or cannot write."""


class ClientLeft(ServiceError):
    """The client hung up; nobody reads the answer."""


class AdaptationFailed(ServiceError):
    """The model failed on this request alone."""


class Kind(NamedTuple):
    """How one kind of error is answered."""

    status: int
    code: str
    title: str


KINDS: dict[type[Exception], Kind] = {
    UnknownHost: Kind(421, "unknown_host", "The service does not answer for this host"),
    ForeignOrigin: Kind(403, "foreign_origin", "Pages of other sites may not write"),
    MissingKey: Kind(401, "missing_key", "A key is needed"),
    InvalidKey: Kind(401, "invalid_key", "The key is not good"),
    MissingScope: Kind(403, "missing_scope", "The key is not for this"),
    RateLimited: Kind(429, "rate_limited", "Too many requests of one key"),
    QuotaExceeded: Kind(429, "quota_exceeded", "No room for another classifier"),
    UnknownModel: Kind(404, "unknown_model", "No such model"),
    UnknownClassifier: Kind(404, "unknown_classifier", "No such classifier"),
    UnknownExample: Kind(404, "unknown_example", "No such example"),
    UnknownLabel: Kind(404, "unknown_label", "No such label"),
    TooFewLabels: Kind(409, "too_few_labels", "Fewer than two labels would be left"),
    ExamplesNotKept: Kind(409, "examples_not_kept", "The examples were not kept"),
    ChangedMeanwhile: Kind(409, "changed_meanwhile", "Others changed the classifier meanwhile"),
    PreconditionFailed: Kind(412, "precondition_failed", "The classifier has changed"),
    ModelVersionMissing: Kind(409, "model_version_missing", "The classifier's model version is not loaded"),
    ReplacedTogether: Kind(409, "replaced_together", "Replicas take up models together"),
    IdempotencyMismatch: Kind(422, "idempotency_mismatch", "The Idempotency-Key belongs to another request"),
    InvalidRequest: Kind(422, "invalid_request", "The request does not fit together"),
    InvalidClassifierFile: Kind(422, "invalid_classifier_file", "The file holds no classifier that can be taken"),
    WrongTask: Kind(422, "wrong_task", "The model is not for this task"),
    NotAClassifier: Kind(422, "wrong_task", "The model is not for this task"),
    InvalidArchive: Kind(422, "invalid_archive", "The archive cannot be used"),
    InvalidCursor: Kind(422, "invalid_cursor", "The cursor is not one of this service"),
    InvalidSupportSet: Kind(422, "invalid_support_set", "The examples cannot be adapted to"),
    InvalidOptions: Kind(422, "invalid_options", "The model does not take these options"),
    AdaptationDiverged: Kind(422, "adaptation_diverged", "Adaptation left the finite numbers"),
    UndecodablePictures: Kind(422, "undecodable_image", "A picture cannot be decoded"),
    UndecodableImage: Kind(422, "undecodable_image", "A picture cannot be decoded"),
    ImageTooLarge: Kind(422, "image_too_large", "A picture has too many pixels"),
    TooLarge: Kind(413, "too_large", "The request is over a limit"),
    NotReady: Kind(503, "not_ready", "The service is starting"),
    Overloaded: Kind(503, "overloaded", "The service has all it can do"),
    DeadlineExceeded: Kind(503, "deadline_exceeded", "The request took too long"),
    BodyTooSlow: Kind(408, "body_too_slow", "The body did not come in time"),
    Draining: Kind(503, "draining", "The service is shutting down"),
    DeviceLost: Kind(503, "device_lost", "The device failed"),
    StoreUnavailable: Kind(503, "store_unavailable", "The database does not answer"),
    ReplicaLost: Kind(502, "replica_lost", "A replica died"),
    ClientLeft: Kind(499, "client_left", "The client hung up"),
    MissingExtra: Kind(501, "not_installed", "A part of the service is not installed"),
    AdaptationFailed: Kind(500, "adaptation_failed", "The model failed on this request"),
    InvalidCheckpoint: Kind(500, "invalid_checkpoint", "A model is damaged"),
}
"""The table. A subclass that is not listed is answered as its nearest listed ancestor."""


def kind_of(error: Exception) -> Kind:
    """How `error` is answered."""
    for ancestor in type(error).__mro__:
        if ancestor in KINDS:
            return KINDS[ancestor]
    return Kind(500, "internal_error", "Something went wrong here")
