"""Pages that are made at every build: the models' cards of their `card.json`, the API of the OpenAPI document."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from meta_core.card import Card, card_text
from service.app import create_app
from service.settings import Settings

_INTRODUCTION = """# API

Version {version}. A running service shows the same at `/docs`, where each call can be tried, and `/redoc`; clients are
generated from `/openapi.json` ([clients](clients.md)). Every error is an `application/problem+json` document (RFC
9457): `detail` says what came, what was expected and what to do, and `code` is stable, for programs. What any call may
be answered beside its own statuses:

{common}
"""
_ANY = ("400", "401", "403", "408", "421", "429", "500", "503")
"""Statuses that are told once for all operations."""


def write_cards(*, models: Path, folder: Path) -> None:
    """A page for each model, and its training curve beside it.

    Args:
        models: a folder of model folders.
        folder: is made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in sorted(models.glob("*/card.json")):
        card = Card.model_validate_json(path.read_bytes())
        text = card_text(card)
        if (path.parent / "curve.png").is_file():
            shutil.copy(path.parent / "curve.png", folder / f"{card.name}.png")
            text = text.replace("(curve.png)", f"({card.name}.png)")
        (folder / f"{card.name}.md").write_text(text, "utf-8")


def write_api(page: Path) -> None:
    """Every operation of the service's OpenAPI document, by tag."""
    document = create_app(Settings()).openapi()
    page.write_text("\n".join(_api(document)), "utf-8")


def _api(document: dict[str, Any]) -> Iterator[str]:
    operations = [
        (method, path, operation) for path, item in document["paths"].items() for method, operation in item.items()
    ]
    told = {status: answer for *_, operation in operations for status, answer in operation["responses"].items()}
    common = _table(("status", ""), ((status, told[status]["description"]) for status in _ANY))
    yield _INTRODUCTION.format(version=document["info"]["version"], common=common)
    for tag in document["tags"]:
        yield f"## {tag['name'].capitalize()}\n\n{tag['description']}\n"
        for method, path, operation in operations:
            if operation["tags"] == [tag["name"]]:
                yield from _operation(method, path, operation, document)
    yield "## Shapes\n\nOf JSON bodies and answers.\n"
    for name, schema in document["components"]["schemas"].items():
        if not name.endswith("Form"):
            yield f"### {name}\n\n{_plain(schema.get('description', ''))}\n\n{_fields(schema)}\n"


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    yield f"### {operation['summary']}\n\n`{method.upper()} {path}` (`{operation['operationId']}`)\n"
    yield f"{operation.get('description', '')}\n"
    parameters = operation.get("parameters", [])
    rows = [(f"`{each['name']}`", each["in"], _plain(each.get("description", ""))) for each in parameters]
    if rows:
        yield _table(("parameter", "in", ""), rows) + "\n"
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body, `{media_type}`: {_type(body['schema'])}\n"
        name = body["schema"].get("$ref", "").rpartition("/")[2]
        if name.endswith("Form"):
            yield _fields(document["components"]["schemas"][name]) + "\n"
    answers = [(status, answer) for status, answer in operation["responses"].items() if status not in _ANY]
    yield _table(("status", "", ""), ((s, _plain(a["description"]), _answer(a)) for s, a in sorted(answers))) + "\n"


def _answer(answer: dict[str, Any]) -> str:
    kinds = answer.get("content", {}).items()
    return ", ".join(_type(content["schema"]) if "schema" in content else f"`{kind}`" for kind, content in kinds)


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        (f"`{name}`{'' if name in required else ' (optional)'}", _type(field), _plain(field.get("description", "")))
        for name, field in schema.get("properties", {}).items()
    ]
    return _table(("field", "type", ""), rows) if rows else ""


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words; one that has a name, as a link to where it is told."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "a form" if name.endswith("Form") else f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(option) for option in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("format") == "binary":
        return "file"
    return str(schema.get("format") or schema.get("const") or schema.get("type") or "anything")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """On one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")
