"""The model card: what a checkpoint is, what it takes, how well it does and under which licence, as `card.json`."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from meta_core.calibration import Calibration, DomainFigures
from meta_core.errors import NotAClassifier
from meta_core.preprocess import InputSpec
from meta_core.vectors import AnySpec, VectorSpec

CARD_FORMAT: Final = 1
"""Version of the folder's layout; a folder of a newer one is refused."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Strict):
    """A registered learner, backbone or task source and what it was built with.

    Also written short: `"conv4"` is its name alone, `"timm:resnet10t"` has `{model = "resnet10t"}` for options.
    """

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        name, colon, model = given.partition(":")
        return {"name": name, "options": {"model": model} if colon else {}}


class StateSize(_Strict):
    """Bytes of one task's adapted state: `fixed + per_way · ways + per_example · examples + per_target · both`."""

    fixed: int = Field(ge=0)
    per_way: int = Field(ge=0)
    per_example: int = Field(ge=0)
    per_target: int = Field(default=0, ge=0, description="of a state that holds the examples' one-hot targets")

    def at(self, *, ways: int, examples: int) -> int:
        """Bytes for a task of this size."""
        return self.fixed + self.per_way * ways + (self.per_example + self.per_target * ways) * examples


class Accuracy(_Strict):
    """One measured figure, with all that a reader needs to compare it."""

    data: str
    ways: int
    shots: int
    queries: int = Field(description="a class")
    episodes: int
    accuracy: float = Field(description="percent, mean over episodes")
    ci95: float = Field(description="half width of the 95 % confidence interval of the mean, percent")
    protocol: Literal["episodes", "lake"] = "episodes"
    inductive: bool = Field(default=True, description="no query's answer depends on another query")
    seed: int = 0
    adapt: dict[str, float] = Field(default={}, description="adaptation options that were not the learner's own")

    @property
    def mode(self) -> str:
        """Inductive or transductive, and the adaptation options that were set."""
        options = [f"{name} {value:g}" for name, value in self.adapt.items()]
        return ", ".join(["inductive" if self.inductive else "transductive", *options])


class SquaredError(_Strict):
    """One measured error of a regression, with all that a reader needs to compare it."""

    data: str
    shots: int = Field(description="examples of a task")
    queries: int = Field(description="of a task")
    steps: int | None = Field(default=None, description="of adaptation; null for the learner's own")
    episodes: int
    error: float = Field(description="squared, mean over queries and episodes, in the target's unit squared")
    ci95: float = Field(description="half width of the 95 % confidence interval of the mean")
    seed: int = 0


class Training(_Strict):
    """How the weights were meta-trained."""

    recipe: Name
    setting: Literal["short", "full"] | None = Field(
        default=None, description="which of the recipe's, where it holds the paper's beside a shorter one"
    )
    data: str
    data_licence: str
    steps: int
    tasks_per_step: int
    seed: int
    validation_accuracy: float | None = Field(
        default=None, description="percent, best on the fixed validation episodes; null for a regression"
    )
    validation_error: float | None = Field(default=None, description="squared, of a regression likewise")
    unlabelled: bool = Field(default=False, description="no label trained, and none chose the weights")
    seconds: float
    device: str
    torch: str

    @model_validator(mode="after")
    def _validated_by_one(self) -> "Training":
        if (self.validation_accuracy is None) == (self.validation_error is None):
            raise ValueError("give validation_accuracy, or a regression's validation_error, and not both")
        return self


class Beside(_Strict):
    """Accuracy of a model in reduced precision and of the one it was made of, on the same episodes, percent."""

    ways: int
    shots: int
    queries: int = Field(description="a class")
    episodes: int
    accuracy: float
    fp32: float
    difference: float = Field(description="mean of the episodes' differences")
    ci95: float = Field(description="half width of the 95 % confidence interval of the difference")


class Reduced(_Strict):
    """What computing in fewer bits does to a model's answers."""

    of: str = Field(description="the model it was made of, and its version")
    data: str
    pictures: int = Field(description="that the layers' ranges were taken from; the comparison is on others")
    feature_error: float = Field(description="relative L2 difference of the features")
    same_answers: float = Field(description="percent of queries with the same likeliest label")
    probability_difference: float = Field(description="mean over queries and labels, before calibration")
    beside: list[Beside]


