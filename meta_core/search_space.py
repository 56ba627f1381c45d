"""Which of a recipe's settings may be searched, and the recipe with others in their place."""

from collections.abc import Mapping
from typing import Any

import tomlkit
from pydantic import ValidationError

from meta_core.card import Part
from meta_core.errors import InvalidRecipe
from meta_core.recipe import Recipe, Searched

_MEASURES = ("data", "input", "validation", "test", "tune", "name", "seed")
"""What accuracies are compared by: changed, they would say nothing of one another."""
_PARTS = ("learner", "backbone", "tasks")


def search_space(recipe: Recipe) -> dict[str, Searched]:
    """What the recipe's `[tune]` names; without one, the optimizer's rate and decay and the learner's own numbers.

    Raises:
        InvalidRecipe: a setting that does not exist, must stay as it is, or does not take what is to be tried.
    """
    space = recipe.tune or _usual(recipe)
    for name, searched in space.items():
        if name.partition(".")[0] in _MEASURES:
            raise InvalidRecipe(
                f"[tune] names {name!r}; {', '.join(_MEASURES)} stay as they are, or trials could not be compared"
            )
        for value in searched.choices or [searched.low, searched.high]:
            changed(recipe, {name: value})
    return dict(space)


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with `values` in place of its own, by dotted names such as `optimizer.rate`.

    Raises:
        InvalidRecipe: no such setting, or a value it does not take.
    """
    fields: dict[str, Any] = recipe.model_dump()
    for name, value in values.items():
        _put(fields, name, value)
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise InvalidRecipe(f"[tune] of {recipe.name!r}: {error}") from error


def changed_text(text: str, values: Mapping[str, Any], *, comment: str) -> str:
    """A recipe's TOML with `values` in place of its own and a comment above; all else stays as it is written."""
    document = tomlkit.parse(text)
    for name, value in values.items():
        if (part := name.partition(".")[0]) in _PARTS and isinstance(document.get(part), str):
            whole = tomlkit.inline_table()
            whole.update(Part.model_validate(str(document[part])).model_dump())
            document[part] = whole
        _put(document, name, value)
    return "".join(f"# {line}\n" for line in comment.splitlines()) + "\n" + tomlkit.dumps(document)


def _put(fields: Any, name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        if parent not in fields:
            fields[parent] = {}
        fields = fields[parent]
        if not isinstance(fields, dict):
            raise InvalidRecipe(f"[tune] names {name!r}, but {parent!r} holds no further settings")
    fields[last] = value


def _usual(recipe: Recipe) -> dict[str, Searched]:
    space = {
        "optimizer.rate": Searched(low=1e-4, high=3e-2, log=True),
        "optimizer.weight_decay": Searched(low=1e-6, high=1e-2, log=True),
    }
    for name, value in recipe.learner.options.items():
        if isinstance(value, float) and value > 0:
            space[f"learner.options.{name}"] = Searched(low=value / 10, high=value * 10, log=True)
    return space
