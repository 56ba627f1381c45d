"""What goes over the wire, in snake_case."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from meta_core.card import Card
from service import examples
from service.fields import Base64Image, JsonInteger, JsonNumber, Label, ModelName, Name, TtlSeconds, Vector
from service.settings import Limits


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Problem(BaseModel):
    """An error, RFC 9457: what came, what was expected, what to do."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.problem()]})

    type: str = Field(examples=["urn:kshot:problem:unknown_model"])
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable, for programs.", examples=["unknown_model"])
    errors: list["ProblemPart"] = Field(default=[], description="The parts of the request that are wrong.")
    request_id: str


class ProblemPart(BaseModel):
    """One part of a request that is wrong."""

    loc: list[str | int] = Field(description="Where: body, query or path, then the field, then the index.")
    msg: str
    type: str


class ExampleIn(_In):
    """A labelled picture."""

    label: Label
    image: Base64Image


class AdaptIn(_In):
    """How to adapt, within the limits of the model's card (`adapt`); what is left out is the model's own choice."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"steps": 5, "rate": 1.0}]})

    steps: Annotated[int | None, JsonInteger] = Field(
        default=None, ge=0, description="How often to step over the examples; a whole number."
    )
    rate: Annotated[float | None, JsonNumber] = Field(
        default=None, gt=0, description="Factor on the model's own inner learning rates: 1 leaves them as they are."
    )


class _Query(_In):
    top_k: Annotated[int | None, JsonInteger] = Field(
        default=None, ge=1, description="How many labels to list, the likeliest first."
    )
    none_threshold: Annotated[float | None, JsonNumber] = Field(
        default=None,
        ge=0,
        le=1,
        description="Say “none of these” where `none_probability` is above this. Left out, the model's own threshold "
        "holds (its card says what it costs), where the model is good enough at that; 1 never says it.",
    )
    explain: StrictBool = Field(default=False, description="Whether to name the examples nearest to each picture.")


class CreateClassifier(_In):
    """Labelled pictures to adapt to."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.create_classifier()]})

    model: ModelName | None = None
    name: Name | None = None
    ttl_seconds: Annotated[TtlSeconds | None, JsonInteger] = None
    metadata: dict[str, JsonValue] = Field(default={}, description="Yours; given back as it came.")
    adapt: AdaptIn = AdaptIn()
    examples: list[ExampleIn] = Field(min_length=1)


class AddExamples(_In):
    """Labelled pictures to add."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.add_examples()]})

    examples: list[ExampleIn] = Field(min_length=1)


class PatchClassifier(_In):
    """What to change; what is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.patch_classifier()]})

    name: Name | None = Field(default=None, description="Null takes the name away.")
    ttl_seconds: Annotated[TtlSeconds | None, JsonInteger] = Field(
        default=None, description="The classifier is deleted so long from now; null keeps it for good."
    )
    metadata: dict[str, JsonValue] = Field(default={}, description="In place of what was there.")


class PatchExample(_In):
    """The example's right label; a new one if the classifier has none of that name."""

    label: Label


class ClassifyImages(_Query):
    """Pictures to classify."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.classify_images()]})

    images: list[Base64Image] = Field(min_length=1)


class ClassifyOnce(_Query):
    """Labelled pictures to adapt to and pictures to classify; nothing is stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.classify_once()]})

    model: ModelName | None = None
    adapt: AdaptIn = AdaptIn()
    examples: list[ExampleIn] = Field(min_length=1)
    images: list[Base64Image] = Field(min_length=1)


class RegressionQuery(_In):
    """What to answer with a number: a vector, or a picture, as the model's card says (`input`)."""

    vector: Vector | None = None
    image: Base64Image | None = None

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.vector is None) == (self.image is None):
            raise PydanticCustomError("one_input", "should have a vector or an image, and not both")
        return self


class RegressionExample(RegressionQuery):
    """The same with the number that is right for it."""

    target: Annotated[float, JsonNumber] = Field(description="In the unit that answers are to have.")