class Card(_Strict):
    """`card.json`."""

    format: Literal[1] = CARD_FORMAT
    name: Name
    version: str
    description: str
    licence: str
    task: Literal["classification", "regression"] = Field(
        default="classification", description="a regression learns from targets and answers with numbers"
    )
    learner: Part
    backbone: Part
    input: AnySpec
    features: tuple[int, ...] = Field(description="shape of one encoded example")
    state_bytes: StateSize
    precision: Literal["fp32", "bf16", "fp16", "int8"] = Field(
        default="fp32",
        description="of the encoder; heads are fp32. bf16 and fp16 are of a GPU: a CPU takes fp32 for them",
    )
    reduced: Reduced | None = Field(default=None, description="what less than fp32 changes; null for fp32")
    most_ways: int | None = Field(default=None, description="classes of a task at most; null for any number")
    adapt: dict[str, tuple[float, float]] = Field(
        default={}, description="options that a request may set, each with its limits"
    )
    accuracy: list[Accuracy] = []
    errors: list[SquaredError] = Field(default=[], description="of a regression, in place of accuracy")
    tasks: Part | None = Field(default=None, description="source of generated tasks, which need no data")
    calibration: Calibration | None = None
    origin: str | None = Field(default=None, description="whose pretrained weights the backbone began with, if any")
    training: Training | None = Field(default=None, description="null where the weights were not meta-trained")
    files: dict[str, str] = Field(description="SHA-256 of each file of the folder that is loaded")

    @property
    def regresses(self) -> bool:
        """Whether it answers with numbers."""
        return self.task == "regression"

    @property
    def pictures(self) -> InputSpec:
        """What a classifier takes.

        Raises:
            NotAClassifier: it is a regression.
        """
        if self.regresses or not isinstance(self.input, InputSpec):
            raise NotAClassifier(
                f"{self.name} is a regression: it learns from targets, not from labels. Take a model that classifies"
            )
        return self.input

    @model_validator(mode="after")
    def _of_known_weights(self) -> "Card":
        if self.origin is None and self.training is None:
            raise ValueError("the card does not say where the weights come from; give training, origin or both")
        return self


def card_text(card: Card) -> str:
    """The card for people: `README.md` of the model's folder, in Markdown."""
    parts = [f"# {card.name} {card.version}", card.description.strip(), _facts(card), _accuracies(card)]
    parts += [*_reduced(card.reduced), *_calibration(card.calibration), _origin(card)]
    return "\n\n".join(parts) + "\n"


def _facts(card: Card) -> str:
    size, spec = card.state_bytes, card.input
    state = [
        (size.fixed, "bytes"),
        (size.per_way, "bytes a class"),
        (size.per_example, "bytes an example"),
        (size.per_target, "bytes a class and example"),
    ]
    return "\n".join(
        [
            *(["- Task: regression"] if card.regresses else []),
            f"- Learner: `{card.learner.name}` {card.learner.options or ''}".rstrip(),
            f"- Backbone: `{card.backbone.name}` {card.backbone.options or ''}".rstrip(),
            f"- Input: {input_text(spec)}",
            f"- State of an adapted classifier: {' + '.join(f'{count} {unit}' for count, unit in state if count)}",
            *([] if card.most_ways is None else [f"- Ways: at most {card.most_ways}"]),
            *([] if card.precision == "fp32" else [f"- Precision of the encoder: {card.precision}"]),
            f"- Licence: {card.licence}",
            *([] if card.calibration else ["- Calibration: none; probabilities are the learner's own softmax"]),
        ]
    )


def input_text(spec: AnySpec) -> str:
    """What a model takes, in words."""
    if isinstance(spec, VectorSpec):
        return f"{spec.numbers} number{'s' * (spec.numbers > 1)}"
    return f"{spec.width}×{spec.height} px, {'grey' if spec.channels == 1 else 'colour'}, {spec.polarity}"


def _errors(card: Card) -> str:
    return "\n".join(
        [
            "## Error",
            "",
            "Squared error on tasks never trained on, mean over episodes ± 95 % confidence interval, after so many",
            "examples and steps of adaptation.",
            "",
            "| data | queries | episodes | examples | steps | squared error |",
            "|---|---:|---:|---:|---:|---:|",
            *(
                f"| {row.data} | {row.queries} | {row.episodes} | {row.shots} | "
                f"{'its own' if row.steps is None else row.steps} | {row.error:.4f} ± {row.ci95:.4f} |"
                for row in card.errors
            ),
        ]
    )


def _accuracies(card: Card) -> str:
    if card.errors:
        return _errors(card)
    if not card.accuracy:
        return "## Accuracy\n\nNot measured yet; `kshot evaluate` measures it on your labelled pictures."
    otherwise = "" if all(row.inductive for row in card.accuracy) else ", where a row does not say transductive"
    return "\n".join(
        [
            "## Accuracy",
            "",
            f"Percent on {_novelty(card)}, mean over episodes ± 95 % confidence interval; inductive: no query's",
            f"answer depends on another query{otherwise}.",
            "",
            "| data | protocol | ways | shots | accuracy |",
            "|---|---|---:|---:|---:|",
            *(
                f"| {row.data} | {_protocol(row)} | {row.ways} | {row.shots} | {row.accuracy:.2f} ± {row.ci95:.2f} |"
                for row in card.accuracy
            ),
        ]
    )


