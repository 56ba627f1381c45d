"""A recipe: everything a training run needs but the data's place, as TOML."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from meta_core.card import Name, Part
from meta_core.errors import InvalidRecipe
from meta_core.preprocess import InputSpec
from meta_core.vectors import AnySpec

Count = Annotated[int, Field(ge=1)]
Ways = Annotated[int, Field(ge=2)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Strict):
    """Which pictures train, which choose, which test; the three share no class, and where none is known no picture."""

    train_split: str | None = Field(default=None, description="the reader's name; all classes where it is not given")
    validation_split: str | None = Field(default=None, description="what chooses the weights and trains nothing")
    validation_groups: list[str] = Field(default=[], description="or groups of the training split that do")
    test_split: str | None = Field(default=None, description="where the data have a part for testing")
    test_groups: list[str] = Field(default=[], description="where they have none: groups of the training split")
    leave_out: list[str] = Field(default=[], description="classes that nothing sees, such as another's duplicates")
    unlabelled: bool = Field(default=False, description="no label is looked at before the test, nor any needed")
    validation_share: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="of unlabelled pictures, held back to choose the weights",
    )
    licence: str | None = Field(default=None, description="of the pictures, where they do not say it themselves")

    @model_validator(mode="after")
    def _one_of_each(self) -> "Data":
        for part in ("validation", "test"):
            named = (getattr(self, f"{part}_split") is not None) + bool(getattr(self, f"{part}_groups"))
            if self.unlabelled and part == "validation" and named:
                raise ValueError("validation_split and validation_groups choose by labels; unlabelled = true has none")
            if named == 2 or (named == 0 and not self.unlabelled):
                raise ValueError(f"give {part}_split, or {part}_groups, and not both")
        return self


class Optimizer(_Strict):
    """AdamW; the rate rises linearly over `warmup_steps`, then falls to 0 along a cosine."""

    rate: float = Field(gt=0)
    weight_decay: float = Field(default=0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    steps: int = Field(ge=0, description="0 trains nothing: the weights stay as they were drawn")
    tasks_per_step: int = Field(default=1, ge=1)
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="of the network's forward pass in training")
    clip_norm: float | None = Field(default=None, gt=0, description="longest meta-gradient; a longer one is shortened")


class Validation(_Strict):
    """Fixed episodes, the same at every look."""

    every: int = Field(default=250, ge=1, description="steps between two looks, each of which can be resumed from")
    episodes: Count = 200
    ways: Ways = 20
    shots: Count = 1
    queries: Count = 5


class Test(_Strict):
    """The card's table."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    ways: list[Ways] = [5, 20]
    shots: list[Count] = [1, 5]
    queries: Count = 15
    episodes: int = Field(default=1000, ge=2, description="two at least, or there is no interval to give")
    rotations: bool = Field(default=False, description="quarter turns are further classes, as in Vinyals et al. 2016")
    steps: list[Annotated[int, Field(ge=0)]] = Field(
        default=[], description="of adaptation, after which a regression is measured; the learner's own unless given"
    )
    lake: bool = Field(default=False, description="Lake's one-shot runs too, where the data hold them")