class RegressOnce(_In):
    """Inputs with a number each to adapt to, and inputs to answer with numbers; nothing is stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.regress_once()]})

    model: ModelName | None = Field(default=None, description="May be left out where one regression is loaded.")
    adapt: AdaptIn = AdaptIn()
    examples: list[RegressionExample] = Field(min_length=1)
    queries: list[RegressionQuery] = Field(min_length=1)


class LabelCount(BaseModel):
    """A label and how many examples it has."""

    label: str
    shots: int


class ModelChoice(BaseModel):
    """Why this model answered."""

    reason: str


class ExampleRef(BaseModel):
    """One of the labelled pictures."""

    example_id: str | None = Field(description="Null for a stateless call, which stores none.")
    index: int = Field(description="Its place among the examples, as they came.")
    label: str


class NearestExample(ExampleRef):
    """A labelled picture that the model sees much like the query."""

    distance: float = Field(description="Cosine distance of what the model's encoder makes of both: 0 the same, to 2.")


class SuspectExample(ExampleRef):
    """An example that looks mislabelled."""

    suggested_label: str = Field(description="The likeliest label, going by the other examples.")
    score: float = Field(
        ge=0, le=1, description="How much likelier it is than the label given: near 1 surely, at 0.5 no more likely."
    )


class LabelConfusion(BaseModel):
    """Examples of one label that the others speak of as another."""

    label: str
    taken_for: str
    count: int
    of: int = Field(description="Examples of `label` that were judged.")


class DuplicateExamples(BaseModel):
    """Examples of one picture, or of nearly one: they count as one, and an accuracy measured with them is too good."""

    examples: list[ExampleRef]
    exact: bool = Field(description="Whether the model is given the very same picture; else they nearly coincide.")
    distance: float = Field(description="Cosine distance of neighbours among them, the largest.")
    labels_differ: bool = Field(description="Whether the same picture has different labels: one must be wrong.")


class ReportOut(BaseModel):
    """What the examples say about each other. Null where it cannot be said, as with one example a label."""

    leave_one_out_accuracy: float | None = Field(
        ge=0, le=1, description="Share of the examples that a classifier made of the others labels as you did."
    )
    leave_one_out_examples: int = Field(
        description="How many were left out in turn: those whose label has further examples, as far as time sufficed."
    )
    confusions: list[LabelConfusion] | None = Field(description="Pairs of labels that confuse, the worst first.")
    mislabelled: list[SuspectExample] | None = Field(
        description="Examples for which another label is clearly likelier, the most suspect first."
    )
    duplicates: list[DuplicateExamples] = Field(description="Exact ones first.")
    too_few_shots: list["LabelCount"] = Field(description="Labels with fewer than 5 examples.")
    notes: list[str] = Field(description="What was not looked at and why, and what to do.")


class AdaptOut(BaseModel):
    """The options of adaptation that the request set; null where it left the model's own."""

    steps: int | None = None
    rate: float | None = None


class ClassifierOut(BaseModel):
    """A stored classifier."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.classifier()]})

    id: str
    revision: int = Field(description="How often it was changed, plus one; its `ETag`.")
    name: str | None
    model: str
    model_choice: ModelChoice
    version: str = Field(description="Of the model; the classifier stays with it.")
    adapt: AdaptOut
    labels: list[LabelCount]
    examples: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    metadata: dict[str, JsonValue]
    report: ReportOut | None = Field(
        description="What the examples say about each other; null for classifiers of before there was a report."
    )


class ExampleOut(BaseModel):
    """A stored example. The picture itself is not told: it is not stored unless the model needs it."""

    id: str = Field(examples=["exm_0b5e3f7a1c9d2e4f6a8b0c1d"])
    label: str


class ChangedClassifier(ClassifierOut):
    """A classifier after its examples were changed."""

    added: list[ExampleOut] = Field(description="The examples that were added, in the order of the request.")


class ExamplePage(BaseModel):
    """Examples, in the order in which they came."""

    data: list[ExampleOut]
    next_cursor: str | None
    has_more: bool


class ClassifierPage(BaseModel):
    """Classifiers, the newest first."""

    data: list[ClassifierOut]
    next_cursor: str | None
    has_more: bool


class ModelOut(Card):
    """A model's card, as the service serves it."""

    default: bool
    runtime: str = Field(description="What computes: `onnxruntime-cpu`, `torch-cpu` or `torch-cuda`.")


class ModelPage(BaseModel):
    """The loaded models, by name."""

    data: list[ModelOut]
    next_cursor: str | None
    has_more: bool


class LabelProbability(BaseModel):
    """How probable one label is, given that the query is one of them."""

    label: str
    probability: float


class ItemError(BaseModel):
    """Why one picture could not be classified."""

    code: str
    detail: str


class ResultOut(BaseModel):
    """The answer to one picture; `error` in place of one if it could not be decoded."""

    index: int
    filename: str | None = None
    prediction: str | None = Field(
        default=None, description="The likeliest label; null for “none of these”, or if undecodable."
    )
    confidence: float | None = Field(default=None, description="The likeliest label's probability.")
    none_probability: float | None = Field(
        default=None,
        description="How probable it is that the picture shows none of the labels; null where the model cannot tell.",
    )
    predictions: list[LabelProbability] = Field(default=[], description="The likeliest first, cut to `top_k`.")
    nearest_examples: list[NearestExample] | None = Field(
        default=None, description="With `explain`, the nearest first; null where examples are not kept."
    )
    error: ItemError | None = None


class TimingsMs(BaseModel):
    """Where the time went, milliseconds."""

    decode: float
    queue: float
    encode: float
    adapt: float
    predict: float
    total: float


