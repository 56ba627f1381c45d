"""Stored classifiers as they are told over the wire."""

from service.classifier import Classifier
from service.schemas import AdaptOut, ClassifierOut, LabelCount, ModelChoice, ReportOut


def described(classifier: Classifier) -> ClassifierOut:
    """What is told of a classifier."""
    counts = zip(classifier.labels, classifier.shots, strict=True)
    return ClassifierOut(
        id=classifier.id,
        revision=classifier.revision,
        name=classifier.name,
        model=classifier.model,
        model_choice=ModelChoice(reason=classifier.model_reason),
        version=classifier.version,
        adapt=AdaptOut(**classifier.options),
        labels=[LabelCount(label=label, shots=shots) for label, shots in counts],
        examples=sum(classifier.shots),
        created_at=classifier.created_at,
        updated_at=classifier.updated_at,
        expires_at=classifier.expires_at,
        metadata=classifier.metadata,
        report=None if classifier.report is None else ReportOut.model_validate(classifier.report),
    )


def etag(revision: int) -> str:
    """Of a classifier's revision, as `ETag` and `If-Match` write it."""
    return f'"{revision}"'