def _novelty(card: Card) -> str:
    if card.origin is None:
        return "classes never trained on"
    return f"classes that {'' if card.training is None else 'meta-training never saw and '}pretraining may have seen"


def _reduced(reduced: Reduced | None) -> list[str]:
    if reduced is None:
        return []
    lines = [
        "## Precision",
        "",
        f"The encoder of {reduced.of} in 8-bit integers, their ranges taken from {reduced.pictures} pictures of",
        f"{reduced.data}. On the others its features are {100 * reduced.feature_error:.1f} % away (L2),",
        f"{reduced.same_answers:.1f} % of the answers are the same, and a probability differs by",
        f"{reduced.probability_difference:.3f} on average. On the",
        "same episodes, percent, with the 95 % confidence interval of the difference:",
        "",
        "| ways | shots | 8-bit | fp32 | difference |",
        "|---:|---:|---:|---:|---:|",
    ]
    rows = [
        f"| {row.ways} | {row.shots} | {row.accuracy:.2f} | {row.fp32:.2f} | {row.difference:+.2f} ± {row.ci95:.2f} |"
        for row in reduced.beside
    ]
    return ["\n".join(lines + rows)]


def _calibration(calibration: Calibration | None) -> list[str]:
    if calibration is None:
        return []
    none = [f"{each.shots} shots: {each.auroc:.3f}" for each in calibration.none_of_these]
    lines = [
        "## Calibration",
        "",
        f"Fitted to {calibration.data}.",
        "",
        "A row says how the others' calibration does on a domain left out, or all of them on classes held out and on",
        "data that nothing was fitted to; 5 ways, inductive. ECE: expected calibration error, 15 bins. AUROC: of “none",
        "of these”, in brackets that of the largest cosine to a class mean. Refused: known queries that the default",
        "threshold turns away; accepted: queries of other classes that it lets pass.",
        f"Mean AUROC by shots: {', '.join(none)}; under 0.8 it refuses only where a request sets `none_threshold`.",
        "",
        "| domain | | shots | accuracy | ECE | AUROC | refused | accepted |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    return ["\n".join(lines + [_calibration_row(row) for row in calibration.domains])]


def _calibration_row(row: DomainFigures) -> str:
    areas, shares = "", ("", "")
    if row.auroc is not None and row.refused_known is not None and row.accepted_unknown is not None:
        areas = f"{row.auroc:.3f} ({row.cosine_auroc:.3f})"
        shares = (f"{100 * row.refused_known:.1f} %", f"{100 * row.accepted_unknown:.1f} %")
    figures = (row.shots, f"{row.accuracy:.1f} %", f"{row.ece:.3f}", areas, *shares)
    return f"| {row.domain} | {row.known_as} | {' | '.join(map(str, figures))} |"


def _origin(card: Card) -> str:
    pretrained = [] if card.origin is None else [f"The backbone's weights: {card.origin}.", ""]
    if card.training is None:
        return "\n".join(["## Origin", "", *pretrained, "Not meta-trained: the learner stands on it as it is built."])
    return "\n".join(["## Training", "", *pretrained, *_training(card.training)])


def _training(training: Training) -> list[str]:
    if not training.steps:
        error, accuracy = training.validation_error, training.validation_accuracy
        score = f"a squared error of {error:.4f}" if accuracy is None else f"{accuracy:.2f} %"
        return [
            f"Not meta-trained: the random weights that recipe `{training.recipe}` draws from seed {training.seed}.",
            f"On validation episodes of {training.data} ({training.data_licence} licence) they come to {score}.",
        ]
    setting = {None: "", "short": ", the short setting,", "full": ", the paper's setting,"}[training.setting]
    return [
        f"Recipe `{training.recipe}`{setting} on {training.data} ({training.data_licence} licence), seed "
        f"{training.seed}:",
        f"{training.steps} steps of {training.tasks_per_step} task(s) in {training.seconds / 60:.0f} minutes on",
        f"{training.device}, torch {training.torch}. The weights kept are the best on fixed validation episodes",
        f"({_validation(training)}.",
        "",
        "![loss and validation accuracy](curve.png)",
    ]


def _validation(training: Training) -> str:
    if training.validation_accuracy is None:
        return f"squared error {training.validation_error:.4f}) that are neither trained on nor in the table above"
    if training.unlabelled:
        held = "pictures held back, each a class of its own with changed copies of it: no label was looked at"
    else:
        held = "classes that are neither trained on nor in the table above"
    return f"{training.validation_accuracy:.2f} %) of {held}"


def _protocol(row: Accuracy) -> str:
    asked = f"{row.episodes} episodes, {row.queries} queries a class"
    if row.protocol == "lake":
        asked = f"Lake's {row.episodes} one-shot runs"
    return asked if row.mode == "inductive" else f"{asked}, {row.mode.removeprefix('inductive, ')}"