class Classification(BaseModel):
    """Answers in the order of the request's pictures."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.classification()]})

    classifier_id: str | None = Field(description="Null for a stateless call.")
    model: str
    model_choice: ModelChoice
    calibrated: bool = Field(description="Whether the model's card holds a calibration.")
    results: list[ResultOut]
    timings_ms: TimingsMs


class NumberOut(BaseModel):
    """The answer to one query; `error` in place of one if its picture could not be decoded."""

    index: int
    value: float | None = Field(default=None, description="In the unit of the examples' targets.")
    spread: float | None = Field(
        default=None,
        description="How far off the value may be, in the same unit: a root mean square, over examples left out in "
        "turn, of how the value changes without one and how far that one is missed. Null where one example came.",
    )
    error: ItemError | None = None


class Regression(BaseModel):
    """Answers in the order of the request's queries."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.regression()]})

    model: str
    model_choice: ModelChoice
    left_out: int = Field(description="How many examples were left out in turn for the spread.")
    results: list[NumberOut]
    timings_ms: TimingsMs


class MapPoint(BaseModel):
    """A labelled picture on the map."""

    example_id: str
    label: str
    x: float
    y: float


class MapOut(BaseModel):
    """A classifier's examples on the plane that shows most of how the model sees them differ."""

    classifier_id: str
    points: list[MapPoint]
    variance_percent: list[float] = Field(description="How much of all differences the two axes show.")


class Interval(BaseModel):
    """95 % confidence interval."""

    low: float
    high: float


class LabelScore(BaseModel):
    """How the pictures of one label were answered."""

    label: str
    pictures: int
    accuracy: float | None = Field(description="Null where none came.")


class BadItem(ItemError):
    """A picture that could not be judged."""

    index: int
    filename: str | None = None


class EvaluateExamples(_In):
    """Labelled pictures that the classifier has not seen."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.evaluate()]})

    examples: list[ExampleIn] = Field(min_length=1)


class EvaluationOut(BaseModel):
    """How often a classifier's likeliest label is the right one."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.evaluation()]})

    classifier_id: str
    model: str
    calibrated: bool = Field(description="Whether the model's card holds a calibration.")
    pictures: int = Field(description="How many were judged.")
    accuracy: float = Field(ge=0, le=1)
    accuracy_ci95: Interval = Field(description="Wilson's: also right for few pictures and near 0 and 1.")
    labels: list[LabelScore] = Field(description="In the order of `confusion`.")
    confusion: list[list[int]] = Field(description="How often each label (row) was answered as each (column).")
    calibration_error: float = Field(
        description="Expected calibration error: how far confidence is from accuracy, over 15 bins of equal width."
    )
    mean_confidence: float
    none_of_these: int | None = Field(
        description="How many are answered “none of these” instead, by the model's threshold; null where it has none."
    )
    errors: list[BadItem] = Field(description="Pictures that could not be decoded; they count nowhere.")
    timings_ms: TimingsMs


class Live(BaseModel):
    """The process runs."""

    status: str = "live"


class Ready(BaseModel):
    """Requests are answered."""

    status: str = "ready"
    models: list[str]
    damaged_models: dict[str, str] = Field(description="Models that could not be loaded, and why.")


class ReloadOut(BaseModel):
    """What reloading the model folders changed, by name."""

    added: list[str]
    replaced: list[str] = Field(description="Loaded again, as their cards have changed.")
    removed: list[str] = Field(description="Their folders are gone; classifiers of theirs answer 409.")
    unchanged: list[str]
    damaged_models: dict[str, str] = Field(description="Folders that could not be loaded, and why.")
    default_model: str | None


class VersionOut(BaseModel):
    """What runs here."""

    name: str = "kshot"
    version: str
    device: str
    default_model: str | None
    limits: Limits


PROBLEM_DESCRIPTIONS = {
    400: "The body cannot be parsed, not UTF-8 for example.",
    401: "A key is needed, or the one that came is not good.",
    403: "You may not: the key is not for this, or a page of another site asked.",
    404: "There is no such thing.",
    405: "The path has no such method; `Allow` lists those it has.",
    408: "The body did not come in time.",
    409: "The classifier cannot be changed or asked like that; `code` says why.",
    412: "The classifier is not in the state that `If-Match` names.",
    413: "Over a limit of `GET /version`.",
    421: "Not by this name of the service; `KSHOT_ALLOWED_HOSTS` says by which.",
    422: "The request was understood and is wrong; `detail` and `errors` say where.",
    429: "More than the key may ask, or keep; `Retry-After` says when again.",
    500: "Something went wrong here; `request_id` finds it in the log.",
    501: "The service was installed without what this needs.",
    503: "Not now; `Retry-After` says when.",
}


ETAG = {"ETag": {"description": "Names this state of the classifier, for `If-Match`.", "schema": {"type": "string"}}}
"""Headers of an answer that tells a classifier, in the document."""

LOCATED = ETAG | {"Location": {"description": "Path of the classifier.", "schema": {"type": "string"}}}
"""Of one that tells a classifier that was made or added to."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` argument of a route that can answer with these problems, and, as any can, with a 500."""
    return {status: {"model": Problem, "description": PROBLEM_DESCRIPTIONS[status]} for status in (*statuses, 500)}