class Searched(BaseModel):
    """What `kshot tune` may try for one setting: a range, of whole numbers where both ends are, or a few choices."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    low: int | float | None = Field(default=None, alias="from")
    high: int | float | None = Field(default=None, alias="to")
    log: bool = Field(default=False, description="as likely between 0.001 and 0.01 as between 0.01 and 0.1")
    choices: list[Any] = []

    @model_validator(mode="after")
    def _one_kind(self) -> "Searched":
        if self.choices:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("give choices, or from and to, and not both")
        elif self.low is None or self.high is None or not self.low < self.high:
            raise ValueError("expected { from = smallest, to = largest } or { choices = […] }")
        elif self.log and self.low <= 0:
            raise ValueError(f"log = true needs a range above 0; it begins at {self.low}")
        return self


class Recipe(_Strict):
    """One training run."""

    name: Name
    version: str = "1.0.0"
    description: str
    licence: str = "Apache-2.0"
    seed: int = 0
    input: AnySpec
    learner: Part
    backbone: Part
    pretrained: str | None = Field(
        default=None,
        description="weights that the backbone starts with: `hub`, `package` (both for timm's), or a file of them",
    )
    start_from: Name | None = Field(default=None, description="a model whose trained backbone this one starts with")
    freeze_backbone: bool = Field(
        default=False, description="train what stands on the backbone, and leave that as it is"
    )
    half_weights: bool = Field(default=False, description="round the trained weights to half precision, half the file")
    transductive: bool = Field(
        default=False,
        description="batch norm by the batch at hand, also in test: to compare with papers, never to serve",
    )
    tasks: Part
    data: Data | None = Field(default=None, description="null where the tasks are generated and need no data")
    optimizer: Optimizer
    validation: Validation = Validation()
    test: Test = Test()
    tune: dict[str, Searched] = Field(default={}, description="settings by their dotted names, for `kshot tune`")
    full: dict[str, Any] = Field(
        default={}, description="what the paper's setting has otherwise, by the names above: `kshot train --full`"
    )
    setting: Literal["short", "full"] | None = Field(
        default=None, description="which of the two this is, where the file has a `full`; not to be written there"
    )

    @model_validator(mode="before")
    @classmethod
    def _input_of_the_backbone(cls, given: Any) -> Any:
        """What `input` leaves out is as the backbone was pretrained, where it is one of timm."""
        if not isinstance(given, dict) or not isinstance(given.get("input", {}), dict):
            return given
        model, own = _timm_model(given.get("backbone")), given.get("input", {})
        if model is None or own.keys() >= {"height", "width", "interpolation", "mean", "std"}:
            return given
        from meta_core.backbones.timm import input_spec  # timm takes seconds to import, and most recipes need none

        return given | {"input": input_spec(model).model_dump() | own}

    @model_validator(mode="after")
    def _one_start(self) -> "Recipe":
        if self.pretrained is not None and self.start_from is not None:
            raise ValueError("the backbone starts with the weights of pretrained, or of start_from: give one of them")
        return self

    @property
    def pictures(self) -> InputSpec:
        """The input, of a recipe that is trained on pictures.

        Raises:
            InvalidRecipe: it is of vectors.
        """
        if not isinstance(self.input, InputSpec):
            raise InvalidRecipe(f"{self.name}: [input] is of vectors; pictures need channels, height and width")
        return self.input

    @property
    def labelled(self) -> Data:
        """The data, of a recipe that is trained on some.

        Raises:
            InvalidRecipe: its tasks are generated.
        """
        if self.data is None:
            raise InvalidRecipe(f"{self.name} has no [data]; its tasks are generated")
        return self.data


def _timm_model(backbone: Any) -> str | None:
    try:
        part = Part.model_validate(backbone)
    except ValidationError:  # told when the recipe itself is validated
        return None
    model = part.options.get("model")
    return model if part.name == "timm" and isinstance(model, str) else None


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("meta_core") / "recipes"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def recipe_text(name_or_path: str) -> str:
    """A recipe as it is written.

    Raises:
        InvalidRecipe: no such recipe.
    """
    if name_or_path in shipped_recipes():
        return (resources.files("meta_core") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    if Path(name_or_path).is_file():
        return Path(name_or_path).read_text("utf-8")
    raise InvalidRecipe(
        f"there is no recipe {name_or_path!r}: neither a file nor one of the shipped {', '.join(shipped_recipes())}"
    )


def load_recipe(name_or_path: str, *, full: bool = False) -> Recipe:
    """A shipped recipe by its name, or any by its path.

    A recipe that trains in an hour may hold the paper's own setting beside it, which takes a day: its table `full` says
    what is otherwise there, field by field.

    Args:
        name_or_path: which.
        full: the setting with what `full` says.

    Raises:
        InvalidRecipe: no such recipe, not TOML, fields that are missing, unknown or out of range in either setting, or
            `full` is asked for where there is none.
    """
    try:
        fields = tomllib.loads(recipe_text(name_or_path))
        other = fields.pop("full", None)
        if other is None and full:
            raise InvalidRecipe(f"{name_or_path} has no [full] table: it has one setting; train it without --full")
        if other is None:
            return Recipe.model_validate(fields)
        short = Recipe.model_validate(fields | {"full": other, "setting": "short"})
        long = Recipe.model_validate(_merged(fields, other) | {"setting": "full"})  # checked before it is wanted
        return long if full else short
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise InvalidRecipe(f"{name_or_path}: {error}") from error


def _merged(fields: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """`fields` with what `other` says instead, table by table."""
    return fields | {
        name: _merged(fields[name], value) if isinstance(value, dict) and isinstance(fields.get(name), dict) else value
        for name, value in other.items()
    }
